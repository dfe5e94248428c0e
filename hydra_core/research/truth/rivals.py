"""The plain forecasters that HYDRA's own is held against on recorded history, fixed beforehand, and how they are traded.

Ridge regression, logistic regression, three boosted forests, their mean, momentum: what a day's work gives without a leak.
The rules that need no forecast: buy and hold, momentum in time and across pairs, carry. Not here: features and labels
(``recorded``), the row of the table (``realdata``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.domain.market import Floats, Ints
from hydra_core.research.hac import sharpe_error
from hydra_core.research.metrics import DAYS_A_YEAR
from hydra_core.research.truth.recorded import Recorded

CLIP: Final = 4.0
SIDE_COST: Final = 7e-4
"""Taker fee of 5 bp and slippage of 2 bp."""
ROUND_TRIP: Final = 2 * SIDE_COST
FORESTS: Final[dict[str, dict[str, Any]]] = {
    "LightGBM A": {"rounds": 200, "learning_rate": 0.02, "num_leaves": 15, "min_data_in_leaf": 2000},
    "LightGBM B": {"rounds": 150, "learning_rate": 0.06, "num_leaves": 31, "min_data_in_leaf": 500},
    "LightGBM C": {"rounds": 200, "learning_rate": 0.02, "num_leaves": 15, "min_data_in_leaf": 2000, "sign": True},
}
"""C learns the sign, the others the scaled return."""
MOMENTA: Final = (1, 4, 24)

Fit = Callable[[Recorded, int, Ints, Ints], Floats]
"""(history, horizon, training rows, test rows) -> standardised forecasts (test rows, P)."""


def rivals() -> dict[str, Fit]:
    """Every plain forecaster that learns, by name."""
    forests = {name: _forest(**dict(settings)) for name, settings in FORESTS.items()}
    return {"ridge": _ridge, "logistic": _logistic, **forests}


def momentum(history: Recorded, bars: int, rows: Ints) -> Floats:
    """The return of the last hours goes on, in standard deviations."""
    path = np.log(history.panel.close)
    moved = np.full(path.shape, np.nan)
    moved[bars:] = path[bars:] - path[:-bars]
    return np.asarray((0.05 * moved / (history.sigma * math.sqrt(bars)))[rows])


def _taught(history: Recorded, horizon: int, train: Ints) -> tuple[Floats, Floats]:
    x = history.features[train].astype(np.float64)
    y = np.clip(history.label(horizon)[train], -CLIP, CLIP)
    known = np.isfinite(x).all(axis=2) & np.isfinite(y)
    return x[known], y[known]


def _asked(history: Recorded, test: Ints, say: Callable[[Floats], Floats]) -> Floats:
    x = history.features[test].astype(np.float64)
    known = np.isfinite(x).all(axis=2)
    out = np.full(known.shape, np.nan)
    if known.any():
        out[known] = say(x[known])
    return out


def _ridge(history: Recorded, horizon: int, train: Ints, test: Ints) -> Floats:
    x, y = _taught(history, horizon, train)
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    z = (x - centre) / scale
    penalty = 2e4 * horizon * len(history.panel.pairs)
    weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return _asked(history, test, lambda rows: np.asarray((rows - centre) / scale @ weights + y.mean()))


def _logistic(history: Recorded, horizon: int, train: Ints, test: Ints) -> Floats:
    from sklearn.linear_model import LogisticRegression

    x, y = _taught(history, horizon, train)
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    strength = 1.0 / (0.25 * 2e4 * horizon * len(history.panel.pairs))
    model = LogisticRegression(C=strength, max_iter=200).fit((x - centre) / scale, y > 0)
    return _asked(history, test, lambda rows: _deviations(model.predict_proba((rows - centre) / scale)[:, 1]))


def _forest(rounds: int, sign: bool = False, **settings: Any) -> Fit:
    def fit(history: Recorded, horizon: int, train: Ints, test: Ints) -> Floats:
        import lightgbm

        x, y = _taught(history, horizon, train)
        asked = {
            "objective": "binary" if sign else "regression", "verbose": -1, "num_threads": 1, "seed": 1,
            "feature_fraction": 0.7, "bagging_fraction": 0.7, "bagging_freq": 1, "deterministic": True, **settings,
        }  # fmt: skip
        taught = lightgbm.Dataset(x, (y > 0).astype(np.float64) if sign else y)
        model = lightgbm.train(asked, taught, num_boost_round=rounds)

        def say(rows: Floats) -> Floats:
            said = np.asarray(model.predict(rows, num_threads=1), np.float64)
            return _deviations(said) if sign else said

        return _asked(history, test, say)

    return fit


def _deviations(chance: Floats) -> Floats:
    """The standardised mean return that a chance of a rise amounts to for normal returns."""
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(chance, 0.001, 0.999)))


@dataclass(frozen=True, slots=True)
class Traded:
    """Annual net Sharpe ratio with its standard error, position changes a day, mean net basis points a day."""

    sharpe: float
    error: float
    turnover: float
    bp_a_day: float


def trade(history: Recorded, rows: Ints, wanted: Floats) -> Traded:
    """Hold signed shares of capital (rows, P) from the next open to the one after it, paying for every change and funding.

    Parameters
    ----------
    rows : consecutive row numbers at whose close the position is decided
    wanted : signed share of capital a pair
    """
    panel = history.panel
    last = min(int(rows[-1]), len(panel) - 3)
    rows, wanted = rows[rows <= last], np.nan_to_num(wanted[: int((rows <= last).sum())])
    moved = panel.open[rows + 2] / panel.open[rows + 1] - 1.0
    turned = np.abs(np.diff(wanted, axis=0, prepend=np.zeros((1, wanted.shape[1]))))
    # A settlement falls on the opening of a bar: it is paid on what was held into it.
    settles = (panel.ts[rows + 2] % (8 * 3_600_000) == 0)[:, None]
    paid = np.where(settles, np.nan_to_num(panel.funding_rate[rows + 1]) * wanted, 0.0)
    net = (wanted * np.nan_to_num(moved) - SIDE_COST * turned - paid).sum(axis=1)
    _, group = np.unique(history.days[rows], return_inverse=True)
    daily = np.bincount(group, net).astype(np.float64)
    if daily.size < 3 or daily.std() < 1e-12:
        return Traded(0.0, 0.0, 0.0, float(daily.mean()) * 1e4 if daily.size else 0.0)
    year = math.sqrt(DAYS_A_YEAR)
    ratio = float(daily.mean() / daily.std()) * year
    return Traded(ratio, sharpe_error(daily, 1) * year, float(turned.sum() / daily.size), float(daily.mean()) * 1e4)


def by_forecast(history: Recorded, rows: Ints, said: Floats, horizon: int) -> Floats:
    """Rule B: enter where the expected return exceeds the round trip, leave where its sign turns; shares (rows, P)."""
    expected = np.nan_to_num(said) * history.sigma[rows] * math.sqrt(horizon)
    out = np.zeros(expected.shape)
    held = np.zeros(expected.shape[1])
    for k in range(len(rows)):
        now = expected[k]
        held = np.where(np.sign(now) * held < 0, 0.0, held)
        held = np.where(np.abs(now) > ROUND_TRIP, np.sign(now), held)
        out[k] = held
    return np.asarray(out / expected.shape[1])


def plain_rules(history: Recorded, rows: Ints) -> dict[str, Floats]:
    """Shares (rows, P) of the rules that need no learning; they decide once a day."""
    path = np.log(history.panel.close)
    pairs = path.shape[1]

    def past(bars: int) -> Floats:
        return np.asarray(path[rows] - path[np.maximum(rows - bars, 0)])

    def across(score: Floats) -> Floats:
        ranks = np.argsort(np.argsort(score, axis=1), axis=1) - (pairs - 1) / 2
        return np.asarray(ranks / np.abs(ranks).sum(axis=1, keepdims=True))

    week = history.features[rows][:, :, history.names.index("funding_7d")].astype(np.float64)
    made = {
        "buy and hold": np.full((len(rows), pairs), 1.0 / pairs),
        **{f"momentum across {days}d": across(past(24 * days)) for days in (1, 7, 28)},
        **{f"momentum in time {days}d": np.sign(past(24 * days)) / pairs for days in (7, 28)},
        "carry 7d": across(-np.nan_to_num(week)),
    }
    daily = (np.arange(len(rows)) // 24) * 24
    return {name: shares[daily] for name, shares in made.items()}
