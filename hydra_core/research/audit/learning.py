"""L2, L4, L6 and L7: what a learner finds where there is nothing to find, or should find less and less.

A leak between training and test rows is found by a learner that can remember, so the suite brings two: ridge regression
and boosted trees. Not here: how rows are cut (``folds``), a candidate's own skill (``evaluation``).

Sources: notes on research honesty, section 5.5; Ke et al., "LightGBM" (2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.forecaster.windows import Features
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.evaluation import correlation, effective_count

MOST_VALUES: Final = 16_000
"""Training values that the trees see: enough to remember their neighbours, few enough for a second."""
SURE: Final = 4.0
"""Standard errors from which on a skill that should be nil is a finding."""
_MEMORY: Final = 400
"""Rows before a border that the neighbours are looked for in."""
LEAST_SHARE: Final = 0.5
"""Share of the correlation that must be left one bar later."""

Learner = Callable[[Features, Floats, Ints, Ints], Floats]
"""(features (T, P, F), labels (T, P), train rows, test rows) -> forecasts (test rows, P)."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to learn from and rows to be tested on.

    Parameters
    ----------
    features : array (T, P, F)
    label : array (T, P), scaled forward return over ``horizon`` rows, NaN where unknown
    train, test : row numbers
    """

    features: Features
    label: Floats
    horizon: int
    train: Ints
    test: Ints


def ridge(features: Features, label: Floats, train: Ints, test: Ints) -> Floats:
    """Ridge regression, its penalty chosen on the last fifth of the training rows."""
    usable = np.asarray(np.isfinite(features).all(axis=2))
    cut = int(train.size * 0.8)
    return fit_linear(features, label, usable, train[:cut], train[cut:]).predict(features, test)


def trees(features: Features, label: Floats, train: Ints, test: Ints) -> Floats:
    """Boosted trees that can remember single stretches of the training rows."""
    import lightgbm

    known = np.isfinite(label[train]) & np.isfinite(features[train]).all(axis=2)
    x, y = features[train][known], label[train][known]
    if len(x) > MOST_VALUES:
        kept = np.sort(np.random.default_rng(0).choice(len(x), MOST_VALUES, replace=False))
        x, y = x[kept], y[kept]
    settings = {
        "objective": "regression",
        "num_leaves": 127,
        "min_data_in_leaf": 10,
        "learning_rate": 0.1,
        "num_threads": 1,
        "verbose": -1,
        "seed": 1,
        "deterministic": True,
    }
    model = lightgbm.train(settings, lightgbm.Dataset(x, np.clip(y, -4, 4)), num_boost_round=60)
    flat = features[test].reshape(-1, features.shape[2])
    return np.asarray(model.predict(flat, num_threads=1), np.float64).reshape(test.size, -1)


LEARNERS: Final[dict[str, Learner]] = {"ridge": ridge, "trees": trees}


def permuted_labels(problem: Problem, *, learners: Sequence[str] = ("ridge", "trees"), seed: int = 7) -> AuditLine:
    """L2: with labels shuffled in blocks nothing can be learnt; what is learnt all the same came over the border.

    Blocks are a few horizons long, so labels still overlap within them as real ones do: a test row whose neighbours were
    trained on gives itself away.
    """
    label = shuffled_blocks(problem.label, 4 * problem.horizon, np.random.default_rng(seed))
    found = []
    for name in learners:
        made = LEARNERS[name](problem.features, label, problem.train, problem.test)
        found.append((name, *_skill(made, label[problem.test], problem.horizon)))
    worst = max(found, key=lambda one: abs(one[1]) / one[2])
    name, value, error = worst
    clean = abs(value) <= SURE * error
    return AuditLine("labels", clean, f"{name} correlates {value:+.3f} (error {error:.3f}) with shuffled labels", "L2")


def reversed_time(forward: Problem, backward: Problem, *, learner: str = "ridge") -> AuditLine:
    """L4: learn on the reversed series; as much skill there as forward means that something looks both ways.

    Parameters
    ----------
    forward, backward : the same history, features and labels computed on it as it is and on it reversed. A signal that is
        itself symmetric in time (a moving average) has that skill rightly: judge on markets whose signal comes from outside.
    """
    (ahead, error), (back, _) = (
        _skill(LEARNERS[learner](p.features, p.label, p.train, p.test), p.label[p.test], p.horizon)
        for p in (forward, backward)
    )
    clean = back <= max(SURE * error, 0.5 * ahead)
    return AuditLine("skill", clean, f"{ahead:+.3f} forward, {back:+.3f} backward (error {error:.3f})", "L4")


def extra_lag(by_lag: dict[int, float], error: float, name: str = "skill") -> AuditLine:
    """L6: a correlation that is there at the next open and gone one bar later knows that bar.

    Parameters
    ----------
    by_lag : correlation when the entry comes 0, 1, 2 bars later
    error : standard error of the correlation; below :data:`SURE` of them there is nothing to lose
    """
    first = by_lag[0]
    said = ", ".join(f"{by_lag[lag]:+.3f}" for lag in (0, 1, 2))
    clean = abs(first) <= SURE * error or all(
        by_lag[lag] * np.sign(first) >= LEAST_SHARE**lag * abs(first) - SURE * error for lag in (1, 2)
    )
    return AuditLine(name, clean, f"correlation {said} at 0, 1, 2 bars later (error {error:.3f})", "L6")


def embargo_sweep(features: Features, label: Floats, horizon: int, *, borders: int = 300, seed: int = 7) -> AuditLine:
    """L7: skill must not depend on how wide the gap between training and test is, once labels no longer overlap.

    The rows right after a border are told by their nearest neighbours among the rows before it, which remembers whatever
    reaches over: purged by the horizon, with an embargo of nothing, one and two horizons. Pooled over many borders.

    Parameters
    ----------
    features : array (T, P, F), finite where used
    label : array (T, P), scaled forward return over ``horizon`` rows, NaN where unknown
    """
    rng = np.random.default_rng(seed)
    first = _MEMORY + 3 * horizon + 2
    cuts = np.sort(
        rng.choice(np.arange(first, len(label) - horizon), min(borders, len(label) - horizon - first), False)
    )
    scale = np.nanstd(features, axis=(0, 1)) + 1e-12
    told = np.concatenate([label[cut : cut + horizon] for cut in cuts])
    error = 1 / math.sqrt(max(min(effective_count(label, horizon), cuts.size * label.shape[1]), 2.0))
    skills = []
    for gap in (0, horizon, 2 * horizon):
        made = []
        for cut in cuts:
            train = np.arange(cut - gap - horizon - 1 - _MEMORY, cut - gap - horizon - 1)
            made.append(_by_neighbours(features, label, train, np.arange(cut, cut + horizon), scale))
        skills.append(correlation(np.concatenate(made), told))
    said = ", ".join(f"{value:+.3f}" for value in skills)
    clean = skills[0] - min(skills[1:]) <= SURE * error
    return AuditLine("skill", clean, f"{said} at embargoes of 0, 1, 2 horizons (error {error:.3f})", "L7")


def _by_neighbours(features: Features, label: Floats, train: Ints, test: Ints, scale: Floats) -> Floats:
    """Mean label of the five nearest training rows of the same pair, (test, P)."""
    out = np.full((test.size, label.shape[1]), np.nan)
    for pair in range(label.shape[1]):
        known = train[np.isfinite(label[train, pair])]
        near, far = features[test, pair] / scale, features[known, pair] / scale
        distance = (near**2).sum(1)[:, None] - 2 * near @ far.T + (far**2).sum(1)
        nearest = np.argpartition(distance, 5, axis=1)[:, :5]
        out[:, pair] = label[known, pair][nearest].mean(axis=1)
    return out


def _skill(made: Floats, label: Floats, horizon: int) -> tuple[float, float]:
    """Correlation and its standard error by the effective count."""
    return correlation(made, label), 1 / math.sqrt(max(effective_count(label, horizon), 2.0))


def shuffled_blocks(label: Floats, block: int, rng: np.random.Generator) -> Floats:
    """Labels (T, P) with blocks of so many rows in another order, all pairs together."""
    edges = np.arange(0, len(label), block)
    parts = [label[start : start + block] for start in edges]
    return np.concatenate([parts[number] for number in rng.permutation(len(parts))])
