"""One WebSocket of ccxt's, tapped: every frame is taken as it arrives, before ccxt's caches drop or merge anything.

ccxt builds addresses and subscriptions, dials, pings and answers pings. Its message handlers are not reached: they would
drop the closed flag of candles, merge events of slow consumers, and end the receive loop for good on a truncated frame.
Not here: when to dial and for how long (``line``), what frames mean (``messages``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from hydra_core.domain.clock import Clock
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.errors import read_error
from hydra_core.market.streams.mailbox import Mailbox
from hydra_core.market.streams.quarantine import Quarantine

CONFIRM_WITHIN_S: Final = 10.0
"""Wall seconds for dialling, subscribing and the exchange's confirmation."""

Subscribe = Callable[[Any], Awaitable[Any]]
"""Calls one of ccxt's ``watch`` methods on the exchange it is given."""


class Connection:
    """One socket, from dial to end.

    Parameters
    ----------
    name : str, the stream that it carries
    take : callable, handed every event with its receive time (wall ms)
    confirm : bool, whether the exchange confirms the subscription; else being connected is enough
    clock, quarantine, mailbox : shared by all connections
    """

    def __init__(
        self,
        name: str,
        take: Callable[[dict[str, Any], int], None],
        confirm: bool,
        clock: Clock,
        quarantine: Quarantine,
        mailbox: Mailbox,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.opened_wall_ms = clock.wall_ms()
        self.life_share = random.uniform(0.9, 1.0)
        """Share of its life after which it is renewed: no two connections at the same moment."""
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done once the subscription stands."""
        self.ended: asyncio.Future[BaseException] = loop.create_future()
        """Done once the connection is over, with the reason."""
        self.fault: Callable[[BaseException], None] = lambda fault: None
        self._take = take
        self._confirm = confirm
        self._clock = clock
        self._quarantine = quarantine
        self._mailbox = mailbox
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def retry_after_s(self) -> float:
        """How long a refused dial was asked to wait, 0 when it was not."""
        return float(getattr(self._client, "last_retry_after", None) or 0.0)

    @property
    def refused(self) -> bool:
        """Whether somebody answered the dial with a refusal, rather than nobody at all."""
        reason = self.ended.result() if self.ended.done() else None
        words = str(reason)
        return self.retry_after_s > 0 or "Invalid response status" in words or "invalid status" in words.lower()

    def start(self, gateway: Gateway, subscribe: Subscribe) -> None:
        """Dial and subscribe, in the background."""
        self._task = asyncio.create_task(self._hold(gateway, subscribe), name=f"stream {self.name}")

    async def settled(self, within_s: float) -> None:
        """Return once the subscription stands or has failed, or after so many wall seconds."""
        waits: set[asyncio.Future[Any]] = {self.ready, self.ended}
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)

    def end(self, error: BaseException) -> None:
        """End the connection for a reason; :attr:`ended` follows."""
        self._over(error)
        if self._client is not None and not self._closing:
            self._closing = True
            self._client.on_error(error)

    async def close(self) -> None:
        """End the connection without a reason, and wait until it is gone."""
        self._closing = True
        self._over(ConnectionResetError("closed by HYDRA"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def adopt(self, client: Any) -> None:
        """Take over a client of ccxt's: its frames come here, and only while there is room."""
        self._client = client
        inner = client.receive_loop
        client.receive_loop = lambda: self._mailbox.when_room(inner)
        client.handle_text_or_binary_message = self.frame
        if not self._confirm:
            client.connected.add_done_callback(self._connected)

    def frame(self, data: str | bytes) -> None:
        """A frame as it came; never raises, since that would end ccxt's receive loop and leave the socket open and mute."""
        received = self._clock.wall_ms()
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            self._quarantine.add(self.name, error, data)
            return
        try:
            if isinstance(message, list) and message:
                for row in message:
                    self._take(row, received)
            elif isinstance(message, dict) and "e" in message:
                self._take(message, received)
            elif isinstance(message, dict) and ("result" in message or "error" in message):
                self._answered(message)
            else:
                self._quarantine.add(self.name, ValueError("neither event nor answer"), message)
        except BaseException as fault:
            self.fault(fault)
            raise

    def _answered(self, message: dict[str, Any]) -> None:
        """The exchange's word on a subscription."""
        if message.get("error") is not None:
            self.end(ConnectionRefusedError(f"{self.name}: subscription refused: {str(message['error'])[:200]}"))
        elif not self.ready.done():
            self.ready.set_result(None)

    def _connected(self, connected: asyncio.Future[Any]) -> None:
        if not connected.cancelled() and connected.exception() is None and not self.ready.done():
            self.ready.set_result(None)

    def _over(self, reason: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    async def _hold(self, gateway: Gateway, subscribe: Subscribe) -> None:
        """Wait for the end of the connection, which is the only way in which ccxt's call returns."""
        try:
            await gateway.dial(self, subscribe)
            self._over(ConnectionResetError("subscription ended"))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            self._over(ConnectionResetError("connection closed"))
            if task is not None and task.cancelling():
                raise
        except gateway.errors as error:
            self._over(read_error(error, self.name))


class Gateway:
    """ccxt's exchange behind all connections of an endpoint.

    Parameters
    ----------
    endpoint : Endpoint
    keep_alive_ms : int, optional, wall time between two pings; a peer that answers none for two of them is gone
    """

    def __init__(self, endpoint: Endpoint, keep_alive_ms: int | None = None) -> None:
        from ccxt.base.errors import BaseError

        self.errors: tuple[type[BaseException], ...] = (BaseError, OSError)
        self._dialling: Connection | None = None
        self._endpoint = endpoint
        self.exchange = open_exchange(endpoint, hooks=self._tapped)
        if keep_alive_ms is not None:
            self.exchange.streaming["keepAlive"] = keep_alive_ms

    async def load(self) -> None:
        """Read the exchange's markets.

        Raises
        ------
        VenueError : it gave no usable answer
        """
        try:
            await self.exchange.load_markets()
        except self.errors as error:
            raise read_error(error, "exchangeInfo") from error

    async def another(self) -> Any:
        """One more exchange of the same markets, for a connection that must not share its sockets; closed by whoever asked."""
        exchange = open_exchange(self._endpoint)
        exchange.streaming["keepAlive"] = self.exchange.streaming["keepAlive"]
        exchange.set_markets(list(self.exchange.markets.values()))
        return exchange

    async def dial(self, connection: Connection, subscribe: Subscribe) -> None:
        """Subscribe over a socket of the connection's own; returns or raises at its end."""
        self._dialling = connection
        options = self.exchange.options
        # A subscription's address is remembered by ccxt and counted against its limit: each connection starts anew,
        # which is also what lets a new one overlap an old one.
        options["streamBySubscriptionsHash"] = self.exchange.create_safe_dictionary()
        options["numSubscriptionsByStream"] = self.exchange.create_safe_dictionary()
        await subscribe(self.exchange)

    async def close(self) -> None:
        """Close every socket."""
        await self.exchange.close()

    def _tapped(self, base: type[Any]) -> type[Any]:
        """ccxt's class whose sockets belong to whoever is dialling."""
        gateway = self

        class Tapped(base):  # type: ignore[misc, valid-type]
            def client(self, url: str) -> Any:
                known = url in (self.clients or {})
                client = super().client(url)
                connection = gateway._dialling
                if not known and connection is not None:
                    gateway._dialling = None
                    connection.adopt(client)
                return client

        return Tapped
