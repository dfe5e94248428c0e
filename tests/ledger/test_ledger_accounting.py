"""What fills do to a position and to cash: a table of small histories, and conservation over random ones."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.errors import HydraError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Position, Side
from hydra_core.ledger.accounting import apply_fill, funding_amount, total_unrealised, unrealised

BTC = Pair("BTCUSDT")


def fill(signed: Decimal | str, price: Decimal | str, fee: Decimal | str = "0", at: int = 0) -> Fill:
    size = Decimal(signed)
    side = Side.LONG if size > 0 else Side.SHORT
    return Fill("v", BTC, str(at), "o", "a", side, abs(size), Decimal(price), Decimal(fee), False, at)


# each history: fills (signed size @ price), then size, entry, realised in all, profit booked on the open position
HISTORIES = {
    "open long": ("+2@100", "2", "100", "0", "0"),
    "average up": ("+1@100 +1@110", "2", "105", "0", "0"),
    "reduce keeps the entry": ("+4@100 -1@110", "3", "100", "10", "10"),
    "close is flat": ("+4@100 -4@90", None, None, "-40", None),
    "short gains when prices fall": ("-2@100 +2@90", None, None, "20", None),
    "turning round starts anew": ("+2@100 -5@110", "-3", "110", "20", "0"),
    "short average down": ("-1@100 -3@80", "-4", "85", "0", "0"),
}


@pytest.mark.parametrize(("trades", "size", "entry", "realised", "booked"), HISTORIES.values(), ids=HISTORIES)
def test_a_history_of_fills(
    trades: str, size: str | None, entry: str | None, realised: str, booked: str | None
) -> None:
    held: Position | None = None
    total = Decimal(0)
    for at, trade in enumerate(trades.split()):
        done = apply_fill(held, fill(*trade.split("@"), at=at))
        held, total = done.position, total + done.realised
    assert total == Decimal(realised)
    if size is None:
        assert held is None
    else:
        assert held is not None
        assert (held.quantity, held.entry_price, held.realised) == (Decimal(size), Decimal(entry), Decimal(booked))


def test_a_turned_position_counts_from_the_fill_that_turned_it_and_has_no_stop() -> None:
    held = Position(BTC, Decimal(1), Decimal(100), opened_ms=1, stop_price=Decimal(90))
    turned = apply_fill(held, fill("-3", "95", at=7)).position
    assert turned == Position(BTC, Decimal(-2), Decimal(95), opened_ms=7)


def test_fees_leave_cash_and_not_the_realised_profit() -> None:
    booked = apply_fill(Position(BTC, Decimal(1), Decimal(100), 0), fill("-1", "110", fee="0.5"))
    assert (booked.realised, booked.cash_change) == (Decimal(10), Decimal("9.5"))


@pytest.mark.parametrize(("quantity", "price"), [("0", "100"), ("1", "0"), ("1", "-5")])
def test_a_fill_without_size_or_price_is_refused(quantity: str, price: str) -> None:
    broken = Fill("v", BTC, "1", "o", "a", Side.LONG, Decimal(quantity), Decimal(price), Decimal(0), False, 0)
    with pytest.raises(HydraError, match="quantity"):
        apply_fill(None, broken)


def test_longs_pay_while_the_rate_is_positive() -> None:
    assert funding_amount(Decimal(2), Decimal(100), Decimal("0.0001")) == Decimal("-0.02")
    assert funding_amount(Decimal(-2), Decimal(100), Decimal("0.0001")) == Decimal("0.02")


SIZES = st.decimals(min_value="-50", max_value="50", places=3).filter(lambda size: size != 0)
PRICES = st.decimals(min_value="0.01", max_value="99999", places=2)
FEES = st.decimals(min_value="-1", max_value="5", places=4)


@given(st.lists(st.tuples(SIZES, PRICES, FEES), max_size=25), PRICES)
def test_cash_and_unrealised_are_what_was_paid_and_received(
    trades: list[tuple[Decimal, Decimal, Decimal]], mark: Decimal
) -> None:
    """However fills come, worth at the mark equals the plain cash flow of every trade, fees included."""
    held: Position | None = None
    cash = Decimal(0)
    for at, (size, price, fee) in enumerate(trades):
        done = apply_fill(held, fill(size, price, fee, at))
        held, cash = done.position, cash + done.cash_change
    flow = sum((-size * price - fee for size, price, fee in trades), Decimal(0))
    size = sum((size for size, _, _ in trades), Decimal(0))
    assert (held.quantity if held else Decimal(0)) == size
    worth = cash + (unrealised(held, mark) if held else Decimal(0))
    assert abs(worth - (flow + size * mark)) <= Decimal("1e-12")


def test_a_position_without_a_mark_counts_at_entry() -> None:
    positions = [Position(BTC, Decimal(1), Decimal(100), 0), Position(Pair("ETHUSDT"), Decimal(1), Decimal(10), 0)]
    assert total_unrealised(positions, {BTC: Decimal(103)}) == Decimal(3)
