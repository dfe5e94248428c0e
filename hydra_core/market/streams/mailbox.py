"""Between the sockets and a consumer that may be slower than they are: a bounded queue that loses quotes and nothing else.

When lossless events fill it, reading from the sockets pauses until the consumer has caught up: the exchange then holds
them, or ends the connection, and what was missed is repaired.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

LOSSY_MAX: Final = 4_096
LOSSLESS_MAX: Final = 50_000
SLICE_S: Final = 0.005
"""Wall seconds of handing over before the sockets get their turn; quotes wait for the others, but never wholly."""

Delivery = Callable[[], None]


class Mailbox:
    """A queue of deliveries.

    Parameters
    ----------
    lossy_max : int
        Quotes that may wait; the oldest is dropped for the newest.
    lossless_max : int
        Other events that may wait before reading pauses.
    within : callable, optional
        What a slice of the lossless events is handed over within: one transaction of the consumer's books, for example.
    """

    def __init__(
        self,
        lossy_max: int = LOSSY_MAX,
        lossless_max: int = LOSSLESS_MAX,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._within = within
        self._lossy: deque[tuple[str, Delivery]] = deque()
        self._lossless: deque[Delivery] = deque()
        self._lossy_max = lossy_max
        self._lossless_max = lossless_max
        self._ready = asyncio.Event()
        self._waiting: list[Callable[[], None]] = []
        self.dropped: Counter[str] = Counter()
        """Events dropped, by stream."""
        self.pauses = 0

    def __len__(self) -> int:
        return len(self._lossy) + len(self._lossless)

    @property
    def full(self) -> bool:
        """Whether reading from the sockets must pause."""
        return len(self._lossless) >= self._lossless_max

    def put(self, stream: str, lossless: bool, delivery: Delivery) -> None:
        """Queue a delivery; never blocks, never drops what is lossless."""
        if lossless:
            self._lossless.append(delivery)
        else:
            if len(self._lossy) >= self._lossy_max:
                self.dropped[self._lossy.popleft()[0]] += 1
            self._lossy.append((stream, delivery))
        self._ready.set()

    def when_room(self, go_on: Callable[[], None]) -> None:
        """Call back once there is room again: at once when there is."""
        if not self.full:
            go_on()
            return
        self.pauses += 1
        self._waiting.append(go_on)

    async def deliver(self) -> None:
        """Hand everything over, in order, for ever; what a delivery raises ends it."""
        now = asyncio.get_running_loop().time
        while True:
            await self._ready.wait()
            while self._lossless or self._lossy:
                end = now() + SLICE_S
                with self._within():
                    while self._lossless and now() < end:
                        self._lossless.popleft()()
                end = max(end, now() + SLICE_S / 4)
                while self._lossy:
                    self._lossy.popleft()[1]()
                    if now() >= end:
                        break
                if self._waiting and len(self._lossless) <= self._lossless_max // 2:
                    waiting, self._waiting = self._waiting, []
                    for go_on in waiting:
                        go_on()
                if self._lossless or self._lossy:
                    await asyncio.sleep(0)
            self._ready.clear()
