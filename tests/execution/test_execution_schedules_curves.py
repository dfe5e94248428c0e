"""How a change is divided among slices, how much of it the market's volume allows, and what it cost against arrival."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Schedule, Target
from hydra_core.execution.curves import Conditions, kelly_aversion, optimal_shares, vwap_shares
from hydra_core.execution.schedule import LEAST_PART, all_slices, allowed, planned, shares_of, slices
from hydra_core.execution.shortfall import shortfall
from hydra_core.settings import DecisionSettings

BAR_MS = 300_000
BTC = Pair("BTCUSDT")
sizes = st.floats(-50, 50).filter(lambda value: abs(value) > 1e-6)


def ascending(draw: list[float]) -> tuple[float, ...]:
    steps = np.cumsum(np.array(draw) + 1e-9)
    return (*(steps / steps[-1])[:-1].tolist(), 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=24), sizes, sizes, st.integers(0, 10**7))
def test_the_slices_of_any_shares_add_up_to_the_change_and_never_turn_back(draw, start, target, duration):
    """Whatever the curve: the parts between goals are all of one sign and their sum is the whole change."""
    shares = ascending(draw)
    made = all_slices(Schedule("vwap", len(shares), duration), start, target, 0, shares)
    goals = [start, *(one.goal for one in made)]
    parts = np.diff(goals)
    assert goals[-1] == target
    assert math.fsum(parts) == pytest.approx(target - start, abs=1e-9)
    assert (parts * np.sign(target - start) >= -1e-9).all()
    assert all(one.due_ms <= duration for one in made)


@pytest.mark.parametrize("shares", [(0.5, 1.0), (0.5, 0.4, 1.0), (-0.1, 0.5, 1.0), (0.2, 1.1, 1.0)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        all_slices(Schedule("vwap", 3, 60_000), 0.0, 1.0, 0, shares)


def test_no_shares_are_equal_slices_and_an_urgent_target_has_none() -> None:
    schedule = Schedule("vwap", 4, 120_000)
    assert [s.goal for s in all_slices(schedule, 0.0, 4.0, 0)] == [1.0, 2.0, 3.0, 4.0]
    assert shares_of(Target(BTC, 1.0, None, "enter", shares=(0.1, 0.2, 0.3, 1.0)), schedule) == (0.1, 0.2, 0.3, 1.0)
    assert shares_of(Target(BTC, 1.0, None, "enter", shares=(0.1, 1.0)), schedule) == ()
    assert len(slices(Schedule("vwap", 1, 0), 0.0, 1.0, 0, 0)) == 1


@given(st.integers(1, 60), st.integers(0, 7200), st.integers(1, 900))
def test_every_slice_of_a_plan_is_due_before_it_expires(count, duration_s, life_s):
    schedule = planned(DecisionSettings(twap_slices=count, twap_duration_s=duration_s, plan_ttl_s=life_s))
    due = [one.due_ms for one in all_slices(schedule, 0.0, 1.0, 0)]
    assert due == sorted(due)
    assert due[-1] < life_s * 1000


def test_the_default_schedule_is_what_it_was() -> None:
    assert planned(DecisionSettings()) == Schedule("twap", 4, 120_000, 0.0)


def _bars(days: int, rate) -> tuple[np.ndarray, np.ndarray]:
    ts = np.arange(0, days * DAY_MS, BAR_MS, dtype=np.int64)
    return ts, np.array([rate((int(at) % DAY_MS) // BAR_MS) for at in ts], dtype=np.float64)


def test_even_volume_gives_equal_slices() -> None:
    shares = vwap_shares(*_bars(2, lambda slot: 7.0), BAR_MS, 10 * DAY_MS + 123_000, 1_200_000, 4)
    assert shares == pytest.approx((0.25, 0.5, 0.75, 1.0), abs=1e-12)


def test_slices_follow_the_volume_of_the_same_times_of_the_day() -> None:
    """Three times the volume in the second of two bars: a quarter of the change in the first, the rest in the second."""
    bars = _bars(3, lambda slot: 3.0 if slot == 1 else 1.0)
    assert vwap_shares(*bars, BAR_MS, 10 * DAY_MS, 600_000, 2) == pytest.approx((0.25, 1.0))
    halves = vwap_shares(*bars, BAR_MS, 10 * DAY_MS + 150_000, 300_000, 2)
    assert halves == pytest.approx((0.5 / 2.0, 1.0)), "half a bar at 1, half a bar at 3"


def test_a_day_s_end_is_no_edge() -> None:
    bars = _bars(2, lambda slot: 5.0 if slot == 0 else 1.0)
    shares = vwap_shares(*bars, BAR_MS, 3 * DAY_MS - BAR_MS, 2 * BAR_MS, 2)
    assert shares == pytest.approx((1 / 6, 1.0))


def _share_of_these_times(volume, start, duration):
    """Share of all volume that fell into the bars of the span's times of the day; an unseen time counts at the mean."""
    by_time: dict[int, list[float]] = {}
    for bar, traded in enumerate(volume):
        if not math.isnan(traded):
            by_time.setdefault(bar % (DAY_MS // BAR_MS), []).append(traded)
    total = sum(map(sum, by_time.values()))
    if total <= 0:
        return 0.0
    mean = total / sum(map(len, by_time.values()))
    bars = range(start // BAR_MS, -(-(start + duration) // BAR_MS))
    times = {bar % (DAY_MS // BAR_MS) for bar in bars}
    return sum(sum(by_time[time]) / len(by_time[time]) if time in by_time else mean for time in times) / total


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e6), st.just(math.nan)), min_size=1, max_size=400),
    st.integers(0, 10**10),
    st.integers(0, 10**7),
    st.integers(1, 12),
)
def test_any_volume_gives_shares_that_end_at_one(volume, start, duration, count):
    ts = np.arange(len(volume), dtype=np.int64) * BAR_MS
    shares = vwap_shares(ts, np.array(volume), BAR_MS, start, duration, count)
    if shares:
        assert len(shares) == count
        assert shares[-1] == 1.0
        assert all(0 <= a <= b for a, b in pairwise(shares))
    else:
        assert count == 1 or duration == 0 or _share_of_these_times(volume, start, duration) < 1e-9


def test_the_optimal_path_is_even_without_aversion_and_hastens_with_it() -> None:
    """Almgren and Chriss: no aversion is TWAP; more of it does more at once, and never less at any time."""
    calm = Conditions(1e9, 0.03, 1.0, 1e-12)
    assert optimal_shares(2.0, 60_000, 3_600_000, 4, calm) == pytest.approx((0.25, 0.5, 0.75, 1.0), abs=1e-6)
    earlier: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    for aversion in (1e-4, 1e-3, 1e-2):
        shares = optimal_shares(2.0, 60_000, 3_600_000, 4, Conditions(1e9, 0.03, 1.0, aversion))
        assert all(now >= before for now, before in zip(shares, earlier, strict=True))
        assert shares[0] > earlier[0]
        assert optimal_shares(-2.0, 60_000, 3_600_000, 4, Conditions(1e9, 0.03, 1.0, aversion)) == shares
        earlier = shares
    assert optimal_shares(2.0, 60_000, 3_600_000, 4, Conditions(0.0, 0.03, 1.0, 1e-3)) == ()
    assert optimal_shares(2.0, math.nan, 3_600_000, 4, Conditions(1e9, 0.03, 1.0, 1e-3)) == ()


def test_aversion_is_that_of_the_kelly_fraction() -> None:
    assert kelly_aversion(10_000, 0.25, 1.0) == pytest.approx(1 / 5_000)
    assert kelly_aversion(0.0, 0.25, 1.0) == 0.0


@given(
    st.integers(1, 10_000),
    st.floats(0.001, 1.0),
    st.lists(st.tuples(st.integers(0, 5_000), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_participation_is_never_exceeded(change, participation, market):
    """A market that trades random volume and fills a random part of each order: the share is kept at every moment."""
    whole, done, traded = Decimal(change), Decimal(0), Decimal(0)
    for volume, filled in market:
        traded += volume
        part = allowed(whole - done, whole, done, traded, participation)
        assert 0 <= part <= whole - done
        assert part == 0 or part == whole - done or part >= LEAST_PART * whole
        done += part * Decimal(repr(filled))
        assert done <= Decimal(repr(participation)) * traded
    assert allowed(whole, whole, Decimal(0), Decimal(0), 0.0) == whole, "0 is no limit"


def test_the_shortfall_is_what_paper_would_have_made_more() -> None:
    """Perold's definition: paper trades all at arrival and is worth its change to the end price; parts add up to it."""
    arrival, end = Decimal(100), Decimal(103)
    fills = [(Decimal(4), Decimal("100.5"), Decimal("0.2")), (Decimal(2), Decimal(101), Decimal("0.1"))]
    made = shortfall(arrival, Decimal(10), fills, end)
    paper = 10 * (end - arrival)
    real = sum(size * (end - price) - fee for size, price, fee in fills)
    assert made.total == paper - real
    assert (made.price_cost, made.fees, made.opportunity) == (Decimal(4), Decimal("0.3"), Decimal(12))
    assert made.average == Decimal(604) / 6
    assert made.bp(made.price_cost) == pytest.approx(40.0)
    short = shortfall(arrival, Decimal(-10), [(Decimal(-10), Decimal(99), Decimal(0))], end)
    assert short.total == Decimal(10), "sold a point lower than at arrival"
    assert shortfall(arrival, Decimal(0), []).bp(Decimal(1)) == 0.0
