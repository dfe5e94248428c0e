"""Figures that inform and decide nothing: what they say of data whose truth is known, and that they reach the reader."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha.models import Forecast
from hydra_core.domain.errors import InputMissing
from hydra_core.research import information
from hydra_core.research.bench import Candidate, Validation
from hydra_core.research.dataset import Dataset, build_dataset
from hydra_core.research.evaluation import rank_correlation
from hydra_core.research.folds import Span
from hydra_core.research.metrics import DAYS_A_YEAR, psr
from hydra_core.settings import Settings, TrainingSettings

HORIZON = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    training = TrainingSettings(candles=12_000, folds=2)
    panel, _ = planted_panel(41, 42, 0.3, pairs=3)
    return build_dataset(tmp_path_factory.mktemp("data"), panel, training)


def test_the_rank_correlation_and_its_error_on_overlapping_labels() -> None:
    rng = np.random.default_rng(1)
    found, errors = [], []
    for _ in range(150):
        noise = rng.normal(size=(1_011, 2)).cumsum(axis=0)
        labels = noise[HORIZON - 1 :] - np.vstack([np.zeros((1, 2)), noise[:-HORIZON]])
        said = rng.normal(size=(1_011, 2)).cumsum(axis=0)
        said = (said[HORIZON - 1 :] - np.vstack([np.zeros((1, 2)), said[:-HORIZON]]))[: len(labels)]
        value, error = rank_correlation(said, labels, 2 * HORIZON)
        found.append(value)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.2)
    assert np.std(found) > 2 / math.sqrt(2_000), "as independent rows the error would be half of it"
    x = rng.normal(size=(300, 1))
    assert rank_correlation(x, np.exp(x), 1)[0] == pytest.approx(1.0)
    x[::7] = np.nan
    assert rank_correlation(x, -(x**3), 1)[0] == pytest.approx(-1.0)
    with pytest.raises(InputMissing):
        rank_correlation(x[:50], x[:50], 1)


def told(confidence: np.ndarray) -> Forecast:
    up = np.full(confidence.shape, 0.01)
    return Forecast(expected_return=up, confidence=confidence, adverse_excursion=up, volatility=up)


def test_honest_confidences_are_told_from_bold_ones() -> None:
    rng = np.random.default_rng(2)
    rows, days = 16_000, np.arange(16_000) // 288
    true = rng.uniform(0.3, 0.7, (rows, 3))
    came = np.where(rng.random(true.shape) < true, 0.02, -0.02)
    honest = information.calibration_lines(told(true), came, 0.001, days, 1, 6_000)
    assert honest["calibration_slope"]["low"] < 1.0 < honest["calibration_slope"]["high"]
    assert honest["brier_skill"]["low"] > 0
    odds = np.log(true / (1 - true))
    bold = information.calibration_lines(told(1 / (1 + np.exp(-3 * odds))), came, 0.001, days, 1, 6_000)
    assert bold["calibration_slope"]["high"] < 0.5
    assert bold["calibration_error"]["low"] > honest["calibration_error"]["high"]
    assert bold["brier_skill"]["high"] < honest["brier_skill"]["low"]
    assert information.calibration_lines(told(true[:150]), came[:150], 0.001, days[:150], 1, 140) == {}
    silent = replace(told(true), expected_return=np.zeros(true.shape))
    assert information.calibration_lines(silent, came, 0.001, days, 1, 6_000) == {}
    assert information.calibration_lines(told(true), np.full(came.shape, -0.02), 0.001, days, 1, 6_000) == {}


def test_the_track_is_told_beside_the_length_that_it_needs() -> None:
    rng = np.random.default_rng(3)
    daily = rng.normal(0.0015, 0.01, 300)
    copies = np.stack([daily, daily + 1e-5 * rng.normal(size=300), rng.normal(size=300)], axis=1)
    lines = information.track_lines(daily, copies, 45)
    need = lines["min_track_days"]["value"]
    assert psr(np.resize(daily, math.ceil(need / 300 + 1) * 300)) > 0.95
    assert (need < 300) == (psr(daily) > 0.95)
    assert lines["track_days"]["value"] == 300
    assert lines["effective_trials"]["value"] == 2
    assert "of 3 that were traded; the gates count 45" in lines["effective_trials"]["note"]
    assert lines["min_backtest_years"]["value"] == pytest.approx(5.0, abs=0.01)
    lost = information.track_lines(-daily, copies, 45)["min_track_days"]
    assert lost["value"] is None
    assert "no length would do" in lost["note"]


def test_volatility_is_judged_beside_the_random_walk_and_a_log_har(dataset: Dataset) -> None:
    panel, first = dataset.panel, 8_100
    square = np.diff(np.log(panel.close), axis=0, prepend=np.log(panel.close[:1])) ** 2
    ahead = np.full(square.shape, np.nan)
    ahead[:-HORIZON] = np.stack([square[at + 1 : at + 1 + HORIZON].sum(axis=0) for at in range(len(square) - HORIZON)])
    wild = np.exp(np.random.default_rng(4).normal(size=ahead.shape))
    said = {"knows": np.sqrt(ahead), "wild": np.sqrt(np.nanmean(ahead) * wild)}
    rows = {row["forecast"]: row for row in information.volatility_lines(panel, said, HORIZON, 6_000, first)}
    assert set(rows) == {"knows", "wild", "random walk", "log-HAR"}
    assert rows["knows"]["QLIKE"] < rows["log-HAR"]["QLIKE"] < rows["wild"]["QLIKE"]
    assert rows["log-HAR"]["DM t against random walk"] > 3
    assert rows["wild"]["DM t against log-HAR"] < -3
    assert rows["random walk"]["p against random walk"] is None
    assert [name for name, row in rows.items() if row["among the best"] == "yes"] == ["knows"]
    assert information.volatility_lines(panel, said, HORIZON, 6_000, len(panel) - 100) == []
    changed = replace(panel, close=np.where(np.arange(len(panel))[:, None] < 6_000, panel.close, panel.close * 2))
    again = information.volatility_lines(changed, {}, HORIZON, 6_000, first)
    assert again[1]["QLIKE"] == pytest.approx(rows["log-HAR"]["QLIKE"]), (
        "the autoregression is fitted on what came before"
    )


def test_paths_are_of_development_alone_and_say_how_much_the_ic_hangs_on_the_part(dataset: Dataset) -> None:
    found = information.combinatorial_paths(dataset)
    assert found is not None
    assert (len(found.by_path), len(found.by_split)) == (5, 15)
    assert 0.1 < min(found.by_path) <= max(found.by_path) < 0.6
    assert np.std(found.by_path) < np.std(found.by_split)
    after = dataset.folds.development.end
    features, label = np.array(dataset.features), dataset.label.copy()
    features[after:], label[after:] = 9.0, -9.0
    changed = replace(dataset, features=features)
    changed.__dict__["label"] = label
    assert information.combinatorial_paths(changed) == found
    short = replace(dataset, folds=replace(dataset.folds, warm_up=after - 600))
    assert short.folds.development == Span(after - 600, after)
    assert information.combinatorial_paths(short) is None


def test_the_tables_come_back_from_a_file_in_their_order(tmp_path: Path) -> None:
    from hydra_core.alpha.registry import Card
    from hydra_core.report.research import Research
    from hydra_core.report.sections import research_sections
    from hydra_core.research.dataset import remembered
    from hydra_core.research.modelreport import card_facts, write_report

    daily = np.random.default_rng(5).normal(0.001, 0.01, 200)
    lines = information.track_lines(daily, daily[:, None], 3)
    rows = [
        {"forecast": information.OWN, "QLIKE": 0.3, "DM t against random walk": 2.0, "p against random walk": 0.04,
         "DM t against log-HAR": None, "p against log-HAR": None, "among the best": "yes"}
    ]  # fmt: skip

    def kept() -> dict:
        return remembered(tmp_path / "kept", lambda: {"figures": lines, "volatility": rows})

    one, two = (information.gathered(each["figures"], each["volatility"]) for each in (kept(), kept()))
    assert [list(row) for rows in one.tables.values() for row in rows] == [
        list(row) for rows in two.tables.values() for row in rows
    ]
    assert one.metrics["qlike_candidate"] == 0.3
    assert one.metrics["track_days"] / DAYS_A_YEAR == pytest.approx(200 / 365)
    card = Card(
        kind="forecaster", inputs=("candles",), lookback=9, horizon_bars=48,
        settings={information.PATHS: information.Paths((0.1, 0.2), (0.05, 0.3)).to_json()},
    )  # fmt: skip
    assert "IC 0.100, 0.200 over 2 paths" in card_facts(card)["ridge over combinatorial paths"]
    assert "never a gate" in card_facts(card)["ridge over combinatorial paths"]
    report = [{"kind": "forecaster", "version": "", "passed": False, "gates": [], "further": one.tables}]
    shown = research_sections(None, Research(candidates=report), Settings())[0].tables
    assert [table.title for table in shown[1:]] == [f"forecaster: {name}" for name in information.FURTHER]
    assert shown[2].rows == [tuple(rows[0].values())]
    seen = replace(Validation.none(Candidate("forecaster", "", "d")), tables=one.tables)
    page = write_report(card, seen).decode()
    assert "volatility (no gate)" in page
    assert "trials that differ" in page
    assert "None" not in page
