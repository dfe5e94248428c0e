"""The shape of recent candles: where they closed inside their range, how long their bodies were."""

from __future__ import annotations

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View


@feature("close_location_12", lookback=12)
def close_location_12(view: View) -> Floats:
    """Mean over an hour of where each bar closed between its low (-0.5) and high (0.5)."""
    panel = view.panel
    middle = 0.5 * (panel.high + panel.low)
    return rolling_mean((panel.close - middle) / view.candle_width, 12)


@feature("body_share_12", lookback=12)
def body_share_12(view: View) -> Floats:
    """Mean signed body as a share of the bar's range over an hour."""
    panel = view.panel
    return rolling_mean((panel.close - panel.open) / view.candle_width, 12)
