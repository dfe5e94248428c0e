"""Streams, databases, prices and people that fail while money is at stake: F16 to F29."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import sys
from decimal import Decimal

import pytest

from hydra_core.broker.emergency import flatten
from hydra_core.domain.errors import LockHeld
from hydra_core.domain.trading import Mode, OrderState, Side
from hydra_core.ledger.store import Ledger
from hydra_core.trader.lock import trader_lock

from .registry import scenario
from .rig import Rig
from .trading import BTC, ETH, Trading, trading, until


@scenario("F16", "the user stream is silent but open")
async def silent_stream(rig: Rig, seed: int) -> None:
    """The socket stays open and brings nothing: the comparison on its loop finds the fills; orders sent meanwhile do
    not vanish."""
    async with trading(rig, stream=True) as hydra:
        price = await hydra.resting_price()
        await hydra.send("f16", kind="limit", price=price, quantity="0.02")
        await rig.fault("stall", private=True, seconds=0)
        await rig.fault("fill", client_id="f16")
        sent = await hydra.send("f16-b", quantity="0.01")
        assert sent.state is OrderState.FILLED, "its own answer tells of it"
        await hydra.reconcile("loop")
        assert hydra.ledger.order("f16").state is OrderState.FILLED
        assert hydra.held() == Decimal("0.03")
        await hydra.agrees()


@scenario("F17", "the key is refused on reconnect")
async def refused_on_reconnect(rig: Rig, seed: int) -> None:
    """After a drop the exchange gives no stream: nothing may be opened; exits, stops and cancels go on."""
    async with trading(rig, stream=True) as hydra:
        await hydra.enter(0.04)
        words = {"code": -2015, "message": "Invalid API-key, IP, or permissions for action.", "status": 401}
        number = await rig.fault("refuse", method="POST", path="/fapi/v1/listenKey", times=-1, **words)
        await rig.fault("expire_listen_key", event=rig.rng.random() < 0.5, close=True)
        await until(lambda: hydra.broker.standing.block, "shut")
        await hydra.reconcile()
        assert "user stream" in hydra.broker.standing.block
        assert await hydra.round() is Mode.REDUCING
        hydra.plan(0.06)
        await hydra.rounds(2)
        assert hydra.held() == Decimal("0.04")
        hydra.plan(0.02)
        await hydra.rounds(2)
        assert hydra.held() == Decimal("0.02")
        await rig.clear(number)
        await until(lambda: not hydra.broker.standing.block, "open again", 30)
        await hydra.agrees()


@scenario("F21", "a price that is stale, not a number, or contradicts")
async def stale_price(rig: Rig, seed: int) -> None:
    """The mark of a held pair grows old: smaller positions only. A mark that is no price is not taken at all."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        before = hydra.view.marks[BTC].mark
        for bad in (math.nan, math.inf, -1.0, 0.0):
            reading = hydra.view.marks[BTC]
            assert not hydra.view.on_mark(
                type(reading)(BTC, bad, bad, 0.0, reading.next_funding_ms, reading.event_ms + 1, 0)
            )
        assert hydra.view.marks[BTC].mark == before
        old = hydra.view.marks[BTC]
        hydra.view.marks[BTC] = type(old)(
            old.pair, old.mark, old.index, 0.0, old.next_funding_ms, old.event_ms, old.received_wall_ms - 60_000
        )
        assert hydra.guard.tick() is Mode.REDUCING
        hydra.plan(0.06)
        hydra.desk.tick(hydra.guard.mode, hydra.positions)
        await hydra.broker.settled()
        assert hydra.held() == Decimal("0.04")
        hydra.plan(0.02)
        hydra.desk.tick(hydra.guard.mode, hydra.positions)
        await hydra.broker.settled()
        assert hydra.held() == Decimal("0.02")
        assert await hydra.round() is Mode.ACTIVE


@scenario("F21", "the exchange's clock is off")
async def clock_skew(rig: Rig, seed: int) -> None:
    """Seconds between the clocks: orders are stamped by the exchange's, a person is told, nothing is opened until it
    is mended."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        number = await rig.fault("clock_drift", ms=rig.rng.choice((-30_000, 30_000)))
        hydra.plan(0.06)
        await hydra.rounds(2)
        assert "clock" in hydra.broker.standing.block
        assert await hydra.round() is Mode.REDUCING
        held = hydra.held()
        hydra.plan(0.01)
        await hydra.rounds(2)
        assert hydra.held() == Decimal("0.01") < held
        await rig.clear(number)
        await hydra.gateway.synchronise()
        await hydra.reconcile()
        assert hydra.broker.standing.block == ""
        await hydra.agrees()


@scenario("F22", "the database is gone while a position is open")
async def database_down(rig: Rig, seed: int) -> None:
    """Nothing can be booked, so nothing is sent; the way to flat needs no database, and the books are true again
    afterwards."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.enter(0.3, ETH)
        await hydra.round()
        arrived = await hydra.arrived("hy-")
        file = hydra.ledger.place
        locked = sqlite3.connect(file, isolation_level=None, timeout=0.1)
        locked.execute("BEGIN IMMEDIATE")
        with Ledger.open(f"sqlite:///{file}", busy_timeout_ms=20) as impatient:
            crippled = Trading(rig, hydra.gateway, hydra.client, impatient, hydra.account, hydra.live, hydra.rules)
            crippled.desk._plan_id = "none"
            with pytest.raises(LockHeld):
                crippled.order("f22", quantity="0.01")
            with pytest.raises(LockHeld):
                impatient.latch(hydra.account, "manual", "test", Mode.HALTED, 0)
        assert await hydra.arrived("hy-") == arrived, "what could not be booked was not sent"
        if rig.rng.random() < 0.5:
            await rig.fault("status", method="POST", path="/fapi/v1/order", times=2)
        await flatten(hydra.gateway, rig.clock)
        assert await hydra.gateway.positions() == {}
        assert await hydra.gateway.open_stops() == []
        locked.rollback()
        locked.close()
    async with trading(rig, fresh=False) as again:
        await again.reconcile("start")
        await again.reconcile()
        assert again.positions == {}
        await again.agrees()


@scenario("F23", "flatten meets an exchange that fails")
async def flatten_is_retried(rig: Rig, seed: int) -> None:
    """The switch is pulled; refusals, silence and errors come in turn: it is tried until the exchange itself says
    flat."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.enter(0.3, ETH)
        price = await hydra.resting_price()
        await hydra.send("f23", kind="limit", price=price, quantity="0.01")
        for way in rig.rng.sample(
            (
                {"kind": "status", "status": 503},
                {"kind": "reset"},
                {"kind": "refuse", "code": -1001, "status": 500},
                {"kind": "refuse", "code": -1015, "message": "Too many new orders; please slow down.", "status": 429},
                {"kind": "reset", "after": True},
            ),
            3,
        ):
            await rig.fault(method="POST", path="/fapi/v1/order", **way)
        hydra.home.kill_file.write_text("flatten\n")

        async def flat() -> bool:
            await hydra.round()
            await hydra.reconcile()
            return hydra.broker.flat()

        await until(flat, "flat by the exchange's own word", 30)
        assert await hydra.gateway.positions() == {}
        assert await hydra.gateway.open_orders() == []
        await hydra.rounds(2)
        assert await hydra.gateway.open_stops() == []
        hydra.home.kill_file.unlink()
        assert await hydra.round() is Mode.FLATTEN, "latched"
    async with trading(rig, fresh=False) as again:
        await again.reconcile("start")
        assert await again.round() is Mode.FLATTEN, "a restart releases nothing"
        await again.agrees()


@scenario("F23", "what the switches read fails, one by one")
async def inputs_fail(rig: Rig, seed: int) -> None:
    """Positions that cannot be read halt; a mark that cannot be read reduces; an unreadable kill file halts; within
    one tick."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.round()
        what = rig.rng.choice(("kill file", "equity", "marks", "account"))
        if what == "kill file":
            hydra.home.kill_file.mkdir()
            expected = Mode.HALTED
        elif what == "equity":
            hydra.set_mark(BTC, 1e-320)
            expected = Mode.FLATTEN
        elif what == "marks":
            hydra.view.marks.clear()
            expected = Mode.REDUCING
        else:
            await rig.fault("status", method="GET", path="/fapi/v3/positionRisk", times=-1)
            hydra.broker._read_wall -= 120_000
            expected = Mode.HALTED
        assert hydra.guard.tick() is expected
        hydra.plan(0.08)
        hydra.desk.tick(hydra.guard.mode, hydra.positions)
        await hydra.broker.settled()
        assert hydra.held() <= Decimal("0.04")


@scenario("F25", "a manual entry while the pair is barred")
async def manual_entry_in_cooldown(rig: Rig, seed: int) -> None:
    """A person opens a barred pair by hand: taken up as theirs, given a stop, never enlarged by us; closing goes on to
    work."""
    async with trading(rig, stream=rig.rng.random() < 0.5) as hydra:
        now = rig.clock.market_ms()
        hydra.ledger.bar_pair(hydra.account, BTC, now + 86_400_000, "position loss")
        await rig.fault("foreign_order", symbol=BTC, quantity="0.03")
        await hydra.reconcile()
        arrived = await hydra.arrived("hy-")
        await hydra.rounds(2)
        assert hydra.held() == Decimal("0.03")
        assert hydra.broker.protected(BTC)
        assert await hydra.arrived("hy-") == arrived
        assert BTC in hydra.ledger.portfolio(hydra.account, {}, now).barred
        hydra.home.kill_file.write_text("flatten\n")
        await hydra.rounds(3)
        await hydra.reconcile()
        assert hydra.held() == 0
        await hydra.agrees()


@scenario("F28", "orders that the filters cannot express")
async def below_the_filters(rig: Rig, seed: int) -> None:
    """Too small, off the grid, more than there is to reduce: denied here with a reason, not sent; dust can still be
    closed."""
    async with trading(rig) as hydra:
        await hydra.enter(0.02)
        rules = hydra.rules[BTC]
        cases = {
            "f28-small": {"quantity": f"{rules.step_size:f}"},
            "f28-grid": {"quantity": f"{rules.step_size * 30 + rules.step_size / 2:f}"},
            "f28-zero": {"quantity": "0"},
            "f28-more": {"quantity": "0.05", "side": Side.SHORT, "reduce_only": True},
        }
        if rules.step_size * Decimal(repr(hydra.view.marks[BTC].mark)) >= rules.min_notional:
            del cases["f28-small"]
        for name, fields in cases.items():
            order = await hydra.send(name, **fields)
            assert order.state is OrderState.CANCELED, name
            assert order.reason != "test"
        assert await hydra.arrived("f28") == 0
        hydra.plan(0.001)
        await hydra.rounds(3)
        assert hydra.held() == Decimal("0.001")
        hydra.plan(0.0)
        await hydra.rounds(3)
        assert hydra.held() == 0
        await hydra.reconcile()
        await hydra.agrees()


@scenario("F29", "two ticks, two runs, two traders")
async def everything_twice(rig: Rig, seed: int) -> None:
    """The same tick, plan and order twice, a second desk on the same books, a second trader: one order at the
    exchange."""
    async with trading(rig) as hydra:
        plan = hydra.plan(0.04)
        assert not hydra.ledger.record_plan(plan, hydra.account, "hydra")
        await hydra.look()
        hydra.desk.tick(Mode.ACTIVE, hydra.positions)
        hydra.desk.tick(Mode.ACTIVE, hydra.positions)
        twin = Trading(rig, hydra.gateway, hydra.client, hydra.ledger, hydra.account, hydra.live, hydra.rules)
        await twin.look()
        twin.desk.tick(Mode.ACTIVE, {})
        await hydra.broker.settled()
        await twin.broker.settled()
        await hydra.rounds(2)
        assert await hydra.arrived("hy-") == 1
        assert hydra.held() == Decimal("0.04")
        code = (
            "import pathlib, sys\nfrom hydra_core.trader.lock import trader_lock\n"
            "with trader_lock(pathlib.Path(sys.argv[1])): pass"
        )
        with trader_lock(hydra.home.run):
            second = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, str(hydra.home.run), stderr=asyncio.subprocess.PIPE
            )
            _, words = await second.communicate()
        assert b"LockHeld" in words
        await hydra.reconcile()
        await hydra.agrees()
