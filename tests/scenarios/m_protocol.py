"""Scenarios of the protocol's outer ring: clock, limits, maintenance, retired paths (M01 to M03, M34, M41)."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from urllib.parse import parse_qs

import pytest

from hydra_core.domain.errors import Unsupported, VenueUnavailable
from hydra_core.domain.intervals import MINUTE_MS, Interval
from hydra_core.domain.trading import OrderState, Side
from hydra_core.market.drift import ALARM_MS
from hydra_core.market.errors import read_error
from hydra_core.market.limits import Lane, lane
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.surface import REST, STREAMS, canary
from hydra_core.venue.spoiling import MAINTENANCES

from .registry import scenario
from .rig import Rig, eventually
from .trading import BTC, ETH, LIVE, trading

TIME, ORDER = "/fapi/v1/time", "/fapi/v1/order"


# -- the clock ---------------------------------------------------------------------------------------------------------


@scenario("M01", "a clock that drifts: -1021 means not executed")
async def drifting_clock(rig: Rig, seed: int) -> None:
    """The exchange's clock steps away mid-run, ahead or behind. The refused order goes again under its id, and lands once."""
    async with trading(rig) as hydra:
        assert not hydra.gateway.drift.alarm
        drift = rig.rng.choice([rig.rng.randint(11_000, 3_600_000), -rig.rng.randint(1_500, 3_600_000)])
        await rig.fault("clock_drift", ms=drift)
        seen = (await rig.requests())[-1]["seq"]
        order = await hydra.send("m01", quantity="0.01")
        assert order.state is OrderState.FILLED, order
        sent = await rig.requests(ORDER, "POST", since=seen)
        assert [row["status"] for row in sent] == [400, 200]
        words = "ahead" if drift < 0 else "outside of the recvWindow"
        assert "-1021" in sent[0]["answer"]
        assert words in sent[0]["answer"]
        asked = [parse_qs(row["body"]) for row in sent]
        assert asked[0]["newClientOrderId"] == asked[1]["newClientOrderId"] == ["m01"]
        assert asked[0]["recvWindow"] == asked[1]["recvWindow"], "the receive window was widened"
        assert await rig.requests(TIME, since=sent[0]["seq"]), "the time was not asked for"
        assert abs(hydra.gateway.drift.offset_ms - drift) <= 50
        assert hydra.gateway.drift.alarm, f"no alarm at {drift} ms"
        assert await hydra.arrived("m01") == 1
        await hydra.agrees()


@scenario("M01", "a clock that drifts: the alarm and its threshold")
async def drift_alarm(rig: Rig, seed: int) -> None:
    """A drift that requests survive is alarming all the same above half a second, and only above it."""
    async with trading(rig) as hydra:
        for ms in (
            rig.rng.randint(-ALARM_MS + 50, ALARM_MS - 50),
            rig.rng.choice([-1, 1]) * rig.rng.randint(600, 900),
            0,
        ):
            await rig.clear()
            await rig.fault("clock_drift", ms=ms)
            await hydra.gateway.synchronise()
            assert bool(hydra.gateway.drift.alarm) == (abs(ms) > ALARM_MS), ms
        assert (await hydra.send("m01-after")).state is OrderState.FILLED


# -- limits ------------------------------------------------------------------------------------------------------------


@scenario("M02", "429 and 418 are obeyed to the second")
async def obey_limits(rig: Rig, seed: int) -> None:
    """The minute's weight is used up: the client stops asking for as long as it is told, then gets every answer."""
    limit, more = rig.rng.randint(3, 5), rig.rng.randint(1, 2)

    async def refusals() -> list[dict[str, Any]]:
        return [row for row in await rig.requests(TIME) if row["status"] == 429]

    await rig.fault("limits", weight_limit=limit, window_s=1.0, calls_before_ban=1)
    async with ExchangeClient(rig.endpoint, clock=rig.clock, concurrency=1, attempts=9) as client:
        calls = 0
        # A busy machine may spread the calls over two of the venue's seconds: then it takes some more.
        while calls < 10 * limit and not await refusals():
            await client.server_time()
            calls += 1
        for _ in range(more):
            await client.server_time()
    rows = await rig.requests(TIME)
    refused = await refusals()
    assert refused, "the limit was never reached: the scenario proves nothing"
    assert not [row for row in rows if row["status"] == 418], "went on calling after 429"
    await _nothing_was_asked_while_refused(rig)
    assert len(rows) == calls + more + len(refused)


@scenario("M02", "a ban lasts as long as its words say")
async def obey_ban(rig: Rig, seed: int) -> None:
    """418 names a time later than its Retry-After: nobody asks before it, not even for protection."""
    seconds = rig.rng.uniform(1.2, 1.6)
    async with ExchangeClient(rig.endpoint, clock=rig.clock, attempts=9) as client:
        await client.server_time()
        await rig.fault("ban", seconds=seconds, retry_after=1)

        async def protect() -> int:
            with lane(Lane.PROTECTIVE):
                return await client.server_time()

        first = asyncio.create_task(client.server_time())
        await eventually(lambda: client.budget.status().banned_s > 0, what="the ban is known")
        await asyncio.gather(first, client.server_time(), protect())
    rows = await rig.requests(TIME)
    banned = [row for row in rows if row["status"] == 418]
    assert len(banned) == 1, "asked while banned"
    until = int(banned[0]["answer"].partition("until ")[2][:13])
    assert all(row["asked_wall_ms"] >= until for row in rows if row["seq"] > banned[0]["seq"])


@scenario("M02", "protection goes through a pause")
async def protection_in_a_pause(rig: Rig, seed: int) -> None:
    """While a 429 makes everything else wait, a reducing order is sent and taken."""
    async with trading(rig) as hydra:
        await hydra.enter(0.02)
        pause, seen = 2, (await rig.requests())[-1]["seq"]
        await rig.fault("refuse", path=TIME, status=429, code=-1003, message="Too many requests.", retry_after=pause)
        waiting = asyncio.create_task(hydra.gateway.synchronise())
        await eventually(lambda: hydra.gateway.wait_s > 0, what="the pause is known")
        hydra.broker.submit(hydra.order("m02-out", side=Side.SHORT, quantity="0.02", reduce_only=True))

        async def taken() -> bool:
            return any(row["status"] == 200 for row in await rig.requests(ORDER, "POST", since=seen))

        await eventually(taken, what="the reducing order was taken")
        assert hydra.gateway.wait_s > 0, "the pause was over before"
        assert not waiting.done(), "the pause was not kept"
        await waiting
        await hydra.reconcile()
        assert hydra.held() == 0
        await hydra.agrees()


@scenario("M03", "order counts are a budget of their own")
async def order_burst(rig: Rig, seed: int) -> None:
    """A burst of orders is spread over the exchange's windows: all are taken once, and reading goes on meanwhile."""
    limit = rig.rng.randint(4, 6)
    burst = limit + rig.rng.randint(1, 2)
    await rig.fault("limits", order_limit=limit, window_s=6.0)
    # No answer is lost here: an order that a busy machine holds up must not be given up for its time limit.
    async with trading(rig, LIVE.model_copy(update={"timeout_s": 10.0})) as hydra:
        info = await hydra.client.exchange.fapiPublicGetExchangeInfo()
        hydra.gateway._budget.learn(info["rateLimits"])
        orders = [hydra.order(f"m03-{place}", quantity="0.01") for place in range(burst)]
        for order in orders:
            hydra.broker.submit(order)
        reads = [await hydra.client.server_time() for _ in range(3)]
        assert len(reads) == 3
        await hydra.broker.settled()
        rows = await rig.requests(ORDER, "POST")
        refused = [row for row in rows if row["status"] != 200]
        # A request that this machine held up for a second may reach the exchange in the next window.
        assert len(refused) <= 1, [row["status"] for row in rows]
        assert max(row["orders"] for row in rows) <= limit
        assert await hydra.arrived("m03") == burst
        await hydra.agrees()


@scenario("M03", "-1015 was refused before execution")
async def order_count_refused(rig: Rig, seed: int) -> None:
    """Somebody else used up the account's order count: the refused order never stood, and ends known."""
    await rig.fault("limits", window_s=6.0)
    async with trading(rig) as hydra:
        hydra.gateway._budget.learn((await hydra.client.exchange.fapiPublicGetExchangeInfo())["rateLimits"])
        await rig.fault(
            "refuse", method="POST", path=ORDER, client_id="m03.*", status=429, code=-1015,
            message="Too many new orders; please slow down.", times=rig.rng.randint(1, 2),
        )  # fmt: skip
        order = await hydra.send("m03", quantity="0.01")
        await hydra.reconcile()
        assert hydra.gateway.wait_s == 0, "everything was paused for the number of orders"
        order = hydra.ledger.order("m03")
        arrived = await hydra.arrived("m03")
        assert (order.state is OrderState.FILLED) == (arrived == 1), (order, arrived)
        assert order.state in {OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED}
        await hydra.agrees()


async def _nothing_was_asked_while_refused(rig: Rig) -> None:
    rows = await rig.requests()
    for row, after in itertools.pairwise(rows):
        if row["status"] in {418, 429}:
            waited = after["asked_wall_ms"] - row["wall_ms"]
            assert waited >= 1000 * (row["retry_after"] - 1), f"asked again {waited} ms after {row['answer']}"


# -- maintenance -------------------------------------------------------------------------------------------------------


@scenario("M34", "maintenance in every voice")
async def maintenance(rig: Rig, seed: int) -> None:
    """The exchange goes away in one of its voices: orders are unknown, reads stale, entries shut; all heals."""
    how = rig.rng.choice(MAINTENANCES)
    async with trading(rig) as hydra:
        await hydra.enter(0.02)
        before = hydra.held()
        await rig.fault("maintenance", how=how)
        hydra.broker.submit(hydra.order("m34", quantity="0.01"))
        await eventually(lambda: hydra.ledger.order("m34").state is OrderState.UNKNOWN, what=f"unknown under {how}")
        report = await hydra.broker.reconcile("maintenance")
        assert report.failed or not report.clean
        assert hydra.held() == before, "an unread position was taken for another"
        assert hydra.broker.standing.block, "entries are not shut"
        sent = len(await rig.requests(ORDER, "POST"))
        hydra.broker.submit(hydra.order("m34-entry", quantity="0.01"))
        await eventually(
            lambda: hydra.ledger.order("m34-entry").state is OrderState.CANCELED, what="the entry is refused"
        )
        assert len(await rig.requests(ORDER, "POST")) == sent, "an entry was sent under maintenance"
        with pytest.raises(VenueUnavailable):
            await hydra.client.server_time()
        await rig.clear()

        async def healed() -> bool:
            await hydra.reconcile("again")
            return not hydra.broker.standing.block and hydra.ledger.order("m34").state is not OrderState.UNKNOWN

        await eventually(healed, 20, "clean after the maintenance")
        assert await hydra.arrived("m34") <= 1
        await hydra.agrees()


@scenario("M34", "what maintenance means, by its exact class")
async def maintenance_classes(rig: Rig, seed: int) -> None:
    """Every voice is an outage to a read and an unknown outcome to an order; none is a refusal."""
    from ccxt.base.errors import BaseError

    async with trading(rig) as hydra:
        for how in MAINTENANCES:
            await rig.fault("maintenance", how=how)
            with pytest.raises(BaseError) as raised:
                await hydra.client.exchange.fapiPublicGetTime()
            assert type(read_error(raised.value, how)).__name__ == "VenueUnavailable", how
            assert type(read_error(raised.value, how, order=True)).__name__ == "OutcomeUnknown", how
            await rig.clear()


# -- retired paths -----------------------------------------------------------------------------------------------------


@scenario("M41", "a retired path is found at the start, by name")
async def retired_path(rig: Rig, seed: int) -> None:
    """One path or a family of them answers 404 or 410: the canary names it, and nothing was sent that could have an effect."""
    whole = await canary(rig.endpoint)
    assert whole.retired == whole.silent == (), whole
    whole.insist(rig.endpoint)
    lines = [(base, line.partition(" ")[2]) for base, names in REST.items() for line in names]
    _, name = rig.rng.choice(lines)
    path, status = f"/.*/{name}", rig.rng.choice([404, 410])
    await rig.fault("gone", path=path, status=status)
    found = await canary(rig.endpoint)
    gone = {line.rpartition("/")[2] for line in found.retired}
    assert name.rpartition("/")[2] in gone, found
    with pytest.raises(Unsupported, match=name):
        found.insist(rig.endpoint)
    await rig.clear()
    await rig.fault("deny", status=410, retry_after=0)
    assert {line.partition(" ")[0] for line in (await canary(rig.endpoint)).retired} == {"WS"}
    assert len((await canary(rig.endpoint)).retired) == len(STREAMS)
    await rig.clear()
    await rig.fault("status", status=503, path=path, times=-1)
    outage = await canary(rig.endpoint)
    assert not outage.retired, "an outage was taken for a retirement"
    assert outage.silent
    effects = [row for row in await rig.requests(method="POST|PUT|DELETE") if row["status"] == 200]
    assert effects == [], "the canary did something"
    status_now = await rig.status()
    assert (status_now["open_orders"], status_now["positions"]) == (0, 0)


@scenario("M41", "the surface is the one that is used")
async def surface_is_complete(rig: Rig, seed: int) -> None:
    """Whatever a trading session asks for stands in the table that the canary tries."""
    async with trading(rig, stream=True) as hydra:
        await hydra.enter(0.02, stop=rig.market.price(BTC, rig.clock.market_ms()) * 0.9)
        await hydra.client.candles(
            ETH, Interval.M5, rig.market.start_ms - 60 * MINUTE_MS, rig.market.start_ms, rig.market.start_ms
        )
    known = {f"{line.partition(' ')[0]} {line.partition(' ')[2]}" for names in REST.values() for line in names} | {
        "POST listenKey",
        "GET allOrders",
        "DELETE listenKey",
        "GET ticker/bookTicker",  # asked by the scenario itself, in place of the streams
    }
    used = {f"{row['method']} {row['path'].split('/', 3)[3]}" for row in await rig.requests() if row["status"] != 404}
    assert used <= known, used - known
