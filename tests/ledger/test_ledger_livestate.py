"""The live state: what is written is read incrementally, as one view, and any earlier view can be had again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hydra_core.domain.clock import ClockAnchor, ManualClock
from hydra_core.domain.errors import DataCorrupt, InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Liquidation, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.domain.series import Bars, Series
from hydra_core.ledger.livestate import HealthReading, LiveStateClock, LiveStateReader, LiveStateWriter

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
PAIRS = (BTC, ETH)
STEP = Interval.M5.ms
T0 = 1_717_200_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "live.db"


@pytest.fixture
def writer(path: Path) -> Iterator[LiveStateWriter]:
    with LiveStateWriter(path) as opened:
        yield opened


def bars(first: int, count: int, seed: int = 0) -> Bars:
    rng = np.random.default_rng(seed + first)
    close = 100 + rng.normal(0, 1, count)
    ts = T0 + (first + np.arange(count)) * STEP
    return Bars(ts, close - 0.1, close + 1, close - 1, close, rng.uniform(1, 2, count))


def fill_both(writer: LiveStateWriter, first: int, count: int) -> None:
    for number, pair in enumerate(PAIRS):
        writer.add_bars(pair, Interval.M5, bars(first, count, seed=number * 1_000), received_wall_ms=0)
    writer.flush()


def test_nothing_is_on_file_before_a_flush_and_all_of_it_after(writer: LiveStateWriter, path: Path) -> None:
    writer.add_quote(Quote(BTC, 1.0, 2.0, 1.1, 3.0, T0, 7))
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        assert reader.readings().quotes == {}
        assert writer.flush() == 1
        assert writer.flush() == 0
        assert reader.refresh()
        assert reader.readings().quotes == {BTC: Quote(BTC, 1.0, 2.0, 1.1, 3.0, T0, 7)}
        assert reader.readings().quote_ages_ms(10) == {BTC: 3}
        assert not reader.refresh(), "nothing new was written"


def test_every_kind_of_reading_comes_back(writer: LiveStateWriter, path: Path) -> None:
    mark = MarkReading(ETH, 10.5, 10.4, 0.0001, T0 + 1, T0, 8)
    rules = {BTC: MarketRules(BTC, Decimal("0.10"), Decimal("0.001"), Decimal("0.001"), Decimal(5))}
    health = HealthReading("klines", False, T0, "reconnecting", 9)
    anchor = ClockAnchor(T0, 5, 60.0, True)
    writer.add_mark(mark)
    writer.set_rules(rules)
    writer.add_health(health)
    writer.set_clock(anchor)
    writer.set_meta("inputs", ["candles"])
    writer.flush()
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        seen = reader.readings()
    assert (seen.marks, seen.rules, seen.health, seen.anchor) == ({ETH: mark}, rules, {"klines": health}, anchor)
    assert seen.meta == {"inputs": ["candles"]}


def test_the_same_candle_again_is_dropped_and_a_changed_one_is_a_revision(writer: LiveStateWriter, path: Path) -> None:
    fill_both(writer, 0, 3)
    assert writer.newest(BTC, Interval.M5) == T0 + 2 * STEP
    writer.add_bars(BTC, Interval.M5, bars(0, 3), received_wall_ms=9)
    assert writer.flush() == 0
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        before, marks = reader.panel(T0 + 3 * STEP), reader.watermarks()
        writer.add_candle(BTC, Interval.M5, T0 + STEP, 1, 5, 1, 4, 9, 9)
        assert writer.flush() == 1
        reader.refresh()
        after = reader.panel(T0 + 3 * STEP)
        assert after.close[1, 0] == 4.0
        with reader.at(marks) as past:
            assert past.panel(T0 + 3 * STEP).content_hash() == before.content_hash() != after.content_hash()
    with sqlite3.connect(path) as connection:
        kept = connection.execute("SELECT revision FROM candle WHERE pair = 'BTCUSDT' AND ts = ?", (T0 + STEP,))
        assert [row[0] for row in kept.fetchall()] == [0, 1]
    connection.close()


def test_the_panel_holds_closed_bars_of_the_lookback_only(writer: LiveStateWriter, path: Path) -> None:
    fill_both(writer, 0, MAX_LOOKBACK_BARS + 50)
    writer.add_bars(BTC, Interval.M1, bars(0, 5), received_wall_ms=0)
    writer.flush()
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        end = T0 + (MAX_LOOKBACK_BARS + 40) * STEP
        panel = reader.panel(end + 30_000)
        assert len(panel) == MAX_LOOKBACK_BARS
        assert int(panel.close_ms[-1]) == end, "a later bar on file is not closed yet at this cycle"
        assert panel.inputs == {"candles"}
        assert reader.panel(end + 60_000) is panel, "the same object while no bar closes"


def test_a_bar_waits_for_all_pairs_but_not_for_long(writer: LiveStateWriter, path: Path) -> None:
    fill_both(writer, 0, 10)
    late = T0 + 10 * STEP
    writer.add_bars(BTC, Interval.M5, bars(10, 1), received_wall_ms=0)
    writer.flush()
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        assert not reader.complete(late + STEP)
        assert int(reader.panel(late + STEP).ts[-1]) == late - STEP, "ETH's bar is on its way"
        writer.add_bars(BTC, Interval.M5, bars(11, 1), received_wall_ms=0)
        writer.flush()
        reader.refresh()
        panel = reader.panel(late + 2 * STEP)
        assert int(panel.ts[-1]) == late + STEP
        assert np.isnan(panel.close[-1, 1]), "missing for long: shown as missing, not guessed"
        writer.add_bars(ETH, Interval.M5, bars(10, 2), received_wall_ms=0)
        writer.flush()
        reader.refresh()
        assert reader.complete(late + 2 * STEP)
        assert np.isfinite(reader.panel(late + 2 * STEP).close).all()


def test_reading_bit_by_bit_equals_reading_all_at_once(writer: LiveStateWriter, path: Path) -> None:
    """Candles, slow readings and forced orders trickle in, some late, some revised; every view is the same from scratch."""
    rng = np.random.default_rng(3)
    fill_both(writer, 0, 50)
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        for bar in range(50, 80):
            fill_both(writer, bar, 1)
            for kind in ("open_interest", "long_short", "funding"):
                writer.add_series(kind, BTC, T0 + (bar - int(rng.integers(0, 4))) * STEP, float(rng.normal(1, 0.1)), 0)
                writer.add_readings(kind, ETH, Series(T0 + np.array([bar]) * STEP, rng.normal(1, 0.1, 1)), 0)
            for _ in range(3):
                at = T0 + bar * STEP + int(rng.integers(-2 * STEP, STEP))
                event = Liquidation(
                    PAIRS[int(rng.integers(2))], at, bool(rng.integers(2)), float(rng.uniform(1, 9)), 1.1
                )
                writer.add_liquidation(event, 0)
                writer.add_liquidation(event, 1)
            writer.flush()
            reader.refresh()
            cycle = T0 + (bar + 1) * STEP + 30_000
            with LiveStateReader(path, PAIRS, reader.watermarks()) as fresh:
                fresh.refresh()
                assert fresh.panel(cycle).content_hash() == reader.panel(cycle).content_hash(), bar
        seen = reader.watermarks()
        assert reader.panel(cycle).inputs == {"candles", "funding", "open_interest", "long_short", "liquidations"}
        earlier = reader.panel(cycle)
        fill_both(writer, 80, 5)
        writer.add_liquidation(Liquidation(BTC, T0 + 10 * STEP, True, 1.0, 1.0), 0)
        writer.flush()
        with reader.at(seen) as past:
            assert past.panel(cycle).content_hash() == earlier.content_hash()


def test_bars_before_the_capture_hold_no_liquidations_rather_than_none(writer: LiveStateWriter, path: Path) -> None:
    fill_both(writer, 0, 10)
    writer.set_capture_start(T0 + 5 * STEP)
    writer.add_liquidation(Liquidation(BTC, T0 + 7 * STEP + 1, True, 2.0, 10.0), 0)
    writer.flush()
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        panel = reader.panel(T0 + 10 * STEP)
    assert np.isnan(panel.liquidated_long[:5]).all()
    assert panel.liquidated_long[5:, 0].tolist() == [0.0, 0.0, 20.0, 0.0, 0.0]


def test_a_late_candle_does_not_reach_past_decisions(writer: LiveStateWriter, path: Path) -> None:
    fill_both(writer, 2, 8)
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        marks, before = reader.watermarks(), reader.panel(T0 + 10 * STEP)
        fill_both(writer, 0, 2)
        reader.refresh()
        assert len(reader.panel(T0 + 10 * STEP)) == len(before) + 2
        with reader.at(marks) as past:
            assert past.panel(T0 + 10 * STEP).content_hash() == before.content_hash()


def test_the_clock_follows_the_traders_anchor(writer: LiveStateWriter, path: Path) -> None:
    wall = ManualClock(0, wall_ms=1_000)
    with pytest.raises(InputMissing, match="no clock yet"):
        LiveStateClock(path, wall)
    writer.set_clock(ClockAnchor(T0, 1_000, 60.0, False))
    writer.flush()
    with LiveStateClock(path, wall) as clock:
        assert clock.market_ms() == T0
        wall.advance(0, wall_ms=100)
        assert clock.market_ms() == T0 + 6_000
        assert clock.wall_seconds_until(T0 + 12_000) == pytest.approx(0.1)
        writer.set_clock(ClockAnchor(T0 + 6_000, 1_100, 60.0, True))
        writer.flush()
        wall.advance(0, wall_ms=500)
        assert clock.market_ms() == T0 + 6_000
        assert clock.wall_seconds_until(T0 + 12_000) == float("inf")
        assert clock.anchor.held


def test_an_absent_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"no live state at .*live\.db"):
        LiveStateReader(tmp_path / "live.db", PAIRS)
    (tmp_path / "live.db").write_bytes(b"something else" * 100)
    with pytest.raises(DataCorrupt, match="no live state"):
        LiveStateWriter(tmp_path / "live.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataCorrupt, match="layout 99"):
        LiveStateReader(tmp_path / "other.db", PAIRS)


def test_no_candle_at_all_is_a_missing_input(writer: LiveStateWriter, path: Path) -> None:
    writer.set_clock(ClockAnchor(T0, 0, 1.0, False))
    writer.flush()
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        with pytest.raises(InputMissing, match="no 5m candle"):
            reader.panel(T0)


def test_readings_survive_a_restart_of_the_writer(path: Path) -> None:
    with LiveStateWriter(path) as first:
        fill_both(first, 0, 3)
        first.add_series("funding", BTC, T0, 0.0001, 0)
    with LiveStateWriter(path) as second:
        assert second.newest(ETH, Interval.M5) == T0 + 2 * STEP
        assert second.newest_reading("funding", BTC) == T0
        assert second.newest_reading("funding", ETH) is None
        fill_both(second, 0, 3)
        fill_both(second, 3, 1)
    with LiveStateReader(path, PAIRS) as reader:
        reader.refresh()
        assert len(reader.panel(T0 + 4 * STEP)) == 4
        assert reader.watermarks().candle == 8
