"""Orders and the account through unmodified ccxt: their lives, their refusals, and the money they move."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest
from venue_harness import Served, served

from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.domain.pairs import Pair, ccxt_symbol

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
SYMBOL = ccxt_symbol(BTC)


async def quote(venue: Served, pair: Pair = BTC) -> Any:
    return venue.market.quote(pair, await venue.now_ms())


async def wallet(exchange: Any) -> Decimal:
    return Decimal((await exchange.fetch_balance())["info"]["totalWalletBalance"])


async def check_money(exchange: Any, opening: str = "10000") -> None:
    """Wallet = opening balance + everything in the wallet's history; position = sum of the fills."""
    entries = await exchange.fapiPrivateGetIncome({"limit": 1000})
    assert await wallet(exchange) == Decimal(opening) + sum(Decimal(entry["income"]) for entry in entries)
    fills = await exchange.fetch_my_trades(SYMBOL, limit=1000)
    held = sum(Decimal(fill["info"]["qty"]) * (1 if fill["side"] == "buy" else -1) for fill in fills)
    positions = await exchange.fetch_positions([SYMBOL])
    assert held == sum(Decimal(position["info"]["positionAmt"]) for position in positions)


async def test_market_order_fills_at_the_book_and_pays_its_fee(venue: Served, exchange: Any) -> None:
    best = await quote(venue)
    order = await exchange.create_order(SYMBOL, "market", "buy", 0.05, params={"clientOrderId": "one"})
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.05, best.ask)
    assert (await exchange.fetch_order(None, SYMBOL, {"clientOrderId": "one"}))["id"] == order["id"]
    fills = await exchange.fetch_my_trades(SYMBOL)
    fee = sum(fill["fee"]["cost"] for fill in fills)
    assert fee == pytest.approx(0.05 * best.ask * 0.0005, abs=1e-8)
    assert await wallet(exchange) == pytest.approx(Decimal(10_000) - Decimal(str(fee)), abs=Decimal("1e-8"))
    [position] = await exchange.fetch_positions([SYMBOL])
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.05, best.ask)
    mark = venue.market.mark(BTC, await venue.now_ms()).mark
    assert position["unrealizedPnl"] == pytest.approx(0.05 * (mark - best.ask), abs=0.01)
    await exchange.create_order(SYMBOL, "market", "sell", 0.05, params={"reduceOnly": True})
    assert await exchange.fetch_positions([SYMBOL]) == []
    await check_money(exchange)


async def test_a_large_order_walks_the_book_and_the_book_remembers(venue: Served, exchange: Any) -> None:
    depth = venue.market.depth(BTC, await venue.now_ms(), 3)
    amount = float(depth.asks[0, 1] + 0.001)
    await exchange.set_leverage(50, SYMBOL)
    ask = depth.asks[0, 0]
    small = min(amount, 0.1)
    first = await exchange.create_order(SYMBOL, "market", "buy", small)
    assert first["average"] == ask
    limit = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, ask, {"timeInForce": "IOC"})
    left = depth.asks[0, 1] - small
    assert limit["filled"] == (0.01 if left >= 0.01 else 0.0)


async def test_flipping_a_position_realises_the_closed_part_only(venue: Served, exchange: Any) -> None:
    bought = await exchange.create_order(SYMBOL, "market", "buy", 0.02)
    sold = await exchange.create_order(SYMBOL, "market", "sell", 0.05)
    [position] = await exchange.fetch_positions([SYMBOL])
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("short", 0.03, sold["average"])
    realised = [row for row in await exchange.fapiPrivateGetIncome() if row["incomeType"] == "REALIZED_PNL"]
    expected = 0.02 * (sold["average"] - bought["average"])
    assert sum(float(row["income"]) for row in realised) == pytest.approx(expected, abs=1e-8)
    await check_money(exchange)


async def test_limit_order_rests_is_seen_and_canceled(venue: Served, exchange: Any) -> None:
    best = await quote(venue)
    price = exchange.price_to_precision(SYMBOL, best.bid * 0.99)
    order = await exchange.create_order(SYMBOL, "limit", "buy", 0.05, float(price))
    assert (order["status"], order["filled"]) == ("open", 0.0)
    assert [one["id"] for one in await exchange.fetch_open_orders(SYMBOL)] == [order["id"]]
    balance = await exchange.fetch_balance()
    assert balance["USDT"]["used"] == pytest.approx(float(price) * 0.05 / 20, abs=1e-6)
    canceled = await exchange.cancel_order(order["id"], SYMBOL)
    assert canceled["status"] == "canceled"
    assert await exchange.fetch_open_orders(SYMBOL) == []
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await exchange.cancel_order(order["id"], SYMBOL)
    assert [one["status"] for one in await exchange.fetch_orders(SYMBOL)] == ["canceled"]


async def test_resting_order_is_filled_when_trades_reach_it(venue: Served, exchange: Any) -> None:
    now = await venue.now_ms()
    ahead = venue.market.trades(BTC, now + 1, now + 2 * HOUR_MS)
    lowest = float(ahead.price.min())
    price = round((lowest + (await quote(venue)).bid) / 2, 1)
    order = await exchange.create_order(SYMBOL, "limit", "buy", 0.05, price)
    reached = int(ahead.ts[ahead.price < price][0])
    await venue.pass_to(reached + 60_000)
    filled = await exchange.fetch_order(order["id"], SYMBOL)
    assert (filled["status"], filled["average"]) == ("closed", price)
    fills = await exchange.fetch_my_trades(SYMBOL)
    assert all(fill["takerOrMaker"] == "maker" for fill in fills)
    assert max(fill["timestamp"] for fill in fills) <= reached
    await check_money(exchange)


async def test_time_in_force(venue: Served, exchange: Any) -> None:
    best = await quote(venue)
    low = round(best.bid * 0.99, 1)
    expired = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, low, {"timeInForce": "IOC"})
    assert expired["status"] == "expired"
    with pytest.raises(ccxt.OrderNotFillable):
        await exchange.create_order(SYMBOL, "limit", "buy", 0.01, low, {"timeInForce": "FOK"})
    with pytest.raises(ccxt.OrderNotFillable):
        await exchange.create_order(SYMBOL, "limit", "buy", 0.01, best.ask, {"postOnly": True})
    maker = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, low, {"postOnly": True})
    assert maker["status"] == "open"


@pytest.mark.parametrize(
    ("order", "error", "code"),
    [
        (("market", "buy", 4.0, None, {}), ccxt.InsufficientFunds, -2019),
        (("market", "buy", 0.001, None, {"symbol": "DOGEUSDT", "quantity": "1"}), ccxt.InvalidOrder, -4164),
        (("market", "sell", 0.01, None, {"reduceOnly": True}), ccxt.InvalidOrder, -2022),
        (("limit", "buy", 0.01, 100.0, {}), ccxt.InvalidOrder, -4024),
        (("market", "buy", 0.01, None, {"quantity": "0.0123"}), ccxt.BadRequest, -1111),
        (("market", "buy", 0.01, None, {"quantity": "0"}), ccxt.BadRequest, -4003),
        (("market", "buy", 0.01, None, {"newClientOrderId": "no spaces"}), ccxt.InvalidOrder, -4015),
        (("market", "buy", 0.01, None, {"positionSide": "LONG"}), ccxt.OperationRejected, -4061),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_refused_orders(venue: Served, exchange: Any, order: Any, error: type[Exception], code: int) -> None:
    kind, side, amount, price, params = order
    with pytest.raises(ccxt.BaseError, match=str(code)) as raised:
        await exchange.create_order(SYMBOL, kind, side, amount, price, params)
    assert isinstance(raised.value, (error, ccxt.ExchangeError))
    assert await wallet(exchange) == 10_000
    assert await exchange.fetch_open_orders() == []


async def test_conditional_types_are_sent_to_their_own_endpoint(exchange: Any) -> None:
    with pytest.raises(ccxt.InvalidOrder, match="-4120"):
        await exchange.fapiPrivatePostOrder(
            {"symbol": BTC, "side": "BUY", "type": "STOP_MARKET", "quantity": "0.01", "stopPrice": "99999"}
        )


async def test_a_client_id_is_used_once(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.01, params={"clientOrderId": "same"})
    with pytest.raises(ccxt.InvalidOrder, match="-4116"):
        await exchange.create_order(SYMBOL, "market", "buy", 0.01, params={"clientOrderId": "same"})
    [position] = await exchange.fetch_positions([SYMBOL])
    assert position["contracts"] == 0.01


async def test_unknown_order(venue: Served, exchange: Any) -> None:
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await exchange.fetch_order("987654", SYMBOL)


async def test_who_is_not_the_owner_is_refused(venue: Served) -> None:
    stranger = await venue.exchange(secret="wrong")
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        await stranger.fetch_balance()
    stranger = await venue.exchange(apiKey="wrong")
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        await stranger.fetch_balance()
    late = await venue.exchange()
    now = await venue.now_ms()
    late.milliseconds = lambda: now - 20_000
    with pytest.raises(ccxt.InvalidNonce, match="outside of the recvWindow"):
        await late.fetch_balance()
    late.milliseconds = lambda: now + 5_000
    with pytest.raises(ccxt.InvalidNonce, match="ahead"):
        await late.fetch_balance()


async def test_leverage_and_modes(venue: Served, exchange: Any) -> None:
    assert int((await exchange.set_leverage(5, SYMBOL))["leverage"]) == 5
    assert (await exchange.fetch_leverage(SYMBOL))["longLeverage"] == 5
    tiers = await exchange.fetch_leverage_tiers([SYMBOL])
    assert tiers[SYMBOL][0]["maxLeverage"] == venue.market.rules(BTC).max_leverage
    assert tiers[SYMBOL][0]["maintenanceMarginRate"] == float(venue.market.rules(BTC).maintenance_margin)
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await exchange.set_margin_mode("cross", SYMBOL)
    assert (await exchange.fetch_position_mode())["hedged"] is False
    with pytest.raises(ccxt.BaseError, match="-4028"):
        await exchange.set_leverage(120, SYMBOL)
    await exchange.create_order(SYMBOL, "market", "buy", 0.1)
    balance = await exchange.fetch_balance()
    mark = venue.market.mark(BTC, await venue.now_ms()).mark
    assert balance["USDT"]["used"] == pytest.approx(0.1 * mark / 5, rel=1e-3)


async def test_reduce_only_never_turns_a_position_round(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.02)
    order = await exchange.create_order(SYMBOL, "market", "sell", 0.05, params={"reduceOnly": True})
    assert (order["filled"], order["status"]) == (0.02, "expired")
    assert await exchange.fetch_positions([SYMBOL]) == []


async def test_stop_triggers_as_an_algo_order(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.02)
    now = await venue.now_ms()
    ahead = venue.market.trades(BTC, now + 1, now + 4 * HOUR_MS)
    trigger = round((float(ahead.price.min()) + (await quote(venue)).bid) / 2, 1)
    stop = await exchange.create_order(
        SYMBOL, "market", "sell", 0.02, params={"stopLossPrice": trigger, "reduceOnly": True, "clientOrderId": "stop-1"}
    )
    assert stop["status"] == "open"
    assert await exchange.fetch_open_orders(SYMBOL) == []
    [waiting] = await exchange.fetch_open_orders(SYMBOL, params={"trigger": True})
    assert waiting["id"] == stop["id"]
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.fetch_order(stop["id"], SYMBOL)
    reached = int(ahead.ts[ahead.price <= trigger][0])
    await venue.pass_to(reached + 1_000)
    assert (await exchange.fetch_order(stop["id"], SYMBOL, {"trigger": True}))["info"]["algoStatus"] == "FINISHED"
    assert await exchange.fetch_positions([SYMBOL]) == []
    [fill] = (await exchange.fetch_my_trades(SYMBOL))[1:]
    assert fill["timestamp"] == reached
    await check_money(exchange)


async def test_conditional_orders_are_refused_and_canceled(venue: Served, exchange: Any) -> None:
    best = await quote(venue)
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        await exchange.create_order(SYMBOL, "market", "buy", 0.02, params={"triggerPrice": round(best.bid * 0.99, 1)})
    far = round(best.ask * 1.05, 1)
    order = await exchange.create_order(SYMBOL, "market", "buy", 0.02, params={"triggerPrice": far})
    await exchange.cancel_order(order["id"], SYMBOL, {"trigger": True})
    assert (await exchange.fetch_order(order["id"], SYMBOL, {"trigger": True}))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await exchange.cancel_order(order["id"], SYMBOL, {"trigger": True})


async def test_trailing_stop_follows_and_fires(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.02)
    order = await exchange.create_order(
        SYMBOL, "market", "sell", 0.02, params={"trailingPercent": 0.3, "reduceOnly": True}
    )
    now = await venue.now_ms()
    ahead = venue.market.trades(BTC, now + 1, now + 6 * HOUR_MS)
    top, fired = 0.0, 0
    for ts, price in zip(ahead.ts.tolist(), ahead.price.tolist(), strict=True):
        top = max(top, price)
        if price <= top * 0.997:
            fired = ts
            break
    assert fired
    await venue.pass_to(fired + 1_000)
    assert (await exchange.fetch_order(order["id"], SYMBOL, {"trigger": True}))["info"]["algoStatus"] == "FINISHED"
    assert (await exchange.fetch_my_trades(SYMBOL))[-1]["timestamp"] == fired


async def test_funding_is_settled_on_the_position(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.1)
    now = await venue.now_ms()
    settled = venue.market.funding(BTC, now + 1, now + 9 * HOUR_MS)
    at, rate = int(settled.ts[0]), float(settled.value[0])
    await venue.pass_to(at + 1_000)
    [row] = await exchange.fetch_funding_history(SYMBOL)
    mark = venue.market.mark(BTC, at).mark
    assert row["timestamp"] == at
    assert row["amount"] == pytest.approx(-0.1 * mark * rate, abs=1e-5)
    await check_money(exchange)


async def test_liquidation_takes_the_whole_account_and_is_named(tmp_path: Path) -> None:
    async with served(tmp_path / "small", balance=Decimal(1_000)) as venue:
        exchange = await venue.exchange()
        await exchange.set_leverage(50, SYMBOL)
        start = await venue.now_ms()
        ahead = venue.market.trades(BTC, start + 1, start + 3 * DAY_MS)
        first = float(ahead.price[0])
        rises = float(ahead.price.max()) / first - 1 > 1 - float(ahead.price.min()) / first
        amount = round(45_000 / first, 3)
        await exchange.create_order(SYMBOL, "market", "sell" if rises else "buy", amount)
        [position] = await exchange.fetch_positions([SYMBOL])
        limit = position["liquidationPrice"]
        beyond = ahead.price > limit * 1.001 if rises else ahead.price < limit * 0.999
        assert beyond.any(), "the market never gets there: choose another span"
        await venue.pass_to(int(ahead.ts[beyond][0]) + 60_000, speed=80_000)
        assert await exchange.fetch_positions([SYMBOL]) == []
        [closed] = await exchange.fetch_my_liquidations(SYMBOL)
        assert closed["info"]["clientOrderId"].startswith("autoclose-")
        assert closed["price"] == pytest.approx(limit, rel=0.01)
        assert 0 <= await wallet(exchange) < 500
        await check_money(exchange, "1000")


async def test_batches(venue: Served, exchange: Any) -> None:
    best = await quote(venue)
    low = round(best.bid * 0.98, 1)
    orders = await exchange.create_orders(
        [
            {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": low},
            {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 90.0, "price": low},
        ]
    )
    assert sorted(order["status"] for order in orders) == ["open", "rejected"]
    await exchange.cancel_orders([order["id"] for order in orders if order["status"] == "open"], SYMBOL)
    assert await exchange.fetch_open_orders(SYMBOL) == []


async def test_cancel_all(venue: Served, exchange: Any) -> None:
    low = round((await quote(venue)).bid * 0.98, 1)
    for _ in range(3):
        await exchange.create_order(SYMBOL, "limit", "buy", 0.01, low)
    await exchange.cancel_all_orders(SYMBOL)
    assert await exchange.fetch_open_orders(SYMBOL) == []


async def test_faults_strike_as_ordered(venue: Served, exchange: Any) -> None:
    await venue.control("POST", "faults", {"kind": "reset", "method": "POST", "path": ".*/order", "after": True})
    with pytest.raises(ccxt.NetworkError):
        await exchange.create_order(SYMBOL, "market", "buy", 0.01, params={"clientOrderId": "lost"})
    assert (await exchange.fetch_order(None, SYMBOL, {"clientOrderId": "lost"}))["status"] == "closed"
    await venue.control("POST", "faults", {"kind": "status", "path": ".*/order", "status": 503})
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.create_order(SYMBOL, "market", "buy", 0.01, params={"clientOrderId": "never"})
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.fetch_order(None, SYMBOL, {"clientOrderId": "never"})
    struck = (await venue.control("GET", "faults"))["struck"]
    assert [one["kind"] for one in struck] == ["reset", "status"]
