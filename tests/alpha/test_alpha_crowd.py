"""The crowd model on synthetic markets of known truth, and its artifact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_panel import example_panel

from hydra_core.alpha import crowd
from hydra_core.alpha.crowd import columns
from hydra_core.alpha.crowd.logistic import Logistic, fit
from hydra_core.alpha.crowd.score import average_precision, score_hazard
from hydra_core.alpha.models import Hazard
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import FUNDING, Panel, noise_after
from hydra_core.domain.panel import MAX_LOOKBACK_BARS, build_panel
from hydra_core.research.audit.causality import hazard_ignores_the_future
from hydra_core.research.audit.suite import HISTORY_ROWS
from hydra_core.simulation.synthetic import SyntheticMarket

DAYS = 75


def market_panel(seed: int, signal: float) -> Panel:
    market = SyntheticMarket(seed, signal)
    start, end = market.origin_ms, market.origin_ms + DAYS * DAY_MS
    span = (start, end)
    return build_panel(
        market.pairs,
        Interval.M5,
        start,
        end,
        {pair: market.candles(pair, Interval.M5, *span) for pair in market.pairs},
        {pair: market.funding(pair, *span) for pair in market.pairs},
        {pair: market.open_interest(pair, *span) for pair in market.pairs},
        {pair: market.long_short(pair, *span) for pair in market.pairs},
        None,
    )


@pytest.fixture(scope="module")
def planted() -> Panel:
    return market_panel(31, 0.3)


@pytest.fixture(scope="module")
def candidate(planted: Panel) -> crowd.CrowdCandidate:
    return train(planted)


def train(panel: Panel) -> crowd.CrowdCandidate:
    cut = int(len(panel) * 0.72)
    return crowd.train_crowd(panel, np.arange(cut), np.arange(cut, len(panel)), seed=1)


def test_planted_crowding_is_found_beyond_volatility(candidate: crowd.CrowdCandidate) -> None:
    """Average precision is above volatility's with 99 % confidence, probabilities are honest, the right columns carry it."""
    metrics = candidate.metrics
    assert metrics.ratio_low > 1.0
    assert metrics.ratio > 1.5
    assert metrics.brier_skill > 0
    assert metrics.brier_skill_over_baseline > 0
    assert 0.6 < metrics.calibration_slope < 1.6
    assert metrics.mean_hazard == pytest.approx(metrics.base_rate, rel=0.5)
    model = candidate.artifact.hazard_model
    assert max(zip(model.weights, model.names, strict=True))[1].startswith("funding")


def test_on_a_market_without_crowding_nothing_beats_volatility() -> None:
    """At signal 0 forced exits follow volatility alone: the interval never lies above 1."""
    assert train(market_panel(32, 0.0)).metrics.ratio_low <= 1.0


def test_a_saved_model_serves_what_the_trained_one_did(
    candidate: crowd.CrowdCandidate, planted: Panel, tmp_path: Path
) -> None:
    """From disk the hazards are the same bit for bit, for one row as for many; sides differ; noise ahead changes none."""
    candidate.save(tmp_path)
    served = crowd.load(tmp_path, "v1")
    assert served.version == "v1"
    assert served.inputs == planted.inputs
    assert served.lookback <= MAX_LOOKBACK_BARS
    many = served.hazard(planted, 500)
    trained = candidate.artifact.hazard(planted, 500)
    one = served.hazard(planted.last(served.lookback), 1)
    for side in ("long", "short"):
        np.testing.assert_array_equal(getattr(many, side), getattr(trained, side))
        np.testing.assert_array_equal(getattr(one, side)[0], getattr(many, side)[-1])
    assert np.isfinite(many.long).all()
    assert not np.array_equal(many.long, many.short)
    ahead = served.hazard(noise_after(planted, len(planted) - 3, np.random.default_rng(1)), 500)
    np.testing.assert_array_equal(ahead.long[:-3], many.long[:-3])
    assert isinstance(many, Hazard)


@pytest.mark.long
def test_a_hazard_does_not_know_the_future_at_two_hundred_cuts(
    candidate: crowd.CrowdCandidate, planted: Panel, tmp_path: Path
) -> None:
    """As the audit of a candidate judges it, at as many rows as a history's; bit for bit, so there is no tolerance."""
    candidate.save(tmp_path)
    served = crowd.load(tmp_path, "v1")
    assert np.isfinite(served.hazard(planted, 500).long).all()
    assert hazard_ignores_the_future(served, planted, rows=HISTORY_ROWS).clean


def test_a_saved_model_can_be_judged_on_other_rows(candidate: crowd.CrowdCandidate, planted: Panel) -> None:
    """Judged on its validation rows again it gets the same figures as when it was trained."""
    cut = int(len(planted) * 0.72)
    rows = np.arange(cut, len(planted))
    again = crowd.evaluate_crowd(candidate.artifact, planted, rows, candidate.train_base_rate, seed=1)
    assert again.to_json() == pytest.approx(candidate.metrics.to_json())


def test_training_rows_next_to_validation_rows_are_dropped(planted: Panel) -> None:
    """Rows within two horizons of a validation row may hold its label: handing them in changes nothing."""
    cut = int(len(planted) * 0.72)
    valid = np.arange(cut, len(planted))
    with_near = crowd.train_crowd(planted, np.arange(cut), valid, seed=1)
    without = crowd.train_crowd(planted, np.arange(cut - 96), valid, seed=1)
    assert with_near.artifact.hazard_model == without.artifact.hazard_model


def test_inputs_that_are_not_there_are_said_so(candidate: crowd.CrowdCandidate) -> None:
    bare = example_panel(2, 2100, inputs=frozenset({FUNDING}))
    with pytest.raises(InputMissing, match=r"long_short.*open_interest|open_interest.*long_short"):
        candidate.artifact.hazard(bare, 1)
    with pytest.raises(InputMissing, match="open interest"):
        train(bare)


@pytest.mark.parametrize("field", ["close", "open_interest", "funding_rate", "long_short"])
def test_a_missing_bar_or_an_input_without_numbers_silences_its_pair_and_no_other(field: str) -> None:
    """Every column that the model may have is asked: a hazard is NaN there, which is an abstention, never a number."""
    names = tuple(column.name for column in columns.columns())
    every = Logistic(names, (0.0,) * len(names), (1.0,) * len(names), (0.02,) * len(names), -4.0)
    market = example_panel(3, max(column.lookback for column in columns.columns()) + 50)
    model = crowd.CrowdArtifact("v", 48, every, every, {str(pair): -6.5 for pair in market.pairs})
    values = getattr(market, field).copy()
    values[-1:, 1] = np.nan  # not known now
    if field != "close":
        values[:, 2] = np.nan  # never known
    said = model.hazard(replace(market, **{field: values}), 1)
    silent = [False, True, field != "close"]
    np.testing.assert_array_equal(np.isnan(said.long[0]), silent)
    np.testing.assert_array_equal(np.isnan(said.short[0]), silent)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', "not json"])
def test_a_broken_artifact_is_an_empty_seat(text: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactInvalid):
        crowd.load(tmp_path, "v")
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ArtifactInvalid):
        crowd.load(tmp_path, "v")


def test_an_artifact_of_a_format_before_is_refused_with_what_to_do(
    candidate: crowd.CrowdCandidate, tmp_path: Path
) -> None:
    """The first's map took no habits from its training rows, the second's looked back five days; read by this version's map,
    their columns would mean something else."""
    plain = json.loads(candidate.save(tmp_path).read_text())
    for before in (1, 2):
        (tmp_path / "model.json").write_text(json.dumps({**plain, "format": before}))
        with pytest.raises(ArtifactInvalid, match=f"format {before}, this version reads 3") as refused:
            crowd.load(tmp_path, "v")
        assert refused.value.remedy == "Train it again"
    del plain["habits"]
    (tmp_path / "model.json").write_text(json.dumps(plain))
    with pytest.raises(ArtifactInvalid, match="habits"):
        crowd.load(tmp_path, "v")


def test_an_altered_column_name_is_an_empty_seat(candidate: crowd.CrowdCandidate, tmp_path: Path) -> None:
    plain = json.loads(candidate.save(tmp_path).read_text())
    plain["hazard"]["names"][0] = "moon_phase"
    (tmp_path / "model.json").write_text(json.dumps(plain))
    with pytest.raises(ArtifactInvalid, match="moon_phase"):
        crowd.load(tmp_path, "v")


def test_average_precision_has_its_known_values() -> None:
    """Perfect order 1, worst order by hand, ties the base rate, and the reference library in between."""
    from sklearn.metrics import average_precision_score

    label = np.array([1.0, 1.0, 0.0, 0.0])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), label) == 1.0
    assert average_precision(np.array([1.0, 2.0, 3.0, 4.0]), label) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision(np.zeros(4), label) == 0.5
    rng = np.random.default_rng(3)
    score, label = rng.integers(0, 40, 500).astype(float), (rng.random(500) < 0.1).astype(float)
    assert average_precision(score, label) == pytest.approx(average_precision_score(label, score), rel=1e-12)


def test_a_logistic_fit_recovers_a_known_hazard() -> None:
    """With p = sigmoid(w x) at 60,000 rows the weights are found, and two scores of equal worth have a ratio about 1."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60_000, 2))
    truth = 1 / (1 + np.exp(-(-3.0 + 1.0 * x[:, 0])))
    label = (rng.random(60_000) < truth).astype(float)
    found = fit(("a", "b"), x, label, ridge=1.0)
    assert found.weights[0] / found.scale[0] == pytest.approx(1.0, abs=0.06)
    assert abs(found.weights[1]) < 0.06
    day = np.arange(60_000) // 500
    noisy = [1 / (1 + np.exp(-(-3.0 + x[:, 0] + rng.normal(0, 0.5, 60_000)))) for _ in range(2)]
    metrics = score_hazard(noisy[0], noisy[1], label, day, float(label.mean()), 1.0, seed=0)
    assert metrics.ratio_low < 1 < metrics.ratio_high
    assert Logistic.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(InputMissing, match="forced exits in"):
        fit(("a",), x[:100, :1], np.zeros(100), 1.0)
