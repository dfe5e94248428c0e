"""A whole research run, small enough to be made a hundred times: sweep, walk-forward, calibration, trading, gates.

It differs from ``research.pipeline`` in the learners alone (ridge regression and boosted trees in place of networks); rows,
calibration, the compiled engine and the gates are the same. Made on null histories it must promote nobody (L3), made on
planted ones it must find what is there. Not here: the histories (``histories``), the table (``bench``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.models import Forecast
from hydra_core.decision.assessment import Assessment, assemble
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.audit.canary import next_moves, screen
from hydra_core.research.audit.learning import extra_lag
from hydra_core.research.audit.lines import leaks
from hydra_core.research.books import CAPITAL, OTHER_SEATS, Book, book_of, buy_and_hold
from hydra_core.research.dataset import Dataset
from hydra_core.research.engine.results import Prepared, trade
from hydra_core.research.evaluation import correlation, likeness, reliability, skill
from hydra_core.research.fills import FillRules
from hydra_core.research.folds import Fold, Span, walk_forward
from hydra_core.research.gates import (
    REAL_MARKET_IC,
    REAL_MARKET_SHARPE,
    Caps,
    ForecasterEvidence,
    forecaster_gates,
    independent_trades,
    passed,
)
from hydra_core.research.metrics import annual_sharpe, at_equal_risk, dsr, max_drawdown, psr, sharpe
from hydra_core.research.outofsample import calibrated
from hydra_core.research.trackrecord import good_periods, overfitting, superiority, until
from hydra_core.research.truth.histories import PLANTED, YEAR, History
from hydra_core.risk.limits import Limits

FOLDS: Final = 3
EMBARGO: Final = 24
WARM_UP: Final = 2_400
"""Bars that layer 2 looks back."""
LOCKBOX_YEARS: Final = 2.0
WALK_FORWARD_YEARS: Final = 5.0
PBO_BARS: Final = 24
STRESS: Final = 1.5
ROUNDS: Final = 90
"""Of boosting at a rate of .05: the forecast has its full size, which calibration never makes larger."""


def bars_needed(years: float = WALK_FORWARD_YEARS, lockbox: float = LOCKBOX_YEARS) -> tuple[int, float]:
    """Bars of a history with so many years of test blocks and of lock-box, and the share that is the lock-box."""
    development = years * YEAR / 0.6
    total = int(WARM_UP + development + lockbox * YEAR + 2 * EMBARGO)
    return total, lockbox * YEAR / total


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to.

    Parameters
    ----------
    promoted : whether every gate passed
    failed : names of the gates that did not
    sharpe : annual net Sharpe ratio in the lock-box; ``best`` that of the best forecast traded alike over the judged span
    correlation : of the out-of-sample forecasts
    trades : round trips out of sample
    """

    promoted: bool
    failed: tuple[str, ...]
    sharpe: float
    best: float
    correlation: float
    trades: int

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {**asdict(self), "failed": list(self.failed)}


Fit = Callable[[Dataset, Ints, Ints], Callable[[Ints], Floats]]
"""(dataset, training rows, validation rows) -> (rows -> raw forecasts (n, P))."""


def _ridge(penalty: float) -> Fit:
    def fit(data: Dataset, train: Ints, valid: Ints) -> Callable[[Ints], Floats]:
        usable = np.asarray(np.isfinite(data.features).all(axis=2))
        model = fit_linear(data.features, data.label, usable, train, valid, (penalty,))
        return lambda rows: model.predict(data.features, rows)

    return fit


def _trees(leaves: int, rate: float) -> Fit:
    def fit(data: Dataset, train: Ints, valid: Ints) -> Callable[[Ints], Floats]:
        import lightgbm

        rows = train[::3]  # neighbouring labels overlap: a third of the rows holds nearly all they say
        known = np.isfinite(data.label[rows]) & np.isfinite(data.features[rows]).all(axis=2)
        settings = {
            "objective": "regression",
            "num_leaves": leaves,
            "learning_rate": rate,
            "min_data_in_leaf": 400,
            "feature_fraction": 0.8,
            "num_threads": 1,
            "verbose": -1,
            "seed": 1,
            "deterministic": True,
        }
        taught = lightgbm.Dataset(data.features[rows][known], np.clip(data.label[rows][known], -4, 4))
        model = lightgbm.train(settings, taught, num_boost_round=ROUNDS)

        def say(asked: Ints) -> Floats:
            flat = data.features[asked].reshape(-1, data.features.shape[2])
            return np.asarray(model.predict(flat, num_threads=1), np.float64).reshape(asked.size, -1)

        return say

    return fit


TRIALS: Final[tuple[Fit, ...]] = (_ridge(0.03), _ridge(0.2), _trees(7, 0.05), _trees(15, 0.05))
"""The sweep: what is compared on the first fold, every one of them counted."""


@dataclass(frozen=True, eq=False)
class _Desk:
    """Trading of forecasts on one history, layer 2 computed once."""

    data: Dataset
    base: Assessment
    limits: Limits

    @classmethod
    def of(cls, data: Dataset, limits: Limits) -> _Desk:
        count = len(data.panel) - data.folds.out_of_sample.start
        blank = Forecast.unknown(count, len(data.panel.pairs))
        return cls(data, replace(assemble(data.panel, limits, blank), observation=None), limits)

    def book(self, forecast: Forecast, span: Span, cost_factor: float = 1.0) -> Book:
        """Trade a forecast (T, P) over a span with the other seats approving."""
        words = forecast.rows(slice(self.data.folds.out_of_sample.start, len(self.data.panel)))
        fills = FillRules(cost_factor=cost_factor)
        ready = Prepared.of(
            self.data.panel, replace(self.base, forecast=words), self.limits, span.start, span.end, fills=fills
        )
        made = trade(ready, self.limits, CAPITAL, fills=fills, assume_approvals=OTHER_SEATS).result
        return book_of(made, self.data.panel)

    def raw(self, values: Floats, span: Span) -> Book:
        """Calibrate raw forecasts (T, P) and trade them."""
        return self.book(calibrated(self.data, values, self.limits.round_trip)[0], span)


def limits_for(horizon: int) -> Limits:
    """The usual limits with a horizon of so many hours."""
    return Limits(horizon_bars=horizon * 3_600_000 // FORECAST_INTERVAL.ms)


def research_run(history: History, lockbox_share: float, *, folds: int = FOLDS) -> Run:
    """Research one history from sweep to verdict.

    Parameters
    ----------
    lockbox_share : share of the bars that is judged last
    """
    plan = walk_forward(len(history.panel), folds, history.horizon, EMBARGO, lockbox_share, warm_up=WARM_UP)
    data = Dataset(Path(), history.kind, history.panel, history.names, history.features, history.horizon, plan)
    limits = limits_for(history.horizon)
    desk = _Desk.of(data, limits)
    judged = Span(plan.out_of_sample.start, len(history.panel))
    trials = _sweep(data)
    chosen = min(trials, key=lambda one: one.loss)
    raw = _walk(data, chosen.fit)
    ridge = _walk(data, _ridge(0.03))
    forecast, _ = calibrated(data, raw, limits.round_trip)
    best = desk.raw(history.best, judged)
    evidence = _evidence(data, desk, history, raw, ridge, forecast, [one.raw for one in trials])
    gates = forecaster_gates(evidence)
    return Run(
        promoted=passed(gates),
        failed=tuple(gate.name for gate in gates if not gate.passed),
        sharpe=evidence.sharpe,
        best=annual_sharpe(best.daily),
        correlation=evidence.skill.correlation.value if evidence.skill else 0.0,
        trades=evidence.trades,
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    fit: Fit
    loss: float
    raw: Floats


def _sweep(data: Dataset) -> list[_Trial]:
    """Every trial on the first fold: its loss there, and its forecasts for the rest of development."""
    fold, rest = data.folds.folds[0], data.folds.out_of_sample.rows()
    made = []
    for fit in TRIALS:
        say = fit(data, fold.train.rows(), fold.valid.rows())
        valid = fold.valid.rows()
        loss = float(np.nanmean((np.clip(data.label[valid], -4, 4) - say(valid)) ** 2))
        raw = np.full(data.label.shape, np.nan)
        raw[rest] = say(rest)
        made.append(_Trial(fit, loss, raw))
    return made


def _walk(data: Dataset, fit: Fit) -> Floats:
    """Raw forecasts (T, P) of every test block and the lock-box, each by a model that saw nothing of it."""
    raw = np.full(data.label.shape, np.nan)

    def tell(fold: Fold, rows: Ints) -> None:
        raw[rows] = fit(data, fold.train.rows(), fold.valid.rows())(rows)

    for fold in data.folds.folds:
        tell(fold, fold.test.rows())
    tell(data.folds.final, np.arange(data.folds.lockbox.start, len(data.panel)))
    return raw


def _momentum(data: Dataset, bars: int) -> Floats:
    """The return of the last bars in standard deviations, (T, P)."""
    path = np.log(data.panel.close)
    moved = np.full(path.shape, np.nan)
    moved[bars:] = path[bars:] - path[:-bars]
    return np.asarray(moved / (data.sigma * math.sqrt(bars)))


def _evidence(
    data: Dataset,
    desk: _Desk,
    history: History,
    raw: Floats,
    ridge: Floats,
    forecast: Forecast,
    trials: list[Floats],
) -> ForecasterEvidence:
    plan, panel, limits = data.folds, data.panel, desk.limits
    judged = Span(plan.out_of_sample.start, len(panel))
    lockbox = Span(plan.lockbox.start, len(panel))
    own = desk.book(forecast, judged)
    start = data.lockbox_ms[0]
    inside, development = own.since(start), until(own, start)
    tried = [desk.raw(each, plan.out_of_sample) for each in trials]
    rules = {
        "momentum": desk.raw(_momentum(data, 24), judged),
        "reversal": desk.raw(-_momentum(data, 6), judged),
        "ridge": desk.raw(ridge, judged),
        "buy and hold": buy_and_hold(panel, judged, limits.side_cost),
    }
    rows = slice(judged.start, judged.end)
    realised, days = data.label[rows], data.days[rows]
    seen = skill(forecast.z[rows], realised, data.sigma[rows] * math.sqrt(data.horizon), days, data.horizon)
    last = slice(lockbox.start, lockbox.end)
    reliable = reliability(
        forecast.rows(last),
        (data.label * data.sigma * math.sqrt(data.horizon))[last],
        limits.round_trip,
        data.days[last],
        limits.decision.confidence_threshold,
    )
    ratios = [sharpe(book.daily) for book in (development, *tried) if book.daily.size > 1]
    lag = extra_lag(seen.by_lag, 1 / math.sqrt(max(seen.effective_count, 2.0)))
    return ForecasterEvidence(
        trades=int(own.entered_ms.size),
        independent_trades=independent_trades(own.entered_ms, data.horizon * panel.interval.ms, likeness(realised)),
        sharpe=annual_sharpe(inside.daily),
        psr=psr(inside.daily),
        dsr=dsr(own.daily, np.array(ratios), float(len(trials) + 1)),
        trials=len(trials) + 1,
        pbo=overfitting(development, [*tried, *(until(book, start) for book in rules.values())], PBO_BARS),
        spa=superiority(development, tried),
        good_periods=good_periods(own),
        stressed=float(desk.book(forecast, lockbox, STRESS).daily.mean()),
        drawdown=max_drawdown(own.equity),
        drawdown_limit=limits.risk.drawdown_limit,
        skill=seen,
        reliability=reliable,
        mean_daily=float(own.daily.mean()),
        baselines={name: at_equal_risk(book.daily, own.daily) for name, book in rules.items() if name != "ridge"},
        ridge_correlation=correlation(ridge[rows], realised),
        champion_daily=None,
        causal=(True, "observables are drawn before what they forecast"),
        leaks=tuple(str(line) for line in leaks([lag, *screen(data.features, history.names, next_moves(panel))])),
        caps=caps_of(history),
        complete=own.complete,
    )


def caps_of(history: History) -> Caps:
    """What is believable: 1.1 times the planted optimum, or what holds on a real market where nothing is planted."""
    if history.kind == PLANTED:
        largest = min(1.0, 1.1 * history.rho)
        return Caps(largest, 0.5 + math.asin(largest) / math.pi)
    return Caps(REAL_MARKET_IC, sharpe=REAL_MARKET_SHARPE)
