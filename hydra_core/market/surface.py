"""The surface of the exchange that HYDRA stands on: every path it calls, in one table, and a canary that tries them all.

Exchanges retire paths. A retired one must be found at the start, by name, not as an outage in the middle of a trade. The
canary sends nothing that can have an effect: without parameters and signature a path that exists refuses in JSON, and one
that does not exist answers with a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hydra_core.domain.errors import Unsupported
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Endpoint

RETIRED: Final = frozenset({301, 308, 404, 410})
"""HTTP statuses that say: not here, or no longer."""

REST: Final[Mapping[str, tuple[str, ...]]] = {
    "fapiPublic": (
        "GET time", "GET exchangeInfo", "GET klines", "GET markPriceKlines", "GET indexPriceKlines",
        "GET premiumIndexKlines", "GET premiumIndex", "GET fundingRate", "GET fundingInfo", "GET openInterest",
        "GET depth", "GET aggTrades",
    ),
    "fapiData": ("GET openInterestHist", "GET globalLongShortAccountRatio"),
    "fapiPrivateV3": ("GET account", "GET positionRisk"),
    "fapiPrivate": (
        "POST order", "GET order", "DELETE order", "GET openOrders", "DELETE allOpenOrders", "POST algoOrder",
        "GET algoOrder", "DELETE algoOrder", "GET openAlgoOrders", "GET userTrades", "GET income",
        "GET leverageBracket", "GET symbolConfig", "POST leverage", "GET positionSide/dual", "POST countdownCancelAll",
        "PUT listenKey",
    ),
}  # fmt: skip
"""ccxt's name of a base address -> what is called below it."""
STREAMS: Final = ("public/ws", "market/ws", "private/ws")
"""Stream categories; a dial that is taken, or refused for its key, proves that one is there."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What a canary found: paths that are gone, and paths that gave no usable word (an outage, not a retirement)."""

    retired: tuple[str, ...]
    silent: tuple[str, ...]

    def insist(self, endpoint: Endpoint) -> None:
        """Raise Unsupported when a path that HYDRA needs is gone."""
        if self.retired:
            raise Unsupported(
                f"{endpoint} no longer has {', '.join(self.retired)}",
                "The exchange has changed its protocol: update HYDRA before trading",
            )


async def canary(endpoint: Endpoint, *, timeout_s: float = 5.0, at_once: int = 4) -> Surface:
    """Try every path of the table once.

    Parameters
    ----------
    endpoint : Endpoint, of the protocol in the table
    timeout_s : float, wall seconds for each
    at_once : int, requests in flight
    """
    import aiohttp

    exchange = open_exchange(endpoint, limiter=False)
    try:
        calls = [
            (line.partition(" ")[0], f"{exchange.urls['api'][base]}/{line.partition(' ')[2]}")
            for base, lines in REST.items()
            for line in lines
        ]
        root = exchange.urls["api"]["ws"]["linear"].removesuffix("/ws")
        calls += [("WS", f"{root}/{category}") for category in STREAMS]
    finally:
        await exchange.close()
    slots = asyncio.Semaphore(at_once)
    retired, silent = [], []
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def try_one(method: str, url: str) -> None:
            async with slots:
                status = await _status(session, method, url)
            if status in RETIRED:
                retired.append(f"{method} {url}")
            elif not status or status >= 500:
                silent.append(f"{method} {url}")

        await asyncio.gather(*(try_one(*call) for call in calls))
    return Surface(tuple(sorted(retired)), tuple(sorted(silent)))


async def _status(session: Any, method: str, url: str) -> int:
    """HTTP status of a bare call, 0 when there was no answer."""
    import aiohttp

    try:
        if method == "WS":
            async with session.ws_connect(url):
                return 101
        async with session.request(method, url, allow_redirects=False) as answer:
            return int(answer.status)
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0
