"""What an account goes through at an exchange that changes its rules, and other hands on it: M21 to M33."""

from __future__ import annotations

import contextlib
from decimal import Decimal

from hydra_core.domain.errors import UsageError
from hydra_core.domain.trading import Mode, OrderState, Side
from hydra_core.ledger.records import ADL, EXTERNAL, LIQUIDATION

from .registry import scenario
from .rig import Rig
from .trading import BTC, ETH, LIVE, PATIENT, trading, until


@scenario("M20", "a margin call shuts entries until the account has been compared")
async def margin_call(rig: Rig, seed: int) -> None:
    """The documented message: it is told, what opens a position is held back, and the next clean comparison opens again."""
    async with trading(rig) as hydra:
        await hydra.enter(0.03)
        line = {
            "s": BTC,
            "ps": "BOTH",
            "pa": "0.03",
            "mt": "CROSSED",
            "iw": "0",
            "mp": "187.17",
            "up": "-1.2",
            "mm": "1.6",
        }
        hydra.broker.on_user_event({"e": "MARGIN_CALL", "E": rig.clock.market_ms(), "cw": "3.16812045", "p": [line]})
        assert (await hydra.send("m20-shut", quantity="0.01")).state is OrderState.CANCELED
        report = await hydra.reconcile()
        assert [words for words in report.differences if words.startswith(f"margin call: {BTC} 0.03 at mark 187.17")]
        assert "margin call" in hydra.broker.standing.block
        await hydra.reconcile()
        assert not hydra.broker.standing.block
        assert (await hydra.send("m20-open", quantity="0.01")).state is OrderState.FILLED
        await hydra.agrees()


@scenario("M21", "market orders are refused for the price band")
async def outside_the_band(rig: Rig, seed: int) -> None:
    """-4131 on an exit: it goes on with limits that expire at once, each a little farther out, until it is flat."""
    async with trading(rig) as hydra:
        await hydra.enter(0.03)
        message = "The counterparty's best price does not meet the PERCENT_PRICE filter limit."
        await rig.fault("refuse", method="POST", path="/fapi/v1/order", code=-4131, message=message, times=1)
        hydra.home.kill_file.write_text("flatten\n")
        await until(lambda: _flat(hydra), "flat in the end")
        closing = [o for o in hydra.ledger.orders(hydra.account) if o.reduce_only and o.kind != "stop"]
        assert closing[-1].state is OrderState.REJECTED
        assert all(o.kind == "limit" and o.time_in_force == "IOC" for o in closing[:-1])
        await hydra.reconcile()
        await hydra.agrees()


async def _flat(hydra: object) -> bool:
    await hydra.round()  # type: ignore[attr-defined]
    return hydra.held() == 0  # type: ignore[attr-defined, no-any-return]


@scenario("M22", "step and tick change while trading")
async def filters_change(rig: Rig, seed: int) -> None:
    """-1111 for a size that was right a moment ago: the filters are read anew and the next order fits them."""
    async with trading(rig) as hydra:
        await hydra.enter(0.03)
        await rig.fault("filters", symbol=BTC, step_size="0.01", tick_size="1")
        hydra.plan(0.055)
        for _ in range(3):
            await hydra.round()
        assert hydra.rules[BTC].step_size == Decimal("0.01")
        hydra.plan(0.055, slices=2)
        await until(lambda: hydra.broker.ready(BTC), "ready")
        for _ in range(4):
            await hydra.round()
        assert hydra.held() == Decimal("0.05")
        await hydra.reconcile()
        await hydra.agrees()


@scenario("M23", "the least notional is raised while trading")
async def min_notional_is_raised(rig: Rig, seed: int) -> None:
    """-4164 once, then denied here; a remainder below it is closed by a reducing order."""
    async with trading(rig) as hydra:
        await hydra.enter(0.005)
        await rig.fault("filters", symbol=BTC, min_notional="2000")
        hydra.plan(0.01)
        for _ in range(4):
            await hydra.round()
        assert hydra.held() == Decimal("0.005")
        assert hydra.rules[BTC].min_notional == 2000
        small = await hydra.send("m23", quantity="0.005")
        assert small.state is OrderState.CANCELED
        assert await hydra.arrived("m23") == 0
        hydra.plan(0.0)
        await until(lambda: hydra.broker.ready(BTC), "ready")
        for _ in range(3):
            await hydra.round()
        assert hydra.held() == 0
        await hydra.reconcile()
        await hydra.agrees()


@scenario("M24", "nothing is left to reduce")
async def reduce_only_is_rejected(rig: Rig, seed: int) -> None:
    """The position is gone at the exchange; the exit's -2022 leads to a comparison, not to a loop, and the stop is
    swept."""
    async with trading(rig) as hydra:
        await hydra.enter(0.03)
        await hydra.round()
        await rig.fault("foreign_order", symbol=BTC, side="SELL", quantity="0.03", reduce_only=True)
        hydra.home.kill_file.write_text("flatten\n")
        before = len(await rig.requests(path="/fapi/v1/order", method="POST"))
        for _ in range(10):
            await hydra.round()
        assert len(await rig.requests(path="/fapi/v1/order", method="POST")) - before == 1
        await hydra.reconcile()
        await hydra.rounds(2)
        assert hydra.held() == 0
        assert not await hydra.gateway.open_stops()
        await hydra.agrees()


@scenario("M25", "no stop outlives its position")
async def orphan_stop(rig: Rig, seed: int) -> None:
    """The position is closed by the plan or by another hand: its stop is cancelled, and it could only have reduced."""
    async with trading(rig) as hydra:
        await hydra.enter(0.03)
        await hydra.round()
        [stop] = await hydra.gateway.open_stops()
        assert stop.reduce_only
        if rig.rng.random() < 0.5:
            hydra.plan(0.0)
            await hydra.rounds(2)
        else:
            await rig.fault("foreign_order", symbol=BTC, side="SELL", quantity="0.03", reduce_only=True)
        await hydra.reconcile()
        await hydra.rounds(3)
        assert hydra.held() == 0
        assert await hydra.gateway.open_stops() == []
        await hydra.agrees()


@scenario("M26", "the price is through the stop before it is placed")
@scenario("F26", "a stop cannot be placed")
async def stop_would_trigger(rig: Rig, seed: int) -> None:
    """The stop is refused, for the price or for any reason: the position is closed at the market at once."""
    async with trading(rig) as hydra:
        if rig.rng.random() < 0.5:
            words = {"code": -2021, "message": "Order would immediately trigger."}
        else:
            words = {"code": -4045, "message": "Reach max stop order limit."}
        await rig.fault("refuse", method="POST", path="/fapi/v1/algoOrder", times=-1, **words)
        hydra.plan(0.03)
        for _ in range(4):
            await hydra.round()
        assert hydra.held() == 0
        assert any("unprotected" in one.fill.reason for one in hydra.ledger.fills(hydra.account))
        await hydra.reconcile()
        await hydra.agrees()


@scenario("M26", "a transport error is no refusal")
async def stop_lost_on_the_way(rig: Rig, seed: int) -> None:
    """The stop's request is lost before it arrived: that closes nothing at once, the stop is placed again."""
    async with trading(rig) as hydra:
        await rig.fault("reset", method="POST", path="/fapi/v1/algoOrder")
        hydra.plan(0.03)
        for _ in range(4):
            await hydra.round()
        assert hydra.held() == Decimal("0.03")
        assert hydra.broker.protected(BTC)
        await hydra.reconcile()
        await hydra.agrees()


@scenario("M27", "orders fill in parts")
@scenario("F05", "a cancel is answered with what was filled")
async def partial_fills(rig: Rig, seed: int) -> None:
    """Parts now, the rest never: what was filled is kept with its fees, the stop has its size, the target is still
    reached."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        then = rig.rng.choice(("CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"))
        await rig.fault("partial", symbol=BTC, parts=rig.rng.randint(1, 4), share=0.5, then=then)
        hydra.plan(0.04)
        await hydra.round()
        first = next(o for o in hydra.ledger.orders(hydra.account) if o.kind == "market")
        assert first.state is (OrderState.CANCELED if then == "CANCELED" else OrderState.EXPIRED)
        assert first.filled == hydra.held() == Decimal("0.02")
        hydra.broker.protect(hydra.positions)
        await hydra.broker.settled()
        assert [o.quantity for o in await hydra.gateway.open_stops()] == [Decimal("0.02")]
        for _ in range(4):
            await hydra.round()
        assert hydra.held() == Decimal("0.04")
        assert [o.quantity for o in await hydra.gateway.open_stops()] == [Decimal("0.04")]
        assert (await hydra.reconcile()).clean
        await hydra.agrees()


@scenario("M27", "a resting order fills in parts and is cancelled")
@scenario("F05", "a resting order is cancelled after a part")
async def part_then_cancel(rig: Rig, seed: int) -> None:
    """A limit order fills a third, then is cancelled: CANCELED, with the third kept."""
    async with trading(rig) as hydra:
        price = await hydra.resting_price()
        await hydra.send("m27", kind="limit", price=price, quantity="0.03")
        await rig.fault("fill", client_id="m27", quantity="0.01")
        hydra.broker.cancel("m27", "enough")
        await hydra.broker.settled()
        order = hydra.ledger.order("m27")
        assert (order.state, order.filled) == (OrderState.CANCELED, Decimal("0.01"))
        assert hydra.held() == Decimal("0.01")
        await hydra.agrees()


@scenario("M28", "the account stands in hedge mode")
async def hedge_mode(rig: Rig, seed: int) -> None:
    """Hedge mode at the start: neither opening an account nor going on with one sends anything."""
    async with trading(rig) as hydra:
        assert hydra.broker.standing.block == ""
    await rig.fault("position_mode", dual=True)
    with contextlib.suppress(UsageError):
        async with trading(rig):
            raise AssertionError("an account in hedge mode was opened")
    async with trading(rig, fresh=False) as again:
        report = await again.reconcile()
        assert "hedge mode" in report.failed
        assert await again.round() is Mode.HALTED
        again.plan(0.02)
        assert await again.round() is Mode.HALTED
        order = await again.send("m28", quantity="0.02")
        assert order.state is OrderState.CANCELED
        assert not await again.rig.requests(path="/fapi/v1/order", method="POST")


@scenario("M29", "the leverage table is cut while trading")
async def brackets_change(rig: Rig, seed: int) -> None:
    """-2027 once: the table is read anew, and what is over its cap is denied here from then on."""
    async with trading(rig, PATIENT) as hydra:
        await rig.fault("brackets", symbol=BTC, max_leverage=20, cap=3_000)
        first = await hydra.send("m29-a", quantity="0.1")
        assert first.state is OrderState.REJECTED
        await until(lambda: hydra.broker.ready(BTC), "ready")
        second = await hydra.send("m29-b", quantity="0.1")
        assert second.state is OrderState.CANCELED
        assert "bracket" in second.reason
        assert await hydra.arrived("m29") == 0
        third = await hydra.send("m29-c", quantity="0.02")
        assert third.state is OrderState.FILLED
        await hydra.agrees()


@scenario("M30", "the account is liquidated")
@scenario("F27", "liquidation")
async def liquidation(rig: Rig, seed: int) -> None:
    """The exchange closes everything by itself: booked as a liquidation with its loss and fee, and halted until
    released."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        await hydra.enter(0.05)
        await hydra.enter(0.5, ETH)
        await rig.fault("liquidate")
        await hydra.reconcile()
        assert hydra.positions == {}
        assert "liquidation" in hydra.ledger.latched(hydra.account), "known before the guard's next round"
        orders = [o for o in hydra.ledger.orders(hydra.account) if o.plan_id == LIQUIDATION]
        assert {o.pair for o in orders} == {BTC, ETH}
        assert all(o.order_id.startswith("autoclose-") and o.state is OrderState.FILLED for o in orders)
        assert await hydra.round() is Mode.HALTED
        assert "liquidation" in hydra.ledger.latched(hydra.account)
        before = len(await rig.requests(path="/fapi/v1/order", method="POST"))
        hydra.plan(0.02)
        await hydra.rounds(3)
        assert len(await rig.requests(path="/fapi/v1/order", method="POST")) == before
        await hydra.reconcile()
        await hydra.agrees()


@scenario("M31", "a position is deleveraged")
@scenario("F27", "auto-deleveraging")
async def deleveraging(rig: Rig, seed: int) -> None:
    """A part or all of a position is taken by the exchange: booked as that, the pair barred for the day, the stop cut
    to size."""
    share = rig.rng.choice((0.5, 1.0))
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        await hydra.enter(0.04)
        await rig.fault("adl", symbol=BTC, share=share)
        await hydra.reconcile()
        left = Decimal("0.04") * (1 - Decimal(str(share)))
        assert hydra.held() == left
        assert any(o.plan_id == ADL for o in hydra.ledger.orders(hydra.account))
        barred = hydra.ledger.portfolio(hydra.account, {}, rig.clock.market_ms()).barred
        assert BTC in barred, "known before the guard's next round"
        await hydra.rounds(3)
        assert BTC in hydra.ledger.portfolio(hydra.account, {}, rig.clock.market_ms()).barred
        assert hydra.held() == left, "the target is not worked again"
        assert [o.quantity for o in await hydra.gateway.open_stops()] == ([left] if left else [])
        await hydra.reconcile()
        await hydra.agrees()


@scenario("M31", "it is deleveraged again: the exchange gives every such order one name")
@scenario("F27", "deleveraged twice")
async def deleveraged_twice(rig: Rig, seed: int) -> None:
    """Two orders of one name are two orders: each is booked with its own size, whoever tells of it first."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        await hydra.enter(0.04)
        for _ in range(2):
            await rig.fault("adl", symbol=BTC, share=0.5)
            if rig.rng.random() < 0.5:
                await hydra.reconcile()
        await hydra.reconcile()
        assert hydra.held() == Decimal("0.01")
        booked = [o for o in hydra.ledger.orders(hydra.account) if o.plan_id == ADL]
        assert sorted(o.filled for o in booked) == [Decimal("0.01"), Decimal("0.02")]
        assert {o.state for o in booked} == {OrderState.FILLED}
        await hydra.rounds(3)
        await hydra.reconcile()
        assert (await hydra.reconcile()).clean
        await hydra.agrees()


@scenario("M32", "another hand trades on the account")
async def foreign_hand(rig: Rig, seed: int) -> None:
    """A trade by hand: adopted under its own name within one comparison, the pair left alone for the day, nothing sent
    after it."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        await hydra.enter(0.04)
        way = rig.rng.choice(("close", "enlarge", "turn", "silent"))
        if way == "silent":
            await rig.fault("position", symbol=BTC, quantity="0.01", tell=False)
            goal = Decimal("0.01")
        else:
            side, size, goal = {
                "close": ("SELL", "0.04", "0"),
                "enlarge": ("BUY", "0.02", "0.06"),
                "turn": ("SELL", "0.06", "-0.02"),
            }[way]
            await rig.fault("foreign_order", symbol=BTC, side=side, quantity=size)
            goal = Decimal(goal)
        before = len(await rig.requests(path="/fapi/v1/order", method="POST"))
        await hydra.reconcile()
        assert hydra.held() == goal
        barred = hydra.ledger.portfolio(hydra.account, {}, rig.clock.market_ms()).barred
        assert BTC in barred, "known before the guard's next round"
        if way != "silent":
            assert [o.filled for o in hydra.ledger.orders(hydra.account) if o.plan_id == EXTERNAL] == [Decimal(size)]
        await hydra.rounds(3)
        assert len(await rig.requests(path="/fapi/v1/order", method="POST")) == before
        assert BTC in hydra.ledger.portfolio(hydra.account, {}, rig.clock.market_ms()).barred
        assert [o.quantity for o in await hydra.gateway.open_stops()] == ([abs(goal)] if goal else [])
        assert (await hydra.reconcile()).clean
        await hydra.agrees()


@scenario("M32", "resting orders of another hand, by policy")
@scenario("F09", "an unknown open order at the start")
async def foreign_orders_by_policy(rig: Rig, seed: int) -> None:
    """An unknown order rests at the start: booked as external, then left, cancelled, or a reason to halt, as the
    settings say."""
    policy = rig.rng.choice(("adopt", "cancel", "halt"))
    live = LIVE.model_copy(update={"foreign_orders": policy})
    async with trading(rig, live) as hydra:
        price = await hydra.resting_price()
    await rig.fault("foreign_order", symbol=BTC, quantity="0.02", price=price, client_id="web_one")
    async with trading(rig, live, fresh=False) as again:
        await again.reconcile("start")
        order = again.ledger.order("web_one")
        assert order.plan_id == EXTERNAL
        resting = [o.client_id for o in await again.gateway.open_orders()]
        mode = await again.round()
        if policy == "cancel":
            assert (order.state, resting) == (OrderState.CANCELED, [])
        else:
            assert (order.state, resting) == (OrderState.OPEN, ["web_one"])
        assert (mode is Mode.HALTED) == (policy == "halt")


@scenario("M33", "a pair is delisted while it is held")
@scenario("F27", "a pair is traded no more")
async def delisting(rig: Rig, seed: int) -> None:
    """A delivery date comes near: closed before it. It comes at once: openings are refused, the settlement is booked
    as such."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        await hydra.enter(0.04)
        if rig.rng.random() < 0.5:
            soon = rig.clock.market_ms() + 6 * 3_600_000
            await rig.fault("listing", symbol=BTC, status="TRADING", delivery_ms=soon)
            await hydra.broker.refresh_rules()
            await hydra.rounds(3)
            assert any("delivered" in one.fill.reason for one in hydra.ledger.fills(hydra.account))
            before = len(await rig.requests(path="/fapi/v1/order", method="POST"))
            hydra.plan(0.02)
            await hydra.rounds(3)
            assert len(await rig.requests(path="/fapi/v1/order", method="POST")) == before
        else:
            vanish = rig.rng.random() < 0.5
            await rig.fault("listing", symbol=BTC, status="SETTLING", vanish=vanish)
            await rig.advance(1_000)
            refused = await hydra.send("m33", quantity="0.02")
            assert refused.state is OrderState.REJECTED
            await rig.fault("settle", symbol=BTC)
            await hydra.reconcile()
            assert vanish or any(o.plan_id == "delisting" for o in hydra.ledger.orders(hydra.account))
            assert all(e.kind != "UNEXPLAINED" for e in hydra.ledger.cash_entries(hydra.account))
            await hydra.rounds(2)
        assert hydra.held() == 0
        await hydra.reconcile()
        assert await hydra.gateway.open_stops() == []
        await hydra.agrees()


@scenario("F24", "what the modes let through")
async def modes(rig: Rig, seed: int) -> None:
    """Halted lets cancels through and nothing else; reducing lets only smaller positions through."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        price = await hydra.resting_price()
        await hydra.send("f24", kind="limit", price=price, quantity="0.01")
        hydra.ledger.latch(hydra.account, "correlation_spike", "test", Mode.REDUCING, rig.clock.market_ms())
        hydra.plan(0.06)
        assert await hydra.round() is Mode.REDUCING
        assert hydra.ledger.order("f24").state is OrderState.CANCELED
        assert hydra.held() == Decimal("0.04")
        hydra.plan(0.03)
        await hydra.rounds(2)
        assert hydra.held() == Decimal("0.03")
        hydra.home.kill_file.write_text("halt\n")
        hydra.plan(0.01)
        assert await hydra.round() is Mode.HALTED
        assert hydra.held() == Decimal("0.03")
        assert hydra.broker.protected(BTC)
        rest = hydra.order("f24-short", side=Side.SHORT, quantity="0.01", reduce_only=True)
        assert rest.open
        await hydra.reconcile()
        assert hydra.held() == Decimal("0.03")
