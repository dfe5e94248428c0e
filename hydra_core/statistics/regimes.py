"""Volatility regimes: the online filter of a hidden Markov chain with Student-t noise.

Only the forward filter is ever used on data: smoothed or decoded states would look ahead. With Gaussian noise the fat
tails of crypto returns read as tens of spurious switches, so the noise is Student's t.
Not here: its fit (regimes_fit.py), change points (changepoints.py), trends (a drift regime is not identifiable at these
horizons), limits by regime (risk/).

Source: Hamilton (1989).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View

CALM, TURBULENT, EXTREME = 0, 1, 2
"""Columns of the regime probabilities."""
BASE_BARS: Final = 1440
FILTER_BARS: Final = 640
"""Rows in which the filter forgets its start: with the dwell times below an old difference shrinks by e^-20."""
LEAST_VARIANCE: Final = 1e-12


@dataclass(frozen=True)
class RegimeModel:
    """A Markov chain of volatility scales seen through Student-t noise.

    Parameters
    ----------
    scales : scale of the noise in each state, ascending, in units of the observations
    transition : row-stochastic matrix, state now -> state at the next bar
    degrees : degrees of freedom of the noise; whole ones are filtered faster
    """

    scales: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]
    degrees: float

    def filtered(self, observations: Floats, unseen: int = 0) -> Floats:
        """Probability of each state at each row given the observations up to it.

        Parameters
        ----------
        observations : array (T,) or (T, P), standardised returns; at a NaN the chain moves on unobserved
        unseen : rows before the first one over which every chain has moved on unobserved

        Returns
        -------
        array (T, S) or (T, P, S), rows summing to one
        """
        columns = np.ascontiguousarray(observations.reshape(observations.shape[0], -1))
        matrix = np.array(self.transition)
        out = _filter(columns, np.array(self.scales), matrix, _start(self, unseen), float(self.degrees))
        return np.asarray(out.reshape(*observations.shape, len(self.scales)))

    def predictive_log_likelihood(self, observations: Floats) -> Floats:
        """Log density of each observation given those before it, shape (T,); NaN where it is missing."""
        matrix, scales = np.array(self.transition), np.array(self.scales)
        before = np.vstack([stationary(matrix)[None], self.filtered(observations)[:-1]]) @ matrix
        half = 0.5 * (self.degrees + 1.0)
        constant = math.lgamma(half) - math.lgamma(0.5 * self.degrees) - 0.5 * math.log(self.degrees * math.pi)
        scaled = observations[:, None] / scales
        density = np.exp(constant - half * np.log1p(scaled**2 / self.degrees)) / scales
        return np.asarray(np.log((before * density).sum(axis=1)))


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


@cache
def _start(model: RegimeModel, unseen: int) -> Floats:
    """Probabilities of the states after so many unobserved rows from the long-run shares."""
    if not unseen:
        return stationary(np.array(model.transition))
    moved: Floats = model.filtered(np.full(unseen, np.nan))[-1]
    return moved


@njit(cache=True)  # type: ignore[untyped-decorator]
def filter_step(x: float, now: Floats, ahead: Floats, scales: Floats, transition: Floats, degrees: float) -> None:
    """Move the probabilities ``now`` of one chain on by one observation; ``ahead`` is scratch."""
    states = scales.size
    whole = degrees == math.floor(degrees)
    half, odd = (int(degrees) + 1) // 2, (int(degrees) + 1) % 2 == 1
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
            if whole:
                density = math.sqrt(spread) if odd else 1.0
                for _ in range(half):
                    density *= spread
            else:
                density = spread ** (0.5 * (degrees + 1.0))
            ahead[state] /= density * scales[state]
            total += ahead[state]
        for state in range(states):
            ahead[state] /= total
    for state in range(states):
        now[state] = ahead[state]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _filter(observations: Floats, scales: Floats, transition: Floats, start: Floats, degrees: float) -> Floats:
    rows, pairs = observations.shape
    out = np.empty((rows, pairs, scales.size))
    ahead = np.empty(scales.size)
    for pair in range(pairs):
        now = start.copy()
        for row in range(rows):
            filter_step(observations[row, pair], now, ahead, scales, transition, degrees)
            out[row, pair] = now
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _filter_row(row: Floats, now: Floats, ahead: Floats, scales: Floats, transition: Floats, degrees: float) -> None:
    for pair in range(row.size):
        filter_step(row[pair], now[pair], ahead, scales, transition, degrees)


class FilterStream:
    """The filter of one model over P chains, moved on by one row of observations a call.

    Parameters
    ----------
    model : RegimeModel
    pairs : number of chains
    """

    def __init__(self, model: RegimeModel, pairs: int) -> None:
        self._scales, self._transition = np.array(model.scales), np.array(model.transition)
        self._degrees = float(model.degrees)
        self._now = np.tile(stationary(self._transition), (pairs, 1))
        self._ahead = np.empty(self._scales.size)

    @property
    def chains(self) -> tuple[Floats, Floats, Floats, Floats, float]:
        """What a compiled caller hands to :func:`filter_step`: probabilities, scratch, scales, transition, degrees."""
        return self._now, self._ahead, self._scales, self._transition, self._degrees

    def update(self, observations: Floats) -> Floats:
        """Probabilities (P, S) given all rows so far; the array is reused by the next call."""
        _filter_row(observations, self._now, self._ahead, self._scales, self._transition, self._degrees)
        return self._now


@njit(cache=True)  # type: ignore[untyped-decorator]
def settled_states(probability: Floats, least: float) -> Ints:
    """State held at each row: it is left only for another whose probability exceeds ``least``.

    The most probable state is right most often; this one switches less, for what costs money at every switch.

    Parameters
    ----------
    probability : (T, S), filtered
    least : above 0.5
    """
    rows, states = probability.shape
    out = np.empty(rows, np.int64)
    held = int(np.argmax(probability[0])) if rows else 0
    for row in range(rows):
        for state in range(states):
            if probability[row, state] > least:
                held = state
        out[row] = held
    return out


DEFAULT: Final = RegimeModel(scales=(0.8, 2.0, 7.0), transition=sticky((96.0, 48.0, 24.0)), degrees=4)
"""Scales relative to the five-day base: quiet, lively, and a crash. Frozen, hence causal for every panel. On 2025's history
the median pair was extreme on 18 days of 290, and on 2025-10-10 from 21:00 on, twenty minutes before the low."""


def base_sigma(view: View) -> Floats:
    """Slow level of volatility: root of the geometric mean of range variance; one crash barely moves it."""
    return view.kept("regime_base", BASE_BARS, _base)


def _base(view: View) -> Floats:
    logs = view.kept("log_range_variance", 1, lambda part: np.log(np.maximum(part.range_variance, LEAST_VARIANCE)))
    out = np.full(logs.shape, np.nan)
    log_variance = rolling_mean(logs, BASE_BARS)
    out[BASE_BARS - 1 :] = np.exp(0.5 * log_variance[BASE_BARS - 1 :])
    return out


@statistic("regimes", lookback=BASE_BARS + FILTER_BARS)
def regimes(view: View) -> Floats:
    """Filtered probabilities of calm, turbulent and extreme volatility, shape (T, P, 3); NaN without a base."""
    base, first = base_sigma(view), BASE_BARS - 1
    out = np.full((*base.shape, len(DEFAULT.scales)), np.nan)
    if base.shape[0] > first:  # no chain is observed before the first base that its own rows give
        known = base[first:]
        out[first:] = DEFAULT.filtered(view.log_return[first:] / known, first)
        out[first:][np.isnan(known)] = np.nan
    return out
