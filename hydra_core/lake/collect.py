"""Collecting an exchange's history into the lake: month by month, resumable, the same bytes however often it runs.

What is there already is not asked for again, but for the newest bars, which may have been corrected since; holes go through
:mod:`repair`; the exchange's higher intervals are held against those derived from the finest. Dagster's assets, ``hydra
backfill`` and the demo all call :func:`collect`. Killed at any moment, it goes on from the last whole month when run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl
from loguru import logger

from hydra_core.domain.errors import Unsupported
from hydra_core.domain.intervals import HOUR_MS, MINUTE_MS, iso, month_of, month_span, utc
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.settlements import LONGEST_MS
from hydra_core.domain.tables import CANDLE_TABLES, SCHEMAS, cadence_of, empty_frame, schema_of
from hydra_core.lake.believe import Sifted
from hydra_core.lake.derive import compare, resample
from hydra_core.lake.gaps import Gap, GapKind, GapState
from hydra_core.lake.listings import Listings, Standing
from hydra_core.lake.manifest import Entry
from hydra_core.lake.quality import record_aside
from hydra_core.lake.repair import repair, repair_settlements
from hydra_core.lake.rows import merge
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.limits import Lane
from hydra_core.market.listings import Listing
from hydra_core.market.rest import ExchangeClient, together

Progress = Callable[[str, int, int], None]
"""Called with what was just done, how many tables of months are done, and how many there are."""

SETTLE_MS: Final = 10 * MINUTE_MS
"""A month is closed, and a hole recorded, only this long after: late rows have arrived by then."""
OVERLAP_MS: Final = 2 * HOUR_MS
RECHECKED_BARS: Final = 3
"""Of a month that grew, at least so much time and so many closed bars are asked for again: some are corrected later."""
MONTHS_AT_ONCE: Final = 8
"""Months of a pair in work at the same time; requests are bounded by the client."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was done for one table, pair and month.

    Parameters
    ----------
    rows : int, rows the month holds now
    content_hash : str, names its content; empty where there is none
    path : str, its file; empty where there is none
    fetched : bool, False where a closed month was there already
    changed : bool, whether its rows differ from before
    closed : bool, whether the month was collected to its end and will not be asked for again
    gaps : what was missing, repaired or not
    revised : int, rows known before that this collection changed, inserted or withdrew
    warnings : differences between the exchange's own intervals and the derived ones, holes inside the month
    absent : str, why there is no such table or month; empty where there is
    aside : rows of the exchange that cannot be read or cannot be true, and are not in the lake, each with what is wrong
    """

    table: str
    pair: Pair
    month: str
    rows: int = 0
    content_hash: str = ""
    path: str = ""
    fetched: bool = False
    changed: bool = False
    closed: bool = False
    gaps: tuple[Gap, ...] = ()
    warnings: tuple[str, ...] = ()
    absent: str = ""
    revised: int = 0
    aside: tuple[str, ...] = ()

    @property
    def unresolved(self) -> tuple[Gap, ...]:
        """Holes that nothing is known of: what a person should see."""
        return tuple(gap for gap in self.gaps if gap.state is GapState.UNRESOLVED)

    @property
    def label(self) -> str:
        """For progress lines."""
        return f"{self.table} {self.pair} {self.month}"


def collect(
    endpoint: Endpoint,
    lake: Lake,
    pairs: Sequence[Pair],
    months: Sequence[str],
    tables: Iterable[str],
    now_ms: int,
    *,
    progress: Progress | None = None,
    clip: tuple[int, int] | None = None,
    refresh: bool = False,
    credentials: Credentials | None = None,
    limiter: bool | None = None,
    limits: Path | None = None,
) -> list[Collected]:
    """Fetch months of tables for pairs into the lake; blocks until done. Not to be called inside an event loop.

    Parameters
    ----------
    endpoint : Endpoint
    lake : Lake
    pairs : sequence of Pair
    months : sequence of str, ``YYYY-MM``
    tables : lake tables; liquidations have no history and come back absent
    now_ms : int, market time, epoch ms: nothing that closes or is published later is taken
    progress : callable, optional
    clip : (start, end) in epoch ms, optional: nothing outside is asked for; a month that it cuts is not closed
    refresh : bool, whether closed months are asked for again
    credentials : Credentials, optional
    limiter : bool, optional, whether request weight is counted and held back; by default only on the real exchange
    limits : Path, optional, the home's folder of request budgets, shared with its other processes

    Returns
    -------
    list of Collected, by month, pair, table

    Raises
    ------
    VenueError : the exchange gives no usable word, or refuses; months that are done stay done
    HydraError : the disk does not take a file
    """

    async def run() -> list[Collected]:
        async with ExchangeClient(
            endpoint, credentials=credentials, limiter=limiter, limits=limits, lane=Lane.BULK
        ) as client:
            return await collect_with(
                client, lake, pairs, months, tables, now_ms, progress=progress, clip=clip, refresh=refresh
            )

    return asyncio.run(run())


async def collect_with(
    client: ExchangeClient,
    lake: Lake,
    pairs: Sequence[Pair],
    months: Sequence[str],
    tables: Iterable[str],
    now_ms: int,
    *,
    progress: Progress | None = None,
    clip: tuple[int, int] | None = None,
    refresh: bool = False,
) -> list[Collected]:
    """As :func:`collect`, over an open client."""
    wanted = _in_order(tables)
    names = sorted({month_of(month_span(month)[0]) for month in months})
    total = len(names) * len(pairs) * len(wanted)
    slots = asyncio.Semaphore(MONTHS_AT_ONCE)
    done = 0
    await asyncio.to_thread(lake.tidy, wanted)
    standing = await asyncio.to_thread(Listings(lake).update, await _listed(client), now_ms)

    def tell(one: Collected) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(one.label, done, total)

    async def work(pair: Pair, month: str) -> list[Collected]:
        async with slots:
            return await collect_month(
                client,
                lake,
                pair,
                month,
                wanted,
                now_ms,
                tell=tell,
                clip=clip,
                refresh=refresh,
                standing=standing.get(pair),
            )

    parts = await together(work(pair, month) for month in names for pair in pairs)
    results = [one for part in parts for one in part]
    aside: dict[str, dict[Pair, tuple[str, ...]]] = {}
    for one in (one for one in results if one.fetched):
        found = aside.setdefault(one.table, {})
        found[one.pair] = (*found.get(one.pair, ()), *one.aside)
    await asyncio.to_thread(record_aside, lake, aside)
    return results


async def _listed(client: ExchangeClient) -> dict[Pair, Listing]:
    """What the exchange lists; nothing where its list is not read, which is no word on any contract."""
    try:
        return await client.listings()
    except Unsupported:
        return {}


async def collect_month(
    client: ExchangeClient,
    lake: Lake,
    pair: Pair,
    month: str,
    tables: Iterable[str],
    now_ms: int,
    *,
    tell: Callable[[Collected], None] | None = None,
    clip: tuple[int, int] | None = None,
    refresh: bool = False,
    standing: Standing | None = None,
) -> list[Collected]:
    """Every table of one pair and month, then the exchange's higher intervals against the derived ones."""
    results: list[Collected] = []
    frames: dict[str, pl.DataFrame] = {}
    for table in _in_order(tables):
        one, frame = await _collect_table(client, lake, table, pair, month, now_ms, clip, refresh, standing)
        results.append(one)
        if frame is not None:
            frames[table] = frame
        if tell is not None:
            tell(one)
    warnings = await asyncio.to_thread(_disagreements, frames)
    for line in warnings.values():
        logger.warning("{} {}: {}", pair, month, line)
    return [
        replace(one, warnings=(*one.warnings, warnings[one.table])) if one.table in warnings else one for one in results
    ]


async def _collect_table(
    client: ExchangeClient,
    lake: Lake,
    table: str,
    pair: Pair,
    month: str,
    now_ms: int,
    clip: tuple[int, int] | None,
    refresh: bool,
    standing: Standing | None,
) -> tuple[Collected, pl.DataFrame | None]:
    """One table: what was done, and its rows where they were asked for."""
    here = Collected(table, pair, month)
    if not client.has(table):
        return replace(here, absent=f"{client.endpoint.exchange} has no {table}"), None
    entry = await asyncio.to_thread(_sound_entry, lake, table, pair, month)
    if entry is not None and entry.closed and not refresh:
        return _as_it_stands(here, lake, entry), None
    if standing is not None and standing.vanished_ms:
        gone = f"{client.endpoint.exchange} lists {pair} no more since {iso(standing.vanished_ms)}"
        return (_as_it_stands(here, lake, entry) if entry is not None else replace(here, absent=gone)), None
    source, span = Sifted(client), _span(month, now_ms, clip)
    if span[0] >= span[1]:
        return replace(here, absent="nothing of it lies before now"), None
    try:
        old, parts, whole = await asyncio.to_thread(_plan, lake, table, pair, entry, span, refresh, now_ms)
        if not parts and entry is not None:
            return _as_it_stands(here, lake, entry), None
        frame = old
        listed_ms = standing.listed_ms if standing is not None else 0
        if table == FUNDING:
            frame, gaps = await repair_settlements(source, pair, whole, now_ms, listed_ms)
        else:
            for start, end in parts:
                frame = merge(table, frame, await source.table(table, pair, start, end, now_ms))
            known = entry.gaps if entry is not None and not refresh else ()
            frame, gaps = await repair(source, table, pair, frame, whole, now_ms, known, listed_ms)
    except Unsupported as missing:
        return replace(here, absent=missing.what), None
    here = replace(here, fetched=True, aside=source.aside)
    warnings = (
        [f"{table}: {len(here.aside)} rows of the exchange set aside, first {here.aside[0]}"] if here.aside else []
    )
    for line in here.aside:
        logger.warning("{} of the exchange set aside: {}", here.label, line)
    if not frame.height:
        return replace(here, absent="the exchange has no row of it", warnings=tuple(warnings)), None
    written = await asyncio.to_thread(
        lake.write,
        table,
        pair,
        month,
        frame,
        closed=_ends(table, month, now_ms) and whole == month_span(month) and not _cut_short(gaps),
        source=f"{client.endpoint.exchange} REST{' of a local venue' if client.endpoint.local else ''}",
        span=whole,
        gaps=[gap for gap in gaps if gap.end <= now_ms - SETTLE_MS],
        as_of_ms=now_ms,
    )
    now = written.entry
    holes = [gap for gap in gaps if gap.state is GapState.UNRESOLVED and gap.kind is GapKind.INSIDE]
    if holes:
        warnings.append(f"{table}: the exchange lacks {len(holes)} spans, first {holes[0]}")
    newer = now.revisions[-1:] if entry is None or now.revisions != entry.revisions else ()
    return (
        replace(
            here,
            rows=written.rows,
            content_hash=written.content_hash,
            path=str(written.path),
            changed=written.changed,
            closed=now.closed,
            gaps=tuple(gaps),
            warnings=tuple(warnings),
            revised=sum(one.changed + one.late + one.withdrawn for one in newer),
        ),
        frame,
    )


def _sound_entry(lake: Lake, table: str, pair: Pair, month: str) -> Entry | None:
    """The month's entry if its file is as recorded; a damaged one is set aside."""
    entry = lake.entry(table, pair, month)
    if entry is not None and not lake.healthy(table, pair, month):
        lake.quarantine(table, pair, month)
        return None
    return entry


def _as_it_stands(here: Collected, lake: Lake, entry: Entry) -> Collected:
    """What is said of a month that was there already."""
    return replace(
        here,
        rows=entry.rows,
        content_hash=entry.content_hash,
        path=str(lake.path(here.table, entry)),
        closed=entry.closed,
        gaps=entry.gaps,
    )


def _span(month: str, now_ms: int, clip: tuple[int, int] | None) -> tuple[int, int]:
    """The part of the month to hold: inside the clip, up to now."""
    first, after = month_span(month)
    start, end = clip or (first, after)
    return max(first, start), min(after, end, now_ms)


def _ends(table: str, month: str, now_ms: int) -> bool:
    """Whether the month has ended and settled; funding, once the settlement after it is known too."""
    return now_ms >= month_span(month)[1] + SETTLE_MS + (LONGEST_MS if table == FUNDING else 0)


def _cut_short(gaps: Sequence[Gap]) -> bool:
    """Whether the end of a span is missing: this clock may be ahead, or the exchange late; the month stays open then."""
    return any(gap.state is GapState.UNRESOLVED and gap.kind in (GapKind.AFTER, GapKind.ALL) for gap in gaps)


def _plan(
    lake: Lake,
    table: str,
    pair: Pair,
    entry: Entry | None,
    span: tuple[int, int],
    refresh: bool,
    now_ms: int,
) -> tuple[pl.DataFrame, list[tuple[int, int]], tuple[int, int]]:
    """Rows that are kept, spans to ask for, and the span that both then cover."""
    start, end = span
    if entry is None:
        return empty_frame(table), [span], span
    apart = start > entry.end_ms or end < entry.start_ms
    whole = (min(start, entry.start_ms), max(end, entry.end_ms))
    old = lake.read(table, pair, entry.start_ms, entry.end_ms)
    if refresh or apart:
        asked = whole if apart else span
        outside = (pl.col("ts") < utc(asked[0])) | (pl.col("ts") >= utc(asked[1]))
        return old.filter(outside), [asked], whole
    parts = [(start, entry.start_ms)] if start < entry.start_ms else []
    closing = _ends(table, month_of(start), now_ms) and whole == month_span(month_of(start))
    holed = any(gap.state is GapState.UNRESOLVED for gap in entry.gaps) and now_ms > entry.end_ms
    if end > entry.end_ms or closing or holed:
        grid = cadence_of(table)
        overlap = max(OVERLAP_MS, RECHECKED_BARS * grid.ms if grid else 0)
        parts.append((max(entry.start_ms, entry.end_ms - overlap), max(end, entry.end_ms)))
    return old, parts, whole


def _disagreements(frames: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """Table -> how the exchange's own candles differ from those derived from the finest interval at hand."""
    candles = [table for table in CANDLE_TABLES if table in frames]
    lines: dict[str, str] = {}
    for table in candles[1:]:
        base, interval = CANDLE_TABLES[candles[0]], CANDLE_TABLES[table]
        found = compare(resample(frames[candles[0]], interval, base), frames[table])
        if not found.agree:
            lines[table] = (
                f"{table} differs from what {base} candles make: {found.differing} of {found.compared} candles, "
                f"worst price {found.worst:.2e}, {found.only_exchange} only on the exchange, "
                f"{found.only_derived} only derived, first {iso(found.first_ms or 0)}"
            )
    return lines


def _in_order(tables: Iterable[str]) -> list[str]:
    """Tables, finest candles first, each once; raises UsageError for an unknown one."""
    wanted = {table for table in tables if schema_of(table)}
    return [table for table in SCHEMAS if table in wanted]
