"""Positions being opened and closed: open interest against its own past, and together with the price."""

from __future__ import annotations

import math
from collections.abc import Callable

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import CANDLES, OPEN_INTEREST, Floats
from hydra_core.statistics.rolling import change, rolling_mean
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

DAY = 288
_INPUTS = (CANDLES, OPEN_INTEREST)
_UNIT = 0.01


def _deviation(bars: int) -> Callable[[View], Floats]:
    """Log open interest less its mean over the last bars; 0.01 is 1 % above."""

    def compute(view: View) -> Floats:
        return view.log_open_interest - rolling_mean(view.log_open_interest, bars)

    return compute


feature("oi_deviation_day", lookback=DAY, inputs=_INPUTS)(_deviation(DAY))
feature("oi_deviation_3_days", lookback=3 * DAY, inputs=_INPUTS)(_deviation(3 * DAY))
feature("oi_deviation_week", lookback=7 * DAY, inputs=_INPUTS)(_deviation(7 * DAY))


@feature("oi_change_12", lookback=13, inputs=_INPUTS)
def oi_change_12(view: View) -> Floats:
    """Change of log open interest in an hour, per cent."""
    return change(view.log_open_interest, 12) / _UNIT


@feature("oi_change_with_return_48", lookback=SIGMA_LOOKBACK, inputs=_INPUTS)
def oi_change_with_return_48(view: View) -> Floats:
    """Four hours' change of log open interest (per cent) times the scaled return.

    Above 0 positions were opened with a rise or closed with a fall; below 0 opened with a fall or closed with a rise.
    """
    move = change(view.log_close, 48) / (view.sigma * math.sqrt(48))
    return change(view.log_open_interest, 48) / _UNIT * move
