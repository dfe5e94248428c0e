"""A growing column of stamped rows in memory: append at the end is cheap, a late row finds its place.

The reader keeps one per pair and kind, so that a cycle reads only what is new from the file.
"""

from __future__ import annotations

import numpy as np

from hydra_core.domain.market import Floats, Ints


class StampedRows:
    """Rows of ``width`` floats by ascending stamp (epoch ms); a stamp that comes again replaces its row."""

    def __init__(self, width: int) -> None:
        self._ts: Ints = np.empty(64, np.int64)
        self._rows: Floats = np.empty((64, width))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def ts(self) -> Ints:
        """Stamps, shape (n,)."""
        return self._ts[: self._count]

    @property
    def rows(self) -> Floats:
        """Values, shape (n, width)."""
        return self._rows[: self._count]

    def put(self, ts: int, row: tuple[float, ...]) -> None:
        """Add or replace one row."""
        if self._count and ts <= self._ts[self._count - 1]:
            at = int(np.searchsorted(self.ts, ts))
            if self._ts[at] != ts:
                self._make_room()
                self._ts[at + 1 : self._count + 1] = self._ts[at : self._count]
                self._rows[at + 1 : self._count + 1] = self._rows[at : self._count]
                self._count += 1
        else:
            self._make_room()
            at = self._count
            self._count += 1
        self._ts[at], self._rows[at] = ts, row

    def between(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Copies of the stamps and rows with start <= stamp < end."""
        part = slice(int(np.searchsorted(self.ts, start_ms)), int(np.searchsorted(self.ts, end_ms)))
        return self.ts[part].copy(), self.rows[part].copy()

    def has(self, ts: int) -> bool:
        """Whether there is a row of that stamp."""
        at = int(np.searchsorted(self.ts, ts))
        return at < self._count and bool(self._ts[at] == ts)

    def forget_before(self, ts: int) -> None:
        """Drop rows older than a stamp."""
        drop = int(np.searchsorted(self.ts, ts))
        if drop:
            self._ts, self._rows = self._ts[drop:].copy(), self._rows[drop:].copy()
            self._count -= drop

    def _make_room(self) -> None:
        if self._count == self._ts.size:
            self._ts = np.concatenate([self._ts, np.empty(max(64, self._count), np.int64)])
            self._rows = np.concatenate([self._rows, np.empty((max(64, self._count), self._rows.shape[1]))])
