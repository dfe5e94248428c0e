"""Glassnode, Coinglass and a newspaper on loopback, speaking their documented formats.

Sources: Glassnode: docs.glassnode.com/basic-api/endpoints (``[{"t":1677715200,"v":110600.97}, ...]``, several values a stamp
as ``"o": {...}``), docs.glassnode.com/basic-api/api-credits-1 (429, ``x-rate-limit-reset`` in seconds). Coinglass:
docs.coinglass.com/reference/oi-ohlc-aggregated-history, /oi-weight-ohlc-history, /aggregated-liquidation-history,
/responses-error-codes and /authentication (header ``CG-API-KEY``; ``code`` "0" is success). RSS 2.0: rssboard.org.
Atom: RFC 4287.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections import defaultdict
from typing import Any

from aiohttp import web

KEY = "a-key-that-must-never-be-seen"
DAY_S = 86_400


class Provider:
    """Answers GETs from a table of path -> body; what is asked is noted. ``script[path]`` comes first."""

    def __init__(self) -> None:
        self.bodies: dict[str, Any] = {}
        self.script: dict[str, list[tuple[int, Any, dict[str, str]]]] = defaultdict(list)
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.packed = False
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query), dict(request.headers)))
        if self.script[request.path]:
            status, body, headers = self.script[request.path].pop(0)
            return web.Response(status=status, body=_bytes(body), headers=headers)
        if request.path not in self.bodies:
            return web.Response(status=404, text="not found")
        made = self.bodies[request.path]
        body = _bytes(made(request.query) if callable(made) else made)
        if self.packed:
            return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        return web.Response(body=body)


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def glassnode_rows(first_s: int, values: list[Any]) -> list[dict[str, Any]]:
    """Daily values of a metric."""
    return [{"t": first_s + place * DAY_S, "v": value} for place, value in enumerate(values)]


def coinglass_answer(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"code": "0", "msg": "success", "data": rows}


def rss(*items: str, title: str = "A paper") -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel>'
        f"<title>{title}</title><link>http://paper.example/</link><description>news</description>"
        f"{''.join(items)}</channel></rss>"
    )


def item(title: str, number: int = 1, date: str = "Tue, 05 Mar 2024 10:00:00 GMT") -> str:
    return (
        f"<item><title>{title}</title><link>http://paper.example/{number}</link>"
        f"<guid>paper-{number}</guid><pubDate>{date}</pubDate></item>"
    )


def atom(title: str, identifier: str = "urn:1") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>A paper</title>'
        f"<id>urn:paper</id><updated>2024-03-05T10:00:00Z</updated><entry><title>{title}</title><id>{identifier}</id>"
        '<link href="http://paper.example/a"/><updated>2024-03-05T10:00:00Z</updated></entry></feed>'
    )


class Hosted:
    """A provider in a thread with a loop of its own, for code that blocks."""

    def __init__(self) -> None:
        self.provider = Provider()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self.provider.start()
        self._ready.set()
        await self._stop.wait()
        await self.provider.stop()

    def __enter__(self) -> Provider:
        self._thread.start()
        assert self._ready.wait(30), "the server did not start"
        return self.provider

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
