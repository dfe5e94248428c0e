"""Flat without a ledger: every resting order cancelled, every position closed, by what the exchange says and nothing else.

For the day on which the database is gone too. What was done here is taken up by the next comparison, under the beginning of
the client ids it used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.gateway import Gateway
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError, VenueError
from hydra_core.domain.trading import OrderState, Side
from hydra_core.execution.orders import client_order_id
from hydra_core.ledger.records import EXTERNAL, OrderRecord

ROUNDS: Final = 60
PAUSE_S: Final = 0.5


async def flatten(gateway: Gateway, clock: Clock, *, rounds: int = ROUNDS) -> Decimal:
    """Close everything, again and again until the exchange says that nothing is held; returns the wallet then, USDT.

    Raises
    ------
    HydraError : something is still held after so many rounds
    """
    await gateway.synchronise()
    occasion = f"flatten-{clock.market_ms()}"
    for attempt in range(rounds):
        try:
            if await _once(gateway, clock, occasion, attempt):
                return await gateway.wallet()
        except VenueError as error:
            logger.warning("flattening goes on: {}", error)
        await asyncio.sleep(PAUSE_S)
    raise HydraError(
        "positions are still open at the exchange", "Close them in its own interface, then run `hydra doctor`"
    )


async def _once(gateway: Gateway, clock: Clock, occasion: str, attempt: int) -> bool:
    """One round; True when nothing was held at its beginning and nothing rests any more.

    What fails for one pair is left to the next round: it keeps no other pair from being closed in this one.
    """
    held = await gateway.positions()
    resting = await gateway.open_orders()
    for pair in {order.pair for order in resting}:
        await _done(f"cancelling orders of {pair}", gateway.cancel_all(pair))
    for pair, fact in held.items():
        side = Side.SHORT if fact.quantity > 0 else Side.LONG
        order = OrderRecord(
            order_id=client_order_id(occasion, pair, attempt, "emergency"),
            plan_id=EXTERNAL,
            account="",
            pair=pair,
            side=side,
            quantity=abs(fact.quantity),
            kind="market",
            state=OrderState.NEW,
            created_ms=clock.market_ms(),
            updated_ms=clock.market_ms(),
            reduce_only=True,
        )
        # reduce-only: whatever became of it, the next round sees what is left, and can only make it smaller
        await _done(f"closing {pair}", gateway.place(order))
    if held or resting:
        return False
    dropped = [
        await _done(f"cancelling a stop of {stop.pair}", gateway.drop_stop(stop)) for stop in await gateway.open_stops()
    ]
    return all(dropped)


async def _done(what: str, request: Awaitable[object]) -> bool:
    """Make one request; False, and told, where it failed."""
    try:
        await request
    except VenueError as error:
        logger.warning("{}: {}", what, error)
        return False
    return True
