"""From the trader's captures to lake tables: what only a stream tells, taken up month by month.

How a capture lies on disk is :mod:`spool`'s. A day's file is deleted once the lake holds every row of it and the day is over;
captures of what REST tells again (candles) are deleted after a week.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl
from loguru import logger

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, month_span, parse_time, utc
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CANDLE_TABLES, schema_of
from hydra_core.lake.collect import Collected
from hydra_core.lake.files import locked
from hydra_core.lake.rows import merge
from hydra_core.lake.spool import read_spool
from hydra_core.lake.store import Lake

SOURCE: Final = "captured stream"
KEPT_MS: Final = 6 * HOUR_MS
"""How long after its end a day's capture stays: a late event may still be appended to it."""
CANDLES_KEPT_MS: Final = 7 * DAY_MS


def compact(
    lake: Lake,
    spool: Path,
    table: str,
    pair: Pair,
    months: Iterable[str],
    as_of_ms: int,
    clip: tuple[int, int] | None = None,
) -> Iterator[Collected]:
    """Take captures of a table up into the lake; what the lake has already stays. Several processes may do it at once.

    A damaged month is set aside and begun anew from the captures that are left: nothing could bring the rest back.

    Parameters
    ----------
    lake : Lake
    spool : Path, the home's folder of captures
    table : str, a streamed table
    pair, months : which captures
    as_of_ms : int, market time, epoch ms: nothing later is taken
    clip : (start, end) in epoch ms, optional

    Yields
    ------
    Collected : one a month
    """
    for month in months:
        first, after = month_span(month)
        start, end = (max(first, clip[0]), min(after, clip[1], as_of_ms)) if clip else (first, min(after, as_of_ms))
        with locked(spool / f".{table}-{pair}.lock"):  # between reading the month and writing it, nobody else may
            one = _take_up(lake, spool, table, pair, month, start, end, closed=as_of_ms >= after)
        yield one


def _take_up(
    lake: Lake, spool: Path, table: str, pair: Pair, month: str, start: int, end: int, *, closed: bool
) -> Collected:
    """One month, cut at [start, end)."""
    here = Collected(table, pair, month, closed=closed)
    entry = lake.entry(table, pair, month)
    if entry is not None and not lake.healthy(table, pair, month):
        aside = lake.quarantine(table, pair, month)
        words = f"{table}: a damaged file was set aside as {aside}; only what is still in the spool comes back"
        here, entry = replace(here, warnings=(words,)), None
    found = read_captures(spool, table, pair, start, end)
    frame = merge(table, lake.read(table, pair, *month_span(month)), found)
    if not frame.height:
        return replace(here, absent="nothing was captured in it", closed=False)
    if entry is None or frame.height != entry.rows or entry.closed != closed:
        written = lake.write(table, pair, month, frame, closed=closed, source=SOURCE)
        here = replace(
            here,
            content_hash=written.content_hash,
            path=str(written.path),
            changed=written.changed,
        )
    else:
        here = replace(here, content_hash=entry.content_hash, path=str(lake.path(table, entry)))
    _forget(spool, table, pair, frame, end)
    return replace(here, rows=frame.height, fetched=bool(found.height))


def read_captures(spool: Path, table: str, pair: Pair, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Captured rows of a pair with start <= ts < end, in the lake's columns and types, sorted, without repeats."""
    return read_spool(spool, pair, start_ms, end_ms, table).cast(dict(schema_of(table)))  # type: ignore[arg-type]


def forget_candles(spool: Path, pair: Pair, as_of_ms: int) -> int:
    """Delete captured candles that are a week old; returns how many files."""
    old = [
        path
        for table in CANDLE_TABLES
        for path in _files(spool, table, pair)
        if _over(path, as_of_ms - CANDLES_KEPT_MS)
    ]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _files(spool: Path, table: str, pair: Pair) -> list[Path]:
    return sorted((spool / table / pair).glob("*.jsonl"))


def _over(path: Path, until_ms: int) -> bool:
    """Whether a capture's day, and the time in which late events come, ended before a time."""
    return parse_time(path.stem) + DAY_MS + KEPT_MS <= until_ms


def _forget(spool: Path, table: str, pair: Pair, held: pl.DataFrame, until_ms: int) -> None:
    """Delete captures of days that are over and whose every row the lake holds."""
    for path in _files(spool, table, pair):
        if not _over(path, until_ms):
            continue
        day = parse_time(path.stem)
        rows = read_captures(spool, table, pair, day, day + DAY_MS)
        mine = held.filter((pl.col("ts") >= utc(day)) & (pl.col("ts") < utc(day + DAY_MS))).unique()
        if rows.height and pl.concat([mine, rows]).unique().height == mine.height:
            path.unlink()
            logger.info("{}: {} rows are in the lake, capture deleted", path, rows.height)
