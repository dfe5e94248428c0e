"""Rows that a grid should have and a table lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from hydra_core.domain.intervals import Interval, iso


class GapKind(StrEnum):
    """Where a gap lies."""

    BEFORE = "before the first row"
    INSIDE = "inside"
    AFTER = "after the last row"
    ALL = "no row at all"


@dataclass(frozen=True, slots=True)
class Gap:
    """A half-open span [start, end) in epoch ms, on the grid, in which every row is absent."""

    start: int
    end: int
    kind: GapKind

    def __str__(self) -> str:
        return f"{iso(self.start)} to {iso(self.end)} ({self.kind})"


def find_gaps(frame: pl.DataFrame, interval: Interval, start: int, end: int) -> list[Gap]:
    """Gaps of a table on an interval's grid inside [start, end).

    Parameters
    ----------
    frame : polars.DataFrame with ``ts``, ascending
    interval : Interval, the grid
    start, end : int, epoch ms

    Returns
    -------
    list of Gap, ascending
    """
    step = interval.ms
    first, after = -(-start // step) * step, -(-end // step) * step
    if first >= after:
        return []
    stamps = frame["ts"].dt.epoch("ms").to_numpy()
    stamps = stamps[(stamps >= first) & (stamps < after)]
    if not stamps.size:
        return [Gap(first, after, GapKind.ALL)]
    gaps = [Gap(first, int(stamps[0]), GapKind.BEFORE)] if stamps[0] > first else []
    holes = np.flatnonzero(np.diff(stamps) > step)
    gaps += [Gap(int(stamps[hole]) + step, int(stamps[hole + 1]), GapKind.INSIDE) for hole in holes]
    if stamps[-1] + step < after:
        gaps.append(Gap(int(stamps[-1]) + step, after, GapKind.AFTER))
    return gaps


def unverified(gaps: Iterable[Gap], verified: Iterable[tuple[int, int]]) -> list[Gap]:
    """Gaps that do not lie inside a span which the source was already found to have nothing in."""
    known = list(verified)
    return [gap for gap in gaps if not any(start <= gap.start and gap.end <= end for start, end in known)]
