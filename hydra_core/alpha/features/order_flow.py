"""Who pushed, and what a traded dollar moved.

A panel knows no aggressor, so the side of volume is told from where its bar closed. Volume by the direction of its bar is in
volume.py.
"""

from __future__ import annotations

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View


@feature("money_flow_48", lookback=48, usual=False)
def money_flow_48(view: View) -> Floats:
    """Volume-weighted place of the close in its bar over four hours, in [-1, 1] (Chaikin's money flow)."""
    panel = view.panel
    place = (2.0 * panel.close - panel.high - panel.low) / view.candle_width
    return rolling_mean(place * view.volume, 48) / view.mean("volume", 48)


@feature("illiquidity_ratio_48_2016", lookback=2017, usual=False)
def illiquidity_ratio_48_2016(view: View) -> Floats:
    """Log of what a traded dollar moved the price in four hours over the week's (Amihud, 2002)."""
    moved = view.absolute_return * np.exp(-view.log_volume)
    return np.log(np.maximum(rolling_mean(moved, 48), 1e-18) / np.maximum(rolling_mean(moved, 2016), 1e-18))


@feature("volume_with_move_48", lookback=49, usual=False)
def volume_with_move_48(view: View) -> Floats:
    """How closely volume goes with the size of moves over four hours, in [0, 1]: a cosine about zero."""
    together = rolling_mean(view.absolute_return * view.volume, 48)
    apart = np.sqrt(view.mean("squared_return", 48) * view.mean("squared_volume", 48))
    return together / np.maximum(apart, 1e-18)
