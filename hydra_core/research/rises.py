"""The chance of a rise from research to its evidence: walked forward, sealed with the forecaster, asked over the lock-box.

It is taught on the rows that each fold's forecaster is taught on, and hangs on nothing that a sweep varies. No gate and no
decision reads it. Not here: the model (``alpha.forecaster.rise``), how its words are scored (``evaluation``).
"""

from __future__ import annotations

import numpy as np

from hydra_core.alpha.forecaster.rise import RiseModel, fit_rise
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import Dataset, remembered_arrays
from hydra_core.research.folds import Fold


def rise_on(bench: Bench, dataset: Dataset, fold: Fold) -> RiseModel | None:
    """The chance of a rise as a fold's training rows teach it; None where they know too few signs."""
    training = bench.training
    train, valid = fold.train.rows(training.stride_bars), fold.valid.rows(training.stride_bars)
    try:
        return fit_rise(
            dataset.features, dataset.label, train, valid, seed=training.seed,
            progress=lambda tree, trees: bench.progress("chance of a rise", tree, trees),
        )  # fmt: skip
    except InputMissing:
        return None


def walked_rises(bench: Bench, dataset: Dataset) -> Floats:
    """Chances (T, P) on every test block, each by its own fold's model; NaN elsewhere."""
    out = np.full((len(dataset.panel), len(dataset.panel.pairs)), np.nan)
    for number, fold in enumerate(dataset.folds.folds):

        def chances(fold: Fold = fold) -> dict[str, Floats]:
            rows = fold.test.rows()
            made = rise_on(bench, dataset, fold)
            unknown = np.full((rows.size, out.shape[1]), np.nan)
            return {"chance": unknown if made is None else made.chance(dataset.features, rows)}

        stage = dataset.stage("rise", number, bench.training.seed, bench.training.stride_bars)
        out[fold.test.start : fold.test.end] = remembered_arrays(stage, chances)["chance"]
    return out


def recorded_rises(bench: Bench, dataset: Dataset, sealed: RiseModel | None) -> Floats:
    """Chances (T, P) that no row could know of: walk-forward blocks, then the sealed model on the lock-box."""
    out = walked_rises(bench, dataset)
    if sealed is not None:
        rows = np.arange(dataset.folds.lockbox.start, len(dataset.panel))
        out[rows] = sealed.chance(dataset.features, rows)
    return out
