"""What longs pay shorts: settled funding rates, known from their settlement on."""

from __future__ import annotations

import numpy as np

from hydra_core.alpha.features.cross_section import mean_of_pairs
from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import CANDLES, FUNDING, Floats
from hydra_core.statistics.rolling import change, rolling_mean, standardised
from hydra_core.statistics.view import View

WEEK = 2016
_UNIT = 1e-4
"""The usual rate of one basis point per settlement."""
_LEAST_SPREAD = 2e-5
"""A fifth of a basis point: below it a week of identical rates would make noise a z-score."""
_INPUTS = (CANDLES, FUNDING)


@feature("funding_level", lookback=1, inputs=_INPUTS)
def funding_level(view: View) -> Floats:
    """Last settled rate in basis points, through asinh: linear near zero, logarithmic in a squeeze."""
    return np.arcsinh(view.panel.funding_rate / _UNIT)


@feature("funding_z_week", lookback=WEEK, inputs=_INPUTS)
def funding_z_week(view: View) -> Floats:
    """Last settled rate against its own week, in standard deviations."""
    return standardised(view.panel.funding_rate, WEEK, _LEAST_SPREAD)


@feature("funding_relative", lookback=1, inputs=_INPUTS)
def funding_relative(view: View) -> Floats:
    """Last settled rate less the mean over the pairs, in basis points through asinh."""
    rate = view.panel.funding_rate
    return np.asarray(np.arcsinh((rate - mean_of_pairs(rate)) / _UNIT))


@feature("funding_mean_3_days", lookback=864, inputs=_INPUTS, usual=False)
def funding_mean_3_days(view: View) -> Floats:
    """Mean settled rate over three days in basis points, through asinh: what holding a side has cost."""
    return np.asarray(np.arcsinh(rolling_mean(view.panel.funding_rate, 864) / _UNIT))


@feature("funding_change_day", lookback=289, inputs=_INPUTS, usual=False)
def funding_change_day(view: View) -> Floats:
    """Change of the settled rate in a day, in basis points through asinh."""
    return np.asarray(np.arcsinh(change(view.panel.funding_rate, 288) / _UNIT))
