"""Changes of several threads made in one go: each once, in order, and a failure is its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hydra_core.domain.intervals import Interval, month_span
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars
from hydra_core.domain.tables import candle_table
from hydra_core.lake import store
from hydra_core.lake.combining import Combined
from hydra_core.lake.files import locked
from hydra_core.lake.manifest import Entries
from hydra_core.lake.panel import frame_of
from hydra_core.lake.store import Lake, Written

BTC = Pair("BTCUSDT")
TABLE = candle_table(Interval.M5)
JUNE = month_span("2024-06")[0]
PATIENCE_S = 20.0


class Gate:
    """Makes changes only once it is opened, and tells in what crowds they came."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()
        self.crowds: list[list[int]] = []
        self.refused: set[int] = set()

    def make(self, changes: Sequence[int]) -> list[int]:
        self.crowds.append(list(changes))
        self.begun.set()
        assert self.opened.wait(PATIENCE_S)
        if self.refused & set(changes):
            raise ValueError(f"{changes} cannot be made")
        return [-change for change in changes]


def crowd(gate: Gate, combined: Combined[int, int], pool: ThreadPoolExecutor, count: int) -> list[Future[int]]:
    """The first change is being made when the others have come to wait, one after the other."""
    asked = [pool.submit(combined.do, 0)]
    assert gate.begun.wait(PATIENCE_S)
    for change in range(1, count):
        asked.append(pool.submit(combined.do, change))
        while combined.waiting < change:
            threading.Event().wait(0.001)
    gate.opened.set()
    return asked


def test_those_who_wait_are_served_together_and_in_order() -> None:
    gate = Gate()
    combined = Combined(gate.make)
    with ThreadPoolExecutor(6) as pool:
        assert [one.result(PATIENCE_S) for one in crowd(gate, combined, pool, 6)] == [0, -1, -2, -3, -4, -5]
    assert gate.crowds == [[0], [1, 2, 3, 4, 5]]
    assert combined.waiting == 0


def test_a_failure_is_raised_to_the_one_whose_turn_it_was_and_the_others_go_on() -> None:
    gate = Gate()
    combined = Combined(gate.make)
    gate.refused = {0}
    with ThreadPoolExecutor(4) as pool:
        first, *others = crowd(gate, combined, pool, 4)
        with pytest.raises(ValueError, match="cannot be made"):
            first.result(PATIENCE_S)
        assert [one.result(PATIENCE_S) for one in others] == [-1, -2, -3]
    gate.refused = {7, 8}
    with pytest.raises(ValueError, match=r"\[7\]"):
        combined.do(7)
    assert combined.do(9) == -9, "what failed is not tried again by others"


def candles(rows: int, price: float) -> object:
    flat = np.full(rows, price)
    return frame_of(
        Bars(JUNE + np.arange(rows, dtype=np.int64) * Interval.M5.ms, flat, flat, flat, flat, np.ones(rows))
    )


def wait_behind(lake: Lake, count: int) -> None:
    """Until one change is being made, which waits for the table's lock, and so many wait for it."""
    combined = lake._combined(TABLE)
    while combined.waiting != count or not combined._turn.locked():
        threading.Event().wait(0.001)


def test_months_written_at_once_share_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, pairs = Lake(tmp_path, "binanceusdm"), [Pair(f"P{number}USDT") for number in range(6)]
    writes: list[int] = []
    plain = store.write_manifest

    def counted(folder: Path, entries: Entries, version: str) -> None:
        writes.append(sum(len(months) for months in entries.values()))
        plain(folder, entries, version)

    monkeypatch.setattr(store, "write_manifest", counted)
    with ThreadPoolExecutor(len(pairs)) as pool:
        with locked(tmp_path / TABLE / "venue=binanceusdm" / ".lock"):
            asked = []
            for at, pair in enumerate(pairs):
                frame = candles(10 + at, 100.0)
                asked.append(pool.submit(lake.write, TABLE, pair, "2024-06", frame, closed=True, source="t"))
                wait_behind(lake, at)
        found = [one.result(PATIENCE_S) for one in asked]
    assert writes == [1, 6]
    assert [lake.entry(TABLE, pair, "2024-06") for pair in pairs] == [one.entry for one in found]
    assert [one.rows for one in found] == [10, 11, 12, 13, 14, 15]
    assert lake.verify() == []


def test_contents_of_one_month_in_one_go_leave_the_last_and_its_file(tmp_path: Path) -> None:
    """There and back again: the content that is current again keeps its file, the one in between is a revision."""
    lake = Lake(tmp_path, "binanceusdm")
    first = lake.write(TABLE, BTC, "2024-06", candles(10, 100.0), closed=True, source="t")
    made: list[Written] = []
    with ThreadPoolExecutor(3) as pool:
        with locked(tmp_path / TABLE / "venue=binanceusdm" / ".lock"):
            asked = []
            for place, price in enumerate((101.0, 102.0, 100.0)):
                frame = candles(10, price)
                asked.append(pool.submit(lake.write, TABLE, BTC, "2024-06", frame, closed=True, source="t", as_of_ms=1))
                wait_behind(lake, place)
        made = [one.result(PATIENCE_S) for one in asked]
    assert all(one.changed for one in made)
    assert made[-1].content_hash == first.content_hash
    assert lake.read(TABLE, BTC)["close"].to_list() == [100.0] * 10
    kept = made[-1].entry.revisions
    assert [lake.read_revision(TABLE, BTC, "2024-06", one.number)["close"][0] for one in kept] == [100.0, 101.0, 102.0]
    assert lake.verify() == []
