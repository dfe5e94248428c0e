"""Weekly refits and renewed calibration follow a planted signal that turns round; a model that stays as it was does not."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.alpha.forecaster.families import Recipe, fit_family
from hydra_core.alpha.forecaster.refit import Rhythm, refitted, renewed_slopes
from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.domain.errors import InputMissing
from hydra_core.research.truth.planted import plant

WEEK = 2_016
ROWS = 24 * WEEK
TURN = ROWS // 2
RHYTHM = Rhythm(every=WEEK, span=6 * WEEK)


def ic(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def world(seed: int):
    """Features, labels and the best forecast of a reversal that turns into momentum half way."""
    market = plant("drift", 0.2, ROWS, seed)
    return market.observables[:, None, :], market.scaled[:, None], market.signal[:, None]


def test_a_weekly_refit_recovers_from_a_signal_that_turned() -> None:
    family = "linear"
    features, labels, best = world(3)
    raw = refitted(family, features, labels, 4 * WEEK, RHYTHM, Recipe(), seed=1)
    before, after = slice(5 * WEEK, TURN), slice(TURN + 8 * WEEK, ROWS)
    assert ic(raw[before], best[before]) > 0.85
    assert ic(raw[after], best[after]) > 0.85
    stale = fit_family(
        family, features, labels, np.arange(100, TURN - 2 * WEEK), np.arange(TURN - 2 * WEEK + 100, TURN), Recipe(), seed=1
    ).predict(features, np.arange(ROWS))  # fmt: skip
    assert ic(stale[after], best[after]) < -0.85
    with pytest.raises(InputMissing, match="half of"):
        refitted(family, features, labels, WEEK, RHYTHM, Recipe(), seed=1)


def test_renewed_calibration_silences_a_turned_signal_within_three_weeks_and_lets_a_new_one_speak() -> None:
    features, labels, best = world(4)
    days = np.arange(ROWS) // 288
    stale = -best * 0.2
    stale[:TURN] *= -1.0  # what was right before the turn, and is wrong after it
    slopes = renewed_slopes(stale, labels, days, RHYTHM)
    assert (slopes[2 * WEEK : TURN] > 0.5).mean() > 0.8
    assert (slopes[TURN + 4 * WEEK :] == 0.0).all()
    raw = refitted("linear", features, labels, 4 * WEEK, RHYTHM, Recipe(), seed=1)
    renewed = renewed_slopes(raw, labels, days, RHYTHM)
    late = slice(TURN + 10 * WEEK, ROWS)
    assert (renewed[late] > 0.3).all()
    assert renewed[TURN + 3 * WEEK : TURN + 4 * WEEK].max() < renewed[late].min()
    weeks = np.flatnonzero(slopes[TURN:] == 0.0)
    assert weeks[0] <= 3 * WEEK


def test_a_slope_is_made_of_earlier_rows_alone() -> None:
    _, labels, best = world(5)
    days = np.arange(ROWS) // 288
    changed = labels.copy()
    changed[TURN:] = -3.0
    one, two = (renewed_slopes(best * 0.2, each, days, RHYTHM) for each in (labels, changed))
    same = TURN + RHYTHM.gap
    assert np.array_equal(one[:same], two[:same])
    assert not np.array_equal(one, two)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_warm_networks_recover_from_a_signal_that_turned() -> None:
    """The transformer itself, refitted every week from the one before at a fifth of its rate, over a product that turns.

    At the turn its word is worth less than nothing on later rows and is silenced: what comes next has to begin afresh.
    """
    from hydra_core.alpha.forecaster.network import NetworkHyper

    features, labels, _ = world(6)
    known = features.astype(float)[:, :, 9] * features[:, :, 11]
    turned = np.where(np.arange(ROWS)[:, None] < TURN, 1.0, -1.0)
    best = turned * known
    labels = 0.3 * best + np.random.default_rng(1).normal(size=best.shape)
    recipe = Recipe(NetworkHyper(patch=4, batch_rows=256, epochs=6), shape=WindowShape(8, 1))
    raw = refitted("transformer", features, labels, 6 * WEEK, RHYTHM, recipe, seed=1)
    before, after = slice(8 * WEEK, TURN), slice(TURN + 9 * WEEK, ROWS)
    assert ic(raw[before], best[before]) > 0.6
    assert ic(raw[after], best[after]) > 0.4
    assert ic(raw[TURN : TURN + WEEK], best[TURN : TURN + WEEK]) < 0
