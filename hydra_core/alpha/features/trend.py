"""How a move came about: straight or with detours, and how far the price stands from its extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import change, rolling_mean
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

_LEAST_PATH = 1e-9


def _efficiency(bars: int) -> Callable[[View], Floats]:
    """Net move over the path walked, in [-1, 1] (Kaufman's efficiency ratio with its sign)."""

    def compute(view: View) -> Floats:
        path = bars * view.mean("absolute_return", bars)
        return change(view.log_close, bars) / np.maximum(path, _LEAST_PATH)

    return compute


for _bars in (48, 288):
    feature(f"efficiency_{_bars}", lookback=_bars + 1, usual=False)(_efficiency(_bars))


@feature("below_high_288", lookback=SIGMA_LOOKBACK, usual=False, reach=288)
def below_high_288(view: View) -> Floats:
    """Log of the close over the day's highest high, in standard deviations of a day."""
    return np.log(view.panel.close / view.highest(288)) / (view.sigma * math.sqrt(288))


@feature("above_low_288", lookback=SIGMA_LOOKBACK, usual=False, reach=288)
def above_low_288(view: View) -> Floats:
    """Log of the close over the day's lowest low, in standard deviations of a day."""
    return np.log(view.panel.close / view.lowest(288)) / (view.sigma * math.sqrt(288))


@feature("rising_share_12", lookback=13, usual=False)
def rising_share_12(view: View) -> Floats:
    """Rising less falling bars as a share of the last hour's."""
    return rolling_mean(np.sign(view.log_return), 12)
