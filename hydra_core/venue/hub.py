"""WebSocket connections: who listens to what, and getting each message to all of them.

A message is serialised once by whoever publishes it and handed to every listener's own queue, so that a slow listener
delays nobody; one that falls too far behind is disconnected, never silently thinned.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiohttp import WSCloseCode, WSMsgType, web
from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.venue.stream_faults import StreamTap
from hydra_core.venue.topics import Topic
from hydra_core.venue.wire import WireLog

MAX_BACKLOG: Final = 50_000
MAX_STREAMS: Final = 200
MAX_INBOUND_A_SECOND: Final = 10
LIFE_MS: Final = 24 * 3_600_000
PING_S: Final = 180.0
USER_KEPT: Final = 500
"""User messages that can be told again."""
USER_STREAM: Final = "user"
"""What a user stream is called in faults and in the wire log."""


class Connection:
    """One listener.

    Parameters
    ----------
    number : int
        Names the connection in the wire log.
    socket : aiohttp WebSocketResponse, prepared
    opened_wall_ms : int
    combined : bool
        Wrap messages as ``{"stream": …, "data": …}``.
    listen_key : str
        Of a user stream, else empty.
    wire : WireLog
        Told of every message as it is sent.
    abort : callable
        Cuts the connection under the socket.
    """

    def __init__(
        self,
        number: int,
        socket: web.WebSocketResponse,
        opened_wall_ms: int,
        combined: bool,
        listen_key: str,
        wire: WireLog,
        abort: Callable[[], None],
    ) -> None:
        self.number = number
        self._wire = wire
        self._abort = abort
        self.socket = socket
        self.opened_wall_ms = opened_wall_ms
        self.combined = combined
        self.listen_key = listen_key
        self.streams: set[str] = set()
        self.dumb = False
        """Whether its listen key is dead."""
        self._queue: deque[tuple[bytes, str]] = deque()
        self._ready = asyncio.Event()
        self._closing: tuple[int, bytes] | None = None
        self._inbound: deque[int] = deque()

    def push(self, message: bytes, stream: str = "") -> None:
        """Queue a message; a listener too far behind is told to go."""
        if self._closing is not None:
            return
        if len(self._queue) >= MAX_BACKLOG:
            logger.warning("listener of {} is {} messages behind: disconnected", sorted(self.streams), MAX_BACKLOG)
            self._queue.clear()
            self.end(WSCloseCode.POLICY_VIOLATION, "too slow")
            return
        if self.combined and stream and stream != USER_STREAM:
            message = b'{"stream":"' + stream.encode() + b'","data":' + message + b"}"
        self._queue.append((message, stream))
        self._ready.set()

    def end(self, code: int, reason: str, *, abort: bool = False) -> None:
        """Close once everything queued is sent; or cut the connection at once, without a word."""
        if abort:
            self._abort()
        self._closing = self._closing or (code, reason.encode())
        self._ready.set()

    @property
    def names(self) -> set[str]:
        """The streams that it carries."""
        return self.streams | {USER_STREAM} if self.listen_key else self.streams

    @property
    def ending(self) -> bool:
        """Whether the venue has decided to close the connection."""
        return self._closing is not None

    def too_chatty(self, wall_ms: int) -> bool:
        """Count an inbound message; True beyond the exchange's rate."""
        self._inbound.append(wall_ms)
        while self._inbound[0] <= wall_ms - 1_000:
            self._inbound.popleft()
        return len(self._inbound) > MAX_INBOUND_A_SECOND

    async def send_queued(self) -> None:
        """Send what is queued until the connection ends."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._queue:
                if self.socket.closed:
                    return
                message, stream = self._queue.popleft()
                self._wire.message(self.number, stream, message)
                await self.socket.send_frame(message, WSMsgType.TEXT)
            if self._closing is not None:
                code, reason = self._closing
                await self.socket.close(code=code, message=reason)
                return


class Hub:
    """All connections of one venue.

    Parameters
    ----------
    wall : Clock
        Only its wall time is read.
    tap : StreamTap
        Where ordered faults meet messages.
    """

    def __init__(self, wall: Clock, tap: StreamTap) -> None:
        self._wall = wall
        self._life_ms = (LIFE_MS, 0)
        self._tap = tap
        self._told: deque[bytes] = deque(maxlen=USER_KEPT)
        self._connections: set[Connection] = set()
        self._listeners: dict[str, set[Connection]] = defaultdict(set)
        self.topics: dict[str, Topic] = {}
        self.version = 0

    def __len__(self) -> int:
        return len(self._connections)

    def join(self, connection: Connection) -> None:
        """Take a connection in."""
        self._connections.add(connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection and its subscriptions."""
        self._connections.discard(connection)
        self.unsubscribe(connection, tuple(connection.streams))

    def subscribe(self, connection: Connection, topics: dict[str, Topic]) -> bool:
        """Add streams to a connection; False when they would be too many."""
        if len(connection.streams | topics.keys()) > MAX_STREAMS:
            return False
        for name, topic in topics.items():
            connection.streams.add(name)
            self._listeners[name].add(connection)
            self.topics[name] = topic
        self.version += 1
        return True

    def unsubscribe(self, connection: Connection, names: tuple[str, ...]) -> None:
        """Take streams from a connection."""
        for name in names:
            connection.streams.discard(name)
            listeners = self._listeners.get(name)
            if listeners is None:
                continue
            listeners.discard(connection)
            if not listeners:
                del self._listeners[name]
                self.topics.pop(name, None)
        self.version += 1

    def send(self, stream: str, message: bytes) -> None:
        """Send a stream's message to everyone who listens to it."""
        for connection in self._listeners.get(stream, ()):
            for copy in self._tap.through(connection, stream, message):
                connection.push(copy, stream)

    def send_user(self, message: bytes) -> None:
        """Send a message to every user stream."""
        self._told.append(message)
        for connection in self._connections:
            if connection.listen_key and not connection.dumb:
                for copy in self._tap.through(connection, USER_STREAM, message):
                    connection.push(copy, USER_STREAM)

    def again(self, count: int, event: str) -> None:
        """Send the last ``count`` user messages (of an event, when one is named) once more, oldest first."""
        meant = [message for message in self._told if not event or b'"e":"%b"' % event.encode() in message]
        for message in meant[-count:]:
            for connection in self._connections:
                if connection.listen_key:
                    connection.push(message, USER_STREAM)

    def let_go(self) -> None:
        """Send what ordered faults held back."""
        for connection in self._connections:
            for stream in connection.names:
                for message in self._tap.let_go(connection.number, stream):
                    connection.push(message, stream)

    def chosen(self, private: bool | None = None, streams: str = "") -> list[Connection]:
        """Connections: all, the user streams, or the market streams; of those, who listens to a stream that matches."""
        return [
            c
            for c in self._connections
            if (private is None or bool(c.listen_key) is private)
            and (not streams or any(re.fullmatch(streams, name) for name in c.names))
        ]

    def end_key(self, listen_key: str, message: bytes, *, close: bool = True) -> None:
        """End the user streams of a listen key with a last message (none when empty), or leave them open and dumb."""
        for connection in self._connections:
            if connection.listen_key == listen_key:
                if message:
                    connection.push(message, USER_STREAM)
                connection.dumb = True
                if close:
                    connection.end(WSCloseCode.GOING_AWAY, "listenKey expired")

    def live(self, life_ms: int, stagger_ms: int = 0) -> None:
        """Another life of connections; each further one lives ``stagger_ms`` longer."""
        self._life_ms = (life_ms, stagger_ms)

    def end_old(self) -> None:
        """End connections that have lived their life, 24 hours by default."""
        now, (life, stagger) = self._wall.wall_ms(), self._life_ms
        for place, connection in enumerate(sorted(self._connections, key=lambda one: one.number)):
            if now - connection.opened_wall_ms >= life + place * stagger:
                connection.end(WSCloseCode.GOING_AWAY, "24 hours")

    def end_all(self, code: int, reason: str) -> None:
        """End every connection."""
        for connection in tuple(self._connections):
            connection.end(code, reason)


def reply(identity: Any, result: Any = None) -> bytes:
    """The answer to a client's frame."""
    return orjson.dumps({"result": result, "id": identity})


def complaint(identity: Any, message: str) -> bytes:
    """The answer to a frame that cannot be served."""
    return orjson.dumps({"error": {"code": 2, "msg": message}, "id": identity})
