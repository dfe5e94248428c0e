"""The events of the own account: a listen key that HYDRA keeps alive itself, one connection, and the word to reconcile.

ccxt extends a key once and never again, and does not hear of its end. What the events mean is the execution layer's.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final, Protocol

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import Refused, VenueError, VenueUnavailable
from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient, together
from hydra_core.market.streams.line import ROTATE_AFTER_MS, Door, Line
from hydra_core.market.streams.mailbox import Mailbox
from hydra_core.market.streams.messages import MALFORMED, whole
from hydra_core.market.streams.quarantine import Quarantine
from hydra_core.market.streams.readings import TOPICS, USER_STREAM, StreamHealth, UserEvent
from hydra_core.market.streams.socket import Connection, Gateway
from hydra_core.market.streams.standing import Standing

KEEP_ALIVE_MS: Final = 10 * MINUTE_MS
"""Wall time between two extensions of the key, which lives 60 min; the exchange asks for 30 at most."""
RETRY_S: Final = 5.0
KEY_EXPIRED: Final = "listenKeyExpired"


class UserSink(Protocol):
    """Where account events go; returns at once."""

    def on_user(self, event: UserEvent) -> None:
        """An event of the account, in the order of arrival, none left out, repeats possible."""


Reconcile = Callable[[str], Awaitable[None]]
"""Reads the account by REST and folds it; the argument says why. Raises VenueError to be tried again."""


class ListenKey:
    """One listen key and its life.

    Parameters
    ----------
    client : ExchangeClient with credentials
    clock : Clock, its wall time is read
    every_ms : int, wall time between two extensions
    """

    def __init__(self, client: ExchangeClient, clock: Clock, every_ms: int = KEEP_ALIVE_MS) -> None:
        self._client = client
        self._clock = clock
        self.every_ms = every_ms
        self._key = ""
        self._known: deque[str] = deque(maxlen=8)
        self.extended_wall_ms = 0
        self.made = 0
        self.extensions = 0

    async def current(self) -> str:
        """The key in force, a new one where there is none; raises VenueError."""
        if not self._key:
            self._key = await self._client.ask("fapiPrivatePostListenKey", {}, lambda answer: str(answer["listenKey"]))
            self.extended_wall_ms = self._clock.wall_ms()
            self.made += 1
            self._known.append(self._key)
        return self._key

    def masked(self, message: str) -> str:
        """The message without the keys, which whoever has them may listen with: a failed dial names its whole address."""
        for key in self._known:
            message = message.replace(key, "***")
        return message

    def forget(self) -> None:
        """The key is dead."""
        self._key = ""

    async def extend(self) -> None:
        """Keep the key alive; raises VenueError, Refused when the exchange does not know it any more."""
        await self._client.ask("fapiPrivatePutListenKey", {}, lambda answer: None)
        self.extended_wall_ms = self._clock.wall_ms()
        self.extensions += 1


class UserStream:
    """The account's stream, kept up until :meth:`run` is cancelled.

    Parameters
    ----------
    endpoint : Endpoint
    client : ExchangeClient with credentials
    sink : UserSink
    clock : Clock
    reconcile : callable, awaited after every connection before the stream is healthy: whatever happened meanwhile is read
        by REST
    told : callable, given the stream's health whenever it changes
    unread : callable, told of a message that could not be read: what it said has to be asked for
    within : callable, what events that came together are handed over within
    quarantine : Quarantine
    rotate_after_ms, keep_alive_ms : int, wall ms
    seed : int, of the jitter
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: ExchangeClient,
        sink: UserSink,
        clock: Clock,
        reconcile: Reconcile,
        *,
        told: Callable[[StreamHealth], None] = lambda health: None,
        unread: Callable[[str], None] = lambda words: None,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
        quarantine: Quarantine | None = None,
        rotate_after_ms: int = ROTATE_AFTER_MS,
        keep_alive_ms: int = KEEP_ALIVE_MS,
        seed: int | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._sink = sink
        self._clock = clock
        self._reconcile = reconcile
        self._tell = told
        self._rotate_after_ms = rotate_after_ms
        self._rng = random.Random(seed)
        self._mailbox = Mailbox(within=within)
        self._fault: asyncio.Future[None] | None = None
        self._line: Line | None = None
        self.quarantine = quarantine or Quarantine(clock)
        self.quarantine.told = unread
        self.key = ListenKey(client, clock, keep_alive_ms)
        self.standing = Standing(TOPICS[USER_STREAM], (), clock)
        self.connections = 0
        """Confirmed connections since the start."""

    def health(self) -> StreamHealth:
        """How the stream is."""
        return self.standing.health(self.quarantine.counts[USER_STREAM])

    async def run(self) -> None:
        """Keep the stream up; returns only by cancellation. A fault of the sink ends it with that fault."""
        self._fault = asyncio.get_running_loop().create_future()
        gateway = Gateway(self._endpoint)
        self._line = Line(
            self.standing,
            gateway,
            Door(self._rng),
            self._connection,
            self._subscribe,
            self._repair,
            lambda standing: self._tell(self.health()),
            self._clock,
            self._rng,
            self._rotate_after_ms,
            self.key.masked,
        )
        try:
            await together([self._line.run(), self._mailbox.deliver(), self._keep_alive(), self._faults(self._fault)])
        finally:
            self._fault.cancel()
            await gateway.close()

    async def _faults(self, fault: asyncio.Future[None]) -> None:
        await fault

    def _connection(self) -> Connection:
        connection = Connection(USER_STREAM, self._take, False, self._clock, self.quarantine, self._mailbox)
        connection.fault = self._fail
        return connection

    def _fail(self, fault: BaseException) -> None:
        if self._fault is not None and not self._fault.done():
            self._fault.set_exception(fault)

    async def _subscribe(self, exchange: Any) -> None:
        """Open the socket of the key in force; a key that opens none is dead."""
        try:
            key = await self.key.current()
        except VenueError as error:
            raise ConnectionRefusedError(f"no listen key: {error}") from error
        before = self.connections
        url = exchange.get_private_ws_url("linear", key)
        try:
            await exchange.watch(url, USER_STREAM, None, USER_STREAM)
        finally:
            if self.connections == before:
                self.key.forget()

    async def _repair(self, stream: str) -> None:
        self.connections += 1
        await self._reconcile("connected" if self.connections == 1 else "connected again")

    async def _keep_alive(self) -> None:
        """Extend the key well before it ends; when the exchange does not know it any more, take a new one and reconnect."""
        while True:
            due = self.key.extended_wall_ms + self.key.every_ms
            left_s = (due - self._clock.wall_ms()) / 1000 if self.key.extended_wall_ms else 1.0
            if left_s > 0:
                await asyncio.sleep(min(left_s, 1.0))
                continue
            try:
                await self.key.extend()
            except VenueUnavailable as error:
                logger.warning("listen key not extended, trying again: {}", error)
                await asyncio.sleep(RETRY_S * self._rng.uniform(0.5, 1.0))
            except Refused as error:
                self._renew(f"the exchange refuses to extend the listen key: {error}")
                self.key.extended_wall_ms = self._clock.wall_ms()

    def _renew(self, reason: str) -> None:
        """A new key and a new connection."""
        self.key.forget()
        if self._line is not None:
            self._line.end(ConnectionResetError(reason))

    def _take(self, message: Any, received_wall_ms: int) -> None:
        try:
            kind = str(message["e"])
            event = UserEvent(kind, whole(message["E"]), received_wall_ms, message)
        except MALFORMED as error:
            self.quarantine.add(USER_STREAM, error, message)
            return
        self.standing.note_account(event.event_ms, received_wall_ms)
        if kind == KEY_EXPIRED:
            self._renew("the listen key has expired")
            return
        self._mailbox.put(USER_STREAM, True, partial(self._sink.on_user, event))
