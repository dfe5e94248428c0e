"""Streams against a scripted exchange: what arrives, what a fall looks like, what a broken message does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from exchange_double import MINUTE, ScriptedExchange, eventually

from hydra_core.domain.clock import AnchoredClock, ClockAnchor, SystemClock
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.streams import STREAMS, MarketStreams

BTC = Pair("BTCUSDT")
START = 1_717_200_000_000


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.candles: list[tuple[Any, ...]] = []
        self.quotes: list[Quote] = []
        self.marks: list[MarkReading] = []
        self.liquidations: list[Liquidation] = []
        self.health: list[tuple[str, bool]] = []
        self.fault: Exception | None = None

    def on_candle(self, *candle: Any) -> None:
        if self.fault:
            raise self.fault
        self.candles.append(candle)

    def on_quote(self, quote: Quote) -> None:
        self.quotes.append(quote)

    def on_mark(self, mark: MarkReading) -> None:
        self.marks.append(mark)

    def on_liquidation(self, liquidation: Liquidation) -> None:
        self.liquidations.append(liquidation)

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        self.health.append((stream, ok))


def kline(place: int, closed: bool) -> dict[str, Any]:
    ts = START + place * MINUTE
    prices = {"o": "1", "h": "3", "l": "0.5", "c": "2", "v": "7"}
    candle = {"t": ts, "T": ts + MINUTE - 1, "s": BTC, "i": "1m", "x": closed, **prices}
    return {"e": "kline", "E": ts + 1, "s": BTC, "k": candle}


def forced(place: int) -> dict[str, Any]:
    sizes = {"q": "2", "l": "2", "z": "2", "p": "99", "ap": "98.5"}
    order = {"s": BTC, "S": "SELL", "o": "LIMIT", "f": "IOC", "X": "FILLED", "T": START + place, **sizes}
    return {"e": "forceOrder", "E": START + place, "o": order}


@pytest.fixture
async def running(scripted: ScriptedExchange) -> AsyncIterator[tuple[MarketStreams, Recorder, asyncio.Task[None]]]:
    sink = Recorder()
    streams = MarketStreams(
        Endpoint(base_url=scripted.url),
        [BTC],
        [Interval.M1],
        sink,
        SystemClock(),
        silence_s={"quotes": 60, "candles": 60},
    )
    task = asyncio.create_task(streams.run())
    await eventually(lambda: len(scripted.subscribed) == 4)
    yield streams, sink, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_everything_arrives_once_with_its_closed_flag(scripted: ScriptedExchange, running: Any) -> None:
    _, sink, _ = running
    assert sorted(scripted.subscribed) == [
        "btcusdt@bookTicker", "btcusdt@forceOrder", "btcusdt@kline_1m", "btcusdt@markPrice@1s",
    ]  # fmt: skip
    market = scripted.sockets[0]
    await market.send_json(kline(0, False))
    await market.send_json(kline(0, True))
    for place in range(500):  # a flood that ccxt's own consumers would merge
        await market.send_json(forced(place))
    await market.send_json(
        {"e": "bookTicker", "u": 1, "s": BTC, "b": "99", "B": "3", "a": "101", "A": "4", "T": START, "E": START}
    )
    await market.send_json(
        {"e": "markPriceUpdate", "E": START, "s": BTC, "p": "100", "i": "100.5", "r": "0.0001", "T": START + 9}
    )
    await eventually(lambda: sink.marks and sink.quotes)
    assert sink.candles == [
        (BTC, Interval.M1, START, 1.0, 3.0, 0.5, 2.0, 7.0, closed, START + 1) for closed in (False, True)
    ]
    assert [event.event_ms for event in sink.liquidations] == [START + place for place in range(500)]
    assert sink.liquidations[0] == Liquidation(BTC, START, True, 2.0, 98.5)
    assert sink.quotes[0].mid == 100.0
    assert (sink.marks[0].index, sink.marks[0].next_funding_ms) == (100.5, START + 9)
    await eventually(lambda: dict(sink.health) == dict.fromkeys(STREAMS, True))


async def test_a_lost_connection_is_told_and_subscribed_anew(scripted: ScriptedExchange, running: Any) -> None:
    _, sink, _ = running
    for socket in list(scripted.sockets):
        await socket.send_json(kline(0, True))
    await eventually(lambda: ("candles", True) in sink.health)
    before = len(scripted.sockets)
    for socket in list(scripted.sockets):
        await socket.close(code=1001)
    await eventually(
        lambda: {name for name, ok in sink.health if not ok} == {"candles", "quotes", "marks", "liquidations"}
    )
    await eventually(lambda: len(scripted.sockets) == 2 * before and len(scripted.subscribed) == 8)
    await scripted.push("", kline(1, True))
    await eventually(lambda: dict(sink.health)["candles"])
    await eventually(lambda: sink.candles[-1][2] == START + MINUTE)


async def test_silence_ends_a_connection_and_a_new_one_is_made(scripted: ScriptedExchange) -> None:
    """The socket is open and answers pings, and no quote comes: only a watchdog can see that."""
    sink = Recorder()
    streams = MarketStreams(
        Endpoint(base_url=scripted.url),
        [BTC],
        [Interval.M1],
        sink,
        SystemClock(),
        silence_s={"quotes": 0.2, "candles": 60},
    )
    task = asyncio.create_task(streams.run())
    try:
        await eventually(lambda: scripted.subscribed.count("btcusdt@bookTicker") >= 2)
        assert ("quotes", False) in sink.health
        assert scripted.subscribed.count("btcusdt@kline_1m") == 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_malformed_message_is_dropped_and_the_stream_lives(scripted: ScriptedExchange, running: Any) -> None:
    streams, sink, _ = running
    broken = kline(0, True)
    del broken["k"]["o"]
    await scripted.sockets[0].send_json(broken)
    await scripted.sockets[0].send_json({"e": "markPriceUpdate", "s": BTC, "p": None})
    await scripted.sockets[0].send_json(kline(1, True))
    await eventually(lambda: sink.candles)
    assert streams.malformed == 2
    assert [candle[2] for candle in sink.candles] == [START + MINUTE]


async def test_a_fault_of_the_sink_ends_the_run_with_that_fault(scripted: ScriptedExchange, running: Any) -> None:
    _, sink, task = running
    sink.fault = RuntimeError("disk is full")
    await scripted.sockets[0].send_json(kline(0, True))
    with pytest.raises(RuntimeError, match="disk is full"):
        await asyncio.wait_for(task, 5)


async def test_streams_wait_for_an_exchange_that_is_not_up_yet(scripted: ScriptedExchange) -> None:
    scripted.script["/fapi/v1/exchangeInfo"] = [(503, "", {}), (503, "", {})]
    sink = Recorder()
    task = asyncio.create_task(
        MarketStreams(Endpoint(base_url=scripted.url), [BTC], [Interval.M1], sink, SystemClock()).run()
    )
    try:
        await eventually(lambda: len(scripted.subscribed) == 4)
        assert ("candles", False) in sink.health
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_truncated_frame_is_set_aside_and_the_socket_goes_on(scripted: ScriptedExchange, running: Any) -> None:
    """ccxt's own receive loop ends for good on one: the socket would stay open and mute."""
    streams, sink, _ = running
    for socket in scripted.sockets:
        await socket.send_str('{"e":"kline","E":171720')
        await socket.send_str("not json at all")
        await socket.send_str('{"strange": 1}')
    await eventually(lambda: streams.malformed == 3 * len(scripted.sockets))
    await scripted.push("", kline(1, True))
    await eventually(lambda: sink.candles)
    told = {one.stream: one for one in streams.health()}
    assert sum(one.malformed for one in told.values()) == streams.malformed
    assert all(one.reconnects == 0 for one in told.values())


async def test_a_quote_from_the_far_future_does_not_outlive_the_true_ones(
    scripted: ScriptedExchange, running: Any
) -> None:
    streams, sink, _ = running
    quote = {"e": "bookTicker", "s": BTC, "b": "99", "B": "3", "a": "101", "A": "4"}
    year = 366 * 24 * 3_600_000
    await scripted.sockets[0].send_json({**quote, "u": 5, "T": SystemClock().market_ms() + year, "E": START})
    await scripted.sockets[0].send_json({**quote, "u": 6, "T": START, "E": START})
    await scripted.sockets[0].send_json({**quote, "u": 4, "T": START - 9, "E": START})
    await eventually(lambda: streams.late == 1)
    assert streams.malformed == 1
    assert {one.stream: one.late for one in streams.health() if one.late} == {"quotes": 1}
    assert [one.event_ms for one in sink.quotes] == [START]
    reading = streams.reading("quotes", BTC)
    assert (reading.value, reading.source, reading.event_ms) == (sink.quotes[0], "stream", START)


async def test_what_is_told_of_another_contract_is_set_aside(scripted: ScriptedExchange, running: Any) -> None:
    """A contract that was renamed goes on under a name that nobody asked for: counted and kept, never taken for the old one."""
    streams, sink, _ = running
    quote = {
        "e": "bookTicker",
        "s": "POLUSDT",
        "u": 5,
        "b": "99",
        "B": "3",
        "a": "101",
        "A": "4",
        "T": START,
        "E": START,
    }
    trade = {
        "e": "aggTrade",
        "E": START,
        "s": "POLUSDT",
        "a": 7,
        "p": "1",
        "q": "1",
        "f": 1,
        "l": 1,
        "T": START,
        "m": True,
    }
    for message in (quote, trade):
        await scripted.sockets[0].send_json(message)
    await eventually(lambda: streams.malformed == 2)
    assert streams.quarantine.reasons == {"ValueError": 2}
    assert sink.quotes == []
    assert streams.reading("quotes", BTC) is None


async def test_a_refused_subscription_is_told_and_asked_for_again(scripted: ScriptedExchange) -> None:
    scripted.refuse_streams = 1
    sink = Recorder()
    streams = MarketStreams(
        Endpoint(base_url=scripted.url), [BTC], [Interval.M1], sink, SystemClock(), topics=["candles"]
    )
    task = asyncio.create_task(streams.run())
    try:
        await eventually(lambda: dict(sink.health).get("candles"))
        assert ("candles", False) in sink.health
        assert len(scripted.sockets) == 2
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_many_pairs_are_spread_over_connections_and_their_marks_are_one_stream(
    scripted: ScriptedExchange,
) -> None:
    names = [Pair(f"P{number:03d}USDT") for number in range(250)]
    scripted.symbols = list(names)
    sink = Recorder()
    topics = ["candles", "quotes", "marks"]
    streams = MarketStreams(Endpoint(base_url=scripted.url), names, [Interval.M1], sink, SystemClock(), topics=topics)
    task = asyncio.create_task(streams.run())
    try:
        await eventually(lambda: len(scripted.subscribed) == 501)
        assert scripted.subscribed.count("!markPrice@arr@1s") == 1
        assert len(scripted.sockets) == 5, "200 subscriptions a connection at most"
        readings = [
            {"e": "markPriceUpdate", "E": START, "s": name, "p": "1", "i": "1", "r": "0", "T": START} for name in names
        ]
        await scripted.push("", readings)
        await eventually(lambda: {one.pair for one in sink.marks} == set(names))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_trades_and_books_rest_while_the_market_runs_much_faster_than_the_wall(
    scripted: ScriptedExchange,
) -> None:
    clock = AnchoredClock(ClockAnchor(START, SystemClock().wall_ms(), 600.0, False))
    sink = Recorder()
    topics = ["trades", "candles"]
    streams = MarketStreams(Endpoint(base_url=scripted.url), [BTC], [Interval.M1], sink, clock, topics=topics)
    task = asyncio.create_task(streams.run())
    try:
        await eventually(lambda: "btcusdt@kline_1m" in scripted.subscribed)
        told = {one.stream: one for one in streams.health()}
        assert told["trades"].state == "paused"
        assert told["trades"].ok
        assert "btcusdt@aggTrade" not in scripted.subscribed
        clock.set_anchor(ClockAnchor(START, SystemClock().wall_ms(), 1.0, False))
        await eventually(lambda: "btcusdt@aggTrade" in scripted.subscribed)
        clock.set_anchor(ClockAnchor(START, SystemClock().wall_ms(), 600.0, False))
        await eventually(lambda: {one.stream: one for one in streams.health()}["trades"].state == "paused")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
