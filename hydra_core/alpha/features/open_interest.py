"""Positions being opened and closed: open interest against its own past, and together with the price."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import CANDLES, OPEN_INTEREST, Floats
from hydra_core.statistics.rolling import change, standardised
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

DAY = 288
_INPUTS = (CANDLES, OPEN_INTEREST)
_UNIT = 0.01


def _deviation(bars: int) -> Callable[[View], Floats]:
    """Log open interest less its mean over the last bars; 0.01 is 1 % above."""

    def compute(view: View) -> Floats:
        return view.log_open_interest - view.mean("log_open_interest", bars)

    return compute


feature("oi_deviation_day", lookback=DAY, inputs=_INPUTS)(_deviation(DAY))
feature("oi_deviation_3_days", lookback=3 * DAY, inputs=_INPUTS)(_deviation(3 * DAY))
feature("oi_deviation_week", lookback=7 * DAY, inputs=_INPUTS)(_deviation(7 * DAY))


@feature("oi_change_12", lookback=13, inputs=_INPUTS)
def oi_change_12(view: View) -> Floats:
    """Change of log open interest in an hour, per cent."""
    return change(view.log_open_interest, 12) / _UNIT


@feature("oi_change_with_return_48", lookback=SIGMA_LOOKBACK, inputs=_INPUTS, reach=49)
def oi_change_with_return_48(view: View) -> Floats:
    """Four hours' change of log open interest (per cent) times the scaled return.

    Above 0 positions were opened with a rise or closed with a fall; below 0 opened with a fall or closed with a rise.
    """
    return change(view.log_open_interest, 48) / _UNIT * view.scaled_return(48)


@feature("oi_change_288", lookback=289, inputs=_INPUTS, usual=False)
def oi_change_288(view: View) -> Floats:
    """Change of log open interest in a day, per cent."""
    return change(view.log_open_interest, 288) / _UNIT


@feature("oi_z_week", lookback=7 * DAY, inputs=_INPUTS, usual=False)
def oi_z_week(view: View) -> Floats:
    """Log open interest against its own week, in standard deviations (of a tenth of a per cent at least)."""
    return standardised(view.log_open_interest, 7 * DAY, 1e-3, mean=view.mean("log_open_interest", 7 * DAY))


@feature("turnover_day", lookback=DAY, inputs=_INPUTS, usual=False)
def turnover_day(view: View) -> Floats:
    """Log of the day's volume over open interest: how often positions changed hands."""
    traded = DAY * view.mean("volume", DAY)
    return np.asarray(np.log(traded) - view.log_open_interest)
