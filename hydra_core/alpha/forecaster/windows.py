"""The window of feature rows that one forecast reads, gathered by index; and how a cross-section is whitened.

Not here: the features themselves, the network. No learning library is needed to read a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydra_core.domain.market import Bools, Floats, Ints

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WindowShape:
    """``steps`` feature rows, ``stride`` bars apart, the newest last."""

    steps: int = 32
    stride: int = 3

    @property
    def reach(self) -> int:
        """Rows between the oldest row of a window and its newest."""
        return (self.steps - 1) * self.stride

    def rows(self, newest: Ints) -> Ints:
        """Row numbers of the windows that end at ``newest`` (n,), shape (n, steps); raises IndexError before row 0."""
        rows = newest[:, None] - self.stride * np.arange(self.steps - 1, -1, -1)
        if rows.size and int(rows.min()) < 0:
            raise IndexError(f"a window reaches {-int(rows.min())} rows before the first one")
        return rows

    def gather(self, features: Features, newest: Ints) -> Features:
        """Windows of every pair, shape (n, P, steps, F), from features of shape (T, P, F)."""
        return np.ascontiguousarray(features[self.rows(newest)].transpose(0, 2, 1, 3))


def usable_rows(features: Features, shape: WindowShape) -> npt.NDArray[np.bool_]:
    """Where a pair's whole window is finite, shape (T, P)."""
    good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=2))
    out = np.zeros_like(good)
    if good.shape[0] > shape.reach:
        newest = np.arange(shape.reach, good.shape[0])
        out[shape.reach :] = good[shape.rows(newest)].all(axis=1)
    return out


def common_weight(labels: Floats) -> float:
    """How much the cross-section's mean is worth beside the deviations from it (generalised least squares).

    With equicorrelation r between P pairs the mean has variance (1 + (P - 1) r) / P and deviations 1 - r; residuals
    are white once the mean is multiplied by sqrt((1 - r) / (1 + (P - 1) r)).

    Parameters
    ----------
    labels : array (n, P), standardised returns, NaN where unknown

    Returns
    -------
    float in (0, 1]; 1 with a single pair or no correlation
    """
    known = np.isfinite(labels)
    ever = known.any(axis=0)  # a pair that is never there says nothing of how the others move together
    full = labels[known[:, ever].all(axis=1)][:, ever]
    pairs = int(ever.sum())
    if pairs < 2 or full.shape[0] < 30:
        return 1.0
    correlation = np.corrcoef(full, rowvar=False)
    mean = float((correlation.sum() - pairs) / (pairs * (pairs - 1)))
    mean = min(max(mean, 0.0), 0.98)
    return float(np.sqrt((1 - mean) / (1 + (pairs - 1) * mean)))


def whiten(values: Floats, known: Bools, weight: float) -> Floats:
    """Values (n, P) or (n, P, K) with the mean of each row's known pairs weighted down to ``weight``; unknown ones are 0.

    Parameters
    ----------
    known : array (n, P)
    weight : as :func:`common_weight` gives it
    """
    mask = known if values.ndim == 2 else known[:, :, None]
    kept = np.where(mask, values, 0.0)
    if weight == 1.0:
        return kept
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.where(mask, kept - (1 - weight) * kept.sum(axis=1, keepdims=True) / count, 0.0))
