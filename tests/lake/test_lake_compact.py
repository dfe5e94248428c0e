"""Captures become lake rows once, and their files go only when the lake holds every row of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval, month_span
from hydra_core.domain.market import LIQUIDATIONS, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import BOOK, CAPTURES, TRADES, TS, candle_table
from hydra_core.lake.collect import Collected
from hydra_core.lake.compact import compact, forget_candles
from hydra_core.lake.crosschecks import run_cross_checks
from hydra_core.lake.spool import Spool
from hydra_core.lake.store import Lake

BTC = Pair("BTCUSDT")
JUNE = month_span("2024-06")[0]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", "binanceusdm")


def capture(folder: Path, day: int, count: int = 5) -> None:
    with Spool(folder) as spool:
        for place in range(count):
            ts = JUNE + day * DAY_MS + place * 10_000
            spool.add(Liquidation(BTC, ts, place % 2 == 0, 0.5 + place, 60_000.0))
            spool.add_trade(BTC, 100 + place, ts, 60_000.5, 0.25, place % 2 == 0)
            spool.add_book(BTC, ts, [(60_000.0, 1.0), (59_999.0, 2.0)], [(60_001.0, 3.0)])
            spool.add_candle(BTC, Interval.M1, ts - ts % 60_000, (1.0, 2.0, 0.5, 1.5, 10.0))


def take_up(lake: Lake, spool: Path, table: str, as_of_ms: int) -> Collected:
    return next(iter(list(compact(lake, spool, table, BTC, ["2024-06"], as_of_ms))))


@pytest.mark.parametrize("table", [LIQUIDATIONS, TRADES, BOOK])
def test_captures_are_taken_up_once_and_only_whole_days_are_cleared(lake: Lake, tmp_path: Path, table: str) -> None:
    spool = tmp_path / "spool"
    capture(spool, 0)
    capture(spool, 1)
    now = JUNE + DAY_MS + HOUR_MS
    first = take_up(lake, spool, table, now)
    assert (first.rows, first.changed, first.closed) == (10, True, False)
    assert len(list((spool / table / BTC).glob("*.jsonl"))) == 2  # the first day ended an hour ago: late rows may come
    capture(spool, 1)  # the same events once more, as after a restart
    again = take_up(lake, spool, table, now + 6 * HOUR_MS)
    assert (again.rows, again.changed) == (10, False)
    assert [path.stem for path in (spool / table / BTC).glob("*.jsonl")] == ["2024-06-02"]
    done = take_up(lake, spool, table, JUNE + 31 * DAY_MS)
    assert (done.rows, done.changed, done.closed) == (10, False, True)
    assert not list((spool / table / BTC).glob("*.jsonl"))
    assert lake.verify() == []


def test_a_book_thinner_than_its_levels_is_nan_there(lake: Lake, tmp_path: Path) -> None:
    capture(tmp_path / "spool", 0)
    take_up(lake, tmp_path / "spool", BOOK, JUNE + DAY_MS)
    frame = lake.read(BOOK, BTC)
    assert frame["bid_2"][0] == 59_999.0
    assert np.isnan(frame["ask_2"][0])
    assert np.isnan(frame["bid_size_5"][0])


def test_a_line_cut_off_by_a_crash_costs_that_line_only(lake: Lake, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    capture(spool, 0)
    (path,) = (spool / LIQUIDATIONS / BTC).glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    assert take_up(lake, spool, LIQUIDATIONS, JUNE + DAY_MS).rows == 4
    path.write_bytes(b"\xff\x00" + path.read_bytes())
    assert take_up(lake, spool, LIQUIDATIONS, JUNE + DAY_MS).rows == 4


def test_nothing_captured_is_absent_not_empty(lake: Lake, tmp_path: Path) -> None:
    assert take_up(lake, tmp_path / "spool", BOOK, JUNE + DAY_MS).absent
    assert lake.tables() == ()


def test_captured_candles_are_held_against_what_rest_tells(lake: Lake, tmp_path: Path) -> None:
    """The last word of the stream counts; another number, or a bar that REST lacks, is one finding each; no capture, none."""
    spool, minute = tmp_path / "spool", 60_000
    with Spool(spool) as writer:
        for place, close in ((0, 1.5), (1, 9.9), (1, 1.5), (2, 1.6), (3, 1.5), (9, 7.0)):
            writer.add_candle(BTC, Interval.M1, JUNE + place * minute, (1.0, 2.0, 0.5, close, 10.0))
    told = [place for place in range(6) if place != 3]
    columns = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0}
    stamps = pl.Series([JUNE + place * minute for place in told]).cast(TS)
    frame = pl.DataFrame({"ts": stamps, **{name: [value] * len(told) for name, value in columns.items()}})
    lake.write(candle_table(Interval.M1), BTC, "2024-06", frame, closed=False, source="test")
    span = {BTC: month_span("2024-06")}
    [*_, line] = run_cross_checks(lake, CAPTURES, span, spool)[BTC]
    assert (line.name, line.passed, line.severity, line.unexpected) == ("candles_are_as_heard", False, "warning", 2)
    assert "2 of 4 captured candles are told otherwise by REST, or not at all, first 2024-06-01T00:02" in line.detail
    [*_, line] = run_cross_checks(lake, CAPTURES, span, tmp_path / "nothing")[BTC]
    assert line.passed
    assert (
        len(run_cross_checks(lake, CAPTURES, span)[BTC]) == len(run_cross_checks(lake, CAPTURES, span, spool)[BTC]) - 1
    )


def test_captured_candles_are_kept_a_week(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    capture(spool, 0)
    assert forget_candles(spool, BTC, JUNE + 8 * DAY_MS) == 0
    assert forget_candles(spool, BTC, JUNE + 9 * DAY_MS) == 1
