"""A recorded market: real history served as it was, bar by bar; what was not recorded is absent, not invented.

The base interval is the finest recorded. Longer candles inside its span are derived from it; files of longer intervals serve
only what lies before. How files are read and checked is in :mod:`folder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from hydra_core.domain.errors import DataCorrupt, Unsupported, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.market import (
    CANDLES,
    FUNDING,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    Floats,
    Ints,
    Liquidation,
)
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series
from hydra_core.simulation import folder as fo
from hydra_core.simulation.columns import aggregate
from hydra_core.simulation.derived import DerivedMarket
from hydra_core.simulation.specs import SPECS

PAPER_DAYS: Final = 14
"""Days at the end that are kept for paper trading; at most a fifth of what is recorded."""
COVERAGE: Final = 0.8
"""An input is offered when every pair's readings reach over at least this share of the span."""
SETTLEMENT_MS: Final = 8 * HOUR_MS
_SERIES: Final = {FUNDING: "rate", OPEN_INTEREST: "open_interest", LONG_SHORT: "long_short_ratio"}


class RecordedMarket(DerivedMarket):
    """History from a folder; implements :class:`~hydra_core.simulation.base.Market`.

    Parameters
    ----------
    folder : Path, layout in :mod:`folder`
    days : int, optional, days of base history before a venue's first now; all that is recorded where left out

    Raises
    ------
    UsageError : no such folder, no candles in it, or more days asked than recorded
    DataCorrupt : a file that cannot be believed
    """

    def __init__(self, folder: Path, days: int | None = None) -> None:
        intervals = fo.recorded_intervals(folder)
        base = intervals[0]
        present = {path.stem for path in (folder / fo.CANDLES / base).glob("*.parquet")}
        pairs = tuple(pair for pair in SPECS if pair in present)
        if not pairs:
            raise UsageError(f"{folder / fo.CANDLES / base} holds no known pair", f"Known: {', '.join(SPECS)}")
        self._name = f"recorded-{fo.tables_hash(folder)[:8]}"
        files = {interval: _read_candles(folder, interval, pairs) for interval in intervals}
        for pair, bars in files[base].items():
            if not len(bars):
                raise DataCorrupt(f"{folder / fo.CANDLES / base / pair}.parquet has no rows", fo.REPLACE)
        super().__init__(pairs, base, seed=int(self._name[-8:], 16))
        first = min(int(bars.ts[0]) for bars in files[base].values())
        self._end_ms = max(int(bars.ts[-1]) for bars in files[base].values()) + base.ms
        self._start_ms = self._first_now(first, days)
        self._origin_ms = first if days is None else self._start_ms - days * DAY_MS
        self._files = {
            interval: {
                pair: _cut(bars, self._origin_ms) if interval == base else bars for pair, bars in by_pair.items()
            }
            for interval, by_pair in files.items()
        }
        self._series = {table: self._read_series(folder, table) for table in _SERIES}
        self._forced = fo.read_each(folder / LIQUIDATIONS, pairs, fo.read_liquidations)
        self._inputs = frozenset({CANDLES, *(table for table in _SERIES if self._covered(self._series[table]))})
        if self._covered({pair: _stamps(events) for pair, events in self._forced.items()}):
            self._inputs |= {LIQUIDATIONS}
        self._derived: dict[tuple[Pair, Interval], Bars] = {}

    def _first_now(self, first: int, days: int | None) -> int:
        """Where paper trading begins: a grid day if possible, with the asked history before it."""
        span = self._end_ms - first
        start = self._end_ms - min(PAPER_DAYS * DAY_MS, span // 5)
        start -= start % (DAY_MS if span > 10 * DAY_MS else self._base.ms)
        available = (start - first) // DAY_MS
        if days is not None and not 1 <= days <= available:
            raise UsageError(
                f"{days} days of history asked, {available} are recorded before paper trading begins", "Ask for fewer"
            )
        return start

    def _read_series(self, folder: Path, table: str) -> dict[Pair, Series]:
        return fo.read_each(folder / table, self._pairs, lambda path, _: fo.read_series(path, _SERIES[table]))

    def _covered(self, series: dict[Pair, Series]) -> bool:
        """Whether every pair's stamps inside the span reach over enough of it."""
        for pair in self._pairs:
            stamps = series[pair].ts if pair in series else np.empty(0, np.int64)
            inside = stamps[(stamps >= self._origin_ms) & (stamps < self._end_ms)]
            if not inside.size or inside[-1] - inside[0] < COVERAGE * (self._end_ms - self._origin_ms):
                return False
        return True

    @property
    def name(self) -> str:
        """``recorded-`` and eight digits of the contents' hash."""
        return self._name

    @property
    def origin_ms(self) -> int:
        """Open of the first base candle served."""
        return self._origin_ms

    @property
    def start_ms(self) -> int:
        """The last part is kept for paper trading; training sees what precedes it."""
        return self._start_ms

    @property
    def end_ms(self) -> int:
        """Close of the last recorded candle."""
        return self._end_ms

    @property
    def inputs(self) -> frozenset[str]:
        """What is recorded for every pair over the span."""
        return self._inputs

    def _span(self) -> tuple[int, int]:
        return self._origin_ms, self._end_ms

    def _all_candles(self, pair: Pair, interval: Interval) -> Bars:
        """Derived candles inside the base span, the interval's own file (or the next finer one's) before it."""
        key = (pair, interval)
        if key not in self._derived:
            base = self._files[self._base][pair]
            whole = aggregate(base, interval)
            # A longer candle that begins before the base span, or ends after it, would be a part posing as a whole.
            inner = _between(whole, -(-self._origin_ms // interval.ms) * interval.ms, self._end_ms - interval.ms + 1)
            border = int(inner.ts[0]) if len(inner) else self._end_ms
            finer = [i for i in Interval if self._base.ms < i.ms <= interval.ms and pair in self._files.get(i, {})]
            if finer:
                source = self._files[finer[-1]][pair]
                whole_from = -(-int(source.ts[0]) // interval.ms) * interval.ms if len(source) else border
                inner = _join(_between(aggregate(source, interval), whole_from, border), inner)
            self._derived[key] = inner
        return self._derived[key]

    def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Bars:
        """Every recorded candle whose open lies in the span; a gap stays a gap."""
        if interval.ms < self._base.ms:
            raise Unsupported(f"{self.name} has no {interval} candles", f"Its base interval is {self._base}")
        bars = self._files[interval][pair] if interval == self._base else self._all_candles(pair, interval)
        return _between(bars, start_ms, end_ms)

    def _day_candles(self, pair: Pair, day_ms: int) -> Bars:
        recorded = self._files[self._base][pair]
        found = _between(recorded, day_ms, day_ms + DAY_MS)
        before = int(recorded.ts.searchsorted(day_ms))
        known = float(recorded.close[before - 1]) if before else float(recorded.open[0])
        grid = np.arange(day_ms, day_ms + DAY_MS, self._base.ms, dtype=np.int64)
        newest = found.ts.searchsorted(grid, side="right") - 1
        there = (newest >= 0) & (found.ts[np.maximum(newest, 0)] == grid) if len(found) else np.zeros(grid.size, bool)
        flat = (
            np.where(newest >= 0, found.close[np.maximum(newest, 0)], known)
            if len(found)
            else np.full(grid.size, known)
        )
        columns = [flat.copy() for _ in range(4)] + [np.zeros(grid.size)]
        for column, name in zip(columns, ("open", "high", "low", "close", "volume"), strict=True):
            column[there] = getattr(found, name)[newest[there]]
        return Bars(grid, *columns)

    def _offered(self, table: str, pair: Pair, start_ms: int, end_ms: int) -> Series:
        series = self._series[table].get(pair) if table in self._inputs else None
        if series is None:
            return Series.empty()
        lo, hi = series.ts.searchsorted((start_ms, end_ms))
        return Series(series.ts[lo:hi], series.value[lo:hi])

    def funding(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Settled funding rates by settlement time."""
        return self._offered(FUNDING, pair, start_ms, end_ms)

    def open_interest(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Open interest in base units; empty where it is not recorded for every pair over the span."""
        return self._offered(OPEN_INTEREST, pair, start_ms, end_ms)

    def long_short(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Ratio of accounts long to short; empty where it is not recorded for every pair over the span."""
        return self._offered(LONG_SHORT, pair, start_ms, end_ms)

    def liquidations(self, pair: Pair, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Recorded forced orders; empty where they are not recorded."""
        if LIQUIDATIONS not in self._inputs:
            return []
        return [event for event in self._forced[pair] if start_ms <= event.event_ms < end_ms]

    def _coming_funding(self, pair: Pair, ts_ms: int) -> tuple[float, int]:
        """The last settled rate stands in for the prediction (the coming one is not known yet), its time for the schedule."""
        series = self._series[FUNDING].get(pair)
        if series is None or not len(series):
            return 0.0, (ts_ms // SETTLEMENT_MS + 1) * SETTLEMENT_MS
        row = int(series.ts.searchsorted(ts_ms, side="right"))
        coming = int(series.ts[row]) if row < len(series) else (ts_ms // SETTLEMENT_MS + 1) * SETTLEMENT_MS
        return float(series.value[row - 1]) if row else 0.0, coming

    def coming_rates(self, pair: Pair, stamps: Ints) -> Floats:
        """See the protocol."""
        series = self._series[FUNDING].get(pair)
        if series is None or not len(series):
            return np.zeros(stamps.shape)
        rows = series.ts.searchsorted(stamps, side="right")
        return np.where(rows > 0, series.value[rows - 1], 0.0)

    @property
    def has_marks(self) -> bool:
        """No: they are derived from its candles, and what was not recorded is absent."""
        return False


def _read_candles(folder: Path, interval: Interval, pairs: tuple[Pair, ...]) -> dict[Pair, Bars]:
    return fo.read_each(folder / fo.CANDLES / interval, pairs, lambda path, _: fo.read_bars(path, interval))


def _stamps(events: list[Liquidation]) -> Series:
    ts = np.array([event.event_ms for event in events], np.int64)
    return Series(ts, np.zeros(ts.size))


def _between(bars: Bars, start_ms: int, end_ms: int) -> Bars:
    lo, hi = bars.ts.searchsorted((start_ms, end_ms))
    rows = slice(int(lo), int(hi))
    return Bars(bars.ts[rows], bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows], bars.volume[rows])


def _cut(bars: Bars, start_ms: int) -> Bars:
    return _between(bars, start_ms, int(bars.ts[-1]) + 1)


def _join(one: Bars, two: Bars) -> Bars:
    names = ("ts", "open", "high", "low", "close", "volume")
    return Bars(*(np.concatenate([getattr(one, name), getattr(two, name)]) for name in names))
