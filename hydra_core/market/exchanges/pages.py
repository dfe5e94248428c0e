"""A long page of rows read straight from the text that an exchange sent: as a table of columns, not one object a number.

Only for answers that are nothing but a list of rows of numbers, which is what nearly every page of candles is. Of anything else
nothing is said here: it is parsed as JSON and read row by row (:mod:`routes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

LONG: Final = 16_384
"""Characters from which on it is worth it."""
STAMP: Final = "ts"
EARLIEST_MS: Final = 10**12
"""September 2001, from when on an epoch in ms has thirteen digits: one that is earlier is looked at the long way."""


class Sent(str):
    """An answer as it was sent, not parsed yet."""

    __slots__ = ()


def columns_at_sight(text: str, places: Mapping[str, int]) -> dict[str, npt.NDArray[Any]] | None:
    """Columns of a page of numbers, ``ts`` int64 and the others float64; None where it is not of the plainest form.

    Most of the time is spent outside the interpreter's lock. What stands in places that are not asked for is not looked at.

    Parameters
    ----------
    text : str, JSON: a list of lists of numbers, in quotes or not, of equal length, without spaces
    places : column -> where it stands in a row
    """
    raw = text.encode(errors="replace")
    if raw[:2] != b"[[" or raw[-2:] != b"]]" or b"\n" in raw:
        return None
    width = raw.count(b",", 0, raw.index(b"]")) + 1
    if max(places.values()) >= width:
        return None
    lines = raw[2:-2].replace(b"],[", b"\n")
    kinds: dict[str, type[pl.DataType]] = {str(place): pl.String for place in range(width)}
    kinds |= {str(place): pl.Int64 if name == STAMP else pl.Float64 for name, place in places.items()}
    try:
        page = pl.read_csv(lines, has_header=False, schema=kinds, columns=sorted(places.values()))
    except pl.exceptions.PolarsError:
        return None
    # Whatever is no list of its own, and what is one too many, would have been passed over without a word.
    told = (raw.count(b"["), raw.count(b"]"), lines.count(b"\n") + 2)
    if told != (page.height + 1,) * 3 or any(column.null_count() for column in page):
        return None
    found = {name: page[str(place)].to_numpy() for name, place in places.items()}
    sound = all(bool(np.isfinite(values).all()) for values in found.values())
    return found if sound and bool((found[STAMP] >= EARLIEST_MS).all()) else None
