"""Fit of the regime filter's chain by expectation maximisation: scales, transitions and degrees of freedom.

Smoothed states appear here and nowhere else: they look ahead, which a fit on training rows may. Not here: the filter
(regimes.py). Sources: Peel and McLachlan (2000) for the t weights; Liu and Rubin (1995) for the degrees of freedom.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics.regimes import RegimeModel, sticky

DEGREES: Final = (2.1, 60.0)
"""Bounds of fitted degrees of freedom; beyond the upper one the noise is Gaussian for all purposes."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def _smooth(filtered: Floats, transition: Floats) -> tuple[Floats, Floats]:
    """State shares and summed transitions given all rows."""
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


def first_guess(observations: Floats, states: int = 2, dwell: float = 100.0, degrees: float = 5.0) -> RegimeModel:
    """A chain to start a fit from: scales spread around the median absolute observation, equal dwell times.

    Raises
    ------
    InputMissing : fewer than two states, or observations most of which are zero
    """
    x = observations[np.isfinite(observations)]
    middle = 1.35 * float(np.median(np.abs(x))) if x.size else 0.0
    if states < 2 or middle <= 0:
        raise InputMissing(
            f"first guess of {states} regimes around a scale of {middle:g}",
            "Give it 2 states or more, returns that move",
        )
    spread = np.geomspace(1.0 / 1.8, 1.8 * 1.6 ** (states - 2), states)
    return RegimeModel(tuple(float(middle * s) for s in spread), sticky((dwell,) * states), degrees)


def fit_regimes(
    observations: Floats,
    start: RegimeModel,
    rounds: int = 60,
    tolerance: float = 1e-4,
    fit_degrees: bool = False,
) -> RegimeModel:
    """Scales and transitions by expectation maximisation.

    Parameters
    ----------
    observations : array (T,), standardised returns of training rows only
    start : RegimeModel, first guess; its number of states is kept, its degrees too unless ``fit_degrees``
    rounds, tolerance : stop after so many rounds, or when no scale changes by more than this relative amount
    fit_degrees : also fit the degrees of freedom, common to all states

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
        weight = (model.degrees + 1.0) / (model.degrees + (x[:, None] / scales) ** 2)
        pulled = shares * weight
        fresh = np.sqrt((pulled * x[:, None] ** 2).sum(axis=0) / shares.sum(axis=0))
        degrees = _degrees(model.degrees, shares, weight) if fit_degrees else model.degrees
        matrix = (moves + 1e-9) / (moves + 1e-9).sum(axis=1, keepdims=True)
        order = np.argsort(fresh)
        fresh, matrix = fresh[order], matrix[np.ix_(order, order)]
        settled = bool((np.abs(fresh / scales - 1.0) < tolerance).all()) and abs(degrees / model.degrees - 1.0) < 1e-3
        model = RegimeModel(
            tuple(float(v) for v in fresh), tuple(tuple(float(v) for v in row) for row in matrix), degrees
        )
        if settled:
            break
    return model


def _degrees(degrees: float, shares: Floats, weight: Floats) -> float:
    """The degrees of freedom that the weights ask for, by bisection of their likelihood equation."""
    from scipy.special import digamma

    half = 0.5 * (degrees + 1.0)
    told = float((shares * (np.log(weight) - weight)).sum() / shares.sum()) + float(digamma(half)) - math.log(half)
    low, high = DEGREES
    for _ in range(50):
        middle = 0.5 * (low + high)
        if 1.0 + told + math.log(0.5 * middle) - float(digamma(0.5 * middle)) > 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
