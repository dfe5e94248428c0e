"""Conformal intervals hold what they promise: on exchangeable scores, and where volatility switches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics.conformal import AdaptiveWidth, adaptive_widths, conformal_width


def test_the_width_is_the_rank_that_the_promise_needs() -> None:
    assert conformal_width(np.arange(1.0, 10.0), 0.9) == 9.0
    assert conformal_width(np.append(np.arange(1.0, 100.0), np.nan), 0.9) == 90.0
    with pytest.raises(InputMissing, match="8 scores"):
        conformal_width(np.arange(8.0), 0.9)


def test_nine_of_ten_new_scores_are_inside() -> None:
    rng = np.random.default_rng(0)
    held = [
        (scores[99:] <= conformal_width(scores[:99])).mean()
        for scores in np.abs(rng.standard_t(4, size=(400, 299)))
    ]  # fmt: skip
    assert np.mean(held) == pytest.approx(0.9, abs=0.01)


def test_adaptive_intervals_hold_over_all_and_in_every_regime() -> None:
    """Volatility doubles and halves; the forecast of it lags: 90 % within one, and 85 % in each regime."""
    rng = np.random.default_rng(1)
    count = 40_000
    turbulent = (np.arange(count) // 1_000) % 2 == 1
    scores = np.abs(rng.normal(size=count)) * np.where(turbulent, 2.0, 1.0)
    widths = adaptive_widths(scores, 0.9, rate=0.02, window=500)
    held = scores <= widths
    assert held.mean() == pytest.approx(0.9, abs=0.01)
    assert min(held[turbulent].mean(), held[~turbulent].mean()) >= 0.85
    fixed = scores[1_000:] <= conformal_width(scores[:1_000])
    assert fixed[turbulent[1_000:]].mean() < 0.75


def test_the_bound_of_the_adaptive_level_holds_on_any_scores() -> None:
    scores = np.concatenate([np.linspace(0, 1, 700), np.zeros(600), np.linspace(5, 500, 700)])
    widths = adaptive_widths(scores, 0.9, rate=0.05)
    missed = (scores > widths).mean()
    assert abs(missed - 0.1) <= (0.9 + 0.05) / (0.05 * scores.size)


def test_a_width_is_made_of_earlier_scores_alone_and_unknown_ones_change_nothing() -> None:
    rng = np.random.default_rng(2)
    scores = np.abs(rng.normal(size=500))
    changed = scores.copy()
    changed[300:] = 1_000.0
    assert np.array_equal(adaptive_widths(scores)[:301], adaptive_widths(changed)[:301])
    gaps = np.insert(scores, 100, np.nan)
    assert np.array_equal(np.delete(adaptive_widths(gaps), 100), adaptive_widths(scores))
    assert AdaptiveWidth().width == math.inf


def test_few_scores_leave_room_for_what_they_have_not_shown_and_overlapping_ones_the_more() -> None:
    """Nineteen scores hold nineteen of twenty by their largest; of scores that overlap by four, four times as many do."""
    scores = np.random.default_rng(3).normal(size=200)
    for overlap in (1, 4):
        widths = adaptive_widths(scores, 0.95, rate=0.0, overlap=float(overlap))
        assert np.isinf(widths[: 19 * overlap]).all()
        assert widths[19 * overlap] == scores[: 19 * overlap].max()
    assert adaptive_widths(scores, 0.95, rate=0.0)[-1] == conformal_width(scores[:-1], 0.95)


def test_scores_that_come_late_are_held_against_the_width_that_was_said_of_them() -> None:
    """Known three moments after their intervals are said: each width is of those alone that were known, each miss is of the
    interval that was said. A follower led by hand says the same."""
    scores = np.abs(np.random.default_rng(4).standard_t(3, 600))
    moments = 10 * np.arange(600)
    found = adaptive_widths(scores, rate=0.02, window=200, when=(moments, moments + 30))
    by_hand, said = AdaptiveWidth(rate=0.02, window=200), []
    promised = []
    for row in range(600):
        if row >= 3 and promised[row - 3]:
            held = by_hand.update(scores[row - 3], said[row - 3])
            assert held == (scores[row - 3] <= said[row - 3])
        elif row >= 3:
            by_hand.learn(scores[row - 3])
        said.append(by_hand.width)
        promised.append(by_hand.ready)
    assert np.array_equal(found, said)
    assert (scores <= found)[100:].mean() == pytest.approx(0.9, abs=0.015)
    changed = scores.copy()
    changed[298:] = 50.0
    again = adaptive_widths(changed, rate=0.02, window=200, when=(moments, moments + 30))
    assert np.array_equal(again[:301], found[:301])
    assert again[301] != found[301]


def test_a_follower_that_held_too_much_says_an_empty_interval_and_recovers() -> None:
    """Equal scores are held whatever the level, until only an empty interval is left; then the share comes back to nine in
    ten, as the bound says."""
    widths = adaptive_widths(np.ones(4_000), 0.9, rate=0.05)
    assert (widths == -math.inf).any()
    assert (widths >= 1.0)[1_000:].mean() == pytest.approx(0.9, abs=0.01)
