"""The lake on ``s3://``: a real S3 protocol on loopback; two writers at once, damage, and the same bytes as on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hydra_core.domain.errors import DataCorrupt, HydraError, UsageError
from hydra_core.domain.intervals import Interval, month_span
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars
from hydra_core.domain.tables import candle_table
from hydra_core.lake import catalog
from hydra_core.lake.files import ABSENT, Changed, folder_at, read_versioned, write_versioned
from hydra_core.lake.panel import frame_of, load_panel
from hydra_core.lake.store import Lake, open_lake

BTC = Pair("BTCUSDT")
TABLE = candle_table(Interval.M5)
JUNE = month_span("2024-06")[0]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket="hydra")
        yield "s3://hydra"
        server.stop()


def candles(rows: int, price: float = 100.0) -> object:
    ts = JUNE + np.arange(rows, dtype=np.int64) * Interval.M5.ms
    flat = np.full(rows, price)
    return frame_of(Bars(ts, flat, flat, flat, flat, np.ones(rows)))


def put(lake: Lake, rows: int, pair: Pair = BTC, price: float = 100.0) -> object:
    return lake.write(TABLE, pair, "2024-06", candles(rows, price), closed=False, source="test")


def test_a_lake_in_a_bucket_is_the_lake_on_disk(bucket: str, tmp_path: Path) -> None:
    far, near = (
        open_lake(tmp_path / "home" / "lake", "binanceusdm", f"{bucket}/a"),
        Lake(tmp_path / "lake", "binanceusdm"),
    )
    assert str(far.root) == f"{bucket}/a/home"
    for lake in (far, near):
        put(lake, 10)
        put(lake, 30)
        put(lake, 30, price=101.0)
    assert far.entries(TABLE) == near.entries(TABLE)
    entry = far.entry(TABLE, BTC, "2024-06")
    assert entry is not None
    assert far.path(TABLE, entry).read_bytes() == near.path(TABLE, entry).read_bytes()
    assert far.read(TABLE, BTC, JUNE, JUNE + 3 * Interval.M5.ms).height == 3
    assert far.read_revision(TABLE, BTC, "2024-06", 1)["close"][0] == 100.0
    assert load_panel(far, [BTC], JUNE, JUNE + 10 * Interval.M5.ms).close[0, 0] == 101.0
    assert far.verify() == []
    assert far.tidy([TABLE]) == 0
    far.pin(far.hashes([TABLE], [BTC], JUNE, JUNE + 1), by="x")
    put(far, 40, price=102.0)
    assert far.path(TABLE, entry).exists()


def test_a_superseded_object_goes_and_damage_is_named_and_set_aside(bucket: str) -> None:
    lake = Lake(f"{bucket}/b", "binanceusdm")
    old = put(lake, 10).path  # type: ignore[attr-defined]
    new = put(lake, 20).path  # type: ignore[attr-defined]
    assert not old.exists()
    new.write_bytes(b"PAR1 cut off")
    with pytest.raises(DataCorrupt, match="damaged"):
        lake.read(TABLE, BTC)
    lake.quarantine(TABLE, BTC, "2024-06")
    assert lake.read(TABLE, BTC).height == 0
    put(lake, 20)
    assert lake.verify() == []


def test_of_two_who_read_the_same_version_one_must_read_again(bucket: str) -> None:
    path = folder_at(f"{bucket}/c") / "x.json"
    assert read_versioned(path) == (None, ABSENT)
    write_versioned(path, b"first", ABSENT)
    with pytest.raises(Changed):
        write_versioned(path, b"also first", ABSENT)
    content, version = read_versioned(path)
    write_versioned(path, b"second", version)
    with pytest.raises(Changed):
        write_versioned(path, b"lost update", version)
    assert (content, read_versioned(path)[0]) == (b"first", b"second")


@pytest.mark.long
def test_writers_on_several_machines_lose_nothing(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock that processes of one machine share, the manifest's version alone keeps every entry."""
    monkeypatch.setattr("hydra_core.lake.store.locked", lambda path: nullcontext())
    pairs = [Pair(f"P{number}USDT") for number in range(4)]
    failures: list[BaseException] = []

    def work(pair: Pair) -> None:
        try:
            for rows in (5, 10):
                put(Lake(f"{bucket}/d", "binanceusdm"), rows, pair)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    lake = Lake(f"{bucket}/d", "binanceusdm")
    assert {pair: lake.read(TABLE, pair).height for pair in lake.pairs(TABLE)} == dict.fromkeys(pairs, 10)


def test_the_catalogue_and_a_scan_read_the_bucket(bucket: str, tmp_path: Path) -> None:
    """Views over objects by URL: what DuckDB and polars read is what the lake reads."""
    lake, base = Lake(f"{bucket}/e", "binanceusdm"), tmp_path / "catalog.duckdb"
    eth = Pair("ETHUSDT")
    put(lake, 24)
    put(lake, 30, price=101.0)
    put(lake, 12, eth)
    [view] = catalog.rebuild(lake, base)
    assert (view.name, view.files, view.rows) == (TABLE, 2, 42)
    with catalog.connect(lake, base) as connection:
        told = connection.sql(
            f"SELECT pair, count(*), min(close), min(epoch_ms(ts)) FROM {TABLE} GROUP BY pair ORDER BY pair"
        )
        assert told.fetchall() == [(BTC, 30, 101.0, JUNE), (eth, 12, 100.0, JUNE)]
        [(path,)] = connection.sql(f"SELECT path FROM files WHERE pair = '{BTC}'").fetchall()
        assert path.startswith(f"{bucket}/e/{TABLE}/venue=binanceusdm/pair=BTCUSDT/2024-06-")
    scanned = catalog.scan(lake, TABLE).filter(pl.col("pair") == BTC).drop("pair").sort("ts").collect()
    assert scanned.equals(lake.read(TABLE, BTC))
    assert catalog.scan(lake, "candles_1h").collect().height == 0


def test_machines_that_pin_at_once_lose_no_pin(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_core.lake.pins.locked", lambda path: nullcontext())
    failures: list[BaseException] = []

    def work(model: str) -> None:
        try:
            Lake(f"{bucket}/f", "binanceusdm").pin([f"{model}1", "shared"], by=model)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"m{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    pins = Lake(f"{bucket}/f", "binanceusdm").pins.read()
    assert pins == {"shared": ["m0", "m1", "m2"], **{f"m{number}1": [f"m{number}"] for number in range(3)}}


def test_what_cannot_work_says_so(tmp_path: Path) -> None:
    with pytest.raises(HydraError, match="bucket"):
        put(Lake("s3://nosuchbucket/x", "binanceusdm"), 3)
    with pytest.raises(UsageError, match="cannot open"):
        folder_at("nosuch://x/y")
    with pytest.raises(UsageError, match="no scan over memory://"):
        catalog.scan(Lake("memory://x/lake", "binanceusdm"), TABLE)
