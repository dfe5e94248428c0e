"""An exchange of smooth, well-formed rows: stands for ``hydra_core.lake.collect.collect``, writes into the real lake."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from hydra_core.domain.intervals import month_span
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CANDLE_TABLES, PREMIUM, SCHEMAS, cadence_of
from hydra_core.lake.collect import Collected
from hydra_core.lake.store import Lake

Spoil = Callable[[str, pl.DataFrame], pl.DataFrame]


def rows(table: str, start: int, end: int) -> pl.DataFrame:
    """A table's rows on its grid (every 8 h where it has none), the values gentle and positive."""
    grid = cadence_of(table)
    step = grid.ms if grid else 8 * 3_600_000
    stamps = np.arange(-(-start // step) * step, end, step)
    ts = pl.Series("ts", stamps).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    level = 100.0 + np.sin(stamps / 1e8)
    columns = {"ts": ts}
    for name in SCHEMAS[table]:
        if name != "ts":
            level_of = {"rate": 0.0001, "interval_hours": 8.0}
            if table.startswith(PREMIUM):
                level_of = dict.fromkeys(SCHEMAS[table], 0.0)
            if table in CANDLE_TABLES:  # of one price, so that higher intervals are what lower ones make
                level_of = dict.fromkeys(("open", "high", "low", "close"), 100.0) | {"volume": step / 60_000}
            columns[name] = pl.Series(name, np.full(stamps.size, level_of[name]) if name in level_of else level)
    return pl.DataFrame(columns).cast(dict(SCHEMAS[table]))


def collecting(spoil: Spoil = lambda table, frame: frame, calls: list[tuple] | None = None):
    """A stand-in for ``collect`` whose rows can be spoiled, and that notes what it was asked for."""

    def collect(
        endpoint,
        lake: Lake,
        pairs: Sequence[Pair],
        months,
        tables,
        now_ms,
        *,
        progress=None,
        clip=None,
        refresh=False,
        limits=None,
    ) -> list[Collected]:
        found = []
        cells = [(pair, month, table) for month in months for pair in pairs for table in tables]
        for done, (pair, month, table) in enumerate(cells, 1):
            if calls is not None:
                calls.append((pair, month, table, now_ms, clip, refresh))
            start, end = month_span(month)
            start, end = max(start, clip[0] if clip else start), min(end, clip[1] if clip else end, now_ms)
            if table in CANDLE_TABLES:
                end -= CANDLE_TABLES[table].ms - 1
            frame = spoil(table, rows(table, start, end))
            written = lake.write(table, pair, month, frame, closed=now_ms >= month_span(month)[1], source="double")
            found.append(
                Collected(
                    table,
                    pair,
                    month,
                    rows=written.rows,
                    content_hash=written.content_hash,
                    path=str(written.path),
                    fetched=True,
                    changed=written.changed,
                    closed=now_ms >= month_span(month)[1],
                )
            )
            if progress:
                progress(f"{table} {pair} {month}", done, len(cells))
        return found

    return collect


def first_price_negative(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """One impossible price in the 5m candles."""
    if table != "candles_5m":
        return frame
    return frame.with_columns(pl.when(pl.col("ts") == frame["ts"][0]).then(-1.0).otherwise(pl.col("low")).alias("low"))
