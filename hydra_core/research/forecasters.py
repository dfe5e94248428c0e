"""The forecaster's way from a sweep to a candidate to its evidence.

Order: a few configurations on the first fold; the best one walked forward through every fold; its out-of-sample forecasts
calibrated; one network on all of development; the lock-box last. Not here: the gates' limits (``gates``).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hydra_core.alpha.forecaster.artifact import OnnxForecaster
from hydra_core.alpha.models import FORECASTER, Forecast
from hydra_core.domain.market import CANDLES, Floats
from hydra_core.research.bench import Bench, Candidate, card_of, estimate, remembered_candidate, seal
from hydra_core.research.dataset import Dataset, content_key, load_arrays, remembered_arrays
from hydra_core.research.evaluation import skill
from hydra_core.research.folds import Fold, Span
from hydra_core.research.outofsample import calibrated, forecast_arrays, forecast_of, spread_out
from hydra_core.research.sweeps import StudyResult, sweep

TRIAL_STRIDE: Final = 3
"""Bars between two forecasts of a trial; each is held until the next."""


def sweep_forecaster(bench: Bench, dataset: Dataset) -> StudyResult:
    """Compare a few networks on the first fold; each one's forecasts for the rest of development are kept."""
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import train_forecaster

    training = bench.training
    name = study_name(bench, dataset)
    fold = dataset.folds.folds[0]
    rows = dataset.folds.out_of_sample.rows(TRIAL_STRIDE)
    first = NetworkHyper(epochs=training.epochs)

    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "width": trial.suggest_categorical("width", [16, 32]),
            "layers": trial.suggest_int("layers", 1, 2),
            "dropout": trial.suggest_float("dropout", 0.0, 0.3),
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 0.01, 0.5, log=True),
        }

    def objective(number: int, parameters: dict[str, Any], report: Any) -> float:
        model = train_forecaster(
            dataset.features,
            dataset.label,
            fold.train.rows(training.stride_bars),
            fold.valid.rows(training.stride_bars),
            replace(first, **parameters),
            seed=training.seed + number,
            threads=training.threads,
            progress=lambda epoch, _, loss: report(epoch, loss),
        )
        remembered_arrays(
            dataset.stage("trial", name, number),
            lambda: {"raw": model.predict(dataset.features, rows, training.threads)},
        )
        return min(model.losses)

    defaults = {key: getattr(first, key) for key in ("width", "layers", "dropout", "learning_rate", "weight_decay")}
    return sweep(
        bench.home.studies,
        name,
        defaults,
        suggest,
        objective,
        training.forecaster_trials,
        seed=training.seed,
        progress=bench.progress,
    )


def study_name(bench: Bench, dataset: Dataset) -> str:
    """Name of the forecaster's study: what it is about, and of which data and settings."""
    training = bench.training
    key = content_key(training.epochs, training.stride_bars, training.seed)
    return f"forecaster-{dataset.version[:12]}-{key[:8]}"


def trial_raw(dataset: Dataset, study: StudyResult) -> dict[int, Floats]:
    """Raw forecasts (T, P) of every finished trial over the out-of-sample part of development."""
    rows = dataset.folds.out_of_sample.rows(TRIAL_STRIDE)
    found: dict[int, Floats] = {}
    for number in study.finished:
        file = dataset.stage("trial", study.study, number).with_suffix(".npz")
        if file.exists():
            with np.load(file) as arrays:
                found[number] = spread_out(arrays["raw"], rows, len(dataset.panel))
    return found


def walk_forward(bench: Bench, dataset: Dataset, parameters: dict[str, Any]) -> tuple[Floats, Floats]:
    """Raw forecasts (T, P) of the network and of ridge regression alone on every test block, each by its own fold's model."""
    raw = np.full((len(dataset.panel), len(dataset.panel.pairs)), np.nan)
    ridge = raw.copy()
    folds = dataset.folds.folds
    for number, fold in enumerate(folds):
        bench.progress("walk-forward", number, len(folds))
        made = remembered_arrays(
            dataset.stage("fold", number, _hyper_key(bench, parameters)),
            lambda fold=fold, number=number: _fold_forecasts(bench, dataset, fold, parameters, number),  # type: ignore[misc]
        )
        span = slice(fold.test.start, fold.test.end)
        raw[span], ridge[span] = made["raw"], made["ridge"]
    bench.progress("walk-forward", len(folds), len(folds))
    return raw, ridge


def train_forecaster_candidate(bench: Bench, dataset: Dataset, study: StudyResult) -> Candidate:
    """Walk the best configuration forward, calibrate, train on all of development, seal."""
    key = (study.best, study.trials, _hyper_key(bench, study.best), bench.limits.round_trip)

    return remembered_candidate(bench, dataset.stage(FORECASTER, *key), lambda: _make_candidate(bench, dataset, study))


def _make_candidate(bench: Bench, dataset: Dataset, study: StudyResult) -> Candidate:
    from hydra_core.alpha.forecaster import artifact

    raw, ridge = walk_forward(bench, dataset, study.best)
    forecast, calibration = calibrated(dataset, raw, bench.limits.round_trip)
    bench.progress("final forecaster", 0, 1)
    model = _train(bench, dataset, dataset.folds.final, study.best, bench.training.seed)
    span = dataset.folds.out_of_sample
    part = slice(span.start, span.end)
    seen = skill(
        raw[part],
        dataset.label[part],
        dataset.sigma[part] * math.sqrt(dataset.horizon),
        dataset.days[part],
        dataset.horizon,
    )
    features = dataset.feature_names
    share = float(model.network.share[0])
    settings = {"network": model.hyper.to_dict()}
    card = card_of(bench, dataset, FORECASTER, sorted(_inputs(dataset)), dataset.folds.warm_up, settings, study.trials)
    card = card.model_copy(
        update={
            "metrics": {"walk_forward_correlation": estimate(seen.correlation)},
            "notes": (
                f"epoch {model.kept_epoch} of {model.hyper.epochs} kept, {share:.2f} of the transformer's word used",
                f"calibrated slope {calibration.slope:.2f} (t {calibration.slope_t:.1f}) on walk-forward forecasts",
            ),
        }
    )
    version = seal(bench, card, lambda folder: artifact.write(folder, model, features, calibration, dataset.horizon))
    lockbox = dataset.folds.lockbox
    ridge[lockbox.start :] = model.linear.predict(dataset.features, np.arange(lockbox.start, len(dataset.panel)))
    remembered_arrays(dataset.stage("oos", version), lambda: {**forecast_arrays(forecast, raw), "ridge": ridge})
    bench.progress("final forecaster", 1, 1)
    metrics = {
        "walk_forward_correlation": seen.correlation.value,
        "walk_forward_correlation_low": seen.correlation.low,
        "slope": calibration.slope,
        "slope_t": calibration.slope_t,
        "kept_epoch": float(model.kept_epoch),
        "transformer_share": share,
    }
    return Candidate(FORECASTER, version, dataset.version, metrics, card.notes)


def recorded_forecasts(bench: Bench, dataset: Dataset, version: str) -> tuple[Forecast, Floats, Floats]:
    """Forecasts (T, P) that no row could know of: walk-forward blocks, then the sealed candidate on the lock-box.

    Returns
    -------
    (forecast, raw, ridge) : Forecast and raw forecasts of the network and of ridge regression, all (T, P)
    """
    made = load_arrays(dataset.stage("oos", version).with_suffix(".npz"))
    ridge = made.pop("ridge")
    raw, forecast = made["raw"], forecast_of(made)
    start = dataset.folds.lockbox.start
    final = remembered_arrays(dataset.stage("lockbox", version), lambda: _lockbox_forecasts(bench, dataset, version))
    lockbox = forecast_of(final)
    for name in ("expected_return", "confidence", "adverse_excursion", "volatility"):
        getattr(forecast, name)[start:] = getattr(lockbox, name)
    raw[start:] = final["raw"]
    return forecast, raw, ridge


def load_forecaster(bench: Bench, version: str) -> OnnxForecaster:
    """The sealed forecaster as the live plane loads it."""
    from hydra_core.alpha.forecaster.artifact import load

    return load(bench.registry.path(FORECASTER, version), version)


def judged_span(dataset: Dataset) -> Span:
    """Walk-forward blocks and the lock-box: every row that some model had not seen."""
    return Span(dataset.folds.out_of_sample.start, len(dataset.panel))


def _lockbox_forecasts(bench: Bench, dataset: Dataset, version: str) -> dict[str, Any]:
    from hydra_core.alpha.forecaster.artifact import to_forecast

    model = load_forecaster(bench, version)
    rows = np.arange(dataset.folds.lockbox.start, len(dataset.panel))
    raw = model.raw(dataset.features, rows)
    return forecast_arrays(to_forecast(raw, dataset.sigma[rows], model.calibration, dataset.horizon), raw)


def _fold_forecasts(
    bench: Bench, dataset: Dataset, fold: Fold, parameters: dict[str, Any], number: int
) -> dict[str, Any]:
    model = _train(bench, dataset, fold, parameters, bench.training.seed + number)
    rows = fold.test.rows()
    return {
        "raw": model.predict(dataset.features, rows, bench.training.threads),
        "ridge": model.linear.predict(dataset.features, rows),
    }


def _train(bench: Bench, dataset: Dataset, fold: Fold, parameters: dict[str, Any], seed: int) -> Any:
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import train_forecaster

    training = bench.training
    return train_forecaster(
        dataset.features,
        dataset.label,
        fold.train.rows(training.stride_bars),
        fold.valid.rows(training.stride_bars),
        replace(NetworkHyper(epochs=training.epochs), **parameters),
        seed=seed,
        threads=training.threads,
        progress=lambda epoch, epochs, _: bench.progress("training", epoch, epochs),
    )


def _hyper_key(bench: Bench, parameters: dict[str, Any]) -> str:
    training = bench.training
    return content_key(parameters, training.epochs, training.stride_bars, training.seed)


def _inputs(dataset: Dataset) -> frozenset[str]:
    from hydra_core.alpha.features import FeatureSet

    return FeatureSet(dataset.feature_names).inputs | {CANDLES}
