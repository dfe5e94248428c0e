"""From the lake to a study: the newest bars, the forced orders and the trades a bar of the same span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import LIQUIDATIONS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import TRADES, candle_table
from hydra_core.lake.panel import load_panel
from hydra_core.lake.store import Lake
from hydra_core.research.outofsample import Progress, quiet
from hydra_core.research.study.events import ForcedOrders
from hydra_core.research.study.records import MarketStudy
from hydra_core.research.study.study import NEWEST, study_market

DAYS: Final = NEWEST * FORECAST_INTERVAL.ms // DAY_MS
MOST_DAYS: Final = 365
TICK_DAYS: Final = 3
"""Newest days whose captured trades are counted: they are many, and their number a bar changes slowly."""
LEAST_TICK_BARS: Final = 100


def study_lake(
    lake: Lake, pairs: Sequence[Pair], days: int = DAYS, until_ms: int = 0, progress: Progress = quiet
) -> MarketStudy:
    """The study of the newest days of a lake.

    Parameters
    ----------
    lake : Lake
    pairs : one without candles is said to have none
    days : newest days, 1 to :data:`MOST_DAYS`
    until_ms : close of the last bar, epoch ms; 0: the newest of the lake

    Raises
    ------
    InputMissing : the lake holds no candles of these pairs
    """
    if not 1 <= days <= MOST_DAYS:
        raise InputMissing(f"a study of {days} days", f"Ask for 1 to {MOST_DAYS}")
    end = until_ms or _newest_close(lake, pairs)
    start = end - days * DAY_MS
    progress("study: reading the lake", 0, len(pairs) + 4)
    panel = load_panel(lake, pairs, start, end)
    forced = {pair: forced_orders(lake, pair, start, end) for pair in pairs}
    ticks = {pair: count for pair in pairs if (count := trades_a_bar(lake, pair, end)) is not None}
    return study_market(panel, forced, ticks, days * DAY_MS // FORECAST_INTERVAL.ms, progress)


def forced_orders(lake: Lake, pair: Pair, start_ms: int, end_ms: int) -> ForcedOrders:
    """Recorded forced orders with start <= time < end; none where none were recorded."""
    frame = lake.read(LIQUIDATIONS, pair, start_ms, end_ms).sort("ts", maintain_order=True)
    return ForcedOrders(
        frame["ts"].dt.epoch("ms").to_numpy().astype(np.int64),
        (frame["quantity"] * frame["price"]).to_numpy().astype(np.float64),
        (frame["side"] == "long").to_numpy().astype(np.bool_),
    )


def trades_a_bar(lake: Lake, pair: Pair, end_ms: int) -> float | None:
    """Median trades of the 5m bars whose trades were captured in the newest days; None where hardly any were."""
    stamps = lake.read(TRADES, pair, end_ms - TICK_DAYS * DAY_MS, end_ms)["ts"].dt.epoch("ms").to_numpy()
    counts = np.unique(stamps // FORECAST_INTERVAL.ms, return_counts=True)[1]
    return float(np.median(counts)) if counts.size >= LEAST_TICK_BARS else None


def _newest_close(lake: Lake, pairs: Sequence[Pair]) -> int:
    entries = lake.entries(candle_table(FORECAST_INTERVAL))
    opens = [entry.last_ms for pair in pairs for entry in entries.get(pair, {}).values() if entry.rows]
    if not opens:
        raise InputMissing(
            f"the lake {lake.root} holds no candles of {', '.join(pairs)}", "Run `hydra demo` or `hydra backfill` first"
        )
    return max(opens) + FORECAST_INTERVAL.ms
