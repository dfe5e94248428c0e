"""Regression on the newest feature row, its squares and the products of its features, pairs pooled, with few columns kept.

Products are many and few of them matter. The penalty is on the number of columns kept, not on their size: it is reached by
ridge regressions repeated with penalties divided by the squared weights of the one before, so that what matters keeps its
weight whole and the rest vanishes. How much a column has to explain is what later rows say. All of it comes from one Gram
matrix summed over parts of the rows: a long history needs no more memory than a short one.

Not here: plain ridge (``linear``), trees (``trees``). Source: adaptive ridge, Frommlet and Nuel (2016), PLoS ONE 11(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.forecaster.linear import FEATURE_CLIP, LABEL_CLIP, LinearModel
from hydra_core.alpha.forecaster.windows import Features, whiten
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Bools, Floats, Ints

PENALTIES: Final = (3.0, 12.0, 48.0, 192.0)
"""Squared t statistics that a column must show, were all values independent; labels that overlap need more."""
REPEATS: Final = 25
START: Final = 1e-3
"""Ridge penalty of the first solution, per row of standardised columns."""
VANISHED: Final = 1e-5
"""Weights below this count as none, in label units per standard deviation of a column."""
_CHUNK: Final = 4096


@dataclass(frozen=True, eq=False)
class PolynomialModel:
    """Standardisation of features (F,) and of columns (K,), and weights of columns (K,); K = F + F (F + 1) / 2."""

    center: Floats
    scale: Floats
    column_center: Floats
    column_scale: Floats
    weights: Floats
    penalty: float

    def predict(self, features: Features, rows: Ints) -> Floats:
        """Standardised return for rows of a (T, P, F) array, shape (n, P); NaN where a feature is."""
        out = np.empty((rows.size, features.shape[1]))
        weights = self.weights / self.column_scale
        shift = float(self.column_center @ weights)
        for first in range(0, rows.size, _CHUNK):
            part = rows[first : first + _CHUNK]
            out[first : first + part.size] = _columns(features[part], self.center, self.scale) @ weights - shift
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        arrays = ("center", "scale", "column_center", "column_scale", "weights")
        return {
            **{name: getattr(self, name).tolist() for name in arrays},
            "penalty": self.penalty,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PolynomialModel:
        """The inverse of :meth:`to_dict`; raises KeyError or ValueError for anything else."""
        arrays = {name: np.asarray(given, np.float64) for name, given in values.items() if isinstance(given, list)}
        count = arrays["center"].size
        columns = count + count * (count + 1) // 2
        if arrays["weights"].shape != (columns,) or not all(np.isfinite(each).all() for each in arrays.values()):
            raise ValueError(f"{arrays['weights'].size} finite weights for {columns} columns expected")
        return cls(**arrays, penalty=float(values["penalty"]))


def fit_polynomial(
    features: Features,
    labels: Floats,
    usable: Bools,
    train: Ints,
    valid: Ints,
    linear: LinearModel,
    penalties: tuple[float, ...] = PENALTIES,
    weights: Floats | None = None,
) -> PolynomialModel:
    """Fit on ``train``, choose the penalty on ``valid``.

    Parameters
    ----------
    features : array (T, P, F)
    labels : array (T, P), standardised forward returns
    usable : array (T, P), where features can be read; rows without a finite label are dropped too
    train, valid : row numbers
    linear : gives the standardisation of the features and the weight of the cross-section's mean
    weights : array (T, P), what each training value counts; None: all the same

    Raises
    ------
    InputMissing : fewer usable training values than twice the columns
    """
    known = usable & np.isfinite(labels)
    count = features.shape[2]
    columns = count + count * (count + 1) // 2
    if int(known[train].sum()) < 2 * columns:
        raise InputMissing(f"{int(known[train].sum())} training values for {columns} columns", "Collect more history")
    center, scale = linear.center, linear.scale
    mean, deviation = _moments(features, known, train, center, scale)

    def sums(rows: Ints, counts: Floats | None = None) -> tuple[Floats, Floats, float, float]:
        return _gram(features, labels, known, rows, (center, scale, mean, deviation), linear.common, counts)

    gram, moment, square, total = sums(train, weights)
    gram, moment = gram / total, moment / total
    judge, said, _, judged = sums(valid)
    best: tuple[float, float, Floats] | None = None
    for penalty in penalties:
        few = _few(gram, moment, penalty * square / total**2)
        loss = float(few @ judge @ few - 2 * few @ said) / judged if judged else penalty
        if best is None or loss < best[0]:
            best = (loss, penalty, few)
    assert best is not None
    return PolynomialModel(center, scale, mean, deviation, best[2], best[1])


def _columns(rows: Features, center: Floats, scale: Floats) -> Floats:
    """Standardised features, then the products of every two of them (and of each with itself), shape (n, P, K)."""
    standard = np.clip((rows - center) / scale, -FEATURE_CLIP, FEATURE_CLIP)
    left, right = np.triu_indices(standard.shape[2])
    return np.concatenate([standard, standard[:, :, left] * standard[:, :, right]], axis=2)


def _moments(features: Features, known: Bools, rows: Ints, center: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of every column over the known values of some rows, shape (K,) each."""
    total: Floats | float = 0.0
    square: Floats | float = 0.0
    for first in range(0, rows.size, _CHUNK):
        part = rows[first : first + _CHUNK]
        values = _columns(features[part], center, scale)[known[part]]
        total, square = total + values.sum(axis=0), square + (values**2).sum(axis=0)
    count = int(known[rows].sum())
    mean = np.asarray(total) / count
    deviation = np.sqrt(np.maximum(np.asarray(square) / count - mean**2, 0.0))
    return mean, np.where(deviation > 1e-9, deviation, 1.0)


def _gram(
    features: Features,
    labels: Floats,
    known: Bools,
    rows: Ints,
    standard: tuple[Floats, Floats, Floats, Floats],
    weight: float,
    counts: Floats | None,
) -> tuple[Floats, Floats, float, float]:
    """Sums over the known values of some rows: columns squared (K, K), columns times label (K,), labels squared, count.

    ``counts`` (T, P) says what each value counts; None: one.
    """
    center, scale, mean, deviation = standard
    gram: Floats = np.zeros((mean.size, mean.size))
    moment: Floats = np.zeros(mean.size)
    square = 0.0
    for first in range(0, rows.size, _CHUNK):
        part = rows[first : first + _CHUNK]
        mask = known[part]
        values = (_columns(features[part], center, scale) - mean) / deviation
        x = whiten(values, mask, weight)[mask]
        y = whiten(np.clip(labels[part], -LABEL_CLIP, LABEL_CLIP), mask, weight)[mask]
        if counts is not None:
            root = np.sqrt(counts[part][mask])
            x, y = root[:, None] * x, root * y
        gram += x.T @ x
        moment += x.T @ y
        square += float(y @ y)
    total = known[rows].sum() if counts is None else counts[rows][known[rows]].sum()
    return gram, moment, square, float(total)


def _few(gram: Floats, moment: Floats, penalty: float) -> Floats:
    """Weights of least squares with ``penalty`` for every one that is not 0; columns that vanish stay away."""
    weights = np.linalg.solve(gram + START * np.eye(moment.size), moment)
    kept = np.arange(moment.size)
    for _ in range(REPEATS):
        kept = kept[np.abs(weights) > VANISHED]
        weights = weights[np.abs(weights) > VANISHED]
        if not kept.size:
            break
        own = gram[np.ix_(kept, kept)] + np.diag(penalty / weights**2)
        weights = np.linalg.solve(own, moment[kept])
    out: Floats = np.zeros(moment.size)
    out[kept] = weights
    return out
