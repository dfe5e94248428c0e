"""Intervals around forecasts of realised variance that hold nine outcomes of ten, made of the forecasts' own past errors.

An error is the log of what came over what was forecast. Each end of an interval is the forecast times a quantile of the errors
of the same pair and horizon whose hours had all passed when the interval is said; which quantile follows the misses on that
side, so that an end stays where it promises to be when errors grow or shrink. The two ends are two followers of one rule
(``conformal``): variance is skew, and an interval of logs that is as wide below as above would be too wide below. The forecasts
have to be out of sample, for the errors on rows that a model was fitted to are smaller than those to come.

A pair has no interval until there are errors enough: as many outcomes that do not overlap as one in twenty takes to be seen.
What is promised is the share over time. Within a short stretch, or of the wildest hours alone, it may differ: ``told`` says so.

Not here: the forecasts (``league``, ``har``, ``pooled``); errors of the shares (``research``).

Sources: Gibbs and Candes (2021) for following; Lei et al. (2018) for the room that few errors leave; Romano, Patterson and
Candes (2019) for a promise kept on each side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.conformal import LEVEL, RATE, adaptive_widths

WINDOW: Final = 500
"""Newest errors that a quantile is read from, in outcomes that do not overlap: twenty-five beyond each end."""
WILD: Final = 0.1
"""Share of the rows with the largest forecasts, looked at by themselves."""


@dataclass(frozen=True, eq=False)
class VarianceIntervals:
    """Intervals of realised variance around forecasts of it.

    Parameters
    ----------
    level : share of outcomes that they are to hold
    lower, upper : (n, P), in the unit of the forecasts; NaN before a pair has errors enough; ``upper`` is inf where only that
        would make up for what was missed
    """

    level: float
    lower: Floats
    upper: Floats

    def of(self, columns: slice) -> VarianceIntervals:
        """Those of some pairs."""
        return VarianceIntervals(self.level, self.lower[:, columns], self.upper[:, columns])

    def held(self, outcome: Floats) -> Floats:
        """1 where an outcome lies within its interval, 0 where not, NaN where there is none; (n, P)."""
        inside = (self.lower <= outcome) & (outcome <= self.upper)
        known = ~np.isnan(self.lower) & np.isfinite(outcome)
        return np.where(known, inside.astype(np.float64), np.nan)

    def told(self, outcome: Floats, forecast: Floats) -> Coverage:
        """How often and how widely they held.

        Raises
        ------
        InputMissing : no interval was said
        """
        held = self.held(outcome)
        known = np.isfinite(held)
        if not known.any():
            raise InputMissing(
                f"{held.shape[0]} forecasts, none with an interval", "Their first twenty outcomes say how wide it is"
            )
        wild = known & (forecast >= np.quantile(forecast[known], 1.0 - WILD))
        return Coverage(
            share=float(held[known].mean()),
            below=float((outcome < self.lower)[known].mean()),
            wild=float(held[wild].mean()),
            count=int(known.sum()),
            low=float(np.sqrt(np.median((self.lower / forecast)[known]))),
            high=float(np.sqrt(np.median((self.upper / forecast)[known]))),
            unbounded=int(np.isinf(self.upper[known]).sum()),
        )


@dataclass(frozen=True)
class Coverage:
    """What intervals held.

    Parameters
    ----------
    share : of the outcomes that lay within
    below : of the outcomes that lay below
    wild : share within, of the tenth of the rows with the largest forecasts alone
    count : outcomes that had an interval
    low, high : ends of the typical interval (medians), as multiples of the forecast standard deviation
    unbounded : intervals without an upper end, counted as holding
    """

    share: float
    below: float
    wild: float
    count: int
    low: float
    high: float
    unbounded: int


def variance_intervals(
    rows: Ints, horizon: int, every: int, outcome: Floats, forecast: Floats, level: float = LEVEL
) -> VarianceIntervals:
    """The interval of each row, made of outcomes that were known at its close.

    Parameters
    ----------
    rows : (n,), ascending numbers of the bars that are forecast from
    horizon : bars after its row that an outcome runs over
    every : bars between rows, at least; nearer than the horizon, outcomes overlap and count the less
    outcome, forecast : (n, P), realised variance and its forecast out of sample, of one unit, above 0
    level : share to be held; half of the rest is to lie beyond each end

    Raises
    ------
    InputMissing : outcomes and forecasts of different shape, or not one for each row
    """
    if outcome.shape != forecast.shape or outcome.shape[:1] != rows.shape:
        raise InputMissing(
            f"intervals of {outcome.shape} outcomes, {forecast.shape} forecasts, {rows.size} rows",
            "Give it one of each",
        )
    overlap = max(horizon / every, 1.0)
    error = np.log(outcome) - np.log(forecast)
    when = (rows, rows + horizon)
    side = 0.5 * (1.0 + level)

    def ends(scores: Floats) -> Floats:
        return adaptive_widths(scores, side, RATE / overlap, round(WINDOW * overlap), overlap, when)

    lower, upper = np.full(error.shape, np.nan), np.full(error.shape, np.nan)
    for pair in range(error.shape[1]):
        above, below = ends(error[:, pair]), ends(-error[:, pair])
        begun = np.logical_or.accumulate(np.isfinite(above) & np.isfinite(below))
        upper[:, pair] = np.where(begun, forecast[:, pair] * np.exp(above), np.nan)
        lower[:, pair] = np.where(begun, forecast[:, pair] * np.exp(-below), np.nan)
    return VarianceIntervals(level, lower, upper)
