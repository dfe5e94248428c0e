"""Amending resting orders: what changes, what is refused, and when an amendment ends the order."""

from __future__ import annotations

from typing import Any

import ccxt
import pytest
from venue_harness import Served

from hydra_core.domain.pairs import Pair, ccxt_symbol

BTC = Pair("BTCUSDT")
SYMBOL = ccxt_symbol(BTC)


@pytest.fixture
async def resting(venue: Served, exchange: Any) -> Any:
    best = venue.market.quote(BTC, await venue.now_ms())
    price = round(best.bid * 0.98, 1)
    return await exchange.create_order(SYMBOL, "limit", "buy", 0.05, price, {"clientOrderId": "kept"})


async def amend(exchange: Any, order: Any, amount: float, price: float) -> Any:
    return await exchange.edit_order(order["id"], SYMBOL, "limit", "buy", amount, price)


async def test_quantity_and_price_change_and_the_order_stays_itself(exchange: Any, resting: Any) -> None:
    changed = await amend(exchange, resting, 0.03, round(resting["price"] * 0.99, 1))
    assert (changed["id"], changed["amount"], changed["status"]) == (resting["id"], 0.03, "open")
    [found] = await exchange.fetch_open_orders(SYMBOL)
    assert (found["id"], found["clientOrderId"], found["amount"], found["price"]) == (
        resting["id"], "kept", 0.03, round(resting["price"] * 0.99, 1),
    )  # fmt: skip
    used = (await exchange.fetch_balance())["USDT"]["used"]
    assert used == pytest.approx(0.03 * found["price"] / 20, abs=1e-6)


async def test_an_amended_order_meets_the_book(venue: Served, exchange: Any, resting: Any) -> None:
    best = venue.market.quote(BTC, await venue.now_ms())
    crossed = await amend(exchange, resting, 0.05, best.ask)
    assert (crossed["status"], crossed["filled"], crossed["average"]) == ("closed", 0.05, best.ask)


async def test_less_than_is_filled_ends_the_order(venue: Served, exchange: Any, resting: Any) -> None:
    await venue.control("POST", "faults", {"kind": "fill", "client_id": "kept", "quantity": "0.02"})
    ended = await amend(exchange, resting, 0.02, resting["price"])
    assert (ended["status"], ended["filled"]) == ("canceled", 0.02)


@pytest.mark.parametrize(
    ("amount", "factor", "code"), [(0.05, 1.0, -5027), (0.05, 0.5, -4024), (3.7, 1.0, -2019), (0.0123, 1.0, -1111)]
)
async def test_refused_amendments_leave_the_order_as_it_was(
    exchange: Any, resting: Any, amount: float, factor: float, code: int
) -> None:
    request = {
        "symbol": BTC,
        "orderId": resting["id"],
        "side": "BUY",
        "quantity": amount,
        "price": round(resting["price"] * factor, 1),
    }
    with pytest.raises(ccxt.BaseError, match=str(code)):
        await exchange.fapiPrivatePutOrder(request)
    [found] = await exchange.fetch_open_orders(SYMBOL)
    assert (found["amount"], found["price"]) == (0.05, resting["price"])


async def test_only_what_rests_can_be_amended(exchange: Any, resting: Any) -> None:
    await exchange.cancel_order(resting["id"], SYMBOL)
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await amend(exchange, resting, 0.03, resting["price"])
