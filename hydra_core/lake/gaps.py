"""Rows that a grid should have and a table lacks, and what is known of why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import polars as pl

from hydra_core.domain.intervals import Interval, iso
from hydra_core.domain.settlements import JITTER_MS, LONGEST_MS, ends, holes


class GapKind(StrEnum):
    """Where a gap lies."""

    BEFORE = "before the first row"
    INSIDE = "inside"
    AFTER = "after the last row"
    ALL = "no row at all"


class GapState(StrEnum):
    """What is known of a gap."""

    REPAIRED = "repaired"
    """Absent at first, there when it was asked for again."""
    NO_TRADE = "no trade"
    """Verified: the exchange has no trade in it, or did not list the contract yet."""
    UNRESOLVED = "unresolved"
    """Asked for twice, and nothing says that nothing happened."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A half-open span [start, end) in epoch ms in which every row is (or was) absent."""

    start: int
    end: int
    kind: GapKind = GapKind.INSIDE
    state: GapState = GapState.UNRESOLVED

    def __str__(self) -> str:
        return f"{iso(self.start)} to {iso(self.end)} ({self.kind}, {self.state})"


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
    broken = np.flatnonzero(np.diff(stamps) > step)
    gaps += [Gap(int(stamps[hole]) + step, int(stamps[hole + 1]), GapKind.INSIDE) for hole in broken]
    if stamps[-1] + step < after:
        gaps.append(Gap(int(stamps[-1]) + step, after, GapKind.AFTER))
    return gaps


def missing_settlements(frame: pl.DataFrame, start: int, end: int) -> list[Gap]:
    """Gaps of a funding table between, before and after its settlements, cut at [start, end).

    A settlement is missed after the last row as soon as its own interval is over, before the first one when that comes
    later than any contract's interval.

    Parameters
    ----------
    frame : polars.DataFrame with ``ts`` and ``interval_hours``, ascending; rows beside the span help to see its edges
    start, end : int, epoch ms
    """
    stamps, hours = frame["ts"].dt.epoch("ms").to_numpy(), frame["interval_hours"].to_numpy()
    found = [Gap(first, after) for first, after in holes(stamps, hours)]
    if stamps.size and stamps[0] > start + LONGEST_MS:
        found.insert(0, Gap(start, int(stamps[0]), GapKind.BEFORE))
    if stamps.size and (due := int(ends(stamps, hours)[-1])) + JITTER_MS < end:
        found.append(Gap(due, end, GapKind.AFTER))
    return [
        replace(gap, start=max(gap.start, start), end=min(gap.end, end))
        for gap in found
        if gap.start < end and gap.end > start
    ]


def repaired(before: Iterable[Gap], after: Sequence[Gap]) -> list[Gap]:
    """Gaps that are gone, whole; one of which a part stayed counts as what stayed."""
    return [
        replace(gap, state=GapState.REPAIRED)
        for gap in before
        if not any(left.start < gap.end and gap.start < left.end for left in after)
    ]


def unverified(gaps: Iterable[Gap], known: Iterable[Gap], states: Iterable[GapState] = GapState) -> list[Gap]:
    """Gaps that do not lie inside a known one of such a state."""
    spans = [(gap.start, gap.end) for gap in known if gap.state in tuple(states)]
    return [gap for gap in gaps if not any(start <= gap.start and gap.end <= end for start, end in spans)]
