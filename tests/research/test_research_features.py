"""What a training asks for is what it is taught, what is sealed, and what is computed live; what cannot be had is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha.features import FeatureSet, features
from hydra_core.alpha.features.selection import families, select
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.artifact import SealedForecaster
from hydra_core.alpha.models import FORECASTER, load_models
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.market import CANDLES, FUNDING, INPUTS, OPEN_INTEREST, Panel
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.home import Home
from hydra_core.research import featuretable, forecasters
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import WINDOW, build_dataset
from hydra_core.research.drift import references_of
from hydra_core.research.modelreport import card_facts
from hydra_core.risk.limits import Limits
from hydra_core.settings import ForecasterSettings, Settings, TrainingSettings

SMALL = TrainingSettings(candles=13_000, folds=2, forecaster_trials=1, epochs=1, stride_bars=4)
INTERVALS = families()["intervals"]


def asking(*names: str, family: str = "linear") -> TrainingSettings:
    return SMALL.model_copy(update={"features": names, "forecaster": ForecasterSettings(family=family)})


@pytest.fixture(scope="module")
def panel() -> Panel:
    return planted_panel(21, 45, 0.3, pairs=3)[0]


def test_the_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().training.features == ("usual",)
    monkeypatch.setenv("HYDRA_TRAINING__FEATURES", '["usual","intervals"]')
    assert Settings().training.features == ("usual", "intervals")


def test_names_families_and_the_two_special_names() -> None:
    every = FeatureSet.every().names
    assert select(("usual",), INPUTS).features.names == FeatureSet().names
    assert select(("all",), INPUTS).features.names == every
    mixed = select(("skewness_288", "intervals", "return_1", "returns"), INPUTS)
    assert set(mixed.features.names) == {"skewness_288", *INTERVALS, *families()["returns"]}
    assert mixed.features.names == tuple(name for name in every if name in mixed.features.names)
    assert (
        select(("return_1", "intervals"), INPUTS).features.names
        == select(("intervals", "return_1"), INPUTS).features.names
    )
    told = families()
    assert not {"usual", "all", *(name for group in told.values() for name in group)} & set(told)
    assert sum(len(group) for group in told.values()) == len(features()) == len(every)


def test_the_table_for_people_is_that_of_the_registry() -> None:
    by_name = {member.name: member for member in features()}
    expected = []
    for name, members in families().items():
        needs = sorted(frozenset().union(*(by_name[one].inputs for one in members)) - {CANDLES})
        expected.append((name, len(members), sum(by_name[one].usual for one in members), ", ".join(needs)))
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = page.partition("## Features")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\w*) ?\|", section, re.MULTILINE)
    assert [(name, int(count), int(usual), needs) for name, count, usual, needs in rows] == expected
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"| {len(by_name)} registered features" in readme


def test_what_does_not_exist_is_an_error_that_lists_what_does() -> None:
    with pytest.raises(
        UsageError, match=r"names unknown features intervalls, hour. Known: usual, all; the families .*volume"
    ):
        select(("usual", "intervalls", "hour"), INPUTS)
    with pytest.raises(UsageError, match="names no features"):
        select((), INPUTS)


def test_what_a_history_lacks_is_left_out_with_its_family_and_refused_by_name() -> None:
    """The usual ones are a group too: without open interest a model is trained on the rest, and its card says so."""
    held = {CANDLES, FUNDING}
    part = select(("usual", "liquidations"), held)
    assert set(part.features.names) == set(FeatureSet().available(held).names)
    assert len(part.left_out) == 3
    assert f"left out {', '.join(families()['liquidations'])}: the history holds no liquidations" in part.left_out
    with pytest.raises(
        InputMissing, match="names liquidated_share_48, which needs liquidations; the history holds none"
    ):
        select(("usual", "liquidations", "liquidated_share_48"), held)
    with pytest.raises(InputMissing, match="none of the features"):
        select(("open_interest",), held)
    assert not select(("usual",), set(INPUTS)).left_out


def test_a_look_back_that_no_live_panel_has_is_left_out_of_a_window_and_kept_in_a_row() -> None:
    far = {member.name for member in features() if member.lookback + WINDOW.reach > MAX_LOOKBACK_BARS}
    assert "branching" in far
    windowed = select(("all",), INPUTS, WINDOW.reach)
    assert far.isdisjoint(windowed.features.names)
    assert windowed.features.lookback + WINDOW.reach <= MAX_LOOKBACK_BARS
    assert all(name in windowed.left_out[0] for name in far)
    assert far < set(select(("all",), INPUTS).features.names)
    with pytest.raises(UsageError, match="names branching, which looks back 2286 bars"):
        select(("branching",), INPUTS, WINDOW.reach)


def test_a_dataset_is_versioned_by_the_columns_that_were_asked_for(tmp_path: Path, panel: Panel) -> None:
    short = panel.last(7_000)
    usual = build_dataset(tmp_path, short, SMALL)
    assert usual.feature_names == FeatureSet().names
    assert build_dataset(tmp_path, short, asking("usual")).version == usual.version
    more = build_dataset(tmp_path, short, asking("usual", "intervals"))
    assert more.version != usual.version
    assert set(more.feature_names) == {*usual.feature_names, *INTERVALS}
    assert more.summary()["features"] == list(more.feature_names)
    assert set(references_of(more)) == set(more.feature_names)
    assert [row["feature"] for row in featuretable.statistics_of(more)] == list(more.feature_names)
    assert featuretable.described(["bar_run_4h"])["bar_run_4h"].startswith("intervals; looks back 431 bars")


def test_a_dataset_for_one_row_is_not_taught_to_a_window(tmp_path: Path, panel: Panel) -> None:
    """Settings may change between two assets; what was prepared for trees could never be read live by a network."""
    short = panel.last(7_000)
    bench = Bench(Home(tmp_path, "synthetic-21-0.3").create(), "binanceusdm", panel.pairs, SMALL, Limits())
    dataset = build_dataset(bench.datasets, short, asking("usual", "branching", family="trees"))
    assert "branching" in dataset.feature_names
    with pytest.raises(UsageError, match="the transformer looks back further than is live with branching"):
        forecasters.sweep_forecaster(bench, dataset)


def trained(root: Path, panel: Panel, training: TrainingSettings) -> tuple[Bench, SealedForecaster]:
    """From dataset to the seat as the live plane fills it; the newest row of a live panel is that of the whole history."""
    bench = Bench(Home(root, "synthetic-21-0.3").create(), "binanceusdm", panel.pairs, training, Limits())
    dataset = build_dataset(bench.datasets, panel, training)
    study = forecasters.sweep_forecaster(bench, dataset)
    candidate = forecasters.train_forecaster_candidate(bench, dataset, study)
    # The live plane knows of no training: other settings there change nothing of what is computed.
    sealed = load_models(bench.registry, {FORECASTER: candidate.version}).forecaster
    assert isinstance(sealed, SealedForecaster)
    assert sealed.features.names == dataset.feature_names
    assert sealed.lookback <= MAX_LOOKBACK_BARS
    whole = sealed.forecast(dataset.panel, 60)
    live_panel = dataset.panel.last(MAX_LOOKBACK_BARS)
    live = sealed.forecast(live_panel, 1)
    recorded = forecasters.recorded_forecasts(bench, dataset, candidate.version)[0]
    assert np.isfinite(live.expected_return).all()
    for batch in (whole, recorded):
        np.testing.assert_allclose(live.expected_return[-1], batch.expected_return[-1], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(live.confidence[-1], batch.confidence[-1], rtol=1e-5, atol=1e-9)
    for back in (1, 7, 30):  # rows in the middle of longer bars, each as it was the newest
        then = sealed.forecast(dataset.panel.rows(slice(0, len(dataset.panel) - back)).last(MAX_LOOKBACK_BARS), 1)
        np.testing.assert_allclose(then.expected_return[-1], whole.expected_return[-1 - back], rtol=1e-5, atol=1e-9)
    return bench, sealed


def test_a_forecaster_taught_on_longer_intervals_says_live_what_it_said_of_history(
    tmp_path: Path, panel: Panel
) -> None:
    bench, sealed = trained(tmp_path, panel, asking("usual", "intervals", "liquidations"))
    assert set(sealed.features.names) == {*FeatureSet().names, *INTERVALS}
    card = bench.registry.card(FORECASTER, sealed.version)
    assert card.settings["features"] == list(sealed.features.names)
    assert list(card.settings["training"]["features"]) == ["usual", "intervals", "liquidations"]
    left = f"left out {', '.join(families()['liquidations'])}: the history holds no liquidations"
    assert left in card.notes
    assert "bar_return_4h" in card_facts(card)["features"]
    assert card.lookback == sealed.features.lookback + WINDOW.reach
    assert set(artifact.references(bench.registry.path(FORECASTER, sealed.version))) == set(sealed.features.names)
    dataset = build_dataset(bench.datasets, panel, asking("usual", "intervals"))
    other = replace(bench, training=asking("usual", "intervals"))
    again = forecasters.train_forecaster_candidate(other, dataset, forecasters.sweep_forecaster(other, dataset))
    assert not any("liquidations" in note for note in other.registry.card(FORECASTER, again.version).notes)


@pytest.mark.long
def test_trees_may_be_taught_on_every_feature_there_is(tmp_path: Path, panel: Panel) -> None:
    _, sealed = trained(tmp_path, panel, asking("all", family="trees"))
    assert {"branching", "regime_turbulent", "volume_above_day", "bar_run_1h"} <= set(sealed.features.names)
    assert not {"liquidated_share_48"} & set(sealed.features.names)
    assert OPEN_INTEREST in sealed.inputs


@pytest.mark.long
def test_a_network_may_be_taught_on_longer_intervals_and_states(tmp_path: Path, panel: Panel) -> None:
    training = asking("usual", "intervals", "layer2", family="transformer")
    bench, sealed = trained(tmp_path, panel, training)
    assert "regime_turbulent" in sealed.features.names
    notes = bench.registry.card(FORECASTER, sealed.version).notes
    assert any("branching" in note and "2211 bars" in note for note in notes)
