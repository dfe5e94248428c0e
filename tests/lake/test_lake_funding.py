"""Funding as contracts really settle: changing intervals, jittered stamps, holes; the real SOLUSDT history among them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_history import FOLDER, needs

from hydra_core.domain.intervals import HOUR_MS, iso, month_span
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import as_of
from hydra_core.domain.settlements import ends, holes, interval_hours, settled_at
from hydra_core.domain.tables import TS
from hydra_core.lake.gaps import GapState, missing_settlements
from hydra_core.lake.panel import rates_of

REAL = FOLDER / "funding/SOLUSDT.parquet"
SOL = Pair("SOLUSDT")
START = month_span("2022-11")[0]


def steps(*hours: float) -> np.ndarray:
    return START + (np.cumsum([0, *hours]) * HOUR_MS).astype(np.int64)


def frame_of(stamps: np.ndarray) -> pl.DataFrame:
    rates = np.arange(1, stamps.size + 1) * 1e-5
    return pl.DataFrame(
        {"ts": pl.Series(stamps).cast(TS), "rate": rates, "interval_hours": interval_hours(stamps)},
    )


@pytest.mark.parametrize(
    ("between", "hours", "missing"),
    [
        ([8, 8, 8], [8, 8, 8, 8], []),
        ([8, 8, 4, 4, 2, 2], [8, 8, 8, 4, 4, 2, 2], []),
        ([4, 4, 8, 8], [4, 4, 4, 8, 8], []),
        ([8, 8, 16, 8], [8, 8, 8, 8, 8], [(24, 32)]),
        ([4, 4, 8, 4], [4, 4, 4, 4, 4], [(12, 16)]),
        ([2, 2, 608, 8, 8], [2, 2, 2, 8, 8, 8], [(6, 612)]),
        ([1, 1, 3, 1], [1, 1, 1, 1, 1], [(3, 5)]),
        ([], [8], []),
    ],
)
def test_intervals_and_holes(between: list[float], hours: list[float], missing: list[tuple[int, int]]) -> None:
    stamps = steps(*between)
    assert interval_hours(stamps).tolist() == hours
    assert [((a - START) // HOUR_MS, (b - START) // HOUR_MS) for a, b in holes(stamps, np.array(hours))] == missing


@given(st.lists(st.integers(-50_000, 50_000), min_size=1, max_size=40))
def test_jitter_is_taken_off_and_nothing_else(jitter: list[int]) -> None:
    grid = START + np.arange(len(jitter), dtype=np.int64) * 8 * HOUR_MS
    assert (settled_at(grid + np.array(jitter)) == grid).all()
    odd = grid + 25 * 60_000
    assert (settled_at(odd) == odd).all()


def test_a_rate_holds_for_its_interval_and_is_nan_until_the_next_known_one() -> None:
    """2 h intervals, then nothing for 608 h: no bar in between sees a number."""
    stamps = steps(2, 2, 608, 8)
    rates = rates_of(frame_of(stamps))
    hourly = START + np.arange(0, 628, dtype=np.int64) * HOUR_MS
    seen = as_of(rates, hourly, "funding")
    assert np.isfinite(seen[:6]).all()
    assert np.isnan(seen[6:612]).all()
    assert np.isfinite(seen[612:628]).all()
    assert ends(stamps, interval_hours(stamps))[2] == START + 6 * HOUR_MS


def test_what_is_seen_before_a_time_does_not_depend_on_what_settles_after_it() -> None:
    stamps = steps(8, 8, 4, 4, 4, 16, 4, 8, 8)
    at = START + np.arange(0, 70, dtype=np.int64) * HOUR_MS
    whole = as_of(rates_of(frame_of(stamps)), at, "funding")
    for count in range(2, stamps.size):
        known = frame_of(stamps)[:count]
        before = at < stamps[count]
        np.testing.assert_array_equal(as_of(rates_of(known), at[before], "funding"), whole[before])


@needs(REAL)
def test_the_real_history_of_sol_has_its_intervals_and_its_hole() -> None:
    stamps = pl.read_parquet(REAL)["ts"].dt.epoch("ms").to_numpy()
    frame = frame_of(stamps)
    hours = dict(zip((iso(int(ts)) for ts in stamps), frame["interval_hours"], strict=True))
    assert hours["2022-11-09T16:00:00Z"] == 8
    assert hours["2022-11-09T20:00:00Z"] == 4
    assert (frame["interval_hours"] == 4).sum() == 3
    assert (frame["interval_hours"] == 2).sum() == 98
    (hole,) = missing_settlements(frame, int(stamps[0]), int(stamps[-1]) + 1)
    last = int(stamps[np.searchsorted(stamps, hole.start) - 1])
    assert hole.end - last == 608 * HOUR_MS
    assert (iso(hole.start), iso(hole.end)) == ("2023-04-29T08:00:00Z", "2023-05-24T08:00:00Z")
    assert hole.state is GapState.UNRESOLVED
    middle = np.arange(hole.start, hole.end, HOUR_MS)
    assert np.isnan(as_of(rates_of(frame), middle, "funding")).all()
