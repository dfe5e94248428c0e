"""Gathering what comes from elsewhere into the lake: one look at each source, as far as it is due and allowed.

A source that fails does not stop the others; what went wrong is told with what was done. Which sources there are, and their
keys, is decided at the edges and handed in as :class:`Sources`. Dagster's assets call these functions.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError, Refused
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CROSS_BASIS, CROSS_FUNDING, DERIVATIVES, ONCHAIN
from hydra_core.lake.external import (
    CROSS_VENUE,
    NEWS_VENUE,
    Recorded,
    frame_of,
    record,
    record_news,
    record_points,
    score_news,
)
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges import PerpReading
from hydra_core.market.external import coinglass, glassnode, news
from hydra_core.market.external.http import Fetcher, Provider
from hydra_core.market.external.memory import Memory
from hydra_core.market.external.points import Point
from hydra_core.market.limits import Lane
from hydra_core.market.rest import ExchangeClient

YEAR_HOURS: Final = 365 * 24
USUAL_HOURS: Final = 8
REVISED_STEPS: Final = 3
"""Intervals before the newest known one that are asked for again, for values that were revised."""
REFUSED_MS: Final = DAY_MS
"""A metric that the provider refuses for an asset is not asked for again so soon."""
SCORED_MS: Final = 3 * DAY_MS
NOTHING: Final = Recorded()


@dataclass(frozen=True, slots=True)
class Sources:
    """What may be asked; a provider that is None is absent for the reason in ``absent``.

    Parameters
    ----------
    lake_root : Path or str
    memory : Path of the file of quotas and kept answers
    pairs : pairs of interest
    limits : Path, optional, the home's folder of request budgets
    history_days : int, how far back a first look goes
    local_only : bool, whether only addresses of this machine may be asked
    glassnode, coinglass : Provider or None
    metrics, resolution : of Glassnode
    series, interval : of Coinglass
    feeds : addresses of feeds
    exchanges : name -> Endpoint, the reference among them
    reference : str, name of the exchange that others are compared with
    absent : source -> why it is absent
    """

    lake_root: Path | str
    memory: Path
    pairs: tuple[Pair, ...]
    limits: Path | None = None
    history_days: int = 30
    local_only: bool = False
    glassnode: Provider | None = None
    metrics: tuple[str, ...] = ()
    resolution: str = "24h"
    coinglass: Provider | None = None
    series: tuple[str, ...] = ()
    interval: str = "4h"
    feeds: tuple[str, ...] = ()
    exchanges: Mapping[str, Endpoint] = field(default_factory=dict)
    reference: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a look brought.

    Parameters
    ----------
    recorded : Recorded
    asked : int, questions that were due
    problems : what went wrong, a line each
    broken : int, rows or entries that could not be read, since ever
    absent : str, why there is nothing to gather at all; empty where there is
    """

    recorded: Recorded = NOTHING
    asked: int = 0
    problems: tuple[str, ...] = ()
    broken: int = 0
    absent: str = ""

    @property
    def failed(self) -> bool:
        """Whether nothing that was asked was answered."""
        return self.asked > 0 and len(self.problems) >= self.asked


def gather_onchain(sources: Sources, now_ms: int, clock: Clock | None = None) -> Gathered:
    """One look at Glassnode: each metric of each pair whose next value is out; blocks until done."""
    who = sources.glassnode
    if who is None:
        return Gathered(absent=sources.absent.get(ONCHAIN, "no key"))
    step = glassnode.RESOLUTIONS[sources.resolution]

    async def ask(fetcher: Fetcher, pair: Pair, metric: str, start_ms: int) -> list[Point]:
        return await glassnode.fetch(fetcher, who, pair, metric, start_ms, now_ms, sources.resolution)

    return _points(sources, ONCHAIN, who.name, sources.metrics, step, glassnode.DELAY_MS, now_ms, ask, clock)


def gather_derivatives(sources: Sources, now_ms: int, clock: Clock | None = None) -> Gathered:
    """One look at Coinglass: each series of each pair whose next value is out; blocks until done."""
    who = sources.coinglass
    if who is None:
        return Gathered(absent=sources.absent.get(DERIVATIVES, "no key"))
    step = coinglass.INTERVALS[sources.interval]

    async def ask(fetcher: Fetcher, pair: Pair, series: str, start_ms: int) -> list[Point]:
        return await coinglass.fetch(fetcher, who, pair, series, start_ms, now_ms, sources.interval)

    return _points(sources, DERIVATIVES, who.name, sources.series, step, coinglass.DELAY_MS, now_ms, ask, clock)


Ask = Callable[[Fetcher, Pair, str, int], Coroutine[Any, Any, list[Point]]]


def _points(
    sources: Sources,
    table: str,
    name: str,
    metrics: Sequence[str],
    step: int,
    delay: int,
    now_ms: int,
    ask: Ask,
    clock: Clock | None,
) -> Gathered:
    """Every metric of every pair that is due, one after the other: quotas are small, and so are answers."""
    lake = Lake(sources.lake_root, name)
    first = now_ms - sources.history_days * DAY_MS

    async def run(memory: Memory) -> Gathered:
        asked, problems, total = 0, [], Recorded()
        async with Fetcher(memory, local_only=sources.local_only) as fetcher:
            for pair in sources.pairs:
                held = lake.read(table, pair)
                for metric in metrics:
                    known = held.filter(pl.col("metric").is_in(_names(table, metric, held)))
                    newest = int(known["ts"].dt.epoch("ms").max() or 0) if known.height else 0  # type: ignore[arg-type]
                    if newest and now_ms < newest + 2 * step + delay:
                        continue
                    refused = f"refused {name} {metric} {pair}"
                    if memory.answer(refused) is not None:
                        continue
                    asked += 1
                    try:
                        points = await ask(fetcher, pair, metric, max(first, newest - REVISED_STEPS * step))
                    except Refused as error:
                        memory.keep(refused, b"", REFUSED_MS)
                        problems.append(f"{pair} {metric}: {error.what}")
                    except HydraError as error:
                        problems.append(f"{pair} {metric}: {error.what}")
                    else:
                        total += record_points(lake, table, points, now_ms, name)
        return Gathered(total, asked, tuple(problems), memory.standing(name).broken)

    with Memory(sources.memory, clock) as memory:
        return asyncio.run(run(memory))


def _names(table: str, metric: str, held: pl.DataFrame) -> list[str]:
    """Stored names that one question fills."""
    if table == DERIVATIVES:
        return [ours for ours, _ in coinglass.SERIES[metric].fields.values()] if metric in coinglass.SERIES else []
    return [name for name in held["metric"].unique().to_list() if name == metric or name.startswith(f"{metric}.")]


def gather_news(sources: Sources, now_ms: int, clock: Clock | None = None) -> Gathered:
    """One look at every feed; blocks until done. New headlines are kept as of now, whatever date they carry."""
    if not sources.feeds:
        return Gathered(absent=sources.absent.get("news", "no feeds"))

    async def run(memory: Memory) -> Gathered:
        problems: list[str] = []
        headlines: list[news.Headline] = []
        async with Fetcher(memory, local_only=sources.local_only) as fetcher:
            for url in sources.feeds:
                try:
                    headlines += await news.fetch(fetcher, url, sources.pairs)
                except HydraError as error:
                    problems.append(error.what)
        fresh = record_news(Lake(sources.lake_root, NEWS_VENUE), headlines, now_ms)
        broken = sum(memory.standing(name).broken for name in news.providers(sources.feeds))
        return Gathered(Recorded(added=len(fresh)), len(sources.feeds), tuple(problems), broken)

    with Memory(sources.memory, clock) as memory:
        return asyncio.run(run(memory))


def score_gathered_news(sources: Sources, now_ms: int) -> Gathered:
    """Scores of the headlines of the last days that have none yet; no network."""
    if not sources.feeds:
        return Gathered(absent=sources.absent.get("news", "no feeds"))
    lake = Lake(sources.lake_root, NEWS_VENUE)
    return Gathered(score_news(lake, sources.pairs, now_ms - SCORED_MS, now_ms))


def gather_cross_funding(sources: Sources, now_ms: int) -> Gathered:
    """Settled funding of every exchange compared, per 8 h and per year; blocks until done."""
    if len(sources.exchanges) < 2:
        return Gathered(absent=sources.absent.get(CROSS_FUNDING, "no exchanges to compare with"))
    lake = Lake(sources.lake_root, CROSS_VENUE)

    async def ask(client: ExchangeClient, name: str, pair: Pair) -> pl.DataFrame:
        held = lake.read(CROSS_FUNDING, pair).filter(pl.col("exchange") == name)
        newest = int(held["ts"].dt.epoch("ms").max() or 0) if held.height else 0  # type: ignore[arg-type]
        start = max(now_ms - sources.history_days * DAY_MS, newest - DAY_MS)
        return normalised(await client.history(FUNDING, pair, start, now_ms + 1, now_ms), name, now_ms)

    return _compared(sources, lake, CROSS_FUNDING, ask)


def gather_cross_basis(sources: Sources, now_ms: int) -> Gathered:
    """Mark against index, and against the reference exchange's mark, at this moment; blocks until done."""
    if len(sources.exchanges) < 2:
        return Gathered(absent=sources.absent.get(CROSS_BASIS, "no exchanges to compare with"))
    lake = Lake(sources.lake_root, CROSS_VENUE)

    async def run() -> Gathered:
        problems: list[str] = []
        readings: dict[Pair, dict[str, PerpReading]] = {}
        for name, endpoint in sources.exchanges.items():
            async with ExchangeClient(endpoint, attempts=2, limits=sources.limits, lane=Lane.BULK) as client:
                for pair in sources.pairs:
                    try:
                        readings.setdefault(pair, {})[name] = await client.present(pair)
                    except HydraError as error:
                        problems.append(f"{name} {pair}: {error.what}")
        total = Recorded()
        for pair, by_name in readings.items():
            total += record(lake, CROSS_BASIS, pair, basis_of(by_name, sources.reference, now_ms), CROSS_VENUE)
        return Gathered(total, len(sources.exchanges) * len(sources.pairs), tuple(problems))

    return asyncio.run(run())


def content_of(sources: Sources, table: str) -> list[str]:
    """Content hashes of a table's files, in a fixed order: what its version is named by."""
    venues = {
        ONCHAIN: glassnode.NAME,
        DERIVATIVES: coinglass.NAME,
        CROSS_FUNDING: CROSS_VENUE,
        CROSS_BASIS: CROSS_VENUE,
    }
    entries = Lake(sources.lake_root, venues.get(table, NEWS_VENUE)).entries(table)
    return [
        f"{pair} {month} {its[month].content_hash}" for pair, its in sorted(entries.items()) for month in sorted(its)
    ]


def _compared(
    sources: Sources,
    lake: Lake,
    table: str,
    ask: Callable[[ExchangeClient, str, Pair], Coroutine[Any, Any, pl.DataFrame]],
) -> Gathered:
    """One table over all exchanges and pairs."""

    async def run() -> Gathered:
        problems: list[str] = []
        total = Recorded()
        for name, endpoint in sources.exchanges.items():
            async with ExchangeClient(endpoint, attempts=2, limits=sources.limits, lane=Lane.BULK) as client:
                for pair in sources.pairs:
                    try:
                        rows = await ask(client, name, pair)
                    except HydraError as error:
                        problems.append(f"{name} {pair}: {error.what}")
                    else:
                        total += record(lake, table, pair, rows, CROSS_VENUE)
        return Gathered(total, len(sources.exchanges) * len(sources.pairs), tuple(problems))

    return asyncio.run(run())


def normalised(funding: pl.DataFrame, exchange: str, seen_ms: int) -> pl.DataFrame:
    """Settled rates of one exchange in the columns of ``cross_funding``.

    Parameters
    ----------
    funding : polars.DataFrame with ts, rate (fraction a settlement), interval_hours
    exchange : str, its name in the settings
    seen_ms : int, market time of the look, epoch ms

    Returns
    -------
    polars.DataFrame : the rate scaled to 8 h, and to a year of 365 days without compounding
    """
    stamps = funding["ts"].dt.epoch("ms").to_list()
    hours = funding["interval_hours"].to_list()
    rates = funding["rate"].to_list()
    return frame_of(
        CROSS_FUNDING,
        {
            "ts": stamps,
            "published": stamps,
            "seen": [seen_ms] * len(stamps),
            "exchange": [exchange] * len(stamps),
            "rate": rates,
            "interval_hours": hours,
            "rate_8h": [rate * USUAL_HOURS / hour for rate, hour in zip(rates, hours, strict=True)],
            "rate_year": [rate * YEAR_HOURS / hour for rate, hour in zip(rates, hours, strict=True)],
        },
    )


def basis_of(readings: Mapping[str, PerpReading], reference: str, seen_ms: int) -> pl.DataFrame:
    """Readings of one moment in the columns of ``cross_basis``; what an exchange does not say is NaN.

    Parameters
    ----------
    readings : exchange -> PerpReading
    reference : str, the exchange that marks are compared with
    seen_ms : int, market time of the look, epoch ms
    """
    said = readings.get(reference)
    anchor = said.mark if said is not None and said.mark else math.nan
    names = sorted(readings)
    marks = [_or_nan(readings[name].mark) for name in names]
    indices = [_or_nan(readings[name].index) for name in names]
    return frame_of(
        CROSS_BASIS,
        {
            **{time: [seen_ms] * len(names) for time in ("ts", "published", "seen")},
            "exchange": names,
            "mark": marks,
            "index": indices,
            "basis": [mark / index - 1 for mark, index in zip(marks, indices, strict=True)],
            "against_reference": [mark / anchor - 1 for mark in marks],
        },
    )


def _or_nan(value: float | None) -> float:
    """A price, NaN where there is none or it is none."""
    return value if value is not None and value > 0 else math.nan
