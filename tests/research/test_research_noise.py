"""The claim that HYDRA refuses to make: high accuracy on noise, which a shuffled split gives and an honest one takes away."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.research.dataset import WINDOW
from hydra_core.research.evaluation import skill
from hydra_core.research.folds import walk_forward
from hydra_core.research.outofsample import calibrated

HORIZON = 48
BARS = 20_000


@pytest.fixture(scope="module")
def noise() -> Panel:
    """A driftless Gaussian random walk: there is nothing to predict."""
    rng = np.random.default_rng(20)
    path = np.cumsum(0.0005 * rng.normal(size=BARS * 20)).reshape(BARS, 1, 20)
    close = 100 * np.exp(path[:, :, -1])
    opened = np.vstack([np.full((1, 1), 100.0), close[:-1]])
    none = np.full(close.shape, np.nan)
    return Panel(
        DEFAULT_PAIRS[:1], Interval.M5, 1_717_200_000_000 + 300_000 * np.arange(BARS, dtype=np.int64), opened,
        np.maximum(100 * np.exp(path.max(axis=2)), opened), np.minimum(100 * np.exp(path.min(axis=2)), opened), close,
        rng.lognormal(3, 0.3, close.shape), none, none, none, none, none, frozenset({CANDLES}),
    )  # fmt: skip


def test_a_shuffled_split_finds_ninety_per_cent_on_noise(noise: Panel) -> None:
    """Overlapping labels and level features: the neighbours of a test row are in the training set and know its answer."""
    import lightgbm

    close = noise.close[:, 0]
    averages = [np.convolve(close, np.ones(k) / k)[: close.size] for k in (12, 48, 144, 288)]
    spread = [np.convolve((close - a) ** 2, np.ones(48) / 48)[: close.size] for a in averages[:2]]
    x = np.stack([close, *averages, *spread, *(close - np.roll(close, k) for k in (1, 12, 48))], axis=1)[300:-HORIZON]
    y = (np.roll(close, -HORIZON) > close)[300:-HORIZON]
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[: int(0.8 * len(y))], order[int(0.8 * len(y)) :]
    model = lightgbm.train(
        {"objective": "binary", "num_leaves": 127, "learning_rate": 0.1, "verbose": -1, "num_threads": 1, "seed": 1},
        lightgbm.Dataset(x[train], y[train].astype(float)),
        num_boost_round=120,
    )
    assert ((model.predict(x[test]) > 0.5) == y[test]).mean() >= 0.85


def test_one_line_is_enough_for_a_leak(noise: Panel) -> None:
    """On the same noise the sign of a centred average's slope tells 69.6 % of the next signs, an hour joined by its opening
    time 66.2 %: asin(1 / sqrt(m)) / pi beyond a half where m moves to come are known by their sum. Three standard errors."""
    path = np.log(noise.close[:, 0])
    rose = np.append(np.diff(path) > 0, False)
    slope = np.diff(np.convolve(path, np.ones(3) / 3, "same"), prepend=path[0])
    hour = path[11::12].repeat(12)
    ahead = hour - path[: hour.size]
    rows = np.arange(300, hour.size - 12)

    def right(told: np.ndarray) -> float:
        return float(np.where(told[rows] == 0, 0.5, (told[rows] > 0) == rose[rows]).mean())

    error = 3 * 0.5 / np.sqrt(rows.size)
    left = np.arange(1, 12)
    assert right(slope) == pytest.approx(0.5 + np.arcsin(1 / np.sqrt(3)) / np.pi, abs=error)
    assert right(ahead) == pytest.approx(0.5 + np.arcsin(1 / np.sqrt(left)).sum() / 12 / np.pi, abs=error)
    moved = np.diff(path, prepend=path[0])
    assert abs(right(-moved) - 0.5) <= error


def test_the_honest_protocol_finds_nothing_on_the_same_noise(noise: Panel) -> None:
    chosen = FeatureSet().available(noise.inputs)
    features, label = chosen.compute(noise), labels.scaled_return(noise, HORIZON)
    plan = walk_forward(BARS, 3, HORIZON, 288, 0.2, warm_up=chosen.lookback + WINDOW.reach)
    usable = np.isfinite(features).all(axis=2)
    raw = np.full(label.shape, np.nan)
    for fold in plan.folds:
        model = fit_linear(features, label, usable, fold.train.rows(6), fold.valid.rows(6))
        raw[fold.test.rows()] = model.predict(features, fold.test.rows())
    rows = plan.out_of_sample.rows()
    seen = skill(raw[rows], label[rows], np.full((rows.size, 1), 0.01), rows // 288, HORIZON)
    assert abs(seen.accuracy - 0.5) <= 3 * 0.5 / np.sqrt(rows.size / HORIZON)
    assert seen.correlation.low < 0.05


def test_what_noise_calibrates_to_is_never_acted_on(noise: Panel) -> None:
    from types import SimpleNamespace

    rng = np.random.default_rng(1)
    sigma = labels.volatility_scale(noise)
    label = labels.scaled_return(noise, HORIZON)
    plan = walk_forward(BARS, 3, HORIZON, 288, 0.2, warm_up=2_200)
    adverse = np.abs(rng.normal(size=label.shape))
    dataset = SimpleNamespace(
        folds=plan, label=label, sigma=sigma, adverse=(adverse, adverse), days=np.arange(BARS) // 288, horizon=HORIZON
    )
    forecast, calibration = calibrated(dataset, 0.2 * rng.normal(size=label.shape), 0.0014)  # type: ignore[arg-type]
    assert calibration.slope < 0.3
    assert not (forecast.confidence >= 0.6).any()
