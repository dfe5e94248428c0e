"""Parity: a recorded session through the decision step and the backtester again, every difference given its cause to the cent.

1. Every recorded decision is made again from its pins, readings and candles (``decision``): identical, or the places where it
   is not. 2. The decisions are led through the backtester's account beside the account's own fills (``attribution``).
3. Every fill is held against the declared model of slippage (``fills``).

What remains of the money after all causes is a row "unexplained": it means that the books or this code are wrong.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.domain.errors import HydraError, InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, iso
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.home import Home
from hydra_core.ledger import codec
from hydra_core.ledger.livestate.tables import connect
from hydra_core.ledger.records import STRATEGY, DecisionRecord, FundingPayment
from hydra_core.ledger.store import Ledger
from hydra_core.replay.attribution import Cause, Row, Timeline
from hydra_core.replay.decision import Remade, Remaker
from hydra_core.replay.fills import FillCheck, Markets, check, summary
from hydra_core.replay.ledgers import ALL, Entries, Standing, book_faults
from hydra_core.research.engine.inputs import day_notional
from hydra_core.window.cycle import CycleInputs

CENT: Final = 0.005
"""A remainder below half a cent is none."""
STAMP_SLACK_MS: Final = 60_000
"""A settlement is booked under its own stamp or the exchange's, some milliseconds apart."""
_NEVER: Final = 1 << 62

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Settled:
    """A funding settlement: its rate as published, and what the account booked; None for what is not there."""

    ts_ms: int
    pair: Pair
    rate: float | None
    paid: FundingPayment | None


@dataclass(frozen=True, slots=True)
class Differing:
    """A decision that came out otherwise, and why."""

    cycle_ms: int
    cause: Cause
    places: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The line as plain data."""
        return {
            "cycle_ms": self.cycle_ms,
            "cycle": iso(self.cycle_ms),
            "cause": self.cause.value,
            "places": list(self.places),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ParityReport:
    """What a session's replay found; money in USDT.

    Parameters
    ----------
    decisions, identical : recorded decisions, and those that came out the same to the last byte
    missed : grid points inside the session that nobody decided
    differing : the others, with the cause
    account_profit, backtest_profit : of the account as it was, and of the same decisions through the backtester
    rows : differences by cause, pair and span; they add up to the difference of the two profits
    fills : every fill against the declared model of slippage
    """

    account: str
    from_ms: int
    to_ms: int
    decisions: int
    identical: int
    missed: int
    differing: tuple[Differing, ...]
    account_profit: float
    backtest_profit: float
    rows: tuple[Row, ...]
    fills: tuple[FillCheck, ...]

    @property
    def difference(self) -> float:
        """What the account made beyond the backtest."""
        return self.account_profit - self.backtest_profit

    @property
    def by_cause(self) -> dict[str, float]:
        """Causes that occur, and what they add up to."""
        found = {cause: [row.usdt for row in self.rows if row.cause is cause] for cause in Cause}
        return {cause.value: math.fsum(amounts) for cause, amounts in found.items() if amounts}

    @property
    def unexplained(self) -> tuple[Row, ...]:
        """Rows that no cause was found for."""
        return tuple(row for row in self.rows if row.cause is Cause.UNEXPLAINED)

    @property
    def fills_within(self) -> bool:
        """Whether no fill cost more than the declared model allows."""
        return all(one.within for one in self.fills)

    @property
    def holds(self) -> bool:
        """Identical decisions, fills within the declared model, and no cent without a cause."""
        return self.identical == self.decisions and self.fills_within and not self.unexplained

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "account": self.account,
            "from": iso(self.from_ms),
            "to": iso(self.to_ms),
            "hours": round((self.to_ms - self.from_ms) / HOUR_MS, 3),
            "decisions": self.decisions,
            "identical": self.identical,
            "missed": self.missed,
            "differing": [one.to_json() for one in self.differing],
            "account_profit": round(self.account_profit, 6),
            "backtest_profit": round(self.backtest_profit, 6),
            "difference": round(self.difference, 6),
            "by_cause": {cause: round(amount, 6) for cause, amount in self.by_cause.items()},
            "rows": [row.to_json() for row in self.rows],
            "fills": {**summary(self.fills), "outside": [one.to_json() for one in self.fills if not one.within]},
            "unexplained": len(self.unexplained),
            "holds": self.holds,
        }


def parity(
    home: Home,
    ledger: Ledger,
    account: str,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    strategy: str = STRATEGY,
    progress: Progress = lambda _done, _of: None,
) -> ParityReport:
    """Live a recorded session through again.

    Parameters
    ----------
    home, ledger : of the market that it was recorded in
    account : str
    since_ms, until_ms : market time of the first decision, and after the last; by default all of them
    progress : called with how many decisions are done, of how many

    Raises
    ------
    UsageError : nothing was decided in that span
    """
    lines = [
        line
        for line in ledger.decisions(account, since_ms=since_ms or 0, until_ms=until_ms, limit=ALL)
        if line.strategy == strategy
    ]
    if not lines:
        raise UsageError(f"{account} has no decision in that span", "`hydra portfolio show` names the newest one")
    cycles = [line.cycle_ms for line in reversed(lines)]
    end = _NEVER if until_ms is None else until_ms
    with Remaker(home, ledger) as remaker:
        return _Session(home, ledger, account, strategy, cycles, end, remaker).run(progress)


class _Session:
    """One parity run."""

    def __init__(
        self, home: Home, ledger: Ledger, account: str, strategy: str, cycles: list[int], end_ms: int, remaker: Remaker
    ) -> None:
        self.ledger, self.account, self.strategy, self.cycles, self.remaker = ledger, account, strategy, cycles, remaker
        self.start_ms, self.end_ms = cycles[0], end_ms
        self.all = Entries.read(ledger, account)
        self.entries = self.all.between(self.start_ms, end_ms)
        first = self._inputs(self._record(cycles[0]))
        frame = remaker.frame(first)
        held = Standing.at(self.all, self.start_ms)
        traded = {one.fill.pair for one in self.entries.fills}
        self.pairs = tuple(dict.fromkeys((*frame.pairs, *held.positions, *sorted(traded))))
        self.costs = frame.limits.costs
        self.standing = held
        self.timeline = Timeline(self.pairs, held, self.start_ms, self.costs, self._first_mids(first))
        self.markets = Markets(home.spool, sorted(traded), self.start_ms, self.last_ms + 1)
        published = settlements(home, self.pairs, self.start_ms, self.last_ms + 1)
        self.due = deque(matched(published, self.entries.funding))
        self.fills = deque(one.fill for one in self.entries.fills)
        self.days: dict[Pair, tuple[float, float]] = {}
        self.marks: dict[Pair, float] = {}
        self.checks: list[FillCheck] = []
        self.differing: list[Differing] = []

    @property
    def last_ms(self) -> int:
        """Market time of the newest thing in the session."""
        newest = [self.cycles[-1], *(one.fill.event_ms for one in self.entries.fills[-1:])]
        newest += [one.settlement_ms for one in self.entries.funding[-1:]]
        return max(newest)

    def run(self, progress: Progress) -> ParityReport:
        """Every event in order of time, then the sums."""
        plans = {order.order_id: order.plan_id for order in self.ledger.orders(self.account, limit=ALL)}
        self._settle(self.start_ms)
        identical = 0
        spans = zip(self.cycles, (*self.cycles[1:], self.last_ms + 1), strict=True)
        for done, (cycle_ms, until) in enumerate(spans, 1):
            identical += self._decision(self._record(cycle_ms))
            self._events(until, plans)
            progress(done, len(self.cycles))
        rows = self.timeline.finish(self.last_ms)
        self.standing.take(self.entries)
        for moved in self.entries.other:
            rows.append(Row(Cause.DATA, "", f"cash moved: {moved.kind}", moved.ts_ms, moved.ts_ms, float(moved.amount)))
        mids = {pair: mid for pair, mid in self.timeline.mids.items() if math.isfinite(mid)}
        begin = Standing.at(self.all, self.start_ms).worth(self._first_known(mids))
        ours, theirs = self.standing.worth(mids), self.timeline.remade.worth(mids)
        rows += self._unexplained(ours - theirs - math.fsum(row.usdt for row in rows))
        missed = sum(
            span.points
            for span in self.ledger.missed(self.account, self.strategy, limit=ALL)
            if self.start_ms <= span.first_ms < self.end_ms
        )
        return ParityReport(
            account=self.account,
            from_ms=self.start_ms,
            to_ms=self.last_ms,
            decisions=len(self.cycles),
            identical=identical,
            missed=missed,
            differing=tuple(self.differing),
            account_profit=ours - begin,
            backtest_profit=theirs - begin,
            rows=tuple(rows),
            fills=tuple(self.checks),
        )

    def _decision(self, record: DecisionRecord) -> bool:
        """Make one decision again and lead both backtests through it; True when it is identical."""
        inputs = self._inputs(record)
        self.marks.update({pair: mark.mark for pair, mark in inputs.marks.items()})
        cause: Cause | None = None
        remade, notes, places = record.decision, tuple[str, ...](), tuple[str, ...]()
        try:
            made = self.remaker.remake(record)
        except HydraError as error:
            cause, notes, places = Cause.DATA, (str(error),), ("live state",)
        else:
            self._note_days(made)
            remade, notes = made.result.remade, made.result.notes
            places = tuple(found.path for found in made.result.differences)
            if not made.result.identical:
                cause = Cause.DATA if made.result.data_differ else Cause.SIGNAL
        if cause is not None:
            self.differing.append(Differing(record.cycle_ms, cause, places, notes))
        self.timeline.decide(inputs, record.decision, remade, self.days, cause)
        return cause is None

    def _events(self, until_ms: int, plans: Mapping[str, str]) -> None:
        """Fills before the next decision, and settlements up to it, in order of time."""
        while self.fills and self.fills[0].event_ms < until_ms:
            fill = self.fills.popleft()
            self._settle(fill.event_ms)
            day = self.days.get(fill.pair, (0.0, 0.0))
            market = self.markets.at(fill, self.timeline.mids.get(fill.pair, math.nan), day)
            checked = check(fill, plans.get(fill.order_id, ""), market, self.costs)
            self.checks.append(checked)
            self.timeline.fill(fill, checked)
        self._settle(until_ms)

    def _settle(self, until_ms: int) -> None:
        """Settlements up to a moment: at a grid point they come before its decision, as in the backtester."""
        while self.due and self.due[0].ts_ms <= until_ms:
            one = self.due.popleft()
            mark = self.marks.get(one.pair, self.timeline.mids[one.pair])
            self.timeline.settle(one.pair, one.ts_ms, mark, one.rate, one.paid)

    def _unexplained(self, left: float) -> Iterator[Row]:
        """Money that no cause accounts for, and books that are not what their entries add up to."""
        if abs(left) >= CENT or not math.isfinite(left):
            yield Row(Cause.UNEXPLAINED, "", "left over after every cause", self.start_ms, self.last_ms, left)
        for what, amount in book_faults(self.ledger, self.all).items():
            words = f"{what} is not what the entries add up to"
            yield Row(Cause.UNEXPLAINED, "", words, self.start_ms, self.last_ms, amount)

    def _note_days(self, made: Remade) -> None:
        """Turnover and volatility of a day by pair, as the backtester reads them off the panel."""
        if made.assessment is None or len(made.panel) < 2:
            return
        bars = DAY_MS // made.panel.interval.ms
        traded = day_notional(made.panel.last(bars + 1))[-1]
        deviation = np.nan_to_num(made.assessment.state.volatility[-1]) * math.sqrt(bars)
        self.days = {
            pair: (float(traded[column]), float(deviation[column])) for column, pair in enumerate(made.panel.pairs)
        }

    def _record(self, cycle_ms: int) -> DecisionRecord:
        record = self.ledger.decision(self.account, self.strategy, cycle_ms)
        assert record is not None, "it was listed a moment ago and decisions are never deleted"
        return record

    def _inputs(self, record: DecisionRecord) -> CycleInputs:
        return codec.decode(CycleInputs, record.inputs)

    def _first_mids(self, first: CycleInputs) -> dict[Pair, float]:
        return {pair: quote.mid for pair, quote in first.quotes.items()}

    def _first_known(self, mids: Mapping[Pair, float]) -> dict[Pair, float]:
        """Prices that the session began at; a pair that was never quoted then counts as it ended."""
        return {**mids, **self._first_mids(self._inputs(self._record(self.cycles[0])))}


def settlements(home: Home, pairs: Sequence[Pair], start_ms: int, end_ms: int) -> list[tuple[int, Pair, float]]:
    """Funding settlements as published, from the live state: time, pair, rate; the newest word on each."""
    try:
        connection = connect(home.live_state, create=False)
    except InputMissing:
        return []
    query = "SELECT pair, ts, value FROM series WHERE kind = ? AND ts >= ? AND ts < ? ORDER BY id"
    try:
        told = connection.execute(query, (FUNDING, start_ms, end_ms))
        found = {(Pair(pair), int(ts)): float(value) for pair, ts, value in told}
    finally:
        connection.close()
    return sorted((ts, pair, rate) for (pair, ts), rate in found.items() if pair in pairs)


def matched(published: Sequence[tuple[int, Pair, float]], paid: Sequence[FundingPayment]) -> list[Settled]:
    """What was published and what was booked, brought together by pair and time, oldest first."""
    left = {(one.pair, one.settlement_ms): one for one in paid}
    made: list[Settled] = []
    for ts, pair, rate in published:
        key = next((key for key in left if key[0] == pair and abs(key[1] - ts) <= STAMP_SLACK_MS), None)
        made.append(Settled(ts, pair, rate, left.pop(key) if key is not None else None))
    made += [Settled(one.settlement_ms, one.pair, None, one) for one in left.values()]
    return sorted(made, key=lambda one: (one.ts_ms, one.pair))
