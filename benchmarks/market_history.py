"""History against its peers: a backfill against plain ccxt, its use of the exchange's limit, and scans of the lake.

The venue is a process of its own. Not here: streams (``market_streams``).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.memory import peak_mb
from benchmarks.rows import AT_MOST, Disagreement, Report, Row, side_by_side
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.intervals import DAY_MS, MINUTE_MS, Interval, month_span, months_between
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.domain.tables import TS
from hydra_core.lake import catalog
from hydra_core.lake.collect import collect_with
from hydra_core.lake.store import Lake
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges import Price, adapter_for
from hydra_core.market.limits import Lane
from hydra_core.market.rest import AT_ONCE, ExchangeClient
from hydra_core.simulation.synthetic import ORIGIN_MS

CANDLES = 100_000
QUICK = 2_000
ALLOWED = 2_400
YEARS = 5
TURNS = 5
PEER_PAGE = 1_000
VENUE = """
import asyncio, sys
from pathlib import Path
from loguru import logger
from hydra_core.simulation.synthetic import SyntheticMarket
from hydra_core.venue import VenueConfig, serve
logger.remove()
days, now, limit, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
config = VenueConfig(SyntheticMarket(7, 0.3, days), "127.0.0.1", 0, folder, held=True, start_ms=now, weight_limit=limit)
asyncio.run(serve(config, stop=asyncio.Event(), ready=lambda host, port: print(port, flush=True)))
"""


@dataclass(frozen=True)
class Span:
    """So many newest 5m candles of a market."""

    candles: int

    @property
    def days(self) -> int:
        """Days that the market has before its now."""
        return self.candles * Interval.M5.ms // DAY_MS + 2

    @property
    def now_ms(self) -> int:
        """Market time at which the venue stands."""
        return ORIGIN_MS + self.days * DAY_MS

    @property
    def start_ms(self) -> int:
        """Open time of the first candle."""
        return self.now_ms - self.candles * Interval.M5.ms

    @property
    def months(self) -> tuple[str, ...]:
        """The months that it touches."""
        return months_between(self.start_ms, self.now_ms)


def backfills(report: Report) -> list[Row]:
    """A backfill against plain ccxt: time and memory."""
    span = Span(QUICK if report.quick else CANDLES)
    report.say(f"a backfill of {len(DEFAULT_PAIRS)} pairs x {span.candles:,} candles, against ccxt.fetch_ohlcv")
    with _folder() as folder, venue(folder / "free", span, 1_000_000) as endpoint:
        return [backfill(endpoint, folder, span), memory(endpoint, folder, span)]


def limited(report: Report) -> list[Row]:
    """A backfill under the exchange's limit."""
    span, minutes = Span(CANDLES), 0 if report.quick else 2
    report.say(f"{minutes} whole minutes of backfill under the exchange's own limit")
    with _folder() as folder, venue(folder / "limited", span, ALLOWED) as endpoint:
        return allowed_weight(endpoint, folder, span, minutes)


def scanned(report: Report) -> list[Row]:
    """The lake's files against one file."""
    years = 1 if report.quick else YEARS
    report.say(f"{years} years x {len(DEFAULT_PAIRS)} pairs x 5m to 1h bars, lake against one file")
    with _folder() as folder:
        return scans(folder, years)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-history-") as name:
        yield Path(name)


@contextmanager
def venue(folder: Path, span: Span, limit: int) -> Iterator[Endpoint]:
    """The local venue in a process of its own, its clock held, with so much request weight a minute."""
    words = [sys.executable, "-c", VENUE, str(span.days), str(span.now_ms), str(limit), str(folder)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    try:
        assert child.stdout is not None
        yield Endpoint(base_url=f"http://127.0.0.1:{int(child.stdout.readline())}")
    finally:
        child.terminate()
        child.wait(20)


def backfill(endpoint: Endpoint, folder: Path, span: Span) -> Row:
    """Candles a second: ours to Parquet on disk, the peer's into lists that are thrown away; both without a limiter."""
    turn = iter(range(100))

    def ours() -> None:
        lake = Lake(folder / f"lake-{next(turn)}", "binanceusdm")
        asyncio.run(_collect(endpoint, lake, span))
        held = sum(entry.rows for months in lake.entries("candles_5m").values() for entry in months.values())
        if held != total or lake.verify():
            raise Disagreement(f"the lake holds {held:,} of {total:,} candles, problems: {lake.verify()}")

    def peer() -> None:
        counted = asyncio.run(_fetch_ohlcv(endpoint, span))
        if counted != total:
            raise Disagreement(f"ccxt brought {counted:,} of {total:,} candles")

    total = span.candles * len(DEFAULT_PAIRS)
    turns = side_by_side(ours, peer, TURNS, swapping=True)
    mine, theirs = turns.middle
    page = adapter_for(endpoint.exchange).candles(Interval.M5, Price.TRADED).limit
    words = (
        f"peer: ccxt.fetch_ohlcv, pages of {PEER_PAGE} (the most that it asks for), {len(DEFAULT_PAIRS)} pairs at once, "
        f"nothing written; ours: pages of {page}, {AT_ONCE} requests at once, on disk and read back to verify; "
        f"figures of the turn with the median ratio of {turns}, who goes first changing"
    )
    return Row(
        "backfill to Parquet",
        total / mine,
        total / theirs,
        1.3,
        "candles/s",
        notes=words,
    )


def memory(endpoint: Endpoint, folder: Path, span: Span) -> Row:
    """Most memory that a process doing nothing else holds at once."""
    words = [sys.executable, "-m", "benchmarks.market_history", endpoint.base_url or "", str(folder / "lake-memory")]
    words.append(str(span.candles))
    held = [
        float(
            subprocess.run(
                [*words, who], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
            ).stdout
        )
        for who in ("ours", "peer")
    ]
    return Row(
        "backfill, peak memory",
        held[0],
        held[1],
        1.5,
        "MB",
        AT_MOST,
        "peer: as above; resident memory of a process of its own, libraries included",
    )


async def _collect(endpoint: Endpoint, lake: Lake, span: Span) -> None:
    now, clip = span.now_ms, (span.start_ms, span.now_ms)
    async with ExchangeClient(endpoint, limiter=False, lane=Lane.BULK) as client:
        await collect_with(client, lake, DEFAULT_PAIRS, span.months, ["candles_5m"], now, clip=clip)


async def _fetch_ohlcv(endpoint: Endpoint, span: Span) -> int:
    """Every candle as a user of ccxt gets it."""
    exchange = open_exchange(endpoint, limiter=False)

    async def one(pair: str) -> int:
        symbol, at, count = f"{pair.removesuffix('USDT')}/USDT:USDT", span.start_ms, 0
        while at < span.now_ms:
            rows = await exchange.fetch_ohlcv(symbol, "5m", at, PEER_PAGE, {"until": span.now_ms - 1})
            if not rows:
                break
            count, at = count + len(rows), rows[-1][0] + Interval.M5.ms
        return count

    try:
        await exchange.load_markets()
        return sum(await asyncio.gather(*(one(pair) for pair in DEFAULT_PAIRS)))
    finally:
        await exchange.close()


def allowed_weight(endpoint: Endpoint, folder: Path, span: Span, minutes: int) -> list[Row]:
    """Weight used in the whole minutes that a backfill under the limit lasts, by the exchange's own count."""
    used, refused = asyncio.run(_under_the_limit(endpoint, folder, span, minutes))
    whole = [weight for _, weight in sorted(used.items())[1:-1]] if minutes else [*used.values()]
    words = f"by X-MBX-USED-WEIGHT-1M of every answer, whole minutes only: {whole}; {refused} refusals (429)"
    return [
        Row("allowed weight used", min(whole), ALLOWED, 0.95, "weight/minute", notes=words),
        Row("allowed weight not exceeded", max(used.values()), ALLOWED, 1.0, "weight/minute", AT_MOST, words),
    ]


async def _under_the_limit(endpoint: Endpoint, folder: Path, span: Span, minutes: int) -> tuple[dict[int, int], int]:
    """Minute -> greatest weight that the exchange told in it; how often it refused."""
    clock, used, refused = SystemClock(), dict[int, int](), 0
    async with ExchangeClient(endpoint, limiter=True, limits=folder / "limits", lane=Lane.BULK) as client:
        hear = client.budget.note

        def note(status: int, headers: Any, body: str = "") -> None:
            nonlocal refused
            told = int({name.lower(): value for name, value in headers.items()}.get("x-mbx-used-weight-1m", 0))
            minute = clock.wall_ms() // MINUTE_MS
            used[minute] = max(used.get(minute, 0), told)
            refused += status == 429
            hear(status, headers, body)

        client.budget.note = note  # type: ignore[method-assign]
        work = asyncio.create_task(
            collect_with(
                client,
                Lake(folder / "limited-lake", "binanceusdm"),
                DEFAULT_PAIRS,
                span.months,
                ["candles_1m"],
                span.now_ms,
            )
        )
        # The minutes after the one that has begun, and a moment of the next: told apart by the exchange's own count.
        end = (
            clock.wall_ms() + 5_000 if not minutes else (clock.wall_ms() // MINUTE_MS + 1 + minutes) * MINUTE_MS + 3_000
        )
        while clock.wall_ms() < end and not work.done():
            await asyncio.sleep(0.2)
        if work.done():
            await work
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    return used, refused


def scans(folder: Path, years: int) -> list[Row]:
    """Rows a second from 5m rows to 1h bars: the lake's files against the same rows in one file."""
    import duckdb

    lake, single = Lake(folder / "years", "binanceusdm"), folder / "single.parquet"
    rows = _write_years(lake, single, years)
    base = folder / "catalog.duckdb"
    catalog.rebuild(lake, base)
    sql = (
        "SELECT pair, ts // 3600000 AS hour, arg_min(open, ts), max(high), min(low), arg_max(close, ts), sum(volume) "
        "FROM (SELECT pair, epoch_ms(ts) AS ts, open, high, low, close, volume FROM {}) GROUP BY ALL"
    )

    def by_duckdb(source: str) -> int:
        with duckdb.connect(str(base), read_only=True) as connection:
            return int(connection.sql(sql.format(source)).to_arrow_table().num_rows)

    def by_polars(frame: pl.LazyFrame) -> int:
        bars = frame.group_by("pair", pl.col("ts").dt.truncate("1h")).agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        return bars.collect().height

    assert by_duckdb("candles_5m") == by_duckdb(f"read_parquet('{single}')") == rows // 12
    assert by_polars(catalog.scan(lake, "candles_5m")) == rows // 12
    found = []
    for name, ours, peer in (
        ("DuckDB", lambda: by_duckdb("candles_5m"), lambda: by_duckdb(f"read_parquet('{single}')")),
        ("polars", lambda: by_polars(catalog.scan(lake, "candles_5m")), lambda: by_polars(pl.scan_parquet(single))),
    ):
        turns = side_by_side(ours, peer, 5)
        files = len(list(lake.root.rglob("*.parquet")))
        words = f"peer: the same {rows:,} rows in one Parquet file, here {files} files; {turns}"
        found.append(Row(f"lake to 1h bars, {name}", rows / turns.ours, rows / turns.peer, 0.5, "rows/s", notes=words))
    return found


def _write_years(lake: Lake, single: Path, years: int) -> int:
    """Years of random candles of every pair, into the lake and into one file; returns the rows."""
    start, end = month_span("2020-01")[0], month_span(f"{2019 + years}-12")[1]
    rng, parts = np.random.default_rng(5), []
    for pair in DEFAULT_PAIRS:
        ts = np.arange(start, end, Interval.M5.ms, dtype=np.int64)
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, ts.size))), 4)
        opens = np.concatenate([[100.0], close[:-1]])
        columns = {
            "ts": pl.Series(ts).cast(TS), "open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close),
            "close": close, "volume": np.round(rng.exponential(100, ts.size), 3),
        }  # fmt: skip
        frame = pl.DataFrame(columns)
        for month in months_between(start, end):
            first, after = month_span(month)
            part = frame[int((first - start) // Interval.M5.ms) : int((after - start) // Interval.M5.ms)]
            lake.write("candles_5m", pair, month, part, closed=True, source="benchmark")
        parts.append(frame.select(pl.lit(str(pair)).alias("pair"), pl.all()))
    whole = pl.concat(parts)
    whole.write_parquet(single, compression="zstd", compression_level=3, statistics=True, row_group_size=65_536)
    return whole.height


def main(url: str, folder: str, candles: str, who: str) -> None:
    """One backfill, ours or the peer's, in this process; tells the most memory that it held, MB."""
    endpoint, span = Endpoint(base_url=url), Span(int(candles))
    lake = Lake(Path(folder), "binanceusdm")
    asyncio.run(_collect(endpoint, lake, span) if who == "ours" else _fetch_ohlcv(endpoint, span))
    sys.stdout.write(f"{peak_mb():.1f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
