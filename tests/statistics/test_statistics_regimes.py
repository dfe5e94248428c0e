"""The regime filter against exact enumeration and against the best possible filter on a simulated chain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.regimes import DEFAULT, RegimeModel, fit_regimes, stationary, sticky

TRUTH = RegimeModel(scales=(1.0, 2.0), transition=sticky((288.0, 144.0)), degrees=4)


def simulate(seed: int, n: int, model: RegimeModel) -> tuple[Ints, Floats]:
    """States and observations of a chain with Student-t noise."""
    rng = np.random.default_rng(seed)
    matrix = np.cumsum(np.array(model.transition), axis=1)
    draws = rng.random(n)
    states = np.zeros(n, np.int64)
    for i in range(1, n):
        states[i] = np.searchsorted(matrix[states[i - 1]], draws[i])
    return states, np.array(model.scales)[states] * rng.standard_t(model.degrees, n)


def balanced_accuracy(states: Ints, guess: Ints) -> float:
    return float(np.mean([(guess[states == s] == s).mean() for s in np.unique(states)]))


@pytest.mark.parametrize("degrees", [3, 4, 5])
def test_the_filter_equals_the_sum_over_all_paths(degrees: int) -> None:
    """Eight observations, three states: every one of the 6,561 paths weighed, for odd and even degrees of freedom."""
    model = RegimeModel(DEFAULT.scales, DEFAULT.transition, degrees)
    x = np.array([0.3, -2.0, 5.0, 0.1, 9.0, -0.2, 1.0, 4.0])
    matrix, scales = np.array(model.transition), np.array(model.scales)
    density = stats.t.pdf(x[:, None] / scales, degrees) / scales
    weight = np.zeros(3)
    for path in itertools.product(range(3), repeat=x.size):
        chance = (stationary(matrix) @ matrix)[path[0]]
        for before, after in itertools.pairwise(path):
            chance *= matrix[before, after]
        chance *= density[np.arange(x.size), list(path)].prod()
        weight[path[-1]] += chance
    np.testing.assert_allclose(model.filtered(x)[-1], weight / weight.sum(), rtol=1e-10)


def test_a_missing_observation_only_moves_the_chain_on() -> None:
    x = np.array([0.1, np.nan])
    filtered = TRUTH.filtered(x)
    np.testing.assert_allclose(filtered[1], filtered[0] @ np.array(TRUTH.transition), rtol=1e-12)


def test_a_fitted_filter_comes_close_to_the_best_possible() -> None:
    """Volatility doubles, noise is t(4): fitted on the first half, at least .97 of the true model's balanced accuracy on
    the second, with at most half again as many switches."""
    states, x = simulate(1, 30_000, TRUTH)
    start = RegimeModel((0.7, 3.0), sticky((100.0, 100.0)), 4)
    fit = fit_regimes(x[:15_000], start)
    best, mine = (m.filtered(x)[15_000:].argmax(axis=1) for m in (TRUTH, fit))
    assert balanced_accuracy(states[15_000:], best) > 0.9
    assert balanced_accuracy(states[15_000:], mine) >= 0.97 * balanced_accuracy(states[15_000:], best)
    assert (np.diff(mine) != 0).sum() <= 1.5 * (np.diff(best) != 0).sum()
    assert fit.scales == pytest.approx(TRUTH.scales, rel=0.05)


def test_fat_tails_do_not_read_as_a_crash() -> None:
    """Calm t(4) returns of eight pairs: their median is never extreme. Ten times as large: extreme within half an hour."""
    x = 0.8 * np.random.default_rng(2).standard_t(4, (5_000, 8))
    extreme = DEFAULT.filtered(x)[..., 2]
    assert (extreme > 0.9).mean() < 5e-4
    assert np.median(extreme, axis=1).max() < 0.5
    x[2_500:] *= 10
    assert np.argmax(np.median(DEFAULT.filtered(x)[2_500:, :, 2], axis=1) > 0.9) <= 6


def test_a_fit_wants_enough_observations() -> None:
    with pytest.raises(InputMissing, match="at least 1000"):
        fit_regimes(np.zeros(10), DEFAULT)
