"""The private stream of an exchange whose events reach us through ccxt's caches: a bell that says look, and nothing else.

What it carried may have been merged with what came before, so nothing is booked from it: whoever hears it asks over REST. It
may be silent or broken without harm: orders that work are looked at every few seconds all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Credentials, Endpoint

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0


async def listen(
    endpoint: Endpoint, credentials: Credentials, clock: Clock, ring: Callable[[str], None], *, seed: int | None = None
) -> None:
    """Ring whenever the stream of the account's orders says something, and whenever it has broken off, until cancelled.

    Parameters
    ----------
    endpoint, credentials, clock : whose stream
    ring : callable, told why; returns at once
    seed : int, optional, of the pauses between dials
    """
    from ccxt.base.errors import BaseError

    rng = random.Random(seed)
    pause = FIRST_PAUSE_S
    exchange = open_exchange(endpoint, credentials, now_ms=clock.market_ms)
    try:
        while True:
            try:
                await exchange.watch_orders()
            except BaseError as error:
                logger.warning("the account's stream at {} is down: {:.200}", endpoint, type(error).__name__)
                ring("the account's stream broke off")
                await asyncio.sleep(pause * rng.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                pause = FIRST_PAUSE_S
                ring("the account's stream")
    finally:
        await exchange.close()
