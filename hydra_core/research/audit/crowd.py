"""The leak suite over a crowd candidate: L1, L2, L5, L6 and L9, on development alone.

What it claims is skill over volatility: its hazard less that of volatility alone, held against what came less the same. That is
what must go when labels are shuffled and fade when the word comes later. Not here: what every candidate of a dataset reads
(``suite``), the model and its learning (``alpha.crowd``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hydra_core.alpha.crowd import CrowdArtifact, evaluate_crowd, load, train_crowd
from hydra_core.alpha.crowd import columns as crowd_columns
from hydra_core.alpha.crowd.model import sides
from hydra_core.alpha.crowd.train import STRIDE, exit_labels
from hydra_core.alpha.models import CROWD, Hazard
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.research.audit.canary import next_moves, sing
from hydra_core.research.audit.causality import hazard_ignores_the_future
from hydra_core.research.audit.learning import SURE, Problem, extra_lag, permuted_labels, shuffled_blocks
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.audit.plausibility import plausible_hazard
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import Dataset
from hydra_core.research.evaluation import correlation, effective_count
from hydra_core.research.gates import plausible_pr_ratio

MOST_BARS: Final = 8_000
"""Newest bars to learn from, and as many at most to judge on."""
LAGS: Final = (0, 1, 2)


@dataclass(frozen=True, eq=False)
class Stretch:
    """The part of development that the suite looks at.

    Parameters
    ----------
    panel : Panel that ends before the lock-box
    label : array (T, 2 P), longs then shorts: 1.0 forced out within ``horizon`` rows, 0.0 not, NaN not to be used
    train, judged : its row numbers, consecutive each, with the folds' gap between
    """

    panel: Panel
    label: Floats
    horizon: int
    train: Ints
    judged: Ints

    @classmethod
    def of(cls, dataset: Dataset, lookback: int) -> Stretch:
        """The newest rows that the candidate was trained and chosen on, with the look-back before them."""
        final = dataset.folds.final
        first = max(final.train.start, final.train.end - MOST_BARS)
        start = max(0, first - lookback)
        start -= start % STRIDE
        part = dataset.panel.rows(slice(start, dataset.folds.lockbox.start))
        label = np.concatenate(exit_labels(part, dataset.horizon), axis=1)
        judged = np.arange(max(final.valid.start, final.valid.end - MOST_BARS), final.valid.end)
        return cls(part, label, dataset.horizon, np.arange(first, final.train.end) - start, judged - start)

    @property
    def error(self) -> float:
        """Standard error of a correlation with the judged labels."""
        with np.errstate(invalid="ignore"):  # a side that nobody was forced out of has no correlation with another
            return 1 / math.sqrt(max(effective_count(self.label[self.judged], self.horizon), 2.0))


def audit_crowd(bench: Bench, dataset: Dataset, version: str) -> list[AuditLine]:
    """L1, L2, L5, L6 and L9 of a sealed crowd model."""
    artifact = load(bench.registry.path(CROWD, version), version)
    seen = Stretch.of(dataset, artifact.lookback)
    usual = float(bench.registry.card(CROWD, version).settings["base_rate"])
    figures = evaluate_crowd(artifact, seen.panel, seen.judged, usual, bench.training.seed)
    return [
        hazard_ignores_the_future(artifact, dataset.panel),
        *shuffled_exits(artifact, seen),
        *column_canary(artifact, seen),
        extra_lag(skill_by_lag(*words(artifact, seen), seen.label[seen.judged]), seen.error, "skill over volatility"),
        plausible_hazard(figures, plausible_pr_ratio(bench.home.market)),
    ]


def words(artifact: CrowdArtifact, seen: Stretch) -> tuple[Floats, Floats]:
    """Hazard of the model and of volatility alone on the judged rows, (n, 2 P) each."""
    last = len(seen.panel) - int(seen.judged[0])

    def both(said: Hazard) -> Floats:
        return np.concatenate([said.long, said.short], axis=1)[: seen.judged.size]

    return both(artifact.hazard(seen.panel, last)), both(artifact.baseline_hazard(seen.panel, last))


def skill_by_lag(hazard: Floats, baseline: Floats, label: Floats) -> dict[int, float]:
    """Correlation of what a hazard adds to volatility alone with what volatility did not foretell, the word 0, 1, 2 bars late.

    Parameters
    ----------
    hazard, baseline, label : arrays (n, 2 P) of consecutive rows
    """
    added, rows = hazard - baseline, len(label)
    return {late: correlation(added[: rows - late], label[late:] - baseline[: rows - late]) for late in LAGS}


def shuffled_exits(artifact: CrowdArtifact, seen: Stretch, *, seed: int = 7) -> list[AuditLine]:
    """L2: learners that can remember find nothing in shuffled labels, and its own learning no skill over volatility."""
    values = crowd_columns.compute(seen.panel, artifact.columns, habits=artifact.habits)
    as_seen = np.concatenate([values, values * sides(artifact.columns)], axis=1).astype(np.float32)
    with np.errstate(invalid="ignore"):
        by_memory = permuted_labels(Problem(as_seen, seen.label, seen.horizon, seen.train, seen.judged), seed=seed)
    mixed = shuffled_blocks(seen.label, 4 * seen.horizon, np.random.default_rng(seed))
    long, short = np.split(mixed, 2, axis=1)
    try:
        own = train_crowd(
            seen.panel, seen.train, seen.judged, seed, horizon=seen.horizon, labels=(long, short)
        ).artifact
    except InputMissing as few:
        # Too few events on one side of the border is a matter of the draw; the learners above have had their look.
        return [by_memory, AuditLine("own learning", True, f"not tried on shuffled labels: {few}", "L2")]
    value, error = skill_by_lag(*words(own, seen), mixed[seen.judged])[0], seen.error
    said = f"skill over volatility {value:+.3f} (error {error:.3f}) after learning shuffled labels"
    return [by_memory, AuditLine("own learning", abs(value) <= SURE * error, said, "L2")]


def column_canary(artifact: CrowdArtifact, seen: Stretch) -> list[AuditLine]:
    """L5: no column knows the next bar's return, nor its size, which is what a forced exit is made of."""
    rows = slice(int(seen.train[0]), len(seen.panel) - 1)
    values = crowd_columns.compute(seen.panel, artifact.columns, habits=artifact.habits)[rows].astype(np.float32)
    names, moves = artifact.hazard_model.names, next_moves(seen.panel)[rows]
    size = [replace(line, name=f"{line.name} of size") for line in sing(values, names, np.abs(moves))]
    return [*sing(values, names, moves), *size]
