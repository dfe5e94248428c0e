"""The numbers that an analysis rests on, for every pair and bar: positioning, its growth, the move, the roughness.

Not here: what they mean (rules.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from hydra_core.domain.market import CANDLES, FUNDING, LONG_SHORT, OPEN_INTEREST, Floats, Panel
from hydra_core.statistics.rolling import change, rolling_mean
from hydra_core.statistics.state import variance_ratio
from hydra_core.statistics.view import SIGMA_LOOKBACK, tail_view

DAY: Final = 288
WEEK: Final = 2016
FUNDING_USUAL: Final = 1e-4
LOOKBACK: Final = max(WEEK, SIGMA_LOOKBACK, variance_ratio.lookback)
"""Rows before and including the first one asked for."""


@dataclass(frozen=True, eq=False)
class Readings:
    """Arrays of one shape, usually (n, P); NaN where not known.

    Parameters
    ----------
    funding_excess : last settled rate beyond the usual 1 bp, basis points per settlement; above 0 longs pay
    long_short_deviation : log long/short ratio less its mean over a week
    oi_growth_day, oi_growth_3_days : change of log open interest
    move_4_hours : log return of four hours in expected standard deviations
    variance_ratio : two-hour over five-day variance
    """

    funding_excess: Floats
    long_short_deviation: Floats
    oi_growth_day: Floats
    oi_growth_3_days: Floats
    move_4_hours: Floats
    variance_ratio: Floats


NAMES: Final = tuple(f.name for f in fields(Readings))


def readings_from(panel: Panel, last: int | None = None) -> Readings:
    """Readings of every row, or of the newest ``last`` rows; those whose input the panel lacks are all NaN.

    Raises
    ------
    InputMissing : the panel is shorter than ``last``
    """
    view = tail_view(panel, LOOKBACK, last)
    rows = len(panel) if last is None else last
    shape = (rows, len(panel.pairs))

    def newest(values: Floats, needed: str) -> Floats:
        return values[values.shape[0] - rows :] if needed in panel.inputs else np.full(shape, np.nan)

    week = view.tail(WEEK + rows - 1)
    short = view.reaching(SIGMA_LOOKBACK, 49, rows)
    return Readings(
        funding_excess=newest((week.panel.funding_rate - FUNDING_USUAL) * 1e4, FUNDING),
        long_short_deviation=newest(week.log_long_short - rolling_mean(week.log_long_short, WEEK), LONG_SHORT),
        oi_growth_day=newest(change(week.log_open_interest, DAY), OPEN_INTEREST),
        oi_growth_3_days=newest(change(week.log_open_interest, 3 * DAY), OPEN_INTEREST),
        move_4_hours=newest(change(short.log_close, 48) / (short.sigma * math.sqrt(48)), CANDLES),
        variance_ratio=newest(variance_ratio.of(view, rows), CANDLES),
    )
