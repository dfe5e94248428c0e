"""Whether what comes is still what was: the population stability index of a column, and ADWIN for a stream of losses.

Both only tell. Not here: change points of returns (changepoints.py), whether a champion keeps its seat (research.shadow).

Sources: Siddiqi, "Credit Risk Scorecards" (2006) for the index and its limits; Bifet and Gavalda, "Learning from
time-changing data with adaptive windowing" (2007), theorem 3.1 in its form with the variance.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints

BINS: Final = 10
MOVED: Final = 0.25
"""Stability index from which on a column is no longer distributed as it was."""
CONFIDENCE: Final = 0.002
"""Chance of a false alarm that ADWIN allows at each look."""
_EVERY: Final = 32
"""Values between two looks: a shift that matters lasts for hundreds."""
_COPIES: Final = 5
"""Buckets of one size that are kept before two of them become one of twice the size."""
_LEAST: Final = 64
"""Values that either part of a window must have."""


def stability_index(reference: Floats, recent: Floats, bins: int = BINS) -> float:
    """Sum of (q - p) ln(q / p) over quantile bins of the reference: 0 for the same distribution.

    Empty bins count as half a value, so that the index stays finite; without any shift its mean is about
    ``(bins - 1) (1 / n + 1 / m)`` for n and m values.

    Raises
    ------
    InputMissing : fewer than ten finite values a bin on either side
    """
    old, new = (values[np.isfinite(values)] for values in (reference, recent))
    if min(old.size, new.size) < 10 * bins:
        raise InputMissing(f"stability of {new.size} values against {old.size}", f"Give it {10 * bins} at least")
    # Ties at an edge share a bin, so a column of few distinct values has fewer bins.
    edges = np.unique(np.quantile(old, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
    shares = []
    for values in (old, new):
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=edges.size + 1)
        shares.append(np.maximum(counts, 0.5) / values.size)
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


class Adwin:
    """A window over a stream that is cut where its older and newer parts differ in mean.

    Values are kept as sums in buckets of growing size, so a window of n values takes O(log n) memory.

    Parameters
    ----------
    low, high : between which every value is taken to lie; one outside is drawn in
    confidence : chance of a false alarm allowed at each look
    """

    def __init__(self, low: float, high: float, confidence: float = CONFIDENCE) -> None:
        if not low < high or not 0.0 < confidence < 1.0:
            raise InputMissing(
                f"ADWIN over {low:g} to {high:g} at {confidence:g}", "Give it a range and a chance in (0, 1)"
            )
        self._low, self._range, self._confidence = low, high - low, confidence
        # Sums and sums of squares of 2^k values each in the k-th list, oldest first; older values are in later lists.
        self._levels: list[list[tuple[float, float]]] = [[]]
        self._seen = 0

    def __len__(self) -> int:
        """Values in the window."""
        return sum(len(level) << k for k, level in enumerate(self._levels))

    @property
    def mean(self) -> float:
        """Of the window, in the stream's own units; NaN of an empty one."""
        size, total = len(self), sum(one[0] for level in self._levels for one in level)
        return self._low + self._range * total / size if size else math.nan

    def update(self, value: float) -> bool:
        """Take one value in (NaN is left out) and say whether older ones were dropped because the mean has moved."""
        if math.isnan(value):
            return False
        x = min(max((value - self._low) / self._range, 0.0), 1.0)
        self._levels[0].append((x, x * x))
        self._merge()
        self._seen += 1
        return self._seen % _EVERY == 0 and self._cut()

    def run(self, values: Floats) -> Ints:
        """Numbers of the values at which the mean was found to have moved."""
        return np.array([number for number, value in enumerate(values) if self.update(float(value))], np.int64)

    def _merge(self) -> None:
        """The two oldest buckets of a size become one where there are more than allowed."""
        k = 0
        while len(self._levels[k]) > _COPIES:
            if k + 1 == len(self._levels):
                self._levels.append([])
            one, two = self._levels[k][:2]
            del self._levels[k][:2]
            k += 1
            self._levels[k].append((one[0] + two[0], one[1] + two[1]))

    def _cut(self) -> bool:
        """Drop the oldest bucket as long as some border parts the window into two of different mean."""
        moved = False
        while self._parted():
            while not self._levels[-1]:
                del self._levels[-1]
            del self._levels[-1][0]
            moved = True
        return moved

    def _parted(self) -> bool:
        ordered = [(k, level) for k, level in reversed(list(enumerate(self._levels)))]
        table = np.array([(1 << k, *bucket) for k, level in ordered for bucket in level], np.float64)
        counts, sums = np.cumsum(table[:, 0]), np.cumsum(table[:, 1])
        total = counts[-1]
        if total < 2 * _LEAST:
            return False
        mean = sums[-1] / total
        variance = max(float(table[:, 2].sum() / total - mean * mean), 0.0)
        older, newer = counts[:-1], total - counts[:-1]
        fits = (older >= _LEAST) & (newer >= _LEAST)
        if not fits.any():
            return False
        older, newer, before = older[fits], newer[fits], sums[:-1][fits]
        gap = np.abs(before / older - (sums[-1] - before) / newer)
        harmonic = 1.0 / (1.0 / older + 1.0 / newer)
        strict = math.log(2.0 * math.log(total) / self._confidence)
        allowed = np.sqrt(2.0 / harmonic * variance * strict) + 2.0 / (3.0 * harmonic) * strict
        return bool((gap > allowed).any())
