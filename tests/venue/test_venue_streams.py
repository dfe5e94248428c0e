"""Market streams through unmodified ccxt.pro: nothing of the market is lost, its states are not told too often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import ccxt
import ccxt.pro
import numpy as np
import orjson
import pytest
from venue_harness import Served, eventually

from hydra_core.domain.intervals import HOUR_MS, MINUTE_MS, Interval
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair, ccxt_symbol

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
SYMBOL = ccxt_symbol(BTC)


class Recorder(ccxt.pro.binanceusdm):
    """ccxt that keeps every raw message beside what it makes of it."""

    def handle_message(self, client: Any, message: Any) -> Any:
        self.__dict__.setdefault("seen", []).append(message)
        return super().handle_message(client, message)

    def kept(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.__dict__.get("seen", []) if isinstance(one, dict) and one.get("e") == kind]


@contextlib.asynccontextmanager
async def watching(call: Any) -> AsyncIterator[None]:
    """Keep calling a watch method until the block ends."""

    async def forever() -> None:
        while True:
            await call()

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ccxt.BaseError):
            await task


async def run_fast(venue: Served, market_ms: int, speed: float) -> None:
    """Let a span of market time pass at a speed, then hold."""
    await venue.pass_to(await venue.now_ms() + market_ms, speed)


async def test_every_closed_candle_arrives_once_in_order(venue: Served) -> None:
    exchange = await venue.exchange(Recorder)
    wanted = [[ccxt_symbol(pair), str(i)] for pair in (BTC, ETH) for i in (Interval.M1, Interval.M5, Interval.H1)]
    start = await venue.now_ms()
    async with watching(lambda: exchange.watch_ohlcv_for_symbols(wanted)):
        await eventually(lambda: len({(m["s"], m["k"]["i"]) for m in exchange.kept("kline")}) == 6)
        await run_fast(venue, 3 * HOUR_MS + 30_000, 7_200)
        stop = await venue.now_ms()
        last = Interval.M1.floor(stop) - MINUTE_MS
        await eventually(lambda: any(m["k"]["x"] and m["k"]["t"] == last for m in exchange.kept("kline")))
    for pair in (BTC, ETH):
        for interval in (Interval.M1, Interval.M5, Interval.H1):
            rows = [m["k"] for m in exchange.kept("kline") if (m["s"], m["k"]["i"]) == (pair, interval)]
            closed = [row for row in rows if row["x"]]
            truth = venue.market.candles(pair, interval, interval.floor(start), interval.floor(stop))
            assert [row["t"] for row in closed] == truth.ts.tolist()
            np.testing.assert_allclose([float(row["c"]) for row in closed], truth.close)
            np.testing.assert_allclose([float(row["v"]) for row in closed], truth.volume)
            opens = [row["t"] for row in rows]
            assert opens == sorted(opens), "a running candle was told after its successor"


async def test_states_are_thinned_in_wall_time_whatever_the_speed(venue: Served) -> None:
    exchange = await venue.exchange(Recorder)
    loop = asyncio.get_running_loop()
    async with (
        watching(lambda: exchange.watch_mark_prices([SYMBOL])),
        watching(lambda: exchange.watch_bids_asks([SYMBOL])),
        watching(lambda: exchange.watch_ohlcv(SYMBOL, "5m")),
    ):
        await eventually(lambda: exchange.kept("markPriceUpdate") and exchange.kept("bookTicker"))
        await venue.control("POST", "clock", {"speed": 300, "held": False})
        counts = {kind: len(exchange.kept(kind)) for kind in ("markPriceUpdate", "bookTicker")}
        running = sum(not m["k"]["x"] for m in exchange.kept("kline"))
        began = loop.time()
        await eventually(lambda: len(exchange.kept("markPriceUpdate")) >= counts["markPriceUpdate"] + 2)
        lasted = loop.time() - began
    assert len(exchange.kept("markPriceUpdate")) - counts["markPriceUpdate"] <= lasted / 1.0 + 2
    assert len(exchange.kept("bookTicker")) - counts["bookTicker"] <= lasted / 0.25 + 2
    assert sum(not m["k"]["x"] for m in exchange.kept("kline")) - running <= lasted / 0.25 + 2
    told = exchange.kept("markPriceUpdate")[-1]
    truth = venue.market.mark(BTC, told["E"])
    assert float(told["p"]) == pytest.approx(truth.mark, rel=1e-5)
    assert told["T"] == truth.next_funding_ms


async def test_every_trade_arrives(venue: Served) -> None:
    exchange = await venue.exchange(Recorder)
    start = await venue.now_ms()
    async with watching(lambda: exchange.watch_trades(SYMBOL)):

        async def subscribed() -> bool:
            return bool((await venue.control("GET", "status"))["streams"])

        await eventually(subscribed)
        await run_fast(venue, 30 * MINUTE_MS, 1_200)
        stop = await venue.now_ms()
        truth = venue.market.trades(BTC, start + 1, stop + 1)
        await eventually(lambda: len(exchange.kept("trade")) >= len(truth))
    assert [one["t"] for one in exchange.kept("trade")] == truth.trade_id.tolist()
    assert [float(one["p"]) for one in exchange.kept("trade")] == truth.price.tolist()


async def test_every_liquidation_arrives(venue: Served) -> None:
    exchange = await venue.exchange(Recorder)
    start = await venue.now_ms()
    symbols = [ccxt_symbol(pair) for pair in DEFAULT_PAIRS]
    async with watching(lambda: exchange.watch_liquidations_for_symbols(symbols)):

        async def subscribed() -> bool:
            return (await venue.control("GET", "status"))["streams"] == len(DEFAULT_PAIRS)

        await eventually(subscribed)
        await run_fast(venue, 30 * HOUR_MS, 60_000)
        stop = await venue.now_ms()
        truth = sorted(
            (one.event_ms, one.pair, one.long_side)
            for pair in DEFAULT_PAIRS
            for one in venue.market.liquidations(pair, start + 1, stop + 1)
        )
        assert truth, "no forced order in the span: choose another"
        await eventually(lambda: len(exchange.kept("forceOrder")) >= len(truth))
    told = [(m["E"], m["o"]["s"], m["o"]["S"] == "SELL") for m in exchange.kept("forceOrder")]
    assert sorted(told) == truth
    assert [one[0] for one in told] == sorted(one[0] for one in told)


async def test_the_book_rebuilds_from_snapshot_and_differences(venue: Served, exchange: Any) -> None:
    async with watching(lambda: exchange.watch_order_book(SYMBOL)):
        await eventually(lambda: exchange.orderbooks.get(SYMBOL) and exchange.orderbooks[SYMBOL]["nonce"])
        await run_fast(venue, 10 * MINUTE_MS, 300)
        truth = venue.market.depth(BTC, await venue.now_ms(), 20)

        def seen(side: str) -> list[list[float]]:
            return [row[:2] for row in exchange.orderbooks[SYMBOL][side]]

        # The last difference can be under way still, and change nothing but a quantity.
        await eventually(lambda: seen("bids") == truth.bids.tolist() and seen("asks") == truth.asks.tolist())


async def test_dropped_and_denied_connections_come_back(venue: Served) -> None:
    exchange = await venue.exchange(Recorder)
    await venue.control("POST", "clock", {"speed": 60, "held": False})
    await exchange.watch_ohlcv(SYMBOL, "1m")
    await venue.control("POST", "faults", {"kind": "drop"})

    async def watch_on() -> None:
        while True:
            await exchange.watch_ohlcv(SYMBOL, "1m")

    with pytest.raises(ccxt.NetworkError):
        await watch_on()
    await venue.control("POST", "faults", {"kind": "deny", "seconds": 0.3})
    with pytest.raises(ccxt.NetworkError):
        await exchange.watch_ohlcv(SYMBOL, "1m")

    async def back() -> bool:
        with contextlib.suppress(ccxt.NetworkError):
            await exchange.watch_ohlcv(SYMBOL, "1m")
            return True
        return False

    await eventually(back)


async def raw_frames(venue: Served, path: str, frames: list[Any], wanted: int) -> list[Any]:
    answers: list[Any] = []
    async with venue.session.ws_connect(venue.base + path) as socket:
        for frame in frames:
            await socket.send_str(frame if isinstance(frame, str) else orjson.dumps(frame).decode())
        while len(answers) < wanted:
            answers.append(orjson.loads(await asyncio.wait_for(socket.receive_str(), 5)))
    return answers


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ("{", "Invalid JSON"),
        ([1], "not an object"),
        ({"method": "BUY", "id": 1}, "unknown method"),
        ({"method": "SUBSCRIBE", "params": "x", "id": 1}, "list of streams"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@nothing"], "id": 1}, "unknown stream"),
        ({"method": "SUBSCRIBE", "params": ["nousdt@kline_1m"], "id": 1}, "unknown stream"),
    ],
)
async def test_unusable_frames_are_answered_and_the_connection_lives(venue: Served, frame: Any, error: str) -> None:
    good = {"method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 2}
    answers = await raw_frames(venue, "/market/ws", [frame, good], 3)
    assert error in answers[0]["error"]["msg"]
    assert answers[1] == {"result": None, "id": 2}
    assert answers[2]["e"] == "markPriceUpdate"


async def test_streams_by_url_combined_and_listed(venue: Served) -> None:
    [first] = await raw_frames(venue, "/ws/btcusdt@bookTicker", [], 1)
    assert (first["e"], first["s"]) == ("bookTicker", "BTCUSDT")
    [wrapped] = await raw_frames(venue, "/stream?streams=ethusdt@markPrice@1s", [], 1)
    assert wrapped["stream"] == "ethusdt@markPrice@1s"
    assert wrapped["data"]["s"] == "ETHUSDT"
    frames = [
        {"method": "SUBSCRIBE", "params": ["btcusdt@forceOrder", "ethusdt@forceOrder"], "id": 1},
        {"method": "UNSUBSCRIBE", "params": ["btcusdt@forceOrder"], "id": 2},
        {"method": "LIST_SUBSCRIPTIONS", "id": 3},
    ]
    assert (await raw_frames(venue, "/ws", frames, 3))[-1]["result"] == ["ethusdt@forceOrder"]


async def test_too_many_frames_end_the_connection(venue: Served) -> None:
    async with venue.session.ws_connect(venue.base + "/market/ws") as socket:
        for number in range(15):
            await socket.send_str(orjson.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}).decode())
        while not socket.closed:
            await asyncio.wait_for(socket.receive(), 5)
        assert socket.close_code == 1008


async def test_user_stream_tells_an_orders_life(venue: Served) -> None:
    exchange = await venue.exchange(Recorder)

    async def trade() -> Coroutine[Any, Any, Any]:
        return await exchange.watch_orders()

    async with watching(trade):

        async def connected() -> bool:
            return bool((await venue.control("GET", "status"))["connections"])

        await eventually(connected)
        order = await exchange.create_order(SYMBOL, "market", "buy", 0.02, params={"clientOrderId": "mine"})
        resting = await exchange.create_order(SYMBOL, "limit", "buy", 0.02, round(order["average"] * 0.98, 1))
        await exchange.cancel_order(resting["id"], SYMBOL)
        await exchange.set_leverage(7, SYMBOL)
        stop = await exchange.create_order(
            SYMBOL, "market", "sell", 0.02, params={"stopLossPrice": round(order["average"] * 0.95, 1)}
        )
        await eventually(lambda: exchange.kept("ALGO_UPDATE"))
    told = [(m["o"]["c"], m["o"]["x"], m["o"]["X"]) for m in exchange.kept("ORDER_TRADE_UPDATE")]
    assert told == [
        ("mine", "NEW", "NEW"),
        ("mine", "TRADE", "FILLED"),
        (resting["clientOrderId"], "NEW", "NEW"),
        (resting["clientOrderId"], "CANCELED", "CANCELED"),
    ]
    [fill] = await exchange.fetch_my_trades(SYMBOL)
    event = exchange.kept("ORDER_TRADE_UPDATE")[1]["o"]
    assert (str(event["t"]), float(event["n"]), float(event["l"])) == (fill["id"], fill["fee"]["cost"], fill["amount"])
    [account] = exchange.kept("ACCOUNT_UPDATE")
    assert account["a"]["P"][0]["pa"] == "0.02"
    balance = await exchange.fetch_balance()
    assert account["a"]["B"][0]["wb"] == balance["info"]["totalWalletBalance"]
    assert exchange.kept("ACCOUNT_CONFIG_UPDATE")[0]["ac"] == {"s": "BTCUSDT", "l": 7}
    assert str(exchange.kept("ALGO_UPDATE")[0]["o"]["aid"]) == stop["id"]


async def test_an_expired_listen_key_ends_its_stream_and_opens_none(venue: Served, exchange: Any) -> None:
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    assert (await exchange.fapiPrivatePostListenKey())["listenKey"] == key
    async with venue.session.ws_connect(f"{venue.base}/private/ws?listenKey={key}") as socket:
        await venue.control("POST", "faults", {"kind": "expire_listen_key", "event": False})
        await asyncio.wait_for(socket.receive(), 5)
        assert socket.closed
    with pytest.raises(ccxt.AuthenticationError, match="-1125"):
        await exchange.fapiPrivatePutListenKey()
    async with venue.session.get(f"{venue.base}/private/ws?listenKey={key}") as answer:
        assert answer.status == 400
