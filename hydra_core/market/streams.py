"""Live data: candles with their closed flag, best quotes, marks and every forced order, as the exchange pushes them.

One task a stream subscribes and waits for its end; what arrives is taken at ccxt's message handlers, before its caches
drop the closed flag or merge events. A watchdog ends streams that fall silent. Filling the hole that a lost connection
leaves is the caller's, told by ``on_health``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.errors import read_error
from hydra_core.market.limits import backoff
from hydra_core.market.rest import together

CANDLE_STREAM: Final = "candles"
QUOTE_STREAM: Final = "quotes"
MARK_STREAM: Final = "marks"
LIQUIDATION_STREAM: Final = "liquidations"
STREAMS: Final = (CANDLE_STREAM, QUOTE_STREAM, MARK_STREAM, LIQUIDATION_STREAM)

ROTATE_AFTER_MS: Final = 23 * HOUR_MS
"""Connections are renewed before the exchange ends them at 24 h, one stream after the other."""
WATCH_EVERY_S: Final = 1.0
RETRIES: Final = 8
"""Length of the ladder of pauses; on its last rung a stream tries again for ever."""


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
        """A candle as it stands; ``closed`` once it changes no more."""

    def on_quote(self, quote: Quote) -> None:
        """Best bid and ask changed."""

    def on_mark(self, mark: MarkReading) -> None:
        """Mark and index price, predicted funding."""

    def on_liquidation(self, liquidation: Liquidation) -> None:
        """A forced order was filled."""

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        """A stream came up (its first event arrived) or went down; after a fall, rows are missing until refetched."""


@dataclass(slots=True)
class _Stream:
    """A stream's standing."""

    name: str
    token: str
    """What its subscriptions' keys hold in ccxt."""
    silence_s: float
    """Wall seconds without an event after which it counts as dead; inf where silence is normal."""
    watch: Callable[[], Awaitable[Any]]
    up: bool = False
    last_wall_ms: int = 0
    since_wall_ms: int = 0


class MarketStreams:
    """Subscriptions to the market data of several pairs, kept up until :meth:`run` is cancelled.

    Parameters
    ----------
    endpoint : Endpoint
    pairs, intervals : what to subscribe to; every interval for every pair
    sink : StreamSink
    clock : Clock, its market time stamps health events, its wall time measures silence
    liquidations : bool, whether forced orders are wanted
    quote_silence_s, candle_silence_s : float, wall seconds without any event of that kind that end its connection
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pairs: Sequence[Pair],
        intervals: Sequence[Interval],
        sink: StreamSink,
        clock: Clock,
        *,
        liquidations: bool = True,
        quote_silence_s: float = 15.0,
        candle_silence_s: float = 60.0,
    ) -> None:
        self._endpoint = endpoint
        self._symbols = [ccxt_symbol(pair) for pair in pairs]
        self._pairs = frozenset(pairs)
        self._intervals = {str(interval): interval for interval in intervals}
        self._sink = sink
        self._clock = clock
        self._exchange: Any = None
        self._errors: tuple[type[BaseException], ...] = ()
        self._fault: asyncio.Future[None] | None = None
        self.malformed = 0
        """Messages that could not be read; they are dropped and logged."""
        self._streams = {
            stream.name: stream
            for stream in (
                _Stream(CANDLE_STREAM, "ohlcv::", candle_silence_s, self._watch_candles),
                _Stream(QUOTE_STREAM, "bidask:", quote_silence_s, self._watch_quotes),
                _Stream(MARK_STREAM, "markPrice:", quote_silence_s, self._watch_marks),
                _Stream(LIQUIDATION_STREAM, "forceOrder", math.inf, self._watch_liquidations),
            )
            if liquidations or stream.name != LIQUIDATION_STREAM
        }

    async def run(self) -> None:
        """Keep every stream up; returns only by cancellation. A fault of the sink ends it with that fault."""
        from ccxt.base.errors import BaseError

        self._errors = (BaseError, OSError)
        self._fault = asyncio.get_running_loop().create_future()
        self._exchange = open_exchange(self._endpoint, hooks=self._listening)
        try:
            await self._load()
            await together([*map(self._keep, self._streams.values()), self._watchdog(), self._sinks_fault()])
        finally:
            self._fault.cancel()
            await self._exchange.close()

    async def _sinks_fault(self) -> None:
        """Raise what the sink raised: ccxt's callbacks would only log it."""
        if self._fault is not None:
            await self._fault

    async def _load(self) -> None:
        """Read the exchange's markets, for as long as it takes."""
        pauses = _ladder()
        while True:
            try:
                await self._exchange.load_markets()
                return
            except self._errors as error:
                for stream in self._streams.values():
                    self._down(stream, str(read_error(error, "exchangeInfo")))
            await asyncio.sleep(next(pauses))

    async def _keep(self, stream: _Stream) -> None:
        """Subscribe, wait for the end, say so, and again."""
        pauses = _ladder()
        while True:
            stream.last_wall_ms = stream.since_wall_ms = self._clock.wall_ms()
            try:
                await stream.watch()
                continue
            except self._errors as error:
                reason = str(read_error(error, stream.name))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                reason = f"{stream.name}: connection closed"  # ccxt cancels what waits on a connection that it closes
            if stream.up:
                pauses = _ladder()
            self._down(stream, reason)
            await asyncio.sleep(next(pauses))

    async def _watchdog(self) -> None:
        """End connections that fell silent or grew old; a held market is silent by rights."""
        from ccxt.base.errors import RequestTimeout

        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            second = self._clock.wall_seconds_until(self._clock.market_ms() + 1000)
            now = self._clock.wall_ms()
            for place, stream in enumerate(self._streams.values()):
                if math.isinf(second):
                    stream.last_wall_ms = now
                silent = now - stream.last_wall_ms > 1000 * stream.silence_s * max(1.0, second)
                aged = now - stream.since_wall_ms > ROTATE_AFTER_MS - place * HOUR_MS
                if silent or aged:
                    word = (
                        f"no event for {(now - stream.last_wall_ms) / 1000:.0f} s" if silent else "renewed before 24 h"
                    )
                    stream.last_wall_ms = stream.since_wall_ms = now
                    self._end(stream, RequestTimeout(word))

    def _end(self, stream: _Stream, error: BaseException) -> None:
        """End a stream's connection; its task takes up the error and subscribes anew."""
        for client in list(self._exchange.clients.values()):
            if any(stream.token in str(key) for key in client.subscriptions):
                client.on_error(error)

    def _down(self, stream: _Stream, reason: str) -> None:
        stream.up = False
        logger.warning("stream {} is down: {}", stream.name, reason)
        self._sink.on_health(stream.name, False, self._clock.market_ms(), reason)

    def _arrived(self, name: str) -> None:
        """Note an event; the first one after a fall means that the stream is up."""
        stream = self._streams[name]
        stream.last_wall_ms = self._clock.wall_ms()
        if not stream.up:
            stream.up = True
            self._sink.on_health(name, True, self._clock.market_ms(), "")

    async def _watch_candles(self) -> None:
        wanted = [[symbol, interval] for symbol in self._symbols for interval in self._intervals]
        await self._exchange.watch_ohlcv_for_symbols(wanted)

    async def _watch_quotes(self) -> None:
        await self._exchange.watch_bids_asks(self._symbols)

    async def _watch_marks(self) -> None:
        await self._exchange.watch_mark_prices(self._symbols)

    async def _watch_liquidations(self) -> None:
        await self._exchange.watch_liquidations_for_symbols(self._symbols)

    def _listening(self, base: type[Any]) -> type[Any]:
        """ccxt's class with its market data handlers replaced: they hand on and never resolve the waiting call,
        which therefore ends only with its connection."""
        streams = self

        class Listening(base):  # type: ignore[misc, valid-type]
            def handle_ohlcv(self, client: Any, message: Any) -> None:
                streams._take(CANDLE_STREAM, streams._candle, message)

            def handle_bids_asks(self, client: Any, message: Any) -> None:
                streams._take(QUOTE_STREAM, streams._quote, message)

            def handle_mark_prices(self, client: Any, message: Any) -> None:
                for reading in message if isinstance(message, list) else (message,):
                    streams._take(MARK_STREAM, streams._mark, reading)

            def handle_liquidation(self, client: Any, message: Any) -> None:
                streams._take(LIQUIDATION_STREAM, streams._liquidation, message)

            def handle_subscription_status(self, client: Any, message: Any) -> Any:
                streams._subscribed(client)
                return super().handle_subscription_status(client, message)

        return Listening

    def _subscribed(self, client: Any) -> None:
        """A subscription is confirmed: for forced orders, which may stay away for hours, that is being up."""
        stream = self._streams.get(LIQUIDATION_STREAM)
        if stream and any(stream.token in str(key) for key in client.subscriptions):
            self._arrived(stream.name)

    def _take(self, name: str, read: Callable[[Any], Callable[[], None] | None], message: Any) -> None:
        """Read a message and hand it to the sink; a malformed one is dropped, a fault of the sink ends :meth:`run`."""
        try:
            hand_on = read(message)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.malformed += 1
            logger.warning("malformed stream message dropped ({!r}): {:.200}", error, str(message))
            return
        if hand_on is None:
            return
        try:
            self._arrived(name)
            hand_on()
        except BaseException as fault:
            if self._fault is not None and not self._fault.done():
                self._fault.set_exception(fault)
            raise

    def _candle(self, message: Any) -> Callable[[], None] | None:
        candle = message["k"]
        interval = self._intervals.get(candle["i"])
        pair = Pair(candle["s"])
        if interval is None or pair not in self._pairs:
            return None
        ts, closed, event = int(candle["t"]), bool(candle["x"]), int(message["E"])
        open_, high, low, close, volume = (float(candle[key]) for key in "ohlcv")
        return lambda: self._sink.on_candle(pair, interval, ts, open_, high, low, close, volume, closed, event)

    def _quote(self, message: Any) -> Callable[[], None] | None:
        if message["s"] not in self._pairs:
            return None
        event = message.get("T") or message.get("E")
        quote = Quote(
            pair=Pair(message["s"]),
            bid=float(message["b"]),
            bid_size=float(message["B"]),
            ask=float(message["a"]),
            ask_size=float(message["A"]),
            event_ms=int(event) if event else self._clock.market_ms(),
            received_wall_ms=self._clock.wall_ms(),
        )
        return lambda: self._sink.on_quote(quote)

    def _mark(self, message: Any) -> Callable[[], None] | None:
        if message["s"] not in self._pairs:
            return None
        mark = MarkReading(
            pair=Pair(message["s"]),
            mark=float(message["p"]),
            index=float(message["i"]),
            funding_rate=float(message["r"]),
            next_funding_ms=int(message["T"]),
            event_ms=int(message["E"]),
            received_wall_ms=self._clock.wall_ms(),
        )
        return lambda: self._sink.on_mark(mark)

    def _liquidation(self, message: Any) -> Callable[[], None] | None:
        order = message["o"]
        if order["s"] not in self._pairs:
            return None
        liquidation = Liquidation(
            pair=Pair(order["s"]),
            event_ms=int(order["T"]),
            long_side=order["S"] == "SELL",
            quantity=float(order["l"]),
            price=float(order["ap"]),
        )
        return lambda: self._sink.on_liquidation(liquidation)


def _ladder() -> Iterator[float]:
    """Growing pauses, the last one for ever."""
    yield from backoff(RETRIES)
    while True:
        yield from backoff(2, first_s=8.0)
