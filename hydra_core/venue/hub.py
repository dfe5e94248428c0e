"""WebSocket connections: who listens to what, and getting each message to all of them.

A message is serialised once by whoever publishes it and handed to every listener's own queue, so that a slow listener
delays nobody; one that falls too far behind is disconnected, never silently thinned.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import Any, Final

import orjson
from aiohttp import WSCloseCode, WSMsgType, web
from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.venue.topics import Topic

MAX_BACKLOG: Final = 50_000
MAX_STREAMS: Final = 200
MAX_INBOUND_A_SECOND: Final = 10
LIFE_MS: Final = 24 * 3_600_000
PING_S: Final = 180.0


class Connection:
    """One listener.

    Parameters
    ----------
    socket : aiohttp WebSocketResponse, prepared
    opened_wall_ms : int
    combined : bool
        Wrap messages as ``{"stream": …, "data": …}``.
    listen_key : str
        Of a user stream, else empty.
    """

    def __init__(self, socket: web.WebSocketResponse, opened_wall_ms: int, combined: bool, listen_key: str) -> None:
        self.socket = socket
        self.opened_wall_ms = opened_wall_ms
        self.combined = combined
        self.listen_key = listen_key
        self.streams: set[str] = set()
        self.stalled_until_ms = 0
        self._queue: deque[bytes] = deque()
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
        if self.combined and stream:
            message = b'{"stream":"' + stream.encode() + b'","data":' + message + b"}"
        self._queue.append(message)
        self._ready.set()

    def end(self, code: int, reason: str) -> None:
        """Close once everything queued is sent."""
        self._closing = self._closing or (code, reason.encode())
        self._ready.set()

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
                await self.socket.send_frame(self._queue.popleft(), WSMsgType.TEXT)
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
    """

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
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
        now = self._wall.wall_ms()
        for connection in self._listeners.get(stream, ()):
            if now >= connection.stalled_until_ms:
                connection.push(message, stream)

    def send_user(self, message: bytes) -> None:
        """Send a message to every user stream."""
        now = self._wall.wall_ms()
        for connection in self._connections:
            if connection.listen_key and now >= connection.stalled_until_ms:
                connection.push(message)

    def stall(self, until_wall_ms: int, private: bool | None = None) -> int:
        """Keep the open connections (all, or one kind) silent for a while; returns how many."""
        chosen = self.chosen(private)
        for connection in chosen:
            connection.stalled_until_ms = until_wall_ms
        return len(chosen)

    def chosen(self, private: bool | None = None) -> list[Connection]:
        """Connections: all, the user streams, or the market streams."""
        return [c for c in self._connections if private is None or bool(c.listen_key) is private]

    def end_key(self, listen_key: str, message: bytes) -> None:
        """End the user streams of a listen key with a last message (none when empty)."""
        for connection in self._connections:
            if connection.listen_key == listen_key:
                if message:
                    connection.push(message)
                connection.end(WSCloseCode.GOING_AWAY, "listenKey expired")

    def end_old(self) -> None:
        """End connections that have lived their 24 hours."""
        now = self._wall.wall_ms()
        for connection in self._connections:
            if now - connection.opened_wall_ms >= LIFE_MS:
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
