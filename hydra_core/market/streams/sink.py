"""What a consumer of the streams offers: one method a kind of event, each of which returns at once.

Not here: consumers (the trader's feeds), the queue before them (``mailbox``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.readings import Trade


class StreamSink(Protocol):
    """Where events go; every method returns at once. Times: event in market ms, prices in USDT, sizes in base units."""

    def on_candle(
        self,
        pair: Pair,
        interval: Interval,
        ts: int,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        closed: bool,
        event_ms: int,
    ) -> None:
        """A candle as it stands; ``closed`` once the exchange says so."""

    def on_quote(self, quote: Quote) -> None:
        """Best bid and ask changed."""

    def on_mark(self, mark: MarkReading) -> None:
        """Mark and index price, predicted funding."""

    def on_liquidation(self, liquidation: Liquidation) -> None:
        """A forced order was filled."""

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        """A stream came up, repaired, or went down."""


class TradeSink(StreamSink, Protocol):
    """A sink that also takes public trades."""

    def on_trade(self, trade: Trade) -> None:
        """A trade, in the order of the exchange's count, each once."""


Repair = Callable[[str], Awaitable[None]]


async def nothing_to_repair(stream: str) -> None:
    """The repair of a caller that keeps nothing."""
