"""How much was traded against the usual, and on which side of the bar."""

from __future__ import annotations

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View


@feature("volume_ratio_12_288", lookback=288)
def volume_ratio_12_288(view: View) -> Floats:
    """Mean log notional volume of the hour less that of the day."""
    return rolling_mean(view.log_volume, 12) - rolling_mean(view.log_volume, 288)


@feature("signed_volume_48", lookback=49)
def signed_volume_48(view: View) -> Floats:
    """Volume of rising bars less that of falling bars as a share of four hours' volume, in [-1, 1]."""
    volume = view.panel.volume
    signed = rolling_mean(np.sign(view.log_return) * volume, 48)
    return signed / np.maximum(rolling_mean(volume, 48), 1e-12)
