"""``python -m benchmarks.stream_trader``: the trader's feeds alone in a process, noting when each message is in memory.

The measured side of ``market_streams``; what it heard goes to a file, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from benchmarks.memory import peak_mb
from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import LIQUIDATIONS, Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import TRADES
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import MarketStreams, Trade
from hydra_core.market.venue_clock import follow_clock, keep_following
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.view import MarketView


class Noting(Feeds):
    """The trader's feeds; after each message is in memory its stream and the wall time are noted."""

    def __init__(self, wall: Clock, *args: Any) -> None:
        super().__init__(*args)
        self._wall = wall
        self.arrived: dict[str, list[int]] = defaultdict(list)
        self.numbers: dict[str, list[int]] = defaultdict(list)

    def note(self, stream: str) -> None:
        """A message of a stream can be read now."""
        self.arrived[stream].append(self._wall.wall_ms())

    def on_candle(self, pair: Pair, interval: Interval, *told: Any) -> None:
        super().on_candle(pair, interval, *told)
        self.note(f"{pair.lower()}@kline_{interval}")

    def on_trade(self, trade: Trade) -> None:
        super().on_trade(trade)
        name = f"{trade.pair.lower()}@aggTrade"
        self.numbers[name].append(trade.trade_id)
        if trade.source == "stream":
            self.note(name)

    def on_quote(self, quote: Quote) -> None:
        super().on_quote(quote)
        self.note(f"{quote.pair.lower()}@bookTicker")

    def on_mark(self, mark: MarkReading) -> None:
        super().on_mark(mark)
        self.note(f"{mark.pair.lower()}@markPrice@1s")

    def on_liquidation(self, liquidation: Liquidation) -> None:
        super().on_liquidation(liquidation)
        self.note(f"{liquidation.pair.lower()}@forceOrder")


class NotingStreams(MarketStreams):
    """Streams that also note when a book stands at a new state."""

    noting: Noting

    def _book(self, diff: Any) -> None:
        super()._book(diff)
        self.noting.note(f"{diff.pair.lower()}@depth@100ms")


async def follow(
    url: str, pairs: Sequence[Pair], intervals: Sequence[Interval], topics: Sequence[str], out: Path, follow_venue: bool
) -> None:
    """Follow until the word ``stop`` comes on standard input; ``healthy`` is printed whenever all streams are."""
    wall = SystemClock()
    clock: Clock = await asyncio.to_thread(follow_clock, url) if follow_venue else wall
    with tempfile.TemporaryDirectory() as folder:
        async with ExchangeClient(Endpoint(base_url=url), clock=clock) as client:
            with LiveStateWriter(Path(folder) / "live.db") as writer, Spool(Path(folder) / "spool") as spool:
                feeds = Noting(wall, client, pairs, intervals, MarketView(pairs), writer, spool, clock)
                streams = NotingStreams(
                    Endpoint(base_url=url), pairs, intervals, feeds, clock,
                    topics=topics, client=client, repair=feeds.repair,
                )  # fmt: skip
                feeds.streams, streams.noting = streams, feeds
                work = [streams.run(), feeds.run_flushes(), _tell(streams)]
                if follow_venue:
                    work.append(keep_following(clock, url, 0.2))  # type: ignore[arg-type]
                tasks = [asyncio.ensure_future(one) for one in work]
                stopping = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
                await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
                spool.flush()
                told = {
                    "arrived": feeds.arrived,
                    "numbers": feeds.numbers,
                    "dropped": streams.dropped,
                    "malformed": streams.malformed,
                    "spooled": _lines(Path(folder) / "spool", TRADES, LIQUIDATIONS),
                    "health": [one.to_json() for one in streams.health()],
                    "peak_mb": peak_mb(),
                }
                await asyncio.to_thread(out.write_text, json.dumps(told))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def _lines(spool: Path, *tables: str) -> int:
    """Lines that a spool holds of some tables."""
    return sum(file.read_bytes().count(b"\n") for table in tables for file in (spool / table).rglob("*.jsonl"))


async def _tell(streams: MarketStreams) -> None:
    """Print the wall time whenever the streams have all become healthy, or are it no longer."""
    wall, before = SystemClock(), False
    while True:
        told = streams.health()
        now = all(one.ok for one in told)
        if now != before:
            before = now
            sys.stdout.write(json.dumps({"healthy": now, "wall_ms": wall.wall_ms()}) + "\n")
            sys.stdout.flush()
        await asyncio.sleep(0.01)


def main() -> int:
    """Parse and follow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--intervals", default="1m,5m,15m,1h,4h")
    parser.add_argument("--topics", required=True)
    parser.add_argument(
        "--no-clock", action="store_true", help="the server has no control plane: its time is the wall's"
    )
    asked = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    pairs = [Pair(one) for one in asked.pairs.split(",")]
    intervals = [Interval(one) for one in asked.intervals.split(",")]
    asyncio.run(follow(asked.url, pairs, intervals, asked.topics.split(","), asked.out, not asked.no_clock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
