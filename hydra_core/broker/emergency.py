"""Flat without a ledger: every resting order cancelled, every position closed, by what the exchange says and nothing else.

For the day on which the database is gone too. What was done here is taken up by the next comparison, under the beginning of
the client ids it used.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.gateway import Gateway
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError, OutcomeUnknown, VenueError
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
    """One round; True when nothing was held at its beginning and nothing rests any more."""
    held = await gateway.positions()
    resting = await gateway.open_orders()
    for pair in {order.pair for order in resting}:
        await gateway.cancel_all(pair)
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
        try:
            await gateway.place(order)
        except OutcomeUnknown as error:  # reduce-only: the next round sees what is left, and can only make it smaller
            logger.warning("closing {}: {}", pair, error)
    if held or resting:
        return False
    for stop in await gateway.open_stops():
        await gateway.drop_stop(stop)
    return True
