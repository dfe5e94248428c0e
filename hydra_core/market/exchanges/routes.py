"""How a table or a present reading is asked of an exchange, and how its answer becomes numbers.

A route is data: ccxt's name of the endpoint, its parameters, its page, and a pure function from the answer to columns. It
makes no request itself. An answer that cannot be read raises :class:`BadAnswer`, never a guess and never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from hydra_core.domain.pairs import Pair
from hydra_core.market.exchanges.pages import Sent, columns_at_sight

Rows = dict[str, npt.NDArray[Any]]
"""Columns of a page: ``ts`` int64 epoch ms ascending, everything else float64."""
Query = Callable[[Pair, int, int, int], dict[str, Any]]
"""(pair, start, end, rows) -> parameters; the span is half open, epoch ms."""
Fields = Mapping[str, str | int | Callable[[Any], Any]]
"""Column -> where it stands in a row: a key, a place, or a function of the row."""

CANDLE: Final[Mapping[str, int]] = {"ts": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
"""Where a candle's columns stand in most exchanges' rows."""


FEW_ASIDE: Final = 3
MOST_ASIDE: Final = 0.2
"""So many rows, or this share of an answer, may be unreadable; beyond it the exchange tells something else than documented."""


class BadAnswer(ValueError):
    """An answer is not of the documented form; says which part."""


class Paging(StrEnum):
    """How an endpoint is read beyond one page."""

    SPAN = "span"
    """It takes a start and an end."""
    NUMBERED = "numbered"
    """It only counts pages back from now."""
    RECENT = "recent"
    """It only knows its newest rows."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one table is asked for.

    Parameters
    ----------
    method : str, ccxt's implicit method
    query : parameters of a page
    rows_of : answer -> its list of rows
    fields : where each column stands in a row
    limit : int, rows a page at most
    step_ms : int, least distance of two rows; 1 where rows stand on no grid
    page_span_ms : int, a span that one page never overflows
    cheap_limit : int, the page with the most rows per unit of request weight; ``limit`` where it makes no difference
    paging : Paging
    source : str, the documented message that the reading was checked against; empty: unverified
    bare : bool, whether the answer is a list of rows of numbers and nothing else: it may then be handed over as it was sent
    """

    method: str
    query: Query
    rows_of: Callable[[Any], Any]
    fields: Fields
    limit: int
    step_ms: int
    page_span_ms: int
    cheap_limit: int = 0
    paging: Paging = Paging.SPAN
    source: str = ""
    bare: bool = False

    def read(self, answer: Any, aside: list[str] | None = None) -> Rows:
        """The answer's columns, ascending; raises BadAnswer.

        With a list for them, single rows that cannot be read are left out and told there; an answer that is mostly such
        rows is none.
        """
        if isinstance(answer, Sent):
            places = {name: at for name, at in self.fields.items() if isinstance(at, int)}
            if len(places) == len(self.fields) and (found := columns_at_sight(answer, places)) is not None:
                return _in_order(found)
            try:
                answer = orjson.loads(str(answer))  # which takes no subclass of str
            except orjson.JSONDecodeError as error:
                raise BadAnswer(f"{self.method}: the answer is not JSON ({error})") from error
        try:
            rows = self.rows_of(answer)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{self.method}: no rows in the answer ({type(error).__name__}: {error})") from error
        if not isinstance(rows, list | tuple):
            raise BadAnswer(f"{self.method}: rows are {type(rows).__name__}, not a list")
        return columns(rows, self.fields, self.method, aside)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for present readings, and what they are called in :class:`PerpReading`.

    Parameters
    ----------
    method : str, ccxt's implicit method
    query : pair -> parameters
    read : (answer, pair) -> field -> value; a field that the answer has not is left out
    source : str, the documented message that it was checked against; empty: unverified
    """

    method: str
    query: Callable[[Pair], dict[str, Any]]
    read: Callable[[Any, Pair], Mapping[str, Any]]
    source: str = ""

    def fields(self, answer: Any, pair: Pair) -> dict[str, float | int]:
        """The readings in an answer as numbers; raises BadAnswer."""
        try:
            found = self.read(answer, pair)
            return {name: (whole(value) if name.endswith("_ms") else number(value)) for name, value in found.items()}
        except BadAnswer as error:
            raise BadAnswer(f"{self.method} {pair}: {error}") from error
        except (KeyError, IndexError, TypeError, AttributeError, StopIteration) as error:
            raise BadAnswer(f"{self.method} {pair}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class PerpReading:
    """What an exchange says of a perpetual now; None where it does not say.

    Parameters
    ----------
    pair : Pair
    mark, index : float or None, prices in the quote currency
    funding_rate : float or None, fraction of notional at the coming settlement
    funding_hours : float or None, hours between settlements
    next_funding_ms : int or None, the coming settlement, epoch ms
    open_interest : float or None, base units
    event_ms : int or None, the exchange's own time of the reading
    """

    pair: Pair
    mark: float | None = None
    index: float | None = None
    funding_rate: float | None = None
    funding_hours: float | None = None
    next_funding_ms: int | None = None
    open_interest: float | None = None
    event_ms: int | None = None


def columns(rows: Sequence[Any], fields: Fields, where: str, aside: list[str] | None = None) -> Rows:
    """Columns of rows, ascending by ``ts``; raises BadAnswer for a row that is not of the documented form.

    With ``aside`` such a row is left out and told there, as long as they are few (:data:`MOST_ASIDE`).
    """
    try:
        found = _at_once(rows, fields)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, ZeroDivisionError):
        found = None
    if found is None:
        found = _one_by_one(rows, fields, where, aside)
    return _in_order(found)


def _in_order(found: Rows) -> Rows:
    """The columns with ``ts`` ascending; of equal stamps the order stays."""
    stamps = found["ts"]
    if stamps.size > 1 and not bool((np.diff(stamps) > 0).all()):
        order = np.argsort(stamps, kind="stable")
        found = {name: values[order] for name, values in found.items()}
    return found


def _at_once(rows: Sequence[Any], fields: Fields) -> Rows | None:
    """The columns of well-formed rows, which is nearly always; None where something is not finite."""
    found: Rows = {}
    for name, at in fields.items():
        values = map(at if callable(at) else itemgetter(at), rows)
        kind, read = (np.int64, int) if name == "ts" else (np.float64, float)
        found[name] = np.fromiter(map(read, values), kind, len(rows))
    sound = all(bool(np.isfinite(values).all()) for values in found.values()) and not bool((found["ts"] < 0).any())
    return found if sound else None


def _one_by_one(rows: Sequence[Any], fields: Fields, where: str, aside: list[str] | None) -> Rows:
    """The same, slowly: finds the rows at fault and says what is wrong with them."""
    taken: dict[str, list[float | int]] = {name: [] for name in fields}
    wrong: list[str] = []
    for place, row in enumerate(rows):
        try:
            values = {name: at(row) if callable(at) else row[at] for name, at in fields.items()}
            read = {name: whole(value) if name == "ts" else number(value) for name, value in values.items()}
        except (KeyError, IndexError, TypeError, ZeroDivisionError, BadAnswer) as error:
            words = f"{str(row)[:120]} ({type(error).__name__}: {error})"
            wrong.append(words)
            if aside is None or len(wrong) > max(FEW_ASIDE, MOST_ASIDE * len(rows)):
                raise BadAnswer(f"{where}: row {place} is {words}") from error
            continue
        for name, value in read.items():
            taken[name].append(value)
    if aside is not None:
        aside += wrong
    return {name: np.asarray(values, dtype=np.int64 if name == "ts" else np.float64) for name, values in taken.items()}


def number(value: Any) -> float:
    """A finite number, written as one or as text; raises BadAnswer."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadAnswer(f"{value!r} is no number")
    try:
        taken = float(value)
    except ValueError:
        raise BadAnswer(f"{value!r} is no number") from None
    if not math.isfinite(taken):
        raise BadAnswer(f"{value!r} is not finite")
    return taken


def whole(value: Any) -> int:
    """A whole number such as an epoch in ms, written as one or as text; raises BadAnswer."""
    taken = number(value)
    if taken != int(taken) or taken < 0:
        raise BadAnswer(f"{value!r} is no time")
    return int(value) if not isinstance(value, float) else int(taken)


def only(rows: Any, key: str, value: str) -> Any:
    """The row of a list whose ``key`` is ``value``; raises BadAnswer where there is none."""
    for row in rows:
        if row[key] == value:
            return row
    raise BadAnswer(f"no row with {key} {value}")
