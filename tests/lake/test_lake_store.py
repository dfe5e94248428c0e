"""The store: same rows same bytes, whole or not at all, damage is named, what is pinned stays."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.domain.errors import DataCorrupt, HydraError, UsageError
from hydra_core.domain.intervals import Interval, month_span
from hydra_core.domain.market import FUNDING, LIQUIDATIONS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars
from hydra_core.domain.tables import TS, candle_table
from hydra_core.lake import catalog
from hydra_core.lake.derive import compare, resample
from hydra_core.lake.gaps import Gap, GapKind, find_gaps, unverified
from hydra_core.lake.manifest import read_manifest, write_manifest
from hydra_core.lake.panel import frame_of
from hydra_core.lake.rows import hash_rows, merge, parquet_bytes
from hydra_core.lake.store import Lake

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
JUNE = month_span("2024-06")[0]
MINUTES = candle_table(Interval.M1)


def candles(rows: int, start: int = JUNE, step: Interval = Interval.M1, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, rows)))
    opens = np.concatenate([[100.0], close[:-1]])
    ts = start + np.arange(rows, dtype=np.int64) * step.ms
    high, low = np.maximum(opens, close) * 1.001, np.minimum(opens, close) * 0.999
    return frame_of(Bars(ts, opens, high, low, close, rng.integers(1, 1000, rows) / 8))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", "binanceusdm")


def put(lake: Lake, frame: pl.DataFrame, pair: Pair = BTC, **options: bool) -> Path:
    return lake.write(MINUTES, pair, "2024-06", frame, closed=options.get("closed", True), source="test").path


def test_writing_again_changes_nothing(lake: Lake) -> None:
    frame = candles(500)
    first = lake.write(MINUTES, BTC, "2024-06", frame, closed=True, source="test")
    stamp = first.path.stat().st_mtime_ns
    second = lake.write(MINUTES, BTC, "2024-06", frame.clone(), closed=True, source="test")
    assert (first.changed, second.changed) == (True, False)
    assert second.content_hash == first.content_hash
    assert first.path.stat().st_mtime_ns == stamp
    assert lake.read(MINUTES, BTC).equals(frame)
    assert lake.months(MINUTES, BTC) == ("2024-06",)


def test_bytes_do_not_depend_on_how_the_frame_was_made() -> None:
    frame = candles(5000)
    pieces = pl.concat([frame[:17], frame[17:3000], frame[3000:]], rechunk=False)
    assert parquet_bytes(pieces) == parquet_bytes(frame)
    assert hash_rows(pieces) == hash_rows(frame)
    assert hash_rows(frame.with_columns(pl.col("close") + 1e-9)) != hash_rows(frame)


def test_other_rows_replace_the_file_unless_it_is_pinned(lake: Lake) -> None:
    rows = candles(30)
    old, kept = put(lake, rows[:10]), put(lake, rows[:20])
    assert not old.exists()
    lake.pin(lake.hashes([MINUTES], [BTC], JUNE, JUNE + 1), by="forecaster/abc")
    newest = put(lake, rows)
    assert kept.exists()
    assert newest.exists()
    assert lake.read(MINUTES, BTC).height == 30


def test_data_hash_names_content_and_span(lake: Lake, tmp_path: Path) -> None:
    put(lake, candles(10))
    put(lake, candles(10, seed=1), ETH)
    twin = Lake(tmp_path / "twin", "binanceusdm")
    put(twin, candles(10, seed=1), ETH)
    put(twin, candles(10), closed=False)
    span = (JUNE, JUNE + Interval.H1.ms)
    assert lake.data_hash([MINUTES], [BTC, ETH], *span) == twin.data_hash([MINUTES], [ETH, BTC], *span)
    put(twin, candles(11))
    assert lake.data_hash([MINUTES], [BTC, ETH], *span) != twin.data_hash([MINUTES], [BTC, ETH], *span)


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damage_is_named_with_its_remedy_and_set_aside(lake: Lake, damage: str) -> None:
    path = put(lake, candles(500))
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content[:300] if damage == "truncated" else content)
    with pytest.raises(DataCorrupt, match=r"(?s)2024-06-.*hydra backfill --pairs BTCUSDT --from 2024-06-01"):
        lake.read(MINUTES, BTC)
    assert len(lake.verify()) == 1
    lake.quarantine(MINUTES, BTC, "2024-06")
    assert lake.read(MINUTES, BTC).height == 0
    assert lake.verify() == []
    put(lake, candles(500))
    assert lake.read(MINUTES, BTC).height == 500


def test_a_full_disk_leaves_the_old_month_untouched(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, candles(10))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HydraError, match="No space left on device"):
        put(lake, candles(20))
    monkeypatch.undo()
    assert lake.read(MINUTES, BTC).height == 10
    assert not list(lake.root.rglob("*.tmp"))
    assert lake.verify() == []


def test_a_manifest_that_is_not_readable_is_named(lake: Lake) -> None:
    put(lake, candles(10))
    manifest = next(lake.root.rglob("manifest.json"))
    manifest.write_text('{"pairs": {"BTC')
    with pytest.raises(DataCorrupt, match="manifest"):
        lake.read(MINUTES, BTC)


def test_a_manifest_is_written_as_json_and_read_anew_when_it_changed(lake: Lake) -> None:
    """Entries are kept as read and as written: neither a handed-out mapping nor an older content is ever mixed up."""
    put(lake, candles(10))
    manifest = next(lake.root.rglob("manifest.json"))
    handed = read_manifest(manifest.parent)
    handed[BTC].clear()
    put(lake, candles(20))
    put(lake, candles(5, seed=1), ETH)
    corrected = candles(20).with_columns(pl.col("close") * 1.0001)
    lake.write(
        MINUTES, BTC, "2024-06", corrected, closed=True, source='a "b" ü', gaps=[Gap(JUNE, JUNE + 60_000)], as_of_ms=7
    )
    text = manifest.read_text()
    word = json.loads(text)
    assert text == json.dumps(word, indent=1)
    assert [list(word["pairs"]), word["pairs"][BTC]["2024-06"]["gaps"]] == [
        [BTC, ETH],
        [[JUNE, JUNE + 60_000, "inside", "unresolved"]],
    ]
    assert len(word["pairs"][BTC]["2024-06"]["revisions"]) == 2
    word["pairs"][BTC]["2024-06"]["closed"] = False
    del word["pairs"][ETH]["2024-06"]
    manifest.write_text(json.dumps(word, indent=1))
    now = read_manifest(manifest.parent)
    assert (now[BTC]["2024-06"].closed, now[ETH]) == (False, {})
    write_manifest(manifest.parent, now, "")
    assert manifest.read_text() == json.dumps(word, indent=1)
    write_manifest(manifest.parent, {}, "")
    assert (json.loads(manifest.read_text())["pairs"], read_manifest(manifest.parent)) == ({}, {})


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (candles(5).reverse(), "ascending"),
        (pl.concat([candles(5), candles(5)]), "ascending"),
        (candles(5, start=JUNE - 60_000), "leave the month"),
        (candles(5).drop("volume"), "columns"),
        (candles(5).with_columns(pl.col("volume").cast(pl.Float32)), "types"),
        (candles(5).with_columns(pl.lit(None, pl.Float64).alias("volume")), "null"),
    ],
    ids=["reversed", "repeated", "early", "column", "type", "null"],
)
def test_rows_that_break_the_rules_are_not_written(lake: Lake, frame: pl.DataFrame, word: str) -> None:
    with pytest.raises(DataCorrupt, match=word):
        put(lake, frame)
    assert lake.tables() == ()


def test_an_unknown_table_is_a_usage_error(lake: Lake) -> None:
    with pytest.raises(UsageError, match="candles_5m"):
        lake.read("candles_2m", BTC)


def _write_pair(root: Path, number: int) -> None:
    lake = Lake(root, "binanceusdm")
    for turn in range(5):
        put(lake, candles(10 + turn), Pair(f"P{number}USDT"))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    workers = [multiprocessing.get_context("spawn").Process(target=_write_pair, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lake = Lake(tmp_path, "binanceusdm")
    assert [lake.read(MINUTES, pair).height for pair in lake.pairs(MINUTES)] == [14] * 3


def test_reading_spans_months_and_cuts_exactly(lake: Lake) -> None:
    july = month_span("2024-06")[1]
    hourly = candle_table(Interval.H1)
    lake.write(hourly, BTC, "2024-06", candles(24, july - 24 * Interval.H1.ms, Interval.H1), closed=True, source="t")
    lake.write(hourly, BTC, "2024-07", candles(24, july, Interval.H1), closed=True, source="t")
    frame = lake.read(hourly, BTC, july - 2 * Interval.H1.ms, july + 3 * Interval.H1.ms)
    assert frame["ts"].dt.epoch("ms").to_list() == [july + hour * Interval.H1.ms for hour in range(-2, 3)]


def test_forced_orders_may_share_a_stamp(lake: Lake) -> None:
    frame = pl.DataFrame(
        {
            "ts": pl.Series([JUNE, JUNE, JUNE + 5]).cast(TS),
            "side": ["long", "short", "long"],
            "quantity": [1.0, 2.0, 3.0],
            "price": [9.0] * 3,
        }
    )
    lake.write(LIQUIDATIONS, BTC, "2024-06", frame, closed=False, source="stream")
    assert merge(LIQUIDATIONS, lake.read(LIQUIDATIONS, BTC), frame[1:]).equals(frame)


def test_catalogue_shows_current_files_only(lake: Lake, tmp_path: Path) -> None:
    import duckdb

    old = put(lake, candles(10))
    lake.pin([lake.entries(MINUTES)[BTC]["2024-06"].content_hash], by="x")
    put(lake, candles(30))
    put(lake, candles(5, seed=1), ETH)
    funding = pl.DataFrame({"ts": pl.Series([JUNE + 3]).cast(TS), "rate": [1e-4], "interval_hours": [8.0]})
    lake.write(FUNDING, BTC, "2024-06", funding, closed=True, source="t")
    views = catalog.rebuild(lake, tmp_path / "catalog.duckdb")
    assert old.exists()
    assert [(view.name, view.files, view.rows) for view in views] == [(MINUTES, 2, 35), (FUNDING, 1, 1)]
    catalog.rebuild(lake, tmp_path / "catalog.duckdb")
    with duckdb.connect(str(tmp_path / "catalog.duckdb"), read_only=True) as base:
        count = base.execute(f"select pair, count(*) from {MINUTES} group by pair order by pair").fetchall()
        assert count == [("BTCUSDT", 30), ("ETHUSDT", 5)]
        assert base.execute("select count(*) from files").fetchone() == (3,)
        columns = [row[0] for row in base.execute(f"describe {MINUTES}").fetchall()]
        assert columns == ["pair", *candles(1).columns]
    assert not list(tmp_path.glob(".catalog*"))


def test_gaps_of_a_grid() -> None:
    frame = candles(100).filter(~pl.int_range(pl.len()).is_in([0, 1, 40, 41, 42, 99]))
    gaps = find_gaps(frame, Interval.M1, JUNE, JUNE + 100 * 60_000)
    assert [(gap.kind, (gap.start - JUNE) // 60_000, (gap.end - JUNE) // 60_000) for gap in gaps] == [
        (GapKind.BEFORE, 0, 2), (GapKind.INSIDE, 40, 43), (GapKind.AFTER, 99, 100),
    ]  # fmt: skip
    assert find_gaps(candles(1).clear(), Interval.M1, JUNE, JUNE + 60_000)[0].kind is GapKind.ALL
    assert find_gaps(candles(100), Interval.M1, JUNE, JUNE + 100 * 60_000) == []
    assert unverified(gaps, gaps[:1]) == gaps[1:]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 59), max_size=40))
def test_gaps_and_rows_cover_the_grid_exactly_once(missing: set[int]) -> None:
    frame = candles(60).filter(~pl.int_range(pl.len()).is_in(sorted(missing)))
    gaps = find_gaps(frame, Interval.M1, JUNE, JUNE + 60 * 60_000)
    lost = {(at - JUNE) // 60_000 for gap in gaps for at in range(gap.start, gap.end, 60_000)}
    assert lost == missing


def test_higher_intervals_are_made_of_whole_candles_only() -> None:
    minutes = candles(60)
    hours = resample(minutes, Interval.H1)
    assert hours.row(0)[1:] == (
        minutes["open"][0], minutes["high"].max(), minutes["low"].min(), minutes["close"][-1], minutes["volume"].sum(),
    )  # fmt: skip
    quarters = resample(minutes.filter(pl.int_range(pl.len()) != 20), Interval.M15)
    assert quarters["ts"].dt.epoch("ms").to_list() == [JUNE + place * Interval.M15.ms for place in (0, 2, 3)]
    with pytest.raises(UsageError, match="cannot be made"):
        resample(candles(10, step=Interval.H1), Interval.M15)


def test_differences_are_counted() -> None:
    derived = resample(candles(600), Interval.M5)
    assert compare(derived, derived).agree
    altered = derived.with_columns(
        pl.when(pl.int_range(pl.len()) == 7).then(pl.col("high") * 1.01).otherwise(pl.col("high")).alias("high")
    ).filter(pl.int_range(pl.len()) != 3)
    found = compare(derived, altered)
    assert (found.compared, found.differing, found.only_derived, found.only_exchange) == (119, 1, 1, 0)
    assert found.worst == pytest.approx(1 - 1 / 1.01)
    assert found.first_ms == JUNE + 3 * Interval.M5.ms
