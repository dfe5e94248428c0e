"""One account being traded: its broker, desk and guard, and for an account at an exchange the connections that it needs.

Not here: when what is ticked (``service``), what a person agreed to (``broker.opening``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from loguru import logger

from hydra_core.broker.bell import listen
from hydra_core.broker.exchange import ExchangeBroker
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import check_terms, credentials_of
from hydra_core.broker.paper import PaperBroker
from hydra_core.broker.protocol import Broker
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import LedgerUnusable, VenueUnavailable
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Mode
from hydra_core.execution.rounding import decimal
from hydra_core.home import Home
from hydra_core.lake.spool import Spool
from hydra_core.ledger.records import Account
from hydra_core.ledger.store import Ledger
from hydra_core.market.connect import VENUE_PROTOCOL
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import Quarantine, StreamHealth, Trade, UserEvent, UserStream
from hydra_core.settings import Settings
from hydra_core.trader.desk import Desk
from hydra_core.trader.guard import FAILURES, Guard
from hydra_core.trader.view import MarketView


@dataclass(frozen=True, slots=True)
class Parts:
    """What every session of a trader shares."""

    home: Home
    settings: Settings
    endpoint: Endpoint
    clock: Clock
    ledger: Ledger
    view: MarketView
    rules: Mapping[Pair, MarketRules]
    spool: Spool | None = None
    """Where the book in which an order on paper filled is kept; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Session:
    """The parts that belong to one account."""

    account: str
    broker: Broker
    desk: Desk
    guard: Guard
    live: bool = False
    tasks: tuple[asyncio.Task[None], ...] = ()

    def tick(self) -> Mode:
        """One round: what is due fills first, then the guard judges, then the desk trades and the stops follow.

        While the guard can read neither time nor account nothing more happens in a round.
        """
        try:
            self.broker.tick()
        except LedgerUnusable:
            raise
        except FAILURES as error:
            self.guard.blinded("broker", error)
        mode = self.guard.tick()
        if self.guard.blind:
            return mode
        positions = self.guard.positions()
        self.desk.tick(mode, positions)
        self.desk.protect(positions)
        self.broker.protect(self.guard.positions())
        return mode

    def check(self) -> None:
        """Raise what ended a connection for good."""
        for task in self.tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error


class UserEvents:
    """Between the user stream and the broker: events in, health in, and the word to compare."""

    def __init__(self, broker: ExchangeBroker) -> None:
        self._broker = broker

    def on_user(self, event: UserEvent) -> None:
        """Hand an event to the broker."""
        self._broker.on_user_event(event.payload)

    def on_health(self, health: StreamHealth) -> None:
        """Tell the broker when the stream came up or went down."""
        self._broker.on_user_stream(health.ok, health.message or health.state)

    async def compare(self, reason: str) -> None:
        """Read what happened while nobody listened; raises VenueUnavailable to be asked again."""
        report = await self._broker.reconcile(f"user stream {reason}")
        if report.failed:
            raise VenueUnavailable(report.failed)


@asynccontextmanager
async def open_session(parts: Parts, account: Account) -> AsyncIterator[Session]:
    """An account's session, on paper or at the exchange, until the block ends.

    Raises
    ------
    UsageError : the account is live and trading at an exchange is not allowed, or not on these terms
    """
    if not account.live:
        session, hear = paper_session(parts, account)
        parts.view.trade_hearers.append(hear)
        try:
            yield session
        finally:
            parts.view.trade_hearers.remove(hear)
        return
    credentials = credentials_of(parts.settings, parts.endpoint)
    check_terms(account, parts.settings, parts.endpoint)
    async with _at_exchange(parts, account, credentials) as session:
        yield session


def paper_session(parts: Parts, account: Account) -> tuple[Session, Callable[[Trade], None]]:
    """An account's session on paper, and what has to hear the public trades for it."""
    broker = PaperBroker(
        parts.ledger, account.name, parts.view, parts.clock, parts.rules, parts.settings.costs,
        on_fill=partial(_keep_book, parts), close_before_delivery_h=parts.settings.live.close_before_delivery_h,
    )  # fmt: skip

    def hear(trade: Trade) -> None:
        broker.on_trade(trade.pair, decimal(trade.price), decimal(trade.quantity), trade.event_ms)

    return _session(parts, account, broker), hear


def _keep_book(parts: Parts, fill: Fill) -> None:
    """Note the book in which an order filled."""
    quote = parts.view.quotes.get(fill.pair)
    if parts.spool is not None and quote is not None:
        day_notional, day_volatility = parts.view.day_notional(fill.pair), parts.view.day_volatility(fill.pair)
        parts.spool.add_own_fill(fill, quote, day_notional, day_volatility)


@asynccontextmanager
async def _at_exchange(parts: Parts, account: Account, credentials: Credentials) -> AsyncIterator[Session]:
    live, limits = parts.settings.live, parts.home.limits
    async with (
        open_gateway(
            parts.endpoint, credentials, parts.clock, timeout_ms=int(live.timeout_s * 1000), budget_folder=limits
        ) as gateway,
        ExchangeClient(parts.endpoint, credentials=credentials, clock=parts.clock, limits=limits) as client,
    ):
        rules = dict(parts.rules)
        broker = ExchangeBroker(
            gateway, parts.ledger, account.name, parts.view, parts.clock, rules, live, client.listings
        )
        tasks = (
            asyncio.create_task(broker.run(), name="broker"),
            asyncio.create_task(_hear(parts, credentials, client, broker), name="user stream"),
        )
        try:
            yield _session(parts, account, broker, tasks)
        finally:
            parts.view.account_stream = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _hear(
    parts: Parts, credentials: Credentials, client: ExchangeClient, broker: ExchangeBroker
) -> Coroutine[Any, Any, None]:
    """What listens to the account: every event where the exchange's messages are read, else a bell that has it looked at."""
    if parts.endpoint.exchange != VENUE_PROTOCOL:
        return listen(parts.endpoint, credentials, parts.clock, broker.want)
    events = UserEvents(broker)
    stream = UserStream(
        parts.endpoint, client, events, parts.clock, events.compare, told=events.on_health, unread=broker.on_unread,
        within=broker.books.together, quarantine=Quarantine(parts.clock, parts.home.quarantine / "user.jsonl"),
    )  # fmt: skip
    parts.view.account_stream = stream.health
    broker.on_user_stream(False, "not connected yet")
    return stream.run()


def _session(parts: Parts, account: Account, broker: Broker, tasks: tuple[asyncio.Task[None], ...] = ()) -> Session:
    restored = broker.restore()
    desk = Desk(
        parts.ledger, account.name, broker, parts.view, parts.clock, parts.rules,
        max_age_s=parts.settings.risk.max_quote_age_s,
    )  # fmt: skip
    guard = Guard(
        parts.home, parts.ledger, account.name, desk, parts.view, parts.clock, parts.rules, parts.settings.risk,
        broker=broker, live=parts.settings.live,
    )  # fmt: skip
    logger.info(
        "account {} ({}): {} USDT cash, {} open orders taken up", account.name, account.kind, account.cash, restored
    )
    return Session(account.name, broker, desk, guard, account.live, tasks)
