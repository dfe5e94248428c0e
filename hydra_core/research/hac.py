"""Errors of means of hanging-together series in closed form: what overlapping labels leave of a t statistic.

Here: the long-run variance and the tests that need nothing else. Not here: resampling (``bootstrap``), which returns come
from what (``metrics``), which of two forecasts is better (``statistics.comparison``).

Sources: Newey and West (1987); Lo, "The statistics of Sharpe ratios" (2002).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats


@dataclass(frozen=True, slots=True)
class MeanTest:
    """A mean with its standard error, t statistic and two-sided p-value."""

    mean: float
    error: float
    t: float
    p_value: float


def long_run_variance(values: Floats, lags: int) -> float:
    """Variance of sqrt(n) times the mean of a series, with Bartlett weights up to ``lags`` (Newey and West).

    Parameters
    ----------
    values : (n,), finite
    lags : overlap of neighbouring values, horizon - 1; 0 gives the plain variance

    Raises
    ------
    InputMissing : fewer values than twice the lags, or one that is not finite
    """
    if values.size < max(3, 2 * lags) or lags < 0 or not np.isfinite(values).all():
        raise InputMissing(f"long-run variance of {values.size} values with {lags} lags", "Needs 2 * lags finite ones")
    centred = values - values.mean()
    total = float(centred @ centred)
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(centred[lag:] @ centred[:-lag])
    return max(total / values.size, 0.0)


def mean_test(values: Floats, lags: int) -> MeanTest:
    """Whether the mean of a series is 0, allowing for dependence over ``lags``."""
    error = math.sqrt(long_run_variance(values, lags) / values.size)
    mean = float(values.mean())
    t = mean / error if error > 0 else 0.0
    return MeanTest(mean, error, t, math.erfc(abs(t) / math.sqrt(2)))


def sharpe_error(returns: Floats, lags: int = 0) -> float:
    """Standard error of a per-period Sharpe ratio, skewness, fat tails and autocorrelation allowed for.

    By the delta method: the influence of one return r on SR = m / s is (r - m) / s - SR ((r - m)^2 / s^2 - 1) / 2.
    For independent normal returns this is sqrt((1 + SR^2 / 2) / n).

    Parameters
    ----------
    returns : (n,)
    lags : 0 for independent returns
    """
    mean, deviation = float(returns.mean()), float(returns.std())
    if deviation <= 1e-15:
        return 0.0
    scaled = (returns - mean) / deviation
    influence = scaled - 0.5 * (mean / deviation) * (scaled**2 - 1.0)
    return math.sqrt(long_run_variance(influence, lags) / returns.size)
