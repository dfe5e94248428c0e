"""Families chosen by settings go the whole way to a sealed candidate; what is wrong with data or candidate is said in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha import labels
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_core.alpha.registry import Card, write_card
from hydra_core.domain.errors import ArtifactInvalid, DataCorrupt, InputMissing
from hydra_core.home import Home
from hydra_core.research import featuretable, forecasters, pipeline
from hydra_core.research.bench import Bench, Candidate
from hydra_core.research.dataset import (
    FEATURES,
    META,
    PANEL,
    Dataset,
    build_dataset,
    load_arrays,
    open_dataset,
    save_arrays,
)
from hydra_core.research.trials import lockbox_ledger
from hydra_core.risk.limits import Limits
from hydra_core.settings import ForecasterSettings, TrainingSettings

SMALL = TrainingSettings(candles=13_000, folds=2, forecaster_trials=2, epochs=1, stride_bars=12)
Made = tuple[Bench, Dataset]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    panel, _ = planted_panel(21, 45, 0.3, pairs=3)
    home = Home(tmp_path_factory.mktemp("home"), "synthetic-21-0.3").create()
    bench = Bench(home, "binanceusdm", panel.pairs, SMALL, Limits())
    return bench, build_dataset(bench.datasets, panel, SMALL)


def of_family(bench: Bench, family: str) -> Bench:
    return replace(bench, training=SMALL.model_copy(update={"forecaster": ForecasterSettings(family=family)}))


@pytest.mark.parametrize(("family", "trials", "files"), [("linear", 1, "linear.json"), ("trees", 2, "trees.txt")])
def test_a_family_goes_from_sweep_to_lockbox(made: Made, family: str, trials: int, files: str) -> None:
    bench, dataset = of_family(made[0], family), made[1]
    study = forecasters.sweep_forecaster(bench, dataset)
    assert study.trials == trials
    assert set(forecasters.trial_raw(dataset, study)) == set(study.finished)
    candidate = forecasters.train_forecaster_candidate(bench, dataset, study)
    folder = bench.registry.path(FORECASTER, candidate.version)
    assert (folder / files).exists()
    assert not (folder / "model.onnx").exists()
    assert bench.registry.card(FORECASTER, candidate.version).settings["family"] == family
    assert set(artifact.references(folder)) == set(dataset.feature_names), (
        "what drift is held against is sealed with it"
    )
    assert candidate.metrics["walk_forward_correlation"] > 0.1
    assert 1.0 < candidate.metrics["interval_width"] < 3.0
    forecast, raw, ridge = forecasters.recorded_forecasts(bench, dataset, candidate.version)
    start = dataset.folds.lockbox.start
    assert np.isfinite(raw[start:]).all()
    assert np.isfinite(ridge[start:]).all()
    sealed = forecasters.load_forecaster(bench, candidate.version)
    live = sealed.forecast(dataset.panel.last(sealed.lookback), 1)
    np.testing.assert_allclose(live.expected_return[-1], forecast.expected_return[-1], rtol=1e-5, atol=1e-9)


@pytest.mark.long
def test_further_heads_are_sealed_with_what_they_are_worth_and_make_the_interval(made: Made) -> None:
    heads = ForecasterSettings(more_horizons=(12, 48))
    bench = replace(made[0], training=SMALL.model_copy(update={"forecaster": heads, "forecaster_trials": 1}))
    dataset = made[1]
    candidate = forecasters.train_forecaster_candidate(bench, dataset, forecasters.sweep_forecaster(bench, dataset))
    card = bench.registry.card(FORECASTER, candidate.version)
    for horizon in (12, 48):
        assert 0.8 < card.metrics[f"heads_{horizon}_coverage"].value < 0.99
        assert -0.1 < candidate.metrics[f"heads_{horizon}_direction_skill"] < 0.2
    sealed = forecasters.load_forecaster(bench, candidate.version)
    assert (sealed.heads, np.isfinite(sealed.shift)) == ((12, 48), True)
    start = dataset.folds.lockbox.start
    low, high = sealed.interval(dataset.panel, len(dataset.panel) - start)
    came = labels.forward_return(dataset.panel, 48)[start:]
    known = np.isfinite(came)
    assert ((low <= came) & (came <= high))[known].mean() == pytest.approx(0.9, abs=0.08)
    forecast = sealed.forecast(dataset.panel, 300)
    plain = replace(sealed, heads=(), shift=np.nan).forecast(dataset.panel, 300)
    np.testing.assert_array_equal(forecast.expected_return, plain.expected_return)


def test_the_settings_of_a_family_are_part_of_every_key(made: Made) -> None:
    names = {forecasters.study_name(of_family(made[0], each), made[1]) for each in ("linear", "trees", "transformer")}
    assert len(names) == 3
    assert TrainingSettings().forecaster.family == "transformer"


def test_a_candidate_that_names_other_data_is_not_judged(made: Made, tmp_path: Path) -> None:
    bench, dataset = made
    write_card(
        tmp_path,
        Card(kind=FORECASTER, inputs=("candles",), lookback=9, horizon_bars=48, data_hashes={"dataset": "f" * 64}),
    )
    version = bench.registry.save(FORECASTER, tmp_path)
    with pytest.raises(ArtifactInvalid, match=f"trained on dataset {'f' * 12}, judged on {dataset.version[:12]}"):
        forecasters.recorded_forecasts(bench, dataset, version)


@pytest.mark.parametrize("kind", [CROWD, POLICY])
def test_a_crowd_model_or_policy_of_other_data_is_not_judged_either(made: Made, tmp_path: Path, kind: str) -> None:
    """Refused before the lock-box is read, and a policy also where it times another forecaster than it learnt on."""
    bench, dataset = made

    def candidate(content: str, **card: Any) -> Candidate:
        folder = tmp_path / content
        write_card(folder, Card(kind=kind, inputs=("candles",), lookback=9, horizon_bars=48, **card))
        return Candidate(kind, bench.registry.save(kind, folder), dataset.version)

    def judged(asked: Candidate) -> None:
        forecaster = Candidate(FORECASTER, "a" * 64, dataset.version)
        pipeline.validate_candidate(bench, dataset, asked, forecaster=forecaster)

    other = candidate("other", data_hashes={"dataset": "f" * 64})
    with pytest.raises(ArtifactInvalid, match=f"{kind} {other.version[:12]} was trained on dataset {'f' * 12}"):
        judged(other)
    if kind == POLICY:
        stranger = candidate("own", data_hashes={"dataset": dataset.version}, settings={"forecaster": "b" * 64})
        with pytest.raises(ArtifactInvalid, match=f"learnt on the forecasts of {'b' * 12}, judged on {'a' * 12}'s"):
            judged(stranger)
    assert not [row for row in lockbox_ledger(bench.home.studies).records() if row["kind"] == kind]


def test_a_market_that_never_moves_trains_nobody_and_says_why(made: Made, tmp_path: Path) -> None:
    bench, dataset = of_family(made[0], "linear"), made[1]
    prices = {name: np.full_like(dataset.panel.close, 100.0) for name in ("open", "high", "low", "close")}
    still = build_dataset(tmp_path, replace(dataset.panel, **prices), SMALL)
    with pytest.raises(InputMissing, match="0 usable training values"):
        forecasters.sweep_forecaster(bench, still)
    crowd = pipeline.train_crowd_candidate(bench, still)
    assert (crowd.version, "0 forced exits" in crowd.absent) == ("", True)


def test_the_feature_stores_figures_are_those_of_its_columns(made: Made) -> None:
    _, dataset = made
    rows = featuretable.statistics_of(dataset)
    assert [row["feature"] for row in rows] == list(dataset.feature_names)
    column = dataset.features[dataset.folds.warm_up :, :, 2].astype(float)
    assert rows[2]["mean"] == pytest.approx(np.nanmean(column), abs=1e-9)
    assert rows[2]["known"] == np.isfinite(column).mean()
    assert rows[2]["least"] <= rows[2]["1%"] <= rows[2]["50%"] <= rows[2]["99%"] <= rows[2]["most"]
    silent = np.array(dataset.features)
    silent[:, :, 2] = np.nan
    unknown = featuretable.statistics_of(replace(dataset, features=silent))[2]
    assert (unknown["known"], np.isnan(unknown["mean"])) == (0.0, True)


def test_features_that_are_never_known_are_named(made: Made) -> None:
    bench, dataset = made
    features = np.array(dataset.features)
    features[:, :, 3] = np.nan
    dead = replace(dataset, features=features)
    with pytest.raises(InputMissing, match=f"never known: {dataset.feature_names[3]}"):
        forecasters.sweep_forecaster(bench, dead)
    features = np.array(dataset.features)
    features[::2, :, 3] = np.nan
    features[1::2, :, 4] = np.nan
    with pytest.raises(InputMissing, match="no row knows all features"):
        forecasters.require_known_features(replace(dataset, features=features))


def test_one_pair_missing_leaves_the_others_as_they_are(made: Made) -> None:
    bench, dataset = of_family(made[0], "linear"), made[1]
    features = np.array(dataset.features)
    features[:, 1] = np.nan
    label = dataset.label.copy()
    label[:, 1] = np.nan
    gone = replace(dataset, features=features)
    object.__setattr__(gone, "label", label)
    fold = dataset.folds.final
    model = forecasters.fitted(bench, gone, fold, {}, 1)
    said = model.predict(features, fold.test.rows())
    assert np.isnan(said[:, 1]).all()
    assert np.isfinite(said[:, [0, 2]]).all()
    assert model.linear.common < 0.9  # the others still move together, and that is still taken out


def test_constant_prices_have_no_label_and_get_no_forecast() -> None:
    panel, _ = planted_panel(22, 8, 0.3, pairs=2)
    flat = np.array(panel.close)
    flat[:, 1] = 100.0
    still = {name: np.where([[False, True]], 100.0, getattr(panel, name)) for name in ("open", "high", "low", "close")}
    constant = replace(panel, **still)
    label = labels.scaled_return(constant, 48)
    assert not np.isfinite(label[:, 1]).any()
    assert np.isfinite(label[1_500:-60, 0]).all()
    from hydra_core.alpha.forecaster.artifact import to_forecast
    from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration

    calibration = Calibration(1.0, 5.0, np.linspace(-3, 3, LEVELS.size), 1.0, 0.0, 0.0014)
    said = to_forecast(np.full(label.shape, 0.3), labels.volatility_scale(constant), calibration, 48)
    assert np.isnan(said.expected_return[:, 1]).all()
    assert np.isnan(said.confidence[:, 1]).all()


@pytest.mark.parametrize(("file", "what"), [(FEATURES, "features"), (PANEL, "panel")])
def test_a_dataset_that_was_altered_is_not_opened(made: Made, tmp_path: Path, file: str, what: str) -> None:
    _, dataset = made
    folder = tmp_path / dataset.version
    folder.mkdir()
    for name in (META, PANEL, FEATURES):
        (folder / name).write_bytes((dataset.folder / name).read_bytes())
    open_dataset(tmp_path, dataset.version)
    if file == PANEL:
        arrays = load_arrays(folder / PANEL)
        arrays["close"][500, 0] *= 1.001
        save_arrays(folder / PANEL, arrays)
    else:
        values = np.load(folder / FEATURES)
        values[5_000, 0, 0] += 1.0
        np.save(folder / FEATURES, values)
    with pytest.raises(DataCorrupt, match=f"its {what} are not those"):
        open_dataset(tmp_path, dataset.version)


def test_a_dataset_without_its_description_is_refused(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / made[1].version
    folder.mkdir()
    for name in (PANEL, FEATURES):
        (folder / name).write_bytes((made[1].folder / name).read_bytes())
    (folder / META).write_text(json.dumps({}))
    with pytest.raises(DataCorrupt, match="cannot be read"):
        open_dataset(tmp_path, made[1].version)
