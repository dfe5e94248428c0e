"""Servers on loopback that answer as an exchange's documentation shows: unmodified ccxt asks them in the exchange's own way."""

from __future__ import annotations

import copy
import re
from typing import Any

from aiohttp import web
from exchange_messages import PAGES, PRESENT, Page


class DocumentedExchange:
    """One exchange's documented messages; a page is given only for a span that its rows lie in, else one without rows."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.asked: list[tuple[str, str]] = []
        self.url = ""
        self.refuse_with: tuple[int, dict[str, str]] | None = None
        """Status and headers of every answer, where it is not the documented one."""
        self._pages = [page for page in PAGES if page.exchange == exchange]
        self._present = next(now for now in PRESENT if now.exchange == exchange)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        words = request.query_string + await request.text()
        self.asked.append((request.path, words))
        if self.refuse_with is not None:
            return web.Response(status=self.refuse_with[0], headers=self.refuse_with[1], text="{}")
        for page in self._pages:
            if self._is(page, request, words):
                return web.json_response(page.answer if _inside(page, words) else emptied(page.answer))
        for method, (_, answer) in self._present.answers.items():
            if _spelled(method) == _path(request.path) and (request.path != "/info" or "metaAndAssetCtxs" in words):
                return web.json_response(answer)
        return web.Response(status=404, text="{}")

    def _is(self, page: Page, request: web.Request, words: str) -> bool:
        if _spelled(page.route.method) != _path(request.path):
            return False
        kinds = {"candles": "candleSnapshot", "funding": "fundingHistory"}
        return request.path != "/info" or kinds[page.what] in words


def emptied(answer: Any) -> Any:
    """The answer without its rows."""
    bare = copy.deepcopy(answer)
    target = bare if isinstance(bare, list) else bare.get("data", bare.get("result"))
    (target["list"] if isinstance(target, dict) else target).clear()
    return bare


def _inside(page: Page, words: str) -> bool:
    if "pageNo=" in words:
        return "pageNo=1&" in f"{words}&"
    stamps = [int(number) for number in re.findall(r"\d{12,13}", words)]
    beyond = 1 if page.exchange == "okx" else 0  # both its bounds are exclusive
    return not stamps or all(min(stamps) + beyond <= ts <= max(stamps) - beyond for ts in page.expected["ts"])


def _spelled(method: str) -> str:
    """ccxt's method as letters and digits of its path, without what names the interface."""
    bare = re.sub(r"^(fapiPublicGet|fapiDataGet|publicMixGet|publicGet|publicPost|contractGet)", "", method, count=1)
    return bare.lower()


def _path(path: str) -> str:
    short = path.replace("/fapi/v1/", "").replace("/futures/data/", "").replace("/api/v5/", "").replace("/api/", "/")
    return re.sub(r"[^a-z0-9]", "", short.lower())
