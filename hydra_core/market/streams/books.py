"""The order books of several pairs: fed with differences, given a snapshot whenever one falls out of sequence.

Not here: the sequence rule (``book``), connections (``line``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable, Mapping
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
HELD: Final = 20
"""Differences that may wait for what another connection still holds, two seconds' worth; then there is a gap."""
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
        self._withdrawn: Collection[Pair] = ()
        self._ahead: dict[Pair, list[BookDiff]] = {}
        self.overlapping = False
        """Set while two connections deliver: what one skips may still come over the other, so gaps wait to be judged."""
        self._changed = asyncio.Event()
        self.failed: BaseException | None = None

    def take(self, diff: BookDiff) -> None:
        """Apply a difference, or send for a snapshot."""
        book = self.books.get(diff.pair)
        if book is None or diff.pair in self._withdrawn:
            return
        held = self._ahead.get(diff.pair, [])
        if self.overlapping and len(held) < HELD and book.ahead(diff):
            self._ahead[diff.pair] = [*held, diff]
            return
        if not book.apply(diff):
            self._fetch(diff.pair)
        elif diff.pair in self._ahead:
            self._join(diff.pair, book)

    def _join(self, pair: Pair, book: OrderBook) -> None:
        """Apply what had come over a newer connection and follows now."""
        waiting = sorted(self._ahead.pop(pair), key=lambda diff: diff.final_id)
        while waiting and not book.ahead(waiting[0]):
            book.apply(waiting.pop(0))
        if waiting:
            self._ahead[pair] = waiting

    def judge(self) -> None:
        """One connection is left: what still waits for differences that did not come is a gap."""
        self.overlapping = False
        for pair in list(self._ahead):
            for diff in sorted(self._ahead.pop(pair), key=lambda one: one.final_id):
                self.take(diff)

    def restart(self) -> None:
        """The stream starts anew: every book waits for its snapshot."""
        for pair, book in self.books.items():
            if pair not in self._withdrawn:
                book.restart("the stream began anew")
                self._fetch(pair)

    def withdraw(self, pairs: Collection[Pair], reason: str) -> None:
        """Keep these books no more: they are shown to nobody. Those withdrawn before and not named now are kept again."""
        before, self._withdrawn = self._withdrawn, pairs
        for pair in self.books.keys() & set(pairs):
            self.books[pair].restart(reason)
            if (task := self._fetching.get(pair)) is not None:
                task.cancel()
        for pair in self.books.keys() & (set(before) - set(pairs)):
            self._fetch(pair)
        self._changed.set()

    def lose(self, reason: str) -> None:
        """The stream is gone: no book is shown until it is back."""
        for book in self.books.values():
            book.restart(reason)

    async def synced(self, pairs: Iterable[Pair] | None = None) -> None:
        """Return once the books of these pairs (all by default) are in sync: what a consumer waits on."""
        wanted = tuple(self.books if pairs is None else pairs)
        while not all(self.books[pair].synced or pair in self._withdrawn for pair in wanted):
            self._changed.clear()
            await self._changed.wait()

    @property
    def unsynced(self) -> tuple[Pair, ...]:
        """Pairs whose book must not be read."""
        return tuple(pair for pair, book in self.books.items() if not book.synced and pair not in self._withdrawn)

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
