"""HYDRA's side of a scenario about streams: the trader's own feeds, live state and spool follow two pairs of the venue."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections import Counter, defaultdict
from types import TracebackType
from typing import Any, Self

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Quote
from hydra_core.domain.pairs import Pair
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import ALL_STREAMS, CANDLE_STREAM, MarketStreams, StreamHealth, Trade
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.view import MarketView

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
