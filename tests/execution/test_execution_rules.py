"""Rounding to filters, slices, costs, the optimal path, and the four seats."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Choice, Schedule, Side, Target
from hydra_core.execution import almgren_chriss as ac
from hydra_core.execution import committee
from hydra_core.execution.rounding import Order, decimal, floor_quantity, orders_to_reach, refusal, round_stop
from hydra_core.execution.schedule import all_slices, continues, schedule_of, slices
from hydra_core.execution.slippage import peak_impact, sweep_price, taker_cost
from hydra_core.settings import CostSettings, DecisionSettings

BTC = Pair("BTCUSDT")
RULES = MarketRules(BTC, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal("100"))
PRICE = Decimal(60_000)
D = Decimal


def test_a_float_counts_by_its_spelling():
    assert floor_quantity(0.3, RULES) == D("0.3")
    assert floor_quantity(3 * 0.1, RULES) == D("0.3")
    assert floor_quantity(-0.0019, RULES) == D("-0.001")
    assert floor_quantity(0.0009, RULES) == 0


@pytest.mark.parametrize(
    ("target", "current", "orders"),
    [
        (0.01, "0", [Order(Side.LONG, D("0.010"), False)]),
        (-0.01, "0", [Order(Side.SHORT, D("0.010"), False)]),
        (0.0109, "0.010", []),
        (0.02, "0.010", [Order(Side.LONG, D("0.010"), False)]),
        (0.001, "0", []),  # 60 USDT, the exchange wants 100
        (0.004, "0.010", [Order(Side.SHORT, D("0.006"), True)]),
        (0.009, "0.010", [Order(Side.SHORT, D("0.001"), True)]),  # reduce-only: exempt from the smallest notional
        (0.0, "0.010", [Order(Side.SHORT, D("0.010"), True)]),
        (0.0, "0.0104", [Order(Side.SHORT, D("0.0104"), True)]),  # the remainder goes with it
        (0.0, "-0.0004", [Order(Side.LONG, D("0.0004"), True)]),
        (-0.01, "0.010", [Order(Side.SHORT, D("0.010"), True), Order(Side.SHORT, D("0.010"), False)]),
        (-0.001, "0.010", [Order(Side.SHORT, D("0.010"), True)]),
        (0.0, "0", []),
    ],
)
def test_orders_to_reach_a_target(target, current, orders):
    assert list(orders_to_reach(target, D(current), PRICE, RULES)) == orders


@given(st.floats(-5, 5), st.integers(-5000, 5000), st.floats(1, 100_000))
def test_orders_never_pass_the_target(target, thousandths, price):
    position = current = D(thousandths) / 1000
    for order in orders_to_reach(target, current, decimal(price), RULES):
        moved = position + order.side * order.quantity
        assert order.quantity > 0
        if order.reduce_only:
            assert abs(moved) < abs(position)
            assert moved * position >= 0
        position = moved
    goal = floor_quantity(target, RULES)
    assert abs(goal) <= abs(D(repr(target))) + D("1e-9") * RULES.step_size
    assert min(current, goal) <= position <= max(current, goal)


@given(st.floats(-5, 5), st.integers(-5000, 5000), st.integers(1_000, 100_000))
def test_what_is_made_for_a_target_passes_the_filters(target, thousandths, price):
    held = D(thousandths) / 1000
    for order in orders_to_reach(target, held, D(price), RULES):
        assert refusal(order.quantity, D(price), RULES, reduce_only=order.reduce_only, held=held) == ""
        held += order.side * order.quantity


@pytest.mark.parametrize(
    ("quantity", "reduce_only", "held", "cap", "words"),
    [
        ("0", False, "0", None, "not positive"),
        ("0.0105", False, "0", None, "no multiple"),
        ("0.001", False, "0", None, "notional 60.00 is below"),
        ("0.011", True, "0.010", None, "would close 0.011 of 0.010"),
        ("0.001", True, "-0.010", None, ""),
        ("0.010", False, "0.040", "3000", ""),
        ("0.011", False, "0.040", "3000", "over the bracket"),
    ],
)
def test_what_the_filters_refuse_is_said(quantity, reduce_only, held, cap, words):
    said = refusal(D(quantity), PRICE, RULES, reduce_only=reduce_only, held=D(held), cap=D(cap) if cap else None)
    assert words in said
    assert bool(words) == bool(said)


def test_stops_round_toward_the_market():
    assert round_stop(59_999.91, Side.LONG, RULES) == D("60000.0")
    assert round_stop(59_999.99, Side.SHORT, RULES) == D("59999.9")
    assert round_stop(D("60000.1"), Side.LONG, RULES) == D("60000.1")


def test_twap_is_equal_steps_at_equal_distances_and_ends_on_the_target():
    made = all_slices(Schedule("twap", 4, 120_000), 1.0, 3.0, 1_000)
    assert [(s.index, s.due_ms, s.goal) for s in made] == [
        (0, 1_000, 1.5),
        (1, 31_000, 2.0),
        (2, 61_000, 2.5),
        (3, 91_000, 3.0),
    ]


@given(st.integers(1, 20), st.integers(0, 10**6), st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 2 * 10**6))
def test_slices_due_are_a_prefix_that_never_passes_the_target(count, duration, start, target, now):
    schedule = Schedule("twap", count, duration)
    due = slices(schedule, start, target, 0, now)
    assert due == all_slices(schedule, start, target, 0)[: len(due)]
    assert len(due) >= 1
    assert all(min(start, target) - 1e-9 <= s.goal <= max(start, target) + 1e-9 for s in due)
    if now >= duration:
        assert due[-1].goal == target


def test_an_urgent_target_goes_at_once_and_a_repeated_one_keeps_its_schedule():
    plan = Schedule("twap", 4, 120_000)
    assert schedule_of(Target(BTC, 0.0, None, "stop", urgent=True), plan) == Schedule("twap", 1, 0)
    assert schedule_of(Target(BTC, 1.0, None, "enter"), plan) is plan
    assert continues(Target(BTC, 1.0, 90.0, "enter"), Target(BTC, 1.0, 90.0, "hold"))
    assert not continues(Target(BTC, 1.0, 90.0, "enter"), Target(BTC, 1.1, 90.0, "enter"))
    assert not continues(None, Target(BTC, 1.0, None, "enter"))


def test_the_square_root_law():
    assert peak_impact(0.01 * 1e9, 1e9, 0.03) == pytest.approx(0.003)  # 1 % of the day at 3 %: 30 bp
    assert peak_impact(4e6, 1e9, 0.03) == pytest.approx(2 * peak_impact(1e6, 1e9, 0.03))
    costs = CostSettings(half_spread_bp=1, slippage_bp=1)
    assert taker_cost(costs, 0.01 * 1e9, 1e9, 0.03) == pytest.approx(2e-4 + 0.002)  # the mean is two thirds
    assert taker_cost(costs, 1e6, 0.0, 0.03) == pytest.approx(2e-4)


def test_only_what_the_top_of_the_book_lacks_pays_impact():
    assert sweep_price(100.0, 5.0, 4.0, True, 0.01) == 100.0
    assert sweep_price(100.0, 5.0, 10.0, True, 0.01) == pytest.approx(100.5)
    assert sweep_price(100.0, 0.0, 10.0, False, 0.01) == pytest.approx(99.0)


PAPER = ac.Impact(volatility=0.95, permanent=2.5e-7, temporary=2.5e-6, fixed=0.0625)


def test_almgren_chriss_gives_the_papers_numbers():
    left = ac.path(1e6, 5, 5, PAPER, 1e-6)
    assert left[1:] == pytest.approx([541_956, 289_854, 147_897, 62_142, 0], abs=0.6)
    assert ac.urgency(1.0, PAPER, 1e-6) == pytest.approx(0.6071, abs=5e-5)
    expected, variance = ac.cost(left, 5, PAPER)
    assert (expected, math.sqrt(variance)) == (pytest.approx(911_227, abs=1), pytest.approx(603_431, abs=1))
    assert expected + 1e-6 * variance == pytest.approx(1_275_356, abs=2)
    twap, risk = ac.cost(ac.path(1e6, 5, 5, PAPER, 0.0), 5, PAPER)
    assert (twap, math.sqrt(risk)) == (pytest.approx(662_500), pytest.approx(1_040_673, abs=1))


def test_almgren_chriss_tends_to_twap_and_is_the_optimum():
    straight = 1e6 * (1 - np.arange(6) / 5)
    assert ac.path(1e6, 5, 5, PAPER, 1e-20) == pytest.approx(straight, rel=1e-9)
    best = ac.path(1e6, 5, 5, PAPER, 2e-6)
    rng = np.random.default_rng(7)

    def utility(left):
        expected, variance = ac.cost(left, 5, PAPER)
        return expected + 2e-6 * variance

    for _ in range(50):
        other = best.copy()
        other[1:-1] += rng.normal(0, 1e4, 4)
        assert utility(other) > utility(best)


SETTINGS = DecisionSettings()
GOOD = dict(
    side=1,
    confidence=0.7,
    hazard=0.1,
    bias=0,
    trap=0,
    source="rules",
    policy_target=0.5,
    absent={"crowd": "no champion"},
)
NAN = math.nan


@pytest.mark.parametrize(
    ("seat", "seen", "choice"),
    [
        ("forecaster", {"confidence": 0.6}, Choice.APPROVE),
        ("forecaster", {"confidence": math.nextafter(0.6, 0)}, Choice.REJECT),
        ("forecaster", {"confidence": NAN}, Choice.ABSTAIN),
        ("crowd", {"hazard": 0.35}, Choice.APPROVE),
        ("crowd", {"hazard": math.nextafter(0.35, 1)}, Choice.REJECT),
        ("crowd", {"hazard": NAN}, Choice.ABSTAIN),
        ("analyst", {"bias": 1, "trap": -1}, Choice.APPROVE),
        ("analyst", {"bias": -1}, Choice.REJECT),
        ("analyst", {"trap": 1}, Choice.REJECT),
        ("analyst", {"bias": NAN}, Choice.ABSTAIN),
        ("analyst", {"trap": NAN}, Choice.ABSTAIN),
        ("analyst", {"side": -1, "bias": -1, "trap": 1}, Choice.APPROVE),
        ("policy", {"policy_target": 1e-9}, Choice.APPROVE),
        ("policy", {"policy_target": 0.0}, Choice.REJECT),
        ("policy", {"policy_target": -1.0}, Choice.REJECT),
        ("policy", {"side": -1, "policy_target": -1.0}, Choice.APPROVE),
        ("policy", {"policy_target": NAN}, Choice.ABSTAIN),
    ],
)
def test_seats(seat, seen, choice):
    cast = committee.SEATS[seat](committee.Proposal(**{**GOOD, **seen}), SETTINGS)
    assert (cast.seat, cast.choice) == (seat, choice)
    assert cast.reason


def test_an_empty_seat_says_why():
    cast = committee.crowd_seat(committee.Proposal(**{**GOOD, "hazard": NAN}), SETTINGS)
    assert cast.reason == "no champion"


def test_three_approvals_of_four_with_the_proposers_own_pass_and_an_abstention_is_none():
    for choices in product(Choice, repeat=4):
        votes = tuple(committee.Vote(seat, choice, "") for seat, choice in zip(committee.SEATS, choices, strict=True))
        stands = choices[0] is Choice.APPROVE
        assert committee.passes(votes, SETTINGS) == (stands and choices.count(Choice.APPROVE) >= 3)
        assert committee.passes(votes[::-1], SETTINGS) == committee.passes(votes, SETTINGS)


def test_assumed_seats_approve():
    votes = committee.vote(
        committee.Proposal(**{**GOOD, "hazard": NAN, "policy_target": -1}), SETTINGS, {"crowd", "policy"}
    )
    assert [v.choice for v in votes] == [Choice.APPROVE] * 4
