"""WebSocket endpoints: market streams with their subscriptions, and the user stream of a listen key."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from hydra_core.venue.hub import PING_S, Connection, complaint, reply
from hydra_core.venue.service import Venue
from hydra_core.venue.spoiling import Answered, maintenance, page
from hydra_core.venue.topics import Topic, parse_topic


class Sockets:
    """Handler of every stream path.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._opened = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        venue = self._venue
        key = request.query.get("listenKey", "")
        named = request.match_info.get("stream", "")
        private = "/private/" in request.path or bool(key)
        refused = self._refused(private)
        if refused is None and private and not venue.keys.valid(key):
            refused = Answered(400, b"Invalid listenKey", html=True)
        if refused is not None:
            venue.wire.connection(0, "refused", request.path, status=refused.status)
            return web.Response(status=refused.status, body=refused.body, headers=dict(refused.headers))
        if not private and venue.keys.valid(named):
            key, named = named, ""
        names = [name for name in (request.query.get("streams") or named).split("/") if name]
        if names and names[0].isdigit():
            names = []
        socket = web.WebSocketResponse(heartbeat=PING_S, compress=False, autoping=False)
        await socket.prepare(request)
        self._opened += 1
        transport, combined = request.transport, request.path.endswith("/stream")
        connection = Connection(
            self._opened,
            socket,
            venue.clock.wall_ms(),
            combined,
            key,
            venue.wire,
            transport.abort if transport is not None else lambda: None,
        )
        path = request.path.removesuffix(key) if key else request.path
        venue.wire.connection(connection.number, "opened", path, private=bool(key))
        topics, unknown = self._topics(names)
        if unknown:
            await socket.close(code=1008, message=f"unknown stream {unknown[0]}".encode()[:120])
            return socket
        venue.hub.join(connection)
        sender = asyncio.create_task(connection.send_queued())
        try:
            venue.hub.subscribe(connection, topics)
            venue.clock.wake()
            await self._listen(connection)
        finally:
            venue.hub.leave(connection)
            venue.wire.connection(connection.number, "closed", path, private=bool(key), code=socket.close_code)
            if not connection.ending:
                sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
        return socket

    def _refused(self, private: bool) -> Answered | None:
        """The answer to a dial that is not taken, None when it is."""
        venue = self._venue
        if venue.clock.ended:
            return Answered(503, b"Service Unavailable", {"Retry-After": "1"})
        for fault in venue.faults.in_force("deny", "maintenance"):
            if fault.kind == "maintenance":
                return maintenance(fault["how"])
            if fault["private"] in {None, private}:
                fault.use()
                venue.faults.note(fault, private=private)
                return page(fault["status"], {"Retry-After": str(fault["retry_after"])} if fault["retry_after"] else {})
        return None

    async def _listen(self, connection: Connection) -> None:
        async for message in connection.socket:
            if message.type is WSMsgType.PING and not self._mute(connection):
                await connection.socket.pong(message.data)
            if message.type is not WSMsgType.TEXT:
                continue
            self._venue.wire.message(connection.number, "", message.data.encode(), inbound=True)
            if connection.too_chatty(self._venue.clock.wall_ms()):
                connection.end(1008, "Too many requests")
                continue
            connection.push(self._answer(connection, message.data))

    def _mute(self, connection: Connection) -> bool:
        """Whether an ordered fault keeps it from answering pings."""
        private = bool(connection.listen_key)
        return any(fault["private"] in {None, private} for fault in self._venue.faults.in_force("no_pong"))

    def _answer(self, connection: Connection, text: str) -> bytes:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            return complaint(None, "Invalid JSON")
        if not isinstance(frame, dict):
            return complaint(None, "Invalid request: not an object")
        identity, method, names = frame.get("id"), frame.get("method"), frame.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return reply(identity, sorted(connection.streams))
        if method not in {"SUBSCRIBE", "UNSUBSCRIBE"}:
            return complaint(identity, f"Invalid request: unknown method {method!r}")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return complaint(identity, "Invalid request: params must be a list of streams")
        if method == "UNSUBSCRIBE":
            self._venue.hub.unsubscribe(connection, tuple(names))
            return reply(identity)
        return self._subscribe(connection, identity, names)

    def _subscribe(self, connection: Connection, identity: Any, names: list[str]) -> bytes:
        topics, unknown = self._topics(names)
        if unknown:
            self._venue.note_unknown(f"stream {unknown[0]}")
            return complaint(identity, f"Invalid request: unknown stream {unknown[0]!r}")
        if not self._venue.hub.subscribe(connection, topics):
            return complaint(identity, "Invalid request: too many streams")
        self._venue.clock.wake()
        return reply(identity)

    def _topics(self, names: list[str]) -> tuple[dict[str, Topic], list[str]]:
        market = self._venue.feed.market
        topics = {name: parse_topic(name, market.pairs, market.base_interval) for name in names}
        return {name: topic for name, topic in topics.items() if topic}, [n for n, topic in topics.items() if not topic]
