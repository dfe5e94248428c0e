"""Volatility regimes: the online filter of a hidden Markov chain with Student-t noise, and its fit.

Only the forward filter is ever used on data: smoothed or decoded states would look ahead. With Gaussian noise the fat
tails of crypto returns read as tens of spurious switches, so the noise is Student's t.
Not here: trends (a drift regime is not identifiable at these horizons), limits by regime (risk/).

Sources: Hamilton (1989) for the filter; Peel and McLachlan (2000) for the t weights of the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View

CALM, TURBULENT, EXTREME = 0, 1, 2
"""Columns of the regime probabilities."""
BASE_BARS: Final = 1440
FILTER_BARS: Final = 640
"""Rows in which the filter forgets its start: with the dwell times below an old difference shrinks by e^-20."""
_LEAST_VARIANCE: Final = 1e-12


@dataclass(frozen=True)
class RegimeModel:
    """A Markov chain of volatility scales seen through Student-t noise.

    Parameters
    ----------
    scales : scale of the noise in each state, ascending, in units of the observations
    transition : row-stochastic matrix, state now -> state at the next bar
    degrees : degrees of freedom of the noise, a whole number
    """

    scales: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]
    degrees: int

    def filtered(self, observations: Floats) -> Floats:
        """Probability of each state at each row given the observations up to it.

        Parameters
        ----------
        observations : array (T,) or (T, P), standardised returns; at a NaN the chain moves on unobserved

        Returns
        -------
        array (T, S) or (T, P, S), rows summing to one
        """
        columns = np.ascontiguousarray(observations.reshape(observations.shape[0], -1))
        matrix = np.array(self.transition)
        out = _filter(columns, np.array(self.scales), matrix, stationary(matrix), self.degrees)
        return np.asarray(out.reshape(*observations.shape, len(self.scales)))


def sticky(dwell: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """Transition matrix of a chain that stays ``dwell`` bars on average and moves to its neighbours."""
    size = len(dwell)
    matrix = np.zeros((size, size))
    for state, bars in enumerate(dwell):
        neighbours = [n for n in (state - 1, state + 1) if 0 <= n < size]
        matrix[state, state] = 1.0 - 1.0 / bars
        for neighbour in neighbours:
            matrix[state, neighbour] = 1.0 / bars / len(neighbours)
    return tuple(tuple(float(v) for v in row) for row in matrix)


def stationary(transition: Floats) -> Floats:
    """Long-run share of time in each state."""
    size = transition.shape[0]
    system = np.vstack([transition.T - np.eye(size), np.ones(size)])
    share, *_ = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)
    return np.asarray(np.maximum(share, 0.0) / np.maximum(share, 0.0).sum())


@njit(cache=True)  # type: ignore[untyped-decorator]
def _filter(observations: Floats, scales: Floats, transition: Floats, start: Floats, degrees: int) -> Floats:
    rows, pairs = observations.shape
    states = scales.size
    out = np.empty((rows, pairs, states))
    half, odd = (degrees + 1) // 2, (degrees + 1) % 2 == 1
    for pair in range(pairs):
        now = start.copy()
        ahead = np.empty(states)
        for row in range(rows):
            x = observations[row, pair]
            for state in range(states):
                level = 0.0
                for origin in range(states):
                    level += now[origin] * transition[origin, state]
                ahead[state] = level
            if not math.isnan(x):
                total = 0.0
                for state in range(states):
                    scaled = x / scales[state]
                    spread = 1.0 + scaled * scaled / degrees
                    density = math.sqrt(spread) if odd else 1.0
                    for _ in range(half):
                        density *= spread
                    ahead[state] /= density * scales[state]
                    total += ahead[state]
                for state in range(states):
                    ahead[state] /= total
            for state in range(states):
                now[state] = ahead[state]
                out[row, pair, state] = ahead[state]
    return out


DEFAULT: Final = RegimeModel(scales=(0.8, 2.0, 7.0), transition=sticky((96.0, 48.0, 24.0)), degrees=4)
"""Scales relative to the five-day base: quiet, lively, and a crash. Frozen, hence causal for every panel. On 2025's history
the median pair was extreme on 18 days of 290, and on 2025-10-10 from 21:00 on, twenty minutes before the low."""


def base_sigma(view: View) -> Floats:
    """Slow level of volatility: root of the geometric mean of range variance; one crash barely moves it."""
    out = np.full(view.range_variance.shape, np.nan)
    log_variance = rolling_mean(np.log(np.maximum(view.range_variance, _LEAST_VARIANCE)), BASE_BARS)
    out[BASE_BARS - 1 :] = np.exp(0.5 * log_variance[BASE_BARS - 1 :])
    return out


@statistic("regimes", lookback=BASE_BARS + FILTER_BARS)
def regimes(view: View) -> Floats:
    """Filtered probabilities of calm, turbulent and extreme volatility, shape (T, P, 3); NaN without a base."""
    base = base_sigma(view)
    out = DEFAULT.filtered(view.log_return / base)
    out[np.isnan(base)] = np.nan
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _smooth(filtered: Floats, transition: Floats) -> tuple[Floats, Floats]:
    """State shares and summed transitions given all rows; used in fitting only."""
    rows, states = filtered.shape
    shares = np.empty((rows, states))
    moves = np.zeros((states, states))
    shares[rows - 1] = filtered[rows - 1]
    ratio = np.empty(states)
    for row in range(rows - 2, -1, -1):
        for state in range(states):
            level = 0.0
            for origin in range(states):
                level += filtered[row, origin] * transition[origin, state]
            ratio[state] = shares[row + 1, state] / level
        for origin in range(states):
            total = 0.0
            for state in range(states):
                move = filtered[row, origin] * transition[origin, state] * ratio[state]
                moves[origin, state] += move
                total += move
            shares[row, origin] = total
    return shares, moves


def fit_regimes(observations: Floats, start: RegimeModel, rounds: int = 60, tolerance: float = 1e-4) -> RegimeModel:
    """Scales and transitions by expectation maximisation, degrees of freedom held.

    Parameters
    ----------
    observations : array (T,), standardised returns of training rows only
    start : RegimeModel, first guess; its number of states and degrees are kept
    rounds, tolerance : stop after so many rounds, or when no scale changes by more than this relative amount

    Raises
    ------
    InputMissing : fewer than a thousand finite observations
    """
    x = observations[np.isfinite(observations)]
    if x.size < 1000:
        raise InputMissing(f"regime fit of {x.size} observations", "Give it at least 1000")
    model = start
    for _ in range(rounds):
        scales = np.array(model.scales)
        shares, moves = _smooth(model.filtered(x), np.array(model.transition))
        weight = shares * (model.degrees + 1.0) / (model.degrees + (x[:, None] / scales) ** 2)
        fresh = np.sqrt((weight * x[:, None] ** 2).sum(axis=0) / shares.sum(axis=0))
        matrix = (moves + 1e-9) / (moves + 1e-9).sum(axis=1, keepdims=True)
        order = np.argsort(fresh)
        fresh, matrix = fresh[order], matrix[np.ix_(order, order)]
        settled = bool((np.abs(fresh / scales - 1.0) < tolerance).all())
        model = RegimeModel(
            tuple(float(v) for v in fresh), tuple(tuple(float(v) for v in row) for row in matrix), model.degrees
        )
        if settled:
            break
    return model
