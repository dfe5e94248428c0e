"""What a track record is worth: Sharpe ratios, their chance of being luck, and the luck of having searched.

Here: closed forms and cross-validation over return series. Not here: resampling (``bootstrap``), thresholds
(``gates``).

Sources: Bailey and Lopez de Prado, "The Sharpe ratio efficient frontier" (2012) for PSR and the least track record;
"The deflated Sharpe ratio" (2014); Bailey, Borwein, Lopez de Prado and Zhu, "The probability of backtest overfitting"
(2017) for CSCV; the same, "Pseudo-mathematics and financial charlatanism" (2014) for the least backtest. A Sharpe ratio is
per period unless it is called annual; kurtosis is not the excess (3 for a normal).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

DAYS_A_YEAR: Final = 365
EULER: Final = 0.5772156649015329


def sharpe(returns: Floats) -> float:
    """Mean over standard deviation (n - 1) of a return series, per period; 0 where nothing moves.

    Raises
    ------
    InputMissing : fewer than two returns, or one that is not finite
    """
    values = _finite(returns, 2)
    deviation = float(values.std(ddof=1))
    return float(values.mean()) / deviation if deviation > 1e-15 else 0.0


def at_equal_risk(other: Floats, own: Floats) -> float:
    """Mean return of ``other``, lent or borrowed until it moves as much as ``own`` (Modigliani and Modigliani, 1997).

    Bare means of books of unlike size say who carried more risk, not who did better.

    Raises
    ------
    InputMissing : fewer than two returns in either, or one that is not finite
    """
    return sharpe(other) * float(_finite(own, 2).std(ddof=1))


def annual_sharpe(daily: Floats, periods: int = DAYS_A_YEAR) -> float:
    """Sharpe ratio a year of daily returns; crypto trades on every day."""
    return sharpe(daily) * math.sqrt(periods)


def max_drawdown(equity: Floats) -> float:
    """Largest fall from a peak, as a fraction of the peak, in [0, 1]."""
    values = _finite(equity, 1)
    peak = np.maximum.accumulate(values)
    return float(np.max(1 - values / peak))


def skewness(returns: Floats) -> float:
    """Third standardised moment (population); 0 where nothing moves."""
    return _moment(returns, 3, 0.0)


def kurtosis(returns: Floats) -> float:
    """Fourth standardised moment (population), 3 for a normal; 3 where nothing moves."""
    return _moment(returns, 4, 3.0)


def probabilistic_sharpe(ratio: float, count: int, skew: float, kurt: float, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above a benchmark.

    PSR = Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - skew SR + (kurt - 1) / 4 SR^2)).

    Parameters
    ----------
    ratio, benchmark : per period
    count : int, number of returns, T
    """
    return _normal_cdf((ratio - benchmark) * math.sqrt(count - 1) / math.sqrt(_spread(ratio, skew, kurt)))


def psr(returns: Floats, benchmark: float = 0.0) -> float:
    """:func:`probabilistic_sharpe` of a return series."""
    return probabilistic_sharpe(sharpe(returns), returns.size, skewness(returns), kurtosis(returns), benchmark)


def expected_max_sharpe(trials: float, variance: float = 1.0) -> float:
    """Sharpe ratio that the best of ``trials`` skill-less strategies is expected to show.

    sqrt(V) [(1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e))], g Euler's constant.

    Parameters
    ----------
    trials : float, effective number of trials; 1 gives 0
    variance : float, variance of the trials' Sharpe ratios, per period
    """
    if trials <= 1:
        return 0.0
    from scipy.special import ndtri

    first, second = float(ndtri(1 - 1 / trials)), float(ndtri(1 - 1 / (trials * math.e)))
    return math.sqrt(variance) * ((1 - EULER) * first + EULER * second)


def deflated_sharpe(ratio: float, count: int, skew: float, kurt: float, trials: float, variance: float) -> float:
    """Probability that the true Sharpe ratio is above what the best of the trials shows by luck."""
    return probabilistic_sharpe(ratio, count, skew, kurt, expected_max_sharpe(trials, variance))


def dsr(returns: Floats, trial_sharpes: Floats, trials: float | None = None) -> float:
    """:func:`deflated_sharpe` of a return series against the per-period Sharpe ratios of every trial made.

    Parameters
    ----------
    trial_sharpes : array, one per trial, the chosen one included
    trials : float, effective number where trials resemble each other; default: all of them

    Notes
    -----
    With a single trial there is no spread to estimate and nothing to deflate. With several, the variance is not taken
    below that of the Sharpe estimate itself, 1 / T: near copies of one model do not prove that the search was harmless.
    """
    ratios = _finite(trial_sharpes, 1)
    count = float(ratios.size) if trials is None else trials
    variance = max(float(ratios.var(ddof=1)), 1 / returns.size) if ratios.size > 1 else 1 / returns.size
    return deflated_sharpe(sharpe(returns), returns.size, skewness(returns), kurtosis(returns), count, variance)


def min_track_record(
    ratio: float, skew: float = 0.0, kurt: float = 3.0, benchmark: float = 0.0, confidence: float = 0.95
) -> float:
    """Number of returns from which a Sharpe ratio is above a benchmark at a confidence; inf where it never is."""
    from scipy.special import ndtri

    if ratio <= benchmark:
        return math.inf
    return 1 + _spread(ratio, skew, kurt) * (float(ndtri(confidence)) / (ratio - benchmark)) ** 2


def min_backtest_years(trials: float, annual: float = 1.0) -> float:
    """Years of history below which the best of so many skill-less trials is expected to show an annual Sharpe ratio.

    (E[max of N] / SR)^2, which is less than 2 ln N / SR^2.

    Parameters
    ----------
    trials : float, effective number of trials
    annual : float, annual Sharpe ratio that should not come about by luck
    """
    return (expected_max_sharpe(trials) / annual) ** 2


def effective_trials(returns: Floats, same: float = 0.5) -> float:
    """Number of trials that differ: copies of one another, by correlation of their returns, count once.

    Average-linkage clustering of sqrt((1 - r) / 2), cut where the correlation falls below ``same``. For diagnosis: the
    gates deflate by the count of all trials, which is never less.

    Parameters
    ----------
    returns : (T, N)
    """
    count = returns.shape[1]
    if count < 2:
        return float(count)
    from scipy.cluster.hierarchy import fcluster, linkage

    moved = returns.std(axis=0) > 1e-15
    if moved.sum() < 2:
        return 1.0
    matrix = np.corrcoef(returns[:, moved], rowvar=False)
    distance = np.sqrt(np.clip((1 - matrix) / 2, 0.0, 1.0))
    tree = linkage(distance[np.triu_indices_from(distance, 1)], "average")
    found = fcluster(tree, math.sqrt((1 - same) / 2), "distance").max()
    return float(found + (0 if moved.all() else 1))


@dataclass(frozen=True, eq=False)
class Overfitting:
    """Outcome of combinatorially symmetric cross-validation.

    Parameters
    ----------
    probability : float, share of splits in which the best in sample is no better than the median out of sample
    logits : (splits,), log odds of the chosen one's relative rank out of sample
    """

    probability: float
    logits: Floats


def backtest_overfitting(returns: Floats, blocks: int = 16) -> Overfitting:
    """Probability of backtest overfitting by CSCV.

    Parameters
    ----------
    returns : (T, N), returns of N trials over the same T periods; a remainder of T over ``blocks`` is left out at the
        front
    blocks : int, even; all ways of choosing half of them are in-sample once

    Raises
    ------
    InputMissing : fewer than two trials, fewer than two periods a block, or a return that is not finite
    """
    rows, trials = returns.shape
    size = rows // blocks
    if trials < 2 or size < 2 or blocks % 2 or not np.isfinite(returns).all():
        raise InputMissing(f"CSCV of {rows} periods and {trials} trials in {blocks} blocks", "Needs 2 of each at least")
    parts = returns[rows - size * blocks :].reshape(blocks, size, trials)
    total, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for split, members in enumerate(combinations(range(blocks), blocks // 2)):
        chosen[split, list(members)] = 1.0
    half = size * blocks // 2
    inside = _sharpe_of_sums(chosen @ total, chosen @ squares, half)
    outside = _sharpe_of_sums((1 - chosen) @ total, (1 - chosen) @ squares, half)
    best = inside.argmax(axis=1)
    picked = outside[np.arange(best.size), best][:, None]
    rank = ((outside < picked).sum(axis=1) + 0.5 * ((outside == picked).sum(axis=1) - 1) + 1) / (trials + 1)
    logits = np.log(rank / (1 - rank))
    return Overfitting(float((logits <= 0).mean()), logits)


def _sharpe_of_sums(total: Floats, squares: Floats, count: int) -> Floats:
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 1e-18)
    return np.asarray(mean / np.sqrt(variance))


def _spread(ratio: float, skew: float, kurt: float) -> float:
    return max(1e-12, 1 - skew * ratio + (kurt - 1) / 4 * ratio**2)


def _moment(returns: Floats, order: int, still: float) -> float:
    values = _finite(returns, 2)
    deviation = float(values.std())
    return float((((values - values.mean()) / deviation) ** order).mean()) if deviation > 1e-15 else still


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _finite(values: Floats, least: int) -> Floats:
    if values.size < least or not np.isfinite(values).all():
        raise InputMissing(f"{values.size} values, {int(np.isfinite(values).sum())} of them finite", f"Needs {least}")
    return values
