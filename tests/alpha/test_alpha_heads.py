"""Further heads: what is sealed says what was trained, older folders serve as before, and their worth is measured as told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from walk_panel import walk

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration
from hydra_core.alpha.forecaster.families import FamilyModel, Recipe, fit_family
from hydra_core.alpha.forecaster.heads import HEAD_FIELDS, HeadsWord, shift_of, worth
from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.domain.errors import ArtifactInvalid

CALIBRATION = Calibration(1.0, 5.0, np.linspace(-3, 3, LEVELS.size), 1.0, 0.0, 0.0014)
PANEL = walk(2, 3_200)
ROWS = np.arange(3_000, 3_100)
Sealed = tuple[Path, FamilyModel, np.ndarray]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """A network with heads of two horizons."""
    from hydra_core.alpha.forecaster.network import NetworkHyper

    chosen = FeatureSet(("return_1", "return_12", "vol_ratio_12_288", "hour_sin"))
    features = chosen.compute(PANEL)
    labels = np.random.default_rng(0).normal(size=features.shape[:2])
    recipe = Recipe(NetworkHyper(width=16, layers=1, epochs=1, patch=4, batch_rows=32), shape=WindowShape(8, 2))
    model = fit_family(
        "transformer", features, labels, np.arange(2_100, 2_800, 2), np.arange(2_850, 2_990, 2), recipe, seed=1,
        more_labels=np.stack([labels, 2 * labels], axis=2),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("heads")
    artifact.write(folder, model, chosen.names, CALIBRATION, 48, width=1.7, heads=(48, 96), shift=0.1)
    return folder, model, features


def altered(sealed: Sealed, folder: Path, change) -> Path:
    for file in sealed[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / artifact.SETTINGS).read_text())
    change(settings)
    (folder / artifact.SETTINGS).write_text(json.dumps(settings))
    return folder


def test_the_sealed_heads_say_what_was_trained_and_the_forecast_stays_what_it_is(sealed: Sealed) -> None:
    folder, model, features = sealed
    opened = artifact.load(folder, "v1")
    assert (opened.heads, opened.shift) == ((48, 96), 0.1)
    word = opened.more(features, ROWS)
    assert word is not None
    assert word.said.shape == (100, 3, 2, len(HEAD_FIELDS))
    assert_allclose(word.said, model.more(features, ROWS), atol=1e-4)
    assert_allclose(opened.raw(features, ROWS), model.predict(features, ROWS), atol=1e-5)
    whole, live = opened.heads_word(PANEL, 50), opened.heads_word(PANEL.last(opened.lookback), 1)
    assert whole is not None
    assert live is not None
    assert_allclose(live.said[-1], whole.said[-1], rtol=1e-4, atol=1e-6)
    low, high = word.span(96)
    assert (low < high).all()
    assert (word.volatility(96) > 0).all()
    gap = features.copy()
    gap[ROWS[0], 1, 0] = np.nan
    holes = opened.more(gap, ROWS[:1])
    assert holes is not None
    assert_array_equal(np.isnan(holes.rise(48))[0], [False, True, False])


def test_the_outer_quantiles_make_the_interval_and_an_older_folder_serves_as_before(
    sealed: Sealed, tmp_path: Path
) -> None:
    opened = artifact.load(sealed[0], "v1")
    low, high = opened.interval(PANEL, 5)
    word, forecast = opened.heads_word(PANEL, 5), opened.forecast(PANEL, 5)
    assert word is not None
    assert_allclose(low, (word.span(48)[0] - 0.1) * forecast.volatility)
    assert_allclose(high, (word.span(48)[1] + 0.1) * forecast.volatility)
    older = artifact.load(altered(sealed, tmp_path, lambda told: told.pop("heads")), "v0")
    assert older.heads_word(PANEL, 5) is None
    assert_array_equal(older.forecast(PANEL, 5).expected_return, forecast.expected_return)
    wide = older.interval(PANEL, 5)
    assert_allclose(wide[1] - wide[0], 2 * 1.7 * forecast.volatility)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda told: told["heads"].update(fields=["value"]), "heads that say value"),
        (lambda told: [part.pop("horizons", None) for part in told["parts"]], "says 2 things"),
    ],
)
def test_heads_that_are_not_what_the_folder_says_are_refused(sealed: Sealed, tmp_path: Path, change, word) -> None:
    with pytest.raises(ArtifactInvalid, match=word):
        artifact.load(altered(sealed, tmp_path, change), "v1")


def test_worth_is_measured_as_told() -> None:
    """Returns of twice the standard deviation that layer 2 expects, told so by the head: ln 2 and half the excess are won."""
    rng = np.random.default_rng(3)
    realised = 2.0 * rng.normal(size=(40_000, 1))
    said = np.zeros((40_000, 1, 1, len(HEAD_FIELDS)))
    said[..., 2], said[..., 3], said[..., -1] = math.log(2.0), -1.6449, 1.6449
    word = HeadsWord((48,), said)
    told = worth(word, 48, realised)
    assert told["coverage"] == pytest.approx(math.erf(1.6449 / 2 / math.sqrt(2)), abs=0.01)
    assert told["direction_skill"] == pytest.approx(0.0, abs=1e-9)
    assert told["volatility_gain"] == pytest.approx(1.5 - math.log(2), abs=0.05)
    assert shift_of(word, 48, realised) == pytest.approx(1.6449, abs=0.03)
    sure = said.copy()
    sure[..., 1] = np.where(realised[:, :, None] > 0, 2.0, -2.0)
    gain = 1 + math.log(1 / (1 + math.exp(-2.0))) / math.log(2)
    assert worth(HeadsWord((48,), sure), 48, realised)["direction_skill"] == pytest.approx(gain)
