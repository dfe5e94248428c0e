"""Boosted trees on the newest feature row, pairs pooled.

Boosting starts from zero, not from a ridge forecast: where a signal speaks in few rows only, a line through all of them is
mostly wrong, and a few trees cannot take it back. The number of trees and their share are what later rows say.

A forest is the same with many slow trees, of which none is chosen: where a signal is faint, what later rows say of it is
mostly noise, and choosing by it costs more than it saves. It counts every pair's error for itself: few trees that are taught
mostly how pairs differ, as whitened errors teach them, hardly learn how all move together.

Trained trees are kept in LightGBM's text format. Not here: ridge (``linear``), the mixture of families (``stack``).
LightGBM is imported where it is used. Source: Ke et al. (2017), LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hydra_core.alpha.forecaster.linear import LABEL_CLIP
from hydra_core.alpha.forecaster.windows import Features, whiten
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.market import Bools, Floats, Ints

CAUTION: Final = 0.9
"""The trees' share is fitted on few independent rows: this much of the fitted value is used."""
LARGEST_SHARE: Final = 2.0
"""Few trees say less than they know, each of them being let in by its learning rate alone: their share may exceed one."""
LEAST_LEAF: Final = 20
"""Training values in a leaf, however few there are in all."""
STEPS: Final = 4
"""Numbers of trees tried, equally spaced up to all of them."""


@dataclass(frozen=True, slots=True)
class TreesHyper:
    """What a sweep may vary in the trees.

    Small trees with large leaves, and not many of them: where a return is nearly all noise, most of what a forest could
    learn is learnt by its first trees, and what later ones add is noise.

    Parameters
    ----------
    rounds : trees grown at most
    learning_rate : share of each tree's word
    leaves : of a tree
    least_share : of the training values that a leaf holds
    feature_share, row_share : drawn anew for each tree
    penalty : added to the count of a leaf before its mean is taken
    """

    rounds: int = 16
    learning_rate: float = 0.1
    leaves: int = 6
    least_share: float = 0.01
    feature_share: float = 1.0
    row_share: float = 1.0
    penalty: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-serialisable."""
        return asdict(self)


FOREST: Final = TreesHyper(rounds=200, learning_rate=0.02, leaves=15)
"""Many slow trees, together let in fourfold: what a forest that nobody chooses says is about what it knows."""


@dataclass(frozen=True, eq=False)
class TreesModel:
    """Trained trees and how much of them is used.

    Parameters
    ----------
    text : the trees in LightGBM's own format
    trees : number of them that are used; 0 where none was better than nothing
    share : of their word that is used, at most :data:`LARGEST_SHARE`
    """

    text: str
    trees: int
    share: float
    hyper: TreesHyper

    def predict(self, features: Features, rows: Ints) -> Floats:
        """Standardised return for rows of a (T, P, F) array, shape (n, P); NaN where a feature is."""
        return self.share * say(opened(self.text), features, rows, self.trees)


def opened(text: str) -> Any:
    """LightGBM's trees from their text; raises ArtifactInvalid for anything else."""
    import lightgbm

    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise ArtifactInvalid(f"no trees in a text of {len(text)} characters: {error}", "Train them again") from error


def say(booster: Any, features: Features, rows: Ints, trees: int, raw: bool = False) -> Floats:
    """The first ``trees`` trees' word on rows of a (T, P, F) array, shape (n, P); NaN where a feature is.

    ``raw``: their sum itself (log odds where signs were taught) instead of what the objective makes of it.
    """
    values = np.ascontiguousarray(features[rows])
    known = np.isfinite(values).all(axis=2)
    out = np.full(known.shape, np.nan)
    if known.any():
        out[known] = booster.predict(values[known], num_iteration=trees, num_threads=1, raw_score=raw) if trees else 0.0
    return out


def fit_trees(
    features: Features,
    labels: Floats,
    usable: Bools,
    train: Ints,
    valid: Ints,
    common: float,
    hyper: TreesHyper,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    like: TreesModel | None = None,
    weights: Floats | None = None,
) -> TreesModel:
    """Grow trees on ``train``, take as many of them, and as much of their word, as is best on ``valid``.

    Parameters
    ----------
    features : array (T, P, F)
    labels : array (T, P), standardised forward returns
    usable : array (T, P), where features can be read; rows without a finite label are dropped too
    train, valid : row numbers
    common : weight of the cross-section's mean, as :func:`~hydra_core.alpha.forecaster.windows.common_weight` gives it
    seed : of the rows and features drawn for each tree
    progress : called with (trees grown, of so many); may raise to stop
    like : take its number of trees and share instead of choosing them on ``valid``
    weights : array (T, P), what each training value counts; None: all the same

    Raises
    ------
    InputMissing : fewer usable training values than two leaves need
    """
    import lightgbm

    known = usable & np.isfinite(labels)
    mask = known[train]
    least = max(LEAST_LEAF, int(hyper.least_share * mask.sum()))
    if int(mask.sum()) < 2 * least:
        raise InputMissing(f"{int(mask.sum())} training values, a leaf holds {least}", "Collect more history")
    counts = None if weights is None else np.where(mask, weights[train], 0.0)
    settings: dict[str, Any] = {
        "objective": "regression" if common == 1.0 else _whitened(mask, common, counts),
        "boost_from_average": False,
        "num_leaves": hyper.leaves,
        "learning_rate": hyper.learning_rate,
        "min_data_in_leaf": least,
        "feature_fraction": hyper.feature_share,
        "bagging_fraction": hyper.row_share,
        "bagging_freq": 1 if hyper.row_share < 1 else 0,
        "lambda_l2": hyper.penalty,
        "num_threads": 1,
        "verbose": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
    }
    taught = lightgbm.Dataset(
        features[train][mask],
        np.clip(labels[train][mask], -LABEL_CLIP, LABEL_CLIP),
        weight=None if counts is None or common != 1.0 else counts[mask],  # an objective of our own weighs for itself
        free_raw_data=True,
    )
    told = [] if progress is None else [lambda at: progress(at.iteration + 1, hyper.rounds)]
    booster = lightgbm.train(settings, taught, num_boost_round=hyper.rounds, callbacks=told)
    trees, share = (
        _best_share(booster, features, labels, known, valid, common, hyper.rounds)
        if like is None
        else (like.trees, like.share)
    )
    return TreesModel(booster.model_to_string(), trees, share, hyper)


def fit_forest(
    features: Features, labels: Floats, usable: Bools, rows: Ints, *, seed: int, weights: Floats | None = None
) -> TreesModel:
    """Grow :data:`FOREST` on all rows; all of their word is used.

    Parameters
    ----------
    features, labels, usable, weights : as :func:`fit_trees` takes them
    rows : row numbers

    Raises
    ------
    InputMissing : fewer usable training values than two leaves need
    """
    whole = TreesModel("", FOREST.rounds, 1.0, FOREST)
    return fit_trees(features, labels, usable, rows, rows[:0], 1.0, FOREST, seed=seed, like=whole, weights=weights)


def _whitened(
    mask: Bools, weight: float, counts: Floats | None = None
) -> Callable[[Floats, Any], tuple[Floats, Floats]]:
    """Squared error of whitened residuals as an objective: its gradient, and the diagonal of its second derivative.

    ``counts``, of the mask's shape and 0 outside it, says what each residual counts; None: one.
    """
    if counts is not None:
        return _whitened_weighed(mask, weight, counts)
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    # white(e) = e - (1 - w) mean(e), so white'white e = e - (1 - w^2) mean(e).
    diagonal = np.broadcast_to(1.0 - (1.0 - weight**2) / count, mask.shape)[mask]

    def objective(said: Floats, data: Any) -> tuple[Floats, Floats]:
        error = np.zeros(mask.shape)
        error[mask] = said - data.get_label()
        spread: npt.NDArray[np.float64] = error - (1.0 - weight**2) * error.sum(axis=1, keepdims=True) / count
        return spread[mask], diagonal

    return objective


def _whitened_weighed(mask: Bools, weight: float, counts: Floats) -> Callable[[Floats, Any], tuple[Floats, Floats]]:
    """:func:`_whitened` of residuals that do not all count the same: white' C white e, and that matrix's diagonal."""
    known = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    taken = (1.0 - weight) / known
    diagonal = (counts * (1.0 - 2.0 * taken) + taken**2 * counts.sum(axis=1, keepdims=True))[mask]

    def objective(said: Floats, data: Any) -> tuple[Floats, Floats]:
        error = np.zeros(mask.shape)
        error[mask] = said - data.get_label()
        weighed = counts * whiten(error, mask, weight)
        return whiten(weighed, mask, weight)[mask], diagonal

    return objective


def _best_share(
    booster: Any, features: Features, labels: Floats, known: Bools, valid: Ints, common: float, rounds: int
) -> tuple[int, float]:
    """Number of trees and share of their word (times :data:`CAUTION`) with the least whitened error on later rows."""
    mask = known[valid]
    if not mask.any():
        return rounds, 1.0
    left = whiten(np.clip(labels[valid], -LABEL_CLIP, LABEL_CLIP), mask, common)
    best, chosen = 0.0, (0, 0.0)
    for trees in sorted({max(1, round(rounds * step / STEPS)) for step in range(1, STEPS + 1)}):
        word = whiten(np.nan_to_num(say(booster, features, valid, trees)), mask, common)
        square, cross = float((word**2).sum()), float((word * left).sum())
        share = min(max(CAUTION * cross / square, 0.0), LARGEST_SHARE) if square > 0 else 0.0
        gain = 2 * share * cross - share**2 * square
        if gain > best:
            best, chosen = gain, (trees, share)
    return chosen
