"""Self-excitation against simulated processes and the brute-force likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics import hawkes
from hydra_core.statistics import point_process as pp
from hydra_core.statistics.processes import hawkes_times as simulate


def test_the_recursion_equals_the_double_sum_and_its_gradient() -> None:
    """Log-likelihood of 300 events to 1e-9 of the O(n^2) sum; its slopes to finite differences."""
    times, end = simulate(1, 0.5, 0.5, 1.0, 350.0)[:300], 350.0
    mu, alpha, beta = 0.4, 0.6, 1.3
    gaps = times[:, None] - times[None, :]
    kernel = np.where(gaps > 0, alpha * beta * np.exp(-beta * np.where(gaps > 0, gaps, 0)), 0).sum(axis=1)
    brute = np.log(mu + kernel).sum() - mu * end - alpha * (1 - np.exp(-beta * (end - times))).sum()
    total, *slopes = pp.hawkes_log_likelihood(times, end, mu, alpha, beta)
    assert total == pytest.approx(brute, rel=1e-9)
    for index, slope in enumerate(slopes):
        step = np.zeros(3)
        step[index] = 1e-6
        up = pp.hawkes_log_likelihood(times, end, *(np.array([mu, alpha, beta]) + step))[0]
        down = pp.hawkes_log_likelihood(times, end, *(np.array([mu, alpha, beta]) - step))[0]
        assert slope == pytest.approx((up - down) / 2e-6, rel=1e-4)


@pytest.mark.parametrize(("mu", "alpha", "beta"), [(0.5, 0.5, 1.0), (0.5, 0.8, 2.0)])
def test_a_fit_recovers_the_process(mu: float, alpha: float, beta: float) -> None:
    """At 20,000 events: background within 10 %, branching within .03, decay within 10 %."""
    end = 20_000 * (1 - alpha) / mu
    fit = pp.fit_hawkes(simulate(2, mu, alpha, beta, end), end)
    assert fit.mu == pytest.approx(mu, rel=0.1)
    assert fit.alpha == pytest.approx(alpha, abs=0.03)
    assert fit.standard_errors(simulate(2, mu, alpha, beta, end), end)[1] == pytest.approx(0.008, rel=0.5)
    assert fit.beta == pytest.approx(beta, rel=0.1)
    assert fit.mean_rate == pytest.approx(mu / (1 - alpha), rel=0.1)


def test_time_rescaling_accepts_the_truth_and_rejects_poisson() -> None:
    """Steps of the true compensator are unit exponentials; those of a constant rate are plainly not."""
    times = simulate(3, 0.5, 0.7, 2.0, 3000.0)
    true = pp.Hawkes(0.5, 0.7, 2.0, 0.0).compensator(times)
    assert stats.kstest(np.diff(true), "expon").pvalue > 0.001
    flat = pp.Hawkes(times.size / 3000.0, 0.0, 1.0, 0.0).compensator(times)
    assert stats.kstest(np.diff(flat), "expon").pvalue < 1e-20


def test_branching_follows_from_counts_alone() -> None:
    """Hardiman and Bouchaud: counts in long windows tell 0.6 from 0 without a fit. Variance over mean of 1,000 windows errs by
    4.5 %, the branching so by .009, and windows of 160 decay times make it .005 too low: three errors and that."""
    times = simulate(4, 0.5, 0.6, 4.0, 40_000.0)
    counts = np.histogram(times, np.arange(0, 40_001, 40))[0].astype(float)
    assert float(hawkes.branching_from_counts(counts.mean(), counts.var())) == pytest.approx(0.6, abs=0.032)
    plain = np.random.default_rng(5).poisson(20, 1000).astype(float)
    assert float(hawkes.branching_from_counts(plain.mean(), plain.var())) < 0.06
    assert float(hawkes.branching_from_counts(np.float64(0), np.float64(0))) == 0


def test_too_few_or_unsorted_events_are_an_error() -> None:
    with pytest.raises(InputMissing, match="at least 50"):
        pp.fit_hawkes(np.arange(10.0), 10.0)
    with pytest.raises(InputMissing, match="coincide"):
        pp.fit_hawkes(np.floor(simulate(6, 0.5, 0.8, 2.0, 500.0)), 500.0)
    with pytest.raises(InputMissing, match="ascend"):
        pp.fit_hawkes(np.arange(60.0)[::-1], 60.0)
