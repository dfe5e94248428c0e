"""Features of longer intervals: the candles that the lake derives, none before its close, none that lacks a part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from example_panel import example_panel

from hydra_core.alpha.features import FeatureSet, features
from hydra_core.alpha.features.intervals import MEAN_BARS, RUN_BARS, STRENGTH_BARS, longer_bars
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Floats, Panel, noise_after
from hydra_core.lake.derive import resample
from hydra_core.statistics.view import View

NAMES = tuple(member.name for member in features() if member.family == "intervals")
SKIPPED = 5
"""Rows left out at the start, so that the panel begins in the middle of a bar of every interval."""

Candle = dict[str, float]


def the_panel(gaps: float) -> Panel:
    panel = example_panel(12, 2_450, pairs=2, gaps=gaps)
    return panel.rows(slice(SKIPPED, len(panel)))


def candles(panel: Panel, column: int, interval: Interval) -> dict[int, Candle]:
    """What the lake makes of a pair's candles, by open time."""
    frame = pl.DataFrame(
        {
            "ts": pl.Series(panel.ts).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"),
            **{name: getattr(panel, name)[:, column] for name in ("open", "high", "low", "close", "volume")},
        }
    ).filter(pl.col("close").is_not_nan())
    made = resample(frame, interval, panel.interval)
    stamps = made["ts"].dt.epoch("ms").to_list()
    return dict(zip(stamps, made.drop("ts").to_dicts(), strict=True))


class Naive:
    """The features of one row, made of derived candles one by one."""

    def __init__(self, panel: Panel, column: int, sigma: Floats, interval: Interval) -> None:
        self.panel, self.column, self.sigma, self.interval = panel, column, sigma[:, column], interval
        self.held = candles(panel, column, interval)

    def newest(self, row: int) -> int:
        """Open time of the newest bar that is closed at the row's close."""
        return self.interval.last_closed(int(self.panel.close_ms[row]))

    def back(self, row: int, count: int) -> list[Candle | None]:
        """The newest closed bars, newest first."""
        return [self.held.get(self.newest(row) - k * self.interval.ms) for k in range(count)]

    def expected(self, row: int) -> float:
        """Standard deviation of the newest bar's return as the row before its open tells it."""
        before = int(np.searchsorted(self.panel.ts, self.newest(row))) - 1
        return float(self.sigma[before]) * math.sqrt(self.interval.ms / self.panel.interval.ms)

    def bar_return(self, row: int) -> float:
        bar = self.back(row, 1)[0]
        return math.log(bar["close"] / bar["open"]) / self.expected(row) if bar else math.nan

    def bar_range(self, row: int) -> float:
        bar = self.back(row, 1)[0]
        brownian = self.expected(row) * math.sqrt(8 / math.pi)
        return math.log(math.log(bar["high"] / bar["low"]) / brownian) if bar else math.nan

    def bar_position(self, row: int) -> float:
        bar = self.back(row, 1)[0]
        return (bar["close"] - bar["low"]) / (bar["high"] - bar["low"]) - 0.5 if bar else math.nan

    def bar_run(self, row: int) -> float:
        run = 0
        for bar in self.back(row, RUN_BARS):
            step = math.copysign(1, bar["close"] - bar["open"]) if bar else 0
            if not step or step * run < 0:
                break
            run += int(step)
        return run / RUN_BARS if self.back(row, 1)[0] else math.nan

    def strength(self, row: int) -> float:
        bars = self.back(row, STRENGTH_BARS + 1)
        moves = [math.log(new["close"] / old["close"]) for new, old in itertools.pairwise(bars) if new and old]
        if len(moves) < 0.9 * STRENGTH_BARS:
            return math.nan
        up, down = sum(max(move, 0) for move in moves), sum(max(-move, 0) for move in moves)
        return 2 * up / (up + down) - 1

    def mean_distance(self, row: int) -> float:
        closes = [math.log(bar["close"]) for bar in self.back(row, MEAN_BARS) if bar]
        if len(closes) < 0.9 * MEAN_BARS:
            return math.nan
        own = float(self.panel.close[row, self.column])
        return (math.log(own) - float(np.mean(closes))) / float(np.std(closes))


def rows_of(panel: Panel) -> Iterator[int]:
    """Every row of a stretch that crosses a four-hour border, and some before it."""
    yield from range(len(panel) - 100, len(panel))
    yield from range(1_540, len(panel) - 100, 37)


@pytest.mark.parametrize("gaps", [0.0, 0.004])
def test_every_value_is_that_of_the_lakes_candles_taken_one_by_one(gaps: float) -> None:
    panel = the_panel(gaps)
    view, unknown = View(panel), 0
    for name in NAMES:
        kind, _, spelled = name.rpartition("_")
        values = next(member for member in features() if member.name == name).compute(view)
        for column in range(2):
            naive = Naive(panel, column, view.sigma, Interval(spelled))
            rows = list(rows_of(panel))
            expected = np.array([getattr(naive, kind)(row) for row in rows])
            np.testing.assert_allclose(values[rows, column], expected, rtol=1e-7, atol=1e-9, err_msg=name)
            unknown += int(np.isnan(expected).sum())
    assert (unknown > 0) == (gaps > 0)


def test_a_row_in_the_middle_of_an_hour_sees_the_hour_before_until_its_own_is_closed() -> None:
    panel = the_panel(0.0)
    values = FeatureSet(["bar_return_1h", "bar_return_4h"]).compute(panel)[:, 0]
    closes = panel.close_ms[1_600:]
    for column, interval in enumerate((Interval.H1, Interval.H4)):
        changed = np.flatnonzero(values[1_600:, column] != values[1_599:-1, column])
        np.testing.assert_array_equal(changed, np.flatnonzero(closes % interval.ms == 0))


def test_what_the_hour_under_way_does_says_nothing_yet() -> None:
    """Noise from a bar's open on shows in none of the rows before its close."""
    panel = the_panel(0.0)
    chosen = FeatureSet([name for name in NAMES if not name.startswith("mean_distance")])
    values = chosen.compute(panel)
    hour = 2_000 + int((-panel.ts[2_000] % Interval.H4.ms) // panel.interval.ms)
    noisy = chosen.compute(noise_after(panel, hour, np.random.default_rng(4)))
    for name, values_of, noisy_of in zip(chosen.names, values.T, noisy.T, strict=True):
        rows = Interval(name.rpartition("_")[2]).ms // panel.interval.ms - 1
        np.testing.assert_array_equal(noisy_of[:, hour : hour + rows], values_of[:, hour : hour + rows], name)
        assert (noisy_of[:, hour + rows :] != values_of[:, hour + rows :]).any(), f"{name} reads what is closed"


def test_one_missing_candle_hides_its_own_bars_and_what_needs_them() -> None:
    panel = the_panel(0.0)
    close = panel.close.copy()
    row = 2_000 + int((-panel.ts[2_000] % Interval.H4.ms) // panel.interval.ms) + 7
    close[row, 0] = np.nan
    holed = View(replace(panel, close=close))
    for interval in (Interval.M15, Interval.H1, Interval.H4):
        missing = np.flatnonzero(np.isnan(longer_bars(holed, interval)[3, :, 0]))
        first = -(-int(panel.ts[0]) // interval.ms)
        assert missing.tolist() == [int(panel.ts[row]) // interval.ms - first], interval
        assert np.isfinite(longer_bars(holed, interval)[:, :, 1]).all()
    told = FeatureSet(["bar_position_4h", "mean_distance_4h"]).compute(holed.panel)[:, 0]
    after = row - 7 + 48
    assert np.isnan(told[after - 1 : after + 47, 0]).all()
    assert np.isfinite(told[after + 47, 0])
    assert np.isfinite(told[after - 1 :, 1]).all(), "a mean of twenty bars may lack one"


def test_a_market_that_stands_still_and_a_short_panel_are_no_error() -> None:
    panel = the_panel(0.0)
    flat = {name: np.full(panel.close.shape, 5.0) for name in ("open", "high", "low", "close")}
    still = FeatureSet(NAMES).compute(replace(panel, **flat), 3)
    assert np.isfinite(still).all()
    for name, values in zip(NAMES, still.T, strict=True):
        assert (values == 0.0).all() or name.startswith("bar_range"), name
    for rows in (1, 3, 30, 100):
        assert FeatureSet(NAMES).compute(panel.last(rows)).shape == (rows, 2, len(NAMES))
    assert np.isnan(FeatureSet(NAMES).compute(panel.last(2))).all()
    hourly = replace(panel, interval=Interval.H1, ts=panel.ts[0] + Interval.H1.ms * np.arange(len(panel)))
    with pytest.raises(InputMissing, match="15m cannot be made of a panel of 1h"):
        FeatureSet(NAMES).compute(hourly)
