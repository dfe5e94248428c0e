"""From a raw forecast to what it is worth: shrunk slope, probability of winning net of costs, adverse excursion.

Fitted on out-of-sample forecasts only. The raw standardised forecast f of a row stands for slope * f; the slope is the
regression of the realised return on f, shrunk by its own uncertainty (positive-part James and Stein, 1961), so that a
forecast that says nothing has slope 0 and a confidence that never reaches one half. A trade in the forecast's direction
wins when the signed return exceeds the round trip; its probability is read off the empirical distribution of signed
residuals, and so rises with the forecast's size by construction. From that probability its own standard error is taken off:
weeks of overlapping returns hold few independent trades, and too little confidence costs a trade, too much costs money.

Not here: the network. Nothing here needs a learning library: the live plane runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints

LEVELS: Final = np.concatenate([[0.0], np.linspace(0.005, 0.995, 199), [1.0]])
_NUMBERS: Final = ("slope", "slope_t", "adverse", "adverse_slope", "round_trip", "margin")
MAX_SLOPE: Final = 1.0
"""A regularised regression keeps less than it has learnt: where a slope comes out above one, that is luck."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What turns raw standardised forecasts into a :class:`~hydra_core.alpha.models.Forecast`.

    Parameters
    ----------
    slope : what is left of the raw forecast, in [0, MAX_SLOPE]
    slope_t : t statistic of the unshrunk slope (day blocks)
    residuals : array (201,), quantiles at :data:`LEVELS` of side * return - slope * |f|, in horizon standard deviations
    adverse : mean adverse excursion of a trade, in horizon standard deviations
    adverse_slope : its change per unit of slope * |f|
    round_trip : cost of entering and leaving, fraction of notional
    margin : standard error of the share of trades won at a given confidence, taken off every confidence
    """

    slope: float
    slope_t: float
    residuals: Floats
    adverse: float
    adverse_slope: float
    round_trip: float
    margin: float = 0.0

    def expected(self, raw: Floats) -> Floats:
        """Expected return in horizon standard deviations, any shape."""
        return self.slope * raw

    def confidence(self, raw: Floats, horizon_sigma: Floats) -> Floats:
        """Probability that a trade in the forecast's direction wins net of costs, less its standard error, same shape.

        Parameters
        ----------
        raw : standardised forecasts
        horizon_sigma : standard deviation of the log return over the horizon
        """
        needed = self.round_trip / horizon_sigma - np.abs(self.expected(raw))
        below = np.interp(needed, self.residuals, LEVELS)
        return np.where(np.isfinite(needed), np.maximum(1.0 - below - self.margin, 0.0), np.nan)

    def adverse_excursion(self, raw: Floats, horizon_sigma: Floats) -> Floats:
        """Expected worst move against the trade, a positive fraction of price."""
        share = self.adverse + self.adverse_slope * np.abs(self.expected(raw))
        out: Floats = np.maximum(share, 0.1 * self.adverse) * horizon_sigma
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "slope": self.slope,
            "slope_t": self.slope_t,
            "residuals": self.residuals.tolist(),
            "adverse": self.adverse,
            "adverse_slope": self.adverse_slope,
            "round_trip": self.round_trip,
            "margin": self.margin,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """The inverse of :meth:`to_dict`; raises KeyError or ValueError for anything else."""
        residuals = np.asarray(values["residuals"], np.float64)
        if residuals.shape != LEVELS.shape or not np.isfinite(residuals).all():
            raise ValueError(f"{residuals.shape} residual quantiles, expected {LEVELS.shape}")
        numbers = {k: float(values[k]) for k in _NUMBERS}
        return cls(residuals=residuals, **numbers)


def fit_calibration(
    raw: Floats,
    realised: Floats,
    adverse_long: Floats,
    adverse_short: Floats,
    horizon_sigma: Floats,
    days: Ints,
    round_trip: float,
) -> Calibration:
    """Fit on out-of-sample forecasts.

    Parameters
    ----------
    raw : array (n, P), standardised forecasts
    realised : array (n, P), realised returns in horizon standard deviations
    adverse_long, adverse_short : arrays (n, P), worst moves against a long and a short, same units
    horizon_sigma : array (n, P), standard deviation of the log return over the horizon
    days : array (n,), day number of each row; days are the blocks of the slope's standard error
    round_trip : cost of entering and leaving, fraction of notional

    Raises
    ------
    InputMissing : fewer than 100 usable values or fewer than 5 days
    """
    known = np.isfinite(raw) & np.isfinite(realised)
    if known.sum() < 100 or np.unique(days[known.any(axis=1)]).size < 5:
        raise InputMissing(f"{int(known.sum())} out-of-sample forecasts to calibrate on", "Collect more history")
    shrunk, t = shrunk_slope(raw, realised, days)
    side = np.where(raw >= 0, 1.0, -1.0)
    size = shrunk * np.abs(raw)
    residuals = np.quantile((side * realised - size)[known], LEVELS)
    adverse = np.where(side > 0, adverse_long, adverse_short)
    usable = known & np.isfinite(adverse)
    mean, per_unit = float(adverse[usable].mean()), 0.0
    spread = float(size[usable].std())
    if spread > 1e-6:
        per_unit = float(np.cov(size[usable], adverse[usable])[0, 1] / spread**2)
        per_unit = min(0.0, max(per_unit, -1.0))
        mean -= per_unit * float(size[usable].mean())
    residuals = np.maximum.accumulate(residuals + 1e-12 * np.arange(residuals.size))
    plain = Calibration(shrunk, t, residuals, mean, per_unit, round_trip)
    return replace(plain, margin=_margin(plain, raw, realised * horizon_sigma, horizon_sigma, days))


def shrunk_slope(raw: Floats, realised: Floats, days: Ints) -> tuple[float, float]:
    """What is left of a raw forecast, in [0, :data:`MAX_SLOPE`], and the t statistic of the unshrunk slope.

    Parameters
    ----------
    raw, realised : arrays (n, P), standardised forecasts and returns; NaN where unknown
    days : array (n,), block of each row
    """
    known = np.isfinite(raw) & np.isfinite(realised)
    slope, t = _slope(np.where(known, raw, 0.0), np.where(known, realised, 0.0), days)
    return (float(min(slope * max(0.0, 1.0 - 1.0 / t**2), MAX_SLOPE)) if t > 1.0 else 0.0), t


def _margin(plain: Calibration, raw: Floats, returns: Floats, horizon_sigma: Floats, days: Ints) -> float:
    """Standard error of confidence less share won over the larger half of the forecasts, errors grouped by day."""
    said = plain.confidence(raw, horizon_sigma)
    known = np.isfinite(said) & np.isfinite(returns)
    size = np.abs(raw)
    acted = known & (size >= np.median(size[known]))
    won = np.sign(raw) * returns > plain.round_trip
    numbers, group = np.unique(days, return_inverse=True)
    gap = np.bincount(group, np.where(acted, said - won, 0.0).sum(axis=1), numbers.size)
    count = np.bincount(group, acted.sum(axis=1), numbers.size)
    mean = gap.sum() / count.sum()
    return float(np.sqrt(((gap - mean * count) ** 2).sum()) / count.sum())


def _slope(raw: Floats, realised: Floats, days: Ints) -> tuple[float, float]:
    """Slope of realised on raw through the origin and its t statistic, errors grouped by day (cluster-robust)."""
    numbers, group = np.unique(days, return_inverse=True)
    cross = np.bincount(group, (raw * realised).sum(axis=1), numbers.size)
    square = np.bincount(group, (raw**2).sum(axis=1), numbers.size)
    total = float(square.sum())
    if total <= 0:
        return 0.0, 0.0
    slope = float(cross.sum()) / total
    error = np.sqrt(float(((cross - slope * square) ** 2).sum())) / total
    return slope, (slope / error if error > 0 else 0.0)
