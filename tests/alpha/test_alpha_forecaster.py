"""The forecaster: windows, ridge, calibration, training, the sealed artifact."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from walk_panel import walk

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.artifact import SealedForecaster, to_forecast
from hydra_core.alpha.forecaster.calibration import Calibration, fit_calibration
from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.forecaster.windows import WindowShape, common_weight, usable_rows
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.market import Panel, noise_after
from hydra_core.research.audit.causality import forecast_ignores_the_future
from hydra_core.research.audit.suite import HISTORY_ROWS

HORIZON = 48
SHAPE = WindowShape(steps=8, stride=2)


def correlated(rng: np.random.Generator, rows: int, pairs: int, common: float) -> np.ndarray:
    shared = rng.normal(size=(rows, 1))
    return np.sqrt(common) * shared + np.sqrt(1 - common) * rng.normal(size=(rows, pairs))


def test_a_window_ends_with_its_row_and_keeps_the_stride() -> None:
    features = np.arange(40, dtype=np.float32)[:, None, None] + np.zeros((1, 2, 3), np.float32)
    windows = SHAPE.gather(features, np.array([14, 30]))
    assert windows.shape == (2, 2, 8, 3)
    assert_array_equal(windows[0, 1, :, 2], np.arange(0, 16, 2))
    assert_array_equal(windows[1, 0, -1], [30, 30, 30])
    with pytest.raises(IndexError):
        SHAPE.gather(features, np.array([13]))


def test_one_missing_feature_makes_every_window_over_it_unusable() -> None:
    features = np.zeros((60, 2, 3), np.float32)
    features[20, 1, 0] = np.nan
    usable = usable_rows(features, SHAPE)
    assert usable[14:, 0].all()
    assert not usable[:14].any()
    assert_array_equal(np.flatnonzero(~usable[14:, 1]) + 14, np.arange(20, 36, 2))


def test_the_common_move_is_weighted_down_by_its_variance() -> None:
    labels = correlated(np.random.default_rng(0), 20_000, 8, 0.6)
    assert common_weight(labels) == pytest.approx(np.sqrt(0.4 / (1 + 7 * 0.6)), rel=0.03)
    assert common_weight(labels[:, :1]) == 1.0


def test_ridge_recovers_a_planted_direction_through_a_common_shock() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(6_000, 8, 12)).astype(np.float32)
    signal = 0.25 * features[:, :, 3].astype(float)
    labels = signal + correlated(rng, 6_000, 8, 0.7)
    model = fit_linear(features, labels, np.ones((6_000, 8), bool), np.arange(0, 4_000), np.arange(4_200, 6_000))
    predicted = model.predict(features, np.arange(6_000))
    assert np.corrcoef(predicted.ravel(), signal.ravel())[0, 1] > 0.97
    with pytest.raises(InputMissing, match="usable training values"):
        fit_linear(features, np.full_like(labels, np.nan), np.ones((6_000, 8), bool), np.arange(100), np.arange(100))


def fitted(seed: int, signal: float, days: int = 60) -> Calibration:
    rng = np.random.default_rng(seed)
    rows = days * 48
    raw = 0.3 * rng.normal(size=(rows, 4))
    realised = signal / 0.3 * raw + np.sqrt(1 - signal**2) * correlated(rng, rows, 4, 0.5)
    adverse = np.abs(rng.normal(size=(rows, 4)))
    sigma = np.full((rows, 4), 0.012)
    return fit_calibration(raw, realised, adverse, adverse, sigma, np.repeat(np.arange(days), 48), 0.0014)


def test_noise_calibrates_to_a_confidence_that_is_never_acted_on() -> None:
    acted = [fitted(seed, 0.0).confidence(np.linspace(-1.2, 1.2, 50), np.full(50, 0.012)).max() for seed in range(60)]
    assert np.mean(np.array(acted) >= 0.6) <= 0.05
    assert np.mean([fitted(seed, 0.0).slope == 0.0 for seed in range(60)]) > 0.7


def test_skill_calibrates_to_its_own_probability() -> None:
    calibration = fitted(3, 0.3)
    assert calibration.slope == pytest.approx(1.0, abs=0.25)
    sigma = np.full(1, 0.012)
    expected = 0.5 * (1 + np.vectorize(math.erf)((0.6 - 0.0014 / 0.012) / np.sqrt(2)))
    assert calibration.confidence(np.array([0.6]), sigma)[0] + calibration.margin == pytest.approx(expected, abs=0.05)


def test_confidence_keeps_its_word_on_few_days_more_often_than_not() -> None:
    """The standard error is taken off: five sixths of the calibrations of a few weeks promise no more than the truth holds."""
    calibrations = [fitted(seed, 0.3, days=40) for seed in range(60)]
    truth = 0.5 * (1 + math.erf((0.3 - 0.0014 / 0.012) / np.sqrt(2 * (1 - 0.3**2))))
    said = np.array([each.confidence(np.array([0.3]), np.full(1, 0.012))[0] for each in calibrations])
    assert (said <= truth).mean() > 0.7
    assert np.mean([each.margin for each in calibrations]) > np.mean([fitted(s, 0.3, 160).margin for s in range(20)])


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.002, 0.05))
def test_confidence_rises_with_the_size_of_the_forecast(a: float, b: float, sigma: float) -> None:
    small, large = sorted((a, b), key=abs)
    low, high = CALIBRATED.confidence(np.array([small, large]), np.full(2, sigma))
    assert 0 <= low <= high <= 1


CALIBRATED = fitted(5, 0.3)


def test_calibration_survives_the_file_and_unknown_stays_unknown() -> None:
    again = Calibration.from_dict(CALIBRATED.to_dict())
    raw, sigma = np.array([[0.4, np.nan, 0.1]]), np.array([[0.002, 0.002, np.nan]])
    one, two = (to_forecast(raw, sigma, each, HORIZON) for each in (CALIBRATED, again))
    assert_array_equal(one.confidence, two.confidence)
    assert_array_equal(np.isnan(one.expected_return), [[False, True, True]])
    assert one.expected_return[0, 0] == pytest.approx(CALIBRATED.slope * 0.4 * 0.002 * np.sqrt(48))
    with pytest.raises(ValueError, match="quantiles"):
        Calibration.from_dict({**CALIBRATED.to_dict(), "residuals": [0.0]})


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Panel, np.ndarray]:
    """An artifact over candle features of a random walk, and what torch says on its rows."""
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import train_forecaster

    panel = walk(2, 3_200)
    chosen = FeatureSet(("return_1", "return_12", "vol_ratio_12_288", "hour_sin"))
    features = chosen.compute(panel)
    planted = 0.4 * np.nan_to_num(features[:, :, 1].astype(float)) * np.sign(np.nan_to_num(features[:, :, 0]))
    labels = planted + np.random.default_rng(0).normal(size=planted.shape)
    hyper = NetworkHyper(width=16, layers=1, epochs=2, batch_rows=32)
    model = train_forecaster(
        features, labels, np.arange(2_100, 2_800, 2), np.arange(2_850, 3_150, 2), hyper, seed=1
    )  # fmt: skip
    assert model.losses[model.kept_epoch] == min(model.losses)
    folder = tmp_path_factory.mktemp("artifact")
    artifact.write(folder, model, chosen.names, CALIBRATED, HORIZON)
    return folder, panel, model.predict(features, np.arange(3_000, 3_200))


def test_the_artifact_says_what_training_saw_and_live_says_what_the_backtest_says(
    sealed: tuple[Path, Panel, np.ndarray],
) -> None:
    folder, panel, said = sealed
    model = artifact.load(folder, "v1")
    columns = model.features.compute(panel)
    assert_allclose(model.raw(columns, np.arange(3_000, 3_200)), said, atol=1e-5)
    whole = model.forecast(panel, 300)
    live = model.forecast(panel.last(model.lookback), 1)
    for name in ("expected_return", "confidence", "adverse_excursion", "volatility"):
        assert_allclose(getattr(live, name)[-1], getattr(whole, name)[-1], rtol=1e-5, atol=1e-9)


def test_a_forecast_does_not_know_the_future(sealed: tuple[Path, Panel, np.ndarray]) -> None:
    model: SealedForecaster = artifact.load(sealed[0], "v1")
    panel = sealed[1]
    noisy = noise_after(panel, 3_100, np.random.default_rng(3))
    before, after = model.forecast(panel, 300), model.forecast(noisy, 300)
    assert_array_equal(before.expected_return[:200], after.expected_return[:200])
    assert (before.expected_return[200:] != after.expected_return[200:]).any()


@pytest.mark.long
def test_a_forecast_does_not_know_the_future_at_two_hundred_cuts(sealed: tuple[Path, Panel, np.ndarray]) -> None:
    """As the audit of a candidate judges it, at as many rows as a history's; bit for bit, so there is no tolerance."""
    model = artifact.load(sealed[0], "v1")
    assert np.isfinite(model.forecast(sealed[1], len(sealed[1]) - model.lookback).expected_return).all()
    assert forecast_ignores_the_future(model, sealed[1], rows=HISTORY_ROWS).clean


def test_a_gap_silences_the_pair_it_is_in_and_no_other(sealed: tuple[Path, Panel, np.ndarray]) -> None:
    model = artifact.load(sealed[0], "v1")
    panel = sealed[1].last(2_500)
    close = panel.close.copy()
    close[-5, 1] = np.nan
    from dataclasses import replace

    said = model.forecast(replace(panel, close=close), 1).expected_return[0]
    assert np.isnan(said[1])
    assert np.isfinite(said[[0, 2]]).all()


@pytest.mark.parametrize("spoil", ["model.onnx", "forecaster.json"])
def test_a_damaged_folder_is_refused(sealed: tuple[Path, Panel, np.ndarray], tmp_path: Path, spoil: str) -> None:
    for file in sealed[0].iterdir():
        (tmp_path / file.name).write_bytes(b"{}" if file.name == spoil else file.read_bytes())
    with pytest.raises(ArtifactInvalid, match="cannot be loaded"):
        artifact.load(tmp_path, "v1")
