"""What REST endpoints of the account read alike: the pair, the span and the limit asked for."""

from __future__ import annotations

from typing import Any

from hydra_core.domain.pairs import Pair
from hydra_core.venue import refusals
from hydra_core.venue.admission import required, whole
from hydra_core.venue.feed import Feed
from hydra_core.venue.routes import Params


def listed_pair(feed: Feed, params: Params) -> Pair:
    """The listed pair that ``symbol`` names; refuses with -1102 or -1121."""
    pair = Pair(required(params, "symbol"))
    if not feed.lists(pair):
        raise refusals.bad_symbol()
    return pair


def window(rows: list[Any], params: Params, time_of: Any, from_id: bool) -> list[Any]:
    """Rows of the span and limit asked for: the first ones after a start or an id, else the newest."""
    start, end = whole(params, "startTime"), whole(params, "endTime")
    limit = min(whole(params, "limit") or 500, 1_000)
    chosen = [row for row in rows if (start is None or time_of(row) >= start) and (end is None or time_of(row) <= end)]
    return chosen[:limit] if start is not None or from_id else chosen[-limit:]


def few_or_many(params: Params) -> int:
    """Request weight of a list: of one pair, or of all."""
    return 1 if params.get("symbol") else 40
