"""Streams of other exchanges through unmodified ccxt: loopback servers speak the documented messages, HYDRA follows states."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from exchange_double import MINUTE, eventually
from exchange_streams import CANDLES, CLOCK, TOPS, StreamingExchange

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges import ADAPTERS, EXCHANGES, Capability, UnsupportedCapability, adapter_for
from hydra_core.market.exchanges.capabilities import SPOT_ONLY
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import ALL_STREAMS, MarketStreams
from hydra_core.market.streams.unified import _tell_candles, followable

BTC = Pair("BTCUSDT")
OTHERS = [one for one in EXCHANGES if one != "binanceusdm"]


class Ear:
    """Remembers the newest of everything."""

    def __init__(self) -> None:
        self.candles: list[tuple[Any, ...]] = []
        self.quotes: list[Quote] = []
        self.marks: list[MarkReading] = []

    @property
    def numbers(self) -> set[tuple[float, ...]]:
        return {told[3:8] for told in self.candles}

    def on_candle(self, *told: Any) -> None:
        self.candles.append(told)

    def on_quote(self, quote: Quote) -> None:
        self.quotes.append(quote)

    def on_mark(self, mark: MarkReading) -> None:
        self.marks.append(mark)

    def on_liquidation(self, liquidation: object) -> None:
        raise AssertionError("forced orders are not followed")

    def on_health(self, *told: Any) -> None:
        return


@pytest.fixture(params=OTHERS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[StreamingExchange]:
    exchange = StreamingExchange(request.param)
    await exchange.start()
    yield exchange
    await exchange.stop()


async def test_candles_quotes_and_marks_are_followed_and_survive_a_cut(server: StreamingExchange) -> None:
    """Sizes come in base units whatever the exchange counts in; a crossed quote is set aside; a cut is dialled anew."""
    ear, endpoint = Ear(), Endpoint(server.exchange, server.url)
    streams = MarketStreams(
        endpoint,
        [server.pair],
        [Interval.M1],
        ear,
        CLOCK,
        topics=followable(server.exchange),
        seed=1,
        silence_s={"marks": 1e9},
    )
    task = asyncio.create_task(streams.run())

    async def seen(true: Callable[[], Any]) -> None:
        await eventually(lambda: task.done() or true())
        if task.done():
            task.result()

    try:
        await seen(lambda: server.candle.expected in ear.numbers and ear.quotes and ear.marks)
        for pair, interval, ts, *_, closed, _ in ear.candles:
            assert (pair, interval, ts % MINUTE, closed) == (server.pair, Interval.M1, 0, False)
        quote = ear.quotes[-1]
        assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size) == pytest.approx(server.top.expected)
        assert 0 <= CLOCK.market_ms() - quote.event_ms < 60_000
        assert ear.marks[-1].mark > 0
        assert ear.marks[-1].next_funding_ms > 0
        native = adapter_for(server.exchange).native(server.pair)
        assert server.ordered
        assert all(native in words for words in server.ordered), "the contract itself is subscribed to"
        await seen(lambda: all(one.ok for one in streams.health() if one.stream != "marks"))
        server.crossed = True
        await seen(lambda: streams.quarantine.counts["quotes"] > 0)
        server.crossed = False
        standing = list(server.sockets)
        for socket in standing:
            await socket.close()
        await seen(lambda: sum(one.reconnects for one in streams.health()) >= len(standing))
        count = len(ear.quotes)
        await seen(lambda: len(ear.quotes) > count and all(one.ok for one in streams.health() if one.stream != "marks"))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(streams.quarantine.counts) == {"quotes"}


RULES = {
    "bybit": ("0.1", "0.001", "0.001"), "okx": ("0.1", "0.001", "0.001"), "bitget": ("0.1", "0.001", "0.001"),
    "hyperliquid": ("1", "0.00001", "0.00001"), "weex": ("0.01", "0.001", "0.001"),
}  # fmt: skip


async def test_filters_are_read_in_base_units(server: StreamingExchange) -> None:
    async with ExchangeClient(Endpoint(server.exchange, server.url)) as client:
        listing = (await client.listings())[server.pair]
        assert (await client.rules())[server.pair] == listing.rules
    assert listing.trading
    rules = listing.rules
    told = (rules.tick_size, rules.step_size, rules.min_quantity)
    assert told == tuple(Decimal(word) for word in RULES[server.exchange])


async def test_best_prices_are_asked_for_only_where_no_stream_tells_them(server: StreamingExchange) -> None:
    async with ExchangeClient(Endpoint(server.exchange, server.url)) as client:
        if server.exchange == "weex":
            top = await client.top(server.pair)
            assert tuple(top[name] for name in ("bid", "bid_size", "ask", "ask_size")) == server.top.expected
        else:
            with pytest.raises(UnsupportedCapability, match="quotes are on its streams"):
                await client.top(server.pair)


def test_a_bar_of_another_grid_is_no_bar() -> None:
    """Days of some exchanges begin at 16:00 UTC: such a row is refused, not taken for a day of UTC."""
    found: list[str] = []

    def give(make: Callable[[], Any], raw: Any) -> None:
        try:
            make()
        except ValueError as error:
            found.append(str(error))

    row = [1_704_038_400_000, 1.0, 2.0, 1.0, 2.0, 3.0]  # 2023-12-31 16:00
    _tell_candles(BTC, Interval.D1, [row], give, CLOCK)
    assert found == ["BTCUSDT 1d: 1704038400000 is no open time of that interval"]


@pytest.mark.parametrize("exchange", OTHERS)
def test_what_is_read_on_streams_has_a_documented_message_here(exchange: str) -> None:
    """Candles on a stream; quotes on one, in a book's top, or over REST: each claimed with its source, none without message."""
    sources = adapter_for(exchange).sources()
    candles = {Capability.WATCH_CANDLES, Capability.WATCH_CANDLES_OF_MANY} & set(sources)
    tops = {Capability.WATCH_QUOTES, Capability.WATCH_ORDER_BOOK, Capability.ORDER_BOOK} & set(sources)
    assert Capability.WATCH_CANDLES in candles
    assert len(tops) == 1
    for table, claimed in ((CANDLES, candles), (TOPS, tops)):
        assert [one.source for one in table if one.exchange == exchange] != [""]
        assert all(all(sources[capability]) for capability in claimed)


async def test_what_ccxt_offers_of_spot_alone_is_refused_for_a_contract() -> None:
    from ccxt.base.errors import NotSupported

    for name, capability in SPOT_ONLY:
        server = StreamingExchange(name)
        await server.start()
        exchange = open_exchange(Endpoint(name, server.url))
        try:
            assert exchange.has[capability] is True
            with pytest.raises(NotSupported):
                await exchange.watch_bids_asks([ADAPTERS[name].symbol(server.pair)])
        finally:
            await exchange.close()
            await server.stop()


@pytest.mark.parametrize("exchange", OTHERS)
def test_what_would_lose_events_is_refused_by_name(exchange: str) -> None:
    assert followable(exchange) == ("candles", "quotes", "marks")
    with pytest.raises(UnsupportedCapability, match=f"{exchange} has no watch_trades"):
        MarketStreams(Endpoint(exchange), [BTC], [Interval.M1], Ear(), CLOCK, topics=ALL_STREAMS)


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown exchange"):
        MarketStreams(Endpoint("kraken"), [BTC], [Interval.M1], Ear(), CLOCK, topics=["candles"])
