"""Streams that end, stall, lie and flood: M04, M06 to M09, M33, M35, M42; against the trader's own feeds, state and spool."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from hydra_core.domain.errors import InputStale
from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.domain.pairs import Pair
from hydra_core.lake.spool import read_spool
from hydra_core.market.streams import (
    ALL_STREAMS,
    BOOK_STREAM,
    CANDLE_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    TRADE_STREAM,
)
from hydra_core.market.streams.line import FIRST_PAUSE_S
from hydra_core.market.streams.mailbox import Mailbox
from hydra_core.trader.outlook import GONE, Outlook

from .following import BTC, ETH, PAIRS, Following
from .registry import scenario
from .rig import Rig, eventually

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
            await asyncio.sleep(0.1)
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
        silent = ETH if name.startswith("eth") else BTC
        # A stream is up once it has spoken; on a busy machine each pair's own first word may come later.
        for one in {stream, QUOTE_STREAM}:
            await eventually(lambda one=one: (told := following.streams.reading(one, silent)) and told.healthy, 20.0)
        number = await rig.fault("stall", private=False, streams=name)
        await following.ill(stream)
        await eventually(lambda: following.health(stream).reconnects >= 1, 20.0)
        said = [message for one, message in following.heard.unhealthy if one == stream]
        assert any("no event within" in message for message in said), said
        reading = following.streams.reading(stream, silent)
        assert reading is not None
        assert not reading.healthy
        await rig.clear(number)
        await following.well()
        await eventually(lambda: following.streams.reading(stream, silent).healthy)  # type: ignore[union-attr]


@scenario("M07", "half-open: pings go unanswered, so the connection is given up and made anew")
async def no_pong(rig: Rig, seed: int) -> None:
    async with Following(rig, keep_alive_ms=400) as following:
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
        status, wait = rig.rng.choice([(503, 0), (503, 1), (429, 1), (418, 1)])
        knocks = 2 if wait else 3
        await rig.fault("deny", status=status, retry_after=wait)
        await rig.fault("drop", abort=rig.rng.random() < 0.5)
        for stream in ALL_STREAMS:
            await following.ill(stream)

        async def refused() -> list[dict[str, Any]]:
            return await rig.wire_log(channel="socket", what="refused")

        lines = len(following.streams.lines)
        await eventually(lambda: _longer(refused, lines + knocks), 40.0)
        rows = [row["wall_ms"] for row in await refused()]
        pauses = [b - a for a, b in itertools.pairwise(rows)][lines - 1 :]
        assert min(pauses) >= 1000 * wait * 0.99, pauses
        # A busy machine makes a pause longer, never shorter: each has twice the least length of the one before.
        least = [1000 * FIRST_PAUSE_S / 2 * 2**place for place in range(len(pauses))]
        assert all(pause >= 0.99 * short for pause, short in zip(pauses[1:], least[1:], strict=True)), pauses
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


# -- M33 -------------------------------------------------------------------------------------------------------------------


@scenario("M33", "a pair that is gone from the streams is shown as delisted, not as ill, and the others go on")
async def delisted_while_followed(rig: Rig, seed: int) -> None:
    """Its silence is noticed, the list of contracts explains it: nothing waits or asks for it, until it is listed again."""
    await rig.run(1.0)
    async with Following(rig, silence_s={QUOTE_STREAM: 0.8, BOOK_STREAM: 0.8, MARK_STREAM: 2.5}) as following:
        heard = following.heard
        heard.outlook = Outlook(following.client, PAIRS, rig.clock, every_ms=500, unwell_every_ms=200)
        number = await rig.fault("listing", symbol=ETH, status="CLOSE", vanish=True)
        await eventually(lambda: following.view.delisted == {ETH: GONE}, 20.0, "known as delisted")
        await following.well()
        seen = (await rig.requests())[-1]["seq"]
        before = following.health(TRADE_STREAM).reconnects
        await rig.fault("drop", abort=rig.rng.random() < 0.5)
        await eventually(lambda: following.health(TRADE_STREAM).reconnects > before, 20.0, "the drop is seen")
        await following.well()
        reading = following.streams.reading(QUOTE_STREAM, ETH)
        assert reading is None or not reading.healthy
        with pytest.raises(InputStale):
            following.streams.books.books[ETH].best()
        assert following.streams.books.books[BTC].best()
        assert not [row for row in await rig.requests(since=seen) if "ETHUSDT" in row["query"]], (
            "asked for it all the same"
        )
        await rig.clear(number)
        await eventually(lambda: following.view.delisted == {}, 20.0, "listed again")
        await following.well()
        await eventually(lambda: following.streams.reading(QUOTE_STREAM, ETH).healthy, 20.0)  # type: ignore[union-attr]


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
