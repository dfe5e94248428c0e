"""How rough the market is now against what it was: ratios of variances, never their level."""

from __future__ import annotations

import math

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import lag, rolling_mean, rolling_std
from hydra_core.statistics.view import View
from hydra_core.statistics.volatility import falling_variance

_FLOOR = 1e-12


def _log_ratio(above: Floats, below: Floats) -> Floats:
    return np.log(np.maximum(above, _FLOOR) / np.maximum(below, _FLOOR))


def _falling_share(view: View, n: int) -> Floats:
    realised = np.maximum(n * view.mean("squared_return", n), _FLOOR)
    return falling_variance(view.log_return, n) / realised - 0.5


@feature("vol_ratio_12_288", lookback=288)
def vol_ratio_12_288(view: View) -> Floats:
    """Log of the hour's range variance over the day's."""
    return _log_ratio(view.mean("range_variance", 12), view.mean("range_variance", 288))


@feature("vol_ratio_48_1440", lookback=1440)
def vol_ratio_48_1440(view: View) -> Floats:
    """Log of four hours' range variance over five days'."""
    return _log_ratio(view.mean("range_variance", 48), view.mean("range_variance", 1440))


@feature("range_close_ratio_48", lookback=49)
def range_close_ratio_48(view: View) -> Floats:
    """Log of range variance over close-to-close variance in four hours: high where moves are taken back."""
    return _log_ratio(view.mean("range_variance", 48), view.mean("squared_return", 48))


@feature("semivariance_share_48", lookback=49)
def semivariance_share_48(view: View) -> Floats:
    """Share of falling bars in four hours' variance, less a half: above 0 the falls are the larger moves."""
    return _falling_share(view, 48)


@feature("vol_ratio_288_2016", lookback=2016, usual=False)
def vol_ratio_288_2016(view: View) -> Floats:
    """Log of the day's range variance over the week's."""
    return _log_ratio(view.mean("range_variance", 288), view.mean("range_variance", 2016))


@feature("semivariance_share_288", lookback=289, usual=False)
def semivariance_share_288(view: View) -> Floats:
    """Share of falling bars in the day's variance, less a half."""
    return _falling_share(view, 288)


@feature("jump_share_48", lookback=50, usual=False)
def jump_share_48(view: View) -> Floats:
    """Share of four hours' variance that bipower variation does not see: high where single bars jumped."""
    size = view.absolute_return
    smooth = 0.5 * math.pi * rolling_mean(size * lag(size, 1), 48)
    return 1.0 - smooth / np.maximum(view.mean("squared_return", 48), _FLOOR)


@feature("skewness_288", lookback=289, usual=False)
def skewness_288(view: View) -> Floats:
    """Skewness of the day's bar returns about zero."""
    variance = np.maximum(view.mean("squared_return", 288), _FLOOR)
    return np.asarray(rolling_mean(view.squared_return * view.log_return, 288) / (variance * np.sqrt(variance)))


@feature("log_kurtosis_288", lookback=289, usual=False)
def log_kurtosis_288(view: View) -> Floats:
    """Log of the day's kurtosis of bar returns about zero over that of a normal."""
    variance = np.maximum(view.mean("squared_return", 288), _FLOOR)
    return np.log(np.maximum(rolling_mean(view.squared_return**2, 288) / (3.0 * variance**2), 1e-3))


@feature("vol_of_vol_288", lookback=288, usual=False)
def vol_of_vol_288(view: View) -> Floats:
    """Standard deviation of the log range variance over the day."""
    return rolling_std(np.log(np.maximum(view.range_variance, _FLOOR)), 288)
