"""HYDRA as it is opened for the real exchange, through TLS and the real host names: errors arrive in their exact classes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ccxt
import pytest
from venue_harness import Served, eventually
from venue_tls import DOMAIN, RealNames, real_names

from hydra_core.domain.intervals import MINUTE_MS, Interval
from hydra_core.domain.market import Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.errors import code_of, read_error
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import QUOTE_STREAM, MarketStreams
from hydra_core.market.surface import canary
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET

BTC = Pair("BTCUSDT")
OWNER = Credentials(LOCAL_KEY, LOCAL_SECRET)
CODES = {
    -1007: (408, ccxt.RequestTimeout, "OutcomeUnknown"),
    -1008: (503, ccxt.OperationFailed, "OutcomeUnknown"),
    -1015: (429, ccxt.NetworkError, "VenueUnavailable"),
    -1021: (400, ccxt.InvalidNonce, "VenueUnavailable"),
    -1022: (400, ccxt.AuthenticationError, "Refused"),
    -1111: (400, ccxt.BadRequest, "Refused"),
    -1121: (400, ccxt.BadSymbol, "Refused"),
    -2011: (400, ccxt.OrderNotFound, "Refused"),
    -2013: (400, ccxt.OrderNotFound, "Refused"),
    -2019: (400, ccxt.InsufficientFunds, "Refused"),
    -2021: (400, ccxt.OrderImmediatelyFillable, "Refused"),
    -2022: (400, ccxt.InvalidOrder, "Refused"),
    -2027: (400, ccxt.OperationRejected, "Refused"),
    -2028: (400, ccxt.OperationRejected, "Refused"),
    -4061: (400, ccxt.OperationRejected, "Refused"),
    -4116: (400, ccxt.InvalidOrder, "Refused"),
    -4118: (400, ccxt.OperationRejected, "Refused"),
    -4120: (400, ccxt.InvalidOrder, "Refused"),
    -4131: (400, ccxt.OperationRejected, "Refused"),
    -4140: (400, ccxt.BadRequest, "Refused"),
    -4164: (400, ccxt.InvalidOrder, "Refused"),
    -5022: (400, ccxt.OrderNotFillable, "Refused"),
}
"""Code -> HTTP status, ccxt's class for futures, HYDRA's decision for an order. Source: notes/venue.md section 6."""
ORDER = {"symbol": BTC, "side": "BUY", "type": "MARKET", "quantity": "0.010"}


@pytest.fixture
async def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealNames]:
    async with real_names(tmp_path, monkeypatch) as venue:
        yield venue


async def classes(control: Any, exchange: Any) -> dict[int, tuple[type[BaseException], str]]:
    """What a refused order raises, and what HYDRA makes of it, by code."""
    found = {}
    for code, (status, _, _) in CODES.items():
        body = {
            "kind": "refuse",
            "code": code,
            "status": status,
            "message": "words",
            "path": ".*/order",
            "method": "POST",
        }
        await control("POST", "faults", body)
        with pytest.raises(ccxt.BaseError) as raised:
            await exchange.fapiPrivatePostOrder(ORDER)
        assert code_of(raised.value) == code
        found[code] = (type(raised.value), type(read_error(raised.value, "order", order=True)).__name__)
    return found


async def test_error_classes_are_the_real_ones(real: RealNames) -> None:
    exchange = open_exchange(Endpoint(), OWNER, limiter=False, now_ms=real.clock.market_ms)
    try:
        assert exchange.urls["api"]["fapiPrivate"] == f"https://fapi.{DOMAIN}/fapi/v1"
        found = await classes(real.control, exchange)
    finally:
        await exchange.close()
    assert {code: decision for code, (_, decision) in found.items()} == {code: row[2] for code, row in CODES.items()}
    for code, (kind, _) in found.items():
        assert issubclass(kind, CODES[code][1]), f"{code} is {kind.__name__}"
    assert set(real.asked) == {f"fapi.{DOMAIN}"}


async def test_on_loopback_every_refusal_has_the_class_that_it_has_on_the_real_host(
    venue: Served, exchange: Any
) -> None:
    endpoint = Endpoint(base_url=venue.base)
    opened = open_exchange(endpoint, OWNER, now_ms=exchange.milliseconds)
    try:
        found = await classes(venue.control, opened)
    finally:
        await opened.close()
    assert {code: decision for code, (_, decision) in found.items()} == {code: row[2] for code, row in CODES.items()}
    assert all(issubclass(kind, CODES[code][1]) for code, (kind, _) in found.items())


async def test_history_orders_and_the_surface(real: RealNames) -> None:
    surface = await canary(Endpoint())
    assert surface.retired == surface.silent == ()
    async with ExchangeClient(Endpoint(), credentials=OWNER, clock=real.clock) as client:
        now = real.clock.market_ms()
        frame = await client.candles(BTC, Interval.M5, now - 60 * MINUTE_MS, now, now)
        assert frame.height == 12
        assert BTC in await client.rules()
        order = await client.exchange.fapiPrivatePostOrder(ORDER)
        assert (order["status"], order["executedQty"]) == ("FILLED", "0.01")
        status = await real.control("GET", "status")
    assert (status["unknown"], status["positions"]) == ([], 1)


class Ear:
    """Takes what the streams tell."""

    def __init__(self) -> None:
        self.quotes: list[Quote] = []
        self.health: list[tuple[str, bool]] = []

    def on_quote(self, quote: Quote) -> None:
        self.quotes.append(quote)

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        self.health.append((stream, ok))


async def test_streams_come_and_come_back(real: RealNames) -> None:
    ear = Ear()
    streams = MarketStreams(Endpoint(), [BTC], [Interval.M1], ear, real.clock, topics=(QUOTE_STREAM,))  # type: ignore[arg-type]
    task = asyncio.create_task(streams.run())
    try:
        await eventually(lambda: ear.quotes, what="a quote")
        await real.control("POST", "faults", {"kind": "drop", "abort": True})
        await eventually(lambda: (QUOTE_STREAM, False) in ear.health, what="the fall is told")
        before = len(ear.quotes)
        await eventually(
            lambda: len(ear.quotes) > before and ear.health[-1] == (QUOTE_STREAM, True), what="quotes again"
        )
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert f"fstream.{DOMAIN}" in real.asked


async def test_the_user_stream_needs_its_key(real: RealNames) -> None:
    exchange = open_exchange(Endpoint(), OWNER, limiter=False, now_ms=real.clock.market_ms)
    try:
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        exchange.open()
        url = f"wss://fstream.{DOMAIN}/private/ws?listenKey={key}"
        async with exchange.session.ws_connect(url, ssl=exchange.ssl_context) as socket:
            await exchange.fapiPrivatePostOrder(ORDER)
            seen = [json.loads(await socket.receive_str(timeout=5))["e"] for _ in range(4)]
    finally:
        await exchange.close()
    assert seen == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE", "ORDER_TRADE_UPDATE"]
