"""The forecaster's way from a sweep to a candidate to its evidence.

Order: a few configurations on the first fold; the best one walked forward through every fold; its out-of-sample forecasts
calibrated; one forecaster on all of development; the lock-box last. The family is the settings'; a stack sweeps its network.
Not here: how a family is fitted (``alpha.forecaster.families``), the gates' limits (``gates``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster.artifact import SealedForecaster
from hydra_core.alpha.forecaster.families import STACKED, TRANSFORMER, TREES, FamilyModel, Recipe, fit_family
from hydra_core.alpha.forecaster.heads import HeadsWord
from hydra_core.alpha.forecaster.linear import LABEL_CLIP
from hydra_core.alpha.forecaster.trees import TreesHyper
from hydra_core.alpha.models import FORECASTER, Forecast
from hydra_core.alpha.registry import Estimate
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import CANDLES, Bools, Floats
from hydra_core.research.ancestry import DESCENT, FRESH, Descent, descent_of
from hydra_core.research.bench import (
    Bench,
    Candidate,
    card_of,
    estimate,
    remembered_candidate,
    require_same_data,
    seal,
)
from hydra_core.research.dataset import (
    WINDOW,
    Dataset,
    content_key,
    load_arrays,
    remembered_arrays,
    require_live_lookback,
    selected_features,
)
from hydra_core.research.drift import references_of
from hydra_core.research.evaluation import skill
from hydra_core.research.folds import Fold, Span
from hydra_core.research.information import PATHS, combinatorial_paths
from hydra_core.research.lessons import judged_heads, lesson, more_labels, taught
from hydra_core.research.outofsample import calibrated, forecast_arrays, forecast_of, spread_out
from hydra_core.research.rises import rise_on
from hydra_core.research.searchspace import first_parameters, suggested, swept_family
from hydra_core.research.sweeps import StudyResult, TrialFailed, sweep
from hydra_core.research.trials import trials_of
from hydra_core.statistics.conformal import conformal_width

if TYPE_CHECKING:
    from hydra_core.alpha.forecaster.network import NetworkHyper

TRIAL_STRIDE: Final = 3
"""Bars between two forecasts of a trial; each is held until the next."""


def sweep_forecaster(bench: Bench, dataset: Dataset) -> StudyResult:
    """Compare a few configurations on the first fold; each one's forecasts for the rest of development are kept.

    Raises
    ------
    InputMissing : a feature that is never known, or no configuration came to a result
    UsageError : a feature that the family cannot read live
    """
    training = bench.training
    require_live_lookback(dataset, training)
    require_known_features(dataset)
    name = study_name(bench, dataset)
    fold = dataset.folds.folds[0]
    rows = dataset.folds.out_of_sample.rows(TRIAL_STRIDE)
    family = swept_family(training.forecaster.family)

    def refit(number: int, parameters: dict[str, Any], progress: Any = None) -> FamilyModel:
        return fitted(
            bench, dataset, fold, parameters, training.seed + number, family=family, progress=progress,
            checkpoint=dataset.stage("checkpoint", name, number),
        )  # fmt: skip

    def forecasts(number: int, model: Callable[[], FamilyModel]) -> None:
        remembered_arrays(
            dataset.stage("trial", name, number),
            lambda: {"raw": model().predict(dataset.features, rows, training.threads)},
        )

    def objective(number: int, parameters: dict[str, Any], report: Any) -> float:
        model = refit(number, parameters, lambda epoch, _, loss: report(epoch, loss))
        network = model.network
        if network is not None and network.diverged:
            raise TrialFailed(f"the loss was no number after epoch {network.diverged}")
        forecasts(number, lambda: model)
        return min(network.losses) if network is not None else _loss(dataset, model, fold)

    made = sweep(
        bench.home.studies,
        name,
        first_parameters(training, family),
        lambda trial: suggested(trial, family),
        objective,
        training.forecaster_trials if first_parameters(training, family) else 1,
        seed=training.seed,
        progress=bench.progress,
        shared=bench.studies_url,
    )
    # What another host tried is judged here too: the same seed makes the same forecasts again.
    for trial in trials_of(bench.home.studies, name):
        if trial["number"] in made.finished:
            forecasts(int(trial["number"]), partial(refit, int(trial["number"]), trial["parameters"]))
    # A horizon that was looked at was tried as much as a configuration was.
    return replace(made, trials=made.trials + len(dataset.horizons.get("tried", [])))


def require_known_features(dataset: Dataset) -> None:
    """Raise InputMissing naming every feature that no pair ever knows, and when no pair knows all of them at once."""
    known = np.isfinite(dataset.features[dataset.folds.warm_up :])
    ever: Bools = np.asarray(known.any(axis=(0, 1)))
    never = [name for name, seen in zip(dataset.feature_names, ever, strict=True) if not seen]
    if never:
        raise InputMissing(f"features that are never known: {', '.join(never)}", "Collect their inputs, or drop them")
    if not known.all(axis=2).any():
        raise InputMissing("no row knows all features at once", "Look at the gaps of each input")


def _loss(dataset: Dataset, model: FamilyModel, fold: Fold) -> float:
    """Mean squared error of clipped labels on the rows that choose."""
    rows = fold.valid.rows()
    error = np.clip(dataset.label[rows], -LABEL_CLIP, LABEL_CLIP) - model.predict(dataset.features, rows)
    return float(np.nanmean(error**2))


def study_name(bench: Bench, dataset: Dataset) -> str:
    """Name of the forecaster's study: what it is about, and of which data and settings."""
    training = bench.training
    key = content_key(training.epochs, training.stride_bars, training.seed, _taught_key(bench))
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


def walk_forward(
    bench: Bench, dataset: Dataset, parameters: dict[str, Any], descent: Descent = FRESH
) -> tuple[Floats, Floats]:
    """Raw forecasts (T, P) of the family and of ridge regression alone on every test block, each by its own fold's model.

    A fold's network starts from the ``descent``'s ancestor where that has seen none of its rows; else, with ``warm_start``,
    from the one of the fold before; else afresh.
    """
    raw = np.full((len(dataset.panel), len(dataset.panel.pairs)), np.nan)
    ridge = raw.copy()
    folds = dataset.folds.folds
    made: dict[str, Any] = {}
    for number, fold in enumerate(folds):
        bench.progress("walk-forward", number, len(folds))
        stage = _fold_stage(bench, dataset, number, parameters, descent)
        before = descent.start(dataset, fold) or state_of(made)

        def forecasts(fold: Fold = fold, number: int = number, before: Any = before, stage: Path = stage) -> Any:
            return _fold_forecasts(bench, dataset, fold, parameters, number, before, stage.with_suffix(".pt"))

        made = remembered_arrays(stage, forecasts)
        span = slice(fold.test.start, fold.test.end)
        raw[span], ridge[span] = made["raw"], made["ridge"]
    bench.progress("walk-forward", len(folds), len(folds))
    return raw, ridge


def train_forecaster_candidate(bench: Bench, dataset: Dataset, study: StudyResult) -> Candidate:
    """Walk the best configuration forward, calibrate, train on all of development, seal."""
    left_out = selected_features(dataset.panel.inputs, bench.training).left_out
    descent = descent_of(bench, dataset, network_hyper(bench, study.best))
    hyper = _hyper_key(bench, study.best)
    key: tuple[object, ...] = (study.best, study.trials, hyper, bench.limits.round_trip, *left_out)
    if bench.training.forecaster.refit != "fresh":
        key = (*key, descent.why, *descent.key(dataset, dataset.folds.final))
    stage = dataset.stage(FORECASTER, *key)
    return remembered_candidate(bench, stage, lambda: _make_candidate(bench, dataset, study, descent))


def _make_candidate(bench: Bench, dataset: Dataset, study: StudyResult, descent: Descent) -> Candidate:
    from hydra_core.alpha.forecaster import artifact

    raw, ridge = walk_forward(bench, dataset, study.best, descent)
    forecast, calibration = calibrated(dataset, raw, bench.limits.round_trip)
    bench.progress("final forecaster", 0, 1)
    final = dataset.folds.final
    key = content_key(study.best, _hyper_key(bench, study.best), *descent.key(dataset, final))
    model = fitted(
        bench, dataset, final, study.best, bench.training.seed,
        start=descent.start(dataset, final) or last_state(bench, dataset, study.best, descent),
        checkpoint=dataset.stage("checkpoint", "final", key),
    )  # fmt: skip
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
    settings = {"family": model.family, "weights": dict(model.weights), "parameters": study.best}
    settings["taught"] = taught(dataset, bench.training.forecaster)
    settings["features"] = list(features)
    settings[DESCENT] = descent.to_json(dataset)
    diagnosed = combinatorial_paths(dataset)
    if diagnosed is not None:
        settings[PATHS] = diagnosed.to_json()
    if model.network is not None:
        settings["network"] = model.network.hyper.to_dict()
    card = card_of(bench, dataset, FORECASTER, sorted(_inputs(dataset)), dataset.folds.warm_up, settings, study.trials)
    card = card.model_copy(
        update={
            "metrics": {"walk_forward_correlation": estimate(seen.correlation)},
            "notes": (
                *model.notes,
                *selected_features(dataset.panel.inputs, bench.training).left_out,
                *_words_on(descent),
                *(f"trial {number} of the sweep: {reason}" for number, reason in study.failed.items()),
                f"calibrated slope {calibration.slope:.2f} (t {calibration.slope_t:.1f}) on walk-forward forecasts",
            ),
        }
    )
    width = conformal_width(np.abs(dataset.label[part] - calibration.expected(raw[part])))
    word = walked_heads(bench, dataset, study.best, descent)
    shift, told = judged_heads(dataset, word)
    card = card.model_copy(
        update={"metrics": {**card.metrics, **{name: Estimate(value=v) for name, v in told.items()}}}
    )
    rise = rise_on(bench, dataset, final)
    version = seal(
        bench,
        card,
        lambda folder: artifact.write(
            folder, model, features, calibration, dataset.horizon, width=width, rise=rise,
            heads=() if word is None else word.horizons, shift=shift, reference=references_of(dataset),
        ),
    )  # fmt: skip
    lockbox = dataset.folds.lockbox
    ridge[lockbox.start :] = model.linear.predict(dataset.features, np.arange(lockbox.start, len(dataset.panel)))
    remembered_arrays(dataset.stage("oos", version), lambda: {**forecast_arrays(forecast, raw), "ridge": ridge})
    bench.progress("final forecaster", 1, 1)
    metrics = {
        "walk_forward_correlation": seen.correlation.value,
        "walk_forward_correlation_low": seen.correlation.low,
        "slope": calibration.slope,
        "slope_t": calibration.slope_t,
        "interval_width": width,
        **told,
    }
    if model.network is not None:
        metrics["kept_epoch"] = float(model.network.kept_epoch)
        metrics["transformer_share"] = float(model.network.network.share[0])
    return Candidate(FORECASTER, version, dataset.version, metrics, card.notes)


def recorded_forecasts(bench: Bench, dataset: Dataset, version: str) -> tuple[Forecast, Floats, Floats]:
    """Forecasts (T, P) that no row could know of: walk-forward blocks, then the sealed candidate on the lock-box.

    Returns
    -------
    (forecast, raw, ridge) : Forecast and raw forecasts of the family and of ridge regression, all (T, P)

    Raises
    ------
    ArtifactInvalid : the candidate's card names other data than these
    """
    require_same_data(bench, dataset, FORECASTER, version)
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


def load_forecaster(bench: Bench, version: str) -> SealedForecaster:
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


_STATE: Final = "state/"
_MORE: Final = "more"


def state_of(made: Mapping[str, Any]) -> dict[str, Any] | None:
    """The network's weights among a fold's arrays; None where there are none."""
    found = {name.removeprefix(_STATE): value for name, value in made.items() if name.startswith(_STATE)}
    return found or None


def last_state(
    bench: Bench, dataset: Dataset, parameters: dict[str, Any], descent: Descent = FRESH
) -> dict[str, Any] | None:
    """Weights of the last fold's network, for a warm start; None without warm starts."""
    stage = _fold_stage(bench, dataset, len(dataset.folds.folds) - 1, parameters, descent)
    return state_of(load_arrays(stage.with_suffix(".npz")))


def _fold_stage(bench: Bench, dataset: Dataset, number: int, parameters: dict[str, Any], descent: Descent) -> Path:
    """File of a block's forecasts; with ``warm_start`` they hang on what the blocks before started from, too."""
    folds = dataset.folds.folds
    first = 0 if bench.training.forecaster.warm_start else number
    ancestors = [key for fold in folds[first : number + 1] for key in descent.key(dataset, fold)]
    return dataset.stage("fold", number, _hyper_key(bench, parameters), *ancestors)


def _words_on(descent: Descent) -> tuple[str, ...]:
    if descent.ancestor is not None:
        return (f"networks start from the champion {descent.ancestor.version[:12]}",)
    return (f"networks start afresh: {descent.why}",) if descent.why else ()


def _fold_forecasts(
    bench: Bench,
    dataset: Dataset,
    fold: Fold,
    parameters: dict[str, Any],
    number: int,
    before: Mapping[str, Any] | None,
    checkpoint: Path,
) -> dict[str, Any]:
    model = fitted(bench, dataset, fold, parameters, bench.training.seed + number, start=before, checkpoint=checkpoint)
    rows = fold.test.rows()
    made = {
        "raw": model.predict(dataset.features, rows, bench.training.threads),
        "ridge": model.linear.predict(dataset.features, rows),
    }
    more = model.more(dataset.features, rows)
    if more is not None:
        made[_MORE] = more.astype(np.float32)
    if bench.training.forecaster.warm_start and model.network is not None:
        made |= {f"{_STATE}{name}": value for name, value in model.network.state().items()}
    return made


def fitted(
    bench: Bench,
    dataset: Dataset,
    fold: Fold,
    parameters: dict[str, Any],
    seed: int,
    *,
    family: str = "",
    progress: Any = None,
    start: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
) -> FamilyModel:
    """A forecaster of the settings' family (or of another) with a sweep's parameters on a fold's training rows."""
    training = bench.training
    chosen = training.forecaster
    asked = family or chosen.family
    trees = TreesHyper(**parameters) if asked == TREES else TreesHyper()
    network = network_hyper(bench, parameters, asked)
    train, valid = fold.train.rows(training.stride_bars), fold.valid.rows(training.stride_bars)
    target, weights = lesson(dataset, chosen, np.concatenate([train, valid]))
    return fit_family(
        asked,
        dataset.features,
        target,
        train,
        valid,
        Recipe(network, trees, WINDOW, dataset.folds.gap, 1 if family else chosen.networks),
        seed=seed,
        threads=training.threads,
        progress=progress or (lambda epoch, epochs, _: bench.progress("training", epoch, epochs)),
        checkpoint=checkpoint,
        start=start,
        more_labels=more_labels(dataset, chosen.more_horizons),
        weights=weights,
        runtime=_runtime(chosen.device, training.threads) if network is not None else None,
    )


def network_hyper(bench: Bench, parameters: Mapping[str, Any], family: str = "") -> NetworkHyper | None:
    """The network of the settings (or of a family) with a sweep's parameters; None where the family has none."""
    if (family or bench.training.forecaster.family) not in (TRANSFORMER, STACKED):
        return None
    from hydra_core.alpha.forecaster.network import NetworkHyper

    chosen = bench.training.forecaster
    first = NetworkHyper(
        epochs=bench.training.epochs, batch_rows=chosen.batch_rows, cross_layers=chosen.cross_layers
    )  # fmt: skip
    return replace(first, **parameters)


def walked_heads(
    bench: Bench, dataset: Dataset, parameters: dict[str, Any], descent: Descent = FRESH
) -> HeadsWord | None:
    """What the further heads said of every test block, each by its own fold's networks; None without such heads."""
    horizons = bench.training.forecaster.more_horizons
    said: Floats | None = None
    for number, fold in enumerate(dataset.folds.folds):
        made = load_arrays(_fold_stage(bench, dataset, number, parameters, descent).with_suffix(".npz"))
        if _MORE in made:
            if said is None:
                said = np.full((*dataset.label.shape, *made[_MORE].shape[2:]), np.nan)
            said[fold.test.start : fold.test.end] = made[_MORE]
    return None if said is None else HeadsWord(horizons, said)


def _runtime(device: str, threads: int) -> Any:
    from hydra_core.alpha.forecaster.batches import Runtime

    return Runtime.best(threads) if device == "auto" else Runtime(threads=threads)


def _hyper_key(bench: Bench, parameters: dict[str, Any]) -> str:
    training = bench.training
    return content_key(parameters, training.epochs, training.stride_bars, training.seed, _taught_key(bench))


def _taught_key(bench: Bench) -> dict[str, Any]:
    """Settings that change what a fold comes to; what it starts from is part of its stage's own key."""
    return bench.training.forecaster.model_dump(exclude={"refit"})


def _inputs(dataset: Dataset) -> frozenset[str]:
    return FeatureSet(dataset.feature_names).inputs | {CANDLES}
