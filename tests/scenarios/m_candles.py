"""Candles whose close is late, never told or corrected, over streams and REST: M36 and M37."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hydra_core.domain.intervals import MINUTE_MS, Interval
from hydra_core.domain.pairs import Pair
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import CANDLE_STREAM

from .following import BTC, ETH, M1, Following
from .registry import scenario
from .rig import Rig, eventually


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

        def on_bar(pair: Pair, ts_ms: int, close: float, volume: float) -> bool:
            taken = inner(pair, ts_ms, close, volume)
            if taken and pair == BTC:
                acted[ts_ms] += 1
            return taken

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
        if not resend:
            await eventually(lambda: bool(acted), 20.0, "the next bar acted on")
        assert all(times == 1 for times in acted.values()), acted
