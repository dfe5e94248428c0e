"""Volatility: per-bar variance from open, high, low, close; exponential averages; the frozen forecast of decisions.

Variances are per bar in squared log return (0.0001 is a 1 % standard deviation). Arrays are float64, time first.
Not here: fitted models (har.py, pooled.py, garch.py), jumps (jumps.py), limits on volatility (risk/).

Sources: Parkinson (1980); Garman and Klass (1980); Rogers and Satchell (1991); Yang and Zhang (2000); Broadie,
Glasserman and Kou (1997) for the finite-tick correction; Corsi (2009) for the forecast's form; Patton (2011) for QLIKE.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import exponential_mean, lag, rolling_mean, rolling_sum

FORECAST_WINDOWS: Final = (12, 48, 288, 1440)
"""Bars (5m) of the forecast's averages: an hour, four hours, a day, five days."""
FORECAST_WEIGHTS: Final = (0.36, 0.195, 0.27, 0.175)
"""Exponents of the averages. Pooled log-HAR on 2025 history of eight perpetuals, next four hours, constrained to sum to
one so that the forecast scales with prices; fitted once and frozen, hence causal for every panel."""
FORECAST_LEVEL: Final = 0.16
"""Added to the log variance: mean of a log-normal error less the fit's intercept, from the same fit."""
FORECAST_LOOKBACK: Final = FORECAST_WINDOWS[-1] + 1
VARIANCE_FLOOR: Final = 1e-12
"""Least variance per bar (0.01 bp): a market that stands still has a finite log."""
_TICK_SHIFT: Final = 0.5826
"""-zeta(1/2)/sqrt(2 pi): how far, in standard deviations of a tick, a discretely watched extreme falls short."""


def close_to_close(close: Floats) -> Floats:
    """Squared log return close to close; first row NaN."""
    log_close = np.log(close)
    return (log_close - lag(log_close, 1)) ** 2


def parkinson(high: Floats, low: Floats) -> Floats:
    """(ln high/low)^2 / (4 ln 2); about five times as efficient as the squared return, blind to gaps."""
    return np.asarray(np.log(high / low) ** 2 / (4.0 * math.log(2.0)))


def garman_klass(open_: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """0.5 (ln high/low)^2 - (2 ln 2 - 1) (ln close/open)^2; about 7.4 times as efficient, biased by drift."""
    return 0.5 * np.log(high / low) ** 2 - (2.0 * math.log(2.0) - 1.0) * np.log(close / open_) ** 2


def rogers_satchell(open_: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """h (h - c) + l (l - c) of logs relative to the open; unbiased whatever the drift."""
    h, low_, c = np.log(high / open_), np.log(low / open_), np.log(close / open_)
    return np.asarray(h * (h - c) + low_ * (low_ - c))


def yang_zhang(open_: Floats, high: Floats, low: Floats, close: Floats, n: int) -> Floats:
    """Variance per bar over ``n`` bars from gaps, bodies and ranges; free of drift, true to gaps.

    V_gap + k V_body + (1 - k) V_RS with k = 0.34 / (1.34 + (n + 1) / (n - 1)); the first two are sample variances.

    Raises
    ------
    InputMissing : ``n`` is below two
    """
    if n < 2:
        raise InputMissing(f"Yang-Zhang over {n} bars", "It needs at least 2")
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    gap = np.log(open_) - lag(np.log(close), 1)
    body = np.log(close / open_)

    def sample_variance(values: Floats) -> Floats:
        mean = rolling_mean(values, n)
        return np.maximum(rolling_mean(values * values, n) - mean * mean, 0.0) * n / (n - 1)

    ranges = rolling_mean(rogers_satchell(open_, high, low, close), n)
    return sample_variance(gap) + k * sample_variance(body) + (1.0 - k) * ranges


def finite_ticks(high: Floats, low: Floats, ticks: float, sigma: float | Floats) -> tuple[Floats, Floats]:
    """High and low as if the bar had been watched continuously.

    Parameters
    ----------
    high, low : prices
    ticks : trades per bar; the fewer, the more of the range was missed
    sigma : standard deviation of a bar's log return
    """
    shift = _TICK_SHIFT * sigma / math.sqrt(ticks)
    return high * np.exp(shift), low * np.exp(-shift)


def continuous_sigma(open_: Floats, high: Floats, low: Floats, close: Floats, ticks: float | Floats, n: int) -> Floats:
    """Standard deviation per bar by Garman-Klass over ``n`` bars, corrected for the ticks that each bar had.

    The correction needs the deviation it corrects: one pass with the uncorrected estimate leaves a tenth of the bias,
    two leave nothing that matters.

    Parameters
    ----------
    open_, high, low, close : prices, time first
    ticks : trades per bar, a number or an array of the prices' shape
    n : bars in the window
    """
    shape = np.sqrt(np.maximum(rolling_mean(garman_klass(open_, high, low, close), n), VARIANCE_FLOOR))
    sigma = shape
    for _ in range(2):
        shift = _TICK_SHIFT * sigma / np.sqrt(ticks)
        variance = garman_klass(open_, high * np.exp(shift), low * np.exp(-shift), close)
        fresh = np.sqrt(np.maximum(rolling_mean(variance, n, min_share=0.0), VARIANCE_FLOOR))
        sigma = np.where(np.isnan(shape), np.nan, fresh)
    return np.asarray(sigma)


def ewma_sigma(squared_return: Floats, half_life: float, n: int) -> Floats:
    """Exponentially weighted standard deviation over a window of ``n`` bars (RiskMetrics, 1996, section 5.2)."""
    return np.sqrt(exponential_mean(squared_return, half_life, n))


def realised(squared_return: Floats, n: int) -> Floats:
    """Realised variance: sum of squared returns over ``n`` bars."""
    return rolling_sum(squared_return, n)


def falling_variance(log_return: Floats, n: int) -> Floats:
    """Semivariance: the part of the realised variance over ``n`` bars that fell; that of the negative returns is what rose."""
    return rolling_sum(np.minimum(log_return, 0.0) ** 2, n)


def bipower(log_return: Floats, n: int) -> Floats:
    """Bipower variation, (pi/2) sum |r_i||r_i-1| over ``n`` bars: realised variance without its jumps."""
    size = np.abs(log_return)
    return (math.pi / 2.0) * rolling_sum(size * lag(size, 1), n)


def forecast_sigma(squared_return: Floats, range_variance: Floats) -> Floats:
    """Standard deviation per square root of a bar expected over the next hours: a log-HAR with frozen weights.

    Averages of Parkinson variance over an hour to five days, brought to the level of squared returns by their ratio
    over the longest window (ranges are biased by ticks and gaps, closes are not), are combined in logs: in levels one
    crash would dominate for days.

    Parameters
    ----------
    squared_return, range_variance : arrays of shape (T, P), per bar

    Returns
    -------
    array of shape (T, P); multiply by sqrt(H) for the standard deviation over H bars
    """
    first = FORECAST_WINDOWS[-1] - 1
    out = np.full(squared_return.shape, np.nan)
    longest = np.maximum(rolling_mean(range_variance, FORECAST_WINDOWS[-1])[first:], VARIANCE_FLOOR)
    level = np.maximum(rolling_mean(squared_return, FORECAST_WINDOWS[-1])[first:], VARIANCE_FLOOR) / longest
    log_variance = FORECAST_LEVEL + np.log(level) + FORECAST_WEIGHTS[-1] * np.log(longest)
    for window, weight in zip(FORECAST_WINDOWS[:-1], FORECAST_WEIGHTS[:-1], strict=True):
        mean = rolling_mean(range_variance[first + 1 - window :], window)[window - 1 :]
        log_variance = log_variance + weight * np.log(np.maximum(mean, VARIANCE_FLOOR))
    out[first:] = np.exp(0.5 * log_variance)
    return out


def qlike(realised_variance: Floats, forecast: Floats) -> Floats:
    """Loss RV/f - ln(RV/f) - 1, robust to a noisy proxy of variance; 0 for a perfect forecast."""
    ratio = realised_variance / forecast
    return np.asarray(ratio - np.log(ratio) - 1.0)
