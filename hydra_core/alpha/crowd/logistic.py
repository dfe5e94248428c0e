"""A logistic hazard on standardised columns: fitted by Newton steps with a ridge, served by plain sums.

Sums run over the columns in one fixed order, so a probability is the same bit for bit whether one row is asked for or
a hundred thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

CLIP: Final = 6.0
"""Standard deviations beyond which a column says no more: one broken reading must not decide alone."""
_MAX_STEPS: Final = 40


@dataclass(frozen=True)
class Logistic:
    """Probability 1 / (1 + exp(-(intercept + sum of weight * standardised column))).

    Parameters
    ----------
    names : columns in order
    centre, scale : to standardise each column
    weights : one a column
    intercept : float
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def probability(self, values: Floats) -> Floats:
        """Probability for columns of shape (..., C); NaN where a column is."""
        total = np.full(values.shape[:-1], self.intercept)
        for index, weight in enumerate(self.weights):
            standard = (values[..., index] - self.centre[index]) / self.scale[index]
            total = total + weight * np.clip(standard, -CLIP, CLIP)
        return np.asarray(1.0 / (1.0 + np.exp(-total)))

    def recalibrated(self, slope: float, shift: float) -> Logistic:
        """The same hazard with its log odds times ``slope`` plus ``shift``."""
        weights = tuple(slope * weight for weight in self.weights)
        return Logistic(self.names, self.centre, self.scale, weights, slope * self.intercept + shift)

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats survive JSON bit for bit."""
        return {
            "names": list(self.names),
            "centre": list(self.centre),
            "scale": list(self.scale),
            "weights": list(self.weights),
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Logistic:
        """The inverse of :meth:`to_json`."""
        return cls(
            names=tuple(str(v) for v in plain["names"]),
            centre=tuple(float(v) for v in plain["centre"]),
            scale=tuple(float(v) for v in plain["scale"]),
            weights=tuple(float(v) for v in plain["weights"]),
            intercept=float(plain["intercept"]),
        )


def fit(names: tuple[str, ...], values: Floats, label: Floats, ridge: float | Floats) -> Logistic:
    """Maximum penalised likelihood.

    Parameters
    ----------
    names : of the columns
    values : array (n, C), finite
    label : array (n,), 0 or 1
    ridge : penalty on half the squared standardised weights, in rows; one for all columns or one each (C,)

    Raises
    ------
    InputMissing : fewer than twenty rows of either label
    """
    positives = int(label.sum())
    if min(positives, label.size - positives) < 20:
        raise InputMissing(f"{positives} forced exits in {label.size} rows", "Train on a longer history")
    centre = np.median(values, axis=0)
    scale = np.maximum(values.std(axis=0), 1e-9)
    design = np.empty((values.shape[0], values.shape[1] + 1))
    design[:, 0] = 1.0
    design[:, 1:] = np.clip((values - centre) / scale, -CLIP, CLIP)
    penalty = np.zeros(design.shape[1])
    penalty[1:] = ridge
    start = np.zeros(design.shape[1])
    start[0] = np.log(positives / (label.size - positives))
    weights = newton(design, label, penalty, start, start * 0.0)
    return Logistic(
        names,
        tuple(float(v) for v in centre),
        tuple(float(v) for v in scale),
        tuple(float(v) for v in weights[1:]),
        float(weights[0]),
    )


def recalibration(log_odds: Floats, label: Floats, strength: float) -> tuple[float, float]:
    """Slope and shift of log odds on unseen rows, drawn towards (1, 0) as by ``strength`` further events."""
    design = np.stack([np.ones(log_odds.size), log_odds], axis=1)
    prior = np.array([0.0, 1.0])
    penalty = np.array([0.25 * strength, 0.25 * strength * float(np.var(log_odds) + 1e-3)])
    shift, slope = newton(design, label, penalty, prior.copy(), prior)
    return float(np.clip(slope, 0.2, 2.0)), float(np.clip(shift, -1.5, 1.5))


def deviance(log_odds: Floats, label: Floats) -> float:
    """Twice the log loss that is left of labels once the log odds have the slope and shift that suit them best."""
    design = np.stack([np.ones(log_odds.size), log_odds], axis=1)
    start = np.array([0.0, 1.0])
    weights = newton(design, label, np.zeros(2), start, start)
    return 2.0 * _loss(design, label, np.zeros(2), start, weights)


def newton(design: Floats, label: Floats, penalty: Floats, start: Floats, prior: Floats) -> Floats:
    """Weights that maximise the logistic likelihood less ``penalty / 2`` times the squared distance to ``prior``."""
    weights = start
    value = _loss(design, label, penalty, prior, weights)
    for _ in range(_MAX_STEPS):
        probability = 1.0 / (1.0 + np.exp(-(design @ weights)))
        slope = design.T @ (label - probability) - penalty * (weights - prior)
        curvature = (design * (probability * (1.0 - probability))[:, None]).T @ design + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, slope)
        share = 1.0
        while share > 1e-4:
            fresh = weights + share * step
            fresh_value = _loss(design, label, penalty, prior, fresh)
            if fresh_value <= value:
                break
            share /= 2.0
        settled = value - fresh_value < 1e-9 * abs(value)
        if fresh_value <= value:
            weights, value = fresh, fresh_value
        if settled:
            break
    return weights


def _loss(design: Floats, label: Floats, penalty: Floats, prior: Floats, weights: Floats) -> float:
    log_odds = design @ weights
    likelihood = (np.logaddexp(0.0, log_odds) - label * log_odds).sum()
    return float(likelihood + 0.5 * (penalty * (weights - prior) ** 2).sum())
