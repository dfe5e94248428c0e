"""From plain columns to the panel: nothing is known before it was published, nothing stale is passed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import HOUR_MS, Interval, month_span
from hydra_core.domain.market import CANDLES, FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import build_panel
from hydra_core.domain.series import Bars, Series
from hydra_core.domain.tables import TS, candle_table
from hydra_core.lake.panel import frame_of, load_panel
from hydra_core.lake.store import Lake

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
STEP = Interval.M5.ms
START = month_span("2024-06")[0]


def bars(rows: int, start: int = START) -> Bars:
    close = 100 + np.arange(rows, dtype=np.float64)
    return Bars(start + np.arange(rows, dtype=np.int64) * STEP, close, close + 1, close - 1, close, close)


def series(*points: tuple[int, float]) -> Series:
    return Series(np.array([at for at, _ in points], np.int64), np.array([value for _, value in points]))


def test_readings_count_from_their_publication_on() -> None:
    """Open interest stamped at a bar's close is published a minute later: only the next bar may know it."""
    readings = series((START, 1.0), (START + STEP, 2.0), (START + STEP + STEP - 60_000, 3.0))
    panel = build_panel(
        [BTC], Interval.M5, START, START + 3 * STEP, {BTC: bars(3)},
        {BTC: series((START + STEP, 1e-4), (START + STEP + 1, 2e-4))}, {BTC: readings}, {BTC: readings}, None,
    )  # fmt: skip
    assert panel.open_interest[:, 0].tolist() == [1.0, 3.0, 3.0]
    assert panel.long_short[:, 0].tolist() == [1.0, 3.0, 3.0]
    assert panel.funding_rate[:, 0].tolist() == [1e-4, 2e-4, 2e-4]
    assert panel.inputs == {CANDLES, FUNDING, OPEN_INTEREST, LONG_SHORT}


def test_a_stale_reading_is_missing_not_repeated() -> None:
    panel = build_panel(
        [BTC], Interval.M5, START, START + 24 * STEP, {BTC: bars(24)}, {}, {BTC: series((START, 1.0))}, {}, None
    )
    held = np.isfinite(panel.open_interest[:, 0])
    assert held.tolist() == [True] * 12 + [False] * 12
    assert panel.inputs == {CANDLES, OPEN_INTEREST}


def test_absent_rows_are_nan_and_absent_inputs_left_out() -> None:
    holed = bars(5)
    keep = np.array([True, True, False, True, True])
    part = Bars(*(getattr(holed, name)[keep] for name in ("ts", "open", "high", "low", "close", "volume")))
    panel = build_panel([BTC, ETH], Interval.M5, START, START + 5 * STEP, {BTC: part}, {}, {}, {}, {BTC: []})
    assert np.isnan(panel.close[:, 0]).tolist() == [False, False, True, False, False]
    assert np.isnan(panel.close[:, 1]).all()
    assert panel.inputs == {CANDLES}


def test_forced_orders_are_summed_in_their_bar_by_side() -> None:
    events = [
        Liquidation(BTC, START, True, 2.0, 100.0),
        Liquidation(BTC, START + STEP - 1, True, 1.0, 100.0),
        Liquidation(BTC, START + STEP, False, 3.0, 10.0),
        Liquidation(BTC, START + 9 * STEP, False, 3.0, 10.0),
    ]
    panel = build_panel([BTC, ETH], Interval.M5, START, START + 3 * STEP, {BTC: bars(3)}, {}, {}, {}, {BTC: events})
    assert panel.liquidated_long[:, 0].tolist() == [300.0, 0.0, 0.0]
    assert panel.liquidated_short[:, 0].tolist() == [0.0, 30.0, 0.0]
    assert np.isnan(panel.liquidated_long[:, 1]).all()
    assert LIQUIDATIONS in panel.inputs


def test_a_candle_off_the_grid_is_refused() -> None:
    with pytest.raises(InputMissing, match="grid"):
        build_panel([BTC], Interval.M5, START, START + 3 * STEP, {BTC: bars(1, START + 1000)}, {}, {}, {}, None)


def test_later_data_changes_no_earlier_row() -> None:
    rng = np.random.default_rng(3)
    stamps = START - HOUR_MS + np.sort(rng.integers(0, 40 * STEP, 60)).astype(np.int64)
    readings = Series(stamps, rng.random(60))

    def panel(until: int) -> np.ndarray:
        keep = readings.ts < until
        cut = {BTC: Series(readings.ts[keep], readings.value[keep])}
        return build_panel(
            [BTC], Interval.M5, START, START + 20 * STEP, {BTC: bars(20)}, cut, cut, cut, None
        ).open_interest

    whole, known = panel(START + 40 * STEP), panel(START + 10 * STEP)
    np.testing.assert_array_equal(whole[:10], known[:10])


def test_a_part_of_the_span_gives_the_same_rows(tmp_path: Path) -> None:
    """What the live state joins from its last days equals what the lake joins from months."""
    lake = Lake(tmp_path, "binanceusdm")
    rows = 12 * 24 * 6
    rng = np.random.default_rng(5)
    every = START + np.arange(rows, dtype=np.int64) * STEP
    lake.write(candle_table(Interval.M5), BTC, "2024-06", frame_of(bars(rows)), closed=False, source="t")
    eight_hours = START + np.arange(18, dtype=np.int64) * 8 * HOUR_MS
    for table, column, stamps in (
        (FUNDING, ["rate"], eight_hours),
        (OPEN_INTEREST, ["open_interest", "open_interest_value"], every[rng.random(rows) < 0.7]),
        (LONG_SHORT, ["long_short_ratio"], every[rng.random(rows) < 0.7]),
    ):
        values = {name: rng.random(stamps.size) for name in column}
        values |= {"interval_hours": np.full(stamps.size, 8.0)} if table == FUNDING else {}
        frame = pl.DataFrame({"ts": pl.Series(stamps).cast(TS), **values})
        lake.write(table, BTC, "2024-06", frame, closed=False, source="t")
    end = int(every[-1]) + STEP
    whole, tail = load_panel(lake, [BTC], START, end), load_panel(lake, [BTC], end - 500 * STEP, end)
    assert tail.content_hash() == whole.last(500).content_hash()
    with pytest.raises(InputMissing, match="hydra backfill"):
        load_panel(lake, [ETH], START, end)
