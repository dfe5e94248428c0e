"""An event-driven backtest that drives the same decision step as the live cycle, bar by bar.

What is assumed inside a bar, in order:

1. orders decided at the last close fill at this bar's open, with half the spread, slippage, square-root impact and
taker fees; 2. stops and liquidations against the bar's extremes (``fills.Account.inside_bar``), positions entered at
this open included; 3. funding, where the bar's close is a settlement, on what is held then;
4. the book is marked at the close, the kill switches are judged, the next decision is taken.

No person sits beside a backtest: what a day loss or a drawdown latched is taken as released at the next UTC midnight
(the peak starts anew there), a market switch once it has cleared.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from hydra_core.alpha.models import Models, PolicyModel
from hydra_core.decision.assessment import Assessment, Row, assess
from hydra_core.decision.step import POSITION_LOSS, Book, Step, step
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Ints, MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode
from hydra_core.research.engine.inputs import Settlements, day_notional, day_volatility, last_known
from hydra_core.research.engine.parameters import margin_tables
from hydra_core.research.fills import Account, FillRules, Trade
from hydra_core.risk import switches
from hydra_core.risk.limits import Limits

__all__ = ["BacktestResult", "FillRules", "Trade", "backtest"]


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """What a backtest did; T rows of the span, P pairs, money in USDT.

    Parameters
    ----------
    ts : int64 (T,), close time of every bar, epoch ms
    equity, cash, unrealised : (T,) at the close; ``equity = cash + unrealised``
    realised, fees, funding : (T,) flows booked in the bar; ``diff(cash) = realised - fees + funding``
    exposure : (T,), gross notional over equity at the close
    quantity : (T, P), signed base units held at the close
    pair_profit : (T, P), change of equity in the bar by pair, after fees and funding
    target : (T, P), signed base units decided at the close
    outcomes : outcome -> count over rows and pairs
    votes : seat -> choice -> count over sized proposals
    trips : kill switch -> number of times it tripped
    trades : round trips, in order of leaving
    liquidations : number of forced exits
    complete : False when a funding rate that was due is missing: the result must not be scored
    """

    pairs: tuple[Pair, ...]
    ts: Ints
    initial_equity: float
    equity: Floats
    cash: Floats
    unrealised: Floats
    realised: Floats
    fees: Floats
    funding: Floats
    exposure: Floats
    quantity: Floats
    pair_profit: Floats
    target: Floats
    outcomes: Mapping[str, int]
    votes: Mapping[str, Mapping[str, int]]
    trips: Mapping[str, int]
    trades: tuple[Trade, ...]
    liquidations: int
    complete: bool

    @property
    def returns(self) -> Floats:
        """Simple return of equity per bar, shape (T,)."""
        before = np.concatenate([[self.initial_equity], self.equity[:-1]])
        return np.asarray(self.equity / before - 1)

    def daily(self) -> tuple[Ints, Floats]:
        """UTC days (epoch ms of their start) and the simple return of equity over each; the first and last may be partial."""
        day = (self.ts - 1) // DAY_MS
        last = np.flatnonzero(np.append(day[1:] != day[:-1], True))
        ends = self.equity[last]
        before = np.concatenate([[self.initial_equity], ends[:-1]])
        return day[last] * DAY_MS, ends / before - 1


@dataclass(slots=True)
class _Log:
    """What is written down bar by bar."""

    equity: list[float] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    realised: list[float] = field(default_factory=list)
    fees: list[float] = field(default_factory=list)
    funding: list[float] = field(default_factory=list)
    quantity: list[list[float]] = field(default_factory=list)
    worth: list[list[float]] = field(default_factory=list)
    target: list[list[float]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    votes: Counter[tuple[str, str]] = field(default_factory=Counter)
    trips: Counter[str] = field(default_factory=Counter)


def backtest(
    panel: Panel,
    signals: Models | Assessment,
    limits: Limits,
    start_row: int = 0,
    end_row: int | None = None,
    initial_equity: float = 10_000.0,
    *,
    policy: PolicyModel | None = None,
    assume_approvals: Set[str] = frozenset(),
    fills: FillRules | None = None,
    rules: Mapping[Pair, MarketRules] | None = None,
    settlements: Settlements | None = None,
) -> BacktestResult:
    """Trade a span of history with the live decision step.

    Parameters
    ----------
    panel : Panel
    signals : Models or Assessment
        Models to assess the panel with (their policy sits in its seat), or an assessment made before
        (``decision.assess``, or ``decision.assemble`` from out-of-fold forecasts), matched to the panel by bar close. A
        bar that it does not cover has no signals.
    start_row, end_row : int
        Span [start, end) of panel rows; the first decision is taken at the close of ``start_row``.
    policy : PolicyModel, optional
        Who sits in the policy's seat when ``signals`` is an assessment.
    assume_approvals : set of str
        Seats taken as approving: ``forecaster``, ``crowd``, ``analyst``, ``policy``.
    fills : FillRules
    rules : pair -> MarketRules, optional
        The exchange's filters; without them sizes are not rounded.
    settlements : Settlements over the panel's rows, optional
        When each contract really settles; without them ``fills.funding_interval_ms`` tells.

    Raises
    ------
    InputMissing : the span is empty or leaves the panel
    """
    end_row = len(panel) if end_row is None else end_row
    if not 0 <= start_row < end_row <= len(panel):
        raise InputMissing(f"backtest of rows [{start_row}, {end_row}) of a panel of {len(panel)} rows")
    if isinstance(signals, Models):
        policy = signals.policy
        signals = assess(panel.rows(slice(0, end_row)), signals, limits, last=end_row - start_row)
    fills = fills or FillRules()
    run = _Run(panel, signals, limits, start_row, end_row, initial_equity, fills, rules or {}, settlements)
    for row in range(start_row, end_row):
        run.bar(row, policy, assume_approvals)
    return run.result()


class _Run:
    """One backtest in progress."""

    def __init__(
        self,
        panel: Panel,
        signals: Assessment,
        limits: Limits,
        start: int,
        end: int,
        cash: float,
        fills: FillRules,
        rules: Mapping[Pair, MarketRules],
        settlements: Settlements | None = None,
    ) -> None:
        self.panel, self.signals, self.limits, self.fills = panel, signals, limits, fills
        self.start, self.end, self.initial = start, end, cash
        span = slice(start, end)
        self.open, self.high = panel.open[span].tolist(), panel.high[span].tolist()
        self.low, self.close = panel.low[span].tolist(), panel.close[span].tolist()
        due = settlements or Settlements.on_grid(panel, fills.funding_interval_ms)
        self.due, self.rate = due.due[span].tolist(), due.rate[span].tolist()
        self.close_ms = panel.close_ms[span].tolist()
        self.day_notional = day_notional(panel)[span]
        self.day_volatility = day_volatility(panel, signals, start, end)
        self.offset = int(signals.bar_close_ms[0] - panel.close_ms[0]) // panel.interval.ms
        pairs = len(panel.pairs)
        known = [rules.get(pair) for pair in panel.pairs]
        self.account = Account(
            panel.pairs,
            cash,
            limits.costs,
            fills,
            margin_tables(panel.pairs, fills, rules),
        )
        self.filters = (
            [float(rule.step_size) if rule else 0.0 for rule in known],
            [float(rule.min_quantity) if rule else 0.0 for rule in known],
            [float(rule.min_notional) if rule else 0.0 for rule in known],
        )
        self.pending: deque[Step | None] = deque([None] * fills.delay_bars)
        self.price = [math.nan] * pairs
        self.peak = self.day_start = cash
        self.latched: set[str] = set()
        self.market_trips: Set[str] = frozenset()
        self.barred = [False] * pairs
        self.complete = True
        self.log = _Log()

    def bar(self, row: int, policy: PolicyModel | None, assumed: Set[str]) -> None:
        """Everything that happens in one bar, in the order of the module's docstring."""
        at, account = row - self.start, self.account
        account.new_bar()
        opening, close_ms = self.open[at], self.close_ms[at]
        self._fill_pending(at, row, opening)
        for i, quantity in enumerate(account.quantity):
            if quantity and account.inside_bar(i, opening[i], self.high[at][i], self.low[at][i], row, close_ms):
                self._forget(i)
        for i, price in enumerate(self.close[at]):
            if price == price:  # a missing bar is marked at the last known price
                self.price[i] = price
        self._settle(self.due[at], self.rate[at])
        worth = [
            earned + (quantity * (price - entry) if quantity else 0.0)
            for earned, quantity, price, entry in zip(
                account.earned, account.quantity, self.price, account.entry, strict=True
            )
        ]
        total = 0.0
        for (
            one
        ) in worth:  # one after the other, as the compiled engine adds: a last bit decides where a cap is met exactly
            total += one
        equity = self.initial + total
        assessed = row - self.offset
        covered = 0 <= assessed < len(self.signals)
        now = self.signals.row(assessed) if covered else Row.unknown(len(self.price), close_ms)
        mode, exits = self._judge(now, equity)
        committed = self._committed()
        book = Book(
            quantity=committed,
            age_ms=[
                close_ms - opened if held * goal > 0 else 0
                for opened, held, goal in zip(account.opened_ms, account.quantity, committed, strict=True)
            ],
            stop=list(account.stop),
            price=self.price,
            equity=equity,
            exits=exits,
            barred=self.barred,
            fault=[price != price for price in self.close[at]],
            step=self.filters[0],
            min_quantity=self.filters[1],
            min_notional=self.filters[2],
        )
        decided = step(now, book, self.limits, mode, policy, assumed)
        self.pending.append(decided)
        self._write(decided, equity, worth)
        if close_ms % DAY_MS == 0:
            self._new_day(equity)

    def result(self) -> BacktestResult:
        """Close the books."""
        account, log = self.account, self.log
        account.finish(self.end - 1, self.price)
        equity, cash = np.array(log.equity), np.array(log.cash)
        worth, quantity = np.array(log.worth), np.array(log.quantity)
        gross = (np.abs(quantity) * filled_forward(self.panel.close[self.start : self.end])).sum(axis=1)
        votes: dict[str, dict[str, int]] = {}
        for (seat, choice), count in sorted(log.votes.items()):
            votes.setdefault(seat, {})[choice] = count
        return BacktestResult(
            pairs=self.panel.pairs,
            ts=np.array(self.close_ms, np.int64),
            initial_equity=self.initial,
            equity=equity,
            cash=cash,
            unrealised=equity - cash,
            realised=np.array(log.realised),
            fees=np.array(log.fees),
            funding=np.array(log.funding),
            exposure=gross / np.where(equity > 0, equity, np.nan),
            quantity=quantity,
            pair_profit=np.diff(worth, axis=0, prepend=np.zeros((1, worth.shape[1]))),
            target=np.array(log.target),
            outcomes=dict(sorted(log.outcomes.items())),
            votes=votes,
            trips=dict(sorted(log.trips.items())),
            trades=tuple(account.trades),
            liquidations=account.liquidations,
            complete=self.complete,
        )

    def _fill_pending(self, at: int, row: int, opening: list[float]) -> None:
        if len(self.pending) <= self.fills.delay_bars:
            return
        decided = self.pending.popleft()
        if decided is None:
            return
        account = self.account
        opened_ms = self.close_ms[at] - self.panel.interval.ms
        for i, target in enumerate(decided.target):
            if target == account.quantity[i] or not opening[i] > 0:
                continue
            grows = abs(target) > abs(account.quantity[i]) or target * account.quantity[i] < 0
            account.trade_to(
                i,
                target,
                opening[i],
                row,
                opened_ms,
                decided.reason[i],
                float(self.day_notional[at, i]),
                float(self.day_volatility[at, i]),
            )
            account.stop[i] = decided.stop[i] if target else math.nan
            if grows:
                account.leverage[i] = decided.leverage[i]

    def _forget(self, i: int) -> None:
        """A stop or a liquidation cancels what was still on its way in that pair."""
        for decided in self.pending:
            if decided is not None:
                decided.target[i] = 0.0

    def _committed(self) -> list[float]:
        newest = self.pending[-1] if self.pending else None
        return list(self.account.quantity if newest is None else newest.target)

    def _settle(self, due: list[bool], rates: list[float]) -> None:
        for i, quantity in enumerate(self.account.quantity):
            if not quantity or not due[i]:
                continue
            if rates[i] == rates[i]:
                self.account.settle(i, self.price[i], rates[i])
            else:
                self.complete = False

    def _judge(self, now: Row, equity: float) -> tuple[Mode, list[str]]:
        """The kill switches at a close: mode, and by pair the exit that is due at once."""
        risk, account = self.limits.risk, self.account
        self.peak = max(self.peak, equity)
        for name, tripped in (
            (switches.DAY_LOSS, switches.day_lost(equity, self.day_start, risk.day_loss_limit)),
            (switches.DRAWDOWN, switches.drawn_down(equity, self.peak, risk.drawdown_limit)),
        ):
            if tripped and name not in self.latched:
                self.latched.add(name)
                self.log.trips[name] += 1
        exits = [""] * len(account.quantity)
        for i, quantity in enumerate(account.quantity):
            if quantity and switches.position_lost(
                quantity, account.entry[i], self.price[i], equity, risk.position_loss_limit
            ):
                exits[i], self.barred[i] = POSITION_LOSS, True
                self.log.trips[switches.POSITION_LOSS] += 1
        market = switches.judge_market(now.stress, risk)
        self.log.trips.update(market.keys() - self.market_trips)
        self.market_trips = market.keys()
        if not self.latched and not market:
            return Mode.ACTIVE, exits
        return switches.combine([*self.latched, *market]), exits

    def _new_day(self, equity: float) -> None:
        if self.latched:
            self.latched.clear()
            self.peak = equity
        self.barred = [False] * len(self.barred)
        self.day_start = equity
        self.account.new_day()

    def _write(self, decided: Step, equity: float, worth: list[float]) -> None:
        log, account = self.log, self.account
        log.equity.append(equity)
        log.cash.append(account.cash)
        log.realised.append(account.realised)
        log.fees.append(account.fees)
        log.funding.append(account.funding)
        log.quantity.append(list(account.quantity))
        log.worth.append(worth)
        log.target.append(list(decided.target))
        log.outcomes.update(decided.outcome)
        for votes in decided.votes:
            for vote in votes:  # empty where nothing was proposed
                log.votes[vote.seat, vote.choice.value] += 1


def filled_forward(close: Floats) -> Floats:
    """Closes with missing bars at the last known price, 0 before the first."""
    return np.nan_to_num(last_known(close))
