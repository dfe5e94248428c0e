"""A figure from a provider with its two times, and how rows of an answer become figures: broken ones set aside, not guessed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.pairs import Pair
from hydra_core.market.exchanges.routes import BadAnswer, number, whole
from hydra_core.market.external.memory import Memory

MAX_ROWS: Final = 100_000
__all__ = ["Point", "document", "number", "points_of", "whole"]


@dataclass(frozen=True, slots=True)
class Point:
    """One figure.

    Parameters
    ----------
    pair : Pair, whose base asset it is about
    metric : str
    ts_ms : int, start of the interval that it is of
    published_ms : int, when it could be known at the earliest
    value : float
    """

    pair: Pair
    metric: str
    ts_ms: int
    published_ms: int
    value: float


def document(provider: str, memory: Memory, body: bytes) -> Any:
    """An answer's JSON; one that is none is set aside and raises VenueUnavailable."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        memory.set_aside(provider, f"no JSON: {error}", body[:300])
        raise VenueUnavailable(f"{provider}: the answer is no JSON ({error})", "It is asked again later") from error


def points_of(
    provider: str, memory: Memory, rows: Any, read: Callable[[Any], Iterable[Point]], now_ms: int
) -> list[Point]:
    """The figures in a list of rows that are out at ``now_ms``; a row that cannot be read is set aside and counted."""
    if not isinstance(rows, list):
        memory.set_aside(provider, "rows are no list", rows)
        raise VenueUnavailable(f"{provider}: the answer holds no list of rows", "It is asked again later")
    found: list[Point] = []
    for row in rows[:MAX_ROWS]:
        try:
            found += [point for point in read(row) if point.published_ms <= now_ms]
        except (BadAnswer, KeyError, TypeError, IndexError, OverflowError, AttributeError) as error:
            memory.set_aside(provider, f"{type(error).__name__}: {error}", row)
    return found
