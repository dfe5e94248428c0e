"""Jump flags and jump-diffusion fits against simulations whose jumps are known."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics import diffusion, jumps

MONTH = 30 * 288


def test_the_threshold_is_the_published_one() -> None:
    """A month of 5m bars at 1 %: 4.94 local standard deviations."""
    assert jumps.lee_mykland_threshold(MONTH, 0.01) * np.sqrt(2 / np.pi) == pytest.approx(4.94, abs=0.01)


def test_large_moves_are_flagged_and_ordinary_ones_are_not() -> None:
    """Of forty Gaussian months at most four hold a false flag; of added jumps of 4, 6, 8 sigma 15, 80, 99 % are found."""
    rng = np.random.default_rng(11)
    r = rng.normal(0, 0.001, (MONTH, 40))
    shock = jumps.local_shock(r)
    assert (np.nanmax(np.abs(shock), axis=0) > jumps.THRESHOLD).sum() <= 4
    rows = np.arange(400, MONTH, 400)
    for size, low, high in ((4.0, 0.10, 0.22), (6.0, 0.76, 0.92), (8.0, 0.98, 1.0)):
        hit = r.copy()
        hit[rows] += size * 0.001
        found = np.abs(jumps.local_shock(hit))[rows] > jumps.THRESHOLD
        assert low <= found.mean() <= high, size


def test_the_ratio_test_has_its_size_and_finds_jumps() -> None:
    """Over Gaussian days Z exceeds 1.645 on about 5 % of them; a jump of 8 sigma is found on four days of five."""
    rng = np.random.default_rng(12)
    r = rng.normal(0, 0.001, (288, 6000))
    z = jumps.bns_z(np.vstack([np.zeros((2, 6000)), r]), 288)[-1]
    assert 0.038 <= (z > 1.645).mean() <= 0.064
    r[150] += 0.008 * np.sign(r[150])
    z = jumps.bns_z(np.vstack([np.zeros((2, 6000)), r]), 288)[-1]
    assert 0.7 <= (z > 1.645).mean() <= 0.97


def test_a_drift_is_not_estimable_and_says_so() -> None:
    """A year of 5m bars at 60 % volatility knows the drift to within 60 points, the volatility to half a per cent."""
    year = 365 * 288
    fit = diffusion.fit_gbm(np.random.default_rng(13).normal(0, 0.6 / np.sqrt(year), year))
    assert fit.drift_error * year == pytest.approx(0.6, rel=0.02)
    assert fit.sigma * np.sqrt(year) == pytest.approx(0.6, rel=4 * fit.sigma_error / fit.sigma)
    with pytest.raises(InputMissing, match="at least 3"):
        diffusion.fit_gbm(np.array([0.1, np.nan]))


def test_merton_recovers_its_parameters_within_their_errors() -> None:
    """About 1,000 jumps in 50,000 bars, eight times as large as a bar: every parameter within three standard errors."""
    rng = np.random.default_rng(14)
    n, sigma, rate, mean, spread = 50_000, 0.0012, 0.02, -0.0005, 0.006
    count = rng.poisson(rate, n)
    r = rng.normal(0, sigma, n) + count * mean + np.sqrt(count) * rng.normal(0, spread, n)
    fit = diffusion.fit_merton(r)
    found = count.sum()
    assert fit.sigma == pytest.approx(sigma, rel=0.015)
    assert fit.rate == pytest.approx(rate, rel=0.17)
    assert fit.jump_mean == pytest.approx(mean, abs=3 * spread / np.sqrt(found))
    assert fit.jump_sigma == pytest.approx(spread, rel=0.12)
    assert fit.jumps
    truth = diffusion.merton_log_likelihood(r, 0.0, sigma, rate, mean, spread)
    assert fit.log_likelihood >= truth
    again = diffusion.merton_log_likelihood(r, fit.drift, fit.sigma, fit.rate, fit.jump_mean, fit.jump_sigma)
    assert again == pytest.approx(fit.log_likelihood, rel=1e-8)


def test_plain_returns_are_not_given_jumps() -> None:
    """On Gaussian returns the information criterion prefers no jumps, whatever the seed."""
    assert not any(diffusion.fit_merton(np.random.default_rng(s).normal(0, 0.001, 3000)).jumps for s in range(8))
