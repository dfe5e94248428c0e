"""Momentum and reversal: log returns over several spans in units of what was to be expected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import lag, rolling_mean
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

_LEAST_RANGE = 1e-9


def _scaled_return(bars: int) -> Callable[[View], Floats]:
    return lambda view: view.scaled_return(bars)


for _bars in (1, 3, 12, 48, 288):
    feature(f"return_{_bars}", lookback=max(SIGMA_LOOKBACK, _bars + 1), reach=_bars + 1)(_scaled_return(_bars))
for _bars in (6, 96, 576):
    feature(f"return_{_bars}", lookback=max(SIGMA_LOOKBACK, _bars + 1), usual=False, reach=_bars + 1)(
        _scaled_return(_bars)
    )


def _channel_position(bars: int) -> Callable[[View], Floats]:
    """Where the close stands between the lowest low (-0.5) and the highest high (0.5) of the last bars."""

    def compute(view: View) -> Floats:
        high, low = view.highest(bars), view.lowest(bars)
        width = np.maximum(high - low, _LEAST_RANGE * high)
        return (view.panel.close - low) / width - 0.5

    return compute


for _bars in (48, 288):
    feature(f"channel_position_{_bars}", lookback=_bars)(_channel_position(_bars))


def _autocorrelation(bars: int) -> Callable[[View], Floats]:
    """First-order autocorrelation of the last bar returns (about zero mean): trending above 0, reverting below."""

    def compute(view: View) -> Floats:
        r = view.log_return
        product = rolling_mean(r * lag(r, 1), bars)
        return product / np.maximum(view.mean("squared_return", bars), 1e-16)

    return compute


feature("autocorrelation_48", lookback=50)(_autocorrelation(48))
feature("autocorrelation_288", lookback=290, usual=False)(_autocorrelation(288))
