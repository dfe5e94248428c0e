"""From streams and polls to the live state: what arrives is kept in memory, written in batches, and repaired after a gap.

Not here: connections (``market.streams``), judging what is fresh enough (the window's snapshot, the guard).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from loguru import logger

from hydra_core.domain.clock import AnchoredClock, Clock, ClockAnchor
from hydra_core.domain.errors import Unsupported, VenueError
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, HOUR_MS, Interval
from hydra_core.domain.market import (
    FUNDING,
    LONG_SHORT,
    OPEN_INTEREST,
    PUBLICATION_DELAY_MS,
    Liquidation,
    MarkReading,
    Quote,
)
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS, READING_MAX_AGE_MS
from hydra_core.domain.series import Bars, Series
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.tables import HealthReading
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import CANDLE_STREAM
from hydra_core.trader.view import MarketView

if TYPE_CHECKING:
    import polars as pl

OTHER_BARS: Final = 300
"""Closed candles kept at hand of every interval but the forecast's."""
SLOW: Final = {OPEN_INTEREST: "open_interest", LONG_SHORT: "long_short_ratio", FUNDING: "rate"}
"""Slow readings polled over REST, and the column that holds their value."""
POLL_S: Final = 0.2
FLUSH_MAX_S: Final = 0.25
FLUSH_MARKET_S: Final = 5.0


class Feeds:
    """The sink of the market streams and the poller of what has no stream.

    Parameters
    ----------
    client : ExchangeClient, for history and polls
    pairs, intervals : what is followed; intervals the exchange does not offer are dropped by :meth:`prepare`
    view : MarketView, the trader's memory
    writer : LiveStateWriter, the live state on disk
    spool : Spool, where forced orders are kept for the lake
    clock : Clock
    """

    def __init__(
        self,
        client: ExchangeClient,
        pairs: Sequence[Pair],
        intervals: Sequence[Interval],
        view: MarketView,
        writer: LiveStateWriter,
        spool: Spool,
        clock: Clock,
    ) -> None:
        self._client = client
        self._pairs = tuple(pairs)
        self.intervals = list(intervals)
        self._view = view
        self._writer = writer
        self._spool = spool
        self._clock = clock
        self._newest_bar: dict[tuple[Pair, Interval], int] = {}
        self._newest_reading: dict[tuple[str, Pair], int] = {}
        self._gap = asyncio.Event()
        self.settled: dict[Pair, list[tuple[int, float]]] = {pair: [] for pair in self._pairs}
        """Funding settlements (epoch ms, rate) that became known and wait for the broker."""
        self.health: dict[str, bool] = {}

    async def prepare(self) -> None:
        """Fill the look-back of every interval and slow reading before anything is decided on them."""
        self._say_clock()
        now = self._clock.market_ms()
        for interval in list(self.intervals):
            try:
                await self.fill_candles(interval, now)
            except Unsupported:
                logger.info("{} candles are not offered by {}", interval, self._client.endpoint)
                self.intervals.remove(interval)
        await self.poll_slow(now, first=True)
        self._writer.flush()

    async def fill_candles(self, interval: Interval, now_ms: int) -> int:
        """Fetch the closed candles that are missing up to now; returns how many came."""
        depth = MAX_LOOKBACK_BARS + 2 if interval is FORECAST_INTERVAL else OTHER_BARS

        async def fill(pair: Pair) -> int:
            earliest = interval.floor(now_ms) - depth * interval.ms
            known = self._newest_bar.get((pair, interval), -1)
            start = max(earliest, known + interval.ms) if known >= 0 else earliest
            if start > interval.last_closed(now_ms):
                return 0
            frame = await self._client.candles(pair, interval, start, now_ms, now_ms)
            self._take_bars(pair, interval, bars_of(frame))
            return frame.height

        return sum(await asyncio.gather(*(fill(pair) for pair in self._pairs)))

    async def poll_slow(self, now_ms: int, *, first: bool = False) -> int:
        """Fetch slow readings published since the newest one held; returns how many came."""

        async def fetch(kind: str, pair: Pair) -> int:
            span = MAX_LOOKBACK_BARS * FORECAST_INTERVAL.ms + READING_MAX_AGE_MS[kind]
            earliest = now_ms - span
            if first and kind == FUNDING:
                earliest = now_ms - span - 30 * DAY_MS
            start = max(earliest, self._newest_reading.get((kind, pair), -1) + 1)
            if kind == FUNDING and not first and now_ms - start < HOUR_MS and not self._settlement_due(pair, start):
                return 0
            try:
                frame = await self._client.history(kind, pair, start, now_ms + 1, now_ms)
            except Unsupported:
                return 0
            readings = series_of(frame, SLOW[kind])
            if not len(readings):
                return 0
            self._writer.add_readings(kind, pair, readings, self._clock.wall_ms())
            self._newest_reading[kind, pair] = int(readings.ts[-1])
            if kind == FUNDING and not first:
                self.settled[pair].extend(zip(readings.ts.tolist(), readings.value.tolist(), strict=True))
            return len(readings)

        return sum(await asyncio.gather(*(fetch(kind, pair) for kind in SLOW for pair in self._pairs)))

    async def run_polls(self) -> None:
        """Poll after every publication, repair candle gaps as soon as they are known; never returns."""
        step, delay = FORECAST_INTERVAL.ms, max(PUBLICATION_DELAY_MS.values())
        polled = -1
        while True:
            now = self._clock.market_ms()
            slot = (now - delay) // step
            try:
                if self._gap.is_set() or (slot != polled and self._behind(now)):
                    self._gap.clear()
                    for interval in self.intervals:
                        await self.fill_candles(interval, now)
                if slot != polled:
                    await self.poll_slow(now)
                    polled = slot
            except VenueError as error:
                logger.warning("poll failed: {}", error)
                await asyncio.sleep(1.0)
            await asyncio.sleep(POLL_S / 4 if self._speed() > 10 else POLL_S)

    async def run_flushes(self) -> None:
        """Write what arrived, at most a quarter second (or five market seconds) after; never returns."""
        while True:
            self._say_clock()
            self._writer.flush()
            await asyncio.sleep(max(0.02, min(FLUSH_MAX_S, FLUSH_MARKET_S / max(self._speed(), 1e-9))))

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
        """Keep a candle once it is closed."""
        if not closed:
            return
        known = self._newest_bar.get((pair, interval))
        if known is not None and ts > known + interval.ms:
            self._gap.set()
        self._writer.add_candle(pair, interval, ts, open, high, low, close, volume, self._clock.wall_ms())
        if known is None or ts > known:
            # With a hole before it the newest known bar stays where it is, so that the repair starts at the hole.
            if known is None or ts == known + interval.ms:
                self._newest_bar[pair, interval] = ts
            if interval is FORECAST_INTERVAL:
                self._view.on_bar(pair, ts, close, volume)

    def on_quote(self, quote: Quote) -> None:
        """Keep the newest best bid and ask."""
        if self._view.on_quote(quote):
            self._writer.add_quote(quote)

    def on_mark(self, mark: MarkReading) -> None:
        """Keep the newest mark."""
        if self._view.on_mark(mark):
            self._writer.add_mark(mark)

    def on_liquidation(self, liquidation: Liquidation) -> None:
        """Keep a forced order, in the live state and for the lake."""
        self._writer.add_liquidation(liquidation, self._clock.wall_ms())
        self._spool.add(liquidation)

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        """Note a stream's health; candles missed meanwhile are fetched when theirs is back."""
        self.health[stream] = ok
        self._writer.add_health(HealthReading(stream, ok, event_ms, message, self._clock.wall_ms()))
        if ok and stream == CANDLE_STREAM:
            self._gap.set()

    def _take_bars(self, pair: Pair, interval: Interval, bars: Bars) -> None:
        if not len(bars):
            return
        self._writer.add_bars(pair, interval, bars, self._clock.wall_ms())
        newest = int(bars.ts[-1])
        self._newest_bar[pair, interval] = max(newest, self._newest_bar.get((pair, interval), newest))
        if interval is FORECAST_INTERVAL:
            for ts, close, volume in zip(bars.ts.tolist(), bars.close.tolist(), bars.volume.tolist(), strict=True):
                self._view.on_bar(pair, ts, close, volume)

    def _behind(self, now_ms: int) -> bool:
        """Whether a closed forecast bar has not come although its successor is a minute old."""
        expected = FORECAST_INTERVAL.last_closed(now_ms - max(PUBLICATION_DELAY_MS.values()))
        return any(self._newest_bar.get((pair, FORECAST_INTERVAL), -1) < expected for pair in self._pairs)

    def _settlement_due(self, pair: Pair, since_ms: int) -> bool:
        """Whether the mark stream has moved on to a settlement later than one we have not read yet."""
        mark = self._view.marks.get(pair)
        return mark is None or mark.next_funding_ms - since_ms > HOUR_MS

    def _speed(self) -> float:
        return self._clock.anchor.speed if isinstance(self._clock, AnchoredClock) else 1.0

    def _say_clock(self) -> None:
        if isinstance(self._clock, AnchoredClock):
            self._writer.set_clock(self._clock.anchor)
        else:
            wall = self._clock.wall_ms()
            self._writer.set_clock(ClockAnchor(wall, wall, 1.0, False))


def bars_of(frame: pl.DataFrame) -> Bars:
    """Candles of a lake frame as arrays; times in epoch ms."""
    columns = {name: frame[name].to_numpy().astype(np.float64) for name in ("open", "high", "low", "close", "volume")}
    return Bars(ts=_stamps(frame), **columns)


def series_of(frame: pl.DataFrame, column: str) -> Series:
    """One value column of a lake frame as a series."""
    return Series(_stamps(frame), frame[column].to_numpy().astype(np.float64))


def _stamps(frame: pl.DataFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return frame["ts"].dt.epoch("ms").to_numpy().astype(np.int64)
