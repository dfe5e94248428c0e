"""The account's arithmetic on its own: money is conserved whatever the fills, and formulas match worked examples."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.venue.account import (
    Account,
    Bracket,
    Position,
    bracket_of,
    brackets,
    liquidation_price,
    maintenance_margin,
    notional_cap,
)
from hydra_core.venue.margin import pair_margin
from hydra_core.venue.orders import AlgoOrder, Order, from_json, to_json

BTC, ETH, SOL = Pair("BTCUSDT"), Pair("ETHUSDT"), Pair("SOLUSDT")
RULES = MarketRules(BTC, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(50), max_leverage=20)
TABLE = brackets(RULES)

FILLS = st.lists(
    st.tuples(
        st.integers(-5_000, 5_000).filter(bool).map(lambda n: Decimal(n) / 1000),
        st.integers(300_000, 900_000).map(lambda n: Decimal(n) / 10),
    ),
    min_size=1,
    max_size=30,
)


@given(FILLS, st.integers(300_000, 900_000).map(lambda n: Decimal(n) / 10))
def test_realised_and_unrealised_profit_are_what_was_paid_and_got(
    fills: list[tuple[Decimal, Decimal]], mark: Decimal
) -> None:
    """Whatever the fills: realised + unrealised = value held - cash paid."""
    position, realised, cash = Position(), Decimal(0), Decimal(0)
    for quantity, price in fills:
        realised += position.fill(quantity, price, 0)
        cash -= quantity * price
    assert position.quantity == sum(quantity for quantity, _ in fills)
    assert realised + position.unrealised(mark) == pytest.approx(
        position.quantity * mark + cash, abs=Decimal("1e-7") * len(fills)
    )


@pytest.mark.parametrize(
    ("fills", "quantity", "entry", "realised"),
    [
        ([("1", "100"), ("1", "110")], "2", "105", "0"),
        ([("2", "100"), ("-1", "110")], "1", "100", "10"),
        ([("1", "100"), ("-1", "90")], "0", "0", "-10"),
        ([("1", "100"), ("-3", "120")], "-2", "120", "20"),
        ([("-2", "100"), ("5", "90")], "3", "90", "20"),
    ],
)
def test_fills_by_example(fills: list[tuple[str, str]], quantity: str, entry: str, realised: str) -> None:
    position = Position()
    total = sum(position.fill(Decimal(size), Decimal(price), 0) for size, price in fills)
    assert (position.quantity, position.entry, total) == (Decimal(quantity), Decimal(entry), Decimal(realised))


def test_maintenance_margin_is_continuous_over_the_brackets() -> None:
    for step in TABLE[1:]:
        below, above = maintenance_margin(TABLE, step.floor - Decimal("0.01")), maintenance_margin(TABLE, step.floor)
        assert abs(above - below) < Decimal("0.01")
    assert bracket_of(TABLE, Decimal(60_000)).number == 2
    assert [notional_cap(TABLE, leverage) for leverage in (20, 10, 5, 2)] == [50_000, 250_000, 1_000_000, 10_000_000]


@given(
    st.sampled_from([-1, 1]),
    st.integers(1, 900).map(lambda n: Decimal(n) / 1000),
    st.integers(500, 5_000).map(Decimal),
)
def test_at_the_liquidation_price_the_balance_is_the_maintenance_margin(
    side: int, size: Decimal, wallet: Decimal
) -> None:
    """To 1e-8 USDT: the account counts in decimals of 28 digits, so only the quotient is rounded."""
    account = Account(wallet)
    account.position(BTC).fill(side * size, Decimal(50_000), 0)
    marks = {BTC: Decimal(50_000)}
    price = liquidation_price(account, BTC, marks, {BTC: TABLE})
    step = bracket_of(TABLE, size * marks[BTC])
    if price:
        balance = wallet + account.position(BTC).unrealised(price)
        assert balance == pytest.approx(size * price * step.maintenance - step.cumulative, abs=Decimal("1e-8"))


def one_rate(maintenance: str, cumulative: str = "0") -> tuple[Bracket, ...]:
    return (Bracket(1, Decimal(0), Decimal(10**9), 20, Decimal(maintenance), Decimal(cumulative)),)


OTHERS = {ETH: (Decimal(-10), Decimal(3_000), Decimal(3_100)), SOL: (Decimal(100), Decimal(150), Decimal(155))}
"""Positions beside the one that is asked about: quantity, entry, mark. Together they have lost 1 000 - 500 USDT."""
OTHER_RATES = {ETH: one_rate("0.01"), SOL: one_rate("0.02")}
"""They claim 10 x 3 100 x .01 + 100 x 155 x .02 = 620 USDT."""


@pytest.mark.parametrize(
    ("quantity", "pairs", "equation", "price"),
    [
        (1, (), "(6000 + 50 - 60000) / (.005 - 1)", "54221.1055"),
        (-1, (), "(6000 + 50 + 60000) / (.005 + 1)", "65721.3930"),
        (1, (ETH,), "(6000 - 310 - 1000 + 50 - 60000) / (.005 - 1)", "55537.6884"),
        (1, (ETH, SOL), "(6000 - 620 - 500 + 50 - 60000) / (.005 - 1)", "55346.7337"),
        (-1, (ETH, SOL), "(6000 - 620 - 500 + 50 + 60000) / (.005 + 1)", "64606.9652"),
    ],
)
def test_other_positions_move_the_liquidation_price_by_their_margin_and_their_profit(
    quantity: int, pairs: tuple[Pair, ...], equation: str, price: str
) -> None:
    """LP = (WB - TMM1 + UPNL1 + cum - q EP) / (|q| MMR - q) of 1 BTC at 60 000 with a wallet of 6 000, MMR .5 %, cum 50,
    by hand to its four digits; there the whole account's equity is its whole maintenance margin, to 1e-8 USDT."""
    account = Account(Decimal(6_000))
    account.position(BTC).fill(Decimal(quantity), Decimal(60_000), 0)
    marks, tables = {BTC: Decimal(60_000)}, {BTC: one_rate("0.005", "50")}
    for pair in pairs:
        held, entry, marks[pair] = OTHERS[pair]
        account.position(pair).fill(held, entry, 0)
        tables[pair] = OTHER_RATES[pair]
    found = liquidation_price(account, BTC, marks, tables)
    assert found == pytest.approx(Decimal(price), abs=Decimal("5e-5")), equation
    marks[BTC] = found
    equity = account.wallet + account.unrealised(marks)
    assert equity == pytest.approx(account.maintenance(marks, tables), abs=Decimal("1e-8"))


def test_resting_orders_claim_margin_for_the_worse_side_only() -> None:
    orders = [(1, Decimal(100), Decimal(3)), (-1, Decimal(100), Decimal(1))]
    claim = pair_margin(Decimal(1), Decimal(100), 10, orders)
    assert (claim.position_initial, claim.order_initial) == (Decimal(10), Decimal(30))
    closing = pair_margin(Decimal(1), Decimal(100), 10, [(-1, Decimal(100), Decimal(1))])
    assert closing.order_initial == 0


def test_orders_survive_their_json() -> None:
    order = Order(1, "a", BTC, 1, "LIMIT", "GTC", Decimal("1.10"), Decimal("0.50"), True, 5, 6, "LIMIT")
    assert from_json(Order, to_json(order)) == order
    algo = AlgoOrder(
        2,
        "b",
        BTC,
        -1,
        "STOP_MARKET",
        "GTC",
        Decimal(0),
        Decimal(1),
        Decimal("9.5"),
        False,
        True,
        False,
        "MARK_PRICE",
        7,
        8,
    )
    assert from_json(AlgoOrder, to_json(algo)) == algo


def test_account_survives_its_json() -> None:
    account = Account(Decimal("12.34"), leverage={BTC: 7}, opened_ms=9)
    account.position(BTC).fill(Decimal("0.5"), Decimal("100.5"), 11)
    assert Account.from_json(account.to_json()) == account
