"""The client against the real local venue over sockets: what it reads is what the market holds."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from exchange_double import eventually
from served_venue import LocalVenue

from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, MINUTE_MS, Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.lake.panel import bars_of
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import STREAMS, MarketStreams
from hydra_core.market.venue_clock import ClockFollower, follow_clock, keep_following, read_anchor, set_clock

BTC, DOGE = Pair("BTCUSDT"), Pair("DOGEUSDT")


@pytest.mark.parametrize("interval", [Interval.M1, Interval.M5, Interval.H4])
async def test_candles_are_the_markets_own(venue: LocalVenue, interval: Interval) -> None:
    start = venue.now_ms - 5 * DAY_MS
    async with ExchangeClient(venue.endpoint) as client:
        read = bars_of(await client.candles(DOGE, interval, start, venue.now_ms + DAY_MS, venue.now_ms))
    held = venue.market.candles(DOGE, interval, start, interval.floor(venue.now_ms))
    np.testing.assert_array_equal(read.ts, held.ts)
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_allclose(getattr(read, name), getattr(held, name), rtol=1e-9, err_msg=name)
    assert read.ts[-1] + interval.ms <= venue.now_ms


async def test_readings_are_the_markets_own(venue: LocalVenue) -> None:
    start, end = venue.now_ms - 5 * DAY_MS, venue.now_ms - DAY_MS
    async with ExchangeClient(venue.endpoint) as client:
        funding = await client.funding(BTC, start, end, venue.now_ms)
        interest = await client.open_interest(BTC, start, end, venue.now_ms)
        ratio = await client.long_short(BTC, start, end, venue.now_ms)
    for frame, column, held in (
        (funding, "rate", venue.market.funding(BTC, start, end)),
        (interest, "open_interest", venue.market.open_interest(BTC, start, end)),
        (ratio, "long_short_ratio", venue.market.long_short(BTC, start, end)),
    ):
        np.testing.assert_array_equal(frame["ts"].dt.epoch("ms").to_numpy(), held.ts)
        np.testing.assert_allclose(frame[column].to_numpy(), held.value, rtol=1e-3, atol=1e-8, err_msg=column)


async def test_rules_and_time(venue: LocalVenue) -> None:
    async with ExchangeClient(venue.endpoint) as client:
        rules, now = await client.rules(), await client.server_time()
    assert set(rules) == set(DEFAULT_PAIRS)
    for pair, rule in rules.items():
        held = venue.market.rules(pair)
        assert (rule.tick_size, rule.step_size) == (held.tick_size, held.step_size)
        assert (rule.min_quantity, rule.min_notional) == (held.min_quantity, held.min_notional)
    assert now == venue.now_ms


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.closed: dict[Pair, list[tuple[Any, ...]]] = defaultdict(list)
        self.quotes: dict[Pair, Quote] = {}
        self.marks: dict[Pair, MarkReading] = {}
        self.liquidations: list[Liquidation] = []
        self.up: set[str] = set()

    def on_candle(self, pair: Pair, interval: Interval, ts: int, *values: Any) -> None:
        *prices, closed, _ = values
        if closed:
            self.closed[pair].append((ts, *prices))

    def on_quote(self, quote: Quote) -> None:
        self.quotes[quote.pair] = quote

    def on_mark(self, mark: MarkReading) -> None:
        self.marks[mark.pair] = mark

    def on_liquidation(self, liquidation: Liquidation) -> None:
        self.liquidations.append(liquidation)

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        (self.up.add if ok else self.up.discard)(stream)


async def test_streams_at_speed_lose_no_closed_candle_and_no_forced_order(running_venue: LocalVenue) -> None:
    """At 1800 times the wall's speed, half an hour a second, every closed candle of every pair arrives once, in order."""
    sink, clock = Recorder(), await asyncio.to_thread(follow_clock, running_venue.url)
    streams = MarketStreams(running_venue.endpoint, DEFAULT_PAIRS, [Interval.M1], sink, clock)
    tasks = [asyncio.create_task(streams.run()), asyncio.create_task(keep_following(clock, running_venue.url, 0.05))]
    try:
        await eventually(lambda: "liquidations" in sink.up)
        await asyncio.to_thread(set_clock, running_venue.url, 1800.0, False)
        await eventually(lambda: len(sink.closed) == 8 and min(map(len, sink.closed.values())) >= 120, 30)
        await asyncio.to_thread(set_clock, running_venue.url, None, True)
        end = (await asyncio.to_thread(read_anchor, running_venue.url)).market_ms
        last = Interval.M1.last_closed(end)
        market, start = running_venue.market, running_venue.now_ms
        forced = sorted(
            (one.pair, one.event_ms) for pair in DEFAULT_PAIRS for one in market.liquidations(pair, start, end)
        )
        await eventually(lambda: all(candles[-1][0] >= last for candles in sink.closed.values()))
        # A forced order of the last tick travels on its own connection: it may come after the tick's candles.
        await eventually(lambda: len(sink.liquidations) >= len(forced))
        await eventually(lambda: sink.up == set(STREAMS))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for pair in DEFAULT_PAIRS:
        held = market.candles(pair, Interval.M1, start, last + MINUTE_MS)
        told = np.array(sink.closed[pair])
        np.testing.assert_array_equal(told[:, 0], held.ts)
        np.testing.assert_allclose(told[:, 4], held.close, rtol=1e-9)
        assert sink.quotes[pair].bid < sink.quotes[pair].ask
        assert sink.marks[pair].next_funding_ms > start
    assert sorted((event.pair, event.event_ms) for event in sink.liquidations) == forced


def test_the_venues_clock_is_followed_and_set(running_venue: LocalVenue) -> None:
    url = running_venue.url
    with ClockFollower(url, every_s=0.02).start() as follower:
        assert follower.clock.market_ms() == running_venue.now_ms
        assert follower.clock.wall_seconds_until(running_venue.now_ms + 1) == float("inf")
        set_clock(url, speed=600.0, held=False)
        assert follower.refresh().anchor.speed == 600.0
        anchor = set_clock(url, held=True)
        assert anchor.held
        assert anchor.market_ms > running_venue.now_ms
        assert follower.refresh().market_ms() == anchor.market_ms == follow_clock(url).market_ms()


def test_no_venue_is_said_in_one_line() -> None:
    with pytest.raises(VenueUnavailable, match="no clock from"):
        follow_clock("http://127.0.0.1:9")
