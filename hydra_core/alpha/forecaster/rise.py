"""The chance that the price stands higher at the horizon's end: a model of the sign, beside the model of the mean.

Returns are skewed, so the sign can be told where the mean return cannot: a market that creeps up and falls at once rises more
often than not and earns nothing. A chance made of the mean forecast says too little then, and a mean made of the chance too
much. So this model is taught signs, is scored by log loss, and no decision reads it. Two voices speak in log odds, a logistic
ridge regression and boosted trees, and are weighed by what they say of later rows.

Not here: the mean return (``families``), the chance of winning net of costs (``calibration``).
LightGBM is imported where it is used. Sources: Christoffersen and Diebold (2006), signs can be told where means cannot;
Boehning and Lindsay (1988), the bound on the curvature that makes every step of the regression go down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from hydra_core.alpha.forecaster.linear import FEATURE_CLIP, standardisation
from hydra_core.alpha.forecaster.stack import TOWARDS_EQUAL
from hydra_core.alpha.forecaster.trees import FOREST, LEAST_LEAF, opened, say
from hydra_core.alpha.forecaster.windows import Features
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Bools, Floats, Ints

PENALTIES: Final = (0.001, 0.01, 0.03, 0.1, 0.3)
"""Ridge penalties tried, per row of standardised data."""
STEPS: Final = 40
SETTLED: Final = 1e-5
"""Largest change of a weight in a step after which the regression has settled."""
DRAWN: Final = 0.7
"""Share of the features, and of the rows, that a tree sees."""
LEAST_VALUES: Final = 1_000
"""Signs that each of the two parts of the rows has to know."""


@dataclass(frozen=True, eq=False)
class RiseModel:
    """Log odds of a rise: a weighted sum of two voices.

    Parameters
    ----------
    center, scale, slopes : arrays (F,), of the logistic regression on standardised features
    bias : of the same
    text : trees in LightGBM's own format
    linear_weight, trees_weight : of the voices; both 0 where nothing is known, which is even odds
    """

    center: Floats
    scale: Floats
    slopes: Floats
    bias: float
    text: str
    linear_weight: float
    trees_weight: float

    @cached_property
    def trees(self) -> Any:
        """LightGBM's trees from their text, read once; raises ArtifactInvalid for anything else."""
        return opened(self.text)

    def chance(self, features: Features, rows: Ints) -> Floats:
        """Probability of a rise for rows of a (T, P, F) array, shape (n, P); NaN where a feature is."""
        from scipy.special import expit

        linear = _standard(features[rows], self.center, self.scale) @ self.slopes + self.bias
        trees = say(self.trees, features, rows, FOREST.rounds, raw=True)
        return np.asarray(expit(self.linear_weight * linear + self.trees_weight * trees), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form, without the trees."""
        arrays = {name: getattr(self, name).tolist() for name in ("center", "scale", "slopes")}
        return {
            **arrays, "bias": self.bias, "linear_weight": self.linear_weight, "trees_weight": self.trees_weight
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any], text: str) -> RiseModel:
        """The inverse of :meth:`to_dict`; raises KeyError or ValueError for anything else."""
        center, scale, slopes = (np.asarray(values[name], np.float64) for name in ("center", "scale", "slopes"))
        if not center.shape == scale.shape == slopes.shape or not np.isfinite([center, scale, slopes]).all():
            raise ValueError(f"{slopes.size} finite slopes for {center.size} features expected")
        numbers = (float(values[name]) for name in ("bias", "linear_weight", "trees_weight"))
        bias, linear_weight, trees_weight = numbers
        return cls(center, scale, slopes, bias, text, linear_weight, trees_weight)


def fit_rise(
    features: Features,
    labels: Floats,
    train: Ints,
    valid: Ints,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> RiseModel:
    """Teach both voices on ``train``, choose the penalty and the weights on ``valid``, teach both again on all rows.

    Parameters
    ----------
    features : array (T, P, F)
    labels : array (T, P), forward returns; their sign alone is read, and rows without a move are left out
    train, valid : row numbers, ascending, purged of each other
    seed : of the rows and features drawn for each tree
    progress : called with (trees grown, of so many), of the last fit; may raise to stop

    Raises
    ------
    InputMissing : fewer than :data:`LEAST_VALUES` signs in one of the parts
    """
    known = np.isfinite(features).all(axis=2) & np.isfinite(labels) & (labels != 0)
    first, rose_first = _taught(features, labels, known, train)
    later, rose_later = _taught(features, labels, known, valid)
    center, scale = standardisation(first)
    path = logistic_path(_standard(first, center, scale), rose_first, PENALTIES)
    told = _standard(later, center, scale)
    lost = {penalty: _loss(told @ slopes + bias, rose_later) for penalty, (slopes, bias) in path.items()}
    penalty = min(lost, key=lambda each: lost[each])
    slopes, bias = path[penalty]
    words = np.stack([told @ slopes + bias, _grown(first, rose_first, seed).predict(later, raw_score=True)], axis=1)
    linear_weight, trees_weight = voice_weights(words, rose_later)
    both, rose = np.concatenate([first, later]), np.concatenate([rose_first, rose_later])
    slopes, bias = logistic_path(_standard(both, center, scale), rose, (penalty,))[penalty]
    text = _grown(both, rose, seed, progress).model_to_string()
    return RiseModel(center, scale, slopes, bias, text, linear_weight, trees_weight)


def logistic_path(x: Floats, rose: Bools, penalties: tuple[float, ...]) -> dict[float, tuple[Floats, float]]:
    """Slopes (F,) and bias of ridge logistic regressions, by penalty; each begins where the next heavier one ended.

    The curvature of the loss is bounded by that at even odds, so one inverse serves all steps of a penalty.

    Parameters
    ----------
    x : array (n, F), standardised
    rose : array (n,)
    penalties : lambda in mean log loss + lambda / 8 |slopes|^2, which at even odds is the ridge of a regression on x
    """
    from scipy.special import expit

    count = x.shape[1]
    gram = x.T @ x / len(x)
    slopes, bias = np.zeros(count), 0.0
    found: dict[float, tuple[Floats, float]] = {}
    for penalty in sorted(penalties, reverse=True):
        step = np.linalg.inv(0.25 * (gram + penalty * np.eye(count)))
        for _ in range(STEPS):
            error = rose - expit(x @ slopes + bias)
            bias += 4.0 * float(error.mean())
            change = step @ (x.T @ error / len(x) - 0.25 * penalty * slopes)
            slopes = slopes + change
            if np.abs(change).max() < SETTLED:
                break
        found[penalty] = (slopes, bias)
    return found


def voice_weights(words: Floats, rose: Bools, towards_equal: float = TOWARDS_EQUAL) -> tuple[float, ...]:
    """Weights of voices in log odds with the least log loss, none negative, drawn to equal ones.

    Parameters
    ----------
    words : array (n, K), log odds
    rose : array (n,)
    towards_equal : squared distance from equal weights counts this much of the voices' mean square
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    count = words.shape[1]
    sign = np.where(rose, 1.0, -1.0)
    pull = 0.25 * towards_equal * float(np.mean(words**2))

    def lost(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (words @ weights)
        away = weights - 1.0 / count
        slope = -(words * (sign * expit(-margin))[:, None]).mean(axis=0) + pull * away
        return float(np.logaddexp(0.0, -margin).mean()) + 0.5 * pull * float(away @ away), slope

    # The loss is flat where voices are faint: the optimiser is to see it in units of what they can gain at all.
    unit = max(float(np.mean(words**2)), 1e-12)
    found = minimize(
        lambda weights: tuple(each / unit for each in lost(weights)), np.full(count, 1.0 / count), jac=True,
        bounds=[(0.0, None)] * count, method="L-BFGS-B",
    )  # fmt: skip
    return tuple(float(each) for each in found.x)


def _taught(features: Features, labels: Floats, known: Bools, rows: Ints) -> tuple[Features, Bools]:
    mask = known[rows]
    if int(mask.sum()) < LEAST_VALUES:
        raise InputMissing(f"{int(mask.sum())} known signs, {LEAST_VALUES} needed", "Collect more history")
    return features[rows][mask], labels[rows][mask] > 0


def _standard(values: Features, center: Floats, scale: Floats) -> Floats:
    return np.asarray(np.clip((values - center) / scale, -FEATURE_CLIP, FEATURE_CLIP), np.float64)


def _loss(log_odds: Floats, rose: Bools) -> float:
    return float(np.logaddexp(0.0, np.where(rose, -log_odds, log_odds)).mean())


def _grown(x: Features, rose: Bools, seed: int, progress: Callable[[int, int], None] | None = None) -> Any:
    import lightgbm

    settings: dict[str, Any] = {
        "objective": "binary",
        "boost_from_average": False,
        "num_leaves": FOREST.leaves,
        "learning_rate": FOREST.learning_rate,
        "min_data_in_leaf": max(LEAST_LEAF, int(FOREST.least_share * len(x))),
        "feature_fraction": DRAWN,
        "bagging_fraction": DRAWN,
        "bagging_freq": 1,
        "num_threads": 1,
        "verbose": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
    }
    told = [] if progress is None else [lambda at: progress(at.iteration + 1, FOREST.rounds)]
    taught = lightgbm.Dataset(x, rose.astype(np.float64), free_raw_data=True)
    return lightgbm.train(settings, taught, num_boost_round=FOREST.rounds, callbacks=told)
