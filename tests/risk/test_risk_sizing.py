"""What a signal permits: Kelly on the net payoff, the risk of one trade, leverage by regime, the book's caps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.risk.exposure import correlation_penalty, gross_cap, trimmed
from hydra_core.risk.limits import Limits
from hydra_core.risk.sizing import LIQUIDATION_CLEARANCE, MAINTENANCE_RATE, kelly, leverage_cap, payoff, size
from hydra_core.settings import RiskSettings

LIMITS = Limits()
signals = st.floats(-0.2, 0.2)
shares = st.floats(0, 1)


def sized(expected, confidence, adverse=0.01, volatility=0.02, multiplier=1.0, cap=3.0, rate=MAINTENANCE_RATE):
    arrays = [np.array([x]) for x in (expected, confidence, adverse, volatility, multiplier, cap, rate)]
    return size(*arrays, LIMITS)


@pytest.mark.parametrize(
    ("p", "b", "f"), [(0.6, 1.0, 0.2), (0.5, 2.0, 0.25), (0.5, 1.0, 0.0), (0.4, 1.0, -0.2), (1.0, 3.0, 1.0)]
)
def test_kelly_is_the_textbook_formula(p, b, f):
    assert kelly(np.array(p), np.array(b)) == pytest.approx(f)


def test_the_payoff_is_that_of_simulated_normal_returns():
    draws = np.random.default_rng(7).normal(0.4, 1.0, 1_000_000)
    gain, loss = payoff(np.array(0.4), np.array(1.0))
    assert gain == pytest.approx(draws[draws > 0].mean(), abs=0.004)
    assert loss == pytest.approx(-draws[draws < 0].mean(), abs=0.004)


def test_a_fair_probability_and_payoff_make_kelly_positive_exactly_where_the_net_mean_is():
    for mean in (-0.5, -0.01, 0.01, 0.5):
        gain, loss = payoff(np.array(mean), np.array(1.0))
        p = 0.5 * math.erfc(-mean / math.sqrt(2))
        assert (kelly(np.array(p), gain / loss) > 0) == (mean > 0)


@settings(deadline=None)
@given(signals, shares, st.floats(0, 0.3), st.floats(1e-4, 0.3), st.floats(0.001, 0.5))
def test_the_stop_never_costs_more_than_the_risk_of_one_trade_and_lies_before_the_liquidation(
    er, p, adverse, sigma, rate
):
    got = sized(er, p, adverse, sigma, cap=20.0, rate=rate)
    share, stop = min(got.kelly_share[0], got.risk_share[0]), got.stop_distance[0]
    assert share * stop <= LIMITS.risk.risk_per_trade * (1 + 1e-9)
    assert stop >= min(0.95, LIMITS.risk.stop_sigmas * sigma)
    if got.leverage[0] > 1:
        assert 1 / got.leverage[0] - rate >= LIQUIDATION_CLEARANCE * stop * (1 - 1e-9)


@settings(deadline=None)
@given(signals, shares)
def test_what_does_not_pay_the_round_trip_is_not_a_proposal(er, p):
    got = sized(er, p)
    if abs(er) <= LIMITS.round_trip:
        assert not got.edge[0] > 0
        assert got.kelly_share[0] == 0


@pytest.mark.parametrize("hole", range(4))
def test_a_signal_with_a_hole_is_no_signal(hole):
    values = [0.03, 0.7, 0.01, 0.02]
    values[hole] = math.nan
    got = sized(*values)
    assert got.side[0] == 0
    assert math.isnan(got.edge[0])


def test_kelly_grows_with_confidence_and_the_pair_multiplier_scales_both_shares():
    assert sized(0.03, 0.7).kelly_share[0] > sized(0.03, 0.6).kelly_share[0] > 0
    half, whole = sized(0.03, 0.7, multiplier=0.5), sized(0.03, 0.7)
    assert half.kelly_share[0] == pytest.approx(0.5 * whole.kelly_share[0])
    assert half.risk_share[0] == pytest.approx(0.5 * whole.risk_share[0])


@pytest.mark.parametrize(
    ("regimes", "cap"),
    [((1, 0, 0), 3.0), ((0, 1, 0), 1.8), ((0, 0, 1), 1.0), ((0.5, 0.5, 0), 2.4), ((math.nan,) * 3, 1.0)],
)
def test_leverage_falls_with_the_regime_and_an_unknown_one_is_the_worst(regimes, cap):
    assert leverage_cap(np.array(regimes), LIMITS) == pytest.approx(cap)


def test_the_correlation_penalty_is_full_for_a_copy_none_for_a_hedge_and_full_where_unknown():
    same, unknown = [[1.0, 1.0], [1.0, 1.0]], [[1.0, math.nan], [math.nan, 1.0]]
    assert correlation_penalty(0, 1, [0.0, 500.0], same, 0.7) == pytest.approx(0.3)
    assert correlation_penalty(0, -1, [0.0, 500.0], same, 0.7) == 1.0
    assert correlation_penalty(0, -1, [0.0, 500.0], unknown, 0.7) == pytest.approx(0.3)
    assert correlation_penalty(0, 1, [500.0, 0.0], same, 0.7) == 1.0
    assert correlation_penalty(0, 1, [0.0, 500.0], [[1.0, 0.5], [0.5, 1.0]], 0.7) == pytest.approx(0.65)


@settings(deadline=None)
@given(st.lists(st.floats(-1000, 1000), min_size=4, max_size=4), st.floats(1, 60_000))
def test_trimming_brings_every_book_inside_the_caps_and_leaves_a_small_one_alone(quantities, equity):
    risk, prices = RiskSettings(), [1.0, 10.0, 100.0, 40.0]
    kept = trimmed(quantities, prices, equity, risk, 0.125)
    notionals = [abs(q) * p for q, p in zip(kept, prices, strict=True)]
    assert max(notionals) <= risk.max_position_notional
    assert sum(notionals) <= gross_cap(equity, risk) * (1 + 1e-12)
    assert all(k * q >= 0 and abs(k) <= abs(q) for k, q in zip(kept, quantities, strict=True))
    before = [abs(q) * p for q, p in zip(quantities, prices, strict=True)]
    if max(before) <= risk.max_position_notional and sum(before) <= gross_cap(equity, risk):
        assert kept == quantities
