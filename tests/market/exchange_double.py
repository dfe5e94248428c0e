"""A scripted exchange for what the real venue does not do on demand: broken answers, refusals, limits, short pages."""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

MINUTE = 60_000


class ScriptedExchange:
    """Serves one pair's minute candles as a known function of time; answers can be scripted per path.

    ``script[path]`` is a list of answers that come first: (status, body, headers), or "reset" to cut the connection.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[Any]] = defaultdict(list)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.page_limit = 1500
        self.missing: set[int] = set()
        self.corrected: dict[int, str] = {}
        self.trades: list[dict[str, int]] | None = None
        self.settlements: list[tuple[int, float]] = []
        self.now_ms = 10**13
        self.sockets: list[web.WebSocketResponse] = []
        self.subscribed: list[str] = []
        self.symbols = ["BTCUSDT"]
        self.refuse_streams = 0
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
        for socket in self.sockets:
            await socket.close()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            return await self._stream(request)
        self.asked.append((request.path, dict(request.query)))
        if self.script[request.path]:
            word = self.script[request.path].pop(0)
            if word == "reset":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            status, body, headers = word
            text = body if isinstance(body, str) else json.dumps(body)
            return web.Response(status=status, text=text, headers=headers, content_type="application/json")
        answer = {
            "/fapi/v1/klines": self._klines,
            "/fapi/v1/exchangeInfo": self._info,
            "/fapi/v1/fundingRate": self._funding,
        }.get(request.path)
        if request.path == "/fapi/v1/aggTrades" and self.trades is not None:
            return web.json_response(self.trades)
        if answer is None:
            return web.Response(status=404, text="[]")
        return web.json_response(answer(request.query))

    def _klines(self, query: Any) -> list[list[Any]]:
        step = {"1m": MINUTE, "5m": 5 * MINUTE}[query["interval"]]
        first = -(-int(query["startTime"]) // step) * step
        rows = []
        at = first
        while at <= min(int(query["endTime"]), self.now_ms) and len(rows) < min(int(query["limit"]), self.page_limit):
            if at not in self.missing:
                row = candle_row(at, step)
                row[5] = self.corrected.get(at, row[5])
                rows.append(row)
            at += step
        return rows

    def asked_for(self, path: str) -> list[dict[str, str]]:
        """Queries of the requests for a path, in order."""
        return [query for asked, query in self.asked if asked == path]

    def _funding(self, query: Any) -> list[dict[str, Any]]:
        start, end, limit = int(query["startTime"]), int(query["endTime"]), int(query["limit"])
        inside = [(at, rate) for at, rate in self.settlements if start <= at <= end]
        return [{"symbol": "BTCUSDT", "fundingTime": at, "fundingRate": f"{rate:.8f}"} for at, rate in inside[:limit]]

    def _info(self, query: Any) -> dict[str, Any]:
        return {"symbols": [symbol_info(name) for name in self.symbols], "serverTime": self.now_ms}

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                order = json.loads(message.data)
                if self.refuse_streams:
                    self.refuse_streams -= 1
                    await socket.send_json({"error": {"code": 2, "msg": "Invalid request"}, "id": order["id"]})
                    continue
                self.subscribed += order["params"]
                await socket.send_json({"result": None, "id": order["id"]})
        return socket

    async def push(self, stream_word: str, message: Any) -> None:
        """Send a message on every open socket; clients ignore what is not theirs."""
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_str(message if isinstance(message, str) else json.dumps(message))


def candle_row(at: int, step: int) -> list[Any]:
    """Open, high, low, close and volume as a known function of the open time."""
    price = 100 + 10 * math.sin(at / 3.6e6)
    prices = [f"{price + move:.2f}" for move in (0, 1, -1, 0.5)]
    return [at, *prices, f"{at // step % 97}.5", at + step - 1, "0", 1, "0", "0", "0"]


def symbol_info(symbol: str) -> dict[str, Any]:
    """One market as exchangeInfo tells it."""
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": 0,
        "status": "TRADING", "baseAsset": symbol.removesuffix("USDT"), "quoteAsset": "USDT", "marginAsset": "USDT",
        "pricePrecision": 2, "quantityPrecision": 3, "baseAssetPrecision": 8, "quotePrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.10", "maxPrice": "1000000", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "100", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
    }  # fmt: skip


async def eventually(true: Callable[[], Any], within_s: float = 30.0) -> None:
    """Wait until a condition holds; fails the test when it does not in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not true():
        assert loop.time() < end, f"not true within {within_s} s"
        await asyncio.sleep(0.01)
