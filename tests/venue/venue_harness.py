"""A venue served on a free port inside the test's event loop, and unmodified ccxt pointed at it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.pro

from hydra_core.domain.clock import AnchoredClock, ClockAnchor
from hydra_core.simulation.base import Market
from hydra_core.simulation.synthetic import SyntheticMarket
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET, VenueConfig, serve

DAYS = 12
_MARKETS: dict[int, SyntheticMarket] = {}


def synthetic(days: int = DAYS) -> SyntheticMarket:
    """One market for all tests: it is a pure function, and making its days costs time."""
    return _MARKETS.setdefault(days, SyntheticMarket(7, 0.3, days))


async def eventually(check: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """The first truthy answer of a check (plain or async), polled; fails with ``what`` when there is none in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = check()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not in {seconds} s: {what or check}")
        await asyncio.sleep(0.01)


def point_at_venue(exchange: Any, base: str) -> Any:
    """Redirect every URL of a ccxt instance to the venue; what the venue does not serve cannot leave loopback."""
    sockets = base.replace("http", "ws", 1)
    api = exchange.urls["api"]
    served = {
        "fapiPublic": "/fapi/v1", "fapiPublicV2": "/fapi/v2", "fapiPublicV3": "/fapi/v3",
        "fapiPrivate": "/fapi/v1", "fapiPrivateV2": "/fapi/v2", "fapiPrivateV3": "/fapi/v3", "fapiData": "/futures/data",
    }  # fmt: skip
    for name, url in list(api.items()):
        if isinstance(url, str):
            api[name] = base + served.get(name, f"/_forbidden/{name}")
    api["ws"] = {
        name: f"{sockets}/_forbidden/ws/{name}" if isinstance(url, str) else url for name, url in api["ws"].items()
    }
    api["ws"]["linear"] = sockets + "/ws"
    api["ws"]["ws-api"] = {**api["ws"]["ws-api"], "linear": sockets + "/ws-fapi/v1"}
    exchange.exceptions["exact"] = {**exchange.exceptions["exact"], **exchange.exceptions["linear"]["exact"]}
    return exchange


@dataclass
class Served:
    """A running venue and what a test needs to talk to it."""

    base: str
    market: Market
    session: aiohttp.ClientSession
    exchanges: list[Any] = field(default_factory=list)

    async def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request to the control plane."""
        async with self.session.request(method, f"{self.base}/_venue/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            out: dict[str, Any] = await answer.json()
            return out

    async def clock(self) -> AnchoredClock:
        """The venue's clock, followed from one anchor."""
        told = await self.control("GET", "clock")
        return AnchoredClock(ClockAnchor(told["market_ms"], told["wall_ms"], told["speed"], told["held"]))

    async def now_ms(self) -> int:
        """Market time now."""
        return int((await self.control("GET", "clock"))["market_ms"])

    async def pass_to(self, market_ms: int, speed: float = 30_000.0) -> None:
        """Let market time run fast until it has reached a moment, then hold it."""
        await self.control("POST", "clock", {"speed": speed, "held": False})

        async def reached() -> bool:
            return await self.now_ms() >= market_ms

        await eventually(reached, 20, f"market time {market_ms}")
        await self.control("POST", "clock", {"held": True})
        for exchange in self.exchanges:
            exchange.milliseconds = (await self.clock()).market_ms

    async def raw(self, path: str, **params: Any) -> Any:
        """A public endpoint's JSON."""
        async with self.session.get(self.base + path, params=params) as answer:
            return await answer.json()

    async def exchange(self, kind: type[Any] = ccxt.pro.binanceusdm, **config: Any) -> Any:
        """A ccxt.pro instance with its markets loaded, its clock the venue's."""
        exchange = kind(
            {
                "apiKey": LOCAL_KEY,
                "secret": LOCAL_SECRET,
                "enableRateLimit": False,
                "timeout": 5_000,
                "options": {
                    "fetchCurrencies": False,
                    "fetchMargins": False,
                    "fetchMarkets": {"types": ["linear"]},
                    "warnOnFetchOpenOrdersWithoutSymbol": False,
                },
                **config,
            }
        )
        exchange.timeout_on_exit = 0
        point_at_venue(exchange, self.base)
        exchange.milliseconds = (await self.clock()).market_ms
        self.exchanges.append(exchange)
        await exchange.load_markets()
        return exchange


@contextlib.asynccontextmanager
async def served(state_dir: Path, market: Market | None = None, **options: Any) -> AsyncIterator[Served]:
    """Serve a venue until the block ends; by default a held synthetic one with 10 000 USDT."""
    market = market or synthetic()
    settings: dict[str, Any] = {"held": True, "start_ms": market.start_ms, "balance": Decimal(10_000), **options}
    config = VenueConfig(market=market, host="127.0.0.1", port=0, state_dir=state_dir, **settings)
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(config, stop=stop, ready=lambda _, number: port.set_result(number)))
    await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    async with aiohttp.ClientSession() as session:
        venue = Served(f"http://127.0.0.1:{port.result()}", market, session)
        try:
            yield venue
        finally:
            await asyncio.gather(*(exchange.close() for exchange in venue.exchanges))
            stop.set()
            await task
