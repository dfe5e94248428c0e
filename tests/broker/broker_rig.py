"""A real broker, ledger and gateway on an account double: what the tests of this folder trade with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from account_double import KEY, PASSPHRASE, SECRET, D

from hydra_core.broker.exchange import ExchangeBroker
from hydra_core.broker.gateway import Gateway
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import look, open_live
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState, Side
from hydra_core.execution.orders import client_order_id
from hydra_core.ledger.records import OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.settings import LiveSettings, Settings
from hydra_core.trader.view import MarketView

BTC = Pair("BTCUSDT")
RULES = MarketRules(BTC, tick_size=D("0.1"), step_size=D("0.01"), min_quantity=D("0.01"), min_notional=D(5))
CREDENTIALS = Credentials(KEY, SECRET, PASSPHRASE)
LIVE = LiveSettings(enabled=True, timeout_s=5.0, probe_window_s=0.2)


class Prices(MarketView):
    """A market of one price."""

    def exact_mark(self, pair: Pair) -> Decimal | None:
        return D("50000")


@dataclass
class Desk:
    """A broker and what it stands on."""

    gateway: Gateway
    ledger: Ledger
    account: str
    broker: ExchangeBroker
    clock: SystemClock = field(default_factory=SystemClock)
    _made: int = 0

    def order(self, size: str, side: Side = Side.LONG, kind: Any = "market", **more: Any) -> OrderRecord:
        """An order whose intent is booked."""
        self._made += 1
        now = self.clock.market_ms()
        record = OrderRecord(
            client_order_id("plan-1", BTC, self._made), "plan-1", self.account, BTC, side, D(size), kind, OrderState.NEW,
            now, now, **more,
        )  # fmt: skip
        assert self.ledger.record_order(record)
        return record

    async def send(self, size: str, side: Side = Side.LONG, kind: Any = "market", **more: Any) -> OrderRecord:
        """Submit an order and wait until nothing is under way; returns it as it is booked then."""
        order = self.order(size, side, kind, **more)
        self.broker.submit(order)
        await self.broker.settled()
        return self.ledger.order(order.order_id)

    async def protect(self, size: str, stop: str) -> OrderRecord:
        """Send the protective stop of a long position."""
        order = self.order(size, Side.SHORT, "stop", reduce_only=True, stop_price=D(stop))
        self.broker.send_stop(order)
        await self.broker.settled()
        return self.ledger.order(order.order_id)

    def held(self) -> Decimal:
        """The position as booked."""
        position = self.ledger.positions(self.account).get(BTC)
        return position.quantity if position else D(0)

    def cash(self) -> Decimal:
        """Cash as booked."""
        return self.ledger.account(self.account).cash

    def trades(self) -> list[tuple[Decimal, Decimal]]:
        """(quantity, price) of every booked fill, oldest first."""
        booked = self.ledger.fills(self.account)
        return [(one.fill.quantity, one.fill.price) for one in reversed(booked)]


@asynccontextmanager
async def at_desk(exchange: str, url: str, books: Path, *, fresh: bool = True) -> AsyncIterator[Desk]:
    """Open the account in a ledger (``fresh``), or take it up from there as a restart does, and compare once."""
    clock = SystemClock()
    async with open_gateway(Endpoint(exchange, url), CREDENTIALS, clock, timeout_ms=5_000) as gateway:
        with Ledger.open(f"sqlite:///{books}") as ledger:
            if fresh:
                opening = await look(gateway, Settings(live=LIVE, pairs=(BTC,)))
                await open_live(gateway, ledger, (BTC,), opening, clock.market_ms())
            account = ledger.current_account()
            assert account is not None
            broker = ExchangeBroker(gateway, ledger, account.name, Prices((BTC,)), clock, {BTC: RULES}, LIVE)
            broker.restore()
            report = await broker.reconcile("start")
            assert not report.failed, report
            try:
                yield Desk(gateway, ledger, account.name, broker)
            finally:
                await broker.aclose()


async def until_true(check: Callable[[], bool], desk: Desk) -> None:
    """Compare again and again until something is so."""
    for _ in range(20):
        if check():
            return
        await desk.broker.reconcile("test")
    raise AssertionError("it did not become so")
