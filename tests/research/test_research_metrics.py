"""Track-record statistics against the papers' numbers, and resampling against what it must recover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.research import metrics as m
from hydra_core.research.bootstrap import (
    day_block_interval,
    mean_interval,
    stationary_indices,
    superior_predictive_ability,
)  # fmt: skip

DAILY = 2.5 / math.sqrt(250)


@pytest.mark.parametrize(
    ("trials", "skew", "kurt", "value"), [(100, -3, 10, 0.9004), (46, -3, 10, 0.9505), (88, 0, 3, 0.9505)]
)
def test_the_deflated_sharpe_ratio_is_the_papers(trials, skew, kurt, value):
    assert m.deflated_sharpe(DAILY, 1250, skew, kurt, trials, 0.5 / 250) == pytest.approx(value, abs=5e-5)
    assert m.expected_max_sharpe(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)


def test_the_probabilistic_sharpe_ratio_is_the_papers():
    ratio = 0.036 / 0.079
    assert m.probabilistic_sharpe(ratio, 24, -2.448, 10.164) == pytest.approx(0.9127, abs=5e-5)
    assert m.probabilistic_sharpe(ratio, 24, 0, 3) == pytest.approx(0.9812, abs=5e-5)


@pytest.mark.parametrize(("trials", "value"), [(10, 1.5746), (45, 2.2356), (100, 2.5306), (1000, 3.2551), (1, 0)])
def test_the_expected_maximum(trials, value):
    assert m.expected_max_sharpe(trials) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize(
    ("annual", "skew", "kurt", "days"),
    [(1, 0, 3, 990), (2, 0, 3, 249), (3, 0, 3, 112), (1, -1, 10, 1046), (2, -1, 10, 280), (3, -1, 10, 134)],
)
def test_the_least_track_record(annual, skew, kurt, days):
    found = m.min_track_record(annual / math.sqrt(365), skew, kurt)
    assert found == pytest.approx(days, abs=1)
    assert m.probabilistic_sharpe(annual / math.sqrt(365), found, skew, kurt) == pytest.approx(0.95)
    assert m.min_track_record(0.0) == math.inf


def test_psr_and_dsr_of_a_series_agree_with_their_closed_forms():
    returns = np.random.default_rng(7).normal(0.002, 0.02, 600)
    ratio = m.sharpe(returns)
    assert m.psr(returns) == m.probabilistic_sharpe(ratio, 600, m.skewness(returns), m.kurtosis(returns))
    assert m.dsr(returns, np.array([ratio])) == pytest.approx(m.psr(returns))
    assert m.dsr(returns, np.array([ratio, 0.0, -0.1])) < m.psr(returns)
    copies = np.full(50, ratio)
    assert m.dsr(returns, copies) < m.psr(returns)


def test_a_series_that_does_not_move_has_no_sharpe_and_one_with_holes_is_refused():
    assert m.sharpe(np.zeros(10)) == 0
    assert (m.skewness(np.ones(5)), m.kurtosis(np.ones(5))) == (0, 3)
    with pytest.raises(InputMissing):
        m.sharpe(np.array([0.1, np.nan]))
    with pytest.raises(InputMissing):
        m.sharpe(np.array([0.1]))


def test_another_book_is_compared_at_equal_risk():
    """Ten times the size is ten times the mean and not a better book; one that never moves earns nothing at any size."""
    daily = np.random.default_rng(3).normal(1e-3, 1e-2, 400)
    assert m.at_equal_risk(10 * daily, daily) == pytest.approx(daily.mean())
    assert m.at_equal_risk(daily, 2 * daily) == pytest.approx(2 * daily.mean())
    assert m.at_equal_risk(np.zeros(400), daily) == 0.0


def test_drawdown_is_measured_from_the_peak():
    assert m.max_drawdown(np.array([100.0, 120, 90, 130, 117])) == pytest.approx(0.25)
    assert m.max_drawdown(np.array([1.0, 2, 3])) == 0


def test_overfitting_is_even_on_noise_and_nil_where_one_trial_is_good():
    rng = np.random.default_rng(7)
    noise = [m.backtest_overfitting(rng.normal(0, 0.01, (480, 30)), 10).probability for _ in range(12)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.15)
    good = rng.normal(0, 0.01, (1000, 30))
    good[:, 4] += 0.003
    found = m.backtest_overfitting(good)
    assert found.logits.size == math.comb(16, 8)
    assert found.probability < 0.05


def test_overfitting_needs_enough_of_everything():
    for shape in ((100, 1), (20, 5)):
        with pytest.raises(InputMissing):
            m.backtest_overfitting(np.zeros(shape))


def test_the_stationary_bootstrap_draws_runs_of_the_length_asked_for():
    rows = stationary_indices(1000, 8.0, 200, np.random.default_rng(7))
    assert rows.min() >= 0
    assert rows.max() < 1000
    follows = ((rows[:, 1:] - rows[:, :-1]) % 1000 == 1).mean()
    assert follows == pytest.approx(1 - 1 / 8, abs=0.01)
    assert np.bincount(rows.ravel(), minlength=1000).std() < 30  # every row is as likely


def coverage(kernel, mean_block):
    rng = np.random.default_rng(7)
    series = [np.convolve(rng.standard_normal(300), kernel, "valid") for _ in range(150)]
    found = [mean_interval(values, mean_block, draws=300, seed=seed) for seed, values in enumerate(series)]
    return np.mean([interval.low <= 0 <= interval.high for interval in found])


def test_the_interval_of_a_mean_covers_as_often_as_it_says_and_blocks_are_why():
    assert coverage([1.0], 1.0) == pytest.approx(0.95, abs=0.05)
    hanging_together = [0.5, 0.4, 0.3, 0.2, 0.1]
    assert coverage(hanging_together, 12.0) > 0.85
    assert coverage(hanging_together, 1.0) < 0.75


def test_the_day_interval_keeps_days_whole():
    days = np.repeat(np.arange(40), 24)
    level = np.random.default_rng(7).normal(0, 1, 40)
    values = level[days]
    by_day = day_block_interval(days, lambda rows: float(values[rows].mean()), block_days=1)
    assert by_day.value == pytest.approx(level.mean())
    assert by_day.high - by_day.low == pytest.approx(2 * 1.96 * level.std() / math.sqrt(40), rel=0.2)
    with pytest.raises(InputMissing):
        day_block_interval(np.zeros(100, np.int64), lambda rows: 0.0)


def test_superiority_is_found_where_it_is_and_not_in_noise():
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 0.01, (400, 20))
    assert superior_predictive_ability(noise).consistent > 0.05
    good = noise.copy()
    good[:, 3] += 0.003
    found = superior_predictive_ability(good)
    assert found.consistent < 0.01
    assert found.lower <= found.consistent <= found.upper
    assert superior_predictive_ability(noise - 0.01).consistent == 1.0


def test_superiority_rejects_noise_no_more_often_than_it_says():
    rng = np.random.default_rng(7)
    found = [superior_predictive_ability(rng.normal(0, 1, (150, 10)), draws=200, seed=k).consistent for k in range(100)]
    assert np.mean(np.array(found) < 0.05) <= 0.11
