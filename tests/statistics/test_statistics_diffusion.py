"""Jump diffusions against simulations: slopes, recovery without bias, densities that integrate, the right choice."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics import diffusion, kou
from hydra_core.statistics.processes import jump_returns

YEAR = 365 * 288
SIGMA = 0.6 / math.sqrt(YEAR)
# jumps a year, mean, sd of a jump; relative sd of sigma, of the rate, absolute of the mean, relative of the sd
ROWS = [
    (91, -0.003, 0.015, (0.0025, 0.16, 0.0016, 0.070)),
    (365, -0.002, 0.008, (0.0028, 0.125, 0.0006, 0.055)),
    (2190, -0.0005, 0.006, (0.0019, 0.054, 0.00015, 0.026)),
]


def merton_errors(row: tuple[float, float, float, tuple[float, ...]], seed: int) -> np.ndarray:
    """Errors in units of the table's deviations."""
    a_year, mean, spread, known = row
    r, _ = jump_returns(seed, 100_000, SIGMA, a_year / YEAR, mean, spread)
    fit = diffusion.fit_merton(r)
    found = (fit.sigma / SIGMA - 1, fit.rate * YEAR / a_year - 1, fit.jump_mean - mean, fit.jump_sigma / spread - 1)
    return np.array(found) / np.array(known)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_merton_comes_back_within_three_deviations(row: tuple[float, float, float, tuple[float, ...]]) -> None:
    """One history of 100,000 bars, every parameter within three of the table's deviations."""
    assert (np.abs(merton_errors(row, 1)) < 3.0).all()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_top_is_that_of_a_reference(row: tuple[float, float, float, tuple[float, ...]]) -> None:
    """100,000 bars: a likelihood written apart and climbed by another method from the truth ends within a hundred-thousandth,
    of half a million, which is what a few thousandths of a standard error cost."""
    from scipy.optimize import minimize

    a_year, mean, spread, _ = row
    r, _ = jump_returns(1, 100_000, SIGMA, a_year / YEAR, mean, spread)
    jumps = a_year / YEAR * r.size
    start = np.array([0.0, 0.0, math.log(a_year / YEAR), mean, math.log(spread)])
    unit = np.array(
        [SIGMA / math.sqrt(r.size), 1 / math.sqrt(2 * r.size), *np.array([1, spread, 0.7]) / math.sqrt(jumps)]
    )

    def loss(moved: np.ndarray) -> float:
        drift, sigma, rate, jump_mean, jump_sigma = start + unit * moved
        sigma, rate, density = SIGMA * math.exp(sigma), math.exp(rate), np.zeros(r.size)
        for k in range(4):
            variance = sigma**2 + k * math.exp(2 * jump_sigma)
            weight = math.exp(-rate) * rate**k / math.factorial(k) / math.sqrt(2 * math.pi * variance)
            density += weight * np.exp(-((r - drift - k * jump_mean) ** 2) / (2 * variance))
        return -float(np.log(density).sum())

    top = minimize(loss, np.zeros(5), method="BFGS", jac="3-point", options={"gtol": 1e-4})
    assert diffusion.fit_merton(r).log_likelihood == pytest.approx(-top.fun, abs=1e-5)


def test_a_fit_ends_at_the_top_of_its_likelihood() -> None:
    """A plain simplex search that starts at the fit finds nothing that is better by a millionth of the likelihood."""
    from scipy.optimize import minimize

    r, _ = jump_returns(8, 20_000, SIGMA, 365 / YEAR, -0.002, 0.008)
    fit = diffusion.fit_merton(r)
    top = np.array([fit.drift / SIGMA, np.log(fit.sigma), np.log(fit.rate), fit.jump_mean, np.log(fit.jump_sigma)])

    def loss(x: np.ndarray) -> float:
        return -diffusion.merton_log_likelihood(r, x[0] * SIGMA, math.exp(x[1]), math.exp(x[2]), x[3], math.exp(x[4]))

    simplex = np.vstack([top, top + np.diag([0.02, 0.01, 0.2, 0.001, 0.1])])
    found = minimize(loss, top, method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 400})
    assert -found.fun - fit.log_likelihood <= 1e-6 * abs(fit.log_likelihood)


def test_over_many_short_histories_merton_has_no_bias() -> None:
    """Fifty histories of some 200 jumps each: the mean error of every parameter within three standard errors; the mean jump
    errs by sigma_J / sqrt(jumps), which fifty tell within a tenth, three times which is allowed."""
    bars, rate, mean, spread = 10_000, 0.02, -0.003, 0.015
    fits = [diffusion.fit_merton(jump_returns(seed, bars, SIGMA, rate, mean, spread)[0]) for seed in range(50)]
    found = np.array(
        [(f.sigma / SIGMA - 1, f.rate / rate - 1, f.jump_mean - mean, f.jump_sigma / spread - 1) for f in fits]
    )
    error = found.std(axis=0, ddof=1)
    assert (np.abs(found.mean(axis=0)) <= 3 * error / math.sqrt(len(fits))).all()
    assert error[2] == pytest.approx(spread / math.sqrt(rate * bars), rel=0.3)


def test_sigma_errs_as_it_says() -> None:
    """sigma / sqrt(2 n): what the fit says of itself, and the spread of 1,000 fits, which tell it within 2.2 %."""
    n = 500
    draws = np.random.default_rng(9).normal(0.0, SIGMA, (1_000, n))
    fits = [diffusion.fit_gbm(r) for r in draws]
    assert fits[0].sigma_error == pytest.approx(fits[0].sigma / math.sqrt(2 * n), rel=1e-12)
    spread = np.std([f.sigma for f in fits], ddof=1)
    assert spread == pytest.approx(SIGMA / math.sqrt(2 * n), rel=3 / math.sqrt(2 * len(fits)))


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_merton_has_no_bias(row: tuple[float, float, float, tuple[float, ...]]) -> None:
    """Mean error of ten seeds within three standard errors: a mean likelihood would stop eight of them away. Each of the forty
    errors is within three deviations of the table; the mean jump errs as much as theory says, sigma_J / sqrt(jumps), which ten
    seeds tell within a quarter, three times which is allowed."""
    found = np.array([merton_errors(row, seed) for seed in range(10)])
    assert (np.abs(found) < 3.0).all()
    assert (np.abs(found.mean(axis=0)) <= 3 * np.maximum(found.std(axis=0, ddof=1), 0.8) / math.sqrt(10)).all()
    a_year, _, spread, known = row
    theory = spread / math.sqrt(a_year * 100_000 / YEAR)
    assert found[:, 2].std(ddof=1) * known[2] == pytest.approx(theory, rel=0.75)


def slopes_by_difference(value: object, x: np.ndarray) -> np.ndarray:
    out = np.empty(x.size)
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = 1e-5 * max(abs(x[i]), 1e-2)
        out[i] = (value(x + step) - value(x - step)) / (2 * step[i])  # type: ignore[operator]
    return out


def test_analytic_slopes_are_those_of_the_likelihood() -> None:
    r, _ = jump_returns(2, 3_000, SIGMA, 0.02, -0.002, 0.008)
    unit = r / SIGMA

    def merton(x: np.ndarray) -> tuple[float, np.ndarray]:
        return diffusion.merton_slopes(unit, x[0], math.exp(x[1]), math.exp(x[2]), x[3], math.exp(x[4]))  # type: ignore[no-any-return]

    def double(x: np.ndarray) -> tuple[float, np.ndarray]:
        up = 1 / (1 + math.exp(-x[3]))
        return kou.kou_slopes(unit, x[0], math.exp(x[1]), math.exp(x[2]), up, math.exp(x[4]), math.exp(x[5]))  # type: ignore[no-any-return]

    for slopes, x in (
        (merton, np.array([0.1, 0.1, -4.0, -0.8, 1.2])),
        (double, np.array([0.1, 0.1, -3.0, 0.3, -1.0, -0.7])),
    ):
        np.testing.assert_allclose(
            slopes(x)[1], slopes_by_difference(lambda y, f=slopes: f(y)[0], x), rtol=2e-5, atol=1e-4
        )


def test_the_likelihood_is_the_sum_of_normals() -> None:
    r, _ = jump_returns(3, 500, SIGMA, 0.05, -0.002, 0.008)
    density = sum(
        stats.poisson.pmf(k, 0.05) * stats.norm.pdf(r, 1e-5 - 0.002 * k, np.sqrt(SIGMA**2 + k * 0.008**2))
        for k in range(4)
    )
    found = diffusion.merton_log_likelihood(r, 1e-5, SIGMA, 0.05, -0.002, 0.008)
    assert found == pytest.approx(np.log(density).sum(), rel=1e-12)


KOU = kou.Kou(0.0001, 0.001, 0.05, 0.4, 250.0, 150.0, 0.0, 0.0)


def test_kou_s_density_integrates_to_one_and_is_that_of_its_simulation() -> None:
    """Integral within 1e-8; a chi-square over 60 cells of 200,000 draws passes; far tails neither vanish nor blow up."""
    grid = np.linspace(-0.25, 0.25, 250_001)
    assert np.trapezoid(KOU.density(grid), grid) == pytest.approx(1.0, abs=1e-8)
    rng = np.random.default_rng(4)
    n = 200_000
    jump = np.where(
        rng.random(n) < KOU.up, rng.exponential(1 / KOU.up_decay, n), -rng.exponential(1 / KOU.down_decay, n)
    )
    r = KOU.drift + rng.normal(0, KOU.sigma, n) + (rng.random(n) < KOU.rate) * jump
    edges = np.quantile(r, np.linspace(0, 1, 61))
    fine = [np.linspace(a, b, 400) for a, b in itertools.pairwise(edges[1:-1])]
    expected = n * np.array([np.trapezoid(KOU.density(x), x) for x in fine])
    seen = np.histogram(r, edges)[0][1:-1]
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), expected.size - 1) > 0.01
    assert np.isfinite(np.log(KOU.density(np.array([-1.0, 1.0])))).all()


def test_kou_comes_back_and_is_chosen_over_merton_on_its_own_returns() -> None:
    rng = np.random.default_rng(5)
    n = 60_000
    jump = np.where(
        rng.random(n) < KOU.up, rng.exponential(1 / KOU.up_decay, n), -rng.exponential(1 / KOU.down_decay, n)
    )
    r = KOU.drift + rng.normal(0, KOU.sigma, n) + (rng.random(n) < KOU.rate) * jump
    fit = kou.best_diffusion(r)
    assert isinstance(fit, kou.Kou)
    assert fit.sigma == pytest.approx(KOU.sigma, rel=0.02)
    assert fit.rate == pytest.approx(KOU.rate, rel=0.12)
    assert fit.up == pytest.approx(KOU.up, abs=0.08)
    assert fit.up_decay == pytest.approx(KOU.up_decay, rel=0.15)
    assert fit.down_decay == pytest.approx(KOU.down_decay, rel=0.15)


def test_the_choice_falls_on_what_made_the_returns() -> None:
    """Gaussian returns get no jumps in any of twenty samples; normal jumps are Merton's."""
    assert all(
        isinstance(kou.best_diffusion(np.random.default_rng(s).normal(0, 1e-3, 2_000)), diffusion.Gbm)
        for s in range(20)
    )
    assert isinstance(kou.best_diffusion(jump_returns(6, 60_000, SIGMA, 0.01, -0.002, 0.01)[0]), diffusion.Merton)


@pytest.mark.long
def test_gaussian_returns_get_no_jumps_in_95_of_100_samples() -> None:
    plain = [
        isinstance(kou.best_diffusion(np.random.default_rng(s).normal(0, 1e-3, 20_000)), diffusion.Gbm)
        for s in range(100)
    ]
    assert sum(plain) >= 95


@pytest.mark.parametrize("fit", [diffusion.fit_gbm, diffusion.fit_merton, kou.fit_kou])
def test_returns_that_cannot_be_fitted_are_named(fit: object) -> None:
    """Too few of them, and constant prices."""
    with pytest.raises(InputMissing, match="at least"):
        fit(np.array([0.1, np.nan]))  # type: ignore[operator]
    with pytest.raises(InputMissing, match="never move"):
        fit(np.zeros(500))  # type: ignore[operator]


def test_the_errors_of_both_jump_fits_are_their_spread_over_histories() -> None:
    """Thirty histories each: the mean of the told errors is the deviation of the estimates to within a half."""
    histories = [jump_returns(seed, 20_000, SIGMA, 0.02, -0.002, 8 * SIGMA)[0] for seed in range(30)]
    mertons = [diffusion.fit_merton(r) for r in histories]
    told = np.mean([fit.standard_errors(r) for fit, r in zip(mertons, histories, strict=True)], axis=0)
    spread = np.std([(f.drift, f.sigma, f.rate, f.jump_mean, f.jump_sigma) for f in mertons], axis=0)
    np.testing.assert_allclose(told / spread, 1.0, atol=0.5)
    kous = [kou.fit_kou(r) for r in histories]
    told = np.mean([fit.standard_errors(r) for fit, r in zip(kous, histories, strict=True)], axis=0)
    spread = np.std([(f.drift, f.sigma, f.rate, f.up, f.up_decay, f.down_decay) for f in kous], axis=0)
    np.testing.assert_allclose(told / spread, 1.0, atol=0.5)


def test_errors_are_nan_where_the_likelihood_does_not_bend_down() -> None:
    """A saddle has none, whatever its size."""

    def saddle(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(x[1] ** 2 - x[0] ** 2), np.array([-2 * x[0], 2 * x[1]])

    assert np.isnan(diffusion.errors_at(saddle, np.zeros(2), np.ones(2))).all()
    bent = diffusion.errors_at(lambda x: (-2.0 * float(x @ x), -4.0 * x), np.zeros(2), np.array([1.0, 1e-3]))
    np.testing.assert_allclose(bent, 0.5, rtol=1e-6)
