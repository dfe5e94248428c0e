"""What a struck request's client gets to see instead of the answer: pages, refusals, silence, spoilt and thinned JSON.

Which request is struck is decided in ``faults.py``; nothing here touches the account.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from hydra_core.venue import refusals
from hydra_core.venue.faults import Fault
from hydra_core.venue.refusals import VenueRefusal

UNKNOWN_WORDS: Final = "Unknown error, please check your request or try again later."
SPOILINGS: Final = ("truncated", "nulls", "extra", "swapped", "missing", "empty", "list", "html", "words")
"""Ways in which JSON can be spoilt, on REST and on streams."""
MAINTENANCES: Final = ("code", "unknown", "html403", "html502", "html503", "html504")


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer ready to be sent; status 0 cuts the connection instead."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    html: bool = False


def page(status: int, headers: Mapping[str, str] | None = None) -> Answered:
    """A front server's page instead of an answer."""
    return Answered(status, f"<html><body><h1>{status}</h1></body></html>".encode(), headers or {}, html=True)


async def struck_answer(fault: Fault, effect: Answered | None) -> Answered:
    """What the client of a struck request sees.

    Parameters
    ----------
    fault : Fault, of the answer group
    effect : Answered or None
        What it would have seen; None when the request was kept from having its effect.
    """
    kind = fault.kind
    if kind == "reset":
        return Answered(0)
    if kind == "hang":
        await asyncio.sleep(fault["seconds"])
        return effect if effect is not None else page(504)
    if kind == "refuse":
        return _refused(VenueRefusal(fault["code"], fault["message"], fault["status"]), fault["retry_after"])
    if kind == "maintenance":
        return maintenance(fault["how"])
    if kind == "malformed" and effect is not None:
        return spoilt_answer(fault["how"], fault["field"], effect, fault.rng)
    return page(fault["status"], _retry(fault.fields.get("retry_after", 0)))


def maintenance(how: str) -> Answered:
    """An exchange under maintenance, in one of its voices."""
    if how == "code":
        return _refused(refusals.maintenance(), 0)
    if how == "unknown":
        return _refused(VenueRefusal(-1000, UNKNOWN_WORDS, 503), 0)
    return page(int(how.removeprefix("html")))


def _refused(refusal: VenueRefusal, retry_after: int) -> Answered:
    return Answered(refusal.status, orjson.dumps(refusal.body), _retry(retry_after))


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)} if seconds else {}


# -- spoilt JSON -------------------------------------------------------------------------------------------------------


def spoilt_answer(how: str, name: str, answered: Answered, rng: random.Random) -> Answered:
    """The answer with its JSON spoilt."""
    if how == "html":
        return page(answered.status, answered.headers)
    return replace(answered, body=spoilt(how, name, answered.body, rng))


def spoilt(how: str, name: str, body: bytes, rng: random.Random) -> bytes:
    """JSON spoilt in one of :data:`SPOILINGS`; ``name`` chooses a field, else the generator does."""
    if how == "truncated":
        return body[: max(1, int(len(body) * rng.uniform(0.3, 0.9)))]
    if how == "empty":
        return b"" if name == "nothing" else b"[]" if body[:1] == b"[" else b"{}"
    if how == "list":
        return b"{}" if body[:1] == b"[" else b"[]"
    if how == "words":
        return b"null" if name == "null" else b'"unexpected"'
    tree = orjson.loads(body)
    places = [place for place in _places(tree) if not name or place[1] == name]
    if not places:
        return body
    chosen = places if name else rng.sample(places, max(1, len(places) // 5))
    for holder, key in chosen:
        _spoil(how, holder, key)
    return orjson.dumps(tree)


def _spoil(how: str, holder: Any, key: Any) -> None:
    value = holder[key]
    if how == "nulls":
        holder[key] = None
    elif how == "swapped":
        holder[key] = _swapped(value)
    elif how == "extra":
        if isinstance(holder, dict):
            holder[f"x{key}"] = {"new": [value]}
        else:
            holder.append(value)
    elif how == "missing" and isinstance(holder, dict):
        holder.pop(key, None)


def _swapped(value: Any) -> Any:
    """A number for its string and back; what is neither becomes a string."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return 7
    return str(value)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every scalar's holder and key."""
    found: list[tuple[Any, Any]] = []
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        found += _places(value) if isinstance(value, (dict, list)) else [(tree, key)]
    return found


# -- answers that do not know yet ----------------------------------------------------------------------------------------

LOOKUPS: Final = frozenset({"/fapi/v1/order", "/fapi/v1/openOrder", "/fapi/v1/algoOrder"})
LISTS: Final = frozenset(
    {"/fapi/v1/openOrders", "/fapi/v1/allOrders", "/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders"}
)


class Veil:
    """Keeps young orders out of the answers of one ``invisible`` fault.

    Parameters
    ----------
    fault : Fault
    """

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._pattern = re.compile(fault["client_id"]) if fault["client_id"] else None
        self._known: dict[str, int] = {}

    def over(self, method: str, path: str, answered: Answered, wall_ms: int) -> Answered:
        """The answer as it is to be seen: -2013 for a hidden order, lists without the hidden rows."""
        if answered.status != 200 or path not in LOOKUPS | LISTS or (path in LISTS and not self._fault["lists"]):
            return answered
        tree = orjson.loads(answered.body)
        rows = tree if isinstance(tree, list) else [tree]
        hidden = [row for row in rows if self._hides(row, wall_ms)]
        if method != "GET" or not hidden or self._fault.over:
            return answered
        self._fault.use()
        if path in LOOKUPS:
            return Answered(400, orjson.dumps(refusals.unknown_order().body), answered.headers)
        return replace(answered, body=orjson.dumps([row for row in rows if row not in hidden]))

    def _hides(self, row: Any, wall_ms: int) -> bool:
        identity = row.get("clientOrderId") or row.get("clientAlgoId") or ""
        if self._pattern is not None and self._pattern.fullmatch(identity) is None:
            return False
        born = self._known.setdefault(identity, wall_ms)
        return not self._fault["seconds"] or wall_ms - born < self._fault["seconds"] * 1000
