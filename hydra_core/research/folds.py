"""Which rows train, choose and test: chronological, purged, embargoed, with a last part that is read once.

The last share of the history is the lock-box. What precedes it is development, cut into an initial training span and
equal test blocks; each fold trains on everything before its block (expanding). Between any two spans a gap of horizon
plus embargo rows is left out, so no label of an earlier span reaches into a later one.

Not here: who reads the lock-box how often (``trials``), what is computed on the rows. Source: López de Prado (2018),
chs. 7 and 12.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Ints

FIRST_TRAIN_SHARE = 0.4
"""Share of development that the first fold trains on."""
VALID_SHARE = 0.15
"""Newest share of a training span that chooses penalty, epoch and calibration instead of training."""
_LEAST_ROWS = 96


@dataclass(frozen=True, slots=True)
class Span:
    """Rows [start, end)."""

    start: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.start)

    def rows(self, stride: int = 1) -> Ints:
        """Row numbers, every ``stride``-th."""
        return np.arange(self.start, self.end, stride, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Fold:
    """One training span, the newest part of it that chooses, and the block it is tested on."""

    train: Span
    valid: Span
    test: Span


@dataclass(frozen=True, slots=True)
class Folds:
    """The whole protocol over one history of ``rows`` rows, of which the first ``warm_up`` are never used."""

    rows: int
    warm_up: int
    gap: int
    folds: tuple[Fold, ...]
    final: Fold
    """All of development as training; its test span is the lock-box."""

    @property
    def lockbox(self) -> Span:
        """The last part of the history."""
        return self.final.test

    @property
    def development(self) -> Span:
        """Everything before the lock-box and its gap."""
        return Span(self.warm_up, self.final.valid.end)

    @property
    def out_of_sample(self) -> Span:
        """From the first test block to the end of development."""
        return Span(self.folds[0].test.start, self.folds[-1].test.end)


def walk_forward(
    n_rows: int, folds: int, horizon: int, embargo: int, lockbox_share: float, *, warm_up: int = 0
) -> Folds:
    """Cut a history.

    Parameters
    ----------
    n_rows : rows of the panel
    folds : test blocks in development
    horizon : rows that a label reaches ahead
    embargo : further rows left out between spans
    lockbox_share : share of ``n_rows`` kept for the end
    warm_up : first rows that are never used (features look back over them)

    Raises
    ------
    InputMissing : a span would be shorter than 96 rows
    """
    gap = horizon + 1 + embargo
    lockbox_start = n_rows - int(n_rows * lockbox_share)
    development = Span(warm_up, lockbox_start - gap)
    first_test = warm_up + int(len(development) * FIRST_TRAIN_SHARE)
    edges = np.linspace(first_test, development.end, folds + 1).astype(int)
    made = tuple(_fold(warm_up, int(a), int(b), gap) for a, b in itertools.pairwise(edges))
    final = _fold(warm_up, lockbox_start, n_rows - horizon - 1, gap)
    shortest = min(len(span) for fold in (*made, final) for span in (fold.train, fold.valid, fold.test))
    if shortest < _LEAST_ROWS:
        raise InputMissing(
            f"{n_rows} rows with a warm-up of {warm_up} give spans of {shortest} rows, {_LEAST_ROWS} are needed",
            "Collect a longer history",
        )
    return Folds(n_rows, warm_up, gap, made, final)


def _fold(warm_up: int, test_start: int, test_end: int, gap: int) -> Fold:
    train_end = test_start - gap
    valid_start = train_end - int((train_end - warm_up) * VALID_SHARE)
    return Fold(Span(warm_up, valid_start - gap), Span(valid_start, train_end), Span(test_start, test_end))


@dataclass(frozen=True, slots=True)
class Combination:
    """One way of testing on some groups and training on the rest.

    Parameters
    ----------
    groups : numbers of the groups tested on
    test : those groups
    train : what is left, purged and embargoed at every border with a tested group
    """

    groups: tuple[int, ...]
    test: tuple[Span, ...]
    train: tuple[Span, ...]


def combinatorial(rows: Span, groups: int, tested: int, purge: int, embargo: int = 0) -> tuple[Combination, ...]:
    """Every choice of ``tested`` of ``groups`` equal parts: combinatorial purged cross-validation.

    For diagnosis of a choice only, never for a score: most of its training lies after what it is tested on.

    Parameters
    ----------
    rows : what is cut
    purge : rows left out of training before a tested group (the horizon, plus one)
    embargo : further rows left out after it

    Raises
    ------
    InputMissing : a group would be shorter than the gaps around it
    """
    edges = np.linspace(rows.start, rows.end, groups + 1).astype(int)
    if not 0 < tested < groups or int(np.diff(edges).min()) <= 2 * purge + embargo:
        raise InputMissing(
            f"{len(rows)} rows in {groups} groups, {tested} of them tested, with gaps of {purge} and {embargo}",
            "Take fewer groups, or a longer history",
        )
    parts = [Span(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    made = []
    for chosen in itertools.combinations(range(groups), tested):
        train: list[Span] = []
        for number, part in enumerate(parts):
            if number in chosen:
                continue
            start = part.start + (purge + embargo if number - 1 in chosen else 0)
            end = part.end - (purge if number + 1 in chosen else 0)
            if train and train[-1].end == start:
                train[-1] = Span(train[-1].start, end)
            else:
                train.append(Span(start, end))
        made.append(Combination(chosen, tuple(parts[number] for number in chosen), tuple(train)))
    return tuple(made)


def paths(groups: int, tested: int) -> Ints:
    """Which combination tells each group's part of each path, shape (paths, groups).

    The C(groups, tested) combinations together test every group C(groups - 1, tested - 1) times: so many whole histories can
    be pieced together from them.
    """
    chosen = list(itertools.combinations(range(groups), tested))
    by_group = [[number for number, members in enumerate(chosen) if group in members] for group in range(groups)]
    return np.array(by_group, np.int64).T


def blocks(days: Ints, rows: Ints, least_days: int = 304, count: int = 10) -> list[Ints]:
    """Months of a long history, else equal blocks: what the share of profitable periods is counted over.

    Parameters
    ----------
    days : array (n,), day numbers since the epoch, ascending
    rows : array (n,), what to cut (returned piecewise)
    least_days : span from which on calendar months are used (ten months)
    count : blocks for shorter spans
    """
    if days.size and int(days[-1] - days[0]) >= least_days:
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        starts = np.flatnonzero(np.diff(months, prepend=months[0] - 1))
        return list(np.split(rows, starts[1:]))
    return [part for part in np.array_split(rows, count) if part.size]
