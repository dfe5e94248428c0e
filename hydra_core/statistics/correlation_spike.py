"""Correlation spikes: when the pairs begin to move as one, told within an hour and whatever the size of the moves.

Only the direction of a bar's standardised returns is read, never their length: a burst of volatility or a fat tail is
no spike. Not here: the matrix (correlation.py), what to do about a spike (risk/).

Sources: Tyler (1987) for the angular Gaussian density; Page (1954) for the cumulative sum.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats
from hydra_core.statistics.regimes import BASE_BARS, base_sigma
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View

USUAL_BARS: Final = 720
"""Bars over which the usual correlation is taken."""
RECENT_BARS: Final = 48
"""A spike is looked for among stretches of at most so many bars."""
STEP: Final = 0.6
"""A spike closes this share of the gap from the usual correlation to one."""
ALARM: Final = math.log(30 * 288)
"""Level of the sum that markets without a spike reach less than once in thirty days of 5m bars: its false-alarm time is
at least exp(level) bars (Lorden, 1971)."""
GUESSES: Final = (0.02, 0.25, 0.45, 0.6, 0.72, 0.82, 0.9, 0.96)
_BOUNDS: Final = (0.05, 0.95)


def usual_correlation(standardised: Floats, bars: int) -> Floats:
    """Equal correlation of the last ``bars`` rows by Tyler's estimator, shape (T,): as the evidence, of directions alone.

    The estimator is the correlation that comes out when each row weighs by the inverse of its size as that very
    correlation measures it. It is found between the :data:`GUESSES` where what goes in and what comes out cross.
    """
    pairs = standardised.shape[1]
    if pairs < 2:
        return np.zeros(standardised.shape[0])
    squares = (standardised**2).sum(axis=1)
    together = standardised.sum(axis=1) ** 2
    excess = []
    for guess in GUESSES:
        size = squares - guess * together / (1.0 + (pairs - 1) * guess)
        weight = 1.0 / np.where(size > 0, size, np.nan)
        cross = rolling_mean(weight * (together - squares), bars) / (pairs - 1)
        excess.append(cross / rolling_mean(weight * squares, bars) - guess)
    out = np.where(np.isnan(excess[0]), np.nan, np.where(excess[0] < 0, GUESSES[0], GUESSES[-1]))
    for k in range(len(GUESSES) - 1):
        here, there = excess[k], excess[k + 1]
        share = here / np.where(here > there, here - there, 1.0)
        found = GUESSES[k] + share * (GUESSES[k + 1] - GUESSES[k])
        out = np.where((here >= 0) & (there < 0), found, out)
    return np.asarray(out)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def spike_gains(standardised: Floats, usual: Floats) -> Floats:
    """Log-likelihood ratio of a raised against the usual equal correlation for each row's direction; 0 where unknown."""
    rows, pairs = standardised.shape
    out = np.zeros(rows)
    for t in range(rows):
        squares, summed = 0.0, 0.0
        for p in range(pairs):
            squares += standardised[t, p] ** 2
            summed += standardised[t, p]
        if math.isnan(squares) or math.isnan(usual[t]) or squares <= 0.0 or pairs < 2:
            continue
        low = min(max(usual[t], _BOUNDS[0]), _BOUNDS[1])
        gain = 0.0
        for side in range(2):
            rho = low if side == 0 else low + STEP * (1.0 - low)
            whole = 1.0 + (pairs - 1) * rho
            log_det = (pairs - 1) * math.log(1.0 - rho) + math.log(whole)
            form = (squares - rho * summed * summed / whole) / (1.0 - rho)
            value = -0.5 * log_det - 0.5 * pairs * math.log(form)
            gain += value if side == 1 else -value
        out[t] = gain
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def largest_recent_sum(gains: Floats, bars: int) -> Floats:
    """Largest sum of the last 0 to ``bars`` gains at each row: a cumulative sum that looks back no further."""
    out = np.zeros(gains.size)
    for t in range(gains.size):
        summed = 0.0
        for k in range(min(bars, t + 1)):
            summed += gains[t - k]
            out[t] = max(out[t], summed)
    return out


@statistic("correlation_spike", lookback=BASE_BARS + USUAL_BARS + RECENT_BARS)
def correlation_spike(view: View) -> Floats:
    """Evidence that correlation has risen in the last hours, in nats, shape (T,); above :data:`ALARM` it is a spike."""
    standardised = view.log_return / base_sigma(view)
    # The usual level is of the bars before the stretch that is searched, or a spike would become usual.
    usual = np.full(standardised.shape[0], np.nan)
    usual[RECENT_BARS:] = usual_correlation(standardised, USUAL_BARS)[:-RECENT_BARS]
    evidence = largest_recent_sum(spike_gains(np.ascontiguousarray(standardised), usual), RECENT_BARS)
    return np.where(np.isnan(usual), np.nan, evidence)


def first_share(matrix: Floats) -> float:
    """Share of the total variance that the first principal component of a correlation matrix carries."""
    return float(np.linalg.eigvalsh(matrix)[-1] / matrix.shape[0])
