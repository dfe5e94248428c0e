"""Funding settlements: when a contract really settled, for how many hours, and where settlements are missing.

Exchanges change a contract's interval in mid-history (8 h to 4 h to 2 h and back) and stamp settlements some milliseconds
late. Pure functions of stamps; no tables, no network.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.domain.intervals import HOUR_MS, MINUTE_MS
from hydra_core.domain.market import Floats, Ints

INTERVALS_H: Final = (1, 2, 4, 8)
"""Hours between two settlements that contracts use."""
LONGEST_MS: Final = max(INTERVALS_H) * HOUR_MS
USUAL_H: Final = 8.0
JITTER_MS: Final = MINUTE_MS
"""A stamp this close to a full hour is that hour's."""


def settled_at(stamps: Ints) -> Ints:
    """Stamps freed of jitter: the full hour where one is near, the stamp itself otherwise; shape as given, epoch ms."""
    hour = (stamps + HOUR_MS // 2) // HOUR_MS * HOUR_MS
    return np.where(np.abs(stamps - hour) <= JITTER_MS, hour, stamps).astype(np.int64)


def interval_hours(stamps: Ints) -> Floats:
    """For how many hours each settlement was charged.

    A step of 1, 2, 4 or 8 h is the interval, unless it is longer than both neighbouring steps: then rows are missing in
    it. A row after missing ones (and the first of all) takes the step that follows it, else the one before, else 8 h.

    Parameters
    ----------
    stamps : int64 array (n,), settlements in epoch ms, ascending, free of jitter

    Returns
    -------
    float64 array (n,), hours
    """
    if not stamps.size:
        return np.empty(0)
    steps = np.diff(stamps) / HOUR_MS
    regular = np.isin(steps, INTERVALS_H)
    before = np.concatenate([[np.inf], steps[:-1]])
    after = np.concatenate([steps[1:], [np.inf]])
    regular &= ~((steps > before) & (steps > after))
    hours = np.full(stamps.size, np.nan)
    hours[1:][regular] = steps[regular]
    for row in np.flatnonzero(np.isnan(hours)):
        following = hours[row + 1] if row + 1 < hours.size else np.nan
        known = hours[row - 1] if row else np.nan
        hours[row] = next((value for value in (following, known) if np.isfinite(value)), USUAL_H)
    return hours


def holes(stamps: Ints, hours: Floats) -> list[tuple[int, int]]:
    """Spans [first missing settlement, next known one) in epoch ms, ascending.

    Parameters
    ----------
    stamps, hours : arrays (n,), settlements and :func:`interval_hours` of them
    """
    found = []
    for row in np.flatnonzero(np.diff(stamps) > hours[1:] * HOUR_MS):
        found.append((int(stamps[row] + hours[row] * HOUR_MS), int(stamps[row + 1])))
    return found


def ends(stamps: Ints, hours: Floats) -> Ints:
    """Until when each rate holds: its settlement plus its own interval, int64 (n,), epoch ms."""
    return (stamps + hours * HOUR_MS).astype(np.int64)
