"""WebSocket endpoints: market streams with their subscriptions, and the user stream of a listen key."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from hydra_core.venue.hub import PING_S, Connection, complaint, reply
from hydra_core.venue.service import Venue
from hydra_core.venue.topics import Topic, parse_topic


class Sockets:
    """Handler of every stream path.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        venue = self._venue
        if venue.clock.ended or venue.clock.wall_ms() < venue.faults.denied_until_wall_ms:
            return web.Response(status=503, text="Service Unavailable", headers={"Retry-After": "1"})
        key = request.query.get("listenKey", "")
        named = request.match_info.get("stream", "")
        if "/private/" in request.path or key:
            if not venue.keys.valid(key):
                return web.Response(status=400, text="Invalid listenKey")
        elif venue.keys.valid(named):
            key, named = named, ""
        names = [name for name in (request.query.get("streams") or named).split("/") if name]
        if names and names[0].isdigit():
            names = []
        socket = web.WebSocketResponse(heartbeat=PING_S, compress=False)
        await socket.prepare(request)
        connection = Connection(socket, venue.clock.wall_ms(), request.path.endswith("/stream"), key)
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
            if not connection.ending:
                sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
        return socket

    async def _listen(self, connection: Connection) -> None:
        async for message in connection.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if connection.too_chatty(self._venue.clock.wall_ms()):
                connection.end(1008, "Too many requests")
                continue
            connection.push(self._answer(connection, message.data))

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
