"""How good forecasts are on rows they have not seen: correlation with the mean return first, never the sign alone.

Everything is given with the uncertainty that overlapping labels and correlated pairs leave: days are drawn, all pairs
together, and counts are effective ones. Not here: thresholds (``gates``), trading (``books``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.models import Forecast
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Bools, Floats, Ints
from hydra_core.research.bootstrap import Interval, day_ratio_interval, stationary_indices
from hydra_core.research.hac import mean_test
from hydra_core.research.metrics import skewness
from hydra_core.research.scores import log_loss

LAGS: Final = (0, 1, 2, 3, 6, 12)
BINS: Final = 8
UNKNOWN: Final = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Skill:
    """Skill of standardised forecasts.

    Parameters
    ----------
    correlation : Pearson IC with its 95 % day-block interval
    rank_correlation : Spearman IC
    accuracy : share of right signs
    effective_count : independent observations behind it
    top_decile_bp : mean signed return of the tenth with the largest forecasts, basis points, before costs
    signed_skew : skewness of those returns; far below 0 a high hit rate still loses money
    by_lag : IC when the entry comes that many bars later
    t : of the mean product of forecast and outcome, Newey-West over the horizon
    log_loss_skill : of the probability of a rise that the forecast implies, over even odds, with its 95 % interval
    """

    correlation: Interval
    rank_correlation: float
    accuracy: float
    effective_count: float
    top_decile_bp: float
    signed_skew: float
    by_lag: dict[int, float]
    t: float = 0.0
    log_loss_skill: Interval = UNKNOWN

    @property
    def accuracy_error(self) -> float:
        """Standard error of the accuracy: half over the root of the effective count."""
        return 0.5 / math.sqrt(max(self.effective_count, 1.0))

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "correlation": [self.correlation.value, self.correlation.low, self.correlation.high],
            "rank_correlation": self.rank_correlation,
            "accuracy": self.accuracy,
            "effective_count": self.effective_count,
            "top_decile_bp": self.top_decile_bp,
            "signed_skew": self.signed_skew,
            "by_lag": {str(lag): value for lag, value in self.by_lag.items()},
            "t": self.t,
            "log_loss_skill": [self.log_loss_skill.value, self.log_loss_skill.low, self.log_loss_skill.high],
        }


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether confidences are what happens.

    Parameters
    ----------
    confidence, won, count : by bin of equal count, ascending in confidence
    excess : mean confidence less the share won where the confidence reaches the threshold, with a 90 % interval; None where
        it never does
    """

    confidence: tuple[float, ...]
    won: tuple[float, ...]
    count: tuple[int, ...]
    excess: Interval | None

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        excess = None if self.excess is None else [self.excess.value, self.excess.low, self.excess.high]
        return {"confidence": self.confidence, "won": self.won, "count": self.count, "excess": excess}


def correlation(x: Floats, y: Floats) -> float:
    """Pearson correlation over the values that both have; 0 where one of them never moves."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3:
        return 0.0
    a, b = x[known], y[known]
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 1e-300 else 0.0


def skill(raw: Floats, realised: Floats, sigma: Floats, days: Ints, horizon: int, *, seed: int = 7) -> Skill:
    """Skill of forecasts.

    Parameters
    ----------
    raw : array (n, P), standardised forecasts of consecutive rows
    realised : array (n, P), realised returns in horizon standard deviations
    sigma : array (n, P), standard deviation of the log return over the horizon
    days : array (n,), day number of each row

    Raises
    ------
    InputMissing : fewer than 100 values known to both
    """
    known = _judged(raw, realised)
    x, y = raw[known], realised[known]
    moved = x != 0
    largest = np.abs(x) >= np.quantile(np.abs(x), 0.9)
    earned = (np.sign(x) * y * sigma[known])[largest & moved] * 1e4
    return Skill(
        correlation=_correlation_interval(raw, realised, days, seed),
        rank_correlation=correlation(_ranks(x), _ranks(y)),
        accuracy=float((np.sign(x) == np.sign(y))[moved].mean()) if moved.any() else 0.5,
        effective_count=effective_count(realised, horizon),
        top_decile_bp=float(earned.mean()) if earned.size else 0.0,
        signed_skew=skewness(earned) if earned.size > 2 else 0.0,
        by_lag={lag: correlation(raw[: len(raw) - lag], realised[lag:]) for lag in LAGS},
        t=_product_t(raw, realised, horizon),
        log_loss_skill=rise_skill(implied_chance(raw), realised, days, seed=seed),
    )


def effective_count(realised: Floats, horizon: int) -> float:
    """Independent observations in overlapping labels of correlated pairs: n / H * P / (1 + (P - 1) r)."""
    full = int(np.isfinite(realised).all(axis=1).sum())
    pairs = realised.shape[1]
    if full < 3 or pairs < 2:
        return float(np.isfinite(realised).sum() / horizon)
    return float(full / horizon * pairs / (1 + (pairs - 1) * likeness(realised)))


def likeness(realised: Floats) -> float:
    """Mean correlation between the pairs' returns over rows that all of them know, at least 0; 0 for a single pair."""
    full = realised[np.isfinite(realised).all(axis=1)]
    pairs = realised.shape[1]
    if full.shape[0] < 3 or pairs < 2:
        return 0.0
    matrix = np.corrcoef(full, rowvar=False)
    return max(0.0, float((matrix.sum() - pairs) / (pairs * (pairs - 1))))


def reliability(
    forecast: Forecast, realised_return: Floats, round_trip: float, days: Ints, threshold: float, *, seed: int = 7
) -> Reliability:
    """Confidence against what happened.

    Parameters
    ----------
    forecast : Forecast (n, P)
    realised_return : array (n, P), log return over the horizon
    round_trip : cost of entering and leaving, fraction of notional
    days : array (n,)
    threshold : confidence from which a proposal is made
    """
    known = np.isfinite(forecast.confidence) & np.isfinite(realised_return)
    said = forecast.confidence[known]
    won = (np.sign(forecast.expected_return) * realised_return > round_trip)[known].astype(np.float64)
    parts = np.array_split(np.argsort(said, kind="stable"), BINS)
    excess = None
    high = known & (np.nan_to_num(forecast.confidence) >= threshold)
    if high.sum() >= 50:
        numbers, group = np.unique(days, return_inverse=True)
        gap = np.where(
            high,
            np.nan_to_num(forecast.confidence)
            - (np.sign(forecast.expected_return) * np.nan_to_num(realised_return) > round_trip),
            0.0,
        )
        total = np.bincount(group, gap.sum(axis=1), numbers.size)
        count = np.bincount(group, high.sum(axis=1), numbers.size)
        drawn = stationary_indices(numbers.size, 2.0, 500, np.random.default_rng(seed))
        ratio = total[drawn].sum(axis=1) / np.maximum(count[drawn].sum(axis=1), 1)
        low, top = np.quantile(ratio, [0.05, 0.95])
        excess = Interval(float(total.sum() / count.sum()), float(low), float(top))
    return Reliability(
        confidence=tuple(float(said[part].mean()) for part in parts if part.size),
        won=tuple(float(won[part].mean()) for part in parts if part.size),
        count=tuple(int(part.size) for part in parts if part.size),
        excess=excess,
    )


def _correlation_interval(raw: Floats, realised: Floats, days: Ints, seed: int, draws: int = 1000) -> Interval:
    """Pearson correlation with its 95 % interval when whole days are drawn, from each day's sums."""
    known = np.isfinite(raw) & np.isfinite(realised)
    x, y = np.where(known, raw, 0.0), np.where(known, realised, 0.0)
    numbers, group = np.unique(days, return_inverse=True)
    terms = (known.astype(np.float64), x, y, x * x, y * y, x * y)
    sums = np.stack([np.bincount(group, term.sum(axis=1), numbers.size) for term in terms], axis=1)

    def of(total: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = np.moveaxis(total, -1, 0)
        n = np.maximum(n, 1)
        spread = np.maximum((sxx - sx**2 / n) * (syy - sy**2 / n), 1e-300)
        return np.asarray((sxy - sx * sy / n) / np.sqrt(spread))

    drawn = stationary_indices(numbers.size, 2.0, draws, np.random.default_rng(seed))
    low, high = np.quantile(of(sums[drawn].sum(axis=1)), [0.025, 0.975])
    return Interval(float(of(sums.sum(axis=0))), float(low), float(high))


def _product_t(raw: Floats, realised: Floats, horizon: int) -> float:
    """t of the mean over pairs of forecast times outcome, row after row, with the overlap of the labels allowed for."""
    known = np.isfinite(raw) & np.isfinite(realised)
    count = known.sum(axis=1)
    product = np.where(known, raw * realised, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    lags = min(horizon - 1, product.size // 2)
    return mean_test(product, lags).t


def rank_correlation(raw: Floats, realised: Floats, horizon: int) -> tuple[float, float]:
    """Spearman correlation over the values that both know, and its Newey-West error over the overlap of the labels.

    The mean over rows of the product of standardised ranks is the pooled correlation; its error is that of a mean.

    Parameters
    ----------
    raw, realised : arrays (n, P) of consecutive rows
    horizon : rows that a label reaches ahead

    Raises
    ------
    InputMissing : fewer than 100 values known to both
    """
    known = _judged(raw, realised)
    x, y = (_ranks(values[known]) for values in (raw, realised))
    if x.std() <= 0.0 or y.std() <= 0.0:
        return 0.0, 0.0
    product = np.zeros(raw.shape)
    product[known] = (x - x.mean()) / x.std() * (y - y.mean()) / y.std()
    told = known.any(axis=1)
    rows = product.sum(axis=1)[told] * (told.sum() / known.sum())
    seen = mean_test(rows, min(horizon - 1, rows.size // 2))
    return seen.mean, seen.error


def _judged(raw: Floats, realised: Floats) -> Bools:
    """Where both are known; raises InputMissing where that is fewer than 100 times."""
    known = np.isfinite(raw) & np.isfinite(realised)
    if known.sum() < 100:
        raise InputMissing(f"{int(known.sum())} forecasts to judge", "Judge a longer span")
    return np.asarray(known)


def implied_chance(raw: Floats) -> Floats:
    """The probability of a rise that a standardised forecast implies for normal returns, same shape."""
    from scipy.special import ndtr

    return np.asarray(ndtr(raw), np.float64)


def rise_skill(chance: Floats, realised: Floats, days: Ints, *, seed: int = 7) -> Interval:
    """Log-loss skill of the probability of a rise over even odds, with its 95 % interval; rows without a move do not count.

    Parameters
    ----------
    chance, realised : arrays (n, P), NaN where unknown
    days : array (n,), day number of each row
    """
    known = np.isfinite(chance) & np.isfinite(realised) & (realised != 0)
    loss = log_loss(chance[known], (realised[known] > 0).astype(np.float64))
    numbers = np.broadcast_to(days[:, None], known.shape)[known]
    if np.unique(numbers).size < 3:
        return UNKNOWN
    lost = day_ratio_interval(numbers, loss, np.full(loss.size, math.log(2)), seed=seed)
    return Interval(1 - lost.value, 1 - lost.high, 1 - lost.low)


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])
