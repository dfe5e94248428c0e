"""Opening ccxt: pointed at the real exchange, or at a local venue with every other address fenced off.

The only module that touches ccxt's insides. Which URLs a venue answers on is the exchange's own protocol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.exchanges import adapter_for, known_exchange
from hydra_core.market.exchanges.pages import LONG, Sent
from hydra_core.market.limits import RequestBudget

VENUE_PROTOCOL: Final = "binanceusdm"
"""Exchange whose protocol the local venue speaks; others are met on loopback by tests alone."""

REST_PATHS: Final[Mapping[str, str]] = {
    "fapiPublic": "/fapi/v1",
    "fapiPublicV2": "/fapi/v2",
    "fapiPublicV3": "/fapi/v3",
    "fapiPrivate": "/fapi/v1",
    "fapiPrivateV2": "/fapi/v2",
    "fapiPrivateV3": "/fapi/v3",
    "fapiData": "/futures/data",
}
FORBIDDEN: Final = "/_forbidden"
"""Where every address that HYDRA must not reach points: the venue answers 404 and logs it."""

ORDER_PATHS: Final = frozenset({"order", "algoOrder", "batchOrders"})
"""What a new or changed order is sent to: these count against the account's order limits."""
MOST_IN_BATCH: Final = 5

_as_sent: ContextVar[bool] = ContextVar("as_sent", default=False)

KEEP_ALIVE_MS: Final = 15_000
"""A peer that answers no ping for two of these is gone; ccxt's own three minutes is too long to trade blind."""


@contextmanager
def lists_as_sent() -> Iterator[None]:
    """Requests made inside the block hand over long answers that are lists of lists as :class:`Sent` text, not parsed."""
    token = _as_sent.set(True)
    try:
        yield
    finally:
        _as_sent.reset(token)


def open_exchange(
    endpoint: Endpoint,
    credentials: Credentials | None = None,
    *,
    limiter: bool | None = None,
    gauge: RequestBudget | None = None,
    now_ms: Callable[[], int] | None = None,
    timeout_ms: int = 10_000,
    hooks: Callable[[type[Any]], type[Any]] | None = None,
) -> Any:
    """A ccxt exchange for REST and streams, pointed where ``endpoint`` says; the caller closes it.

    Parameters
    ----------
    endpoint : Endpoint
    credentials : Credentials, optional, for signed calls
    limiter : bool, optional, whether ccxt spaces requests out by itself; by default only on the real exchange, and never
        where a budget does all of it
    gauge : RequestBudget, optional, asked before every request and told of every answer
    now_ms : callable, optional, epoch ms that signed requests are stamped with (a venue's market time)
    hooks : callable, optional, from ccxt's class to a subclass of it that listens in

    Raises
    ------
    UsageError : HYDRA has no adapter for such an exchange
    """
    import ccxt.pro

    base = getattr(ccxt.pro, known_exchange(endpoint.exchange))
    kind = hooks(base) if hooks else base
    # What a budget knows of other exchanges is a minute's sum: their shorter windows are ccxt's to keep.
    spaced = (limiter if limiter is not None else not endpoint.local) and (
        gauge is None or endpoint.exchange != VENUE_PROTOCOL
    )
    exchange = kind(_config(credentials, spaced, timeout_ms, adapter_for(endpoint.exchange).market_types))
    exchange.streaming["keepAlive"] = KEEP_ALIVE_MS
    exchange.has["fetchCurrencies"] = False  # coins and their chains: a request more that nothing here needs
    if endpoint.base_url is not None:
        point = point_at_venue if endpoint.exchange == VENUE_PROTOCOL else point_at_loopback
        point(exchange, endpoint.base_url.rstrip("/"))
        exchange.timeout_on_exit = 0
        if endpoint.base_url.startswith("http://"):
            exchange.verify = False  # there is no TLS to verify, and reading the machine's certificates takes long
    exchange.on_json_response = _parser(exchange.on_json_response)
    if gauge is not None:
        _listen(exchange, gauge)
    if now_ms is not None:
        exchange.milliseconds = now_ms
    return exchange


def point_at_venue(exchange: Any, base_url: str) -> None:
    """Point every address of a Binance USD-M exchange at a local venue, the unused ones at a path it refuses.

    Call before anything is loaded. ccxt chooses its table of error codes by the real host's name, so the futures table
    is merged into the general one: otherwise most codes would arrive as a bare ExchangeError.
    """
    sockets = base_url.replace("http", "ws", 1)
    api = exchange.urls["api"]
    for name, path in REST_PATHS.items():
        api[name] = base_url + path
    for name, url in list(api.items()):
        if isinstance(url, str) and not url.startswith(base_url):
            api[name] = f"{base_url}{FORBIDDEN}/{name}"
    streams = api["ws"]
    streams["linear"] = f"{sockets}/ws"
    streams["ws-api"]["linear"] = f"{sockets}/ws-fapi/v1"
    for name, url in list(streams.items()):
        if isinstance(url, str) and not url.startswith(sockets):
            streams[name] = f"{sockets}{FORBIDDEN}/ws/{name}"
    for name, url in list(streams["ws-api"].items()):
        if isinstance(url, str) and not url.startswith(sockets):
            streams["ws-api"][name] = f"{sockets}{FORBIDDEN}/ws-api/{name}"
    codes = exchange.exceptions
    codes["exact"] = {**codes["exact"], **codes["linear"]["exact"]}


def point_at_loopback(exchange: Any, base_url: str) -> None:
    """Point every address of any other exchange at a local server: same paths, another host.

    Call before anything is loaded.
    """

    def moved(part: Any, base: str) -> Any:
        if isinstance(part, dict):
            return {name: moved(inner, base) for name, inner in part.items()}
        scheme, _, rest = str(part).partition("://")
        path = rest.partition("/")[2]
        root = base.replace("http", "ws", 1) if scheme.startswith("ws") else base
        return f"{root}/{path}" if path else root

    exchange.urls["api"] = moved(exchange.urls["api"], base_url)


def _config(
    credentials: Credentials | None, limiter: bool, timeout_ms: int, market_types: tuple[str, ...]
) -> dict[str, Any]:
    """Construction options: only the markets traded, a sliding minute of weight instead of an even drip."""
    config: dict[str, Any] = {
        "enableRateLimit": limiter,
        "rateLimiterAlgorithm": "rollingWindow",
        "timeout": timeout_ms,
        "newUpdates": True,
        "options": {
            "fetchCurrencies": False,
            "fetchMargins": False,
            "fetchMarkets": {"types": list(market_types)},
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    }
    if credentials is not None:
        config |= {"apiKey": credentials.key, "secret": credentials.secret}
        if credentials.passphrase:
            config["password"] = credentials.passphrase
    return config


def _parser(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """ccxt's own parser, but for what is wanted as it was sent."""

    def parsed(text: str) -> Any:
        return Sent(text) if _as_sent.get() and len(text) >= LONG and text.startswith("[[") else parse(text)

    return parsed


def _listen(exchange: Any, budget: RequestBudget) -> None:
    """Draw every request from the budget, at ccxt's own cost, and tell the budget of every answer."""
    ask, hear = exchange.fetch2, exchange.on_rest_response

    async def on_ask(
        path: str, api: Any = "public", method: str = "GET", params: Any = None, config: Any = None
    ) -> Any:
        given, rule = params or {}, config or {}
        cost = math.ceil(exchange.calculate_rate_limiter_cost(api, method, path, given, rule))
        orders = len(given.get("batchOrders", "x")) if path in ORDER_PATHS and method in ("POST", "PUT") else 0
        async with budget.spend(cost, min(orders, MOST_IN_BATCH)):
            return await ask(path, api, method, given, rule)

    def on_answer(
        code: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *rest: Any
    ) -> Any:
        budget.note(code, headers, body)
        return hear(code, reason, url, method, headers, body, *rest)

    exchange.fetch2, exchange.on_rest_response = on_ask, on_answer
