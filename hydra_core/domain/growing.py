"""A panel that moves on with the market: what has not changed is kept, new rows are joined and appended.

The rows are joined by the very function that joins a whole panel (``panel.join_rows``), so that a panel that grew and one
that is made at once have the same bits. Not here: where the columns come from, when a bar is shown (``ledger.livestate``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import FIELD_NAMES, Bools, Floats, Ints, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import Joined, Sources, held_inputs, join_rows
from hydra_core.domain.rowmemory import RowMemory

_SPARE_ROWS: Final = 288
"""Room for a day of bars before the rows are copied."""


class GrowingPanel:
    """The newest panel over some pairs, made anew only as far as something has changed.

    Parameters
    ----------
    pairs : columns
    interval : of the rows
    """

    def __init__(self, pairs: Sequence[Pair], interval: Interval) -> None:
        self._pairs, self._interval = tuple(pairs), interval
        self._table: _Table | None = None
        self._shown: Panel | None = None
        self._span = (0, 0)

    def panel(
        self,
        start_ms: int,
        end_ms: int,
        changed_ms: int,
        sources: Callable[[int, int], Sources],
        liquidations_from_ms: int | None,
    ) -> Panel:
        """The panel of the bars with start <= open time < end; the same object while it says the same.

        Parameters
        ----------
        changed_ms : open time of the earliest bar whose row may say something else than at the last call
        sources : columns for the bars of a span, as ``build_panel`` takes them
        liquidations_from_ms : as in ``build_panel``

        Raises
        ------
        InputMissing : a candle's open time leaves the grid
        """
        step = self._interval.ms
        start, end = -(-start_ms // step) * step, max(start_ms, end_ms) // step * step
        table = self._table
        joined = self._joined_again(start, end, changed_ms, sources, liquidations_from_ms)
        if table is None or joined is None:
            joined = join_rows(self._pairs, self._interval, start, end, sources(start, end))
            table = _Table(joined, bool(joined.heard.any()), liquidations_from_ms, step, RowMemory())
        else:
            sound = table.sound_until(joined)
            if sound == end and self._shown is not None and self._span == (start, end):
                return self._shown
            if sound < table.end_ms or (end - sound) // step > table.room:
                table = table.copied(start, sound)
            table.append(joined)
        self._table, self._span = table, (start, end)
        self._shown = table.shown(self._pairs, self._interval, start, end)
        return self._shown

    def _joined_again(
        self,
        start: int,
        end: int,
        changed_ms: int,
        sources: Callable[[int, int], Sources],
        liquidations_from_ms: int | None,
    ) -> Joined | None:
        """The rows of a span that are new or may say something else; None where all of them may."""
        table, step = self._table, self._interval.ms
        if table is None or not table.leads_to(start, end, liquidations_from_ms):
            return None
        # The newest row is always joined again: what is stamped with its very close is known one bar later.
        first = min(changed_ms // step * step, table.end_ms - step)
        if first <= start:
            return None
        joined = join_rows(self._pairs, self._interval, first, end, sources(first, end))
        heard = bool(joined.heard.any()) or table.heard_between(start, first)
        return joined if heard == table.forced else None


class _Table:
    """Rows of all fields side by side with room at the end; a row that was shown is never written again.

    Parameters
    ----------
    joined : its first rows
    forced : whether forced orders were heard of in what is shown; else their fields are unknown
    liquidations_from_ms : as in ``build_panel``
    memory : of these rows
    """

    def __init__(
        self, joined: Joined, forced: bool, liquidations_from_ms: int | None, step_ms: int, memory: RowMemory
    ) -> None:
        self.forced, self._from_ms, self._step_ms, self._memory = forced, liquidations_from_ms, step_ms, memory
        values = joined.finished(forced, liquidations_from_ms)
        fields, rows, pairs = values.shape
        self._count: int = rows
        self._start_ms: int = int(joined.ts[0]) if rows else 0
        self._ts: Ints = np.empty(rows + _SPARE_ROWS, np.int64)
        self._heard: Bools = np.empty(rows + _SPARE_ROWS, np.bool_)
        self._values: Floats = np.empty((fields, rows + _SPARE_ROWS, pairs))
        self._ts[:rows], self._heard[:rows], self._values[:, :rows] = joined.ts, joined.heard, values
        memory.belongs_to(self._values, self._start_ms // step_ms, self._start_ms // step_ms + rows)

    @property
    def room(self) -> int:
        """Rows that can be appended."""
        return self._ts.size - self._count

    @property
    def end_ms(self) -> int:
        """Close of the newest row, epoch ms."""
        return self._start_ms + self._count * self._step_ms

    def leads_to(self, start_ms: int, end_ms: int, liquidations_from_ms: int | None) -> bool:
        """Whether a panel of that span can be had by appending."""
        same_capture = liquidations_from_ms == self._from_ms
        return same_capture and self._start_ms <= start_ms < self.end_ms <= end_ms

    def heard_between(self, start_ms: int, end_ms: int) -> bool:
        """Whether a forced order was heard of in a span of rows."""
        return bool(self._heard[self._row(start_ms) : self._row(end_ms)].any())

    def sound_until(self, joined: Joined) -> int:
        """Open time of the first row that says something else now, by its bits; the table's end where none does."""
        first = self._row(int(joined.ts[0]))
        known = self._values[:, first : self._count]
        fresh = joined.finished(self.forced, self._from_ms)[:, : known.shape[1]]
        same = (known.view(np.int64) == fresh.view(np.int64)).all(axis=(0, 2))
        same &= self._heard[first : self._count] == joined.heard[: same.size]
        return self.end_ms if same.all() else int(joined.ts[int(np.argmin(same))])

    def append(self, joined: Joined) -> None:
        """Take the rows behind those that are there."""
        fresh = slice((self.end_ms - int(joined.ts[0])) // self._step_ms, None)
        rows = slice(self._count, self._count + joined.ts[fresh].size)
        self._ts[rows], self._heard[rows] = joined.ts[fresh], joined.heard[fresh]
        self._values[:, rows] = joined.finished(self.forced, self._from_ms)[:, fresh]
        self._count += joined.ts[fresh].size

    def copied(self, start_ms: int, end_ms: int) -> _Table:
        """The rows of a span in a table of their own, which takes over what is remembered of them."""
        rows = slice(self._row(start_ms), self._row(end_ms))
        part = Joined(self._ts[rows], self._heard[rows], self._values[:, rows])
        return _Table(part, self.forced, self._from_ms, self._step_ms, self._memory)

    def shown(self, pairs: tuple[Pair, ...], interval: Interval, start_ms: int, end_ms: int) -> Panel:
        """The panel of a span of rows, without copying them."""
        rows = slice(self._row(start_ms), self._row(end_ms))
        fields = {name: self._values[number, rows] for number, name in enumerate(FIELD_NAMES)}
        self._memory.forget_before(start_ms // self._step_ms)
        inputs = held_inputs(fields, self.forced)
        return Panel(pairs, interval, self._ts[rows], **fields, inputs=inputs, memory=self._memory)

    def _row(self, ms: int) -> int:
        return (ms - self._start_ms) // self._step_ms
