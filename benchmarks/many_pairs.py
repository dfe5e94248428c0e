"""``python -m benchmarks.many_pairs``: an exchange of 400 pairs that only tells running 1m candles and all marks, on loopback.

The local venue lists eight pairs; how HYDRA follows many is measured against this. Every candle carries the wall time of its
sending as its event time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.intervals import MINUTE_MS

CANDLE_EVERY_S = 0.25
MARK_EVERY_S = 1.0


def pair_names(count: int) -> list[str]:
    """Names of so many pairs."""
    return [f"P{number:03d}USDT" for number in range(count)]


def listing(symbol: str) -> dict[str, Any]:
    """A pair as exchangeInfo tells it."""
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": 0,
        "status": "TRADING", "baseAsset": symbol.removesuffix("USDT"), "quoteAsset": "USDT", "marginAsset": "USDT",
        "pricePrecision": 2, "quantityPrecision": 3, "baseAssetPrecision": 8, "quotePrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
    }  # fmt: skip


class ManyPairs:
    """The server."""

    def __init__(self, count: int) -> None:
        self.names = pair_names(count)
        self.clock = SystemClock()
        self.sent = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Every request."""
        if "Upgrade" in request.headers:
            return await self.stream(request)
        if request.path == "/fapi/v1/exchangeInfo":
            return web.json_response({"symbols": [listing(name) for name in self.names], "rateLimits": []})
        if request.path == "/sent":
            return web.json_response({"sent": self.sent})
        return web.json_response([])

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One connection: what it subscribes to is told until it ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        tasks: list[asyncio.Task[None]] = []
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                order = json.loads(message.data)
                await socket.send_json({"result": None, "id": order["id"]})
                candles = [name.split("@")[0].upper() for name in order["params"] if "@kline_1m" in name]
                work = self.candles(socket, candles) if candles else self.marks(socket)
                tasks.append(asyncio.ensure_future(work))
        for task in tasks:
            task.cancel()
        return socket

    async def candles(self, socket: web.WebSocketResponse, names: list[str]) -> None:
        """The running candle of every pair, four times a second, spread over it."""
        while True:
            for at in range(0, len(names), 20):
                for name in names[at : at + 20]:
                    now = self.clock.wall_ms()
                    candle = {
                        "t": now - now % MINUTE_MS, "s": name, "i": "1m", "o": "10", "h": "11", "l": "9", "c": "10.5",
                        "v": "5", "x": False,
                    }  # fmt: skip
                    await socket.send_frame(
                        orjson.dumps({"e": "kline", "E": now, "s": name, "k": candle}), WSMsgType.TEXT
                    )
                    self.sent += 1
                await asyncio.sleep(CANDLE_EVERY_S * 20 / len(names))

    async def marks(self, socket: web.WebSocketResponse) -> None:
        """All marks in one message, every second."""
        while True:
            now = self.clock.wall_ms()
            rows = [
                {"e": "markPriceUpdate", "E": now, "s": name, "p": "10", "i": "10", "r": "0.0001", "T": now + 3_600_000}
                for name in self.names
            ]
            await socket.send_frame(orjson.dumps(rows), WSMsgType.TEXT)
            self.sent += len(rows)
            await asyncio.sleep(MARK_EVERY_S)


async def main(count: int) -> None:
    """Serve until killed; the address is printed once it answers."""
    app = web.Application()
    app.router.add_get("/{path:.*}", ManyPairs(count).serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=400)
    asyncio.run(main(parser.parse_args().pairs))
