"""The exchange's stream messages as readings: pure functions that raise ValueError, KeyError or TypeError on what is malformed.

Numbers may come as strings or as numbers, keys that are not known are ignored; a price must be finite and above zero.
Spelling after the exchange's documented USD-M market streams (kline, aggTrade, bookTicker, depthUpdate, markPriceUpdate,
forceOrder).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.readings import (
    BOOK_STREAM,
    CANDLE_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    REST,
    TRADE_STREAM,
    BookDiff,
    CandleTick,
    Trade,
)

MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What reading a broken message raises."""

Message = Mapping[str, Any]
_NUMBERS: Final = frozenset((str, float, int))
_WHOLE: Final = frozenset((int, str))
"""How JSON may write a number: true and false, which Python counts among them, are none."""


def number(value: Any) -> float:
    """A finite number, written as one or as a string."""
    if type(value) not in _NUMBERS:
        raise TypeError(f"{value!r} is not a number")
    read = float(value)
    if not math.isfinite(read):
        raise ValueError(f"{value!r} is not finite")
    return read


def price(value: Any) -> float:
    """A number above zero."""
    read = number(value)
    if read <= 0:
        raise ValueError(f"{value!r} is not a price")
    return read


def size(value: Any) -> float:
    """A number not below zero."""
    read = number(value)
    if read < 0:
        raise ValueError(f"{value!r} is not a size")
    return read


def whole(value: Any) -> int:
    """A whole number, written as one or as a string."""
    if type(value) not in _WHOLE:
        raise TypeError(f"{value!r} is not a whole number")
    return int(value)


def flag(value: Any) -> bool:
    """True or false, nothing else."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def pair_of(value: Any) -> Pair:
    """A symbol."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is not a symbol")
    return Pair(value)


def candle(message: Message, received_wall_ms: int) -> CandleTick:
    """``kline``: ValueError when open or close lies outside low and high."""
    told = message["k"]
    row = CandleTick(
        pair=pair_of(told["s"]),
        interval=Interval(told["i"]),
        ts=whole(told["t"]),
        open=price(told["o"]),
        high=price(told["h"]),
        low=price(told["l"]),
        close=price(told["c"]),
        volume=size(told["v"]),
        closed=flag(told["x"]),
        event_ms=whole(message["E"]),
        received_wall_ms=received_wall_ms,
    )
    if not row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high:
        raise ValueError(f"candle {row.ts} of {row.pair}: open or close outside low and high")
    if row.ts % row.interval.ms:
        raise ValueError(f"candle {row.ts} of {row.pair} is not on the {row.interval} grid")
    return row


def trade(message: Message, received_wall_ms: int) -> Trade:
    """``aggTrade``, or ``trade`` with its own count."""
    return Trade(
        pair=pair_of(message["s"]),
        trade_id=whole(message["a"] if "a" in message else message["t"]),
        price=price(message["p"]),
        quantity=price(message["q"]),
        buyer_maker=flag(message["m"]),
        event_ms=whole(message["T"]),
        received_wall_ms=received_wall_ms,
    )


def rest_trade(pair: Pair, row: Message, received_wall_ms: int) -> Trade:
    """A row of the ``aggTrades`` endpoint."""
    return Trade(
        pair,
        whole(row["a"]),
        price(row["p"]),
        price(row["q"]),
        flag(row["m"]),
        whole(row["T"]),
        received_wall_ms,
        REST,
    )


def quote(message: Message, received_wall_ms: int) -> tuple[Quote, int]:
    """``bookTicker`` and its update id: ValueError when crossed."""
    row = Quote(
        pair=pair_of(message["s"]),
        bid=price(message["b"]),
        bid_size=size(message["B"]),
        ask=price(message["a"]),
        ask_size=size(message["A"]),
        event_ms=whole(message["T"] if "T" in message else message["E"]),
        received_wall_ms=received_wall_ms,
    )
    if row.bid >= row.ask:
        raise ValueError(f"crossed quote of {row.pair}: {row.bid} >= {row.ask}")
    return row, whole(message["u"])


def mark(message: Message, received_wall_ms: int) -> MarkReading:
    """``markPriceUpdate``: mark, index, predicted funding and its time."""
    return MarkReading(
        pair=pair_of(message["s"]),
        mark=price(message["p"]),
        index=price(message["i"]),
        funding_rate=number(message["r"]),
        next_funding_ms=whole(message["T"]),
        event_ms=whole(message["E"]),
        received_wall_ms=received_wall_ms,
    )


def liquidation(message: Message, received_wall_ms: int) -> Liquidation:
    """``forceOrder``: a forced SELL liquidates a long."""
    order = message["o"]
    if order["S"] not in ("SELL", "BUY"):
        raise ValueError(f"side {order['S']!r} is neither SELL nor BUY")
    return Liquidation(
        pair=pair_of(order["s"]),
        event_ms=whole(order["T"]),
        long_side=order["S"] == "SELL",
        quantity=price(order["l"]),
        price=price(order["ap"]),
    )


def levels(rows: Any) -> tuple[tuple[float, float], ...]:
    """Price and size of each row; size 0 removes a level."""
    if not isinstance(rows, list):
        raise TypeError(f"levels are no list but {type(rows).__name__}")
    return tuple((price(at), size(amount)) for at, amount in rows)


def book_diff(message: Message, received_wall_ms: int) -> BookDiff:
    """``depthUpdate``."""
    return BookDiff(
        pair=pair_of(message["s"]),
        first_id=whole(message["U"]),
        final_id=whole(message["u"]),
        previous_id=whole(message["pu"]),
        bids=levels(message["b"]),
        asks=levels(message["a"]),
        event_ms=whole(message["T"] if "T" in message else message["E"]),
        received_wall_ms=received_wall_ms,
    )


KINDS: Final[Mapping[str, tuple[str, Callable[[Message, int], Any]]]] = {
    "kline": (CANDLE_STREAM, candle),
    "aggTrade": (TRADE_STREAM, trade),
    "trade": (TRADE_STREAM, trade),
    "bookTicker": (QUOTE_STREAM, quote),
    "depthUpdate": (BOOK_STREAM, book_diff),
    "markPriceUpdate": (MARK_STREAM, mark),
    "forceOrder": (LIQUIDATION_STREAM, liquidation),
}
"""Event name -> stream and reader."""
