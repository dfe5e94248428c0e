"""Whether what comes is still what was: the population stability index of a column, and ADWIN for a stream of losses.

Both only tell. Not here: what is held against what (research.drift), change points of returns (changepoints.py), whether a
champion keeps its seat (research.shadow).

Sources: Siddiqi, "Credit Risk Scorecards" (2006) for the index and its limits; Bifet and Gavalda, "Learning from
time-changing data with adaptive windowing" (2007), theorem 3.1 in its form with the variance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints

BINS: Final = 10
SHIFTING: Final = 0.1
"""Stability index from which on a column is worth a look (Siddiqi)."""
MOVED: Final = 0.25
"""Stability index from which on a column is no longer distributed as it was (Siddiqi)."""
CONFIDENCE: Final = 0.002
"""Chance of a false alarm that ADWIN allows at each look."""
_EVERY: Final = 32
"""Values between two looks: a shift that matters lasts for hundreds."""
_COPIES: Final = 5
"""Buckets of one size that are kept before two of them become one of twice the size."""
_LEAST: Final = 64
"""Values that either part of a window must have."""


@dataclass(frozen=True)
class Reference:
    """What a column was like: enough of it to hold later values against, in a few dozen numbers.

    Parameters
    ----------
    edges : ascending; the bins are below the first, from each to the next, from the last on. Empty for a column of no numbers
    counts : values in each bin, one more than edges
    known : share of the column's values that were numbers
    usual : largest index of one stretch of the column against the rest of it: how restless it always was; NaN where not known
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    known: float
    usual: float = math.nan

    @classmethod
    def of(cls, values: Floats, bins: int = BINS, stretch: int = 0) -> Reference:
        """The reference of a column, or of a table (T, P) whose columns are taken together.

        Parameters
        ----------
        stretch : rows of one stretch for ``usual``; 0: it is not asked for
        """
        values = np.asarray(values, np.float64)
        numbers = values[np.isfinite(values)]
        known = numbers.size / max(values.size, 1)
        if not numbers.size:
            return cls((), (0,), known)
        edges = np.quantile(numbers, np.linspace(0.0, 1.0, bins + 1)[1:-1])
        if edges[-1] == (top := numbers.max()):
            # Ties at the top: what lies above all that ever was has a bin of its own, or a constant could rise unseen.
            edges = np.append(edges, np.nextafter(top, math.inf))
        # Ties at an edge share a bin, so a column of few distinct values has fewer bins.
        edges = np.unique(edges)
        counts = _counts(edges, numbers)
        usual = math.nan
        for first in range(0, len(values) - stretch + 1, stretch) if stretch else ():
            part = values[first : first + stretch]
            own = _counts(edges, part[np.isfinite(part)])
            if min(own.sum(), (counts - own).sum()) >= 10 * bins:
                usual = np.fmax(usual, _index(counts - own, own))
        return cls(tuple(edges.tolist()), tuple(counts.tolist()), known, float(usual))

    def index(self, recent: Floats) -> float:
        """Sum of (q - p) ln(q / p) over the bins: 0 for the same distribution.

        A bin that is empty on one side counts as half a value there, so that the index stays finite; without any shift its
        mean is about ``(bins - 1) (1 / n + 1 / m)`` for n and m independent values.

        Raises
        ------
        InputMissing : fewer than ten finite values a bin on either side
        """
        recent = np.asarray(recent, np.float64)
        numbers = recent[np.isfinite(recent)]
        least = 10 * min(BINS, len(self.counts))
        if min(numbers.size, sum(self.counts)) < least:
            raise InputMissing(
                f"stability of {numbers.size} values against {sum(self.counts)}", f"Give it {least} at least"
            )
        return _index(np.asarray(self.counts, np.int64), _counts(np.asarray(self.edges), numbers))

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        usual = self.usual if math.isfinite(self.usual) else None
        return {"edges": list(self.edges), "counts": list(self.counts), "known": self.known, "usual": usual}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Reference:
        """The inverse of :meth:`to_json`; raises KeyError, TypeError or ValueError for anything else."""
        edges, counts = tuple(map(float, values["edges"])), tuple(map(int, values["counts"]))
        usual = math.nan if values["usual"] is None else float(values["usual"])
        ascending = all(low < high for low, high in itertools.pairwise(edges))
        if len(counts) != len(edges) + 1 or min(counts) < 0 or not ascending:
            raise ValueError(f"{len(counts)} counts for {len(edges)} ascending edges")
        return cls(edges, counts, float(values["known"]), usual)


def _index(old: Ints, new: Ints) -> float:
    """The index from the counts of either side; a bin that both leave empty says nothing."""
    held = (old > 0) | (new > 0)
    p = np.maximum(old[held], 0.5) / old.sum()
    q = np.maximum(new[held], 0.5) / new.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _counts(edges: Floats, numbers: Floats) -> Ints:
    return np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=edges.size + 1).astype(np.int64)


def stability_index(reference: Floats, recent: Floats, bins: int = BINS) -> float:
    """:meth:`Reference.index` over quantile bins of a column.

    Raises
    ------
    InputMissing : fewer than ten finite values a bin on either side
    """
    old = int(np.isfinite(reference).sum())
    if old < 10 * bins:
        raise InputMissing(f"stability against {old} values", f"Give it {10 * bins} at least")
    return Reference.of(reference, bins).index(recent)


class Turn(NamedTuple):
    """A change of a stream's mean that ADWIN found.

    Parameters
    ----------
    at : number of the value at which it was noticed
    before, after : mean of the window until then, and of what was kept of it
    """

    at: int
    before: float
    after: float


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

    def turns(self, values: Floats) -> list[Turn]:
        """:meth:`run`, with the means before and after each."""
        found = []
        for number, value in enumerate(values):
            before = self.mean
            if self.update(float(value)):
                found.append(Turn(number, before, self.mean))
        return found

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
