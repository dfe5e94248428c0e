"""Opening ccxt: pointed at the real exchange, or at a local venue with every other address fenced off.

The only module that touches ccxt's insides. Which URLs a venue answers on is the exchange's own protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hydra_core.domain.errors import UsageError
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.limits import RequestGauge

LOCAL_EXCHANGES: Final = frozenset({"binanceusdm"})
"""Exchanges whose protocol a local venue speaks."""

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

KEEP_ALIVE_MS: Final = 15_000
"""A peer that answers no ping for two of these is gone; ccxt's own three minutes is too long to trade blind."""


def open_exchange(
    endpoint: Endpoint,
    credentials: Credentials | None = None,
    *,
    limiter: bool | None = None,
    gauge: RequestGauge | None = None,
    now_ms: Callable[[], int] | None = None,
    timeout_ms: int = 10_000,
    hooks: Callable[[type[Any]], type[Any]] | None = None,
) -> Any:
    """A ccxt exchange for REST and streams, pointed where ``endpoint`` says; the caller closes it.

    Parameters
    ----------
    endpoint : Endpoint
    credentials : Credentials, optional, for signed calls
    limiter : bool, optional, whether ccxt spaces requests out; by default only on the real exchange
    gauge : RequestGauge, optional, told of every answer's status and headers
    now_ms : callable, optional, epoch ms that signed requests are stamped with (a venue's market time)
    hooks : callable, optional, from ccxt's class to a subclass of it that listens in

    Raises
    ------
    UsageError : ccxt has no such exchange, or a local venue does not speak its protocol
    """
    import ccxt.pro

    base = getattr(ccxt.pro, endpoint.exchange, None)
    if base is None or endpoint.exchange not in ccxt.pro.exchanges:
        raise UsageError(f"unknown exchange {endpoint.exchange!r}", "Set HYDRA_EXCHANGE to one that ccxt.pro knows")
    if endpoint.local and endpoint.exchange not in LOCAL_EXCHANGES:
        raise UsageError(f"a local venue does not speak {endpoint.exchange!r}", f"Use {', '.join(LOCAL_EXCHANGES)}")
    kind = hooks(base) if hooks else base
    exchange = kind(_config(credentials, limiter if limiter is not None else not endpoint.local, timeout_ms))
    exchange.streaming["keepAlive"] = KEEP_ALIVE_MS
    if endpoint.base_url is not None:
        point_at_venue(exchange, endpoint.base_url.rstrip("/"))
        exchange.timeout_on_exit = 0
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


def _config(credentials: Credentials | None, limiter: bool, timeout_ms: int) -> dict[str, Any]:
    """Construction options: only the markets traded, a sliding minute of weight instead of an even drip."""
    config: dict[str, Any] = {
        "enableRateLimit": limiter,
        "rateLimiterAlgorithm": "rollingWindow",
        "timeout": timeout_ms,
        "newUpdates": True,
        "options": {
            "fetchCurrencies": False,
            "fetchMargins": False,
            "fetchMarkets": {"types": ["linear"]},
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    }
    if credentials is not None:
        config |= {"apiKey": credentials.key, "secret": credentials.secret}
    return config


def _listen(exchange: Any, gauge: RequestGauge) -> None:
    """Tell the gauge of every answer."""
    inner = exchange.on_rest_response

    def on_answer(code: int, reason: str, url: str, method: str, headers: Mapping[str, str], *rest: Any) -> Any:
        gauge.note(code, headers)
        return inner(code, reason, url, method, headers, *rest)

    exchange.on_rest_response = on_answer
