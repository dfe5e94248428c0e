"""What the streams tell, one frozen type a kind of event, and the names of the streams.

Not here: how an exchange spells them (``messages``), what they mean together (``book``, ``candles``, ``trades``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair

CANDLE_STREAM: Final = "candles"
TRADE_STREAM: Final = "trades"
QUOTE_STREAM: Final = "quotes"
BOOK_STREAM: Final = "book"
MARK_STREAM: Final = "marks"
LIQUIDATION_STREAM: Final = "liquidations"
USER_STREAM: Final = "user"

STREAM: Final = "stream"
REST: Final = "rest"
"""Where a reading came from."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of stream and what may be expected of it.

    Parameters
    ----------
    name : str
    silence_s : float
        Wall seconds without an event after which it is stale; ``inf`` where silence is normal.
    per_pair : bool
        Whether every pair must speak, or only the stream as a whole.
    lossless : bool
        Whether every single event counts; the others are states, of which the newest counts.
    max_speed : float
        Market seconds a wall second beyond which it is not followed: a market that runs far faster than the wall would
        send its trades by the ten thousand.
    """

    name: str
    silence_s: float
    per_pair: bool
    lossless: bool
    max_speed: float = math.inf


TOPICS: Final[Mapping[str, Topic]] = {
    topic.name: topic
    for topic in (
        Topic(CANDLE_STREAM, 60.0, True, True),
        Topic(TRADE_STREAM, 120.0, False, True, max_speed=20.0),
        Topic(QUOTE_STREAM, 15.0, True, False),
        Topic(BOOK_STREAM, 15.0, True, False, max_speed=20.0),
        Topic(MARK_STREAM, 15.0, True, False),
        Topic(LIQUIDATION_STREAM, math.inf, False, True),
        Topic(USER_STREAM, math.inf, False, True),
    )
}
STREAMS: Final = (CANDLE_STREAM, QUOTE_STREAM, MARK_STREAM, LIQUIDATION_STREAM)
"""What decisions rest on: followed unless something else is asked for."""
ALL_STREAMS: Final = (CANDLE_STREAM, TRADE_STREAM, QUOTE_STREAM, BOOK_STREAM, MARK_STREAM, LIQUIDATION_STREAM)


@dataclass(frozen=True, slots=True)
class CandleTick:
    """A candle as it stands; open and event time in market ms, receive time in wall ms, USDT and base units."""

    pair: Pair
    interval: Interval
    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool
    event_ms: int
    received_wall_ms: int

    @property
    def values(self) -> tuple[float, float, float, float, float]:
        """Open, high, low, close, volume."""
        return self.open, self.high, self.low, self.close, self.volume


@dataclass(frozen=True, slots=True)
class Trade:
    """One public (aggregate) trade: its number in the exchange's own unbroken count, price in USDT, size in base units."""

    pair: Pair
    trade_id: int
    price: float
    quantity: float
    buyer_maker: bool
    event_ms: int
    received_wall_ms: int
    source: str = STREAM


@dataclass(frozen=True, slots=True)
class BookDiff:
    """Levels to set in an order book: first and final update id, the final one of the event before, (price, size) rows."""

    pair: Pair
    first_id: int
    final_id: int
    previous_id: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    event_ms: int
    received_wall_ms: int


@dataclass(frozen=True, slots=True)
class UserEvent:
    """An event of the own account, unchanged: its kind, event time (market ms) and receive time (wall ms)."""

    kind: str
    event_ms: int
    received_wall_ms: int
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """Any newest value with what is needed to trust it.

    Parameters
    ----------
    value : the quote, mark, candle or trade itself
    source : :data:`STREAM` or :data:`REST`
    event_ms, received_wall_ms : int, market and wall epoch ms
    healthy : bool, whether its stream was healthy and its own age within the limit when it was asked for
    """

    value: Any
    source: str
    event_ms: int
    received_wall_ms: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """How one stream is, for people and for the decision whether to trade on it.

    Parameters
    ----------
    stream : str
    ok : bool
    state : str, ``connecting``, ``repairing``, ``up``, ``stale``, ``down`` or ``paused``
    event_ms : int, newest event's market time, 0 when there was none
    age_s : float, wall seconds since the newest event came, of the pair that has waited longest where every pair must speak
    limit_s : float, beyond which it is stale (``inf``: silence is normal)
    reconnects, malformed, dropped, late, holes : int, counted since the start; ``late``: states that came after newer ones
    message : str
    """

    stream: str
    ok: bool
    state: str
    event_ms: int
    age_s: float
    limit_s: float
    reconnects: int = 0
    malformed: int = 0
    dropped: int = 0
    late: int = 0
    holes: int = 0
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data without infinities."""
        out: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        for name in ("age_s", "limit_s"):
            out[name] = None if math.isinf(out[name]) else round(out[name], 3)
        return out
