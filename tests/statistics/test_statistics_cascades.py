"""Cascades injected into simulated liquidations: found within seconds, hardly an alarm without one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics.cascades import NOTIONAL, ON, RATE, CascadeDetector, CascadeRule, calibrated, detect_cascades
from hydra_core.statistics.processes import cascading_events
from hydra_core.statistics.truths import cascade_score

RULE = CascadeRule(mu=0.2, alpha=0.478, beta=0.5, gamma=0.3, median_size=1.0, mean_rate=0.4, start_multiple=9.0)


def test_injected_cascades_are_found_and_quiet_days_are_quiet() -> None:
    """Twenty cascades in ten days of a known process: nearly all found within seconds, at most two alarms besides."""
    times, sizes, starts = cascading_events(1, 10.0, 20, mu=0.2)
    alarms, ends = detect_cascades(times, sizes, RULE)
    hits = [alarms[(alarms >= s) & (alarms < s + 60)] for s in starts]
    assert sum(h.size > 0 for h in hits) >= 19
    assert np.median([h[0] - s for h, s in zip(hits, starts, strict=True) if h.size]) <= 10
    since = alarms - starts[np.maximum(np.searchsorted(starts, alarms, side="right") - 1, 0)]
    assert ((since < 0) | (since > 300)).sum() <= 2
    assert alarms.size - ends.size in (0, 1)
    assert (ends > alarms[: ends.size]).all()


@pytest.mark.long
def test_the_score_of_a_fitted_and_calibrated_detector_reaches_its_goal() -> None:
    """Recall .95, at most .2 false alarms a day, median delay at most ten seconds, over three seeds."""
    scores = [cascade_score(seed) for seed in (11, 12, 13)]
    assert np.mean([s.recall for s in scores]) >= 0.95
    assert np.mean([s.false_per_day for s in scores]) <= 0.2
    assert max(s.delay_s for s in scores) <= 10


def test_an_event_at_a_time_is_the_same_as_all_at_once() -> None:
    times, sizes, _ = cascading_events(2, 2.0, 6, mu=0.05)
    readings, starts, _ = CascadeDetector(RULE).run(times, sizes)
    live = CascadeDetector(RULE)
    one_by_one = np.array([live.update(float(t), float(s)).copy() for t, s in zip(times, sizes, strict=True)])
    np.testing.assert_array_equal(one_by_one, readings)
    begun = times[np.flatnonzero(np.diff(readings[:, ON], prepend=0.0) > 0)]
    assert set(begun) <= set(starts)


def test_the_intensity_and_the_notional_are_those_of_their_definitions() -> None:
    times, sizes, _ = cascading_events(3, 0.2, 1, mu=0.2)
    readings, _, _ = CascadeDetector(RULE).run(times, sizes)
    k = times.size - 1
    ages = times[k] - times
    expected = RULE.mu + RULE.alpha * RULE.beta * (sizes**RULE.gamma * np.exp(-RULE.beta * ages)).sum()
    assert readings[k, RATE] == pytest.approx(expected, rel=1e-9)
    assert readings[k, NOTIONAL] == pytest.approx(sizes[np.floor(times[k]) - np.floor(times) < 60].sum(), rel=1e-12)


def test_a_cascade_ends_when_the_intensity_has_faded_and_a_pause_can_be_asked_about() -> None:
    detector = CascadeDetector(RULE)
    for k in range(60):
        detector.update(0.05 * k, 3.0)
    assert detector.on_at(3.0)
    rate = detector.rate_at(3.0)
    assert rate > RULE.start_multiple * RULE.mean_rate
    fades = 2.95 + math.log((detector.rate_at(2.95) - RULE.mu) / (2 * RULE.mean_rate - RULE.mu)) / RULE.beta
    assert detector.on_at(fades - 0.01)
    assert not detector.on_at(fades + 0.01)
    assert CascadeDetector(RULE).rate_at(5.0) == RULE.mu


def test_the_minute_must_be_beyond_what_the_month_has_seen() -> None:
    """Two days in which every minute held as much: the third such minute is no cascade, one ten times as large is."""

    def days(last: float) -> int:
        times = np.concatenate([60.0 * m + np.arange(30) * 0.05 for m in range(2 * 1440)])
        sizes = np.full(times.size, 3.0)
        sizes[-30:] = last
        starts, _ = detect_cascades(times, sizes, RULE)
        return int((starts >= times[-30]).sum())

    assert days(3.0) == 0
    assert days(30.0) == 1


def test_a_rule_is_raised_until_quiet_history_is_quiet() -> None:
    times, sizes, _ = cascading_events(4, 3.0, 0, mu=0.2)
    loose = CascadeRule(mu=0.2, alpha=0.478, beta=0.5, gamma=0.3, median_size=1.0, mean_rate=0.4)
    tight = calibrated(loose, times, sizes, per_day=0.34)
    assert tight.start_multiple > loose.start_multiple
    assert detect_cascades(times, sizes, tight)[0].size <= 1 < detect_cascades(times, sizes, loose)[0].size
    with pytest.raises(InputMissing, match="at least a day"):
        calibrated(loose, times[:10], sizes[:10], per_day=1.0)


def test_nonsense_is_refused() -> None:
    detector = CascadeDetector(RULE)
    detector.update(10.0, 1.0)
    for time_s, size in ((9.0, 1.0), (11.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(InputMissing, match="in order"):
            detector.update(time_s, size)
    with pytest.raises(InputMissing, match="out of order"):
        detector.run(np.array([2.0, 1.0]), np.ones(2))
    with pytest.raises(InputMissing, match="above zero"):
        CascadeRule(0.0, 0.5, 1.0, 0.0, 1.0, 1.0)
    with pytest.raises(InputMissing, match="end_multiple"):
        CascadeRule(0.1, 0.5, 1.0, 0.0, 1.0, 1.0, start_multiple=2.0)
