"""Weekly candidates whose networks start from the standing champion: who may, who may not, and what the card says of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.families import Recipe, fit_family
from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import RENEWS, write_card
from hydra_core.domain.market import Panel
from hydra_core.home import Home
from hydra_core.research import ancestry, forecasters
from hydra_core.research.ancestry import DESCENT, Descent, descent_of
from hydra_core.research.bench import Bench, Candidate
from hydra_core.research.dataset import EMBARGO_BARS, Dataset, build_dataset
from hydra_core.research.modelreport import card_facts
from hydra_core.risk.limits import Limits
from hydra_core.settings import ForecasterSettings, TrainingSettings

ROWS, WEEK = 12_000, 2_016
TRAINING = TrainingSettings(
    candles=ROWS,
    folds=2,
    forecaster_trials=1,
    epochs=6,
    stride_bars=12,
    seed=1,  # of two weeks in a row whose networks have something to say beside the ridge
    forecaster=ForecasterSettings(refit="warm", batch_rows=256),
)


def taught(bench: Bench, **changed: Any) -> Bench:
    chosen = bench.training.forecaster.model_copy(update=changed)
    return replace(bench, training=bench.training.model_copy(update={"forecaster": chosen}))


def data(bench: Bench, panel: Panel, week: float) -> Dataset:
    start = int((1 + week) * WEEK)
    return build_dataset(bench.datasets, panel.rows(slice(start, start + ROWS)), TRAINING)


def candidate(bench: Bench, dataset: Dataset) -> Candidate:
    study = forecasters.sweep_forecaster(bench, dataset)
    return forecasters.train_forecaster_candidate(bench, dataset, study)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return planted_panel(31, 64, 0.3, pairs=3)[0]


@pytest.fixture(scope="module")
def seated(tmp_path_factory: pytest.TempPathFactory, panel: Panel) -> tuple[Bench, Dataset, str]:
    """A champion of the first week's history, trained when nobody held the seat."""
    home = Home(tmp_path_factory.mktemp("home"), "synthetic-31-0.3").create()
    bench = Bench(home, "binanceusdm", panel.pairs, TRAINING, Limits())
    first = data(bench, panel, 0)
    made = candidate(bench, first)
    bench.registry.promote(FORECASTER, made.version, {}, at_ms=int(first.panel.close_ms[-1]))
    return bench, first, made.version


@pytest.fixture
def own(seated: tuple[Bench, Dataset, str], tmp_path: Path) -> Bench:
    """The champion's home, a copy of it."""
    shutil.copytree(seated[0].home.root, tmp_path / "home")
    return replace(seated[0], home=Home(tmp_path / "home", seated[0].home.market))


def trained_rows(dataset: Dataset) -> np.ndarray:
    """Opens, epoch ms, of every bar that training on a dataset reads a label of, or a feature for one, chosen rows included."""
    final = dataset.folds.final
    return dataset.panel.ts[dataset.folds.warm_up : final.valid.end + dataset.horizon + 1]


def test_a_weekly_candidate_starts_from_the_champion_and_its_card_says_so(
    own: Bench, panel: Panel, seated: tuple[Bench, Dataset, str]
) -> None:
    first, champion = seated[1:]
    card = own.registry.card(FORECASTER, champion)
    assert card.settings[DESCENT]["why"] == "nobody held the seat"
    assert "networks start afresh: nobody held the seat" in card.notes
    assert card_facts(card)["started from"] == "afresh: nobody held the seat"
    second = data(own, panel, 1)
    made = candidate(own, second)
    told = own.registry.card(FORECASTER, made.version)
    assert (told.settings[DESCENT]["ancestor"], told.settings[DESCENT]["lineage"]) == (champion, [champion])
    assert f"networks start from the champion {champion[:12]}" in made.notes
    assert any(f"of {TRAINING.epochs // 3} kept" in note for note in made.notes), "a third of the epochs"
    assert card_facts(told)["lineage"] == champion[:12]
    own.registry.promote(FORECASTER, made.version, {}, at_ms=int(second.panel.close_ms[-1]))
    assert candidate(own, second).version == made.version, "made again after it took the seat, it is found again"
    third = data(own, panel, 2)
    last = own.registry.card(FORECASTER, candidate(own, third).version).settings[DESCENT]
    assert last["lineage"] == [made.version, champion]
    scored = third.panel.ts[third.folds.lockbox.start :]
    for each in (first, second):
        assert np.intersect1d(trained_rows(each), scored).size == 0
    assert last["known_until_ms"] < int(scored[0])


def test_a_network_of_which_nothing_is_used_is_no_start(
    own: Bench, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are silenced stay as they were before, refit after refit, where a signal has turned round."""
    hyper, second = forecasters.network_hyper(own, {}), data(own, panel, 1)
    assert descent_of(own, second, hyper).ancestor is not None
    real = ancestry.warm_state

    def silent(folder: Path) -> Any:
        found = real(folder)
        assert found is not None
        return replace(found, state=found.state | {"share": np.zeros(1)})

    monkeypatch.setattr(ancestry, "warm_state", silent)
    found = descent_of(own, second, hyper)
    assert found.ancestor is None
    assert found.why.startswith("nothing that the network of the champion")


def test_no_scored_row_was_ever_in_the_span_of_an_ancestor(
    own: Bench, panel: Panel, seated: tuple[Bench, Dataset, str]
) -> None:
    """Over champions of every age: where a block starts from them, it and the rows that choose its epoch lie after them."""
    first = seated[1]
    hyper = forecasters.network_hyper(own, {})
    counted = {"warm": 0, "fresh": 0}
    for week in (0.02, 0.1, 0.5, 1.0, 1.5, 2.1):
        dataset = data(own, panel, week)
        found = descent_of(own, dataset, hyper)
        seen = set(trained_rows(first).tolist())
        learnt = set(first.panel.ts[first.folds.warm_up : first.folds.final.train.end + first.horizon + 1].tolist())
        for fold in (*dataset.folds.folds, dataset.folds.final):
            warm = found.start(dataset, fold) is not None
            counted["warm" if warm else "fresh"] += 1
            if warm:
                assert not seen & set(dataset.panel.ts[fold.test.start : fold.test.end + dataset.horizon].tolist())
                assert not learnt & set(dataset.panel.ts[fold.valid.start : fold.valid.end].tolist())
                gap = int(dataset.panel.ts[fold.test.start]) - max(seen)
                assert gap > EMBARGO_BARS * dataset.panel.interval.ms, "not nearer than a fold's own training"
    assert min(counted.values()) > 0, "the test saw both"


def test_a_champion_that_has_seen_too_much_is_no_ancestor(own: Bench, panel: Panel) -> None:
    """One that was trained on later bars: the lock-box would be told by a network that was taught it."""
    champion = own.registry.champion(FORECASTER)
    assert champion is not None
    dataset = data(own, panel, -1)
    found = descent_of(own, dataset, forecasters.network_hyper(own, {}))
    assert found.why == f"not from the champion {champion[:12]}: it has seen rows that are scored"
    told = found.to_json(dataset)
    assert (found.ancestor, told["ancestor"], told["lineage"], told["blocks"]) == (None, "", [], [])


def test_the_walk_forward_starts_there_only_from_where_the_ancestor_had_ended(
    own: Bench, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data(own, panel, 2.1)
    ancestor = descent_of(own, dataset, forecasters.network_hyper(own, {})).ancestor
    assert ancestor is not None
    last = dataset.folds.folds[-1]
    before = int(dataset.panel.ts[last.valid.start]) - EMBARGO_BARS * dataset.panel.interval.ms
    old = Descent(replace(ancestor, learnt_until_ms=before, known_until_ms=before))
    assert [old.start(dataset, fold) is None for fold in dataset.folds.folds] == [True, False]
    assert old.to_json(dataset)["blocks"] == [2]
    started: list[Any] = []
    whole = forecasters.fitted

    def watched(*given: Any, **named: Any) -> Any:
        started.append(named["start"])
        return whole(*given, **named)

    monkeypatch.setattr(forecasters, "fitted", watched)
    forecasters.walk_forward(own, dataset, {}, old)
    assert started == [None, ancestor.state]
    forecasters.walk_forward(own, dataset, {})
    assert started == [None, ancestor.state, None], "a block that begins afresh is found again, the other is another's"
    too_young = Descent(replace(ancestor, learnt_until_ms=before + 1, known_until_ms=before + 1))
    assert too_young.start(dataset, last) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"cross_layers": 1}, "its network's cross layers (0, now 1)"),
        ({"more_horizons": (12,)}, "the horizons of its further heads ((), now (12,))"),
        ({"label": "quintile"}, "the label it was taught (return, now quintile)"),
        ({"family": "linear"}, "the family linear has no network"),
    ],
)
def test_what_differs_starts_afresh_and_says_what_it_is(own: Bench, panel: Panel, changed: dict, why: str) -> None:
    bench, dataset = taught(own, **changed), data(own, panel, 1)
    found = descent_of(bench, dataset, forecasters.network_hyper(bench, {}))
    assert found.ancestor is None
    assert found.why.endswith(why)


def test_other_widths_features_horizons_and_scales_start_afresh(own: Bench, panel: Panel, tmp_path: Path) -> None:
    dataset = data(own, panel, 1)
    hyper = forecasters.network_hyper(own, {"width": 16})
    assert "network's width (32, now 16)" in descent_of(own, dataset, hyper).why
    hyper = forecasters.network_hyper(own, {})
    fewer = replace(dataset, feature_names=dataset.feature_names[:-1])
    assert "its features" in descent_of(own, fewer, hyper).why
    assert "its horizon (48, now 12)" in descent_of(own, replace(dataset, horizon=12), hyper).why
    features = np.array(dataset.features)
    features[:, :, 3] *= 3.0
    scaled = descent_of(own, replace(dataset, features=features), hyper)
    assert scaled.why.endswith(f"the scaling of {dataset.feature_names[3]}")
    assert descent_of(taught(own, refit="fresh"), dataset, hyper).ancestor is None


def test_a_renewed_calibration_is_the_same_ancestor(own: Bench, panel: Panel, tmp_path: Path) -> None:
    champion = own.registry.champion(FORECASTER)
    assert champion is not None
    card = own.registry.card(FORECASTER, champion)
    shutil.copytree(own.registry.path(FORECASTER, champion), tmp_path / "renewed")
    write_card(
        tmp_path / "renewed", card.model_copy(update={"version": "", "settings": {**card.settings, RENEWS: champion}})
    )
    renewed = own.registry.save(FORECASTER, tmp_path / "renewed")
    own.registry.promote(FORECASTER, renewed, {}, at_ms=3)
    found = descent_of(own, data(own, panel, 1), forecasters.network_hyper(own, {}))
    assert found.ancestor is not None
    assert found.ancestor.version == champion


def test_a_champion_whose_card_does_not_say_what_trained_it_is_no_ancestor(
    own: Bench, panel: Panel, tmp_path: Path
) -> None:
    champion = own.registry.champion(FORECASTER)
    assert champion is not None
    card = own.registry.card(FORECASTER, champion)
    shutil.copytree(own.registry.path(FORECASTER, champion), tmp_path / "old")
    settings = {name: value for name, value in card.settings.items() if name != DESCENT}
    write_card(tmp_path / "old", card.model_copy(update={"version": "", "settings": settings}))
    own.registry.promote(FORECASTER, own.registry.save(FORECASTER, tmp_path / "old"), {}, at_ms=3)
    soon, hyper = data(own, panel, 0.3), forecasters.network_hyper(own, {})
    assert "it has trained on rows that choose the epoch" in descent_of(own, soon, hyper).why
    own.registry.promote(FORECASTER, champion, {}, at_ms=4)
    assert descent_of(own, soon, hyper).ancestor is not None


@pytest.mark.long
def test_a_killed_warm_refit_goes_on_and_ends_the_same(own: Bench, panel: Panel, tmp_path: Path) -> None:
    dataset = data(own, panel, 1)
    shutil.copytree(own.home.root, tmp_path / "other")
    other = replace(own, home=Home(tmp_path / "other", own.home.market))
    whole = candidate(other, build_dataset(other.datasets, dataset.panel, TRAINING)).version
    state = {"final": False, "died": False}

    def dying(stage: str, done: int, total: int) -> None:
        state["final"] |= stage == "final forecaster"
        if state["final"] and stage == "training" and done == 1:
            state["died"] = True
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        candidate(replace(own, progress=dying), dataset)
    assert state["died"]
    assert len(list((dataset.folder / "stages").glob("checkpoint-*.pt"))) == 1
    assert candidate(own, dataset).version == whole
    assert not list((dataset.folder / "stages").glob("checkpoint-*.pt"))


def test_the_sealed_weights_carry_what_they_read(seated: tuple[Bench, Dataset, str]) -> None:
    bench, dataset, champion = seated
    folder = bench.registry.path(FORECASTER, champion)
    found = artifact.warm_state(folder)
    assert found is not None
    assert (found.features, found.horizon_bars, found.heads) == (dataset.feature_names, dataset.horizon, ())
    assert json.loads((folder / artifact.SETTINGS).read_text())["window"]["steps"] == found.shape.steps


def test_after_a_drift_a_warm_refit_is_at_least_as_good_in_a_third_of_the_steps() -> None:
    """What pays turns from one product of features towards another; both refits see the few rows after it alone."""
    from hydra_core.alpha.forecaster.network import NetworkHyper

    rng = np.random.default_rng(5)
    features = rng.normal(size=(9_000, 1, 6)).astype(np.float32)
    one, other = features[:, :, 0] * features[:, :, 1], features[:, :, 2] * features[:, :, 3]
    turned = np.where(np.arange(9_000)[:, None] < 6_000, 0.0, np.pi / 5)
    best = (np.cos(turned) * one + np.sin(turned) * other).astype(np.float64)
    labels = 0.5 * best + rng.normal(size=best.shape)
    recipe = Recipe(NetworkHyper(width=16, layers=1, patch=4, batch_rows=64, epochs=6), shape=WindowShape(4, 1))

    def fit(train: np.ndarray, valid: np.ndarray, start: Any = None) -> Any:
        return fit_family("transformer", features, labels, train, valid, recipe, seed=2, start=start).network

    old = fit(np.arange(10, 5_000), np.arange(5_100, 5_900))
    rows = (np.arange(6_000, 7_200), np.arange(7_300, 7_700))
    fresh, warm = fit(*rows), fit(*rows, start=old.state())
    assert warm.hyper.epochs * 3 == fresh.hyper.epochs
    later = np.arange(7_800, 9_000)
    ic = {
        name: np.corrcoef(made.predict(features, later)[:, 0], best[later, 0])[0, 1]
        for name, made in (("old", old), ("fresh", fresh), ("warm", warm))
    }
    assert ic["warm"] > ic["fresh"] + 0.05
    assert ic["warm"] > ic["old"]
