"""Streams that end, stall, lie and flood: M04, M06 to M09, M35 to M37, M42; against the trader's own feeds, state and spool."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import sqlite3
from collections import Counter, defaultdict
from types import TracebackType
from typing import Any, Self

from hydra_core.domain.errors import InputStale
from hydra_core.domain.intervals import MINUTE_MS, Interval
from hydra_core.domain.market import Quote
from hydra_core.domain.pairs import Pair
from hydra_core.lake.spool import Spool, read_spool
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import (
    ALL_STREAMS,
    BOOK_STREAM,
    CANDLE_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    TRADE_STREAM,
    MarketStreams,
    StreamHealth,
    Trade,
)
from hydra_core.market.streams.mailbox import Mailbox
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.view import MarketView

from .registry import scenario
from .rig import Rig, eventually

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
PAIRS = (BTC, ETH)
M1 = Interval.M1


class Heard(Feeds):
    """The trader's feeds, which also remember what they were told."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.trades: dict[Pair, list[Trade]] = defaultdict(list)
        self.quotes: list[Quote] = []
        self.closed: Counter[tuple[Pair, int]] = Counter()
        self.unhealthy: list[tuple[str, str]] = []
        self.behind_when_healthy: list[int] = []
        self.slow_s = 0.0

    async def poll_slow(self, now_ms: int, *, first: bool = False) -> int:
        """Slow readings are not what these scenarios are about."""
        return 0

    def on_trade(self, trade: Trade) -> None:
        super().on_trade(trade)
        self.trades[trade.pair].append(trade)

    def on_quote(self, quote: Quote) -> None:
        super().on_quote(quote)
        self.quotes.append(quote)
        if self.slow_s:
            _work(self.slow_s)

    def on_candle(self, *told: Any) -> None:
        super().on_candle(*told)
        if told[8]:
            self.closed[told[0], told[2]] += 1

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        super().on_health(stream, ok, event_ms, message)
        if not ok:
            self.unhealthy.append((stream, message))
        elif stream == CANDLE_STREAM:
            expected = M1.last_closed(event_ms)
            newest = [self.newest_bar(pair, M1) for pair in PAIRS]
            self.behind_when_healthy.append(sum(one is None or one < expected for one in newest))


def _work(seconds: float) -> None:
    """Keep the event loop busy, as a consumer that is too slow does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        math.sqrt(2.0)


class Following:
    """HYDRA follows two pairs of the rig's venue."""

    def __init__(self, rig: Rig, **options: Any) -> None:
        self.rig = rig
        self._options = {"topics": ALL_STREAMS, "seed": rig.seed, **options}
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        rig = self.rig
        await rig.now_ms()
        self.client = await self._stack.enter_async_context(ExchangeClient(rig.endpoint, clock=rig.clock))
        self.writer = self._stack.enter_context(LiveStateWriter(rig.folder / "live.db"))
        self.spool = self._stack.enter_context(Spool(rig.folder / "spool"))
        self.view = MarketView(PAIRS)
        self.heard = Heard(self.client, PAIRS, [M1], self.view, self.writer, self.spool, rig.clock)
        await self.heard.fill_candles(M1, rig.clock.market_ms())
        self.streams = MarketStreams(
            rig.endpoint, PAIRS, [M1], self.heard, rig.clock,
            client=self.client, repair=self.heard.repair, **self._options,
        )  # fmt: skip
        self.heard.streams = self.streams
        work = [self.streams.run(), self.heard.run_polls(), self.heard.run_flushes()]
        self._tasks = [asyncio.create_task(one) for one in work]
        await self.well()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()
        for end in ends:
            if isinstance(end, Exception) and error is None:
                raise end

    def health(self, stream: str) -> StreamHealth:
        return next(one for one in self.streams.health() if one.stream == stream)

    async def well(self, *streams: str) -> None:
        """Wait until these streams (all by default) are healthy."""
        wanted = streams or tuple(self._options["topics"])
        await eventually(
            lambda: (
                all(self.health(one).ok for one in wanted) or [task.result() for task in self._tasks if task.done()]
            ),
            20.0,
            f"healthy again: {wanted}",
        )

    async def ill(self, stream: str) -> None:
        """Wait until a stream is not healthy."""
        await eventually(lambda: not self.health(stream).ok, 20.0, f"{stream} unhealthy")

    async def whole(self, start_ms: int, end_ms: int) -> None:
        """Every trade and closed candle of the span is here, each once, in order, as the market has them."""
        for pair in PAIRS:
            wanted = set(self.rig.market.trades(pair, start_ms, end_ms).trade_id.tolist())
            bars = self.rig.market.candles(pair, M1, M1.floor(start_ms), M1.floor(end_ms))
            await self._arrived(pair, wanted, int(bars.ts[-1]))
            told = [trade.trade_id for trade in self.heard.trades[pair]]
            assert told == sorted(set(told)), f"trades of {pair} are out of order or repeated"
            self.writer.flush()
            held = self.rows(
                "SELECT ts, close FROM candle WHERE pair = ? AND ts >= ? ORDER BY ts", pair, int(bars.ts[0])
            )
            assert [ts for ts, _ in held] == bars.ts.tolist(), f"candles of {pair}"
            assert all(
                abs(close - told) < 1e-9 * told for (_, close), told in zip(held, bars.close.tolist(), strict=True)
            )

    async def _arrived(self, pair: Pair, wanted: set[int], last_bar: int) -> None:
        """Wait for these trades and this candle."""
        await eventually(
            lambda: wanted <= {trade.trade_id for trade in self.heard.trades[pair]}, 20.0, f"all trades of {pair}"
        )
        await eventually(lambda: (self.heard.newest_bar(pair, M1) or 0) >= last_bar, 20.0, f"all candles of {pair}")

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Rows of the live state on disk."""
        with contextlib.closing(sqlite3.connect(self.rig.folder / "live.db")) as base:
            return base.execute(query, values).fetchall()


# -- M04 -------------------------------------------------------------------------------------------------------------------


@scenario("M04", "24 h close: connections are renewed before it, overlapping, and nothing is lost")
async def renewed_in_time(rig: Rig, seed: int) -> None:
    """Connections live 2 s at the venue and are renewed within 1 s: no stream is ever ended by the venue."""
    await rig.fault("connection_life", seconds=2.0, stagger_s=0.1)
    async with Following(rig, rotate_after_ms=700) as following:
        start = following.rig.clock.market_ms()
        heard = following.heard
        await rig.advance(30_000)  # trades begin
        heard.unhealthy.clear()
        step = rig.rng.randrange(15_000, 40_000)
        while min(line.rotations for line in following.streams.lines) < 2:
            await rig.advance(step)
            await asyncio.sleep(0.02)
        assert heard.unhealthy == [], heard.unhealthy
        await following.whole(start + 1, rig.clock.market_ms())
        sockets = await rig.wire_log(channel="socket")
        assert sum(row["what"] == "opened" for row in sockets) >= 3 * len(following.streams.lines)


@scenario("M04", "closed at once with 1001, 1008 or cut: dialled again, filled, healthy only then")
async def closed_by_the_exchange(rig: Rig, seed: int) -> None:
    async with Following(rig) as following:
        start = rig.clock.market_ms()
        await rig.advance(rig.rng.randrange(60_000, 150_000))
        for code, abort in rig.rng.sample([(1001, False), (1008, False), (1006, True)], 2):
            before = following.health(TRADE_STREAM).reconnects
            await rig.fault("drop", code=1001 if abort else code, abort=abort)
            await rig.advance(rig.rng.randrange(60_000, 150_000))
            await eventually(lambda before=before: following.health(TRADE_STREAM).reconnects > before)
            await following.well()
        await following.whole(start + 1, await rig.advance(61_000))


# -- M06, M07 --------------------------------------------------------------------------------------------------------------


@scenario("M06", "silent stall of one stream or all: seen by the staleness clock, subscribed anew, unhealthy meanwhile")
async def silent_stall(rig: Rig, seed: int) -> None:
    await rig.run(1.0)
    limits = {QUOTE_STREAM: 0.8, MARK_STREAM: 2.5, BOOK_STREAM: 0.8}
    stream, name = rig.rng.choice(
        [
            (QUOTE_STREAM, "ethusdt@bookTicker"), (QUOTE_STREAM, ".*@bookTicker"), (BOOK_STREAM, "btcusdt@depth.*"),
            (MARK_STREAM, "btcusdt@markPrice.*"), (QUOTE_STREAM, ".*"),
        ]
    )  # fmt: skip
    async with Following(rig, silence_s=limits) as following:
        assert following.streams.reading(QUOTE_STREAM, ETH).healthy  # type: ignore[union-attr]
        number = await rig.fault("stall", private=False, streams=name)
        await following.ill(stream)
        await eventually(lambda: following.health(stream).reconnects >= 1, 20.0)
        said = [message for one, message in following.heard.unhealthy if one == stream]
        assert any("no event within" in message for message in said), said
        silent = ETH if name.startswith("eth") else BTC
        reading = following.streams.reading(stream, silent)
        assert reading is not None
        assert not reading.healthy
        await rig.clear(number)
        await following.well()
        await eventually(lambda: following.streams.reading(stream, silent).healthy)  # type: ignore[union-attr]


@scenario("M07", "half-open: pings go unanswered, so the connection is given up and made anew")
async def no_pong(rig: Rig, seed: int) -> None:
    async with Following(rig, keep_alive_ms=150) as following:
        start = rig.clock.market_ms()
        number = await rig.fault("no_pong")
        for stream in (QUOTE_STREAM, CANDLE_STREAM):
            await eventually(lambda stream=stream: following.health(stream).reconnects >= 1, 20.0)
        assert any("ping-pong" in message for _, message in following.heard.unhealthy)
        await rig.clear(number)
        await following.well()
        await following.whole(start + 1, await rig.advance(125_000))


# -- M08, M09 --------------------------------------------------------------------------------------------------------------


@scenario("M08", "reconnect storm: one line knocks, slower and slower, and as late as the exchange asks")
async def no_storm(rig: Rig, seed: int) -> None:
    async with Following(rig) as following:
        status, wait = rig.rng.choice([(503, 0), (503, 1), (429, 1), (418, 2)])
        await rig.fault("deny", status=status, retry_after=wait)
        await rig.fault("drop", abort=rig.rng.random() < 0.5)
        for stream in ALL_STREAMS:
            await following.ill(stream)

        async def refused() -> list[dict[str, Any]]:
            return await rig.wire_log(channel="socket", what="refused")

        lines = len(following.streams.lines)
        await eventually(lambda: _longer(refused, lines + 3), 40.0)
        rows = [row["wall_ms"] for row in await refused()]
        pauses = [b - a for a, b in itertools.pairwise(rows)][lines - 1 :]
        assert min(pauses) >= 1000 * wait * 0.99, pauses
        assert all(later >= 0.8 * earlier for earlier, later in itertools.pairwise(pauses)), pauses
        await rig.clear()
        await following.well()


async def _longer(rows: Any, count: int) -> bool:
    return len(await rows()) >= count


@scenario("M09", "data missed while down: filled by REST before a stream counts as healthy")
async def missed_while_down(rig: Rig, seed: int) -> None:
    async with Following(rig) as following:
        start = rig.clock.market_ms()
        await rig.advance(rig.rng.randrange(20_000, 90_000))
        await rig.fault("deny", status=503, retry_after=0)
        await rig.fault("drop")
        await following.ill(CANDLE_STREAM)
        await following.ill(TRADE_STREAM)
        following.heard.behind_when_healthy.clear()
        await rig.advance(rig.rng.randrange(3, 12) * MINUTE_MS + rig.rng.randrange(0, 60_000))
        await rig.clear()
        await following.well()
        assert following.heard.behind_when_healthy, "healthy again was never told"
        assert set(following.heard.behind_when_healthy) == {0}, "healthy was told before the candles were there"
        await following.whole(start + 1, await rig.advance(61_000))
        sources = {trade.source for trades in following.heard.trades.values() for trade in trades}
        assert sources == {"stream", "rest"}


@scenario("M09", "single messages lost on an open socket: holes in the count are seen and filled")
async def lost_on_the_way(rig: Rig, seed: int) -> None:
    async with Following(rig) as following:
        start = rig.clock.market_ms()
        await rig.advance(30_000)
        await rig.fault("lose", streams=".*@aggTrade", chance=0.3, times=rig.rng.randrange(1, 12))
        await rig.fault("lose", streams=".*@kline_1m", event="kline", chance=0.5, times=3)
        for _ in range(4):
            await rig.advance(45_000)
        await rig.clear()
        await following.whole(start + 1, await rig.advance(121_000))


# -- M35 -------------------------------------------------------------------------------------------------------------------


@scenario("M35", "book gap, wrong pu, stale snapshot, crossing: not shown while out of sync, then exact again")
async def book_gap(rig: Rig, seed: int) -> None:
    async with Following(rig) as following:
        books = following.streams.books
        book = books.books[BTC]
        assert book.best()[0][0] < book.best()[1][0]
        how = rig.rng.choice(["skip", "wrong_pu", "crossed"])
        before = books.gaps
        stale = await rig.fault("book_gap", symbol=BTC, how="stale_snapshot", times=rig.rng.randrange(1, 3))
        await rig.fault("hang", method="GET", path="/fapi/v1/depth", seconds=0.15, times=1)
        await rig.fault("book_gap", symbol=BTC, how=how, times=1)
        await eventually(lambda: books.gaps > before, what=f"{how} seen")
        refusals = 0

        def shown() -> bool:
            nonlocal refusals
            try:
                bid, ask = book.best()
            except InputStale:
                refusals += 1
                return False
            assert bid[0] < ask[0]
            return True

        await eventually(shown)
        assert refusals, "the book was shown while it was out of sync"
        await rig.clear(stale)
        await following.well()
        for _ in range(3):
            await rig.advance(rig.rng.randrange(1_000, 30_000))
            await exact(rig, following, BTC)


async def exact(rig: Rig, following: Following, pair: Pair) -> None:
    """The maintained book is the market's."""
    depth = rig.market.depth(pair, rig.clock.market_ms(), 20)

    def same() -> bool:
        book = following.streams.books.books[pair]
        if not book.synced:
            return False
        bids, asks = book.top(5)
        mine = [price for price, _ in (*bids, *asks)]
        theirs = [price for price, _ in (*depth.bids[:5].tolist(), *depth.asks[:5].tolist())]
        return all(abs(a - b) < 1e-6 * b for a, b in zip(mine, theirs, strict=True))

    await eventually(same, what=f"the book of {pair} is the market's")


# -- M36, M37 --------------------------------------------------------------------------------------------------------------


@scenario("M36", "a candle whose close is never told is not closed until REST confirms it, with REST's numbers")
async def never_closed(rig: Rig, seed: int) -> None:
    """The stream's last word on the bar is from its middle; the successor appears; only REST knows how it closed."""
    async with Following(rig) as following:
        start = rig.clock.market_ms()
        opened = M1.floor(await rig.advance(60_000))
        await rig.fault("candle_unclosed", symbol=BTC, interval="1m", times=1)
        await rig.advance(opened + rig.rng.randrange(20_000, 50_000) - rig.clock.market_ms())
        await eventually(lambda: _running(following, BTC) == opened)
        assert following.heard.closed[BTC, opened] == 0
        assert (following.heard.newest_bar(BTC, M1) or 0) < opened, "acted on a running candle"
        await rig.advance(opened + MINUTE_MS + rig.rng.randrange(1_000, 20_000) - rig.clock.market_ms())
        await eventually(lambda: _running(following, BTC) == opened + MINUTE_MS)
        await following.whole(start + 1, rig.clock.market_ms())
        assert following.heard.closed[BTC, opened] == 0, "the stream never told the close"
        assert following.heard.closed[ETH, opened] == 1


def _running(following: Following, pair: Pair) -> int:
    reading = following.streams.reading(CANDLE_STREAM, pair)
    return -1 if reading is None else int(reading.value.ts)


@scenario("M36", "the last row of REST candles is still running and is left out")
async def rest_tail(rig: Rig, seed: int) -> None:
    now = await rig.advance(rig.rng.randrange(61_000, 119_000))
    async with ExchangeClient(rig.endpoint, clock=rig.clock) as client:
        frame = await client.candles(BTC, M1, now - 10 * MINUTE_MS, now + MINUTE_MS, now)
        raw = await client.ask("fapiPublicGetKlines", {"symbol": BTC, "interval": "1m", "limit": 5}, list)
    assert int(raw[-1][0]) == M1.floor(now), "the exchange does tell the running candle"
    assert frame["ts"].dt.epoch("ms").to_list()[-1] == M1.last_closed(now)


@scenario("M37", "a corrected candle becomes a revision, is acted on once, and is found by the next look at REST too")
async def corrected(rig: Rig, seed: int) -> None:
    async with Following(rig) as following:
        five = Interval.M5
        following.heard.intervals.append(five)
        await following.heard.fill_candles(five, rig.clock.market_ms())
        acted: Counter[int] = Counter()
        inner = following.view.on_bar

        def on_bar(pair: Pair, ts_ms: int, close: float, volume: float) -> None:
            held = following.view._days[pair]
            if pair == BTC and (not held or ts_ms > held[-1][0]):
                acted[ts_ms] += 1
            inner(pair, ts_ms, close, volume)

        following.view.on_bar = on_bar  # type: ignore[method-assign]
        await rig.advance(2 * MINUTE_MS)
        resend = rig.rng.random() < 0.5
        interval = M1 if resend else five
        opened = interval.last_closed(rig.clock.market_ms())
        query = "SELECT revision, close FROM candle WHERE pair = ? AND interval = ? AND ts = ? ORDER BY revision"

        def revisions() -> list[Any]:
            following.writer.flush()
            return following.rows(query, BTC, str(interval), opened)

        await eventually(lambda: len(revisions()) == 1)
        factor = rig.rng.choice([0.999, 1.002])
        await rig.fault(
            "candle_corrected", symbol=BTC, interval=str(interval), back=1, close_factor=factor, resend=resend
        )
        if resend:
            await rig.fault(
                "candle_corrected", symbol=BTC, interval=str(interval), back=1, close_factor=1.0, resend=True
            )
        else:
            await rig.advance(five.ms)  # the look at REST after the next bar
        await eventually(lambda: len(revisions()) == 2, 20.0, "a second revision")
        (first, before), (second, after) = revisions()
        assert (first, second) == (0, 1)
        assert abs(after / before - factor) < 1e-3
        assert all(times == 1 for times in acted.values()), acted


# -- M42 -------------------------------------------------------------------------------------------------------------------


@scenario("M42", "a consumer too slow: quotes are dropped, oldest first, and nothing else is")
async def too_slow(rig: Rig, seed: int) -> None:
    mailbox = Mailbox(lossy_max=16)
    async with Following(rig, mailbox=mailbox) as following:
        start = rig.clock.market_ms()
        heard = following.heard
        heard.slow_s = 0.002
        await rig.fault("flood", streams=".*@bookTicker", rate=2_000, seconds=30.0)
        for _ in range(3):
            await rig.advance(rig.rng.randrange(40_000, 80_000))
        await eventually(lambda: following.streams.dropped > 0, what="quotes dropped")
        assert set(mailbox.dropped) == {QUOTE_STREAM}, mailbox.dropped
        heard.slow_s = 0.0
        await rig.clear()
        await eventually(lambda: len(mailbox) == 0)
        end = await rig.advance(1_000)
        await following.whole(start + 1, end)
        await eventually(lambda: all(following.view.quotes[pair].event_ms >= end for pair in PAIRS))
        following.spool.flush()
        for pair in PAIRS:
            kept = read_spool(rig.folder / "spool", pair, start, end + 1, "trades")
            assert kept["trade_id"].to_list() == [trade.trade_id for trade in heard.trades[pair]]
