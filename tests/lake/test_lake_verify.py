"""``Lake.verify``: every file below the root, whatever venue or source; former contents and pinned files too."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval, month_span
from hydra_core.domain.market import LIQUIDATIONS, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars
from hydra_core.domain.tables import ONCHAIN, candle_table
from hydra_core.lake import catalog
from hydra_core.lake.compact import compact
from hydra_core.lake.external import record_points
from hydra_core.lake.panel import frame_of
from hydra_core.lake.spool import Spool
from hydra_core.lake.store import Lake
from hydra_core.market.external.points import Point

BTC = Pair("BTCUSDT")
TABLE = candle_table(Interval.H1)
JUNE = month_span("2024-06")[0]


def candles(price: float, rows: int = 24) -> pl.DataFrame:
    flat = np.full(rows, price)
    return frame_of(Bars(JUNE + np.arange(rows) * HOUR_MS, flat, flat, flat, flat, flat))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A corrected month of candles, a captured table, and a source of its own venue."""
    lake = Lake(tmp_path / "lake", "binanceusdm")
    for price in (100.0, 101.0):
        lake.write(TABLE, BTC, "2024-06", candles(price), closed=True, source="test")
    with Spool(tmp_path / "spool") as spool:
        spool.add(Liquidation(BTC, JUNE + 5, True, 0.5, 60_000.0))
    list(compact(lake, tmp_path / "spool", LIQUIDATIONS, BTC, ["2024-06"], JUNE + DAY_MS))
    points = [Point(BTC, "addresses/active_count", JUNE, JUNE + DAY_MS, 5.0)]
    record_points(Lake(lake.root, "glassnode"), ONCHAIN, points, JUNE + 2 * DAY_MS, "glassnode")
    return lake


def test_a_whole_lake_has_no_problem_and_its_catalogue_shows_every_source(lake: Lake, tmp_path: Path) -> None:
    assert lake.verify() == []
    assert Lake(tmp_path / "none", "binanceusdm").verify() == []
    views = catalog.rebuild(lake, tmp_path / "catalog.duckdb")
    assert {view.name: view.rows for view in views} == {TABLE: 24, LIQUIDATIONS: 1, ONCHAIN: 1}
    with catalog.connect(lake, tmp_path / "catalog.duckdb") as base:
        assert base.sql(f"SELECT pair, metric, value FROM {ONCHAIN}").fetchall() == [
            (BTC, "addresses/active_count", 5.0)
        ]


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        (f"{ONCHAIN}/venue=glassnode/*/*.parquet", "next look at its source"),
        (f"{LIQUIDATIONS}/*/*/*.parquet", f"--tables {LIQUIDATIONS}.*what the spool still has"),
        (f"{TABLE}/*/*/*.parquet", f"--from 2024-06-01 --to 2024-07-01 --tables {TABLE}.*fetched again"),
        (f"{ONCHAIN}/venue=glassnode/manifest.json", "not a manifest"),
    ],
)
def test_damage_anywhere_is_found_with_what_can_be_done(lake: Lake, pattern: str, remedy: str) -> None:
    """Of the corrected table both contents are broken: the current one and the one before."""
    found = sorted(lake.root.glob(pattern))
    for path in found:
        path.write_bytes(path.read_bytes()[:-20])
    problems = lake.verify()
    assert len(problems) in (1, len(found))
    assert all(re.search(remedy, problem) for problem in problems), problems


def test_a_former_content_that_is_gone_is_found(lake: Lake) -> None:
    entry = lake.entry(TABLE, BTC, "2024-06")
    assert entry is not None
    [former] = entry.revisions
    (lake.root / TABLE / "venue=binanceusdm" / former.file).unlink()
    [problem] = lake.verify()
    assert "is missing" in problem
    assert former.file in problem


def test_a_pinned_file_that_is_gone_names_what_was_made_from_it(lake: Lake) -> None:
    lake.pin(["0123456789abcdef" * 4], by="forecaster 77aa")
    [problem] = lake.verify()
    assert "forecaster 77aa" in problem
    assert "backup" in problem


def test_a_damaged_month_of_captures_is_set_aside_and_begun_anew_from_the_spool(lake: Lake, tmp_path: Path) -> None:
    entry = lake.entry(LIQUIDATIONS, BTC, "2024-06")
    assert entry is not None
    path = lake.path(LIQUIDATIONS, entry)
    path.write_bytes(b"PAR1")
    [one] = compact(lake, tmp_path / "spool", LIQUIDATIONS, BTC, ["2024-06"], JUNE + DAY_MS)
    assert (one.rows, one.content_hash) == (1, entry.content_hash)
    assert "set aside" in one.warnings[0]
    assert list(path.parent.glob("*.corrupt"))
    assert lake.verify() == []


def test_what_killed_writers_left_is_cleared_and_a_living_ones_is_not(lake: Lake) -> None:
    """Half-written files of the list of contracts and of checks bear their writer's number; a table's lie under its lock."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    table = lake.root / TABLE / "venue=binanceusdm" / f"pair={BTC}"
    (lake.root / "quality").mkdir()
    left = [
        lake.root / f".listings-binanceusdm.json.{dead.pid}-0a1b2c3d.tmp",
        lake.root / "quality" / f".binanceusdm-funding.json.{dead.pid}-0a1b2c3d.tmp",
        table / f".2024-06-0123456789ab.parquet.{os.getpid()}-0a1b2c3d.tmp",
    ]
    in_work = lake.root / f".pins.json.{os.getpid()}-0a1b2c3d.tmp"
    for path in (*left, in_work):
        path.write_bytes(b"{")
    assert lake.tidy([TABLE]) == 3
    assert not any(path.exists() for path in left)
    assert in_work.exists()
    assert lake.verify() == []
