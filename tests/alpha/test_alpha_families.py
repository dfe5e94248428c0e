"""The families of forecasters: each finds what it is made for, the stack finds all of it, the sealed folder says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from walk_panel import walk

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import artifact, families, trees
from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration
from hydra_core.alpha.forecaster.families import FamilyModel, Recipe, fit_family, inner_blocks
from hydra_core.alpha.forecaster.linear import LinearModel, fit_linear
from hydra_core.alpha.forecaster.polynomial import PolynomialModel, fit_polynomial
from hydra_core.alpha.forecaster.stack import stack_weights
from hydra_core.alpha.forecaster.trees import TreesHyper, fit_trees
from hydra_core.alpha.forecaster.windows import WindowShape, common_weight, whiten
from hydra_core.domain.errors import ArtifactInvalid, InputMissing, UsageError

ROWS, PAIRS, COLUMNS = 6_000, 3, 6
TRAIN, VALID, TEST = np.arange(0, 3_400), np.arange(3_500, 4_200), np.arange(4_300, 6_000)
PLAIN = ("linear", "polynomial", "trees", "forest")
CALIBRATION = Calibration(1.0, 5.0, np.linspace(-3, 3, LEVELS.size), 1.0, 0.0, 0.0014)


def ic(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def world(kind: str, seed: int = 0, common: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and the best forecast: a line, a product, or a step that few rows take."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, PAIRS, COLUMNS)).astype(np.float32)
    x = features.astype(np.float64)
    signal = {
        "line": x[:, :, 0] - x[:, :, 1],
        "product": x[:, :, 2] * x[:, :, 3],
        "step": 3.0 * np.sign(x[:, :, 4]) * (np.abs(x[:, :, 4]) > 1.2) * (x[:, :, 5] > 0.3),
    }[kind]
    signal = 0.25 * signal / signal.std()
    noise = np.sqrt(common) * rng.normal(size=(ROWS, 1)) + np.sqrt(1 - common) * rng.normal(size=(ROWS, PAIRS))
    return features, signal + noise, signal


@pytest.mark.parametrize(
    ("kind", "family"), [("line", "linear"), ("line", "polynomial"), ("product", "polynomial"), ("step", "trees")]
)
def test_each_family_finds_what_it_is_made_for(kind: str, family: str) -> None:
    features, labels, signal = world(kind)
    model = fit_family(family, features, labels, TRAIN, VALID, Recipe(), seed=1)
    assert ic(model.predict(features, TEST), signal[TEST]) > 0.9


@pytest.mark.parametrize("seed", [6, 7, 8])
def test_a_forest_hears_more_of_what_all_pairs_do_together_than_whitened_trees(seed: int) -> None:
    """A step of a feature that all pairs share moves them all alike, and so does most of the noise."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.normal(size=(ROWS, 1, 3)), PAIRS, axis=1)
    features = np.concatenate([shared, rng.normal(size=(ROWS, PAIRS, 3))], axis=2).astype(np.float32)
    signal = 0.25 * np.sign(features[:, :, 0]) * (np.abs(features[:, :, 1]) > 0.7)
    noise = np.sqrt(0.7) * rng.normal(size=(ROWS, 1)) + np.sqrt(0.3) * rng.normal(size=(ROWS, PAIRS))
    found = {
        family: ic(
            fit_family(family, features, signal + noise, TRAIN, VALID, Recipe(), seed=1).predict(features, TEST),
            signal[TEST],
        )
        for family in ("trees", "forest")
    }  # fmt: skip
    assert found["forest"] > 0.7
    assert found["forest"] > found["trees"] + 0.05


@pytest.mark.parametrize("kind", ["line", "product", "step"])
def test_the_stack_finds_every_kind_nearly_as_well_as_the_best_of_its_families(kind: str) -> None:
    features, labels, signal = world(kind, seed=3)
    single = [
        ic(fit_family(each, features, labels, TRAIN, VALID, Recipe(), seed=1).predict(features, TEST), signal[TEST])
        for each in PLAIN
    ]
    made = fit_family("stacked", features, labels, TRAIN, VALID, Recipe(families=PLAIN), seed=1)
    assert ic(made.predict(features, TEST), signal[TEST]) > max(single) - 0.04
    assert set(made.weights) == set(PLAIN)
    assert min(made.weights.values()) >= 0
    assert any("weighs" in note for note in made.notes)


@pytest.mark.parametrize(
    "family",
    ["linear", "polynomial", "trees", "forest", "stacked", pytest.param("transformer", marks=pytest.mark.long)],
)
def test_what_weighs_nothing_teaches_nothing(family: str) -> None:
    """Two of three training rows say the opposite; with no weight they are as good as not there."""
    kind = {"trees": "step", "forest": "step", "polynomial": "product"}.get(family, "line")
    features, labels, signal = world(kind, seed=7)
    false = np.arange(ROWS) % 3 != 0  # of the rows trained on, too
    false[TRAIN[-1] + 1 :] = False
    lying = np.where(false[:, None], labels - 2 * signal, labels)
    recipe = Recipe(families=PLAIN) if family != "transformer" else small_network()
    weights = np.where(false, 0.0, 3.0)[:, None] * np.ones((1, PAIRS))
    heard, deaf = (
        fit_family(family, features, lying, TRAIN[::2], VALID, recipe, seed=1, weights=each).predict(features, TEST)
        for each in (weights, None)
    )
    assert ic(heard, signal[TEST]) > (0.7 if family == "forest" else 0.8)  # a third of half the rows is few for it
    assert (deaf * signal[TEST]).mean() < 0.3 * (heard * signal[TEST]).mean()


def small_network() -> Recipe:
    from hydra_core.alpha.forecaster.network import NetworkHyper

    return Recipe(NetworkHyper(width=16, layers=1, epochs=1, patch=4), shape=WindowShape(steps=4, stride=1))


def test_a_weighed_objective_is_the_gradient_of_what_is_minimised() -> None:
    from types import SimpleNamespace

    rng = np.random.default_rng(2)
    mask = rng.random((40, PAIRS)) < 0.8
    said, told = (rng.normal(size=int(mask.sum())) for _ in range(2))
    data = SimpleNamespace(get_label=lambda: told)
    counts = np.where(mask, rng.random(mask.shape), 0.0)

    def loss(values: np.ndarray) -> float:
        error = np.zeros(mask.shape)
        error[mask] = values - told
        return 0.5 * float((counts * whiten(error, mask, 0.6) ** 2).sum())

    gradient, curvature = trees._whitened(mask, 0.6, counts)(said, data)
    for at in range(0, said.size, 9):
        step = np.zeros(said.size)
        step[at] = 1e-4
        up, down, middle = loss(said + step), loss(said - step), loss(said)
        assert gradient[at] == pytest.approx((up - down) / 2e-4, abs=1e-6)
        assert curvature[at] == pytest.approx((up + down - 2 * middle) / 1e-8, abs=1e-5)
    same = trees._whitened(mask, 0.6, mask.astype(float))(said, data)
    for mine, plain in zip(same, trees._whitened(mask, 0.6)(said, data), strict=True):
        assert_allclose(mine, plain, atol=1e-12)


def test_noise_gives_the_stack_next_to_nothing_to_say() -> None:
    features, labels, _ = world("line", seed=5)
    noise = np.random.default_rng(9).normal(size=labels.shape)
    made = fit_family("stacked", features, noise, TRAIN, VALID, Recipe(families=PLAIN), seed=1)
    assert np.nanstd(made.predict(features, TEST)) < 0.05


def test_few_columns_are_kept_and_survive_the_file() -> None:
    features, labels, _signal = world("product")
    usable = np.isfinite(labels)
    linear = fit_linear(features, labels, usable, TRAIN, VALID)
    model = fit_polynomial(features, labels, usable, TRAIN, VALID, linear)
    assert 1 <= (model.weights != 0).sum() <= 4
    again = PolynomialModel.from_dict(model.to_dict())
    assert_allclose(again.predict(features, TEST), model.predict(features, TEST))
    with pytest.raises(ValueError, match="finite weights"):
        PolynomialModel.from_dict({**model.to_dict(), "weights": [0.0]})
    with pytest.raises(InputMissing, match="for 27 columns"):
        fit_polynomial(features, labels, usable, TRAIN[:15], VALID, linear)
    line = LinearModel.from_dict(linear.to_dict())
    assert_allclose(line.predict(features, TEST), linear.predict(features, TEST))


def test_trees_grow_through_a_common_shock_and_repeat() -> None:
    """Most of the noise is common to the pairs: whitened residuals find the step that plain ones hide."""
    features, labels, signal = world("step", common=0.9)
    usable = np.isfinite(labels)
    weight = common_weight(labels[TRAIN])
    made = fit_trees(features, labels, usable, TRAIN, VALID, weight, TreesHyper(), seed=2)
    plain = fit_trees(features, labels, usable, TRAIN, VALID, 1.0, TreesHyper(), seed=2)
    assert ic(made.predict(features, TEST), signal[TEST]) > ic(plain.predict(features, TEST), signal[TEST])
    assert made.text == fit_trees(features, labels, usable, TRAIN, VALID, weight, TreesHyper(), seed=2).text
    with pytest.raises(InputMissing, match="a leaf holds"):
        fit_trees(features, labels, usable, TRAIN[:10], VALID, weight, TreesHyper(), seed=2)
    with pytest.raises(ArtifactInvalid, match="no trees"):
        trees.opened("tree\nnonsense")


def test_trees_and_lines_are_silent_where_a_feature_is_missing() -> None:
    features, labels, _ = world("step")
    for family in PLAIN:
        model = fit_family(family, features, labels, TRAIN, VALID, Recipe(), seed=1)
        gap = features.copy()
        gap[5_000, 1, 0] = np.nan
        said = model.predict(gap, np.array([5_000, 5_001]))
        assert np.isnan(said[0, 1])
        assert np.isfinite(np.delete(said.ravel(), 1)).all()


def test_whitened_errors_of_unknown_pairs_are_nothing() -> None:
    values, known = np.array([[1.0, 3.0, np.nan]]), np.array([[True, True, False]])
    assert_allclose(whiten(values, known, 0.5), [[0.0, 2.0, 0.0]])
    assert_allclose(whiten(values, known, 1.0), [[1.0, 3.0, 0.0]])
    assert_allclose(whiten(values[:, :, None], known, 0.5)[:, :, 0], [[0.0, 2.0, 0.0]])


def test_weights_find_the_better_voice_and_share_between_equals() -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(40_000, 1))
    labels = 0.1 * signal + rng.normal(size=signal.shape)
    good, other = 0.1 * signal, 0.1 * rng.normal(size=signal.shape)
    first, second = stack_weights([good, other], labels, 1.0)
    assert first > 0.8
    assert second < 0.15
    same = stack_weights([good, good.copy()], labels, 1.0)
    assert same[0] == pytest.approx(same[1])
    assert sum(same) == pytest.approx(1.0, abs=0.15)
    assert stack_weights([good, -good], labels, 1.0, towards_equal=0.0)[1] == 0.0
    with pytest.raises(InputMissing, match="out-of-fold"):
        stack_weights([np.full((500, 1), np.nan)], np.zeros((500, 1)), 1.0)


def test_blocks_look_back_only_and_keep_their_distance() -> None:
    rows = np.concatenate([TRAIN, VALID])
    made = inner_blocks(rows, 3, 100)
    for train, valid, test in made:
        assert train[-1] + 100 < valid[0]
        assert valid[-1] + 100 < test[0]
    assert_allclose(np.concatenate([test for _, _, test in made]), rows[int(rows.size * families.FIRST_SHARE) :])
    with pytest.raises(InputMissing, match="Collect more history"):
        inner_blocks(rows[:200], 3, 100)
    with pytest.raises(UsageError, match="no family 'oracle'"):
        fit_family("oracle", np.zeros((9, 1, 1), np.float32), np.zeros((9, 1)), TRAIN, VALID, Recipe(), seed=1)


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FamilyModel, np.ndarray, list[str]]:
    """A stack of every family with two networks that see all pairs, sealed; its features."""
    from hydra_core.alpha.forecaster.network import NetworkHyper

    chosen = FeatureSet(("return_1", "return_12", "vol_ratio_12_288", "hour_sin"))
    features = chosen.compute(walk(2, 4_200))
    rng = np.random.default_rng(0)
    known = np.nan_to_num(features.astype(float))
    labels = 0.3 * known[:, :, 1] + rng.normal(size=features.shape[:2])
    recipe = Recipe(
        NetworkHyper(width=16, layers=1, cross_layers=1, epochs=1, patch=4),
        shape=WindowShape(steps=8, stride=2), networks=2, blocks=2,
    )  # fmt: skip
    model = fit_family(
        "stacked", features, labels, np.arange(2_100, 3_500, 4), np.arange(3_620, 4_000, 4), recipe, seed=1
    )
    folder = tmp_path_factory.mktemp("stack")
    artifact.write(folder, model, chosen.names, CALIBRATION, 48, width=1.7)
    return folder, model, features, list(chosen.names)


def test_the_sealed_stack_says_what_was_trained_and_where_its_networks_disagree_nothing(
    stacked: tuple[Path, FamilyModel, np.ndarray, list[str]],
) -> None:
    folder, model, features, _ = stacked
    rows = np.arange(4_050, 4_150)
    sealed = artifact.load(folder, "v1")
    said, spread = sealed.word(features, rows)
    expected, apart = model.word(features, rows)
    assert_allclose(said, expected, atol=1e-5)
    assert_allclose(spread, apart, atol=1e-5)
    assert {kind for kind, _, _ in sealed.parts} <= set(families.FAMILIES)
    weighed = model.weights["transformer"]
    if weighed:
        assert (spread > 0).any()
        strict = FamilyModel(model.family, model.parts, model.shape, float(np.median(apart)))
        assert np.isnan(strict.predict(features, rows)).mean() == pytest.approx(0.5, abs=0.02)
        assert artifact.warm_state(folder) is not None


def test_the_interval_of_a_sealed_stack_lies_round_its_forecast(
    stacked: tuple[Path, FamilyModel, np.ndarray, list[str]],
) -> None:
    sealed = artifact.load(stacked[0], "v1")
    panel = walk(2, 4_200)
    low, high = sealed.interval(panel, 5)
    forecast = sealed.forecast(panel, 5)
    assert_allclose((low + high) / 2, forecast.expected_return, atol=1e-12)
    assert_allclose(high - low, 2 * 1.7 * forecast.volatility)


@pytest.mark.parametrize("spoil", ["trees.txt", "polynomial.json", "linear.json", "model.onnx"])
def test_a_stack_with_a_damaged_part_is_refused(
    stacked: tuple[Path, FamilyModel, np.ndarray, list[str]], tmp_path: Path, spoil: str
) -> None:
    assert (stacked[0] / spoil).exists(), "every part of this stack has a weight"
    for file in stacked[0].iterdir():
        (tmp_path / file.name).write_bytes(b"{}" if file.name == spoil else file.read_bytes())
    with pytest.raises(ArtifactInvalid, match="cannot be loaded"):
        artifact.load(tmp_path, "v1")
