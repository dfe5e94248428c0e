"""Liquidation prices against the exchange's published formula and against the definition they solve."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.errors import UsageError
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.risk.limits import Limits
from hydra_core.risk.margin import (
    Tier,
    isolated_liquidation,
    liquidation_price,
    maintenance,
    rate_at,
    table_of,
    tiers,
)
from hydra_core.settings import RiskSettings

STEPS = ((0.0, 0.004), (50_000.0, 0.005), (250_000.0, 0.01), (1_000_000.0, 0.025), (10_000_000.0, 0.05))
TABLE = tiers(STEPS)
BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")


@pytest.mark.parametrize(("quantity", "price"), [(1.0, 54_221.1055), (-1.0, 65_721.3930)])
def test_the_published_example(quantity, price):
    assert liquidation_price(quantity, 60_000, 6_000, [Tier(0, 0.005, 50)]) == pytest.approx(price, abs=5e-5)


def test_cumulative_amounts_are_the_exchanges():
    assert [round(tier.cum, 6) for tier in TABLE] == [0, 50, 1_300, 16_300, 266_300]


@given(st.sampled_from(TABLE[1:]), st.floats(1e-9, 1e-3))
def test_the_requirement_is_continuous_over_every_edge(tier, distance):
    below, above = maintenance(tier.floor * (1 - distance), TABLE), maintenance(tier.floor * (1 + distance), TABLE)
    assert 0 <= above - below <= 2.1 * distance * tier.floor * tier.rate


@given(st.floats(0.001, 500), st.sampled_from([-1, 1]), st.floats(0.01, 100_000), st.floats(1.0, 20.0))
def test_at_the_liquidation_price_equity_is_the_maintenance_margin(size, side, entry, leverage):
    """To 1e-8 USDT; beyond a notional of 2.5 million to what float64 keeps of it, 4e-15 (at worst 8e-16 in 200,000 draws)."""
    quantity, wallet = side * size, size * entry / leverage
    price = liquidation_price(quantity, entry, wallet, TABLE)
    if price is None:
        assert side == 1
        assert wallet - size * entry >= -1e-6 * size * entry
    else:
        equity = wallet + quantity * (price - entry)
        assert equity == pytest.approx(maintenance(size * price, TABLE), abs=max(1e-8, 4e-15 * size * entry))


@given(st.floats(1.0, 20.0), st.sampled_from([-1, 1]))
def test_one_rate_is_the_general_formula_with_one_tier(leverage, side):
    general = liquidation_price(side * 2.0, 100.0, 200.0 / leverage, [Tier(0, 0.01)])
    assert isolated_liquidation(side, 100.0, leverage, 0.01) == pytest.approx(general or 0.0, rel=1e-9, abs=1e-9)


def test_tiers_that_do_not_ascend_are_refused():
    for steps in ([], [(1.0, 0.01)], [(0.0, 0.01), (0.0, 0.02)], [(0.0, 0.02), (5.0, 0.01)]):
        with pytest.raises(UsageError):
            tiers(steps)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("leverage", [1.0, 2.0, 5.0, 10.0, 20.0])
@pytest.mark.parametrize(
    "notional", [1_000, 49_999, 50_001, 249_000, 260_000, 990_000, 1_100_000, 9_900_000, 12_000_000]
)
def test_the_liquidation_price_is_the_tier_formulas_within_one_tick(side, leverage, notional):
    """Against the definition itself: the first price, tick by tick, at which equity no longer covers the requirement."""
    entry, tick = 60_000.0, 0.1
    size = notional / entry
    wallet = notional / leverage

    def covered(price):
        return wallet + side * size * (price - entry) > maintenance(size * price, TABLE)

    price = liquidation_price(side * size, entry, wallet, TABLE)
    low, high = (tick, entry) if side > 0 else (entry, 10 * entry)
    if covered(low if side > 0 else high):
        assert price is None or price < tick
        return
    while high - low > tick / 100:
        middle = (low + high) / 2
        inside = covered(middle)
        low, high = (low, middle) if inside == (side > 0) else (middle, high)
    assert price == pytest.approx((low + high) / 2, abs=tick)


@pytest.mark.parametrize(
    ("notional", "rate"),
    [(0, 0.004), (49_999.99, 0.004), (50_000, 0.005), (250_000, 0.01), (999_999, 0.01), (1e9, 0.05)],
)
def test_a_notional_has_the_rate_of_the_step_that_it_falls_into(notional, rate):
    assert rate_at(STEPS, notional) == rate


@pytest.mark.parametrize(("most", "rate"), [(49_999.0, 0.004), (50_000.0, 0.005), (2_000_000.0, 0.025)])
def test_limits_go_by_the_table_that_an_exchange_shows_and_else_by_what_is_assumed(most, rate):
    filters = [Decimal(1)] * 4
    rules = {BTC: MarketRules(BTC, *filters, margin_steps=STEPS), ETH: MarketRules(ETH, *filters)}
    limits = Limits(risk=RiskSettings(max_position_notional=most))
    assert limits.under(rules).maintenance == {BTC: rate}
    assert limits.under({ETH: rules[ETH]}) == limits
    assert table_of(rules[BTC]) == TABLE
    assert table_of(rules[ETH]) == (Tier(0.0, 0.01),), "the one rate that is public"
