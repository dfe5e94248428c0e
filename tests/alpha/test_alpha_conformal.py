"""Conformal intervals hold what they promise: on exchangeable scores, and where volatility switches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_core.alpha.forecaster.conformal import AdaptiveWidth, adaptive_widths, conformal_width
from hydra_core.domain.errors import InputMissing


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
