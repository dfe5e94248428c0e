"""Candles and readings that grow at the end: contiguous arrays on a fixed grid, appended block by block, read as views.

Only storage and aggregation; what is stored comes from the markets.
"""

from __future__ import annotations

import numpy as np

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Floats, Ints
from hydra_core.domain.series import Bars, Series


class Growing:
    """Rows of ``width`` float64 columns; views handed out stay valid and cannot be written."""

    def __init__(self, width: int, capacity: int = 4096) -> None:
        self._data = np.empty((width, capacity))
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, values: Floats) -> None:
        """Add rows, ``values`` of shape (width, n)."""
        rows = self._rows + values.shape[1]
        if rows > self._data.shape[1]:
            grown = np.empty((self._data.shape[0], max(rows, 2 * self._data.shape[1])))
            grown[:, : self._rows] = self._data[:, : self._rows]
            self._data = grown
        self._data[:, self._rows : rows] = values
        self._rows = rows

    def rows(self, first: int, after: int) -> Floats:
        """Read-only view (width, after - first)."""
        view = self._data[:, first:after]
        view.flags.writeable = False
        return view


class GridColumns:
    """Columns on a time grid: row i is stamped ``origin_ms + i * step_ms``."""

    def __init__(self, origin_ms: int, step_ms: int, width: int) -> None:
        self.origin_ms = origin_ms
        self.step_ms = step_ms
        self._values = Growing(width)

    def append(self, values: Floats) -> None:
        """Add rows, ``values`` of shape (width, n)."""
        self._values.append(values)

    def between(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Stamps (n,) and values (width, n) in [start, end)."""
        first = max(0, -((self.origin_ms - start_ms) // self.step_ms))
        after = max(first, min(len(self._values), -((self.origin_ms - end_ms) // self.step_ms)))
        stamps = self.origin_ms + self.step_ms * np.arange(first, after, dtype=np.int64)
        return stamps, self._values.rows(first, after)

    def bars(self, start_ms: int, end_ms: int) -> Bars:
        """The five columns as candles."""
        stamps, values = self.between(start_ms, end_ms)
        return Bars(stamps, *values)

    def series(self, column: int, start_ms: int, end_ms: int) -> Series:
        """One column with its stamps."""
        stamps, values = self.between(start_ms, end_ms)
        return Series(stamps, values[column])


def fold(values: Floats, count: int) -> Floats:
    """Candles of ``count`` times the length from whole groups: (5, n) to (5, n / count), rows o, h, l, c, v."""
    groups = values.reshape(5, -1, count)
    return np.stack(
        [groups[0, :, 0], groups[1].max(axis=1), groups[2].min(axis=1), groups[3, :, -1], groups[4].sum(axis=1)]
    )


def aggregate(bars: Bars, interval: Interval) -> Bars:
    """Candles of a longer interval from the finer ones that there are; an interval without any is absent."""
    if not len(bars):
        return bars
    opens = bars.ts - bars.ts % interval.ms
    first = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    last = np.append(first[1:], len(bars)) - 1
    return Bars(
        ts=opens[first],
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=np.add.reduceat(bars.volume, first),
    )
