"""Intervals and tests by resampling in blocks, so that what hangs together in time stays together.

Sources: Politis and Romano, "The stationary bootstrap" (1994); Hansen, "A test for superior predictive ability" (2005).
Every draw comes from a seed that is handed in: the same call gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Superiority:
    """P-values of the hypothesis that no candidate beats the benchmark: Hansen's consistent one between its two bounds."""

    lower: float
    consistent: float
    upper: float


def stationary_indices(count: int, mean_block: float, draws: int, rng: np.random.Generator) -> Ints:
    """Rows of a stationary bootstrap: blocks of geometric length around the circle, shape (draws, count).

    Parameters
    ----------
    mean_block : float, expected block length in rows, at least 1
    """
    fresh = rng.random((draws, count)) < 1 / max(1.0, mean_block)
    fresh[:, 0] = True
    starts = rng.integers(0, count, (draws, count))
    last = np.maximum.accumulate(np.where(fresh, np.arange(count), 0), axis=1)
    return np.asarray((np.take_along_axis(starts, last, axis=1) + np.arange(count) - last) % count)


def mean_interval(
    values: Floats, mean_block: float = 5.0, draws: int = 2000, level: float = 0.95, seed: int = 7
) -> Interval:
    """Mean of a series and its stationary-bootstrap interval; for a paired comparison give the differences.

    Parameters
    ----------
    values : (n,), e.g. one per day
    mean_block : float, in values
    """
    if values.size < 2 or not np.isfinite(values).all():
        raise InputMissing(f"interval of {values.size} values, {int(np.isfinite(values).sum())} of them finite")
    rows = stationary_indices(values.size, mean_block, draws, np.random.default_rng(seed))
    return _interval(float(values.mean()), values[rows].mean(axis=1), level)


def day_block_interval(
    days: Ints,
    statistic: Callable[[Ints], float],
    draws: int = 500,
    level: float = 0.95,
    seed: int = 7,
    block_days: float = 3.0,
) -> Interval:
    """A statistic of rows and its interval when whole days, all pairs together, are drawn in blocks.

    Parameters
    ----------
    days : (n,), day number of each row
    statistic : takes row numbers (with repeats) and gives a number; a draw on which it is not finite is left out

    Raises
    ------
    InputMissing : fewer than three days, or the statistic is not finite on most draws
    """
    order = np.argsort(days, kind="stable")
    _, first = np.unique(days[order], return_index=True)
    by_day = np.split(order, first[1:])
    if len(by_day) < 3:
        raise InputMissing(f"an interval over days from {len(by_day)} days", "Needs three at least")
    drawn = stationary_indices(len(by_day), block_days, draws, np.random.default_rng(seed))
    values = np.array([statistic(np.concatenate([by_day[day] for day in row])) for row in drawn])
    finite = values[np.isfinite(values)]
    if finite.size < draws / 2:
        raise InputMissing(f"the statistic is finite on {finite.size} of {draws} draws")
    return _interval(float(statistic(np.arange(days.size))), finite, level)


def day_ratio_interval(
    days: Ints,
    above: Floats,
    below: Floats,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 7,
    block_days: float = 2.0,
) -> Interval:
    """Quotient of two sums over rows and its interval when whole days are drawn in blocks; fast, from each day's sums.

    Parameters
    ----------
    days : (n,), day number of each row
    above, below : (n,), numerator and denominator of each row; with ``below`` all 1 the quotient is a mean

    Raises
    ------
    InputMissing : fewer than three days
    """
    numbers, group = np.unique(days, return_inverse=True)
    if numbers.size < 3:
        raise InputMissing(f"an interval over days from {numbers.size} days", "Needs three at least")
    top, bottom = (np.bincount(group, values, numbers.size) for values in (above, below))
    drawn = stationary_indices(numbers.size, block_days, draws, np.random.default_rng(seed))
    totals = bottom[drawn].sum(axis=1)
    values = top[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    return _interval(float(top.sum() / bottom.sum()), values, level)


def superior_predictive_ability(
    excess: Floats, mean_block: float = 5.0, draws: int = 1000, seed: int = 7
) -> Superiority:
    """Hansen's test that some candidate beats the benchmark, allowing for the number of candidates tried.

    Parameters
    ----------
    excess : (T, N), return of each candidate less the benchmark's, e.g. daily
    mean_block : float, expected block length, about the horizon in periods

    Returns
    -------
    Superiority
        The consistent p-value is the one to report; a small one says that the best candidate's lead is not luck.
    """
    rows, count = excess.shape
    if rows < 3 or count < 1 or not np.isfinite(excess).all():
        raise InputMissing(f"test over {rows} periods and {count} candidates", "Needs three finite periods at least")
    index = stationary_indices(rows, mean_block, draws, np.random.default_rng(seed))
    mean = excess.mean(axis=0)
    drawn = np.stack([excess[index, k].mean(axis=1) for k in range(count)], axis=1)
    error = np.maximum(np.sqrt(rows) * (drawn - mean).std(axis=0, ddof=1), 1e-15)
    score = math.sqrt(rows) * mean / error
    observed = max(0.0, float(score.max()))
    bad = -math.sqrt(2 * math.log(math.log(rows))) if rows > 15 else -math.inf
    centres = (np.maximum(mean, 0.0), np.where(score >= bad, mean, 0.0), mean)

    def p_value(centre: Floats) -> float:
        null = np.maximum(math.sqrt(rows) * (drawn - centre) / error, 0.0).max(axis=1)
        return float((null >= observed).mean()) if observed > 0 else 1.0

    lower, consistent, upper = (p_value(np.asarray(centre)) for centre in centres)
    return Superiority(lower, consistent, upper)


def _interval(value: float, draws: Floats, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
