"""When requests about orders go: a round's orders one after another, and one reading for all that wait for trades."""

from __future__ import annotations

import asyncio

import pytest
from account_double import D
from broker_rig import Desk

from hydra_core.broker.facts import FillFact, OrderFact
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState
from hydra_core.ledger.records import OrderRecord

ONE = pytest.mark.parametrize("exchange", ["bybit"], indirect=True)
"""The same code whatever the exchange."""


@ONE
async def test_orders_of_a_pair_that_wait_for_trades_share_one_reading(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order whose answer came after a reading began is not taken for read by it: its trade may be newer."""
    read, answer = desk.gateway.fills, asyncio.Event()
    asked: list[int] = []

    async def slow(pair: Pair, known: int, since: int) -> tuple[list[FillFact], int]:
        asked.append(len(desk.broker.books.short))
        found = await read(pair, known, since)
        if len(asked) == 1:
            await answer.wait()
        return found

    monkeypatch.setattr(desk.gateway, "fills", slow)
    desk.broker.submit(desk.order("0.01"))
    while not asked:
        await asyncio.sleep(0.01)
    later = [desk.order("0.01") for _ in range(6)]
    for order in later:
        desk.broker.submit(order)
    while len(desk.broker.books.short) < 7:
        await asyncio.sleep(0.01)
    answer.set()
    await desk.broker.settled()
    assert asked == [1, 6]
    assert desk.held() == D("0.07")
    assert not desk.broker.working()


@ONE
async def test_an_order_of_a_round_leaves_before_the_next_one_is_signed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client hands to its connection is written in the loop's next turn: the round's other orders come after it."""
    place = desk.gateway.place
    done: list[tuple[str, str]] = []

    async def signed(order: OrderRecord) -> OrderFact:
        done.append(("signed", order.order_id))
        asyncio.get_running_loop().call_soon(done.append, ("written", order.order_id))
        return await place(order)

    monkeypatch.setattr(desk.gateway, "place", signed)
    orders = [desk.order("0.01") for _ in range(3)]
    for order in orders:
        desk.broker.submit(order)
    await desk.broker.settled()
    assert done == [(word, order.order_id) for order in orders for word in ("signed", "written")]
    assert desk.held() == D("0.03")


@ONE
async def test_an_order_that_waits_for_its_turn_is_not_taken_for_one_that_never_arrived(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Booked as sent with its round, looked up before its own request goes: the exchange cannot know it yet."""
    place, orders = desk.gateway.place, [desk.order("0.01") for _ in range(2)]

    async def unknown(*_: object, **__: object) -> None:
        return None

    async def place_and_look(order: OrderRecord) -> OrderFact:
        if order.order_id == orders[0].order_id:
            with monkeypatch.context() as nobody:
                nobody.setattr(desk.gateway, "look_up", unknown)
                for _ in range(2):
                    await desk.broker.look_up(desk.broker.books.live[orders[1].order_id])
        return await place(order)

    monkeypatch.setattr(desk.gateway, "place", place_and_look)
    for order in orders:
        desk.broker.submit(order)
    await desk.broker.settled()
    states = [desk.ledger.order(order.order_id).state for order in orders]
    assert states == [OrderState.FILLED, OrderState.FILLED]
    assert desk.held() == D("0.02")
