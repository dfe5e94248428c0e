"""Filling holes in the public trades by REST, and catching up after a lost connection.

Not here: the sequence itself (``trades``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import VenueError
from hydra_core.domain.pairs import Pair
from hydra_core.market.rest import together
from hydra_core.market.streams.books import Asks
from hydra_core.market.streams.messages import rest_trade, whole
from hydra_core.market.streams.readings import Trade
from hydra_core.market.streams.trades import TradeSequence

PAGE: Final = 1000
TRIES: Final = 5
SETTLE_S: Final = 0.05
"""A hole is given this long to close by itself before REST is asked."""
AT_ONCE: Final = 4


class TradeFill:
    """The trades of several pairs, whole.

    Parameters
    ----------
    pairs : the pairs
    client : Asks, for missed trades
    clock : Clock, its wall time stamps them
    hand_on : callable, given every trade once, in order within its pair
    """

    def __init__(self, pairs: Iterable[Pair], client: Asks, clock: Clock, hand_on: Callable[[Trade], None]) -> None:
        self.sequences = {pair: TradeSequence(pair) for pair in pairs}
        self._client = client
        self._clock = clock
        self._hand_on = hand_on
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._filling: dict[Pair, asyncio.Task[None]] = {}
        self.withdrawn: Collection[Pair] = ()
        """Pairs of which REST has nothing to tell any more."""

    @property
    def unfilled(self) -> int:
        """Trades that are known to be missing for good."""
        return sum(sequence.unfilled for sequence in self.sequences.values())

    def take(self, trade: Trade) -> None:
        """Take a trade of the stream."""
        sequence = self.sequences[trade.pair]
        for one in sequence.take(trade):
            self._hand_on(one)
        if sequence.hole is not None and trade.pair not in self._filling:
            task = asyncio.create_task(self._mend(trade.pair), name=f"trades {trade.pair}")
            self._filling[trade.pair] = task
            task.add_done_callback(lambda _: self._filling.pop(trade.pair, None))

    async def catch_up(self) -> None:
        """Fetch what came after the newest trade of every pair, which is looked up where none has come; raises VenueError."""
        followed = [(pair, sequence) for pair, sequence in self.sequences.items() if pair not in self.withdrawn]
        await together(
            self._fetch(pair) if sequence.newest >= 0 else self._begin(pair, sequence) for pair, sequence in followed
        )

    async def _begin(self, pair: Pair, sequence: TradeSequence) -> None:
        """Note where a pair's trades stand, so that even the first one after this is missed when it does not come."""
        async with self._slots:
            query = {"symbol": pair, "limit": 1}
            newest: list[int] = await self._client.ask(
                "fapiPublicGetAggTrades", query, lambda rows: [whole(row["a"]) for row in rows]
            )
        if newest:
            sequence.begin(newest[-1])

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._filling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _mend(self, pair: Pair) -> None:
        """Fill a hole, or give it up and say so."""
        sequence, pause = self.sequences[pair], SETTLE_S
        for _ in range(TRIES):
            await asyncio.sleep(pause)
            pause *= 3
            if sequence.hole is None:
                return
            try:
                await self._fetch(pair)
            except VenueError as error:
                logger.debug("trades of {} not filled: {}", pair, error)
        if (hole := sequence.hole) is not None:
            logger.warning("trades {} to {} of {} are lost: REST does not have them", *hole, pair)
            for trade in sequence.give_up():
                self._hand_on(trade)

    async def _fetch(self, pair: Pair) -> None:
        """Everything that REST has beyond the newest trade."""
        sequence, received = self.sequences[pair], self._clock.wall_ms()

        def read(answer: Any) -> list[Trade]:
            return [rest_trade(pair, row, received) for row in answer]

        at, found = sequence.newest + 1, list[Trade]()
        while True:
            async with self._slots:
                query = {"symbol": pair, "fromId": at, "limit": PAGE}
                page: list[Trade] = await self._client.ask("fapiPublicGetAggTrades", query, read)
            found += page
            if len(page) < PAGE:
                break
            at = page[-1].trade_id + 1
        hole = sequence.hole
        complete = hole is None or (bool(found) and found[-1].trade_id >= hole[1])
        for trade in sequence.fill(found, complete=complete):
            self._hand_on(trade)
