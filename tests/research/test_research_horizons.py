"""The horizon is chosen by what is left after costs, on training rows alone, and every one looked at is a trial."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Panel, noise_after
from hydra_core.home import Home
from hydra_core.research import forecasters, horizons, lessons
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import Dataset, build_dataset, open_dataset
from hydra_core.research.trials import trials_of
from hydra_core.risk.limits import Limits
from hydra_core.settings import CostSettings, ForecasterSettings, TrainingSettings

TRAINING = TrainingSettings(
    candles=17_280, folds=2, forecaster_trials=1, stride_bars=3, horizon_bars=12,
    forecaster=ForecasterSettings(family="linear", horizons=(6, 48)),
)  # fmt: skip
Made = tuple[Bench, Dataset, Panel]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    panel, _ = planted_panel(22, 60, 0.4, pairs=4)
    home = Home(tmp_path_factory.mktemp("home"), "synthetic-22-0.4").create()
    bench = Bench(home, "binanceusdm", panel.pairs, TRAINING, Limits(horizon_bars=12))
    return bench, build_dataset(bench.datasets, panel, TRAINING), panel


def test_a_short_horizon_cannot_carry_the_costs_and_the_long_one_is_taken(made: Made) -> None:
    bench, dataset, _ = made
    best = horizons.at_best(bench, dataset)
    assert best.horizon == 48
    tried = {line["horizon"]: line for line in best.horizons["tried"]}
    assert set(tried) == {6, 12, 48}
    assert tried[48]["daily_bp"] - tried[48]["error_bp"] > 0
    assert tried[48]["daily_bp"] > tried[6]["daily_bp"]
    assert tried[48]["break_even"] < tried[6]["break_even"] / 2
    assert len(trials_of(bench.home.studies, best.horizons["study"])) == 3
    again = horizons.at_best(bench, dataset)
    assert again.version == best.version
    assert open_dataset(bench.datasets, best.version).summary()["horizons"] == list(best.horizons["tried"])
    study = forecasters.sweep_forecaster(bench, best)
    assert study.trials == 1 + 3, "a horizon that was looked at counts where skill is deflated"
    assert bench.at_horizon(best.horizon).limits.horizon_bars == 48
    assert bench.at_horizon(12) is bench


def test_without_a_list_nothing_is_chosen(made: Made) -> None:
    bench, dataset, _ = made
    plain = replace(bench, training=TRAINING.model_copy(update={"forecaster": ForecasterSettings()}))
    assert horizons.at_best(plain, dataset) is dataset


def test_the_choice_knows_nothing_of_what_comes_after_the_training_rows(made: Made, tmp_path: Path) -> None:
    bench, dataset, panel = made
    first = horizons.choose(bench, dataset, (6, 48))
    end = min(
        dataset.folds.folds[0].test.start,
        build_dataset(tmp_path, panel, TRAINING.model_copy(update={"horizon_bars": 48})).folds.folds[0].test.start,
    )
    noisy = build_dataset(tmp_path, noise_after(panel, end - 1, np.random.default_rng(1)), TRAINING)
    assert horizons.choose(bench, noisy, (6, 48))["tried"] == first["tried"]


def test_where_costs_eat_everything_the_horizon_of_the_settings_stays(made: Made) -> None:
    bench, dataset, _ = made
    dear = replace(bench, limits=Limits(costs=CostSettings(taker_fee_bp=500.0), horizon_bars=12))
    chosen = horizons.choose(dear, dataset, (6, 48))
    assert chosen["horizon"] == 12
    assert all(line["traded"] == 0.0 for line in chosen["tried"])
    with pytest.raises(InputMissing):
        horizons.choose(bench, dataset, (48, 4_000))


@pytest.mark.parametrize("label", ["barrier", "quintile"])
def test_other_labels_and_weights_go_the_whole_way_and_the_card_names_them(made: Made, label: str) -> None:
    bench, dataset, _ = made
    chosen = ForecasterSettings(family="linear", label=label, weights="uniqueness")
    bench = replace(bench, training=TRAINING.model_copy(update={"forecaster": chosen}))
    target, weights = lessons.lesson(dataset, chosen, dataset.folds.final.train.rows(3))
    assert weights is not None
    rows = dataset.folds.final.train.rows(3)
    assert weights[rows][np.isfinite(target[rows])].mean() == pytest.approx(1.0)
    if label == "barrier":
        assert weights[rows].std() > 0.05, "what is touched sooner runs beside fewer others"
    study = forecasters.sweep_forecaster(bench, dataset)
    candidate = forecasters.train_forecaster_candidate(bench, dataset, study)
    assert candidate.metrics["walk_forward_correlation"] > 0.1
    card = json.loads((bench.registry.path("forecaster", candidate.version) / "card.json").read_text())
    said = card["settings"]["taught"]
    assert said["weights"] == "uniqueness"
    assert said["label"].split()[0] == label
    assert lessons.lesson(dataset, ForecasterSettings(), rows)[0] is dataset.label
