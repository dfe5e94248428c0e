"""Proper scores of probabilities, hazards and variances, each with the error that days of overlapping rows leave.

Here: log-loss and Brier skill, calibration error and slope, average precision, QLIKE. Not here: the correlation of
return forecasts (``evaluation``), thresholds (``gates``).

Sources: Brier (1950); Cox (1958) for the slope of log odds; Davis and Goadrich (2006) for precision and recall; Patton
(2011) for QLIKE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.crowd.logistic import newton
from hydra_core.alpha.crowd.score import average_precision
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.bootstrap import Interval, day_block_interval, day_ratio_interval
from hydra_core.research.hac import MeanTest
from hydra_core.statistics.comparison import diebold_mariano
from hydra_core.statistics.volatility import qlike

BINS: Final = 15
_EDGE: Final = 1e-6
"""Probabilities are kept this far from 0 and 1: one sure and wrong word must not make the mean loss infinite."""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """How good probabilities of an event are.

    Parameters
    ----------
    log_loss_skill : 1 - log loss / that of the usual rate, with its 95 % day-block interval
    brier_skill : the same with squared error
    calibration_error : mean gap between word and frequency over bins of equal count
    usual_error : what perfectly calibrated probabilities show by chance, mean over simulations
    error_limit : their 99 % quantile; above it the words are not what happens
    slope : of the log odds, 1 where probabilities spread as they should
    """

    log_loss_skill: Interval
    brier_skill: Interval
    calibration_error: float
    usual_error: float
    error_limit: float
    slope: float

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            name: [value.value, value.low, value.high] if isinstance(value, Interval) else value
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
        }


def probabilities(said: Floats, happened: Floats, days: Ints, usual: float, *, seed: int = 7) -> Probabilities:
    """Score probabilities.

    Parameters
    ----------
    said : (n,), in [0, 1]
    happened : (n,), 0 or 1
    days : (n,), day number of each row
    usual : rate of the event in the training rows: what the skill is measured against

    Raises
    ------
    InputMissing : fewer than 100 rows, or one that is not finite
    """
    if said.size < 100 or not (np.isfinite(said).all() and np.isfinite(happened).all()):
        raise InputMissing(f"{said.size} probabilities to judge", "Judge 100 finite ones at least")
    clipped = np.clip(said, _EDGE, 1 - _EDGE)
    error, usual_error, limit = calibration_error(clipped, happened, seed=seed)
    return Probabilities(
        log_loss_skill=_skill(log_loss(clipped, happened), log_loss(np.full(said.size, usual), happened), days, seed),
        brier_skill=_skill((said - happened) ** 2, (usual - happened) ** 2, days, seed),
        calibration_error=error,
        usual_error=usual_error,
        error_limit=limit,
        slope=calibration_slope(clipped, happened),
    )


def log_loss(said: Floats, happened: Floats) -> Floats:
    """Minus the log of the probability given to what happened, nats, shape (n,)."""
    return np.asarray(-np.log(np.clip(np.where(happened > 0.5, said, 1 - said), _EDGE, 1.0)))


def calibration_error(said: Floats, happened: Floats, bins: int = BINS, *, seed: int = 7) -> tuple[float, float, float]:
    """Expected calibration error over bins of equal count, and what it is by chance.

    Returns
    -------
    (error, usual, limit) : usual and limit are mean and 99 % quantile of 200 draws of outcomes from the words themselves
    """
    of = _gaps(said, bins)
    rng = np.random.default_rng(seed)
    drawn = [of((rng.random(said.size) < said).astype(np.float64)) for _ in range(200)]
    return of(happened), float(np.mean(drawn)), float(np.quantile(drawn, 0.99))


def _gaps(said: Floats, bins: int) -> Callable[[Floats], float]:
    """The mean gap between these words and outcomes, over bins of equal count."""
    order = np.argsort(said, kind="stable")
    edges = np.linspace(0, said.size, bins + 1).astype(int)[:-1]
    count = np.diff(np.append(edges, said.size))
    word = np.add.reduceat(said[order], edges) / count
    return lambda outcome: float(
        (count * np.abs(np.add.reduceat(outcome[order], edges) / count - word)).sum() / said.size
    )


def calibration_intervals(
    said: Floats, happened: Floats, days: Ints, *, draws: int = 200, seed: int = 7
) -> tuple[Interval, Interval]:
    """Calibration error and slope with their 95 % intervals when whole days are drawn in blocks.

    Parameters
    ----------
    said, happened : (n,), as :func:`probabilities` takes them
    """
    clipped = np.clip(said, _EDGE, 1 - _EDGE)
    error = day_block_interval(
        days, lambda rows: _gaps(clipped[rows], BINS)(happened[rows]), draws, seed=seed, block_days=2.0
    )
    slope = day_block_interval(
        days, lambda rows: calibration_slope(clipped[rows], happened[rows]), draws, seed=seed, block_days=2.0
    )
    return error, slope


def calibration_slope(said: Floats, happened: Floats) -> float:
    """Slope of the outcome on the log odds: below 1 the words are too sure, above it too timid."""
    odds = np.log(said / (1 - said))
    if odds.std() < 1e-9:
        return 0.0
    design = np.stack([np.ones(odds.size), odds], axis=1)
    zero = np.zeros(2)
    return float(newton(design, happened, zero, zero.copy(), zero)[1])


def precision(
    score: Floats, happened: Floats, days: Ints, *, draws: int = 300, seed: int = 7
) -> tuple[Interval, Interval]:
    """Average precision and its lift over the base rate, with 95 % day-block intervals.

    Parameters
    ----------
    score : (n,), any monotone measure of the hazard
    happened : (n,), 0 or 1
    """

    def lift(rows: Ints) -> float:
        rate = float(happened[rows].mean())
        return average_precision(score[rows], happened[rows]) / rate if rate > 0 else math.nan

    plain = day_block_interval(
        days, lambda rows: average_precision(score[rows], happened[rows]), draws, seed=seed, block_days=2.0
    )
    return plain, day_block_interval(days, lift, draws, seed=seed, block_days=2.0)


@dataclass(frozen=True, slots=True)
class VarianceScore:
    """QLIKE of a variance forecast beside a benchmark's: means, their quotient, and the test of their difference."""

    loss: float
    benchmark: float
    test: MeanTest

    @property
    def ratio(self) -> float:
        """Loss over the benchmark's; below 1 is better."""
        return self.loss / self.benchmark


def variance_score(realised: Floats, forecast: Floats, benchmark: Floats, horizon: int = 1) -> VarianceScore:
    """Score a forecast of variance against another on the rows that both know.

    Parameters
    ----------
    realised, forecast, benchmark : (n,), variances over the same span, above 0
    horizon : rows that one forecast spans

    Raises
    ------
    InputMissing : fewer than 30 common rows
    """
    known = np.isfinite(realised) & np.isfinite(forecast) & np.isfinite(benchmark)
    known &= (realised > 0) & (forecast > 0) & (benchmark > 0)
    if known.sum() < 30:
        raise InputMissing(f"{int(known.sum())} variances to judge", "Judge 30 at least")
    own, other = qlike(realised[known], forecast[known]), qlike(realised[known], benchmark[known])
    found = diebold_mariano(own, other, horizon)
    test = MeanTest(-found.gain, found.error, -found.statistic, found.two_sided)
    return VarianceScore(float(own.mean()), float(other.mean()), test)


def _skill(loss: Floats, usual: Floats, days: Ints, seed: int) -> Interval:
    lost = day_ratio_interval(days, loss, usual, seed=seed)
    return Interval(1 - lost.value, 1 - lost.high, 1 - lost.low)
