"""From streams and polls to the live state: what arrives is kept in memory, written in batches, and repaired after a gap.

Not here: connections and their health (``market.streams``), judging what is fresh enough (the window's snapshot, the guard).
"""

from __future__ import annotations

import asyncio
import math
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
from hydra_core.domain.tables import BOOK_LEVELS
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.tables import STREAM_HEALTH, HealthReading
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import CANDLE_STREAM, LIQUIDATION_STREAM, MarketStreams, Trade
from hydra_core.market.streams.candles import CandleGate, Verdict
from hydra_core.market.streams.readings import CandleTick
from hydra_core.trader.outlook import Outlook
from hydra_core.trader.view import MarketView

if TYPE_CHECKING:
    import polars as pl

OTHER_BARS: Final = 300
"""Closed candles kept at hand of every interval but the forecast's."""
SLOW: Final = {OPEN_INTEREST: "open_interest", LONG_SHORT: "long_short_ratio", FUNDING: "rate"}
"""Slow readings polled over REST, and the column that holds their value."""
RECHECKED: Final = 3
"""Closed candles fetched again with every repair and after every forecast bar: the exchange may have corrected them."""
RECHECK_MAX_SPEED: Final = 20.0
"""A market that runs faster than this against the wall is not asked again after every bar."""
BOOK_EVERY_MS: Final = 10_000
"""Market time between two book captures of a pair."""
HEALTH_EVERY_MS: Final = 500
"""Wall time between two reports of stream health to the live state."""
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
    spool : Spool, where what only streams tell is kept for the lake
    clock : Clock
    settled_since_ms : int, optional, market time from which settlements that are there at the start wait for the broker too
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
        *,
        settled_since_ms: int | None = None,
    ) -> None:
        self._client = client
        self._pairs = tuple(pairs)
        self.intervals = list(intervals)
        self._view = view
        self._writer = writer
        self._spool = spool
        self._clock = clock
        self._gate = CandleGate()
        self._settled_since_ms = math.inf if settled_since_ms is None else settled_since_ms
        self._newest_reading: dict[tuple[str, Pair], int] = {}
        self._gap = asyncio.Event()
        self.settled: dict[Pair, list[tuple[int, float]]] = {pair: [] for pair in self._pairs}
        """Funding settlements (epoch ms, rate) that became known and wait for the broker."""
        self.health: dict[str, bool] = {}
        self.streams: MarketStreams | None = None
        """Set by whoever runs them: their health and books are reported from here."""
        self.outlook = Outlook(client, pairs, clock)
        self._book_due: dict[Pair, int] = {}
        self._health_due = 0
        self._captured = False

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
        """Fetch the closed candles that are missing up to now, and the last few again; returns how many were new."""
        depth = MAX_LOOKBACK_BARS + 2 if interval is FORECAST_INTERVAL else OTHER_BARS

        async def fill(pair: Pair) -> int:
            earliest = interval.floor(now_ms) - depth * interval.ms
            known = self._gate.newest(pair, interval)
            start = earliest if known is None else max(earliest, known - (RECHECKED - 1) * interval.ms)
            if start > interval.last_closed(now_ms):
                return 0
            frame = await self._client.candles(pair, interval, start, now_ms, now_ms)
            return self._take_bars(pair, interval, bars_of(frame))

        return sum(await asyncio.gather(*(fill(pair) for pair in self._traded())))

    def newest_bar(self, pair: Pair, interval: Interval) -> int | None:
        """Open time of the newest closed candle up to which none is missing, None before the first."""
        return self._gate.newest(pair, interval)

    async def repair(self, stream: str) -> None:
        """Fetch what was missed of a stream while its connection was away: it is healthy only after this.

        Forced orders have no history to fetch: a hole in their capture moves its beginning to now, so that bars before it
        hold NaN and not a sum that looks whole.
        """
        if stream == CANDLE_STREAM:
            self._gap.clear()
            for interval in self.intervals:
                await self.fill_candles(interval, self._clock.market_ms())
        elif stream == LIQUIDATION_STREAM:
            if self._captured:
                self._writer.set_capture_start(self._clock.market_ms())
            self._captured = True

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
            if kind == FUNDING:
                since = self._settled_since_ms if first else start
                told = zip(readings.ts.tolist(), readings.value.tolist(), strict=True)
                self.settled[pair].extend((ts, rate) for ts, rate in told if ts >= since)
            return len(readings)

        return sum(await asyncio.gather(*(fetch(kind, pair) for kind in SLOW for pair in self._traded())))

    async def run_polls(self) -> None:
        """Poll after every publication, repair candle gaps as soon as they are known; never returns."""
        step, delay = FORECAST_INTERVAL.ms, max(PUBLICATION_DELAY_MS.values())
        polled = -1
        while True:
            now = self._clock.market_ms()
            slot = (now - delay) // step
            try:
                await self._look_around()
                if self._gap.is_set() or (slot != polled and self._behind(now)):
                    self._gap.clear()
                    for interval in self.intervals:
                        await self.fill_candles(interval, now)
                elif slot != polled and polled >= 0 and self._speed() <= RECHECK_MAX_SPEED:
                    await self.fill_candles(FORECAST_INTERVAL, now)
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
            self._say_health()
            self._capture_books()
            self._writer.flush()
            self._spool.flush()
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
        """Keep a candle once it is closed, act on it once, and keep its corrections."""
        wall = self._clock.wall_ms()
        tick = CandleTick(pair, interval, ts, open, high, low, close, volume, closed, event_ms, wall)
        verdict = self._gate.judge(tick)
        if verdict in (Verdict.AHEAD, Verdict.UNCONFIRMED):
            self._gap.set()
        if verdict not in (Verdict.CLOSED, Verdict.AHEAD, Verdict.REVISION):
            return
        self._writer.add_candle(pair, interval, ts, open, high, low, close, volume, wall)
        self._spool.add_candle(pair, interval, ts, tick.values)
        if verdict is Verdict.CLOSED and interval is FORECAST_INTERVAL:
            self._act(pair, ts)

    def on_trade(self, trade: Trade) -> None:
        """Keep the newest trade in memory, every one for the lake."""
        self._view.on_trade(trade)
        self._spool.add_trade(
            trade.pair, trade.trade_id, trade.event_ms, trade.price, trade.quantity, trade.buyer_maker
        )

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
        """Note a stream's health; what was missed has been fetched when it is well again."""
        self.health[stream] = ok
        self._writer.add_health(HealthReading(stream, ok, event_ms, message, self._clock.wall_ms()))

    def _traded(self) -> list[Pair]:
        """Pairs that are followed and still traded: of the others there is nothing to ask for."""
        return [pair for pair in self._pairs if pair not in self.outlook.delisted]

    async def _look_around(self) -> None:
        """See what the exchange lists, when that is due; a pair that is traded no more is waited for by nobody."""
        well = all(self.health.values()) and not self.outlook.drift.alarm
        if not self.outlook.due(well=well):
            return
        changed = await self.outlook.look()
        self._view.settled, self._view.deliveries = self.outlook.settled, self.outlook.deliveries
        if changed:
            self._view.delisted = dict(self.outlook.delisted)
            if self.streams is not None:
                self.streams.withdraw(self.outlook.delisted)

    def _act(self, pair: Pair, ts: int) -> None:
        """Hand on a closed forecast bar, and those behind it that had arrived ahead, each once."""
        newest = self._gate.newest(pair, FORECAST_INTERVAL)
        for at in range(ts, (ts if newest is None else newest) + 1, FORECAST_INTERVAL.ms):
            values = self._gate.values(pair, FORECAST_INTERVAL, at)
            if values is not None:
                self._view.on_bar(pair, at, values[3], values[4])

    def _take_bars(self, pair: Pair, interval: Interval, bars: Bars) -> int:
        """Keep bars that REST confirms; returns how many were new or corrected."""
        if not len(bars):
            return 0
        self._writer.add_bars(pair, interval, bars, self._clock.wall_ms())
        columns = (bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume)
        new = 0
        for ts, *values in zip(*(column.tolist() for column in columns), strict=True):
            new += self._gate.confirmed(pair, interval, ts, tuple(values))
            if interval is FORECAST_INTERVAL:
                self._view.on_bar(pair, ts, values[3], values[4])
        return new

    def _say_health(self) -> None:
        """Report every stream's health to the live state, with the moment of the report."""
        wall = self._clock.wall_ms()
        if self.streams is None or wall < self._health_due:
            return
        self._health_due = wall + HEALTH_EVERY_MS
        quarantine = self.streams.quarantine
        own = [self._view.account_stream()] if self._view.account_stream is not None else []
        told = {
            "wall_ms": wall,
            "streams": [one.to_json() for one in (*self.streams.health(), *own)],
            "malformed": quarantine.total,
            "malformed_by_stream": dict(quarantine.counts),
            **self.outlook.to_json(),
        }
        self._writer.set_meta(STREAM_HEALTH, told)

    def _capture_books(self) -> None:
        """Append the top of every book in sequence to the spool, now and then."""
        if self.streams is None:
            return
        now = self._clock.market_ms()
        for pair, book in self.streams.books_kept():
            if now >= self._book_due.get(pair, 0) and book.synced:
                self._book_due[pair] = now + BOOK_EVERY_MS
                self._spool.add_book(pair, book.event_ms, *book.top(BOOK_LEVELS))

    def _behind(self, now_ms: int) -> bool:
        """Whether a closed forecast bar has not come although its successor is a minute old."""
        expected = FORECAST_INTERVAL.last_closed(now_ms - max(PUBLICATION_DELAY_MS.values()))
        return any((self._gate.newest(pair, FORECAST_INTERVAL) or -1) < expected for pair in self._traded())

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
