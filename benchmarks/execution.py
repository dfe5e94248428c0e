"""Group ``execution``: how fast a decision is made and carried out, and whether orders survive faults at speed.

The decision's rows are measured with what ``decision`` has; orders, kill switch and throughput are in ``execution_orders``.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import decision, market
from benchmarks.many_pairs import pair_names
from benchmarks.rows import AT_MOST, Report, Row
from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.pairs import Pair
from hydra_core.home import Home
from hydra_core.ledger.store import Ledger
from hydra_core.settings import Settings
from hydra_core.simulation.synthetic import ORIGIN_MS

CYCLES = 500
MANY = (8, 40, 400)
MANY_CYCLES = 45
QUICK_CYCLES = 12
"""Of a quick run: enough for one at a bar's close."""
SHIFT_MS = 37 * FORECAST_INTERVAL.ms
"""How far apart in time the copies of a pair's history begin, so that no two pairs are the same."""


class ManyPairs:
    """As many pairs as asked for, each a stretch of one of the synthetic market's own."""

    def __init__(self, count: int) -> None:
        self.pairs = tuple(Pair(name) for name in pair_names(count))
        self._source: Any = market.market(decision.DAYS)

    @cached_property
    def _places(self) -> dict[Pair, tuple[Pair, int]]:
        own = self._source.pairs
        return {pair: (own[n % len(own)], n // len(own) * SHIFT_MS) for n, pair in enumerate(self.pairs)}

    def _span(self, what: str, pair: Pair, *words: Any) -> Any:
        base, shift = self._places[pair]
        *kept, start, end = words
        told = getattr(self._source, what)(base, *kept, start + shift, end + shift)
        return replace(told, ts=told.ts - shift)

    def candles(self, pair: Pair, interval: Any, start_ms: int, end_ms: int) -> Any:
        return self._span("candles", pair, interval, start_ms, end_ms)

    def funding(self, pair: Pair, start_ms: int, end_ms: int) -> Any:
        return self._span("funding", pair, start_ms, end_ms)

    def open_interest(self, pair: Pair, start_ms: int, end_ms: int) -> Any:
        return self._span("open_interest", pair, start_ms, end_ms)

    def long_short(self, pair: Pair, start_ms: int, end_ms: int) -> Any:
        return self._span("long_short", pair, start_ms, end_ms)

    def _now(self, what: str, pair: Pair, ms: int) -> Any:
        base, shift = self._places[pair]
        return replace(getattr(self._source, what)(base, ms + shift), pair=pair, event_ms=ms)

    def quote(self, pair: Pair, ms: int) -> Any:
        return self._now("quote", pair, ms)

    def mark(self, pair: Pair, ms: int) -> Any:
        return self._now("mark", pair, ms)

    def rules(self, pair: Pair) -> Any:
        return replace(self._source.rules(self._places[pair][0]), pair=pair)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that real homes lie on."""
    disk = Settings().data_root
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=disk) as folder:
        yield Path(folder).absolute()


def decision_rows(report: Report) -> list[Row]:
    """Part ``decision``."""
    with scratch() as folder:
        return decided(report, folder, QUICK_CYCLES if report.quick else CYCLES)


def growth_rows(report: Report) -> list[Row]:
    """Part ``growth``."""
    with scratch() as folder:
        return growth(report, folder, MANY[:2] if report.quick else MANY, QUICK_CYCLES if report.quick else MANY_CYCLES)


def orders_rows(report: Report) -> list[Row]:
    """Part ``orders``."""
    from benchmarks import execution_orders

    with scratch() as folder:
        return execution_orders.measure(report, folder)


PARTS: Mapping[str, Callable[[Report], list[Row]]] = {
    "decision": decision_rows,
    "growth": growth_rows,
    "orders": orders_rows,
}


def decided(report: Report, folder: Path, count: int) -> list[Row]:
    """Median and 99th percentile of so many cycles on eight pairs, with a forecaster."""
    report.say(f"{count} cycles of a window run with a forecaster")
    kept = ModelRegistry(folder / "registry")
    version = decision.forecaster(kept, folder / "artifact")
    home = Home(folder, "decided").create()
    ModelRegistry(home.models).save(FORECASTER, folder / "artifact")
    taken = cycles(home, folder, {FORECASTER: version}, decision.model_call(kept, version), None, count)
    work = [*taken[True].work, *taken[False].work]
    bare = [sum(parts.values()) for parts in (*taken[True].bare, *taken[False].bare)]
    notes = (
        f"from reading the live state to the durable commit, {len(work)} cycles of 8 pairs, {len(taken[True].work)} of them at "
        "a bar's close; the peer is the same quantile of their bare parts: new rows, model call, one durable commit"
    )
    return [
        Row(f"decision p{share}", q(work, share), q(bare, share), decision.GOAL, "ms", AT_MOST, notes)
        for share in (50, 99)
    ]


def growth(report: Report, folder: Path, many_pairs: Sequence[int], wanted: int) -> list[Row]:
    """Cycles on more and more pairs, without a model."""
    medians: dict[int, dict[bool, float]] = {}
    for count in many_pairs:
        report.say(f"cycles on {count} pairs")
        home = Home(folder, f"many-{count}").create()
        taken = cycles(home, folder, {}, None, ManyPairs(count), wanted)
        medians[count] = {at_close: statistics.median(times.work) for at_close, times in taken.items()}
    few, many = many_pairs[0], many_pairs[-1]
    rows = []
    for at_close, name in ((False, "between bars"), (True, "at a bar's close")):
        told = ", ".join(f"{count} pairs {medians[count][at_close]:.1f} ms" for count in many_pairs)
        rows.append(
            Row(
                f"decision {name}, {many} pairs against {few}", medians[many][at_close] / medians[few][at_close], many / few,
                1.0, "times", AT_MOST, f"the peer is how many times the pairs; medians: {told}",
            )
        )  # fmt: skip
    return rows


def cycles(
    home: Home, folder: Path, pins: dict[str, str], call: Any, source: ManyPairs | None, count: int
) -> dict[bool, decision.Times]:
    """Times of so many counted cycles in a fresh home."""
    made: Any = source or market.market(decision.DAYS)
    settings = Settings(data_root=folder, groq_api_key=None, pairs=made.pairs)
    with Ledger.open(home.ledger_url) as ledger:
        ledger.open_account("bench", Decimal(10_000), ORIGIN_MS)
        feed = decision.Feed(home, ledger, decision.SteppedClock(decision.NOW_MS), made)
        bare = decision.Bare(home, call)
        try:
            return decision.cycles(home, ledger, settings, feed, pins, bare, count + decision.WARM_UP)
        finally:
            bare.close()
            feed.writer.close()


def q(values: list[float], share: float) -> float:
    """A percentile."""
    return float(np.percentile(values, share))
