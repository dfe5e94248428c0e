"""The money between two lives of one session: what the account really did, and the same decisions through the backtester.

Both begin with the same cash and positions and end valued at the same prices. Profit of a life is what its positions
earned along the middle prices, less what its trades cost against them, plus funding; so their difference falls apart, exactly,
into positions that were not the same at the time (latency: slices, delay, a guard that acts between two grid points),
trades that cost something else than declared (price: book, fees, slices) and funding on other numbers (data).

The backtester's side is its own account (``research.fills``), moved to each decision's targets at that decision's prices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from hydra_core.domain.intervals import iso
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision, Fill
from hydra_core.ledger.records import FundingPayment
from hydra_core.replay.fills import FillCheck
from hydra_core.replay.ledgers import Standing
from hydra_core.research.fills import Account, FillRules
from hydra_core.settings import CostSettings
from hydra_core.window.cycle import CycleInputs

ZERO: Final = Decimal(0)
CLOSED_USDT: Final = 1e-6
"""Positions that differ by less than this much notional are the same: the last bit of a float."""

LEAST_USDT: Final = 1e-9
"""Amounts below it are the error of sums in floats."""


class Cause(StrEnum):
    """What a difference comes from."""

    SIGNAL = "signal"
    """The decision made again is another one, from the same data."""
    PRICE = "price"
    """The trade cost something else than the declared model says."""
    LATENCY = "latency"
    """The account held something else at the time."""
    DATA = "data"
    """It was made of, or charged on, other numbers."""
    UNEXPLAINED = "unexplained"
    """None of these: the books, or this code, are wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """A difference: USDT by which the account did better than the backtest for one reason, in one pair and span of time."""

    cause: Cause
    pair: str
    what: str
    from_ms: int
    to_ms: int
    usdt: float

    def to_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return {**asdict(self), "cause": self.cause.value, "from": iso(self.from_ms), "to": iso(self.to_ms)}


class Shadow:
    """The backtester's account, led from decision to decision.

    Parameters
    ----------
    pairs, costs : as the decisions' own
    start : Standing, what it begins with
    """

    def __init__(self, pairs: Sequence[Pair], costs: CostSettings, start: Standing, start_ms: int) -> None:
        self.account = Account(pairs, float(start.cash), costs, FillRules(), [()] * len(pairs))
        self.at = {pair: column for column, pair in enumerate(pairs)}
        self.cost = [0.0] * len(pairs)
        """USDT that trades cost by pair, fees included."""
        for pair, held in start.positions.items():
            self.account.adopt(self.at[pair], float(held.quantity), float(held.entry_price), start_ms)

    def held(self, pair: Pair) -> float:
        """Signed base units."""
        return self.account.quantity[self.at[pair]]

    def move(self, pair: Pair, target: float, mid: float, ts_ms: int, why: str, day: tuple[float, float]) -> None:
        """Trade to a target around a middle price, at the declared costs."""
        i = self.at[pair]
        if target == self.account.quantity[i] or not mid > 0:
            return
        before = self._worth(i, mid)
        self.account.trade_to(i, target, mid, 0, ts_ms, why, *day)
        self.cost[i] += before - self._worth(i, mid)

    def worth(self, prices: Mapping[Pair, float]) -> float:
        """Equity at prices, USDT."""
        open_profit = sum(
            self.account.unrealised(i, prices.get(pair, self.account.entry[i])) for pair, i in self.at.items()
        )
        return self.account.cash + open_profit

    def profit(self, pair: Pair, price: float) -> float:
        """What one pair has earned so far, open profit included."""
        i = self.at[pair]
        return self.account.earned[i] + (self.account.unrealised(i, price) if self.account.quantity[i] else 0.0)

    def _worth(self, i: int, mid: float) -> float:
        return self.account.cash + self.account.unrealised(i, mid)


@dataclass(slots=True)
class _Gap:
    """A span in which the account and the backtest held different positions in a pair."""

    from_ms: int
    usdt: float = 0.0
    fills: int = 0
    reasons: tuple[str, ...] = ()


class Timeline:
    """Leads the account and the backtest through the session side by side, event by event in order of time.

    Parameters
    ----------
    pairs : every pair that is decided on or held
    start : Standing of the account at the beginning; ``costs`` as declared
    prices : middle price of each pair at the beginning, USDT; NaN until it is known
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        start: Standing,
        start_ms: int,
        costs: CostSettings,
        prices: Mapping[Pair, float],
    ) -> None:
        self.pairs = tuple(pairs)
        self.costs = costs
        self.decided = Shadow(pairs, costs, start, start_ms)
        """Follows the decisions as they were booked."""
        self.remade = Shadow(pairs, costs, start, start_ms)
        """Follows the decisions as they come out again."""
        self.mids = {pair: prices.get(pair, math.nan) for pair in pairs}
        self.quantity = {pair: held.quantity for pair, held in start.positions.items()}
        self.rows: list[Row] = []
        self._start_ms = self._now = start_ms
        self._gaps: dict[Pair, _Gap] = {}
        self._slippage = dict.fromkeys(pairs, 0.0)
        self._declared = dict.fromkeys(pairs, 0.0)
        self._fees = dict.fromkeys(pairs, 0.0)
        self._declared_fees = dict.fromkeys(pairs, 0.0)
        self._traded: dict[Pair, int] = dict.fromkeys(pairs, 0)
        self._differing: dict[Pair, Cause] = {}

    def see(self, pair: Pair, mid: float, ts_ms: int) -> None:
        """A newer middle price: what the positions differed by has earned its way here."""
        self._now = max(self._now, ts_ms)
        before = self.mids[pair]
        if not (math.isfinite(mid) and mid > 0):
            return
        self.mids[pair] = mid
        gap = self._gaps.get(pair)
        if gap is not None and math.isfinite(before):
            gap.usdt += self._apart(pair) * (mid - before)

    def fill(self, fill: Fill, checked: FillCheck) -> None:
        """A fill of the account."""
        pair = fill.pair
        self.see(pair, checked.mid, fill.event_ms)
        self.quantity[pair] = self.quantity.get(pair, ZERO) + fill.quantity * fill.side
        self._slippage[pair] += checked.slippage
        self._declared[pair] += checked.declared
        self._fees[pair] += checked.fee
        self._declared_fees[pair] += checked.quantity * checked.price * self.costs.taker_fee_bp * 1e-4
        self._traded[pair] += 1
        self._mark_gap(pair, fill.event_ms, fill.reason)

    def decide(
        self,
        inputs: CycleInputs,
        stored: Decision,
        remade: Decision,
        days: Mapping[Pair, tuple[float, float]],
        cause: Cause | None,
    ) -> None:
        """A decision: both backtests go to what it counted on, then to what it wants.

        Parameters
        ----------
        cause : why ``remade`` is another decision; None while it is the same
        days : turnover (USDT) and volatility of the last day by pair
        """
        now = inputs.cycle_ms
        for pair, quote in inputs.quotes.items():
            self.see(pair, quote.mid, now)
        standing = {target.pair: target.quantity for target in inputs.standing.targets} if inputs.standing else {}
        for pair in self.pairs:
            held = inputs.portfolio.positions.get(pair)
            committed = standing.get(pair, float(held.quantity) if held is not None else 0.0)
            for shadow, decision in ((self.decided, stored), (self.remade, remade)):
                shadow.move(pair, committed, self.mids[pair], now, "as held", days.get(pair, (0.0, 0.0)))
                for target in decision.plan.targets if decision.plan is not None else ():
                    if target.pair == pair:
                        day = days.get(pair, (0.0, 0.0))
                        shadow.move(pair, target.quantity, self.mids[pair], now, target.reason, day)
            if cause is not None and self.decided.held(pair) != self.remade.held(pair):
                self._differing.setdefault(pair, cause)
            said = next((one.reason for one in stored.pairs if one.pair == pair), "")
            self._mark_gap(pair, now, said)

    def settle(self, pair: Pair, ts_ms: int, mark: float, rate: float | None, paid: FundingPayment | None) -> None:
        """A funding settlement: what the exchange published, and what the account booked of it.

        Parameters
        ----------
        mark : USDT, as the newest decision read it
        rate : as published; None: the lake has none
        paid : None: nothing was booked
        """
        ours = float(paid.rate) if paid is not None else 0.0
        theirs = rate if rate is not None else 0.0
        shadow = self.decided.held(pair)
        if paid is None and not shadow and not self.remade.held(pair):
            return
        for one in (self.decided, self.remade):
            one.account.settle(one.at[pair], mark, theirs)
        quantity = float(paid.quantity) if paid is not None else 0.0
        marked = float(paid.mark_price) if paid is not None else mark
        if paid is None and shadow and theirs:
            self._add(Cause.DATA, pair, "a settlement that was not booked", ts_ms, ts_ms, shadow * mark * theirs)
            return
        held = -(quantity - shadow) * mark * theirs
        self._add(Cause.LATENCY, pair, "another position at a funding settlement", ts_ms, ts_ms, held)
        self._add(Cause.DATA, pair, "funding: another mark price", ts_ms, ts_ms, -quantity * (marked - mark) * theirs)
        self._add(Cause.DATA, pair, "funding: another rate", ts_ms, ts_ms, -quantity * marked * (ours - theirs))
        if paid is not None:
            rounding = float(paid.amount) + quantity * marked * ours
            self._add(Cause.DATA, pair, "funding: the exchange's rounding", ts_ms, ts_ms, rounding)

    def finish(self, end_ms: int) -> list[Row]:
        """Close the spans, add the costs of trading by pair, and return every row."""
        for pair in list(self._gaps):
            self._close_gap(pair, end_ms)
        for pair in self.pairs:
            start, traded = self._start_ms, self._traded[pair]
            declared = self._declared[pair] + self._declared_fees[pair]
            note = f"{traded} fills"
            self._add(Cause.PRICE, pair, f"the book against the declared slippage, {note}", start, end_ms,
                      self._declared[pair] - self._slippage[pair])  # fmt: skip
            self._add(Cause.PRICE, pair, f"fees against the declared fee, {note}", start, end_ms,
                      self._declared_fees[pair] - self._fees[pair])  # fmt: skip
            self._add(Cause.PRICE, pair, f"orders of another size and number than the backtest's, {note}", start, end_ms,
                      self.decided.cost[self.decided.at[pair]] - declared)  # fmt: skip
            other = self.decided.profit(pair, self.mids[pair]) - self.remade.profit(pair, self.mids[pair])
            cause = self._differing.get(pair, Cause.SIGNAL)
            self._add(cause, pair, "another decision", start, end_ms, other)
        return self.rows

    def _apart(self, pair: Pair) -> float:
        """Signed base units that the account holds beyond the backtest."""
        return float(self.quantity.get(pair, ZERO)) - self.decided.held(pair)

    def _mark_gap(self, pair: Pair, ts_ms: int, reason: str) -> None:
        """Open, go on with or close the span in which the positions differ."""
        gap = self._gaps.get(pair)
        if not abs(self._apart(pair)) * self.mids[pair] > CLOSED_USDT:
            if gap is not None:
                gap.fills += 1
                self._close_gap(pair, ts_ms)
            return
        if gap is None:
            gap = self._gaps[pair] = _Gap(ts_ms)
        gap.fills += 1
        if reason and reason not in gap.reasons:
            gap.reasons = (*gap.reasons, reason)

    def _close_gap(self, pair: Pair, ts_ms: int) -> None:
        gap = self._gaps.pop(pair)
        what = f"held something else for {(ts_ms - gap.from_ms) / 1000:.0f} s"
        if gap.reasons:
            what = f"{what}: {'; '.join(gap.reasons[:3])}"
        self._add(Cause.LATENCY, pair, what, gap.from_ms, ts_ms, gap.usdt)

    def _add(self, cause: Cause, pair: str, what: str, from_ms: int, to_ms: int, usdt: float) -> None:
        if abs(usdt) > LEAST_USDT:
            self.rows.append(Row(cause, pair, what, from_ms, to_ms, usdt))
