"""Streams of the exchanges whose messages ccxt reads for HYDRA: running candles and best quotes, and marks asked for over REST.

ccxt keeps a cache between the socket and its caller, which merges what a slow caller missed. That does no harm to a state, of
which the newest counts, and would lose events: trades, order-book differences and forced orders are refused here. Candles
come without the exchange's closed flag: a bar is acted on once its successor is seen and REST has confirmed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import VenueError
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.connect import VENUE_PROTOCOL
from hydra_core.market.errors import read_error
from hydra_core.market.exchanges import (
    Capability,
    PerpReading,
    Support,
    UnsupportedCapability,
    adapter_for,
    known_exchange,
    support,
)
from hydra_core.market.rest import ExchangeClient, together
from hydra_core.market.streams.messages import MALFORMED, number, price, size, whole
from hydra_core.market.streams.readings import (
    ALL_STREAMS,
    BOOK_STREAM,
    CANDLE_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    TRADE_STREAM,
    CandleTick,
)
from hydra_core.market.streams.socket import Connection, Gateway

MARK_EVERY_S: Final = 3.0
"""Wall time between two questions for the marks of all pairs."""
TOP_EVERY_S: Final = 1.0
"""Wall time between two questions for the best prices of all pairs, where no stream tells them."""
BOOK_TOP: Final = 5
"""Levels of a book that is only followed for its best prices."""
EVENTS: Final[Mapping[str, Capability]] = {
    TRADE_STREAM: Capability.WATCH_TRADES,
    BOOK_STREAM: Capability.WATCH_ORDER_BOOK,
    LIQUIDATION_STREAM: Capability.WATCH_LIQUIDATIONS,
}
"""Streams of which every single event counts, and so cannot come through a cache."""

Give = Callable[[Callable[[], Any], Any], None]
"""Takes what makes a reading, and what it is made of: should that be malformed, it is set aside."""
Sizes = Callable[[Any, str], float]
"""(ccxt's exchange, symbol) -> base units in one unit of its sizes."""
Follow = Callable[[Any, Give], Awaitable[None]]
"""Follows some pairs on a ccxt exchange of its own for ever, giving each reading."""


def followable(exchange: str) -> tuple[str, ...]:
    """Streams that can be followed on an exchange without losing anything that must not be lost."""
    known = known_exchange(exchange)
    return ALL_STREAMS if known == VENUE_PROTOCOL else tuple(name for name in ALL_STREAMS if name not in EVENTS)


def insist_followable(exchange: str, topics: Collection[str]) -> None:
    """Raise UnsupportedCapability for the first stream that cannot be followed on an exchange."""
    for name in topics:
        if name not in followable(exchange):
            why = "its events would pass a cache that merges them; only its candles, quotes and marks are followed"
            raise UnsupportedCapability(exchange, EVENTS[name], why)


def follows(
    exchange: str,
    name: str,
    pairs: Sequence[Pair],
    intervals: Collection[Interval],
    client: ExchangeClient,
    clock: Clock,
) -> Follow:
    """How a stream's pairs are followed on an exchange; see :func:`insist_followable`."""
    adapter = adapter_for(exchange)
    symbols = {adapter.symbol(pair): pair for pair in pairs}
    if name == MARK_STREAM:
        return lambda _, give: _marks(client, pairs, give, clock)
    if name == QUOTE_STREAM and adapter.top() is not None:
        return lambda _, give: _asked_tops(client, pairs, give, clock)
    if name == QUOTE_STREAM:
        many = support(exchange, Capability.WATCH_QUOTES) is not Support.ABSENT
        sizes = partial(_base_units, counts_contracts=adapter.counts_contracts)
        return lambda ccxt, give: (_quotes if many else _book_tops)(ccxt, symbols, give, clock, sizes)
    assert name == CANDLE_STREAM
    series = [[symbol, str(interval)] for symbol in symbols for interval in sorted(intervals)]
    many = support(exchange, Capability.WATCH_CANDLES_OF_MANY) is not Support.ABSENT
    return lambda ccxt, give: (_candles if many else _candles_each)(ccxt, symbols, series, give, clock)


class Watched(Connection):
    """A connection whose readings ccxt makes; it has an exchange of its own, whose sockets end with it."""

    def end(self, error: BaseException) -> None:
        """End the connection for a reason; :attr:`ended` follows."""
        self._over(error)
        if self._task is not None and not self._closing:
            self._closing = True
            self._task.cancel()

    async def _hold(self, gateway: Gateway, subscribe: Callable[..., Awaitable[Any]]) -> None:
        exchange = await gateway.another()

        def give(make: Callable[[], Any], raw: Any) -> None:
            try:
                reading = make()
            except MALFORMED as error:
                self._quarantine.add(self.name, error, raw)
                return
            try:
                self._take(reading, reading.received_wall_ms)
            except BaseException as fault:
                self.fault(fault)
                raise
            if not self.ready.done():
                self.ready.set_result(None)

        try:
            await subscribe(exchange, give)
            self._over(ConnectionResetError("subscription ended"))
        except asyncio.CancelledError:
            self._over(ConnectionResetError("connection closed"))
            raise
        except VenueError as error:
            self._over(error)
        except gateway.errors as error:
            self._over(read_error(error, self.name))
        finally:
            await exchange.close()


# -- following ---------------------------------------------------------------------------------------------------------


async def _candles(ccxt: Any, symbols: Mapping[str, Pair], series: list[list[str]], give: Give, clock: Clock) -> None:
    while True:
        found = await ccxt.watch_ohlcv_for_symbols(series)
        for symbol, rows_by_interval in found.items():
            for interval, rows in rows_by_interval.items():
                _tell_candles(symbols[symbol], Interval(interval), rows, give, clock)


async def _candles_each(
    ccxt: Any, symbols: Mapping[str, Pair], series: list[list[str]], give: Give, clock: Clock
) -> None:
    async def follow(symbol: str, interval: str) -> None:
        while True:
            rows = await ccxt.watch_ohlcv(symbol, interval)
            _tell_candles(symbols[symbol], Interval(interval), rows, give, clock)

    await together(follow(*one) for one in series)


async def _quotes(ccxt: Any, symbols: Mapping[str, Pair], give: Give, clock: Clock, sizes: Sizes) -> None:
    while True:
        found = await ccxt.watch_bids_asks(list(symbols))
        # Of one symbol some of ccxt's exchanges answer with the ticker itself, others with a ticker by symbol.
        for ticker in [found] if isinstance(found.get("symbol"), str) else found.values():
            if ticker["symbol"] in symbols:
                best = (ticker["bid"], ticker["bidVolume"], ticker["ask"], ticker["askVolume"])
                pair, symbol, stamp = symbols[ticker["symbol"]], ticker["symbol"], ticker["timestamp"]
                give(partial(_quote, pair, best, sizes(ccxt, symbol), stamp, clock), best)


async def _book_tops(ccxt: Any, symbols: Mapping[str, Pair], give: Give, clock: Clock, sizes: Sizes) -> None:
    async def follow(symbol: str) -> None:
        while True:
            book = await ccxt.watch_order_book(symbol, BOOK_TOP)
            if book["bids"] and book["asks"]:
                (bid, bid_size, *_), (ask, ask_size, *_) = book["bids"][0], book["asks"][0]
                best = (bid, bid_size, ask, ask_size)
                unit = sizes(ccxt, symbol)
                give(partial(_quote, symbols[symbol], best, unit, book["timestamp"], clock), best)

    await together(follow(symbol) for symbol in symbols)


async def _asked_tops(client: ExchangeClient, pairs: Sequence[Pair], give: Give, clock: Clock) -> None:
    """An answer carries no time: it is of the moment when it was asked for, at the oldest."""
    while True:
        asked_ms = clock.market_ms()
        for pair, top in zip(pairs, await together(client.top(pair) for pair in pairs), strict=True):
            best = (top["bid"], top["bid_size"], top["ask"], top["ask_size"])
            give(partial(_quote, pair, best, 1.0, asked_ms, clock), best)
        await asyncio.sleep(TOP_EVERY_S)


async def _marks(client: ExchangeClient, pairs: Sequence[Pair], give: Give, clock: Clock) -> None:
    while True:
        for found in await together(client.present(pair) for pair in pairs):
            give(partial(_mark, found, clock), repr(found))
        await asyncio.sleep(MARK_EVERY_S)


# -- reading -----------------------------------------------------------------------------------------------------------


def _tell_candles(pair: Pair, interval: Interval, rows: Sequence[Sequence[Any]], give: Give, clock: Clock) -> None:
    """Running candles, oldest first."""
    for row in rows:
        give(partial(_candle, pair, interval, row, clock), list(row))


def _candle(pair: Pair, interval: Interval, row: Sequence[Any], clock: Clock) -> CandleTick:
    """One of ccxt's rows, which carry no event time: it is of now. ValueError for one off the grid, which no bar is."""
    ts, opened, high, low, close, volume = row[:6]
    numbers = (price(opened), price(high), price(low), price(close), size(volume))
    if whole(ts) % interval.ms:
        raise ValueError(f"{pair} {interval}: {ts} is no open time of that interval")
    return CandleTick(pair, interval, whole(ts), *numbers, False, clock.market_ms(), clock.wall_ms())


def _base_units(ccxt: Any, symbol: str, *, counts_contracts: bool) -> float:
    """Base units in one unit of the exchange's sizes."""
    return float(ccxt.market(symbol)["contractSize"] or 1.0) if counts_contracts else 1.0


def _quote(pair: Pair, best: Sequence[Any], unit: float, event_ms: int | None, clock: Clock) -> Quote:
    """A quote with its sizes in base units, of which each of the exchange's is ``unit``; one without a time is of now.

    ValueError when crossed.
    """
    bid, bid_size, ask, ask_size = best
    row = Quote(
        pair, price(bid), size(bid_size) * unit, price(ask), size(ask_size) * unit,
        clock.market_ms() if event_ms is None else whole(event_ms), clock.wall_ms(),
    )  # fmt: skip
    if row.bid >= row.ask:
        raise ValueError(f"crossed quote of {pair}: {row.bid} >= {row.ask}")
    return row


def _mark(found: PerpReading, clock: Clock) -> MarkReading:
    """A mark reading; where the next settlement is not told it is the end of the running interval, which the hour begins."""
    now, wall = clock.market_ms(), clock.wall_ms()
    span = int((found.funding_hours or 8.0) * HOUR_MS)
    coming = found.next_funding_ms if found.next_funding_ms is not None else now - now % span + span
    event_ms = now if found.event_ms is None else found.event_ms
    return MarkReading(
        found.pair, price(found.mark), price(found.index), number(found.funding_rate), coming, event_ms, wall
    )
