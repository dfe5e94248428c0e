"""A track record's worth where it takes more than one book: luck of the choice, superiority, share of good periods.

Here: books in, one number out, for whoever judges (``validation``, ``truth.runs``). Not here: the statistics themselves
(``metrics``, ``bootstrap``), their limits (``gates``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.books import Book, aligned
from hydra_core.research.bootstrap import superior_predictive_ability
from hydra_core.research.evaluation import correlation
from hydra_core.research.folds import blocks
from hydra_core.research.metrics import backtest_overfitting

PBO_BARS: Final = 48
PBO_BLOCKS: Final = 16
SAME: Final = 0.8
"""Strategies whose returns correlate above this are one bet and count as one in PBO: among equals the first place is luck."""


def until(book: Book, end_ms: int) -> Book:
    """The part of a book before a moment, in whole days."""
    rows, days = book.ts <= end_ms, book.days < end_ms
    return Book(
        book.ts[rows], book.equity[rows], book.days[days], book.daily[days], book.entered_ms[book.entered_ms <= end_ms]
    )


def overfitting(own: Book, others: Sequence[Book], bars: int = PBO_BARS) -> float | None:
    """PBO over the candidate, the trials and the rules, copies of one another counted once; None where it has no answer.

    Parameters
    ----------
    bars : bars of one period of CSCV
    """
    returns = _distinct(_period_returns([own, *others], bars))
    try:
        return backtest_overfitting(returns, PBO_BLOCKS).probability
    except InputMissing:
        return None


def _distinct(returns: Floats) -> Floats:
    """Columns merged (averaged) where they correlate above :data:`SAME`, in order of appearance."""
    groups: list[list[int]] = []
    for column in range(returns.shape[1]):
        for group in groups:
            if correlation(returns[:, group[0]], returns[:, column]) > SAME:
                group.append(column)
                break
        else:
            groups.append([column])
    return np.stack([returns[:, group].mean(axis=1) for group in groups], axis=1)


def _period_returns(books: list[Book], bars: int) -> Floats:
    """Returns of several books over the bars that all of them have, by period of ``bars``, shape (periods, books)."""
    shared: Ints = books[0].ts
    for book in books[1:]:
        shared = np.intersect1d(shared, book.ts)
    marks = shared[::bars]
    equity = np.stack([book.equity[np.searchsorted(book.ts, marks)] for book in books], axis=1)
    return equity[1:] / equity[:-1] - 1


def superiority(own: Book, trials: Sequence[Book]) -> float:
    """P-value of the best of candidate and trials beating an empty book, all of them counted; 1 where it cannot be told."""
    try:
        return superior_predictive_ability(aligned([own, *trials])).consistent
    except InputMissing:
        return 1.0


def good_periods(book: Book) -> float:
    """Share of months (or tenths of a short history) with a profit."""
    parts = blocks(book.days // DAY_MS, np.arange(book.daily.size))
    return float(np.mean([np.prod(1 + book.daily[part]) > 1 for part in parts])) if parts else 0.0
