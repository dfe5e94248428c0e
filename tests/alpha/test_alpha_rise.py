"""The chance of a rise: against a reference regression, where only the sign can be told, on noise, and through its files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from walk_panel import walk

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration
from hydra_core.alpha.forecaster.families import Recipe, fit_family
from hydra_core.alpha.forecaster.rise import RiseModel, fit_rise, logistic_path, voice_weights
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.research.evaluation import correlation, rise_skill

ROWS = 24_000
TRAIN, VALID, TEST = np.arange(0, 13_000), np.arange(13_100, 16_000), np.arange(16_100, ROWS)


def skewed(seed: int, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (T, 1, 4), returns of mean 0 whatever the features, and the chance that they are positive."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, 4)).astype(np.float32)
    chance = expit(strength * (x[:, 0] + np.where(x[:, 1] > 1.0, x[:, 2], 0.0)))
    rose = rng.random(ROWS) < chance
    # Wins are as much smaller as they are more frequent.
    size = np.where(rose, 1.0 - chance, chance) * rng.exponential(2.0, ROWS)
    return x[:, None, :], np.where(rose, size, -size)[:, None], chance[:, None]


def gained(chance: np.ndarray, labels: np.ndarray) -> float:
    return rise_skill(chance, labels, np.arange(len(labels)) // 288).value


def test_ridge_logistic_regression_is_that_of_the_reference_library() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.standard_normal((4_000, 5)) @ rng.standard_normal((5, 5))
    rose = rng.random(4_000) < expit(x @ np.array([0.4, -0.2, 0.0, 0.1, 0.3]) + 0.2)
    found = logistic_path(x, rose, (0.3, 0.03))
    assert list(found) == [0.3, 0.03]
    for penalty, (slopes, bias) in found.items():
        # Their loss is a sum with |w|^2 / 2, ours a mean with penalty / 8 |w|^2.
        other = LogisticRegression(C=4.0 / (penalty * len(x)), tol=1e-10, max_iter=1_000).fit(x, rose)
        assert_allclose(slopes, other.coef_[0], atol=2e-3)
        assert bias == pytest.approx(other.intercept_[0], abs=2e-3)


def test_a_sign_is_told_where_no_mean_return_is() -> None:
    features, labels, chance = skewed(2, 0.35)
    made = fit_rise(features, labels, TRAIN, VALID, seed=1)
    said = made.chance(features, TEST)
    best = gained(chance[TEST], labels[TEST])
    assert best > 0.015
    assert gained(said, labels[TEST]) > 0.85 * best
    assert made.trees_weight > 0
    # The same rows have no mean to forecast: a chance made of a forecast of the mean knows next to nothing.
    mean = fit_family("linear", features, labels, TRAIN, VALID, Recipe(), seed=1).predict(features, TEST)
    assert abs(correlation(mean, labels[TEST])) < 3 / math.sqrt(TEST.size)


def test_on_noise_the_chance_stays_near_one_half() -> None:
    lost = []
    for seed in range(6):
        features, labels, _ = skewed(10 + seed, 0.0)
        said = fit_rise(features, labels, TRAIN, VALID, seed=1).chance(features, TEST)
        lost.append(gained(said, labels[TEST]))
        assert np.abs(said - 0.5).max() < 0.1
    assert -0.001 < np.mean(lost) < 0.0005


def test_voices_are_weighed_by_what_they_add() -> None:
    rng = np.random.default_rng(3)
    words = rng.standard_normal((40_000, 2)) * 0.2
    rose = rng.random(40_000) < expit(1.5 * words[:, 0])
    weights = voice_weights(words, rose, towards_equal=0.0)
    assert weights[0] == pytest.approx(1.5, abs=0.15)
    assert weights[1] < 0.15
    drawn = voice_weights(words, rose, towards_equal=1e6)
    assert_allclose(drawn, 0.5, atol=1e-3)
    against = voice_weights(-words, rose, towards_equal=0.0)
    assert against[0] == 0.0


def test_it_is_silent_where_a_feature_is_missing_and_refuses_too_few_signs() -> None:
    features, labels, _ = skewed(4, 0.3)
    made = fit_rise(features, labels, TRAIN, VALID, seed=1)
    gap = features.copy()
    gap[TEST[3], 0, 2] = np.nan
    said = made.chance(gap, TEST[:6])
    assert list(np.isnan(said[:, 0])) == [False, False, False, True, False, False]
    with pytest.raises(InputMissing, match="known signs"):
        fit_rise(features, labels, TRAIN[:900], VALID, seed=1)
    flat = labels.copy()
    flat[TRAIN] = 0.0
    with pytest.raises(InputMissing, match="0 known signs"):
        fit_rise(features, flat, TRAIN, VALID, seed=1)


def test_a_seed_repeats_it_and_its_files_bring_it_back(tmp_path: Path) -> None:
    chosen = FeatureSet(("return_1", "return_12", "hour_sin"))
    panel = walk(2, 6_000)
    features = chosen.compute(panel)
    rng = np.random.default_rng(0)
    labels = 0.3 * np.nan_to_num(features[:, :, 1]) + rng.standard_normal(features.shape[:2])
    train, valid = np.arange(600, 4_000), np.arange(4_100, 5_000)
    made = fit_rise(features, labels, train, valid, seed=5)
    again = fit_rise(features, labels, train, valid, seed=5)
    rows = np.arange(5_900, 6_000)
    said = made.chance(features, rows)
    assert np.array_equal(said, again.chance(features, rows))
    model = fit_family("linear", features, labels, train, valid, Recipe(), seed=1)
    calibration = Calibration(1.0, 5.0, np.linspace(-3, 3, LEVELS.size), 1.0, 0.0, 0.0014)
    artifact.write(tmp_path, model, chosen.names, calibration, 12, rise=made)
    sealed = artifact.load(tmp_path, "v1")
    newest = sealed.chance(panel, 100)
    assert newest is not None
    assert_allclose(newest, said, atol=1e-12)
    for name in (artifact.RISE, artifact.RISE_TREES):
        kept = (tmp_path / name).read_text()
        (tmp_path / name).write_text("{}")
        with pytest.raises(ArtifactInvalid, match="cannot be loaded"):
            artifact.load(tmp_path, "v1")
        (tmp_path / name).write_text(kept)
    settings = json.loads((tmp_path / artifact.SETTINGS).read_text())
    del settings["rise"]
    (tmp_path / artifact.SETTINGS).write_text(json.dumps(settings))
    assert artifact.load(tmp_path, "v1").chance(panel, 1) is None
    with pytest.raises(ValueError, match="finite slopes"):
        RiseModel.from_dict(made.to_dict() | {"slopes": [math.nan] * 3}, made.text)
