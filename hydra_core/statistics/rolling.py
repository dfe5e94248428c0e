"""Finite windows over the time axis: sums, means, extremes, exponential means.

Every window of n rows is composed of windows of 1, 2, 4, … rows by one fixed tree of additions. A value therefore
depends on its own n rows only, bit for bit, wherever the array begins: running sums would carry the rounding of all
rows before them, and one-pass recursions their starting value. The cost is about log2(n) passes.

Arrays have time first, shape (T, ...); rows before the first full window are NaN.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

MIN_SHARE = 0.9
"""Share of a window that must be finite for its mean to count: single missing candles do not blind a 5-day window."""

_TINY = 1e-300


_BLOCK_VALUES = 32_768
"""Values whose windows are made together: what they read and the passes between stay in the processor's cache."""


_FEW = 4
"""So many windows are summed one by one: a live cycle asks for the newest row alone."""

_PRODUCTS_AT_ONCE = 64
"""Products of one column with so many others are summed together: a day of their bars stays in the processor's cache."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tree(flat: Floats, width: int, n: int, decay: float, out: Floats) -> None:
    """Sum over windows of ``n`` rows of ``width`` values, the value k rows before a window's end weighted ``decay**k``.

    Entry i of the result is the window that begins with row i. Slices instead of offsets let the loops be vectorised.
    """
    windows = flat.size // width - n + 1
    most = max(_BLOCK_VALUES // width, n)
    room = (min(most, windows) + n - 1) * width
    first, second = np.empty(room), np.empty(room)
    for begin in range(0, windows, most):
        held = min(most, windows - begin)
        rows = held + n - 1
        whole = out[begin * width : (begin + held) * width]
        block = flat[begin * width : (begin + rows) * width]
        covered, size, left, fade = 0, 1, n, decay
        spare, other = first, second
        while True:
            if left & 1:
                later = block[covered * width : covered * width + held * width]
                if covered == 0:
                    whole[:] = later
                else:
                    for i in range(held * width):
                        whole[i] = whole[i] * fade + later[i]
                covered += size
            left >>= 1
            if left == 0:
                break
            count = (rows - 2 * size + 1) * width
            later = block[size * width : size * width + count]
            for i in range(count):
                spare[i] = block[i] * fade + later[i]
            block, spare, other = spare, other, spare
            size *= 2
            fade *= fade


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _few(flat: Floats, width: int, n: int, decay: float, out: Floats) -> None:
    """What :func:`_tree` computes, window by window: the same additions, and none that only other windows need."""
    room = np.empty(max(n // 2, 1) * width)
    for begin in range(out.size // width):
        whole = out[begin * width : (begin + 1) * width]
        covered, size, left, fade = begin, 1, n, decay
        while left > 0:
            if left & 1:
                block, rows, inner = flat[covered * width : (covered + size) * width], size, decay
                while rows > 1:
                    rows //= 2
                    for i in range(rows):
                        for c in range(width):
                            room[i * width + c] = block[2 * i * width + c] * inner + block[(2 * i + 1) * width + c]
                    block = room
                    inner *= inner
                if covered == begin:
                    for c in range(width):
                        whole[c] = block[c]
                else:
                    for c in range(width):
                        whole[c] = whole[c] * fade + block[c]
                covered += size
            left >>= 1
            size *= 2
            fade *= fade


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _few_products(values: Floats, n: int, decay: float, out: Floats) -> None:
    """:func:`_few` of the products of every two columns of ``values``, (rows, P), in the order of the upper triangle's rows."""
    rows, columns = values.shape
    product = np.empty(rows * _PRODUCTS_AT_ONCE)
    sums = np.empty((rows - n + 1) * _PRODUCTS_AT_ONCE)
    place = 0
    for one in range(columns - 1):
        for first in range(one + 1, columns, _PRODUCTS_AT_ONCE):
            width = min(_PRODUCTS_AT_ONCE, columns - first)
            for row in range(rows):
                factor, others = values[row, one], values[row, first : first + width]
                products = product[row * width : (row + 1) * width]
                for c in range(width):
                    products[c] = factor * others[c]
            _few(product[: rows * width], width, n, decay, sums[: (rows - n + 1) * width])
            for row in range(rows - n + 1):
                for c in range(width):
                    out[row, place + c] = sums[row * width + c]
            place += width


def newest_products(values: Floats, half_life: float, n: int) -> Floats | None:
    """:func:`exponential_mean` of the products of every two columns, to the same bits, for a live cycle's newest rows.

    Parameters
    ----------
    values : array (T, P)

    Returns
    -------
    array (T - n + 1, P (P - 1) / 2), the upper triangle row by row, of the windows that are whole; None where there are
    more of them than a live cycle asks for, or where a value is missing
    """
    rows, pairs = values.shape
    if not 0 <= rows - n < _FEW or not np.isfinite(values).all():
        return None
    decay = 0.5 ** (1.0 / half_life)
    out = np.empty((rows - n + 1, pairs * (pairs - 1) // 2))
    _few_products(np.ascontiguousarray(values, np.float64), n, decay, out)
    out /= _full_weight(n, decay)
    return out


def _weighted_sum(values: Floats, n: int, decay: float) -> Floats:
    if n < 1:
        raise InputMissing(f"window of {n} rows", "A window has at least one row")
    rows = values.shape[0]
    out = np.empty(values.shape)
    out[: n - 1] = np.nan
    if rows >= n:
        width = values[0].size
        flat = np.ascontiguousarray(values, np.float64).reshape(-1)
        (_few if rows - n < _FEW else _tree)(flat, width, n, decay, out.reshape(-1)[(n - 1) * width :])
    return out


def rolling_sum(values: Floats, n: int) -> Floats:
    """Sum over the last ``n`` rows; NaN where any of them is."""
    return _weighted_sum(values, n, 1.0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _largest(flat: Floats, width: int, n: int, sign: float, out: Floats) -> None:
    """``sign`` times the largest of ``sign`` times the values of each window, missing ones left aside.

    Entry i of the result is the window that begins with row i. Windows of 1, 2, 4, ... rows are made of two halves; two of the
    largest that fit cover a window of n rows, overlapping where n is no power of two, which extremes do not mind.
    """
    windows = flat.size // width - n + 1
    most = max(_BLOCK_VALUES // width, n)
    room = (min(most, windows) + n - 1) * width
    block, spare = np.empty(room), np.empty(room)
    for begin in range(0, windows, most):
        held = min(most, windows - begin)
        rows = held + n - 1
        source = flat[begin * width : (begin + rows) * width]
        for i in range(rows * width):
            value = source[i]
            block[i] = sign * value if value == value else -np.inf
        size = 1
        while 2 * size <= n:
            count = (rows - 2 * size + 1) * width
            later = block[size * width : size * width + count]
            for i in range(count):
                one, other = block[i], later[i]
                spare[i] = one if one > other else other
            block, spare = spare, block
            size *= 2
        whole = out[begin * width : (begin + held) * width]
        later = block[(n - size) * width : (n - size + held) * width]
        for i in range(held * width):
            one, other = block[i], later[i]
            largest = one if one > other else other
            whole[i] = sign * largest if largest > -np.inf else np.nan


def _extremes(values: Floats, n: int, sign: float) -> Floats:
    if n < 1:
        raise InputMissing(f"window of {n} rows", "A window has at least one row")
    out = np.empty(values.shape)
    out[: n - 1] = np.nan
    if values.shape[0] >= n:
        flat, width = np.ascontiguousarray(values, np.float64).reshape(-1), values[0].size
        _largest(flat, width, n, sign, out.reshape(-1)[(n - 1) * width :])
    return out


def rolling_max(values: Floats, n: int) -> Floats:
    """Largest finite value of the last ``n`` rows."""
    return _extremes(values, n, 1.0)


def rolling_min(values: Floats, n: int) -> Floats:
    """Smallest finite value of the last ``n`` rows."""
    return _extremes(values, n, -1.0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _missing(flat: Floats) -> int:
    """How many values are missing."""
    missing = 0
    for i in range(flat.size):
        missing += flat[i] != flat[i]
    return missing


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _per_known(flat: Floats, width: int, n: int, least: float, out: Floats) -> None:
    """Divide the sums of windows of n rows, in place, by how many of their values are known; NaN for fewer than ``least``."""
    known = np.zeros(width)
    for i in range((n - 1) * width):
        known[i % width] += flat[i] == flat[i]
    for row in range(n - 1, flat.size // width):
        for c in range(width):
            i = row * width + c
            known[c] += flat[i] == flat[i]
            out[i] = out[i] / known[c] if known[c] >= least else np.nan
            gone = flat[i - (n - 1) * width]
            known[c] -= gone == gone


def rolling_mean(values: Floats, n: int, min_share: float = MIN_SHARE) -> Floats:
    """Mean of the finite values of the last ``n`` rows; NaN where fewer than ``min_share`` of them are finite."""
    flat = np.ascontiguousarray(values, np.float64).reshape(-1)
    if not _missing(flat):
        out = _weighted_sum(flat.reshape(values.shape), n, 1.0)
        out[n - 1 :] /= n
        return out
    out = _weighted_sum(np.where(np.isnan(flat), 0.0, flat).reshape(values.shape), n, 1.0)
    if values.shape[0] >= n:
        _per_known(flat, values[0].size, n, max(1.0, min_share * n), out.reshape(-1))
    return out


def rolling_std(values: Floats, n: int, min_share: float = MIN_SHARE, *, mean: Floats | None = None) -> Floats:
    """Standard deviation (divisor n) over the last ``n`` rows, from the mean of squares.

    Digits are lost where the mean is far larger than the spread: hand in logs, rates or returns, never prices.

    Parameters
    ----------
    mean : the :func:`rolling_mean` over these rows where it is at hand
    """
    mean = rolling_mean(values, n, min_share) if mean is None else mean
    square = rolling_mean(values * values, n, min_share)
    return np.sqrt(np.maximum(square - mean * mean, 0.0))


def standardised(values: Floats, n: int, least: float, *, mean: Floats | None = None) -> Floats:
    """Value less its mean over the last ``n`` rows, in standard deviations (of ``least`` at least); ``mean`` as above."""
    mean = rolling_mean(values, n) if mean is None else mean
    return np.asarray((values - mean) / np.maximum(rolling_std(values, n, mean=mean), least))


def exponential_mean(values: Floats, half_life: float, n: int) -> Floats:
    """Exponentially weighted mean over a window of ``n`` rows, weights summing to one over the finite values.

    Parameters
    ----------
    values : array of shape (T, ...)
    half_life : float, rows after which a weight has halved
    n : int, rows in the window; older rows have no weight at all, so the look-back is exactly ``n``
    """
    decay = 0.5 ** (1.0 / half_life)
    full = _full_weight(n, decay)
    missing = np.isnan(values)
    if not missing.any():
        out = _weighted_sum(values, n, decay)
        out[n - 1 :] /= full
        return out
    total = _weighted_sum(np.where(missing, 0.0, values), n, decay)
    weight = _weighted_sum((~missing).astype(np.float64), n, decay)
    return np.where(weight >= MIN_SHARE * full, total / np.maximum(weight, _TINY), np.nan)


@cache
def _full_weight(n: int, decay: float) -> float:
    """Weight of a whole window: summed by the same tree, so that it is the same whether or not another window has a gap."""
    return float(_weighted_sum(np.ones(n), n, decay)[-1])


def lag(values: Floats, rows: int) -> Floats:
    """The value ``rows`` earlier; NaN before the first."""
    out = np.full(values.shape, np.nan)
    if rows < values.shape[0]:
        out[rows:] = values[: values.shape[0] - rows]
    return out


def change(values: Floats, rows: int) -> Floats:
    """Difference to the value ``rows`` earlier; NaN before the first."""
    out = np.empty(values.shape)
    out[:rows] = np.nan
    np.subtract(values[rows:], values[: max(0, values.shape[0] - rows)], out=out[rows:])
    return out
