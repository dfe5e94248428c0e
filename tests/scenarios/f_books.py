"""The ledger against the exchange: refusals, missing and odd fills, restarts, foreign programs; F02 to F19."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal

import pytest

from hydra_core.broker import binance as wire
from hydra_core.domain.errors import VenueError
from hydra_core.domain.trading import Mode, OrderState, Side
from hydra_core.execution.orders import Word, client_order_id
from hydra_core.ledger.records import EXTERNAL

from .m_orders import lose_answer
from .registry import scenario
from .rig import Rig
from .trading import BTC, ETH, LIVE, PATIENT, trading, until

NOES = (
    (-2019, "Margin is insufficient.", 400),
    (-1111, "Precision is over the maximum defined for this asset.", 400),
    (-4164, "Order's notional must be no smaller than 100 (unless you choose reduce only).", 400),
    (-2015, "Invalid API-key, IP, or permissions for action.", 401),
)


@scenario("F09", "orders rest whose names the books gave up")
async def given_up_and_resting(rig: Rig, seed: int) -> None:
    """Sent under books that were lost; begun anew they booked the same intents and the process died: both are called in."""
    async with trading(rig, PATIENT) as hydra:
        await hydra.send("f09-held", quantity="0.02")
        price = await hydra.resting_price()
        far = await hydra.resting_price(away=0.2)
        stop = {"side": Side.SHORT, "kind": "stop", "quantity": "0.02", "reduce_only": True}
        await hydra.gateway.place(hydra.order("f09-entry", kind="limit", price=price, quantity="0.02"))
        await hydra.gateway.place_stop(hydra.order("f09-stop", stop=far, **stop))
        for name in ("f09-entry", "f09-stop"):
            hydra.broker.books.hear(name, Word.WITHDRAWN, "the process ended before it was sent")
        await hydra.reconcile()
        assert [one.client_id for one in await hydra.gateway.open_orders()] == []
        assert [one.client_id for one in await hydra.gateway.open_stops()] == ["f09-stop"]  # the only one that holds it
        hydra.broker.send_stop(hydra.order("f09-next", stop=price, **stop))
        await hydra.broker.settled()
        await hydra.reconcile()
        assert [one.client_id for one in await hydra.gateway.open_stops()] == ["f09-next"]
        await hydra.agrees()


@scenario("F02", "a definitive no")
async def definitive_no(rig: Rig, seed: int) -> None:
    """The exchange refuses the order itself: rejected once, the reason kept, nothing looked up, nothing sent again."""
    code, words, status = rig.rng.choice(NOES)
    async with trading(rig, PATIENT) as hydra:
        await rig.fault(
            "refuse", method="POST", path="/fapi/v1/order", code=code, message=words, status=status, times=-1
        )
        order = await hydra.send("f02", quantity="0.02")
        assert order.state is OrderState.REJECTED
        assert words[:30] in order.reason
        assert len(await rig.struck()) == 1
        assert not await rig.requests(path="/fapi/v1/order", method="GET")


@scenario("F02", "a query that fails is no reject")
async def failing_queries(rig: Rig, seed: int) -> None:
    """Limits, errors and silence on look-ups, many times over: the order stays UNKNOWN until the exchange has a word
    on it."""
    async with trading(rig) as hydra:
        await rig.fault("reset", method="POST", path="/fapi/v1/order", after=True)
        way = rig.rng.choice(({"kind": "status", "status": 503}, {"kind": "reset"},
                              {"kind": "refuse", "code": -1001, "status": 500}))  # fmt: skip
        number = await rig.fault(method="GET", path="/fapi/v1/order", times=-1, **way)
        hydra.broker.submit(hydra.order("f02b", quantity="0.02"))
        await until(lambda: _struck(rig, 6), "failing look-ups")
        assert hydra.ledger.order("f02b").state is OrderState.UNKNOWN
        report = await hydra.broker.reconcile("while look-ups fail")
        assert report.failed or report.unresolved
        assert hydra.broker.standing.block
        await rig.clear(number)
        await hydra.broker.settled()
        assert hydra.ledger.order("f02b").state is OrderState.FILLED
        await hydra.reconcile()
        await hydra.agrees()


@scenario("F03", "an order that nobody answered for is called back")
async def silent_order_is_called_back(rig: Rig, seed: int) -> None:
    """A switch is pulled while the fate of an order is unknown: its cancel is refused, which says nothing of it and raises no
    alarm; it is looked up as before, and its absence ends it."""
    live = LIVE.model_copy(update={"probe_window_s": 1.0})
    async with trading(rig, live) as hydra:
        await lose_answer(rig, executed=False)
        hydra.broker.submit(hydra.order("f03", quantity="0.02"))
        await until(lambda: hydra.ledger.order("f03").state is OrderState.UNKNOWN, "unknown")
        hydra.home.kill_file.write_text("halt\n")
        assert await hydra.round() is Mode.HALTED
        assert hydra.broker.books.alarms == []
        assert hydra.ledger.order("f03").state is OrderState.REJECTED
        assert await rig.requests(path="/fapi/v1/order", method="DELETE")
        assert (await hydra.reconcile()).clean
        assert await hydra.arrived("f03") == 0
        await hydra.agrees()


async def _struck(rig: Rig, count: int) -> bool:
    return len(await rig.struck()) >= count


@scenario("F06", "the fill is told before the order is acknowledged")
async def fill_before_answer(rig: Rig, seed: int) -> None:
    """The stream is faster than the answer: the fill is booked at once, and the answer behind it changes nothing."""
    async with trading(rig, stream=True) as hydra:
        await rig.fault("hang", method="POST", path="/fapi/v1/order", after=True, seconds=0.25)
        hydra.broker.submit(hydra.order("f06", quantity="0.02"))
        await until(lambda: hydra.ledger.order("f06").filled == Decimal("0.02"), "filled by the stream")
        await hydra.broker.settled()
        assert hydra.ledger.order("f06").state is OrderState.FILLED
        assert len(hydra.ledger.fills(hydra.account)) == len(
            {one.fill.trade_id for one in hydra.ledger.fills(hydra.account)}
        )
        await hydra.reconcile()
        await hydra.agrees()


@scenario("F07", "the stream loses fills, REST has them")
async def fills_missing_from_the_stream(rig: Rig, seed: int) -> None:
    """Some or all messages of a resting order's fills are lost: the comparison books them, average price and fees
    included."""
    async with trading(rig, stream=True) as hydra:
        price = await hydra.resting_price()
        await hydra.send("f07", kind="limit", price=price, quantity="0.03")
        await rig.fault("lose", event="ORDER_TRADE_UPDATE", times=rig.rng.choice((1, 2, -1)))
        await rig.fault("fill", client_id="f07", parts=3)
        await hydra.reconcile()
        order = hydra.ledger.order("f07")
        assert (order.state, order.filled, order.avg_price) == (OrderState.FILLED, Decimal("0.03"), Decimal(price))
        assert len(hydra.ledger.fills(hydra.account)) == 3
        assert hydra.ledger.fills(hydra.account)[0].fill.fee > 0
        await hydra.agrees()


@scenario("F08", "the fee is missing, or paid in another coin")
async def odd_fees(rig: Rig, seed: int) -> None:
    """A fee in another coin is converted at its mark; one that is missing, or in a coin without a price, is estimated and
    says so."""
    async with trading(rig) as hydra:
        recorded = []
        hydra.broker.on_user_event = recorded.append  # type: ignore[method-assign]
        await hydra.listen()
        record = hydra.order("f08", quantity="0.02")
        for word in (OrderState.PENDING,):
            hydra.broker.books.live["f08"] = hydra.ledger.move_order("f08", word, record.created_ms)
        await hydra.gateway.place(record)
        await until(lambda: any(m["e"] == "ORDER_TRADE_UPDATE" and m["o"]["x"] == "TRADE" for m in recorded), "a fill")
        del hydra.broker.on_user_event  # type: ignore[attr-defined]
        [told] = [m for m in recorded if m["e"] == "ORDER_TRADE_UPDATE" and m["o"]["x"] == "TRADE"]
        message = copy.deepcopy(told)
        way = rig.rng.choice(("missing", "ETH", "XYZ"))
        if way == "missing":
            del message["o"]["n"], message["o"]["N"]
        else:
            message["o"] |= {"n": "0.0002", "N": way}
        hydra.broker.on_user_event(message)
        [booked] = hydra.ledger.fills(hydra.account)
        notional = booked.fill.quantity * booked.fill.price
        if way == "ETH":
            assert booked.fill.fee == Decimal("0.0002") * Decimal(repr(hydra.view.marks[ETH].mark))
            assert "0.0002 ETH" in booked.fill.reason
        else:
            assert booked.fill.fee == notional * hydra.rules[BTC].taker_fee
            assert "estimated" in booked.fill.reason
        assert hydra.ledger.check_balance(hydra.account).faults == ()


CHANGES = {"more": "0.05", "less": "0.02", "opposite": "-0.03", "flat": "0"}


@scenario("F10", "the position differs at the start")
async def position_differs(rig: Rig, seed: int) -> None:
    """More, less, opposite, flat, or only at the exchange: one adjustment, entries shut until it matches, none the
    second time."""
    way = rig.rng.choice((*CHANGES, "only there"))
    pair = ETH if way == "only there" else BTC
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
    await rig.fault(
        "position", symbol=pair, quantity=CHANGES.get(way, "0.5"), entry="3000" if pair == ETH else "", tell=False
    )
    async with trading(rig, fresh=False) as again:
        assert again.broker.standing.block, "nothing may be opened before the first comparison"
        before = len(again.ledger.fills(again.account))
        report = await again.broker.reconcile("start")
        assert report.differences
        assert again.broker.standing.block
        shut = await again.send("f10", quantity="0.01")
        assert shut.state is OrderState.CANCELED
        added = again.ledger.fills(again.account)[: len(again.ledger.fills(again.account)) - before]
        assert len(added) == (2 if way == "opposite" else 1)
        assert again.held(pair) == Decimal(CHANGES.get(way, "0.5"))
        await again.round()
        await again.reconcile()
        assert again.broker.standing.block == ""
        settled = again.entries()
        await again.reconcile()
        assert again.entries() == settled
        await again.agrees()


@scenario("F11", "the trades that opened the position are beyond reach")
async def opening_fills_are_gone(rig: Rig, seed: int) -> None:
    """The position turned round while HYDRA was away and its trades cannot be read: opened anew at the exchange's price,
    resting orders kept."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.round()
        price = await hydra.resting_price(away=0.08)
        await hydra.send("f11", kind="limit", price=price, quantity="0.01")
    await rig.fault("position", symbol=BTC, quantity="-0.02", entry="61000", tell=False)
    async with trading(rig, fresh=False) as again:
        await again.broker.reconcile("start")
        held = again.positions[BTC]
        assert (held.quantity, held.entry_price) == (Decimal("-0.02"), Decimal(61_000))
        assert again.ledger.order("f11").state is OrderState.OPEN
        assert [o.client_id for o in await again.gateway.open_orders()] == ["f11"]
        assert (await again.reconcile()).clean
        assert again.ledger.order("f11").state is OrderState.OPEN


@scenario("F11", "the books are lost while a position is open")
async def books_are_lost(rig: Rig, seed: int) -> None:
    """The account is opened anew as the exchange holds it; the stop that rests is known as ours and goes on protecting at
    its price, no second one joins it, and it goes when the position does."""
    share = rig.rng.choice((0.93, 0.97))
    async with trading(rig) as hydra:
        await hydra.look(BTC)
        await hydra.enter(0.04, stop=round(hydra.view.quotes[BTC].bid * share, 1))
        await hydra.round()
        before = await hydra.gateway.open_stops()
        assert len(before) == 1
    for end in ("", "-wal", "-shm"):
        (rig.folder / f"ledger.db{end}").unlink(missing_ok=True)
    async with trading(rig) as again:
        await again.rounds(2)
        assert await again.gateway.open_stops() == before
        assert again.positions[BTC].stop_price == before[0].stop_price
        assert again.broker.protected(BTC)
        await again.agrees()
        again.plan(0.0)
        await again.rounds(4)
        assert again.positions == {}
        assert await again.gateway.open_stops() == []
        await again.reconcile()
        await again.agrees()


@scenario("F11", "a stop was still on its way when the books were lost")
async def stop_arrives_late(rig: Rig, seed: int) -> None:
    """It comes to rest beside the one that was placed anew: one of the two goes, one goes on protecting."""
    async with trading(rig) as hydra:
        await hydra.look(BTC)
        await hydra.enter(0.04, stop=round(hydra.view.quotes[BTC].bid * rig.rng.choice((0.93, 0.97)), 1))
        await hydra.round()
        resting = (await hydra.gateway.open_stops())[0]
        known = hydra.ledger.order(resting.client_id)
        late = replace(known, order_id=client_order_id("other books", BTC, 0, "stop"))
        await hydra.gateway.place_stop(late)
        assert len(await hydra.gateway.open_stops()) == 2
    for end in ("", "-wal", "-shm"):
        (rig.folder / f"ledger.db{end}").unlink(missing_ok=True)
    async with trading(rig) as again:
        await again.rounds(3)
        (left,) = await again.gateway.open_stops()
        assert (left.quantity, left.stop_price) == (resting.quantity, resting.stop_price)
        assert again.broker.protected(BTC)
        await again.agrees()


@scenario("F12", "a second restart")
async def second_restart(rig: Rig, seed: int) -> None:
    """After a crash with orders under way the first restart books what it finds, every further one nothing, with the
    same ids."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        price = await hydra.resting_price()
        await hydra.send("f12-a", kind="limit", price=price, quantity="0.03")
        record = hydra.order("f12-b", quantity="0.01")
        hydra.ledger.move_order("f12-b", OrderState.PENDING, record.created_ms)
        if rig.rng.random() < 0.5:
            await hydra.gateway.place(record)
        hydra.order("f12-c", quantity="0.01")
    await rig.fault("fill", client_id="f12-a", quantity=rig.rng.choice(("0.01", "")))
    async with trading(rig, fresh=False) as first:
        await first.reconcile("start")
        await first.reconcile()
        assert first.ledger.order("f12-c").state is OrderState.CANCELED
        assert first.ledger.order("f12-b").state in {OrderState.FILLED, OrderState.REJECTED}
        await first.agrees()
        entries, state = first.entries(), [(o.order_id, o.state, o.filled) for o in first.ledger.orders(first.account)]
    async with trading(rig, fresh=False) as second:
        report = await second.reconcile("start")
        assert report.clean
        assert report.changes == 0
        assert second.entries() == entries
        assert [(o.order_id, o.state, o.filled) for o in second.ledger.orders(second.account)] == state
        await second.agrees()


@scenario("F13", "a query fails during the comparison")
async def position_query_fails(rig: Rig, seed: int) -> None:
    """Positions, orders, trades or the wallet cannot be read: everything stays as it was, and is never read as flat."""
    path = rig.rng.choice(("/fapi/v3/positionRisk", "/fapi/v1/openOrders", "/fapi/v1/userTrades", "/fapi/v3/account"))
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        before = hydra.entries()
        way = rig.rng.choice(({"kind": "status", "status": 502}, {"kind": "malformed"},
                              {"kind": "refuse", "code": -1000, "status": 500}))  # fmt: skip
        number = await rig.fault(method="GET", path=path, times=-1, **way)
        report = await hydra.broker.reconcile("test")
        assert report.failed
        assert hydra.held() == Decimal("0.04")
        assert hydra.entries() == before
        assert hydra.broker.standing.block
        await rig.clear(number)
        assert (await hydra.reconcile()).clean
        await hydra.agrees()


@scenario("F15", "another program trades on the account")
async def foreign_process(rig: Rig, seed: int) -> None:
    """A few orders that are not ours are adopted; as many as the limit mean another program: halted until a person
    looks."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        await hydra.enter(0.02)
        for number in range(3):
            await rig.fault("foreign_order", symbol=ETH, quantity="0.1", client_id=f"bot-{number}")
            await hydra.reconcile()
            mode = await hydra.round()
            assert (mode is Mode.HALTED) == (number == 2)
        assert "foreign_process" in hydra.ledger.latched(hydra.account)
        assert sum(o.plan_id == EXTERNAL for o in hydra.ledger.orders(hydra.account)) == 3
        arrived = await hydra.arrived("hy-")
        hydra.plan(0.04)
        await hydra.rounds(2)
        assert await hydra.arrived("hy-") == arrived
        await hydra.reconcile()
        await hydra.agrees()


@scenario("F19", "a list breaks off in the middle")
async def page_fails(rig: Rig, seed: int) -> None:
    """A later page of the trades cannot be read: nothing is taken as the whole, and the next reading begins where this
    one did."""
    async with trading(rig) as hydra:
        price = await hydra.resting_price()
        await hydra.send("f19", kind="limit", price=price, quantity="0.05")
        await rig.fault("fill", client_id="f19", parts=5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wire, "FILLS_A_PAGE", 2)
            number = await rig.fault(
                "status", method="GET", path="/fapi/v1/userTrades", symbol=BTC, skip=rig.rng.randint(1, 2), times=-1
            )
            with pytest.raises(VenueError):
                await hydra.gateway.fills(BTC, 1, 0)
            report = await hydra.broker.reconcile("test")
            assert report.failed
            assert hydra.held() == 0
            await rig.clear(number)
            await hydra.reconcile()
        assert hydra.held() == Decimal("0.05")
        assert len(hydra.ledger.fills(hydra.account)) == 5
        assert hydra.ledger.order("f19").side is Side.LONG
        await hydra.agrees()
