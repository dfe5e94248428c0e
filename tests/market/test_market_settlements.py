"""Funding from an exchange to the lake: however it is cut into months and runs, the same intervals, and holes marked."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import polars as pl
import pytest
from exchange_double import ScriptedExchange
from real_history import FOLDER, needs

from hydra_core.domain.intervals import HOUR_MS, month_span
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.settlements import interval_hours
from hydra_core.lake.collect import Collected, collect
from hydra_core.lake.gaps import GapState
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint

BTC = Pair("BTCUSDT")
MONTHS = ("2023-03", "2023-04", "2023-05", "2023-06")
FIRST, AFTER = month_span(MONTHS[0])[0], month_span(MONTHS[-1])[1]
REAL = FOLDER / "funding/SOLUSDT.parquet"


def history() -> list[int]:
    """8 h, then 4 h, then 2 h, a hole of 608 h over the turn of a month, 8 h again; stamps some milliseconds late."""
    stamps, at = [], FIRST - 40 * 24 * HOUR_MS
    for hours, count in ((8, 240), (4, 3), (2, 30)):
        for _ in range(count):
            at += hours * HOUR_MS
            stamps.append(at)
    at += 608 * HOUR_MS
    while at <= AFTER + 24 * HOUR_MS:
        stamps.append(at)
        at += 8 * HOUR_MS
    return stamps


def run(scripted: ScriptedExchange, lake: Lake, months: tuple[str, ...], now_ms: int) -> list[Collected]:
    return collect(Endpoint(base_url=scripted.url), lake, [BTC], months, [FUNDING], now_ms)


async def test_intervals_and_the_hole_come_through_however_it_was_collected(
    scripted: ScriptedExchange, tmp_path: Path
) -> None:
    stamps = history()
    scripted.settlements = [(ts + place * 7 % 40, place * 1e-6) for place, ts in enumerate(stamps)]
    once, pieces = Lake(tmp_path / "once", "x"), Lake(tmp_path / "pieces", "x")
    now = AFTER + 9 * HOUR_MS
    done = await asyncio.to_thread(run, scripted, once, MONTHS, now)
    for month in reversed(MONTHS):
        early = month_span(month)[0] + 11 * 24 * HOUR_MS
        await asyncio.to_thread(run, scripted, pieces, (month,), early)
        await asyncio.to_thread(run, scripted, pieces, (month,), now)
    expected = pl.DataFrame({"ts": stamps, "hours": interval_hours(pl.Series(stamps).to_numpy())})
    expected = expected.filter(pl.col("ts").is_between(FIRST, AFTER - 1))
    for lake in (once, pieces):
        held = lake.read(FUNDING, BTC)
        assert held["ts"].dt.epoch("ms").to_list() == expected["ts"].to_list()
        assert held["interval_hours"].to_list() == expected["hours"].to_list()
    assert {one.content_hash for one in done if one.rows} == set(once.hashes([FUNDING], [BTC], FIRST, AFTER))
    assert once.hashes([FUNDING], [BTC], FIRST, AFTER) == pieces.hashes([FUNDING], [BTC], FIRST, AFTER)
    hole = [gap for one in done for gap in one.gaps]
    assert {gap.state for gap in hole} == {GapState.UNRESOLVED}
    last = next(ts for ts, after in itertools.pairwise(stamps) if after - ts > 600 * HOUR_MS)
    assert (min(gap.start for gap in hole), max(gap.end for gap in hole)) == (last + 2 * HOUR_MS, last + 608 * HOUR_MS)
    assert sum(gap.end - gap.start for gap in hole) == 606 * HOUR_MS


@needs(REAL)
async def test_the_real_history_comes_through_the_client_and_the_lake(
    scripted: ScriptedExchange, tmp_path: Path
) -> None:
    recorded = pl.read_parquet(REAL)
    stamps = recorded["ts"].dt.epoch("ms").to_list()
    scripted.settlements = list(zip(stamps, recorded["rate"].to_list(), strict=True))
    lake, months = Lake(tmp_path, "x"), ("2022-11", "2023-04", "2023-05")
    done = await asyncio.to_thread(run, scripted, lake, months, month_span("2023-06")[1])
    held = lake.read(FUNDING, BTC, month_span("2022-11")[0], month_span("2022-11")[1])
    assert {2.0, 4.0, 8.0} == set(held["interval_hours"].to_list())
    assert held["rate"].min() == pytest.approx(-0.02, abs=5e-3)
    gaps = [gap for one in done for gap in one.gaps]
    assert [gap.state for gap in gaps] == [GapState.UNRESOLVED] * 2
    assert gaps[-1].end - gaps[0].start == 600 * HOUR_MS  # the step of 608 h less the interval that was in force
