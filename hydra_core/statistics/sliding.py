"""Windows that move on by one row: the sums of rolling.py kept up to date at O(1) a row instead of summed anew.

A running sum carries the rounding of what has left it, so each is summed afresh whenever its ring has gone round: the
values agree with the batch ones to 1e-9 for ever. Not here: the statistics made of them (live.py).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.rolling import MIN_SHARE

_SHARE: Final = MIN_SHARE


class Sliding(NamedTuple):
    """Plain and exponential windows over the same values of C columns; arrays are changed in place.

    Few arrays, because handing one to compiled code costs as much as a dozen additions.

    Parameters
    ----------
    ring : (N, C), the newest N rows, NaN where missing or not yet seen
    rows : int64: rows taken so far, number of plain windows K, of exponential ones E, then their lengths
    fading : (3, E): decay a row, decay over the whole window, full weight
    sums : (2, K + E, C): sum and number of finite values of each plain window, then weighted sum and weight of each exponential
        one
    """

    ring: Floats
    rows: Ints
    fading: Floats
    sums: Floats


def sliding(columns: int, windows: tuple[int, ...], exponential: tuple[tuple[float, int], ...] = ()) -> Sliding:
    """Empty windows: plain ones of so many rows, exponential ones of (half-life, rows)."""
    spans = tuple(n for _, n in exponential)
    decay = np.array([0.5 ** (1.0 / half_life) for half_life, _ in exponential])
    over = decay ** np.array(spans, np.float64)
    return Sliding(
        np.full((max(*windows, *spans, 1), columns), np.nan),
        np.array([0, len(windows), len(spans), *windows, *spans], np.int64),
        np.stack([decay, over, (1.0 - over) / (1.0 - decay)]),
        np.zeros((2, len(windows) + len(spans), columns)),
    )


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def push(s: Sliding, row: Floats) -> None:
    """Take one row into every window."""
    size, columns = s.ring.shape
    seen, plain = s.rows[0], s.rows[1]
    at = seen % size
    for k in range(plain):
        window = s.rows[3 + k]
        old = (seen - window) % size
        for c in range(columns):
            gone, come = s.ring[old, c], row[c]
            if seen >= window and not math.isnan(gone):
                s.sums[0, k, c] -= gone
                s.sums[1, k, c] -= 1.0
            if not math.isnan(come):
                s.sums[0, k, c] += come
                s.sums[1, k, c] += 1.0
    for k in range(s.rows[2]):
        span = s.rows[3 + plain + k]
        old = (seen - span) % size
        decay, over = s.fading[0, k], s.fading[1, k]
        for c in range(columns):
            summed, weight = s.sums[0, plain + k, c] * decay, s.sums[1, plain + k, c] * decay
            gone, come = s.ring[old, c], row[c]
            if seen >= span and not math.isnan(gone):
                summed -= over * gone
                weight -= over
            if not math.isnan(come):
                summed += come
                weight += 1.0
            s.sums[0, plain + k, c], s.sums[1, plain + k, c] = summed, weight
    for c in range(columns):
        s.ring[at, c] = row[c]
    s.rows[0] = seen + 1
    if at == size - 1:
        _sum_afresh(s)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sum_afresh(s: Sliding) -> None:
    """Every window summed anew from the ring, whose newest row is its last."""
    size, columns = s.ring.shape
    for k in range(s.rows[1] + s.rows[2]):
        exponential_one = k >= s.rows[1]
        decay = s.fading[0, k - s.rows[1]] if exponential_one else 1.0
        for c in range(columns):
            summed, weight = 0.0, 0.0
            for i in range(size - s.rows[3 + k], size):
                summed *= decay
                weight *= decay
                value = s.ring[i, c]
                if not math.isnan(value):
                    summed += value
                    weight += 1.0
            s.sums[0, k, c], s.sums[1, k, c] = summed, weight


@njit(cache=True)  # type: ignore[untyped-decorator]
def mean(s: Sliding, k: int, c: int) -> float:
    """Mean of window k of column c, as :func:`~hydra_core.statistics.rolling.rolling_mean` has it."""
    window = s.rows[3 + k]
    count = s.sums[1, k, c]
    if s.rows[0] < window or count < max(1.0, _SHARE * window):
        return math.nan
    return s.sums[0, k, c] / count  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator]
def total(s: Sliding, k: int, c: int) -> float:
    """Sum of window k of column c, NaN where a value is missing."""
    window = s.rows[3 + k]
    if s.rows[0] < window or s.sums[1, k, c] < window:
        return math.nan
    return s.sums[0, k, c]  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator]
def exponential(s: Sliding, k: int, c: int) -> float:
    """Exponential mean of window k of column c, as :func:`~hydra_core.statistics.rolling.exponential_mean` has it."""
    at = s.rows[1] + k
    if s.rows[0] < s.rows[3 + at] or s.sums[1, at, c] < _SHARE * s.fading[2, k]:
        return math.nan
    return s.sums[0, at, c] / s.sums[1, at, c]  # type: ignore[no-any-return]
