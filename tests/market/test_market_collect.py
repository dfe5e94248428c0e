"""Collecting from the real local venue into a lake: whole, once, and the same however often."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from exchange_double import MINUTE, ScriptedExchange, candle_row
from served_venue import LocalVenue, Serve

from hydra_core.domain.errors import UsageError, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval, month_span
from hydra_core.domain.market import CANDLES, FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars
from hydra_core.domain.tables import CANDLE_TABLES, EXCHANGE_TABLES
from hydra_core.lake.collect import Collected, collect
from hydra_core.lake.expectations import run_suites
from hydra_core.lake.gaps import Gap, GapKind, GapState
from hydra_core.lake.panel import frame_of, load_panel
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint

BTC, ADA = Pair("BTCUSDT"), Pair("ADAUSDT")
MONTHS = ("2024-06", "2024-07")
JUNE, JULY = (month_span(month)[0] for month in MONTHS)


def files(lake: Lake) -> dict[str, bytes]:
    return {str(path.relative_to(lake.root)): path.read_bytes() for path in sorted(lake.root.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def collected(venue: LocalVenue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[Collected]]:
    lake = Lake(tmp_path_factory.mktemp("lake"), "binanceusdm")
    return lake, collect(venue.endpoint, lake, [BTC, ADA], MONTHS, EXCHANGE_TABLES, venue.now_ms)


def test_every_table_is_whole_and_agrees_with_the_derived_one(
    venue: LocalVenue, collected: tuple[Lake, list[Collected]]
) -> None:
    lake, done = collected
    assert len(done) == 2 * 2 * len(EXCHANGE_TABLES)
    assert all(one.changed and not one.absent and not one.gaps and not one.warnings for one in done)
    assert {one.month: one.closed for one in done} == {"2024-06": True, "2024-07": False}
    for table, interval in CANDLE_TABLES.items():
        whole = (interval.floor(venue.now_ms) - JUNE) // interval.ms
        assert lake.read(table, BTC).height == whole
    for table in EXCHANGE_TABLES:
        reports = run_suites({pair: lake.read(table, pair) for pair in (BTC, ADA)}, table)
        assert not any(report.failures() for report in reports.values()), table
    assert lake.verify() == []


def test_collecting_again_changes_no_byte(venue: LocalVenue, collected: tuple[Lake, list[Collected]]) -> None:
    lake, _ = collected
    before = files(lake)
    told: list[tuple[str, int, int]] = []
    again = collect(
        venue.endpoint,
        lake,
        [BTC, ADA],
        MONTHS,
        EXCHANGE_TABLES,
        venue.now_ms,
        progress=lambda *word: told.append(word),
    )
    assert not any(one.changed or one.fetched for one in again)
    refreshed = collect(venue.endpoint, lake, [BTC], MONTHS, ["candles_5m", FUNDING], venue.now_ms, refresh=True)
    assert all(one.fetched and not one.changed for one in refreshed)
    assert files(lake) == before
    assert [done for _, done, _ in told] == list(range(1, len(again) + 1))


def test_a_month_grows_with_time_and_by_its_head_to_the_same_bytes(venue: LocalVenue, tmp_path: Path) -> None:
    """Three runs, the first from the middle: what comes out is what one run over everything makes."""
    tables = ["candles_1m", "candles_15m", OPEN_INTEREST, LONG_SHORT]
    early, late = JUNE + 10 * DAY_MS + 777, JUNE + 40 * DAY_MS
    pieces, once = Lake(tmp_path / "pieces", "x"), Lake(tmp_path / "once", "x")
    first = collect(venue.endpoint, pieces, [BTC], ["2024-06"], tables, early, clip=(JUNE + 8 * DAY_MS, late))
    assert [one.rows for one in first if one.table == "candles_1m"] == [2 * 1440]
    second = collect(venue.endpoint, pieces, [BTC], ["2024-06"], tables, venue.now_ms, clip=(JUNE + 8 * DAY_MS, late))
    assert all(one.changed and not one.closed for one in second)
    third = collect(venue.endpoint, pieces, [BTC], ["2024-06"], tables, venue.now_ms)
    assert all(one.changed and one.closed for one in third)
    collect(venue.endpoint, once, [BTC], ["2024-06"], tables, venue.now_ms)
    assert files(pieces) == files(once)


def test_nothing_later_than_as_of_is_taken(venue: LocalVenue, tmp_path: Path) -> None:
    """The venue knows more than the run's market time: a backfill as of then must not see it."""
    lake, now = Lake(tmp_path, "x"), JUNE + 3 * DAY_MS + 30_000
    collect(venue.endpoint, lake, [BTC], ["2024-06"], ["candles_1m", OPEN_INTEREST, FUNDING], now)
    assert lake.read("candles_1m", BTC)["ts"].dt.epoch("ms")[-1] == JUNE + 3 * DAY_MS - MINUTE
    assert lake.read(OPEN_INTEREST, BTC)["ts"].dt.epoch("ms")[-1] == JUNE + 3 * DAY_MS - 5 * MINUTE
    assert lake.read(FUNDING, BTC)["ts"].dt.epoch("ms")[-1] == JUNE + 3 * DAY_MS


def test_a_damaged_month_is_set_aside_and_fetched_again(venue: LocalVenue, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "x")
    one = collect(venue.endpoint, lake, [BTC], ["2024-06"], ["candles_1h"], venue.now_ms)[0]
    Path(one.path).write_bytes(b"PAR1 cut off")
    again = collect(venue.endpoint, lake, [BTC], ["2024-06"], ["candles_1h"], venue.now_ms)[0]
    assert again.fetched
    assert again.content_hash == one.content_hash
    assert lake.verify() == []
    assert len(list(tmp_path.rglob("*.corrupt"))) == 1


def test_the_panel_holds_every_input(venue: LocalVenue, collected: tuple[Lake, list[Collected]]) -> None:
    panel = load_panel(collected[0], [BTC, ADA], JUNE + DAY_MS, Interval.M5.floor(venue.now_ms))
    assert panel.inputs == {CANDLES, FUNDING, OPEN_INTEREST, LONG_SHORT}
    for name in ("close", "funding_rate", "open_interest", "long_short"):
        assert np.isfinite(getattr(panel, name)).all(), name
    held = venue.market.candles(ADA, Interval.M5, JUNE + DAY_MS, Interval.M5.floor(venue.now_ms))
    np.testing.assert_allclose(panel.close[:, 1], held.close, rtol=1e-9)


def test_what_has_no_history_is_absent_and_unknown_tables_are_refused(venue: LocalVenue, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "x")
    one = collect(venue.endpoint, lake, [BTC], ["2024-06"], [LIQUIDATIONS], venue.now_ms)[0]
    assert one.absent
    assert lake.tables() == ()
    with pytest.raises(UsageError, match="candles_2m"):
        collect(venue.endpoint, lake, [BTC], ["2024-06"], ["candles_2m"], venue.now_ms)


def test_a_recorded_market_has_no_minutes(serve_market: Serve, tmp_path: Path) -> None:
    from hydra_core.simulation.recorded import RecordedMarket

    folder, rows = tmp_path / "recording", 40 * 288
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, rows)))
    ts = JUNE + np.arange(rows, dtype=np.int64) * Interval.M5.ms
    frame = frame_of(Bars(ts, close, close * 1.001, close * 0.999, close, np.full(rows, 5.0)))
    (folder / "candles/5m").mkdir(parents=True)
    frame.write_parquet(folder / "candles/5m/BTCUSDT.parquet")
    market = RecordedMarket(folder)
    local = serve_market(market, tmp_path / "venue", JUNE + 35 * DAY_MS)
    lake = Lake(tmp_path / "lake", "binanceusdm")
    done = {one.table: one for one in collect(local.endpoint, lake, [BTC], ["2024-06"], EXCHANGE_TABLES, local.now_ms)}
    assert done["candles_1m"].absent
    assert {table for table, one in done.items() if one.rows} == {
        f"candles_{step}" for step in ("5m", "15m", "1h", "4h", "1d")
    }
    assert not any(one.warnings for one in done.values())
    assert lake.tables() == ("candles_5m", "candles_15m", "candles_1h", "candles_4h", "candles_1d")
    assert load_panel(lake, [BTC], JUNE, JUNE + DAY_MS).inputs == {CANDLES}


@pytest.mark.parametrize(
    ("trades", "state", "asked_again"),
    [([], GapState.NO_TRADE, 0), ([{"T": JUNE + 31 * MINUTE}], GapState.UNRESOLVED, 1), (None, GapState.UNRESOLVED, 1)],
    ids=["no trade", "trades", "no word on trades"],
)
async def test_a_hole_that_stays_is_told_apart_by_the_exchanges_trades(
    scripted: ScriptedExchange, tmp_path: Path, trades: list[dict[str, int]] | None, state: GapState, asked_again: int
) -> None:
    """A hole with no trade in it is not asked for again; one with trades is, whenever its month is collected."""
    lake, now = Lake(tmp_path, "x"), JUNE + 2 * HOUR_MS
    scripted.missing = {JUNE + 30 * MINUTE, JUNE + 31 * MINUTE}
    scripted.trades = trades
    endpoint = Endpoint(base_url=scripted.url)
    options = {"clip": (JUNE, JUNE + HOUR_MS)}
    one = (await asyncio.to_thread(collect, endpoint, lake, [BTC], ["2024-06"], ["candles_1m"], now, **options))[0]
    assert one.rows == 58
    hole = Gap(JUNE + 30 * MINUTE, JUNE + 32 * MINUTE, GapKind.INSIDE, state)
    assert one.gaps == (hole,)
    assert bool(one.warnings) == (state is GapState.UNRESOLVED)
    entry = lake.entry("candles_1m", BTC, "2024-06")
    assert entry is not None
    assert entry.gaps == (hole,)
    asked = len(scripted.asked_for("/fapi/v1/klines"))
    options = {"clip": (JUNE, JUNE + HOUR_MS + 30 * MINUTE)}
    await asyncio.to_thread(collect, endpoint, lake, [BTC], ["2024-06"], ["candles_1m"], now, **options)
    assert len(scripted.asked_for("/fapi/v1/klines")) == asked + 1 + asked_again


async def test_a_hole_that_fills_up_later_is_repaired(scripted: ScriptedExchange, tmp_path: Path) -> None:
    lake, now = Lake(tmp_path, "x"), JUNE + 2 * HOUR_MS
    endpoint = Endpoint(base_url=scripted.url)
    scripted.missing = {JUNE + 10 * MINUTE}
    for minutes in (60, 90):
        options = {"clip": (JUNE, JUNE + minutes * MINUTE)}
        one = (await asyncio.to_thread(collect, endpoint, lake, [BTC], ["2024-06"], ["candles_1m"], now, **options))[0]
        scripted.missing = set()
    assert one.rows == 90
    assert [gap.state for gap in one.gaps] == [GapState.REPAIRED]
    assert one.revised == 1


async def test_a_corrected_candle_becomes_a_revision_and_the_old_one_can_be_read(
    scripted: ScriptedExchange, tmp_path: Path
) -> None:
    """The newest closed bars are asked for again; one whose volume changed since is kept both ways."""
    lake, endpoint = Lake(tmp_path, "x"), Endpoint(base_url=scripted.url)

    def run(minutes: int) -> Collected:
        now = JUNE + minutes * MINUTE
        return collect(endpoint, lake, [BTC], ["2024-06"], ["candles_1m"], now)[0]

    first = await asyncio.to_thread(run, 180)
    scripted.corrected = {JUNE + 178 * MINUTE: "77.5"}
    second = await asyncio.to_thread(run, 200)
    assert (first.revised, second.revised, second.rows) == (0, 1, 200)
    entry = lake.entry("candles_1m", BTC, "2024-06")
    assert entry is not None
    assert [(one.number, one.changed, one.late, one.withdrawn, one.as_of_ms) for one in entry.revisions] == [
        (1, 1, 0, 0, JUNE + 200 * MINUTE)
    ]
    before = lake.read_revision("candles_1m", BTC, "2024-06", 1)
    after = lake.read("candles_1m", BTC)
    assert before.height == 180
    assert (before["volume"][178], after["volume"][178]) == (float(candle_row(JUNE + 178 * MINUTE, MINUTE)[5]), 77.5)
    third = await asyncio.to_thread(run, 220)
    assert third.revised == 0
    with pytest.raises(UsageError, match="revision 2"):
        lake.read_revision("candles_1m", BTC, "2024-06", 2)


async def test_a_clock_that_jumped_ahead_closes_no_month(scripted: ScriptedExchange, tmp_path: Path) -> None:
    """A day's error in time at the end of a month: what the exchange has is taken, the rest comes when it is there."""
    lake, endpoint = Lake(tmp_path, "x"), Endpoint(base_url=scripted.url)
    scripted.now_ms = JULY - DAY_MS
    for now in (JULY + HOUR_MS, JULY + 2 * HOUR_MS):
        one = (await asyncio.to_thread(collect, endpoint, lake, [BTC], ["2024-06"], ["candles_5m"], now))[0]
        assert (one.rows, one.closed) == (29 * 288 + 1, False)
        assert [(gap.kind, gap.state) for gap in one.gaps] == [(GapKind.AFTER, GapState.UNRESOLVED)]
    scripted.now_ms = JULY + 3 * HOUR_MS
    one = (await asyncio.to_thread(collect, endpoint, lake, [BTC], ["2024-06"], ["candles_5m"], scripted.now_ms))[0]
    assert (one.rows, one.closed, one.unresolved) == (30 * 288, True, ())


async def test_what_was_done_before_a_breakdown_stays_done(scripted: ScriptedExchange, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "x")
    endpoint = Endpoint(base_url=scripted.url)

    def run() -> list[Collected]:
        return collect(
            endpoint, lake, [BTC], ["2024-06"], ["candles_1m", "candles_5m"], JULY, clip=(JUNE, JUNE + HOUR_MS)
        )

    good = await asyncio.to_thread(
        collect, endpoint, lake, [BTC], ["2024-06"], ["candles_1m"], JULY, clip=(JUNE, JUNE + HOUR_MS)
    )
    scripted.script["/fapi/v1/klines"] = [(503, "", {})] * 50
    with pytest.raises(VenueUnavailable):
        await asyncio.to_thread(run)
    assert lake.read("candles_1m", BTC).height == good[0].rows == 60
    scripted.script["/fapi/v1/klines"] = []
    done = await asyncio.to_thread(run)
    assert [(one.fetched, one.rows) for one in done] == [(False, 60), (True, 12)]
