"""Names of streams: what ``btcusdt@kline_5m`` asks for."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair


@dataclass(frozen=True, slots=True)
class Topic:
    """One stream.

    Parameters
    ----------
    kind : ``kline``, ``markPrice``, ``bookTicker``, ``depth``, ``trade``, ``aggTrade``, ``forceOrder`` or ``ticker``
    pair : Pair or None
        None for a stream of all pairs.
    interval : Interval or None
        Of a kline stream.
    rate_ms : int
        Least wall time between two messages a pair; 0 for what is never thinned.
    levels : int
        Of a partial book stream, 0 for the differential one.
    """

    kind: str
    pair: Pair | None
    interval: Interval | None = None
    rate_ms: int = 0
    levels: int = 0


RUNNING_MS: Final = 250
"""Least wall time between two running klines, quotes or default depth messages of a pair."""
MARK_MS: Final = 1_000

_DEPTH: Final = re.compile(r"^depth(?P<levels>5|10|20)?(?:@(?P<rate>100|250|500)ms)?$")
_MARK: Final = re.compile(r"^markPrice(?:@(?P<rate>1)s)?$")
_ALL: Final = re.compile(r"^!(?P<kind>markPrice|forceOrder|ticker)@arr(?:@1s)?$")


def parse_topic(name: str, pairs: Collection[Pair], finest: Interval) -> Topic | None:
    """The topic of a stream name, None when there is no such stream.

    Parameters
    ----------
    name : str
    pairs : collection of Pair
        Pairs that the venue lists.
    finest : Interval
        The finest candle interval that it has.
    """
    if name == "!bookTicker":
        return Topic("bookTicker", None, rate_ms=RUNNING_MS)
    if match := _ALL.match(name):
        kind = match["kind"]
        return Topic(kind, None, rate_ms=0 if kind == "forceOrder" else MARK_MS)
    symbol, _, rest = name.partition("@")
    pair = Pair(symbol.upper())
    if pair not in pairs or symbol != symbol.lower():
        return None
    if rest.startswith("kline_"):
        word = rest.removeprefix("kline_")
        interval = next((one for one in Interval if one == word and one.ms >= finest.ms), None)
        return None if interval is None else Topic("kline", pair, interval, RUNNING_MS)
    if rest in {"trade", "aggTrade", "forceOrder"}:
        return Topic(rest, pair)
    if rest == "bookTicker":
        return Topic(rest, pair, rate_ms=RUNNING_MS)
    if rest == "ticker":
        return Topic(rest, pair, rate_ms=MARK_MS)
    if match := _MARK.match(rest):
        return Topic("markPrice", pair, rate_ms=MARK_MS if match["rate"] else 3 * MARK_MS)
    if match := _DEPTH.match(rest):
        return Topic("depth", pair, rate_ms=int(match["rate"] or RUNNING_MS), levels=int(match["levels"] or 0))
    return None
