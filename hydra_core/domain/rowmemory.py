"""What was computed of closed bars and still holds when the next one is appended: values by row, and digests of rows.

A window run reads panel after panel, each the one before with a bar more; what a bar's row says of itself need not be
computed again. It is handed out only for a panel whose arrays are, by address, the very rows of the table that the memory
belongs to: a panel that was altered, copied or read anew has no memory, and is computed from scratch to the same bits.

Not here: the table (``growing``), what is worth keeping (``statistics.view``, ``alpha.features``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hydra_core.domain.market import FIELD_NAMES, HASH_ROWS, Floats, Panel

Values = npt.NDArray[Any]

_SPARE_ROWS: Final = 288
"""Rows of room that an array gets beyond what it holds: a day of bars is appended before it is copied."""


class RowMemory:
    """Rows that panels of one table share, counted in bars since the epoch; safe to ask from several threads."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._table: Floats = np.empty((0, 0, 0))
        self._first_bar = 0
        self._held: dict[Hashable, _Rows] = {}
        self.digests: dict[int, bytes] = {}
        """Digest of each whole block of rows, by the block's number (``market.Panel.content_hash``)."""

    def belongs_to(self, table: Floats, first_bar: int, end_bar: int) -> None:
        """Name the table (fields, rows, pairs) of the rows, and the bars that it takes over from the one before.

        Whatever is known of bars from ``end_bar`` on is forgotten: their rows say something else now.
        """
        with self._lock:
            self._table, self._first_bar = table, first_bar
            for key in list(self._held):
                if not self._held[key].cut(end_bar):
                    del self._held[key]
            self.digests = {block: told for block, told in self.digests.items() if (block + 1) * HASH_ROWS <= end_bar}

    def forget_before(self, bar: int) -> None:
        """Drop digests that no panel asks for any more."""
        with self._lock:
            for block in [block for block in self.digests if block * HASH_ROWS < bar]:
                del self.digests[block]

    def knows(self, panel: Panel) -> bool:
        """Whether a panel's arrays are the table's own rows."""
        if not len(panel):
            return False
        with self._lock:
            table, at = self._table, bar_of(panel, 0) - self._first_bar
        fields, rows, pairs = table.shape
        if at < 0 or at + len(panel) > rows or pairs != len(panel.pairs) or fields != len(FIELD_NAMES):
            return False
        address, size = table.__array_interface__["data"][0], table.itemsize
        for number, name in enumerate(FIELD_NAMES):
            values: Floats = getattr(panel, name)
            expected = address + (number * rows + at) * pairs * size
            if values.base is not table or values.__array_interface__["data"][0] != expected:
                return False
        return True

    def recall(self, key: Hashable, first: int, end: int, compute: Callable[[int], Values | None]) -> Values | None:
        """Values of the bars ``first`` to ``end`` (not included), time first; only what is not known yet is computed.

        Parameters
        ----------
        key : names what the values are; a row's value must depend on that row and those before it alone
        compute : values of the newest so many rows, the last of bar ``end - 1``; None where it cannot tell them apart
            from the others

        Returns
        -------
        None where ``compute`` gave none
        """
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.first <= first <= held.end:
                if end > held.end:
                    fresh = compute(end - held.end)
                    if fresh is None:
                        return None
                    held.append(fresh, first)
                return held.between(first, end)
            fresh = compute(end - first)
            if fresh is not None:
                self._held[key] = _Rows(first, fresh)
            return fresh


class _Rows:
    """Values of consecutive bars that grow at the end; rows handed out are never written again."""

    def __init__(self, first: int, values: Values) -> None:
        self.first = first
        self._count = int(values.shape[0])
        self._values = _roomy(values)

    @property
    def end(self) -> int:
        return self.first + self._count

    def between(self, first: int, end: int) -> Values:
        return self._values[first - self.first : end - self.first]

    def append(self, values: Values, needed_from: int) -> None:
        """Add rows at the end; where there is no room, rows before ``needed_from`` are let go."""
        rows = int(values.shape[0])
        if self._count + rows > self._values.shape[0]:
            kept = self.between(needed_from, self.end)
            self.first, self._count = needed_from, int(kept.shape[0])
            self._values = _roomy(kept, rows)
        self._values[self._count : self._count + rows] = values
        self._count += rows

    def cut(self, bar: int) -> bool:
        """Forget rows from a bar on; False when none is left."""
        if bar < self.end:
            self._count = max(0, bar - self.first)
            self._values = _roomy(self._values[: self._count])
        return self._count > 0


def _roomy(values: Values, more: int = 0) -> Values:
    """A copy with room for more rows."""
    out = np.empty((values.shape[0] + more + _SPARE_ROWS, *values.shape[1:]), values.dtype)
    out[: values.shape[0]] = values
    return out


def bar_of(panel: Panel, row: int) -> int:
    """Number of a row's bar since the epoch; negative rows count from the end."""
    return int(panel.ts[row]) // panel.interval.ms


def memory_of(panel: Panel) -> RowMemory | None:
    """The memory of a panel's rows; None where there is none, or the panel is not what it remembers."""
    memory = panel.memory
    return memory if memory is not None and memory.knows(panel) else None
