"""Change points against exact enumeration, and how soon a change is told."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from scipy import stats

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics.changepoints import ChangePoints, ChangePrior

PRIOR = ChangePrior(hazard=0.2, mean=0.1, strength=0.7, shape=1.5, scale=0.8)


def stretch_density(x: np.ndarray) -> float:
    """Marginal density of a stretch, each value's Student-t predictive in turn."""
    mean, strength, shape, scale = PRIOR.mean, PRIOR.strength, PRIOR.shape, PRIOR.scale
    out = 1.0
    for value in x:
        out *= stats.t.pdf(value, 2 * shape, mean, np.sqrt(scale * (strength + 1) / (shape * strength)))
        scale += 0.5 * strength * (value - mean) ** 2 / (strength + 1)
        mean = (strength * mean + value) / (strength + 1)
        strength, shape = strength + 1, shape + 0.5
    return float(out)


def test_run_lengths_are_those_of_all_4096_histories() -> None:
    """Twelve observations: every way to cut them weighed by hand, to 1e-10."""
    x = np.array([0.1, -0.4, 0.3, 3.0, 2.7, 3.2, 2.9, -1.0, 8.0, -7.0, 6.0, 0.2])
    weight = np.zeros(x.size + 1)
    density = functools.cache(lambda begin, end: stretch_density(x[begin:end]))
    for cuts in itertools.product((False, True), repeat=x.size):
        begins = [0, *[i + 1 for i, cut in enumerate(cuts) if cut]]
        chance = np.prod([PRIOR.hazard if cut else 1 - PRIOR.hazard for cut in cuts])
        for begin, end in itertools.pairwise([*begins, x.size]):
            chance *= density(begin, end)
        weight[x.size - begins[-1]] += chance
    points = ChangePoints(PRIOR)
    points.run(x)
    np.testing.assert_allclose(points.run_length, weight / weight.sum(), rtol=1e-10)


def test_a_doubling_of_volatility_is_told_after_about_seven_bars() -> None:
    """ln(1/hazard) / KL: seven bars for a ratio of 2 at a hazard of 1/288, KL = (2^2 - 1) / 2 - ln 2 = .807.

    That is for somebody who knows both volatilities. The change points expect a variance of 4 of a new stretch, vaguely (two
    degrees of it), and learn from the same bars what it is; with the vague variance of 2 that a stretch of either kind has on
    average the median is eight. A delay counts the bars of the new stretch that were seen: the first of them is one.
    """
    hazard = 1 / 288
    prior = ChangePrior(hazard=hazard, strength=1e6, shape=2.0, scale=4.0)
    known = np.log(1 / hazard) / (1.5 - np.log(2))
    assert known == pytest.approx(7.0, abs=0.05)
    found, best, false = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.normal(0, 1, 400), rng.normal(0, 2, 60)])
        near = ChangePoints(prior, recent=30).run(x)[:, 0]
        false.append((near[150:400] > 0.8).mean())
        found.append(delay(near))
        best.append(delay(filtered(x, hazard)))
    error = np.std(found) / np.sqrt(len(found))
    assert np.median(found) == pytest.approx(known, abs=1.5)
    assert np.mean(found) <= known + 2 + 2 * error
    assert np.median(best) == pytest.approx(6, abs=1)  # the Bayes filter that knows both volatilities
    assert np.median(found) <= np.median(best) + 2
    assert np.mean(false) < 0.005


def delay(chance: np.ndarray) -> int:
    """Bars of the stretch that begins at 400 until its beginning is likelier than not; all 60 where it never is."""
    told = chance[400:] > 0.5
    return int(told.argmax()) + 1 if told.any() else told.size


def filtered(x: np.ndarray, hazard: float) -> np.ndarray:
    """P(volatility is 2 and not 1 | values so far) of a symmetric two-state chain, everything known but the state."""
    odds = np.exp(0.375 * x**2) / 2
    out, chance = np.empty(x.size), 0.0
    for row in range(x.size):
        chance = chance * (1 - hazard) + (1 - chance) * hazard
        chance = chance * odds[row] / (chance * odds[row] + 1 - chance)
        out[row] = chance
    return out


def test_one_at_a_time_is_all_at_once_and_a_gap_changes_nothing() -> None:
    x = np.random.default_rng(1).normal(size=80)
    x[30] = np.nan
    prior = ChangePrior(hazard=0.01, longest=40)
    live = ChangePoints(prior)
    found = np.array([live.update(float(value)) for value in x])
    np.testing.assert_array_equal(found, ChangePoints(prior).run(x))
    np.testing.assert_array_equal(found[30], found[29])
    assert live.run_length.size == 41
    assert live.run_length.sum() == pytest.approx(1.0, rel=1e-9)


def test_a_prior_that_means_nothing_is_refused() -> None:
    with pytest.raises(InputMissing, match="hazard"):
        ChangePrior(hazard=1.0)
