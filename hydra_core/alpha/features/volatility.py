"""How rough the market is now against what it was: ratios of variances, never their level."""

from __future__ import annotations

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View
from hydra_core.statistics.volatility import semivariances

_FLOOR = 1e-12


def _log_ratio(above: Floats, below: Floats) -> Floats:
    return np.log(np.maximum(above, _FLOOR) / np.maximum(below, _FLOOR))


@feature("vol_ratio_12_288", lookback=288)
def vol_ratio_12_288(view: View) -> Floats:
    """Log of the hour's range variance over the day's."""
    return _log_ratio(rolling_mean(view.range_variance, 12), rolling_mean(view.range_variance, 288))


@feature("vol_ratio_48_1440", lookback=1440)
def vol_ratio_48_1440(view: View) -> Floats:
    """Log of four hours' range variance over five days'."""
    return _log_ratio(rolling_mean(view.range_variance, 48), rolling_mean(view.range_variance, 1440))


@feature("range_close_ratio_48", lookback=49)
def range_close_ratio_48(view: View) -> Floats:
    """Log of range variance over close-to-close variance in four hours: high where moves are taken back."""
    return _log_ratio(rolling_mean(view.range_variance, 48), rolling_mean(view.squared_return, 48))


@feature("semivariance_share_48", lookback=49)
def semivariance_share_48(view: View) -> Floats:
    """Share of falling bars in four hours' variance, less a half: above 0 the falls are the larger moves."""
    falling, rising = semivariances(view.log_return, 48)
    return falling / np.maximum(falling + rising, _FLOOR) - 0.5
