"""One volatility model for all pairs: a pooled log-HAR with market, ranges and calendar, and trees on what it leaves.

The linear part carries the level and extrapolates; boosted trees, trained on the likelihood whose minimum is that of
QLIKE, add what is not linear in the logs. LightGBM is imported when a model is fitted or read, never with this module.
Not here: the frozen forecast that decisions use (volatility.py).

Sources: Corsi (2009) and Clements and Preve (2021) for the columns; Patton (2011) for the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.statistics import volatility as vol
from hydra_core.statistics.diurnal import DAY_MS, coming_factor
from hydra_core.statistics.har import future_variance, log_mean_variance
from hydra_core.statistics.rolling import change, exponential_mean, rolling_max, rolling_mean
from hydra_core.statistics.volatility import VARIANCE_FLOOR as FLOOR

WINDOWS: Final = (3, 12, 48, 288, 2016)
"""Bars (5m) of the trailing variances: a quarter of an hour, an hour, four hours, a day, a week."""
LOOKBACK: Final = 5761
"""Rows until every column is known: twenty days for the time-of-day factor."""
CLIP: Final = 4.0
"""Linear fit: a log residual beyond this many deviations is drawn in, so that one crash does not bend the slopes."""
RIDGE: Final = 10.0
TRUST_SHORT: Final = 1.0
TRUST_LONG: Final = 0.5
"""Share of the trees' correction that is believed, within a day and from a day on. This and the shares below were chosen on
May to October 2025; later months are the test of them."""
FRESH_SHORT: Final = 0.05
FRESH_LONG: Final = 0.05
FRESH_HALF_LIFE: Final = (24.0, 288.0)
FRESH_BARS: Final = 2880
"""A share of a plain exponential variance (half-lives in bars, window) is added in levels: logs are slow to believe
that a crash goes on, and QLIKE asks most for exactly those hours."""


def linear_columns(panel: Panel, horizon: int, rows: Ints) -> Floats:
    """Columns of the linear part at ``rows``, shape (n, P, F), NaN where not yet known."""
    square = change(np.log(panel.close), 1) ** 2
    ranges = vol.parkinson(panel.high, panel.low)
    own = [log_mean_variance(square, window)[rows] for window in WINDOWS]
    swings = [log_mean_variance(ranges, window)[rows] for window in (1, 3, 12, 48, 288)]
    market = [np.broadcast_to(np.nanmean(x, axis=1, keepdims=True), x.shape) for x in (*own[:4], *swings[1:3])]
    when = panel.close_ms[rows]
    pair_shape = own[0].shape
    weekend = np.broadcast_to(_coming_weekend(when, horizon)[:, None], pair_shape)
    season = coming_factor(square, panel.close_ms, horizon, rows) if horizon < 288 else np.zeros(pair_shape)
    return np.stack([*own, *swings, *market, weekend, season], axis=-1)


def _coming_weekend(when_ms: Ints, horizon: int) -> Floats:
    """Share of the coming ``horizon`` 5m bars that fall on Saturday or Sunday (UTC)."""
    steps = when_ms[:, None] + np.linspace(0, horizon * 300_000, 13)[None, :-1]
    weekday = (steps // DAY_MS + 3) % 7
    return np.asarray((weekday >= 5).mean(axis=1), dtype=np.float64)


def tree_columns(panel: Panel, linear: Floats, rows: Ints) -> Floats:
    """Further columns for the trees at ``rows``, shape (n, P, G): volume, asymmetry, extremes, clock, others' state."""
    log_return = change(np.log(panel.close), 1)
    square = log_return**2
    volume = np.log(np.maximum(panel.volume * panel.close, 1.0))
    own_day = linear[..., 3]
    down = vol.falling_variance(log_return, 48)
    scale = np.exp(0.5 * own_day)
    when = panel.close_ms[rows]
    hour = (when % DAY_MS) / 3_600_000.0
    shape = own_day.shape
    parts = [
        linear[..., 1] - own_day,
        linear[..., 2] - own_day,
        own_day - linear[..., 4],
        linear[..., 5] - own_day,
        linear[..., 7] - own_day,
        linear[..., 11] - linear[..., 1],
        linear[..., 12] - linear[..., 2],
        rolling_mean(volume, 3)[rows] - rolling_mean(volume, 288)[rows],
        rolling_mean(volume, 12)[rows] - rolling_mean(volume, 2016)[rows],
        down[rows] / np.maximum(48.0 * rolling_mean(square, 48)[rows], FLOOR),
        np.sqrt(rolling_max(square, 12)[rows]) / scale,
        np.sqrt(rolling_max(square, 288)[rows]) / scale,
        change(np.log(panel.close), 12)[rows] / scale,
        change(np.log(panel.close), 288)[rows] / scale,
        np.log(np.maximum(vol.bipower(log_return, 288)[rows] / 288.0, FLOOR)) - own_day,
        np.broadcast_to(hour[:, None], shape),
        np.broadcast_to((((when // DAY_MS) + 3) % 7).astype(np.float64)[:, None], shape),
        np.broadcast_to(np.arange(shape[1], dtype=np.float64)[None, :], shape),
    ]
    return np.stack(parts, axis=-1)


@dataclass(frozen=True)
class PooledVolatility:
    """A fitted pooled model.

    Parameters
    ----------
    horizon : bars ahead
    coefficients : of the linear columns, intercepts of the pairs last
    linear_level : added to the linear log forecast, so that the mean, not the median, is forecast
    boosters : LightGBM models of the log ratio of variance to the linear forecast; their mean is taken
    """

    @property
    def short(self) -> bool:
        """Whether the horizon is within a day: its labels are many, and freshness counts."""
        return self.horizon < 288

    horizon: int
    coefficients: Floats
    linear_level: float
    boosters: tuple[Any, ...] = field(default=())

    def predict(self, panel: Panel, rows: Ints) -> Floats:
        """Expected variance per bar over the horizon after each of ``rows``, shape (n, P)."""
        linear = linear_columns(panel, self.horizon, rows)
        out = self.linear(linear)
        if self.boosters:
            design = np.concatenate([linear, tree_columns(panel, linear, rows)], axis=-1)
            flat = design.reshape(-1, design.shape[-1])
            gain = np.mean([booster.predict(flat, raw_score=True) for booster in self.boosters], axis=0)
            out = out + (TRUST_SHORT if self.short else TRUST_LONG) * np.asarray(gain).reshape(out.shape)
        share = FRESH_SHORT if self.short else FRESH_LONG
        square = change(np.log(panel.close), 1) ** 2
        fresh = exponential_mean(square, FRESH_HALF_LIFE[0 if self.short else 1], FRESH_BARS)[rows]
        return np.asarray((1.0 - share) * np.exp(out) + share * np.maximum(fresh, FLOOR))

    def linear(self, columns: Floats) -> Floats:
        """Log forecast of the linear part from :func:`linear_columns`."""
        count = columns.shape[-1]
        slopes, pairs = self.coefficients[:count], self.coefficients[count:]
        return np.asarray(columns @ slopes + pairs + self.linear_level)


def fit_pooled(
    panel: Panel, horizon: int, rows: Ints, seeds: tuple[int, ...] = (0, 1), rounds: int = 300
) -> PooledVolatility:
    """Fit on ``rows``, whose futures must lie before the first row that is to be forecast.

    Parameters
    ----------
    panel : Panel of 5m bars
    horizon : bars ahead
    rows : int64 array, training rows
    seeds : one boosted model each; none gives the linear model alone
    rounds : trees a model

    Raises
    ------
    InputMissing : fewer than a thousand complete rows
    """
    columns = linear_columns(panel, horizon, rows)
    square = change(np.log(panel.close), 1) ** 2
    future = np.maximum(future_variance(square, horizon)[rows], FLOOR)
    target = np.log(future)
    good = np.isfinite(columns).all(axis=-1) & np.isfinite(target)
    if good.sum() < 1000:
        raise InputMissing(f"pooled volatility has {int(good.sum())} complete rows", "Give it a longer history")
    pair = np.broadcast_to(np.arange(target.shape[1]), target.shape)[good]
    design = np.hstack([columns[good], np.eye(target.shape[1])[pair]])
    slopes = _robust_ridge(design, target[good], columns.shape[-1])
    fitted = design @ slopes
    # The mean of variance over forecast, drawn in at the far end: one crash must not lift the level for months.
    level = float(np.log(np.minimum(future[good] / np.exp(fitted), np.exp(CLIP)).mean()))
    model = PooledVolatility(horizon, slopes, level)
    if not seeds:
        return model
    base = (fitted + level).astype(np.float64)
    trees = np.concatenate([columns, tree_columns(panel, columns, rows)], axis=-1)[good]
    ratio = np.minimum(future[good] / np.exp(base), np.exp(CLIP))
    return PooledVolatility(horizon, slopes, level, _boost(trees, ratio, horizon, seeds, rounds))


def _robust_ridge(design: Floats, target: Floats, penalised: int) -> Floats:
    """Ridge with residuals drawn in at :data:`CLIP` deviations, in three rounds; pair intercepts are not penalised."""
    penalty = np.zeros(design.shape[1])
    penalty[:penalised] = RIDGE
    gram = design.T @ design + np.diag(penalty + 1e-9)
    aim = target
    slopes = np.linalg.solve(gram, design.T @ aim)
    for _ in range(3):
        fitted = design @ slopes
        residual = target - fitted
        spread = CLIP * residual.std()
        aim = fitted + np.clip(residual, -spread, spread)
        slopes = np.linalg.solve(gram, design.T @ aim)
    return np.asarray(slopes)


def _boost(columns: Floats, ratio: Floats, horizon: int, seeds: tuple[int, ...], rounds: int) -> tuple[Any, ...]:
    import lightgbm

    # Labels overlap: an hour's rows at a quarter of an hour share three quarters, so leaves are kept large.
    settings: dict[str, Any] = {
        "objective": "gamma",
        "boost_from_average": False,
        "learning_rate": 0.03,
        "num_leaves": 15,
        "min_data_in_leaf": 400 if horizon < 288 else 1500,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.6,
        "bagging_freq": 1,
        "lambda_l2": 20.0,
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
    }
    data = lightgbm.Dataset(columns, label=np.maximum(ratio, 1e-9), free_raw_data=False)
    return tuple(lightgbm.train({**settings, "seed": seed}, data, num_boost_round=rounds) for seed in seeds)
