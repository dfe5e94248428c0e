"""Orders whose answers, events and outcomes go astray: M10 to M20 of the fault catalogue."""

from __future__ import annotations

from decimal import Decimal

from hydra_core.domain.trading import OrderState, Side

from .registry import scenario
from .rig import Rig
from .trading import BTC, LIVE, PATIENT, trading, until

LOST = (
    {"kind": "reset"},
    {"kind": "hang", "seconds": 1.0},
    {"kind": "status", "status": 503},
    {"kind": "refuse", "code": -1007, "message": "Timeout waiting for response from backend server.", "status": 408},
    {"kind": "refuse", "code": -1008, "message": "Server is currently overloaded with other requests.", "status": 503},
)
"""Ways in which an answer gets lost: all look alike, whether the order was executed or not."""


async def lose_answer(rig: Rig, *, executed: bool) -> str:
    """Order one of the losses for the next order; returns its kind."""
    way = dict(rig.rng.choice(LOST))
    kind = str(way.pop("kind"))
    await rig.fault(kind, method="POST", path="/fapi/v1/order", after=executed, **way)
    return kind


@scenario("M10", "fills missed while the user stream was down")
async def missed_fills(rig: Rig, seed: int) -> None:
    """An order rests, the stream falls, the order fills meanwhile; on reconnect its trades are read and entries wait
    for it."""
    async with trading(rig, stream=True) as hydra:
        price = await hydra.resting_price()
        order = await hydra.send("m10", kind="limit", price=price, quantity="0.02")
        assert order.state is OrderState.OPEN
        await rig.fault("deny", private=True, seconds=30, retry_after=0)
        await rig.fault("drop", private=True, abort=rig.rng.random() < 0.5)
        await until(lambda: hydra.broker.standing.block, "entries are shut while the stream is down")
        await rig.fault("fill", client_id="m10", parts=rig.rng.randint(1, 3))
        assert hydra.ledger.order("m10").state is OrderState.OPEN
        shut = await hydra.send("m10-entry", quantity="0.01")
        assert shut.state is OrderState.CANCELED
        assert await hydra.arrived("m10-entry") == 0
        await rig.clear()
        await until(lambda: not hydra.broker.standing.block, "clean again", 30)
        assert hydra.ledger.order("m10").state is OrderState.FILLED
        assert hydra.held() == Decimal("0.02")
        await hydra.agrees()


@scenario("M10", "a trade that was told in short only is asked for, and booked once")
async def told_in_short(rig: Rig, seed: int) -> None:
    """TRADE_LITE comes, the full word on the trade does not: nothing is booked without its fee, REST is asked, and hearing
    everything again changes nothing."""
    async with trading(rig, stream=True) as hydra:
        price, parts = await hydra.resting_price(), rig.rng.randint(1, 3)
        await hydra.send("m10-short", kind="limit", price=price, quantity="0.03")
        await rig.fault("lose", event="ORDER_TRADE_UPDATE", times=-1)
        await rig.fault("fill", client_id="m10-short", parts=parts)
        await hydra.saw("TRADE_LITE", parts)
        assert hydra.held() == 0

        async def asked() -> bool:
            await hydra.round()
            return hydra.broker._wanted == "a trade was told in short only"

        await until(asked, "the trade is asked for", 20)
        for _ in range(2):
            await hydra.reconcile()
            assert (hydra.held(), len(hydra.ledger.fills(hydra.account))) == (Decimal("0.03"), parts)
            for event in list(hydra.heard):
                hydra.broker.on_user_event(event.payload)
        await hydra.agrees()


@scenario("M11", "user events come twice")
@scenario("F06", "duplicate fills")
async def duplicate_events(rig: Rig, seed: int) -> None:
    """Every event is delivered again, once now and all of them after a reconnect: fills and fees count once."""
    async with trading(rig, stream=True) as hydra:
        await hydra.enter(0.03)
        await hydra.send("m11", quantity="0.01", side=Side.SHORT, reduce_only=True)
        await hydra.saw("ORDER_TRADE_UPDATE", 4)
        fees = hydra.ledger.account(hydra.account).fees
        before = hydra.entries()
        events = [event.payload for event in hydra.heard]
        for message in (*events, *rig.rng.sample(events, len(events))):
            hydra.broker.on_user_event(message)
        await hydra.reconcile()
        assert hydra.entries() == before
        assert hydra.ledger.account(hydra.account).fees == fees
        await hydra.agrees()


@scenario("M12", "user events in any order, before and after the answer")
@scenario("F06", "fills out of order, and before their order is acknowledged")
async def events_out_of_order(rig: Rig, seed: int) -> None:
    """The events of several orders arrive shuffled on a ledger that saw none of them: states and positions come out
    the same."""
    async with trading(rig) as hydra:
        recorded = []
        hydra.broker.on_user_event = recorded.append  # type: ignore[method-assign]
        await hydra.listen()
        price = await hydra.resting_price()
        # The same orders as a person would send them, with the ids of ours: only the events tell HYDRA of them.
        for number in range(4):
            record = hydra.order(f"m12-{number}", quantity="0.01")
            hydra.broker.books.live[record.order_id] = record
            hydra.ledger.move_order(record.order_id, OrderState.PENDING, record.created_ms)
            hydra.broker.books.live[record.order_id] = hydra.ledger.order(record.order_id)
            await hydra.gateway.place(record)
        resting = hydra.order("m12-rest", kind="limit", price=price, quantity="0.01")
        hydra.ledger.move_order("m12-rest", OrderState.PENDING, resting.created_ms)
        hydra.broker.books.live["m12-rest"] = hydra.ledger.order("m12-rest")
        await hydra.gateway.place(resting)
        await hydra.gateway.cancel(resting)
        await until(lambda: sum(m["e"] == "ORDER_TRADE_UPDATE" for m in recorded) >= 10, "events")
        del hydra.broker.on_user_event  # type: ignore[attr-defined]
        shuffled = rig.rng.sample(recorded, len(recorded))
        for message in shuffled:
            hydra.broker.on_user_event(message)
        await hydra.reconcile()
        assert hydra.held() == Decimal("0.04")
        assert [hydra.ledger.order(f"m12-{n}").state for n in range(4)] == [OrderState.FILLED] * 4
        assert hydra.ledger.order("m12-rest").state is OrderState.CANCELED
        await hydra.agrees()


@scenario("M13", "create: executed, answer lost")
@scenario("F01", "submit: response lost, the venue accepted")
async def executed_answer_lost(rig: Rig, seed: int) -> None:
    """The order reaches the venue, its answer does not reach HYDRA: it is found by its id and never sent again."""
    async with trading(rig) as hydra:
        await lose_answer(rig, executed=True)
        hydra.broker.submit(hydra.order("m13", quantity="0.02"))
        await hydra.broker.settled()
        await until(lambda: hydra.ledger.order("m13").state is OrderState.FILLED, "the order is found filled")
        await hydra.broker.settled()
        assert await hydra.arrived("m13") == 1
        assert [e.to_state for e in hydra.ledger.order_history("m13")].count("unknown") == 1
        assert hydra.held() == Decimal("0.02")
        assert (await hydra.reconcile()).clean
        await hydra.agrees()


@scenario("M14", "create: not executed, answer lost")
@scenario("F03", "sent, never answered, never arrived")
async def not_executed_answer_lost(rig: Rig, seed: int) -> None:
    """The order never reaches the venue and nothing says so: it is looked up until its absence is sure, then rejected, once."""
    async with trading(rig) as hydra:
        await lose_answer(rig, executed=False)
        order = await hydra.send("m14", quantity="0.02")
        assert order.state is OrderState.REJECTED
        assert "does not know it" in order.reason
        assert [e.to_state for e in hydra.ledger.order_history("m14")] == ["new", "pending", "unknown", "rejected"]
        assert await hydra.arrived("m14") == 0
        assert len(await rig.struck()) == 1, "it was sent once"
        looks = await rig.requests(path="/fapi/v1/order", method="GET")
        assert len(looks) >= 2, "one missing row is not enough"
        assert hydra.held() == 0
        await hydra.agrees()


@scenario("M14", "the slice of an order that never arrived is worked by a later one")
async def slice_is_caught_up(rig: Rig, seed: int) -> None:
    """The order of a slice got lost: the plan's target is reached by another order, and only one of the two stands."""
    async with trading(rig) as hydra:
        await lose_answer(rig, executed=False)
        await hydra.enter(0.02)
        assert await hydra.arrived("hy-") == 1
        assert len({order.order_id for order in hydra.ledger.orders(hydra.account) if order.kind == "market"}) == 2
        await hydra.agrees()


@scenario("M15", "the id is taken: an earlier sending landed")
async def duplicate_id(rig: Rig, seed: int) -> None:
    """-4116 means that the order exists: it is fetched by its id, neither rejected nor sent under another one."""
    async with trading(rig) as hydra:
        record = hydra.order("m15", quantity="0.02")
        await hydra.gateway.place(record)
        hydra.broker.submit(record)
        await hydra.broker.settled()
        assert hydra.ledger.order("m15").state is OrderState.FILLED
        assert hydra.held() == Decimal("0.02")
        await hydra.agrees()


@scenario("M16", "an order cannot be seen for a while after it was taken")
@scenario("F14", "the listing omits an order that was just sent")
async def read_after_write(rig: Rig, seed: int) -> None:
    """Look-ups and listings say that there is no such order: inside the window that ends nothing."""
    live = PATIENT.model_copy(update={"probe_window_s": 5.0})
    async with trading(rig, live) as hydra:
        price = await hydra.resting_price()
        await rig.fault("invisible", client_id="m16.*")
        order = await hydra.send("m16", kind="limit", price=price, quantity="0.02")
        assert order.state is OrderState.OPEN
        for _ in range(3):
            await hydra.reconcile()
            assert hydra.ledger.order("m16").state is OrderState.OPEN
        await rig.clear()
        seen = await hydra.reconcile()
        assert seen.clean, seen
        assert hydra.ledger.order("m16").state is OrderState.OPEN
        await hydra.agrees()


@scenario("M16", "an order without an answer cannot be seen for a while")
async def lost_and_invisible(rig: Rig, seed: int) -> None:
    """Answer lost and order invisible at first: it stays UNKNOWN until it shows, then it is ours."""
    live = LIVE.model_copy(update={"probe_window_s": 5.0})
    async with trading(rig, live) as hydra:
        number = await rig.fault("invisible", client_id="m16b")
        await lose_answer(rig, executed=True)
        hydra.broker.submit(hydra.order("m16b", quantity="0.02"))
        await until(lambda: hydra.ledger.order("m16b").state is OrderState.UNKNOWN, "unknown")
        await until(lambda: _looks(rig, 2), "two look-ups")
        assert hydra.ledger.order("m16b").state is OrderState.UNKNOWN
        await rig.clear(number)
        await hydra.broker.settled()
        assert hydra.ledger.order("m16b").state is OrderState.FILLED
        assert await hydra.arrived("m16b") == 1
        await hydra.agrees()


async def _looks(rig: Rig, count: int) -> bool:
    return len(await rig.requests(path="/fapi/v1/order", method="GET")) >= count


@scenario("M17", "a stop is asked for where stops are kept")
async def stop_has_its_own_endpoint(rig: Rig, seed: int) -> None:
    """A conditional order's answer is lost: it is looked up among conditional orders, where it is, and never called
    rejected."""
    async with trading(rig) as hydra:
        await hydra.enter(0.02)
        await rig.fault("reset", method="POST", path="/fapi/v1/algoOrder", after=True)
        stop = f"{Decimal(await hydra.resting_price(away=0.03)):f}"
        hydra.ledger.set_stop(hydra.account, BTC, Decimal(stop))
        hydra.broker.protect(hydra.positions)
        await hydra.broker.settled()
        await hydra.rounds(2)
        states = {
            e.to_state for o in hydra.ledger.open_orders(hydra.account) for e in hydra.ledger.order_history(o.order_id)
        }
        assert "rejected" not in states
        assert len(await hydra.gateway.open_stops()) == 1
        await hydra.agrees()


@scenario("M18", "a stop becomes an order when it triggers")
async def stop_becomes_an_order(rig: Rig, seed: int) -> None:
    """The stop goes to the conditional endpoint, triggers while nobody listens, and its fill is booked to the stop
    itself."""
    async with trading(rig) as hydra:
        await hydra.enter(0.02)
        stop = await hydra.resting_price(away=0.03)
        hydra.ledger.set_stop(hydra.account, BTC, Decimal(stop))
        await hydra.rounds(2)
        assert not [row for row in await rig.requests(path="/fapi/v1/order", method="POST") if "STOP" in row["body"]]
        record = next(o for o in hydra.ledger.open_orders(hydra.account) if o.stop_price == Decimal(stop))
        await rig.fault("trigger", client_id=record.order_id)
        await hydra.reconcile()
        ended = hydra.ledger.order(record.order_id)
        assert ended.state is OrderState.FILLED
        assert ended.filled == Decimal("0.02")
        assert hydra.held() == 0
        assert not [o for o in hydra.ledger.orders(hydra.account) if o.plan_id == "external"]
        await hydra.agrees()


@scenario("M19", "the cancel of an order that filled meanwhile")
@scenario("F04", "a cancel races a fill")
async def cancel_of_a_filled_order(rig: Rig, seed: int) -> None:
    """The order fills between HYDRA's last look and its cancel: -2011 is looked into, and the fill wins."""
    async with trading(rig) as hydra:
        price = await hydra.resting_price()
        order = await hydra.send("m19", kind="limit", price=price, quantity="0.02")
        assert order.state is OrderState.OPEN
        await rig.fault("fill", client_id="m19")
        assert hydra.broker.cancel("m19", "too late")
        await hydra.broker.settled()
        ended = hydra.ledger.order("m19")
        assert ended.state is OrderState.FILLED
        assert hydra.held() == Decimal("0.02")
        await hydra.agrees()


@scenario("M19", "a cancel whose own answer is lost is sent again by the connection")
async def cancel_answer_lost(rig: Rig, seed: int) -> None:
    """The cancel works, its answer is cut off: whatever the hidden second try says, the order is found cancelled."""
    async with trading(rig) as hydra:
        price = await hydra.resting_price()
        await hydra.send("m19b", kind="limit", price=price, quantity="0.02")
        way = rig.rng.choice(({"kind": "reset"}, {"kind": "status", "status": 502}, {"kind": "hang", "seconds": 1.0}))
        await rig.fault(method="DELETE", path="/fapi/v1/order", after=True, **way)
        hydra.broker.cancel("m19b", "test")
        await hydra.broker.settled()
        assert hydra.ledger.order("m19b").state is OrderState.CANCELED
        assert hydra.held() == 0
        await hydra.agrees()


@scenario("M20", "the margin does not carry the order")
async def margin_is_insufficient(rig: Rig, seed: int) -> None:
    """-2019: rejected once with its reason, the account read anew, no loop; what fits is taken afterwards."""
    async with trading(rig) as hydra:
        hydra.plan(30.0)
        for _ in range(5):
            await hydra.round()
        refused = [
            o for o in hydra.ledger.orders(hydra.account) if o.state in {OrderState.REJECTED, OrderState.CANCELED}
        ]
        assert refused
        assert len(await rig.requests(path="/fapi/v1/order", method="POST")) <= 1
        assert hydra.held() == 0
        await rig.fault("refuse", method="POST", path="/fapi/v1/order", code=-2019, message="Margin is insufficient.")
        order = await hydra.send("m20", quantity="0.02")
        assert order.state is OrderState.REJECTED
        assert "Margin is insufficient" in order.reason
        assert not hydra.broker.ready(BTC), "the account is read before another try"
        await hydra.reconcile()
        await until(lambda: hydra.broker.ready(BTC), "ready again")
        await hydra.enter(0.02)
        await hydra.agrees()
