"""Ridge regression on the newest feature row, pairs pooled: the baseline that every network must match, and its skip.

Not here: the network (``network``), walk-forward (``research/folds``). Source: Hoerl and Kennard (1970); the
cross-section is whitened as in :func:`hydra_core.alpha.forecaster.windows.common_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.forecaster.windows import Features, common_weight, whiten
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Bools, Floats, Ints

PENALTIES: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Ridge penalties tried, per row of whitened and standardised data."""
FEATURE_CLIP: Final = 5.0
LABEL_CLIP: Final = 4.0
"""Labels (in standard deviations) are clipped here in training only: one crash bar must not set the weights."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Standardisation and weights; arrays of shape (F,)."""

    center: Floats
    scale: Floats
    weights: Floats
    bias: float
    common: float
    """Weight of the cross-section's mean used in fitting."""
    penalty: float

    def predict(self, features: Features, rows: Ints) -> Floats:
        """Standardised return for rows of a (T, P, F) array, shape (n, P); NaN where a feature is."""
        standard = np.clip((features[rows] - self.center) / self.scale, -FEATURE_CLIP, FEATURE_CLIP)
        out: Floats = standard.astype(np.float64) @ self.weights + self.bias
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        arrays = {name: getattr(self, name).tolist() for name in ("center", "scale", "weights")}
        return {**arrays, "bias": self.bias, "common": self.common, "penalty": self.penalty}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LinearModel:
        """The inverse of :meth:`to_dict`; raises KeyError or ValueError for anything else."""
        center, scale, weights = (np.asarray(values[name], np.float64) for name in ("center", "scale", "weights"))
        if not center.shape == scale.shape == weights.shape or not np.isfinite([center, scale, weights]).all():
            raise ValueError(f"{weights.size} finite weights for {center.size} features expected")
        return cls(center, scale, weights, *(float(values[name]) for name in ("bias", "common", "penalty")))


def fit_linear(
    features: Features,
    labels: Floats,
    usable: Bools,
    train: Ints,
    valid: Ints,
    penalties: tuple[float, ...] = PENALTIES,
    weights: Floats | None = None,
) -> LinearModel:
    """Fit on ``train``, choose the penalty on ``valid``.

    Parameters
    ----------
    features : array (T, P, F)
    labels : array (T, P), standardised forward returns
    usable : array (T, P), where features can be read; rows without a finite label are dropped too
    train, valid : row numbers
    weights : array (T, P), what each training value counts; None: all the same. What chooses is never weighed

    Raises
    ------
    InputMissing : fewer usable training values than ten per feature
    """
    known = usable & np.isfinite(labels)
    values = features[train][known[train]]
    count = features.shape[2]
    if values.shape[0] < 10 * count:
        raise InputMissing(f"{values.shape[0]} usable training values for {count} features", "Collect more history")
    center, scale = standardisation(values)
    weight = common_weight(np.where(known[train], labels[train], np.nan))
    x, y = _white(features, labels, known, train, center, scale, weight)
    x_valid, y_valid = _white(features, labels, known, valid, center, scale, weight)
    if weights is None:
        gram, moment = x.T @ x / len(x), x.T @ y / len(x)
    else:
        counts = weights[train][known[train]][:, None]
        gram, moment = x.T @ (counts * x) / counts.sum(), (counts * x).T @ y / counts.sum()
    best: tuple[float, float, Floats] | None = None
    for penalty in penalties:
        found: Floats = np.asarray(np.linalg.solve(gram + penalty * np.eye(count), moment), np.float64)
        loss = float(np.mean((y_valid - x_valid @ found) ** 2)) if len(y_valid) else penalty
        if best is None or loss < best[0]:
            best = (loss, penalty, found)
    assert best is not None
    return LinearModel(center, scale, best[2], 0.0, weight, best[1])


def standardisation(values: Features) -> tuple[Floats, Floats]:
    """Median and standard deviation (1 where nothing moves) of finite values (n, F), shape (F,) each."""
    center = np.median(values, axis=0).astype(np.float64)
    scale = values.std(axis=0, dtype=np.float64)
    return center, np.where(scale > 1e-9, scale, 1.0)


def _white(
    features: Features, labels: Floats, known: Bools, rows: Ints, center: Floats, scale: Floats, weight: float
) -> tuple[Floats, Floats]:
    """Standardised features and clipped labels with the cross-section's mean weighted down, unknown ones dropped."""
    mask = known[rows]
    x = np.clip((features[rows] - center) / scale, -FEATURE_CLIP, FEATURE_CLIP)
    y = np.clip(labels[rows], -LABEL_CLIP, LABEL_CLIP)
    return whiten(x, mask, weight)[mask], whiten(y, mask, weight)[mask]
