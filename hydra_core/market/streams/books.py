"""The order books of several pairs: fed with differences, given a snapshot whenever one falls out of sequence.

Not here: the sequence rule (``book``), connections (``line``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import VenueError
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.book import OrderBook
from hydra_core.market.streams.messages import levels, whole
from hydra_core.market.streams.readings import BookDiff

SNAPSHOT_LEVELS: Final = 1000
SNAPSHOTS_AT_ONCE: Final = 4
PAUSE_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0


class Asks(Protocol):
    """What is needed of a REST client."""

    async def ask(self, method: str, params: Mapping[str, Any], parse: Any) -> Any:
        """The parsed answer to a request; raises VenueError."""


class Books:
    """Keeps books in sync.

    Parameters
    ----------
    pairs : the pairs
    client : Asks, for snapshots
    clock : Clock, its wall time stamps them
    rng : random.Random, draws the pauses
    """

    def __init__(self, pairs: Iterable[Pair], client: Asks, clock: Clock, rng: random.Random) -> None:
        self.books: dict[Pair, OrderBook] = {pair: OrderBook(pair) for pair in pairs}
        self._client = client
        self._clock = clock
        self._rng = rng
        self._slots = asyncio.Semaphore(SNAPSHOTS_AT_ONCE)
        self._fetching: dict[Pair, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self.failed: BaseException | None = None

    def take(self, diff: BookDiff) -> None:
        """Apply a difference, or send for a snapshot."""
        book = self.books.get(diff.pair)
        if book is None or book.apply(diff):
            return
        self._fetch(diff.pair)

    def restart(self) -> None:
        """The stream starts anew: every book waits for its snapshot."""
        for pair, book in self.books.items():
            book.restart("the stream began anew")
            self._fetch(pair)

    def lose(self, reason: str) -> None:
        """The stream is gone: no book is shown until it is back."""
        for book in self.books.values():
            book.restart(reason)

    async def synced(self, pairs: Iterable[Pair] | None = None) -> None:
        """Return once the books of these pairs (all by default) are in sync: what a consumer waits on."""
        wanted = tuple(self.books if pairs is None else pairs)
        while not all(self.books[pair].synced for pair in wanted):
            self._changed.clear()
            await self._changed.wait()

    @property
    def unsynced(self) -> tuple[Pair, ...]:
        """Pairs whose book must not be read."""
        return tuple(pair for pair, book in self.books.items() if not book.synced)

    @property
    def gaps(self) -> int:
        """Breaks of sequence and crossings since the start."""
        return sum(book.counts.gaps + book.counts.crossed for book in self.books.values())

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fetch(self, pair: Pair) -> None:
        if pair in self._fetching:
            return
        task = asyncio.create_task(self._sync(pair), name=f"book {pair}")
        self._fetching[pair] = task
        task.add_done_callback(lambda done: self._fetched(pair, done))

    def _fetched(self, pair: Pair, task: asyncio.Task[None]) -> None:
        self._fetching.pop(pair, None)
        if not task.cancelled() and task.exception() is not None:
            self.failed = task.exception()
        self._changed.set()

    async def _sync(self, pair: Pair) -> None:
        """Fetch snapshots until one meets the stream."""
        book, pause = self.books[pair], PAUSE_S
        while not book.synced:
            try:
                async with self._slots:
                    query = {"symbol": pair, "limit": SNAPSHOT_LEVELS}
                    snapshot = await self._client.ask("fapiPublicGetDepth", query, _snapshot)
                if book.synced or book.load(*snapshot):
                    book.received_wall_ms = self._clock.wall_ms()
                    return
                reason = book.reason
            except VenueError as error:
                reason = str(error)
            logger.debug("order book of {}: snapshot not usable ({})", pair, reason)
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
            pause = min(PAUSE_MAX_S, 2 * pause)


def _snapshot(answer: Mapping[str, Any]) -> tuple[int, Any, Any, int]:
    """Update id, bids, asks and event time of a depth answer."""
    return whole(answer["lastUpdateId"]), levels(answer["bids"]), levels(answer["asks"]), whole(answer["T"])
