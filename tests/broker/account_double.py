"""An account at an exchange that stands nowhere but here: orders, trades, a position and a wallet behind a loopback server.

What it holds is the same for every exchange; how it is said is a subclass's, by the documentation and the answers quoted in
ccxt, and written without a look at the code under test. Sizes are in the exchange's own units.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

D = Decimal
KEY, SECRET, PASSPHRASE = "key-for-tests", "secret-for-tests-0123456789", "passphrase-for-tests"
LOST, DROPPED = "lost", "dropped"
"""Faults of one request: done and not answered; not done and not answered."""


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Order:
    """An order as the exchange has it; ``status`` is one of open, filled, canceled, waiting, turned down."""

    venue_id: str
    client: str
    side: str
    size: Decimal
    kind: str = "market"
    price: str = ""
    trigger: str = ""
    reduce_only: bool = False
    status: str = "open"
    filled: Decimal = Decimal(0)
    made_by: str = "user"
    tif: str = ""
    became: str = ""
    came_from: str = ""
    at: int = field(default_factory=now_ms)


@dataclass
class Trade:
    trade_id: str
    order: Order
    size: Decimal
    price: Decimal
    fee: Decimal
    pnl: Decimal
    at: int
    number: int


class AccountDouble:
    """One account; subclasses speak an exchange's language."""

    unit: ClassVar[Decimal] = D(1)
    """Base units of one unit of size."""
    orders_path: ClassVar[str]
    cancel_path: ClassVar[str]
    symbol: ClassVar[str]

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.trades: list[Trade] = []
        self.held, self.entry = D(0), D(0)
        self.wallet = D("10000")
        self.entries: list[dict[str, Any]] = []
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.parts = [D(1)]
        """Shares in which a market order fills at once; none: it stays open."""
        self.price = D("50000")
        self.hedged = False
        self.a_page = 100
        self.sockets: list[web.WebSocketResponse] = []
        self.subscribed = False
        self.bad_signatures = 0
        self._numbers = itertools.count(700_000_000_000)
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]

    async def stop(self) -> None:
        for socket in self.sockets:
            await socket.close()
        await self._runner.cleanup()

    def sent(self, path: str) -> list[dict[str, Any]]:
        """What was asked of a path, in order."""
        return [params for asked, params in self.asked if asked == path]

    def placed(self) -> list[dict[str, Any]]:
        """Orders that arrived, in order; looks at the same path left out."""
        return [params for params in self.sent(self.orders_path) if "qty" in params or "sz" in params]

    # -- the account ---------------------------------------------------------------------------------------------------

    def take(self, order: Order) -> Order:
        """A new order; a market order fills at once, in parts."""
        self.orders[order.venue_id] = order
        if order.kind == "market" and order.status == "open":
            for share in self.parts:
                self.fill(order, order.size * share, self.price)
        return order

    def fill(self, order: Order, size: Decimal, price: Decimal) -> None:
        """A trade: the order, the position, the wallet and the history follow."""
        sign = 1 if order.side == "buy" else -1
        closes = min(size, abs(self.held)) if self.held * sign < 0 else D(0)
        pnl = (price - self.entry) * closes * self.unit * -sign
        fee = size * self.unit * price * D("0.0005")
        order.filled += size
        order.status = "filled" if order.filled >= order.size else "open"
        before, self.held = self.held, self.held + sign * size
        if self.held * sign > 0:
            opened = abs(self.held) if before * sign < 0 else size
            self.entry = price if before * sign <= 0 else (self.entry * abs(before) + price * opened) / abs(self.held)
        self.wallet += pnl - fee
        number = next(self._numbers)
        trade = Trade(f"t-{number}", order, size, price, fee, pnl, now_ms(), number)
        self.trades.append(trade)
        self.entries.append(self.entry_of_trade(trade))

    def trigger(self, order: Order) -> None:
        """The trigger of a waiting stop comes."""
        order.status, order.kind = "open", "stop"
        for share in self.parts:
            self.fill(order, order.size * share, D(order.trigger))

    def new_id(self) -> str:
        return str(next(self._numbers))

    def by(self, client: str = "", venue_id: str = "") -> Order | None:
        return next(
            (o for o in self.orders.values() if o.venue_id == venue_id or (client and o.client == client)), None
        )

    # -- the server ----------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            return await self._stream(request)
        body = await request.text()
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        params = json.loads(body) if body else query
        self.asked.append((request.path, params))
        if not self.signed(request, body):
            self.bad_signatures += 1
        fault = self.faults[request.path].pop(0) if self.faults[request.path] else None
        if fault == DROPPED:
            return self._cut(request)
        if isinstance(fault, tuple):
            return web.json_response(self.refusal(*fault))
        if isinstance(fault, int):
            return web.Response(status=fault, text="<html>upstream</html>")
        answer = self.answers().get(request.path)
        if answer is None:
            return web.Response(status=404, text="[]")
        said = answer(params)
        if callable(fault):
            fault()
        return self._cut(request) if fault == LOST else web.json_response(said)

    def _cut(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT and (answer := self.on_stream(json.loads(message.data))) is not None:
                await socket.send_json(answer)
        return socket

    # -- what subclasses say -------------------------------------------------------------------------------------------

    def signed(self, request: web.Request, body: str) -> bool:
        """Whether a private request's signature is right; public ones have none."""
        raise NotImplementedError

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        """Answer by path."""
        raise NotImplementedError

    def refusal(self, code: str, words: str) -> Any:
        """The exchange's way to say no."""
        raise NotImplementedError

    def entry_of_trade(self, trade: Trade) -> dict[str, Any]:
        """A trade's row in the wallet's history."""
        raise NotImplementedError

    def on_stream(self, message: Any) -> Any:
        """The answer to a message on the private stream."""
        raise NotImplementedError
