"""Many rows of numbers as text at once: the bytes that ``%d`` and ``%.nf`` templates give row by row, by whole columns.

A page of candles is thousands of numbers; formatting them one after the other is most of what serving it costs. Here every
four characters are one word: a column of numbers is looked up four digits at a time, a constant is padded with blanks, and the
blanks, which are no characters of any text, are taken out of the whole at the end. Not here: what a row says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hydra_core.domain.market import Floats, Ints

Words = npt.NDArray[np.uint32]

_BLANK: Final = b"\0"
_GROUP: Final = 4
_BASE: Final = 10**_GROUP


def _words(text: bytes) -> Words:
    """Text as words, blanks at the end of the last."""
    return np.frombuffer(text + _BLANK * (-len(text) % _GROUP), np.uint32)


_NUMBERS: Final = np.arange(_BASE)[:, None]
_ONES: Final = np.array([1000, 100, 10, 1])
_DIGITS: Final = (_NUMBERS // _ONES % 10 + ord("0")).astype(np.uint8)


def _looked_up(shown: npt.NDArray[np.bool_], point: int | None = None) -> Words:
    """Words of 0 to 9999 in four digits: blanks for those that are not shown, and a point in some place."""
    text = np.where(shown, _DIGITS, np.uint8(0))
    if point is not None:
        text[:, point] = ord(".")
    return text.view(np.uint32).ravel()


_FOLLOWING: Final = _looked_up(_NUMBERS >= 0)
"""Digits that others stand before."""
_LOWEST: Final = np.concatenate([_FOLLOWING, _looked_up((_NUMBERS >= _ONES) | (_ONES == 1))])
"""A whole number's last digits: others stand before them, or none do."""
_HIGHER: Final = np.concatenate([_FOLLOWING, _looked_up(_NUMBERS >= _ONES)])
"""Its other digits, which a zero that nothing stands before has none of."""
_POINTED: Final = tuple(_looked_up(10**digits > _ONES, _GROUP - 1 - digits) for digits in range(_GROUP))
"""The point and so many digits, which of a fraction come first."""
_LARGEST: Final = 2.0**51
"""Below it halves are floats too, so that a product rounded to a float still lies on its own side of every half."""
_SPLIT: Final = 2.0**27 + 1


@dataclass(frozen=True, slots=True)
class Column:
    """Numbers of one place in every row.

    Parameters
    ----------
    values : (n,), whole numbers or floats
    digits : int, digits after the point; None: whole numbers without one
    """

    values: Ints | Floats
    digits: int | None = None


def joined(parts: Sequence[str | Column], rows: int) -> bytes:
    """Rows of constant text and columns, one after the other.

    Parameters
    ----------
    parts : what a row is made of, in its order
    rows : int, length of every column
    """
    if any(isinstance(part, Column) and not _plain(part) for part in parts):
        return _one_by_one(parts)
    columns: list[Words | np.uint32] = []
    for part in parts:
        columns.extend(_words(part.encode()) if isinstance(part, str) else _digits(part))
    matrix = np.empty((len(columns), rows), np.uint32)
    for place, column in enumerate(columns):
        matrix[place] = column
    return matrix.T.tobytes().translate(None, _BLANK)


def _digits(column: Column) -> list[Words]:
    """A column's words, the highest digits first."""
    digits = column.digits or 0
    whole = _scaled(column.values, digits)
    found: list[Words] = []
    if digits:
        whole, fraction = _parted(whole, 10**digits)
        for _ in range(digits // _GROUP):
            fraction, low = _parted(fraction, _BASE)
            found.append(_FOLLOWING.take(low))
        first = digits % _GROUP
        found.append(_POINTED[first].take(fraction))
    table = _LOWEST
    while True:
        whole, low = _parted(whole, _BASE)
        found.append(table.take(low + _BASE * (whole == 0)))
        if not whole.any():
            return found[::-1]
        table = _HIGHER


def _parted(number: Ints, by: int) -> tuple[Ints, Ints]:
    """Quotient and remainder."""
    quotient = number // by
    return quotient, number - quotient * by


def _scaled(values: Ints | Floats, digits: int) -> Ints:
    """Values times ``10 ** digits``, rounded as the template rounds them: by their exact binary value, halves to even.

    Only where the rounded product is a half does it matter what was lost in rounding it; Dekker's product tells
    (T. J. Dekker, A floating-point technique for extending the available precision, 1971).
    """
    if values.dtype.kind == "i":
        return values.astype(np.int64) * np.int64(10**digits)
    numbers = values.astype(np.float64, copy=False)
    factor = 10.0**digits
    scaled = numbers * factor
    number = np.rint(scaled)
    halves = np.flatnonzero(scaled - np.floor(scaled) == 0.5)
    if halves.size:
        product = scaled[halves]
        (high, low), (times, rest) = _halved(numbers[halves]), _halved(np.float64(factor))
        lost = ((high * times - product) + high * rest + low * times) + low * rest
        number[halves] = np.where(lost > 0, np.ceil(product), np.where(lost < 0, np.floor(product), number[halves]))
    return number.astype(np.int64)


def _halved(values: Floats | np.float64) -> tuple[Floats | np.float64, Floats | np.float64]:
    """Numbers as sums of two with half as many digits each."""
    large = values * _SPLIT
    high = large - (large - values)
    return high, values - high


def _plain(column: Column) -> bool:
    """Whether no number of the column has a sign, and none is too large."""
    limit = _LARGEST / 10.0 ** (column.digits or 0)
    return bool(((column.values < limit) & ~np.signbit(column.values)).all())


def _one_by_one(parts: Sequence[str | Column]) -> bytes:
    """The same from templates, whatever the numbers are."""
    row = "".join(
        part.replace("%", "%%") if isinstance(part, str) else "%d" if part.digits is None else f"%.{part.digits}f"
        for part in parts
    )
    columns = (part.values.tolist() for part in parts if isinstance(part, Column))
    return "".join(map(row.__mod__, zip(*columns, strict=True))).encode()
