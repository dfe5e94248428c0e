"""Every volatility model of this layer on the same rows, walked forward: whose QLIKE is lowest, and by how much.

Each model is refitted at each of the given moments on what was known a day before. Not here: the models (har.py,
garch.py, pooled.py), the test of a difference (comparison.py), how wide an interval is (variance_intervals.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.statistics import pooled
from hydra_core.statistics.conformal import LEVEL
from hydra_core.statistics.garch import fit_garch
from hydra_core.statistics.har import fit_har, fit_log_har, future_variance, least_squares, log_mean_variance
from hydra_core.statistics.rolling import change, exponential_mean, rolling_mean
from hydra_core.statistics.variance_intervals import VarianceIntervals, variance_intervals
from hydra_core.statistics.volatility import VARIANCE_FLOOR, qlike

DAY_BARS: Final = 288
LEAST: Final = 1e-10
"""Least variance per bar of forecast and outcome: an exchange outage is no infinite loss."""
OURS: Final = "pooled log-HAR + trees"


@dataclass(frozen=True, eq=False)
class League:
    """Forecasts of one horizon on the same rows.

    Parameters
    ----------
    rows : (n,), rows of the panel that are forecast from
    outcome : (n, P), realised variance per bar over the horizon
    forecasts : name -> (n, P)
    horizon : bars ahead
    every : bars between forecasts
    """

    rows: Ints
    outcome: Floats
    forecasts: dict[str, Floats]
    horizon: int
    every: int

    def losses(self, name: str, most: float = np.inf) -> Floats:
        """QLIKE of each row and pair, drawn in at ``most``."""
        return np.minimum(qlike(self.outcome, self.forecasts[name]), most)

    def table(self, most: float = np.inf) -> dict[str, float]:
        """Mean QLIKE by model."""
        return {name: float(self.losses(name, most).mean()) for name in self.forecasts}

    def intervals(self, name: str, level: float = LEVEL) -> VarianceIntervals:
        """Intervals around a model's forecasts, each made of the model's earlier errors out of sample."""
        return variance_intervals(self.rows, self.horizon, self.every, self.outcome, self.forecasts[name], level)


def volatility_league(
    panel: Panel,
    horizon: int,
    refits_ms: Sequence[int],
    end_ms: int,
    every: int,
    say: Callable[[str], None] = lambda words: None,
) -> League:
    """Walk all models forward.

    Parameters
    ----------
    panel : Panel of 5m bars
    horizon : bars ahead, 12 for an hour, 288 for a day
    refits_ms : moments of refitting, ascending; each model forecasts until the next
    end_ms : end of the last stretch
    every : bars between forecasts
    say : told of each stretch

    Raises
    ------
    InputMissing : no row between two moments, or too little history before the first
    """
    log_return = change(np.log(panel.close), 1)
    square = log_return**2
    outcome = np.maximum(future_variance(square, horizon), LEAST)
    close_ms, step = panel.close_ms, panel.interval.ms
    on_grid = close_ms % (every * step) == 0
    rows: list[Ints] = []
    parts: dict[str, list[Floats]] = {}
    for begin, end in zip(refits_ms, (*refits_ms[1:], end_ms), strict=True):
        test = np.flatnonzero(on_grid & (close_ms >= begin) & (close_ms < end) & np.isfinite(outcome).all(axis=1))
        train = np.flatnonzero(on_grid & (close_ms + (horizon + DAY_BARS) * step <= begin))
        train = train[(train >= pooled.LOOKBACK + horizon) & np.isfinite(outcome[train]).all(axis=1)]
        if not test.size or not train.size:
            raise InputMissing(f"no rows to forecast or to train on around {begin}", "Give it a longer history")
        rows.append(test)
        for name, forecast in _models(panel, log_return, outcome, horizon, train, test).items():
            parts.setdefault(name, []).append(np.maximum(forecast, LEAST))
        say(f"{test.size} rows from {begin}")
    joined = np.concatenate(rows)
    forecasts = {name: np.concatenate(found) for name, found in parts.items()}
    return League(joined, outcome[joined], forecasts, horizon, every)


def _models(
    panel: Panel, log_return: Floats, outcome: Floats, horizon: int, train: Ints, test: Ints
) -> dict[str, Floats]:
    square = log_return**2
    past = square[: train[-1] + horizon + 1]
    short = horizon < DAY_BARS
    windows = har_windows(horizon)
    half_life = 24.0 if short else 288.0
    hours = _clock(panel, short)
    linear = pooled.fit_pooled(panel, horizon, train, seeds=())
    return {
        "random walk": rolling_mean(square, horizon)[test],
        "EWMA": exponential_mean(square, half_life, int(10 * half_life))[test],
        "t-GARCH": _garch(log_return, horizon, int(train[-1]), test),
        "HAR in levels": fit_har(past, windows, horizon).predict(square)[test],
        "log-HAR": _by_pair(past, windows, horizon, square, test),
        "log-HAR + clock": _with_clock(square, outcome, windows, hours, train, test),
        "pooled log-HAR": linear.predict(panel, test),
        "pooled trees": _plain_trees(panel, horizon, outcome, train, test),
        OURS: pooled.fit_pooled(panel, horizon, train).predict(panel, test),
    }


def _clock(panel: Panel, short: bool) -> list[Floats]:
    """Dummies (T, 1) of the hour of the day, or for a day ahead of the day of the week."""
    slot = panel.close_ms // 3_600_000 % 24 if short else panel.close_ms // 86_400_000 % 7
    return [np.asarray(slot == k, np.float64)[:, None] for k in range(1, 24 if short else 7)]


def har_windows(horizon: int) -> tuple[int, ...]:
    """Trailing windows of an autoregression of variance, bars: an hour to a week, or for a day and more a day to a month."""
    return (12, 48, 288, 2016) if horizon < DAY_BARS else (288, 2016, 8640)


def _by_pair(past: Floats, windows: tuple[int, ...], horizon: int, square: Floats, test: Ints) -> Floats:
    fits = [fit_log_har(past[:, p], windows, horizon) for p in range(past.shape[1])]
    return np.stack([fit.predict(square[:, p])[test] for p, fit in enumerate(fits)], axis=1)


def _with_clock(
    square: Floats, outcome: Floats, windows: tuple[int, ...], clock: list[Floats], train: Ints, test: Ints
) -> Floats:
    out = np.empty((test.size, square.shape[1]))
    for p in range(square.shape[1]):
        columns = [log_mean_variance(square[:, p], window) for window in windows] + [c[:, 0] for c in clock]
        slopes, residual = least_squares([c[train] for c in columns], np.log(outcome[train, p]), "log-HAR with clock")
        out[:, p] = slopes[0] + 0.5 * residual.var()
        for slope, column in zip(slopes[1:], columns, strict=True):
            out[:, p] += slope * column[test]
    return np.exp(out)


def _garch(log_return: Floats, horizon: int, last: int, test: Ints) -> Floats:
    """Hourly t-GARCH for an hour, daily for a day, on returns summed over that span; forecasts on its grid."""
    out = np.empty((test.size, log_return.shape[1]))
    for p in range(log_return.shape[1]):
        total = np.nancumsum(log_return[:, p])
        ends = np.arange(horizon - 1, total.size, horizon)
        spans = np.diff(total[ends], prepend=0.0)
        known = int(np.searchsorted(ends, last))
        if known < 250:
            # A few months of days do not carry a GARCH fit: RiskMetrics' integrated one stands in.
            variance = exponential_mean(spans**2, 11.2, min(60, known))
        else:
            fit = fit_garch(spans[:known])
            start = float(spans[:known].var())
            variance = fit.next_variance(spans, start)
        at = np.maximum(np.searchsorted(ends, test, side="right") - 1, 0)
        out[:, p] = np.maximum(variance[at], VARIANCE_FLOOR) / horizon
    return out


def _plain_trees(panel: Panel, horizon: int, outcome: Floats, train: Ints, test: Ints) -> Floats:
    """The obvious pooled model: trees on the same columns, log target for an hour, gamma for a day."""
    import lightgbm

    def columns(rows: Ints) -> Floats:
        linear = pooled.linear_columns(panel, horizon, rows)
        both = np.concatenate([linear, pooled.tree_columns(panel, linear, rows)], axis=-1)
        return np.asarray(both.reshape(-1, both.shape[-1]))

    short = horizon < DAY_BARS
    target = outcome[train].reshape(-1)
    label = np.log(target) if short else target / np.median(target)
    settings = {
        "objective": "regression" if short else "gamma",
        "learning_rate": 0.04,
        "num_leaves": 31,
        "min_data_in_leaf": 500,
        "verbosity": -1,
        "num_threads": 1,
        "seed": 1,
    }
    booster = lightgbm.train(settings, lightgbm.Dataset(columns(train), label=label), num_boost_round=200)
    found = np.asarray(booster.predict(columns(test)))
    if short:
        spread = float((label - np.asarray(booster.predict(columns(train)))).var())
        found = np.exp(found + 0.5 * spread)
    else:
        found = found * np.median(target)
    return np.asarray(found.reshape(test.size, -1))
