"""Self-exciting (Hawkes) intensity of large moves in bars, and the branching ratio from counts alone.

Not here: event times such as liquidations (point_process.py, cascades.py), thresholds that act on them (risk/).
Source: Hardiman and Bouchaud (2014, arXiv 1403.5227) for branching from counts.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.statistics.jumps import SHOCK_LOOKBACK, view_shock
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import exponential_mean, rolling_mean, rolling_sum
from hydra_core.statistics.view import View

EVENT_SHOCK: Final = 3.75
"""A bar is an event when its return exceeds this many local units (3 standard deviations of a Gaussian)."""
KERNEL_HALF_LIFE: Final = 6.0
KERNEL_BARS: Final = 192
COUNT_BARS: Final = 48
RATE_BARS: Final = 1968
"""Bars over which the base rate and the variance of counts are taken; about a week."""
MAX_BRANCHING: Final = 0.98
_LOOKBACK: Final = SHOCK_LOOKBACK + COUNT_BARS + RATE_BARS - 1


def events(view: View) -> Floats:
    """1 in a bar with a large move, else 0, shape (T, P)."""
    return view.kept("hawkes_events", SHOCK_LOOKBACK, _events)


def _events(view: View) -> Floats:
    shock = np.abs(view_shock(view))
    return np.where(np.isnan(shock), np.nan, (shock > EVENT_SHOCK).astype(np.float64))


def branching_from_counts(mean: Floats, variance: Floats) -> Floats:
    """Share of events caused by events: 1 - sqrt(mean / variance) of counts in long windows, at least 0."""
    ratio = np.where(variance > 0, mean / np.where(variance > 0, variance, 1.0), 1.0)
    return np.clip(1.0 - np.sqrt(np.where(mean > 0, ratio, 1.0)), 0.0, MAX_BRANCHING) + 0.0 * mean


def _counts(view: View) -> Floats:
    return rolling_sum(events(view), COUNT_BARS)


def _branching(view: View) -> Floats:
    counts = view.kept("hawkes_counts", SHOCK_LOOKBACK + COUNT_BARS - 1, _counts)
    mean = rolling_mean(counts, RATE_BARS)
    variance = rolling_mean(counts * counts, RATE_BARS) - mean * mean
    return branching_from_counts(mean, variance)


@statistic("hawkes_branching", lookback=_LOOKBACK, reach=RATE_BARS)
def branching(view: View) -> Floats:
    """Branching ratio of large moves over the last week, in [0, 0.98], shape (T, P)."""
    return view.memo("branching", lambda: _branching(view))


@statistic("hawkes_intensity", lookback=_LOOKBACK, reach=RATE_BARS)
def intensity(view: View) -> Floats:
    """Expected large moves in the next bar, shape (T, P).

    With branching n and base rate m of the last week and an exponential kernel of half-life half an hour (5m bars):
    (1 - n) m + n times the kernel-weighted mean of recent events.
    """
    event = events(view)
    share = branching.compute(view)
    rate = rolling_mean(event, RATE_BARS)
    recent = exponential_mean(event, KERNEL_HALF_LIFE, KERNEL_BARS)
    return (1.0 - share) * rate + share * recent
