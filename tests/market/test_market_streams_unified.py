"""Streams of other exchanges through unmodified ccxt: loopback servers speak the documented messages, HYDRA follows states.

Sources: Bybit v5 (orderbook.1, kline, instruments-info) and OKX v5 (bbo-tbt, candle1m, instruments), as their documentation
pages and ccxt's own comments show them; times are those of the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from exchange_double import MINUTE, eventually
from exchange_servers import DocumentedExchange

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges import EXCHANGES, UnsupportedCapability
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import ALL_STREAMS, MarketStreams
from hydra_core.market.streams.unified import followable

BTC = Pair("BTCUSDT")
CLOCK = SystemClock()

BYBIT_INSTRUMENT = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
    "launchTime": "1584230400000", "deliveryTime": "0", "deliveryFeeRate": "", "priceScale": "2",
    "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
    "priceFilter": {"minPrice": "0.10", "maxPrice": "199999.80", "tickSize": "0.10"},
    "lotSizeFilter": {
        "maxOrderQty": "1190.000", "minOrderQty": "0.001", "qtyStep": "0.001", "postOnlyMaxOrderQty": "1190.000",
        "maxMktOrderQty": "119.000", "minNotionalValue": "5",
    },
    "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": "USDT", "copyTrading": "normalOnly",
}  # fmt: skip
OKX_INSTRUMENT = {
    "alias": "", "baseCcy": "", "category": "1", "ctMult": "1", "ctType": "linear", "ctVal": "0.01", "ctValCcy": "BTC",
    "expTime": "", "instFamily": "BTC-USDT", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "lever": "125",
    "listTime": "1573557408000", "lotSz": "0.1", "maxLmtSz": "100000000", "maxMktSz": "85000", "minSz": "0.1",
    "optType": "", "quoteCcy": "", "settleCcy": "USDT", "state": "live", "stk": "", "tickSz": "0.1", "uly": "BTC-USDT",
}  # fmt: skip


class StreamingExchange(DocumentedExchange):
    """The documented answers, and beside them what is subscribed to, told ten times a second as documented."""

    def __init__(self, exchange: str) -> None:
        super().__init__(exchange)
        self.crossed = False
        self.sockets: list[web.WebSocketResponse] = []

    async def _serve(self, request: web.Request) -> Any:
        if "Upgrade" in request.headers:
            return await self._stream(request)
        if request.path.endswith("instruments-info"):
            listed = {"category": "linear", "list": [BYBIT_INSTRUMENT], "nextPageCursor": ""}
            if request.query.get("limit"):
                return web.json_response({"retCode": 0, "retMsg": "OK", "result": listed, "time": 1})
        if request.path.endswith("public/instruments"):
            return web.json_response({"code": "0", "data": [OKX_INSTRUMENT], "msg": ""})
        return await super()._serve(request)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        telling: list[asyncio.Task[None]] = []
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data != "ping":
                order = json.loads(message.data)
                if order["op"] == "subscribe":
                    telling += [asyncio.create_task(self._tell(socket, topic)) for topic in order["args"]]
        for task in telling:
            task.cancel()
        return socket

    async def _tell(self, socket: web.WebSocketResponse, topic: Any) -> None:
        while not socket.closed:
            await socket.send_json(self._bybit(topic) if self.exchange == "bybit" else self._okx(topic))
            await asyncio.sleep(0.1)

    def _bybit(self, topic: str) -> dict[str, Any]:
        now, (kind, _, symbol) = CLOCK.wall_ms(), topic.split(".")
        if kind == "kline":
            row = {
                "start": now - now % MINUTE, "end": now - now % MINUTE + MINUTE - 1, "interval": "1", "open": "16649.5",
                "close": "16677", "high": "16677", "low": "16608", "volume": "2.081", "turnover": "34666.4005",
                "confirm": False, "timestamp": now,
            }  # fmt: skip
            return {"topic": topic, "data": [row], "ts": now, "type": "snapshot"}
        ask = "16493.00" if self.crossed else "16611.00"
        book = {"s": symbol, "b": [["16493.50", "0.006"]], "a": [[ask, "0.029"]], "u": 18521288, "seq": 7961638724}
        return {"topic": topic, "type": "snapshot", "ts": now, "data": book, "cts": now}

    def _okx(self, topic: dict[str, str]) -> dict[str, Any]:
        now = CLOCK.wall_ms()
        if topic["channel"].startswith("candle"):
            prices = ["16649.5", "16677", "16608", "16677"]
            return {"arg": topic, "data": [[str(now - now % MINUTE), *prices, "208.1", "2.081", "34666.4", "0"]]}
        ask = "16493.00" if self.crossed else "16611.00"
        book = {"asks": [[ask, "2.9", "0", "1"]], "bids": [["16493.50", "0.6", "0", "2"]], "ts": str(now), "seqId": 3}
        return {"arg": topic, "data": [book]}


class Ear:
    """Remembers the newest of everything."""

    def __init__(self) -> None:
        self.candles: list[tuple[Any, ...]] = []
        self.quotes: list[Quote] = []
        self.marks: list[MarkReading] = []

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


@pytest.fixture(params=["bybit", "okx"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[StreamingExchange]:
    exchange = StreamingExchange(request.param)
    await exchange.start()
    yield exchange
    await exchange.stop()


async def test_candles_quotes_and_marks_are_followed_and_survive_a_cut(server: StreamingExchange) -> None:
    """Sizes come in base units whatever the exchange counts in; a crossed quote is set aside; a cut is dialled anew."""
    ear, endpoint = Ear(), Endpoint(server.exchange, server.url)
    streams = MarketStreams(
        endpoint, [BTC], [Interval.M1], ear, CLOCK, topics=followable(server.exchange), seed=1, silence_s={"marks": 1e9}
    )
    task = asyncio.create_task(streams.run())

    async def seen(true: Callable[[], Any]) -> None:
        await eventually(lambda: task.done() or true())
        if task.done():
            task.result()

    try:
        await seen(lambda: ear.candles and ear.quotes and ear.marks)
        pair, interval, ts, *numbers, closed, _ = ear.candles[-1]
        assert (pair, interval, ts % MINUTE, closed) == (BTC, Interval.M1, 0, False)
        assert numbers[:4] == [16649.5, 16677.0, 16608.0, 16677.0]
        quote = ear.quotes[-1]
        assert (quote.bid, quote.ask) == (16493.5, 16611.0)
        assert (quote.bid_size, quote.ask_size) == pytest.approx((0.006, 0.029))
        assert ear.marks[-1].mark > 0
        assert ear.marks[-1].next_funding_ms > 0
        await seen(lambda: all(one.ok for one in streams.health() if one.stream != "marks"))
        server.crossed = True
        await seen(lambda: streams.quarantine.counts["quotes"] > 0)
        server.crossed = False
        for socket in server.sockets:
            await socket.close()
        await seen(lambda: sum(one.reconnects for one in streams.health()) >= 2)
        count = len(ear.quotes)
        await seen(lambda: len(ear.quotes) > count and all(one.ok for one in streams.health() if one.stream != "marks"))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(streams.quarantine.counts) == {"quotes"}


async def test_filters_are_read_in_base_units(server: StreamingExchange) -> None:
    async with ExchangeClient(Endpoint(server.exchange, server.url)) as client:
        listing = (await client.listings())[BTC]
        assert (await client.rules())[BTC] == listing.rules
    assert listing.trading
    assert listing.rules.tick_size == Decimal("0.1")
    assert (listing.rules.step_size, listing.rules.min_quantity) == (Decimal("0.001"), Decimal("0.001"))


@pytest.mark.parametrize("exchange", [one for one in EXCHANGES if one != "binanceusdm"])
def test_what_would_lose_events_is_refused_by_name(exchange: str) -> None:
    assert followable(exchange) == ("candles", "quotes", "marks")
    with pytest.raises(UnsupportedCapability, match=f"{exchange} has no watch_trades"):
        MarketStreams(Endpoint(exchange), [BTC], [Interval.M1], Ear(), CLOCK, topics=ALL_STREAMS)


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown exchange"):
        MarketStreams(Endpoint("kraken"), [BTC], [Interval.M1], Ear(), CLOCK, topics=["candles"])
