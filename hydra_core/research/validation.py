"""Evidence about a candidate and the gates' word on it; each lock-box reading is written down before it happens.

Not here: training (``forecasters``, ``crowds``, ``policies``), the gates' limits (``gates``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from hydra_core.alpha.models import FORECASTER, KINDS, Forecast, Models, load_models
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.intervals import iso
from hydra_core.domain.market import Floats
from hydra_core.research import information, plots
from hydra_core.research.audit.lines import AuditLine, leaks
from hydra_core.research.bench import Bench, Candidate, Validation
from hydra_core.research.books import Book, aligned, buy_and_hold, trade_forecast, trade_models
from hydra_core.research.conditions import Conditions
from hydra_core.research.dataset import Dataset, content_key, remembered, remembered_arrays
from hydra_core.research.evaluation import correlation, likeness, reliability, skill
from hydra_core.research.folds import Span
from hydra_core.research.forecasters import judged_span, load_forecaster, recorded_forecasts, trial_raw
from hydra_core.research.gates import (
    CommitteeEvidence,
    ForecasterEvidence,
    committee_gates,
    forecaster_gates,
    independent_trades,
    plausible_caps,
)
from hydra_core.research.hac import sharpe_error
from hydra_core.research.metrics import DAYS_A_YEAR, annual_sharpe, at_equal_risk, dsr, max_drawdown, psr, sharpe
from hydra_core.research.origins import STRESSES, origins
from hydra_core.research.outofsample import baseline_raw, calibrated
from hydra_core.research.rises import recorded_rises
from hydra_core.research.sweeps import StudyResult
from hydra_core.research.trackrecord import good_periods, overfitting, superiority, until
from hydra_core.research.trials import COMPARISON, read_lockbox

COMMITTEE: Final = "committee"
WALK_FORWARD: Final = "walk-forward"
CONDITIONS: Final = "traded by"
COST_STRESS: Final = "cost stress"
STRESS: Final = 1.5
CURVE_POINTS: Final = 300


def validate_forecaster(
    bench: Bench, dataset: Dataset, candidate: Candidate, study: StudyResult, audit: Sequence[AuditLine]
) -> Validation:
    """Judge a forecaster by what would be traded on its word, and by what the leak suite said."""
    if not candidate.version:
        return Validation.none(candidate)
    version = candidate.version
    readings = read_lockbox(bench.home.studies, span_ms=dataset.lockbox_ms, kind=FORECASTER, version=version)
    forecast, _, ridge = recorded_forecasts(bench, dataset, version)
    conditions = bench.conditions(dataset.panel)
    books = _forecaster_books(bench, dataset, conditions, version, forecast, ridge)
    own = books["candidate"]
    lockbox_ms = dataset.lockbox_ms[0]
    inside = own.since(lockbox_ms)
    stressed = _book(
        bench, dataset, conditions, f"stressed-{version}", lambda: trade_forecast(
            dataset.panel, forecast, bench.limits, _lockbox(dataset), cost_factor=STRESS, conditions=conditions)
    )  # fmt: skip
    trials = _trial_books(bench, dataset, conditions, study)
    bench.progress("gates", 0, 1)
    span = judged_span(dataset)
    rows = slice(span.start, span.end)
    realised, days = dataset.label[rows], dataset.days[rows]
    horizon_sigma = dataset.sigma[rows] * math.sqrt(dataset.horizon)
    seen = skill(forecast.z[rows], realised, horizon_sigma, days, dataset.horizon)
    lockbox = slice(dataset.folds.lockbox.start, len(dataset.panel))
    reliable = reliability(
        forecast.rows(lockbox),
        (dataset.label * dataset.sigma * math.sqrt(dataset.horizon))[lockbox],
        bench.limits.round_trip,
        dataset.days[lockbox],
        bench.limits.decision.confidence_threshold,
    )
    development = until(own, lockbox_ms)
    ratios = [sharpe(book.daily) for book in (development, *trials.values()) if book.daily.size > 1]
    word = next(line for line in audit if line.name == "forecast")
    horizon_ms = dataset.horizon * dataset.panel.interval.ms
    evidence = ForecasterEvidence(
        trades=int(own.entered_ms.size),
        independent_trades=independent_trades(own.entered_ms, horizon_ms, likeness(realised)),
        sharpe=annual_sharpe(inside.daily),
        psr=psr(inside.daily),
        dsr=dsr(own.daily, np.array(ratios), float(study.trials + readings)),
        trials=study.trials + readings,
        pbo=overfitting(development, [*trials.values(), *(until(books[name], lockbox_ms) for name in _RULES)]),
        spa=superiority(development, list(trials.values())),
        good_periods=good_periods(own),
        stressed=float(stressed.daily.mean()),
        drawdown=max_drawdown(own.equity),
        drawdown_limit=bench.limits.risk.drawdown_limit,
        skill=seen,
        reliability=reliable,
        mean_daily=float(own.daily.mean()),
        baselines={name: at_equal_risk(books[name].daily, own.daily) for name in _PLAIN_RULES},
        ridge_correlation=correlation(ridge[rows], realised),
        champion_daily=_against_champion(bench, dataset, conditions, version, inside),
        causal=(word.clean, word.detail),
        leaks=tuple(str(line) for line in leaks(audit)),
        caps=plausible_caps(bench.home.market, horizon_ms),
        complete=own.complete,
    )
    gates = tuple(forecaster_gates(evidence))
    bench.progress("gates", 1, 1)
    whence = remembered(
        dataset.stage("origins", version, bench.settings_key, conditions.key, sorted(STRESSES)),
        lambda: origins(dataset.panel, forecast, bench.limits, _lockbox(dataset), conditions=conditions),
    )
    further = _information(bench, dataset, version, forecast, own, [development, *trials.values()], evidence.trials)
    dearer = {f"stress_{name.replace(' ', '_')}": value for name, value in whence["stress"].items()}
    return Validation(
        kind=FORECASTER,
        version=version,
        dataset=dataset.version,
        gates=gates,
        metrics={
            **further.metrics,
            "correlation": seen.correlation.value,
            "correlation_low": seen.correlation.low,
            "correlation_high": seen.correlation.high,
            "rank_correlation": seen.rank_correlation,
            "accuracy": seen.accuracy,
            "accuracy_error": seen.accuracy_error,
            "effective_count": seen.effective_count,
            "t": seen.t,
            "log_loss_skill": seen.log_loss_skill.value,
            "log_loss_skill_low": seen.log_loss_skill.low,
            "sharpe_error": sharpe_error(inside.daily, 1) * math.sqrt(DAYS_A_YEAR),
            "independent_trades": evidence.independent_trades,
            "top_decile_bp": seen.top_decile_bp,
            "signed_skew": seen.signed_skew,
            "ridge_correlation": evidence.ridge_correlation,
            "lockbox_correlation": correlation(forecast.z[lockbox], dataset.label[lockbox]),
            "out_of_sample_sharpe": annual_sharpe(own.daily),
            "lockbox_readings": float(readings),
            "trials": float(study.trials),
            **{f"daily_{name}": float(book.daily.mean()) for name, book in books.items()},
            **dearer,
        },
        backtest=_summary(inside),
        curves=_curves({"forecaster": own, **{name: books[name] for name in _RULES}}),
        calibration={"said": list(reliable.confidence), "came": list(reliable.won)},
        origins=whence,
        pictures={
            "equity": plots.equity_picture({"forecaster": own, **{n: books[n] for n in _RULES}}, lockbox_ms),
            "calibration": plots.calibration_picture(reliable),
            "attribution": plots.attribution_picture(whence["attribution"]),
            **({"paths": plots.paths_picture(whence["paths"])} if whence["paths"] else {}),
            "gates": plots.gates_picture(gates),
        },
        tables={
            WALK_FORWARD: walk_forward_table(dataset, forecast, ridge, own),
            CONDITIONS: conditions.told(bench.limits),
            COST_STRESS: [{"costs": name, "lock-box net return": value} for name, value in whence["stress"].items()],
            **further.tables,
        },
    )


def _information(
    bench: Bench, dataset: Dataset, version: str, forecast: Forecast, own: Book, traded: list[Book], counted: int
) -> information.Information:
    """What informs and decides nothing, kept: a day's draws take seconds."""
    span, lockbox, horizon = judged_span(dataset), dataset.folds.lockbox.start, dataset.horizon
    rows = slice(span.start, span.end)

    def lines() -> dict[str, Any]:
        scale = dataset.sigma * math.sqrt(horizon)
        said = {information.OWN: forecast.volatility}
        model = load_forecaster(bench, version)
        if horizon in model.heads:
            after = np.arange(lockbox, len(dataset.panel))
            word = model.more(dataset.features, after)
            if word is not None:
                said[information.HEADS] = np.full(scale.shape, np.nan)
                said[information.HEADS][after] = word.volatility(horizon) * scale[after]
        return {
            "figures": {
                **information.rank_lines(forecast.z[rows], dataset.label[rows], horizon),
                **information.rise_lines(
                    recorded_rises(bench, dataset, model.rise)[rows], dataset.label[rows], dataset.days[rows]
                ),
                **information.calibration_lines(
                    forecast.rows(rows), (dataset.label * scale)[rows], bench.limits.round_trip, dataset.days[rows],
                    horizon, lockbox - span.start,
                ),
                **information.track_lines(own.daily, aligned(traded), counted),
            },
            "volatility": information.volatility_lines(
                dataset.panel, said, horizon, dataset.folds.development.end, lockbox
            ),
        }  # fmt: skip

    found = remembered(dataset.stage("information", version, counted, bench.settings_key), lines)
    return information.gathered(found["figures"], found["volatility"])


def walk_forward_table(dataset: Dataset, forecast: Forecast, ridge: Floats, book: Book) -> list[dict[str, Any]]:
    """Every test block and the lock-box, each forecast by a model that saw nothing of it, in one line.

    Parameters
    ----------
    forecast, ridge : (T, P), of the candidate's family and of ridge regression alone
    book : what trading the forecast came to
    """
    lines: list[dict[str, Any]] = []
    for number, fold in enumerate((*dataset.folds.folds, dataset.folds.final), 1):
        rows = slice(fold.test.start, fold.test.end)
        realised = dataset.label[rows]
        first, last = int(dataset.panel.ts[fold.test.start]), int(dataset.panel.close_ms[fold.test.end - 1])
        daily = book.daily[(book.days >= first) & (book.days < last)]
        said, known = forecast.z[rows], np.isfinite(forecast.z[rows]) & np.isfinite(realised)
        lines.append(
            {
                "block": "lock-box" if fold is dataset.folds.final else str(number),
                "from": iso(first),
                "until": iso(last),
                "rows trained on": len(fold.train),
                "IC": correlation(said, realised),
                "IC of ridge": correlation(ridge[rows], realised),
                "right signs": float((np.sign(said) == np.sign(realised))[known].mean()) if known.any() else math.nan,
                "net return": float(np.prod(1 + daily) - 1),
                "Sharpe": annual_sharpe(daily) if daily.size > 1 else 0.0,
            }
        )
    return lines


def validate_committee(bench: Bench, dataset: Dataset, versions: Mapping[str, str], trials: int) -> Validation:
    """Judge the seats together on the lock-box, each voting for itself.

    Parameters
    ----------
    versions : kind -> version of the models that passed their own gates; the other seats stay empty
    trials : configurations tried for all of them
    """
    pinned = {kind: versions[kind] for kind in KINDS if versions.get(kind)}
    version = committee_version(versions)
    if FORECASTER not in pinned:
        return Validation.none(
            Candidate(COMMITTEE, "", dataset.version, absent="no forecaster passed, so nobody may propose a trade")
        )
    models: Models = load_models(bench.registry, pinned)
    lost = {kind: models.absent[kind] for kind in pinned if kind in models.absent}
    if lost:
        raise ArtifactInvalid("; ".join(f"{kind}: {why}" for kind, why in lost.items()), "Train them again")
    readings = read_lockbox(bench.home.studies, span_ms=dataset.lockbox_ms, kind=COMMITTEE, version=version)
    span, conditions = _lockbox(dataset), bench.conditions(dataset.panel)

    def traded(cost: float) -> Book:
        return _book(
            bench,
            dataset,
            conditions,
            f"committee-{version}-{cost}",
            lambda: trade_models(dataset.panel, models, bench.limits, span, cost_factor=cost, conditions=conditions),
        )

    bench.progress("committee", 0, 2)
    own, stressed = traded(1.0), traded(STRESS)
    counted = trials + readings
    gates = tuple(
        committee_gates(
            CommitteeEvidence(
                trades=int(own.entered_ms.size),
                sharpe=annual_sharpe(own.daily),
                dsr=dsr(own.daily, np.array([sharpe(own.daily)]), float(counted)),
                trials=counted,
                stressed=float(stressed.daily.mean()),
                complete=own.complete,
            )
        )
    )
    bench.progress("committee", 2, 2)
    return Validation(
        kind=COMMITTEE,
        version=version,
        dataset=dataset.version,
        gates=gates,
        metrics={
            "seats": float(len(pinned)),
            "lockbox_readings": float(readings),
            "mean_daily": float(own.daily.mean()),
        },
        backtest=_summary(own),
        curves=_curves({"committee": own, "committee at costs x 1.5": stressed}),
        pictures={
            "equity": plots.equity_picture({"committee": own, "at costs x 1.5": stressed}, dataset.lockbox_ms[0]),
            "gates": plots.gates_picture(gates),
        },
        tables={CONDITIONS: conditions.told(bench.limits)},
    )


def committee_version(versions: Mapping[str, str]) -> str:
    """Name of a set of seats: kind -> version, kinds without one left out."""
    return content_key({kind: versions[kind] for kind in KINDS if versions.get(kind)})


_PLAIN_RULES: Final = ("momentum", "reversal", "buy and hold")
_RULES: Final = (*_PLAIN_RULES, "ridge")


def _forecaster_books(
    bench: Bench, dataset: Dataset, conditions: Conditions, version: str, forecast: Forecast, ridge: Floats
) -> dict[str, Book]:
    """The candidate and the plain rules, traded alike over every row that some model had not seen."""
    panel, limits, span = dataset.panel, bench.limits, judged_span(dataset)

    def traded(seen: Forecast) -> Book:
        return trade_forecast(panel, seen, limits, span, conditions=conditions)

    def by_rule(raw: Floats) -> Book:
        return traded(calibrated(dataset, raw, limits.round_trip)[0])

    makers: dict[str, Any] = {
        "candidate": (f"candidate-{version}", lambda: traded(forecast)),
        "ridge": (f"ridge-{version}", lambda: by_rule(ridge)),
        "momentum": ("momentum", lambda: by_rule(baseline_raw(dataset, "momentum"))),
        "reversal": ("reversal", lambda: by_rule(baseline_raw(dataset, "reversal"))),
        "buy and hold": ("hold", lambda: buy_and_hold(panel, span, limits.side_cost, conditions.settlements)),
    }
    books = {}
    for number, (name, (key, make)) in enumerate(makers.items()):
        bench.progress("trading the rules", number, len(makers))
        books[name] = _book(bench, dataset, conditions, key, make)
    bench.progress("trading the rules", len(makers), len(makers))
    return books


def _trial_books(bench: Bench, dataset: Dataset, conditions: Conditions, study: StudyResult) -> dict[str, Book]:
    """Every finished trial of the sweep, traded over the out-of-sample part of development."""
    span = dataset.folds.out_of_sample
    books: dict[str, Book] = {}
    found = trial_raw(dataset, study)
    for number, raw in found.items():
        bench.progress("trading the trials", len(books), len(found))

        def make(raw: Floats = raw) -> Book:
            seen = calibrated(dataset, raw, bench.limits.round_trip)[0]
            return trade_forecast(dataset.panel, seen, bench.limits, span, conditions=conditions)

        books[f"trial {number}"] = _book(bench, dataset, conditions, f"trial-{study.study}-{number}", make)
    bench.progress("trading the trials", len(found), len(found))
    return books


def _book(bench: Bench, dataset: Dataset, conditions: Conditions, key: str, make: Any) -> Book:
    stage = dataset.stage("book", key, bench.settings_key, conditions.key)
    return Book.of_arrays(remembered_arrays(stage, lambda: make().arrays()))


def _lockbox(dataset: Dataset) -> Span:
    return Span(dataset.folds.lockbox.start, len(dataset.panel))


def _against_champion(
    bench: Bench, dataset: Dataset, conditions: Conditions, version: str, own: Book
) -> tuple[float, float] | None:
    """Mean daily lock-box return of candidate and standing champion on days that neither was trained on; None without one.

    The champion reads the lock-box with it, which is written down.
    """
    champion = bench.registry.champion(FORECASTER)
    if champion is None or champion == version:
        return None
    try:
        model = load_forecaster(bench, champion)
    except ArtifactInvalid:
        return None
    trained = bench.registry.card(FORECASTER, champion).trained_until_ms
    first = int(np.searchsorted(dataset.panel.ts, max(dataset.lockbox_ms[0], trained)))
    if len(dataset.panel) - first < 3 * 288:
        return None
    span = Span(first, len(dataset.panel))

    def make() -> Book:
        forecast = Forecast.unknown(len(dataset.panel), len(dataset.panel.pairs))
        seen = model.forecast(dataset.panel, len(span))
        for name in ("expected_return", "confidence", "adverse_excursion", "volatility"):
            getattr(forecast, name)[first:] = getattr(seen, name)
        limits = bench.at_horizon(model.horizon_bars).limits
        return trade_forecast(dataset.panel, forecast, limits, span, conditions=conditions)

    read_ms = int(dataset.panel.ts[first]), int(dataset.panel.close_ms[-1])
    read_lockbox(bench.home.studies, span_ms=read_ms, kind=FORECASTER, version=champion, reason=COMPARISON)
    try:
        book = _book(bench, dataset, conditions, f"champion-{champion}", make)
    except InputMissing:
        return None
    both = aligned([own, book])
    return (float(both[:, 0].mean()), float(both[:, 1].mean())) if len(both) else None


def _summary(book: Book) -> dict[str, float]:
    return {
        "trades": float(book.entered_ms.size),
        "net_return": float(np.prod(1 + book.daily) - 1),
        "sharpe": annual_sharpe(book.daily),
        "max_drawdown": max_drawdown(book.equity),
    }


def _curves(books: Mapping[str, Book]) -> dict[str, dict[str, list[float]]]:
    out = {}
    for name, book in books.items():
        step = max(1, book.ts.size // CURVE_POINTS)
        out[name] = {
            "ts": [float(ts) for ts in book.ts[::step]],
            "value": [float(value) for value in (book.equity / book.equity[0])[::step]],
        }
    return out
