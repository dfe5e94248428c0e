"""Group ``market``: history and streams; and the synthetic history that every group measures on.

That history is made once a process and identical on every machine. What is measured is in ``market_history`` and
``market_streams``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Final

from benchmarks.rows import Report, Row
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, Interval
from hydra_core.domain.market import Panel
from hydra_core.domain.panel import build_panel, reading_start_ms
from hydra_core.simulation.synthetic import ORIGIN_MS, SyntheticMarket

SEED = 7
SIGNAL = 0.3


def _part(module: str, name: str) -> Callable[[Report], list[Row]]:
    """A part that imports what it measures only when it is measured."""
    return lambda report: list(getattr(import_module(f"benchmarks.{module}"), name)(report))


PARTS: Final[Mapping[str, Callable[[Report], list[Row]]]] = {
    "backfill": _part("market_history", "backfills"),
    "limit": _part("market_history", "limited"),
    "scans": _part("market_history", "scanned"),
    "load": _part("market_streams", "loaded"),
    "return": _part("market_streams", "returned"),
    "many": _part("market_streams", "followed"),
}
"""What is measured, part by part: rows of a part are kept as soon as it is through."""


@cache
def market(days: int, seed: int = SEED) -> SyntheticMarket:
    """The market with so many days before its first now."""
    return SyntheticMarket(seed, SIGNAL, days)


@cache
def panel(days: int, interval: Interval = FORECAST_INTERVAL, seed: int = SEED) -> Panel:
    """All pairs' closed bars of the first days, with every reading a collector would have."""
    source = market(days, seed)
    start, end = ORIGIN_MS, ORIGIN_MS + days * DAY_MS
    pairs, early = source.pairs, max(ORIGIN_MS, reading_start_ms(start))
    return build_panel(
        pairs,
        interval,
        start,
        end,
        {pair: source.candles(pair, interval, start, end) for pair in pairs},
        {pair: source.funding(pair, early, end) for pair in pairs},
        {pair: source.open_interest(pair, early, end) for pair in pairs},
        {pair: source.long_short(pair, early, end) for pair in pairs},
        None,
    )
