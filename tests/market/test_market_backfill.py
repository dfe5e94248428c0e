"""``hydra backfill`` end to end against the real venue: REST tables, captured ones, and what a person is told."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served_venue import LocalVenue
from typer.testing import CliRunner, Result

from hydra_core.cli.main import app
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, Interval, month_span
from hydra_core.domain.market import FUNDING, LIQUIDATIONS, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import (
    BOOK,
    EXCHANGE_TABLES,
    REFERENCE_TABLES,
    STREAM_TABLES,
    TABLES,
    TRADES,
    candle_table,
)
from hydra_core.home import Home, home_named
from hydra_core.lake import catalog
from hydra_core.lake.backfill import tables_named
from hydra_core.lake.compact import compact
from hydra_core.lake.spool import Spool
from hydra_core.lake.store import Lake
from hydra_core.platform.markets import MarketDescription, describe_home

BTC = Pair("BTCUSDT")
JULY = month_span("2024-07")[0]


@pytest.fixture
def home(venue: LocalVenue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of the served market in which a trader has heard a few events, and died in the middle of a line."""
    home = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(home, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=venue.now_ms))
    hear(home.spool)
    [path] = (home.spool / TRADES / BTC).glob("*.jsonl")
    with path.open("a") as file:
        file.write('{"ts": 17')
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("HYDRA_VENUE_URL", venue.url)
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    return home


def hear(spool: Path, day: int = 0, count: int = 5) -> None:
    with Spool(spool) as file:
        for place in range(count):
            ts = JULY + day * DAY_MS + place * 10_000
            file.add(Liquidation(BTC, ts, place % 2 == 0, 0.5 + place, 60_000.0))
            file.add_trade(BTC, 100 + place, ts, 60_000.5, 0.25, place % 2 == 0)
            file.add_book(BTC, ts, [(60_000.0, 1.0), (59_999.0, 2.0)], [(60_001.0, 3.0)])


def hydra(*words: str) -> Result:
    result = CliRunner().invoke(app, [*words, "--market", "synthetic-7-0.3"])
    assert result.exit_code == 0, result.output
    return result


def backfill(*more: str) -> list[dict[str, object]]:
    """The command's partitions, as its last line tells them."""
    words = ("backfill", "--pairs", "BTC", "--from", "2024-07-01", "--to", "2024-08-01", "--json", *more)
    partitions: list[dict[str, object]] = json.loads(hydra(*words).stdout.splitlines()[-1])["partitions"]
    return partitions


def test_by_default_it_brings_whatever_there_is(home: Home, venue: LocalVenue) -> None:
    """Every table of REST and what the trader heard; the catalogue shows it, and a second run changes nothing."""
    first = backfill()
    assert {str(one["table"]) for one in first} == set(TABLES)
    assert all(one["changed"] and not one["absent"] and not one["unresolved"] for one in first)
    lake = Lake(home.lake, "binanceusdm")
    assert lake.tables() == tuple(TABLES)
    for table in REFERENCE_TABLES:
        assert lake.read(table, BTC).height == (Interval.M5.floor(venue.now_ms) - JULY) // Interval.M5.ms
    assert {table: lake.read(table, BTC).height for table in STREAM_TABLES} == dict.fromkeys(STREAM_TABLES, 5)
    assert "every file is as recorded" in hydra("lake", "verify").stdout
    hydra("lake", "catalog")
    with catalog.connect(lake, home.catalog) as base:
        heard = base.sql(f"SELECT side, trade_id FROM {TRADES} ORDER BY ts").fetchall()
        assert heard == [("sell" if place % 2 == 0 else "buy", 100 + place) for place in range(5)]
        [(levels,)] = base.sql(f"SELECT count(*) FROM {BOOK} WHERE bid_2 = 59999 AND isnan(ask_2)").fetchall()
        assert levels == 5
    hear(home.spool)  # the same events again, as after a restart
    again = backfill()
    assert not any(one["changed"] for one in again)
    assert [one["hash"] for one in again] == [one["hash"] for one in first]


def test_a_person_is_told_how_far_it_is_and_what_is_absent(home: Home) -> None:
    words = (
        "backfill",
        "--pairs",
        "BTC,ETH",
        "--from",
        "2024-07-01",
        "--to",
        "2024-08-01",
        "--tables",
        "funding,captured",
    )
    result = hydra(*words)
    assert "8 partitions" in result.output
    assert f"8/8 {TRADES} ETHUSDT 2024-07" in result.output, "lines where no bar can move"
    assert f"absent {LIQUIDATIONS}: nothing was captured in it" in result.output


@pytest.mark.parametrize(
    ("words", "tables"),
    [
        ("all", tuple(TABLES)),
        ("usual", EXCHANGE_TABLES),
        ("reference, funding", (*REFERENCE_TABLES, FUNDING)),
        ("candles_1h,candles_5m,candles_1h", (candle_table(Interval.M5), candle_table(Interval.H1))),
    ],
)
def test_tables_by_name_or_in_sets(words: str, tables: tuple[str, ...]) -> None:
    assert tables_named(words) == tables


@pytest.mark.parametrize(
    ("words", "says"), [("candles_2m", "Known: candles_1m"), ("onchain", "docs/external.md"), (" ,", "names no table")]
)
def test_tables_that_cannot_be_asked_for(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        tables_named(words)


def test_who_takes_up_the_same_captures_at_once_loses_none(tmp_path: Path) -> None:
    """Dagster's asset and the command at once: each deletes captures only once the lake holds every row of them."""
    for day in range(6):
        hear(tmp_path / "spool", day, count=40)
    go = threading.Barrier(4)

    def take_up() -> None:
        lake = Lake(tmp_path / "lake", "binanceusdm")
        go.wait(20)
        for table in STREAM_TABLES:
            list(compact(lake, tmp_path / "spool", table, BTC, ["2024-07"], JULY + 40 * DAY_MS))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(take_up) for _ in range(4)]:
            done.result()
    lake = Lake(tmp_path / "lake", "binanceusdm")
    assert {table: lake.read(table, BTC).height for table in STREAM_TABLES} == dict.fromkeys(STREAM_TABLES, 240)
    assert not list((tmp_path / "spool").rglob("*.jsonl")), "every day is over and in the lake"
    assert lake.verify() == []


def test_however_captures_are_cut_the_month_has_one_content(tmp_path: Path) -> None:
    """Rows of one stamp that come in two goes, in either order, make the same file."""
    hashes = set()
    for turn, order in enumerate(((0, 1, 2), (2, 0, 1), (1, 2, 0))):
        lake, spool = Lake(tmp_path / f"lake{turn}", "binanceusdm"), tmp_path / f"spool{turn}"
        for place in order:
            with Spool(spool) as file:
                file.add(Liquidation(BTC, JULY + 7, place % 2 == 0, 0.5 + place, 60_000.0))
            [one] = compact(lake, spool, LIQUIDATIONS, BTC, ["2024-07"], JULY + DAY_MS)
        hashes.add(one.content_hash)
    assert len(hashes) == 1
