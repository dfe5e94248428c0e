"""The probability of backtest overfitting asks whether the choice was luck, not which of several near copies was taken."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.domain.market import Floats
from hydra_core.research.books import Book
from hydra_core.research.trackrecord import overfitting

PERIODS = 320


def book(returns: Floats) -> Book:
    ts = 300_000 * np.arange(returns.size + 1, dtype=np.int64)
    days = np.zeros(0, np.int64)
    return Book(ts, 10_000 * np.concatenate([[1.0], np.cumprod(1 + returns)]), days, np.zeros(0), days)


def family(rng: np.random.Generator, mean: float, members: int = 4, alike: float = 0.85) -> list[Book]:
    """Strategies of one idea, their returns correlated by ``alike``, ``mean`` in standard deviations of a period."""
    shared = rng.normal(size=(PERIODS, 1))
    own = rng.normal(size=(PERIODS, members))
    returns = 0.01 * (mean + np.sqrt(alike) * shared + np.sqrt(1 - alike) * own)
    return [book(column) for column in returns.T]


def rules(rng: np.random.Generator) -> list[Book]:
    return [book(column) for column in 0.01 * rng.normal(size=(PERIODS, 3)).T]


def probability(seed: int, mean: float, alike: float = 0.85) -> float:
    rng = np.random.default_rng(seed)
    own, *others = [*family(rng, mean, alike=alike), *rules(rng)]
    found = overfitting(own, others, bars=1)
    assert found is not None
    return found


def test_near_copies_of_one_good_strategy_are_one_strategy() -> None:
    """Which of four equals comes first is luck and harms nobody."""
    assert max(probability(seed, 0.5) for seed in range(12)) < 0.2


def test_without_skill_the_choice_stays_luck() -> None:
    found = [probability(seed, 0.0) for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.array(found) < 0.2) < 0.25
