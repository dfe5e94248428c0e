"""Every kill switch at its boundary, what it does, and which one wins."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Portfolio, Position
from hydra_core.risk.switches import SWITCHES, Stress, combine, evaluate, judge_market
from hydra_core.settings import RiskSettings

RISK = RiskSettings()
BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
CALM = Stress(0.3, 1.0, 0.0)
JUST_ABOVE = math.nextafter(0.85, 1)


def portfolio(equity=1000.0, peak=1000.0, day=1000.0, positions=None, **more):
    held = {p: Position(p, Decimal(q), Decimal(e), 0) for p, (q, e) in (positions or {}).items()}
    return Portfolio("test", equity, equity, peak, day, held, **more)


@pytest.mark.parametrize(
    ("account", "trips", "mode"),
    [
        (portfolio(), set(), Mode.ACTIVE),
        (portfolio(equity=950.01), set(), Mode.ACTIVE),
        (portfolio(equity=950.0), {"day_loss"}, Mode.FLATTEN),
        (portfolio(equity=949.0), {"day_loss"}, Mode.FLATTEN),
        (portfolio(equity=900.01, day=910), set(), Mode.ACTIVE),
        (portfolio(equity=900.0, day=910), {"drawdown"}, Mode.FLATTEN),
        (portfolio(equity=900.0), {"day_loss", "drawdown"}, Mode.FLATTEN),
        (portfolio(equity=-5.0), {"day_loss", "drawdown"}, Mode.FLATTEN),
        (portfolio(known=False), {"positions_unknown"}, Mode.HALTED),
        (portfolio(equity=math.nan), {"positions_unknown"}, Mode.HALTED),
        (portfolio(peak=math.nan), {"positions_unknown"}, Mode.HALTED),
        (portfolio(day=math.inf), {"positions_unknown"}, Mode.HALTED),
        (portfolio(day=0.0), {"positions_unknown"}, Mode.HALTED),
        (portfolio(latched={"manual": "by hand"}), {"manual"}, Mode.HALTED),
        (portfolio(latched={"drawdown": "yesterday"}), {"drawdown"}, Mode.FLATTEN),
        (portfolio(latched={"correlation_spike": "at noon"}), {"correlation_spike"}, Mode.REDUCING),
        (portfolio(latched={"from_another_version": "?"}), {"from_another_version"}, Mode.HALTED),
        (portfolio(equity=900.0, known=False, latched={"drawdown": "now"}), {"drawdown", "positions_unknown"}, Mode.HALTED),
    ],
)  # fmt: skip
def test_switches_on_the_account(account, trips, mode):
    judged = evaluate(account, {}, CALM, (), RISK)
    assert (set(judged.trips), judged.mode) == (trips, mode)
    assert all(judged.trips.values())


@pytest.mark.parametrize(
    ("quantity", "mark", "closes"),
    [
        ("1", 70.01, False),
        ("1", 70.0, True),
        ("1", 60.0, True),
        ("-1", 129.99, False),
        ("-1", 130.0, True),
        ("1", 130.0, False),
    ],
)
def test_a_position_that_lost_three_percent_of_equity_is_closed_and_the_rest_goes_on(quantity, mark, closes):
    judged = evaluate(
        portfolio(positions={BTC: (quantity, "100"), ETH: ("1", "50")}), {BTC: mark, ETH: 50}, CALM, (), RISK
    )
    assert judged.close == ({BTC} if closes else set())
    assert judged.mode is Mode.ACTIVE
    assert ("position_loss" in judged.trips) == closes


@pytest.mark.parametrize("mark", [None, math.nan, 0.0, math.inf])
def test_a_held_position_without_a_mark_may_only_shrink(mark):
    prices = {} if mark is None else {BTC: mark}
    judged = evaluate(portfolio(positions={BTC: ("1", "100")}), prices, CALM, (), RISK)
    assert (set(judged.trips), judged.mode) == ({"unreadable_input"}, Mode.REDUCING)


@pytest.mark.parametrize(
    ("stress", "trips"),
    [
        (CALM, set()),
        (Stress(0.85, 9.0, 0.0), set()),
        (Stress(0.99, 4.0, 0.0), set()),
        (Stress(JUST_ABOVE, math.nextafter(4, 5), 0.0), {"correlation_spike"}),
        (Stress(0.3, 1.0, 0.8999), set()),
        (Stress(0.3, 1.0, 0.9), {"extreme_regime"}),
        (Stress(0.9, 5.0, 0.95), {"correlation_spike", "extreme_regime"}),
        (Stress(math.nan, 1.0, 0.0), {"unreadable_input"}),
        (Stress(0.3, math.nan, 0.0), {"unreadable_input"}),
        (Stress(0.3, 1.0, math.nan), {"unreadable_input"}),
    ],
)
def test_switches_on_the_market_reduce(stress, trips):
    assert set(judge_market(stress, RISK)) == trips
    judged = evaluate(portfolio(), {}, stress, (), RISK)
    assert judged.mode is (Mode.REDUCING if trips else Mode.ACTIVE)


def test_faults_reduce_and_every_one_is_named():
    judged = evaluate(portfolio(), {}, Stress(math.nan, 1, 0), ("heartbeat is stale", "no candles"), RISK)
    assert judged.mode is Mode.REDUCING
    assert {"heartbeat is stale", "no candles"} <= set(judged.trips["unreadable_input"].split("; "))


@pytest.mark.parametrize(("manual", "name"), [(Mode.HALTED, "manual"), (Mode.FLATTEN, "manual_flatten")])
def test_the_manual_switch(manual, name):
    judged = evaluate(portfolio(), {}, None, (), RISK, manual)
    assert (judged.mode, set(judged.trips)) == (manual, {name})


def test_precedence_does_not_depend_on_order():
    ranks = [Mode.ACTIVE, Mode.REDUCING, Mode.HALTED, Mode.FLATTEN]
    for first, second in permutations(SWITCHES, 2):
        mode = combine([first, second])
        assert mode is combine([second, first])
        if "positions_unknown" in (first, second):
            assert mode is Mode.HALTED
        else:
            assert mode is max(SWITCHES[first].mode, SWITCHES[second].mode, key=ranks.index)
    assert combine([]) is Mode.ACTIVE


def test_the_design_says_what_latches():
    released_by_themselves = {name for name, switch in SWITCHES.items() if not switch.latches}
    assert released_by_themselves == {"position_loss", "unreadable_input", "positions_unknown"}


def test_limits_are_settings():
    tight = replace(portfolio(equity=979.0))
    assert evaluate(tight, {}, CALM, (), RiskSettings(day_loss_limit=0.02)).mode is Mode.FLATTEN
    assert evaluate(tight, {}, CALM, (), RISK).mode is Mode.ACTIVE
