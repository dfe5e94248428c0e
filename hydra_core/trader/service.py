"""The trader's timetable: what runs when, in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.emergency import flatten
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import credentials_of
from hydra_core.domain.clock import AnchoredClock, Clock, SystemClock
from hydra_core.domain.errors import HydraError, LedgerUnusable
from hydra_core.domain.intervals import DEFAULT_INTERVALS
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode
from hydra_core.home import Home
from hydra_core.lake.spool import Spool
from hydra_core.ledger.doorbell import Doorbell
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.ledger.records import TRADER
from hydra_core.ledger.store import Ledger
from hydra_core.market.connect import VENUE_PROTOCOL
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import MarketStreams, Quarantine
from hydra_core.market.streams.unified import followable
from hydra_core.market.surface import canary
from hydra_core.market.venue_clock import follow_clock, keep_following
from hydra_core.settings import Settings
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.guard import manual_switch
from hydra_core.trader.lock import trader_lock
from hydra_core.trader.margins import with_margin_tables
from hydra_core.trader.sessions import Parts, Session, open_session
from hydra_core.trader.view import MarketView

TICK_S: Final = 0.05
HELD_TICK_S: Final = 0.5
"""While the venue holds its clock nothing can fill and no price moves."""
HEARTBEAT_S: Final = 1.0
BOOKS_WAIT_MS: Final = 2_000
"""Longest wait for another writer of the ledger: everything stands still meanwhile, so it is short."""


class Trader:
    """The resident process of one market home.

    Parameters
    ----------
    home, settings, endpoint : where, how and against which exchange
    """

    def __init__(self, home: Home, settings: Settings, endpoint: Endpoint) -> None:
        self._home = home
        self._settings = settings
        self._endpoint = endpoint
        self._clock: Clock = SystemClock()
        self._flat = asyncio.Event()
        self._ready = False

    async def run(self, stop: asyncio.Event, *, until_flat: bool = False) -> None:
        """Run until ``stop`` is set (or, with ``until_flat``, until no position is open).

        Raises
        ------
        LockHeld : another trader runs in this home
        VenueUnavailable : the venue cannot be reached at start
        Unsupported : the exchange has retired a path that HYDRA needs
        """
        settings = self._settings
        with (
            trader_lock(self._home.run),
            Ledger.open(settings.database_url or self._home.ledger_url, busy_timeout_ms=BOOKS_WAIT_MS) as ledger,
            LiveStateWriter(self._home.live_state) as writer,
            Spool(self._home.spool) as spool,
        ):
            if self._endpoint.base_url is not None:
                self._clock = await asyncio.to_thread(follow_clock, self._endpoint.base_url)
            if self._endpoint.exchange == VENUE_PROTOCOL:
                (await canary(self._endpoint)).insist(self._endpoint)
            async with ExchangeClient(self._endpoint, clock=self._clock, limits=self._home.limits) as client:
                rules = await client.rules()
                pairs = [pair for pair in settings.pairs if pair in rules]
                rules.update(await with_margin_tables(self._home, settings, self._endpoint, self._clock, rules))
                writer.set_rules({pair: rules[pair] for pair in pairs})
                writer.set_capture_start(self._clock.market_ms())
                view = MarketView(pairs)
                account = ledger.current_account()
                since = ledger.seen_to(account.name) if account is not None else None
                feeds = Feeds(
                    client, pairs, DEFAULT_INTERVALS, view, writer, spool, self._clock, settled_since_ms=since
                )
                await feeds.prepare()
                feeds.streams = streams = MarketStreams(
                    self._endpoint,
                    pairs,
                    feeds.intervals,
                    feeds,
                    self._clock,
                    topics=followable(self._endpoint.exchange),
                    client=client,
                    repair=feeds.repair,
                    quarantine=Quarantine(self._clock, self._home.quarantine / "streams.jsonl"),
                )
                logger.info("trader ready: {} pairs, {}", len(pairs), self._endpoint)
                async with asyncio.TaskGroup() as tasks:
                    running = [
                        tasks.create_task(streams.run(), name="streams"),
                        tasks.create_task(feeds.run_polls(), name="polls"),
                        tasks.create_task(feeds.run_flushes(), name="flushes"),
                        tasks.create_task(self._work(ledger, view, feeds, rules, spool), name="work"),
                    ]
                    if isinstance(self._clock, AnchoredClock) and self._endpoint.base_url is not None:
                        following = keep_following(self._clock, self._endpoint.base_url)
                        running.append(tasks.create_task(following, name="clock"))
                    await self._until(stop, until_flat)
                    for task in running:
                        task.cancel()
            logger.info("trader stopped")

    async def _until(self, stop: asyncio.Event, until_flat: bool) -> None:
        """Wait for the word to stop."""
        waits = [asyncio.create_task(stop.wait())]
        if until_flat:
            waits.append(asyncio.create_task(self._flat.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await wait

    async def _work(
        self, ledger: Ledger, view: MarketView, feeds: Feeds, rules: Mapping[Pair, MarketRules], spool: Spool
    ) -> None:
        """Trade the account opened last, and go over to another one as soon as it is opened. Never returns.

        When the books fail the session ends as if the process had died; the next one finds its account again.
        """
        parts = Parts(self._home, self._settings, self._endpoint, self._clock, ledger, view, rules, spool)
        while True:
            failure: ExceptionGroup[LedgerUnusable] | None = None
            try:
                account = ledger.current_account()
                if account is None:
                    account = ledger.open_account("paper", self._settings.paper_balance, self._clock.market_ms())
                async with open_session(parts, account) as session:
                    with Doorbell(self._home.run) as bell:
                        await self._trade(session, ledger, feeds, bell)
            except* LedgerUnusable as group:
                failure = group
            if failure is not None:
                logger.error("nothing is sent until the books can be used again: {}", failure.exceptions[0])
                await self._without_books(ledger)

    async def _without_books(self, ledger: Ledger) -> None:
        """Wait until something can be booked; only the kill switch is obeyed meanwhile, by what the exchange says."""
        flat = False
        while True:
            if not flat and self._settings.live.enabled and manual_switch(self._home) is Mode.FLATTEN:
                try:
                    credentials = credentials_of(self._settings, self._endpoint)
                    async with open_gateway(
                        self._endpoint, credentials, self._clock, budget_folder=self._home.limits
                    ) as gateway:
                        await flatten(gateway, self._clock)
                    flat = True
                    logger.warning("flat by the exchange's word; what was done is taken up once it can be booked")
                except HydraError as error:
                    logger.error("flattening without books goes on: {}", error)
            try:
                await asyncio.to_thread(ledger.insist)
            except LedgerUnusable as error:
                logger.warning("{}", error)
                await asyncio.sleep(HEARTBEAT_S)
            else:
                logger.warning("the books can be used again")
                return

    async def _trade(self, session: Session, ledger: Ledger, feeds: Feeds, bell: Doorbell) -> None:
        """Every tick, and at once when a plan or the kill switch rings: fill, settle, judge, trade; every second: a sign of
        life. Returns when another account was opened."""
        beaten = 0
        while True:
            wall = self._clock.wall_ms()
            if wall - beaten >= HEARTBEAT_S * 1000:
                current = ledger.current_account()
                if current is not None and current.name != session.account:
                    session.desk.drop("another account was opened")
                    if not session.live or (session.broker.flat() and not session.guard.positions()):
                        return
                    logger.error("{} still holds positions: it is not left for {}", session.account, current.name)
                self._beat(ledger, session, feeds)
                beaten = wall
            session.check()
            self.tick(session, feeds)
            held = isinstance(self._clock, AnchoredClock) and self._clock.anchor.held
            await bell.wait(HELD_TICK_S if held else TICK_S)

    def tick(self, session: Session, feeds: Feeds) -> None:
        """One round: funding that became known, then the account's own round."""
        for pair, settlements in feeds.settled.items():
            while settlements:
                settled_ms, rate = settlements[0]
                session.broker.settle(pair, settled_ms, Decimal(repr(rate)))
                settlements.pop(0)  # only now: one that could not be booked is booked by the next session
        mode = session.tick()
        if mode is Mode.FLATTEN and not session.guard.positions() and session.broker.flat():
            self._flat.set()

    def _beat(self, ledger: Ledger, session: Session, feeds: Feeds) -> None:
        payload = {
            "pid": os.getpid(),
            "account": session.account,
            "mode": session.guard.mode.value,
            "broker": {"known": session.broker.standing.known, "block": session.broker.standing.block},
            "trips": dict(session.guard.trips),
            "market_ms": self._clock.market_ms(),
            "streams": feeds.health,
            "venue": str(self._endpoint),
        }
        ledger.heartbeat(TRADER, self._clock.wall_ms(), payload)


async def run_trader(
    home: Home, settings: Settings, endpoint: Endpoint, stop: asyncio.Event, *, until_flat: bool = False
) -> None:
    """Run the trader of a home; see :meth:`Trader.run`."""
    await Trader(home, settings, endpoint).run(stop, until_flat=until_flat)
