"""Intervals of realised variance hold nine outcomes of ten: on the reference market, where errors grow, and on real history."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from real_history import FOLDER, needs

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Floats
from hydra_core.research.truth import recorded
from hydra_core.statistics.har import fit_log_har, future_variance
from hydra_core.statistics.league import LEAST, OURS, volatility_league
from hydra_core.statistics.rolling import change
from hydra_core.statistics.truths import interval_score
from hydra_core.statistics.variance_intervals import VarianceIntervals, variance_intervals

POINTS = 0.015
"""What the share may differ from nine in ten."""


def walk(seed: int, rows: int, spread: Floats | float = 0.4) -> tuple[Floats, Floats]:
    """Forecasts that wander, and outcomes that lie off by a skew log error of this spread; (rows, 1) each."""
    rng = np.random.default_rng(seed)
    forecast = 1e-6 * np.exp(0.05 * np.cumsum(rng.normal(size=rows)))
    error = spread * (rng.gumbel(size=rows) - 0.5)
    return (forecast * np.exp(error))[:, None], forecast[:, None]


def test_nine_of_ten_outcomes_of_the_reference_market_lie_within() -> None:
    """Three draws of 600 days of 96 bars after 900 to learn from: 43,000 hours, whose share errs by .0015 if hits were drawn
    at random, and 1,800 days, whose share errs by .007. One in twenty lies below, as many above."""
    made = [interval_score(seed, 1_500, 900, 96) for seed in (7, 8, 9)]
    for name in ("hour", "day"):
        found = [score[name] for score in made]
        print(name, found)
        assert sum(one.count for one in found) > 41_000
        assert np.mean([one.share for one in found]) == pytest.approx(0.9, abs=POINTS)
        assert np.mean([one.below for one in found]) == pytest.approx(0.05, abs=POINTS)
        assert np.mean([one.wild for one in found]) == pytest.approx(0.9, abs=2 * POINTS)
        assert all(0.2 < one.low < 0.8 and 1.2 < one.high < 2.0 for one in found)
        assert all(one.unbounded < 0.001 * one.count for one in found)


def test_an_interval_tells_of_no_outcome_that_was_not_known_when_it_was_said() -> None:
    """Rows every three bars, outcomes over twelve: what is not known at a row's close changes nothing up to that row, what is
    becomes part of the very next interval; and a prefix of the rows gives a prefix of the intervals."""
    outcome, forecast = walk(1, 900)
    rows = 1_000 + 3 * np.arange(900)
    found = variance_intervals(rows, 12, 3, outcome, forecast)
    for at in (90, 400, 777):
        other, later = outcome.copy(), forecast.copy()
        unknown = rows + 12 > rows[at]
        other[unknown] *= np.random.default_rng(at).uniform(0.01, 100.0, (unknown.sum(), 1))
        later[at + 1 :] *= 3.0
        changed = variance_intervals(rows, 12, 3, other, later)
        part = variance_intervals(rows[: at + 1], 12, 3, outcome[: at + 1], forecast[: at + 1])
        for name in ("lower", "upper"):
            truth = getattr(found, name)[: at + 1]
            assert np.isfinite(truth[at]).all()
            np.testing.assert_array_equal(getattr(changed, name)[: at + 1], truth)
            np.testing.assert_array_equal(getattr(part, name), truth)
        known = outcome.copy()
        known[at - 4] *= 1e6  # its last bar is the row itself
        assert variance_intervals(rows, 12, 3, known, forecast).upper[at] > found.upper[at]


def test_there_is_no_interval_before_nineteen_outcomes_that_do_not_overlap() -> None:
    """Of outcomes over four rows each, four times as many, and three more rows until they are known."""
    outcome, forecast = walk(2, 200)
    for every, first in ((12, 19), (3, 4 * 19 + 3)):
        found = variance_intervals(every * np.arange(200), 12, every, outcome, forecast)
        assert np.isnan(found.lower[:first]).all()
        assert np.isnan(found.upper[:first]).all()
        assert np.isfinite(found.lower[first:]).all()
        assert (found.lower[first:] < found.upper[first:]).all()
        assert np.isnan(found.held(outcome)[:first]).all()
        assert found.told(outcome, forecast).count == 200 - first
    with pytest.raises(InputMissing, match="none with an interval"):
        variance_intervals(np.arange(19), 1, 1, outcome[:19], forecast[:19]).told(outcome[:19], forecast[:19])
    with pytest.raises(InputMissing, match="Give it one of each"):
        variance_intervals(np.arange(19), 1, 1, outcome[:19], forecast[:18])


def test_intervals_follow_errors_that_grow_and_shrink() -> None:
    """Errors double for three months of hours and halve again: nine in ten in every stretch within three points, where the
    quantiles of the first stretch would hold less than seven in ten of the second."""
    stretch = 2_000
    spread = np.where(np.arange(12 * stretch) // stretch % 2 == 1, 0.6, 0.3)
    outcome, forecast = walk(3, 12 * stretch, spread)
    rows = 12 * np.arange(12 * stretch)
    held = variance_intervals(rows, 12, 12, outcome, forecast).held(outcome)[:, 0]
    assert np.nanmean(held) == pytest.approx(0.9, abs=0.005)
    for part in held.reshape(12, stretch):
        assert np.nanmean(part) == pytest.approx(0.9, abs=0.03)
    error = np.log(outcome / forecast)[:, 0]
    low, high = np.quantile(error[:stretch], [0.05, 0.95])
    second = error[stretch : 2 * stretch]
    assert ((low <= second) & (second <= high)).mean() < 0.7


def test_what_intervals_held_is_counted_by_hand() -> None:
    """An open upper end holds what lies above the lower one, an empty interval nothing; the tenth with the largest forecasts
    is one row of ten."""
    forecast = np.arange(1.0, 11.0)[:, None]
    lower, upper = 0.25 * forecast, 4.0 * forecast
    lower[0] = upper[0] = np.nan
    upper[1] = np.inf
    lower[2] = np.inf
    outcome = forecast.copy()
    outcome[1] = 1_000.0
    outcome[3] = 0.1
    outcome[9] = 100.0
    told = VarianceIntervals(0.9, lower, upper).told(outcome, forecast)
    assert (told.count, told.unbounded) == (9, 1)
    assert told.share == pytest.approx(6 / 9)
    assert told.below == pytest.approx(2 / 9)
    assert told.wild == 0.0
    assert (told.low, told.high) == (0.5, 2.0)


@pytest.mark.long
def test_over_ten_draws_of_the_reference_market_the_promise_is_kept_in_each() -> None:
    """970 days a draw after 1,500: each draw's hours within half a point, its days within a point and a half."""
    made = [interval_score(seed) for seed in range(40, 50)]
    for score in made:
        print(score)
        assert score["hour"].share == pytest.approx(0.9, abs=0.005)
        assert score["day"].share == pytest.approx(0.9, abs=POINTS)
    for name in ("hour", "day"):
        assert np.mean([score[name].wild for score in made]) == pytest.approx(0.9, abs=POINTS + 0.005)


def utc_ms(month: int) -> int:
    return int(datetime(2025, month, 1, tzinfo=UTC).timestamp() * 1000)


def by_group(held: Floats, group: np.ndarray) -> dict[str, float]:
    """Share held by month or year."""
    known = np.isfinite(held).any(axis=1)
    return {str(at): float(np.nanmean(held[known & (group == at)])) for at in np.unique(group[known])}


@pytest.mark.long
@pytest.mark.timeout(1_800)
@needs(FOLDER / "candles" / "5m")
@pytest.mark.parametrize(("horizon", "every", "months"), [(12, 3, POINTS), (288, 12, 0.09)])
def test_nine_of_ten_hours_and_days_of_real_history_lie_within(horizon: int, every: int, months: float) -> None:
    """May to October 2025, refitted monthly. A month of hours keeps the promise by itself; a month has thirty days, whose
    share errs by five points and more, and October 2025 holds a crash after which forecasts stayed too high."""
    panel = recorded.hours(FOLDER, Interval.M5)
    league = volatility_league(panel, horizon, [utc_ms(m) for m in range(5, 11)], utc_ms(11), every)
    said = league.intervals(OURS)
    held, told = said.held(league.outcome), said.told(league.outcome, league.forecasts[OURS])
    when = panel.close_ms[league.rows].astype("datetime64[ms]").astype("datetime64[M]")
    found = by_group(held, when)
    print(f"{horizon} bars: {told}\n{found}\nby pair {np.nanmean(held, axis=0)}")
    assert told.share == pytest.approx(0.9, abs=POINTS)
    assert told.below == pytest.approx(0.05, abs=POINTS)
    assert np.abs(np.array(list(found.values())) - 0.9).max() < months
    if horizon == 12:
        assert told.wild == pytest.approx(0.9, abs=POINTS)
        assert np.abs(np.nanmean(held, axis=0) - 0.9).max() < POINTS


@pytest.mark.long
@needs(FOLDER / "candles" / "1h")
def test_days_of_three_years_of_real_hours_lie_within_and_so_do_the_wildest() -> None:
    """A day ahead by a log-HAR of hourly returns, refitted each quarter after a year: over all, in the tenth with the largest
    forecasts, and for every pair within the goal; in every year within three points, which is what chance does to a year."""
    panel = recorded.hours(FOLDER)
    square = change(np.log(panel.close), 1) ** 2
    horizon, begin, quarter = 24, 8_760, 2_190
    outcome = np.maximum(future_variance(square, horizon), LEAST)
    forecast = np.full(square.shape, np.nan)
    for at in range(begin, len(panel), quarter):
        for p in range(square.shape[1]):
            fit = fit_log_har(square[: at - horizon, p], (3, 12, 24, 168, 720), horizon)
            forecast[at : at + quarter, p] = fit.predict(square[: at + quarter, p])[at:]
    rows = np.arange(begin, len(panel) - horizon)
    said = variance_intervals(rows, horizon, 1, outcome[rows], forecast[rows])
    held, told = said.held(outcome[rows]), said.told(outcome[rows], forecast[rows])
    found = by_group(held, panel.ts[rows].astype("datetime64[ms]").astype("datetime64[Y]"))
    print(f"{told}\n{found}\nby pair {np.nanmean(held, axis=0)}")
    assert told.count > 150_000
    assert told.share == pytest.approx(0.9, abs=POINTS)
    assert told.wild == pytest.approx(0.9, abs=POINTS)
    assert np.abs(np.nanmean(held, axis=0) - 0.9).max() < POINTS
    assert np.abs(np.array(list(found.values())) - 0.9).max() < 2 * POINTS
