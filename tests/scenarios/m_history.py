"""Scenarios of history: candles that do not exist, funding intervals that change, contracts that vanish from the list."""

from __future__ import annotations

import numpy as np

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval, months_between
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.lake.collect import Collected, collect_with
from hydra_core.lake.gaps import GapKind, GapState
from hydra_core.lake.listings import Listings
from hydra_core.lake.panel import load_panel
from hydra_core.lake.store import Lake
from hydra_core.market.rest import ExchangeClient

from .registry import scenario
from .rig import Rig

CANDLES = "candles_5m"
STEP = Interval.M5.ms


async def gather(rig: Rig, lake: Lake, pairs: list[Pair], tables: list[str], days: int = 6) -> list[Collected]:
    """What a collection at the venue's present finds of the last days."""
    now = await rig.now_ms()
    start = Interval.D1.floor(now) - days * DAY_MS
    months = months_between(start, now)
    async with ExchangeClient(rig.endpoint) as client:
        return await collect_with(client, lake, pairs, months, tables, now, clip=(start, now))


@scenario("M38", "missing candles are marked, never filled in, and repaired when they come after all")
async def missing_candles(rig: Rig, seed: int) -> None:
    """Some bars do not exist: they stay absent, NaN in a panel, unresolved because trades were seen in them; then they come."""
    pair, lake = rig.rng.choice(rig.market.pairs), Lake(rig.folder / "lake", "binanceusdm")
    now = await rig.now_ms()
    first = Interval.H1.floor(now) - rig.rng.randint(6, 40) * HOUR_MS
    after = first + rig.rng.randint(1, 20) * STEP
    number = await rig.fault("candle_gap", symbol=pair, from_ms=first, to_ms=after)
    done = await gather(rig, lake, [pair], [CANDLES])
    gaps = [gap for one in done for gap in one.gaps]
    assert [(gap.start, gap.end, gap.state) for gap in gaps] == [(first, after, GapState.UNRESOLVED)], gaps
    panel = load_panel(lake, [pair], first - 6 * STEP, after + 6 * STEP)
    inside = (panel.ts >= first) & (panel.ts < after)
    assert np.isnan(panel.close[inside]).all()
    assert np.isfinite(panel.close[~inside]).all()
    await rig.clear(number)
    await rig.advance(rig.rng.randint(2, 10) * STEP)
    again = await gather(rig, lake, [pair], [CANDLES])
    assert not [gap for one in again for gap in one.unresolved]
    assert sum(one.revised for one in again) == (after - first) // STEP
    assert np.isfinite(load_panel(lake, [pair], first, after).close).all()


@scenario("M38", "nothing before the first listing is taken for a gap")
async def before_the_listing(rig: Rig, seed: int) -> None:
    """A backfill from the first of the month on: the days before the contract's first one are no hole to be repaired."""
    pair, lake, now = rig.rng.choice(rig.market.pairs), Lake(rig.folder / "lake", "binanceusdm"), await rig.now_ms()
    start = rig.market.origin_ms - rig.rng.randint(1, 5) * DAY_MS
    async with ExchangeClient(rig.endpoint) as client:
        done = await collect_with(
            client, lake, [pair], months_between(start, now), [CANDLES, FUNDING], now, clip=(start, now)
        )
    held = [one for one in done if one.rows]
    assert held
    assert not [gap for one in held for gap in one.unresolved]
    for one in held:
        for gap in one.gaps:
            assert (gap.kind, gap.state) == (GapKind.BEFORE, GapState.NO_TRADE), gap
            assert gap.end <= rig.market.origin_ms + 8 * HOUR_MS


@scenario("M39", "a funding interval that changes comes through with the true times and an interval a row")
async def another_interval(rig: Rig, seed: int) -> None:
    """8 h becomes 1, 2 or 4 h days ago, stamps come late by milliseconds: true hours, right intervals, no hole."""
    pair, lake = rig.rng.choice(rig.market.pairs), Lake(rig.folder / "lake", "binanceusdm")
    now, hours = await rig.now_ms(), rig.rng.choice([1, 2, 4])
    changed = Interval.D1.floor(now) - rig.rng.randint(1, 3) * DAY_MS
    await rig.fault("funding_interval", symbol=pair, hours=hours, from_ms=changed, jitter_ms=rig.rng.randint(1, 900))
    done = await gather(rig, lake, [pair], [FUNDING, CANDLES])
    assert not [gap for one in done for gap in one.unresolved]
    frame = lake.read(FUNDING, pair)
    stamps, intervals = frame["ts"].dt.epoch("ms").to_numpy(), frame["interval_hours"].to_numpy()
    assert (stamps % HOUR_MS == 0).all()
    assert set(intervals[stamps <= changed]) == {8.0}
    assert set(intervals[stamps > changed]) == {float(hours)}
    assert (np.diff(stamps) == intervals[1:] * HOUR_MS).all()
    # A settlement at this very moment is not told yet: the last bar that closed before it must know its rate.
    panel = load_panel(lake, [pair], int(stamps[0]), Interval.M5.floor(now) - STEP)
    assert np.isfinite(panel.funding_rate).all()


@scenario("M33", "a contract that vanishes keeps its filters and its history")
async def vanished(rig: Rig, seed: int) -> None:
    """First it settles, then it is gone from the list: what is known of it stays, and the other pairs are collected as ever."""
    gone, other = rig.rng.sample(list(rig.market.pairs), 2)
    lake = Lake(rig.folder / "lake", "binanceusdm")
    await gather(rig, lake, [gone, other], [CANDLES])
    before, rows = Listings(lake).read()[gone], lake.read(CANDLES, gone).height
    await rig.fault("listing", symbol=gone, status="SETTLING", delivery_ms=await rig.now_ms() + DAY_MS)
    await gather(rig, lake, [other], [CANDLES])
    settling = Listings(lake).read()[gone]
    assert (settling.status, settling.vanished_ms, settling.rules) == ("SETTLING", 0, before.rules)
    await rig.fault("listing", symbol=gone, status="CLOSE", vanish=True)
    await rig.advance(HOUR_MS)
    done = await gather(rig, lake, [gone, other], [CANDLES])
    now, known = await rig.now_ms(), Listings(lake).read()
    assert (known[gone].status, known[gone].vanished_ms, known[gone].rules) == ("SETTLING", now, before.rules)
    assert known[other].vanished_ms == 0
    assert lake.read(CANDLES, gone).height == rows
    assert {one.pair for one in done if one.changed} == {other}
    await rig.clear()
    await gather(rig, lake, [gone], [CANDLES])
    assert Listings(lake).read()[gone].vanished_ms == 0
    assert lake.read(CANDLES, gone).height > rows
