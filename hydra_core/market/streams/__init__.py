"""Live data over WebSockets: connections and their life, events in sequence, books, staleness, what could not be read.

``market`` follows pairs, ``user`` the own account. Not here: keeping what arrives (the sink's), judging what is fresh
enough to trade on (the window, the guard).
"""

from hydra_core.market.streams.market import MarketStreams
from hydra_core.market.streams.quarantine import Quarantine
from hydra_core.market.streams.readings import (
    ALL_STREAMS,
    BOOK_STREAM,
    CANDLE_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    STREAMS,
    TRADE_STREAM,
    USER_STREAM,
    Reading,
    StreamHealth,
    Trade,
    UserEvent,
)
from hydra_core.market.streams.sink import StreamSink, TradeSink
from hydra_core.market.streams.user import UserSink, UserStream

__all__ = [
    "ALL_STREAMS",
    "BOOK_STREAM",
    "CANDLE_STREAM",
    "LIQUIDATION_STREAM",
    "MARK_STREAM",
    "QUOTE_STREAM",
    "STREAMS",
    "TRADE_STREAM",
    "USER_STREAM",
    "MarketStreams",
    "Quarantine",
    "Reading",
    "StreamHealth",
    "StreamSink",
    "Trade",
    "TradeSink",
    "UserEvent",
    "UserSink",
    "UserStream",
]
