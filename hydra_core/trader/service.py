"""The trader's timetable: what runs when, in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.domain.clock import AnchoredClock, Clock, SystemClock
from hydra_core.domain.intervals import DEFAULT_INTERVALS
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode
from hydra_core.home import Home
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.ledger.records import TRADER
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import ALL_STREAMS, MarketStreams, Quarantine
from hydra_core.market.surface import canary
from hydra_core.market.venue_clock import follow_clock, keep_following
from hydra_core.settings import Settings
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.lock import trader_lock
from hydra_core.trader.sessions import Parts, Session, open_session
from hydra_core.trader.view import MarketView

TICK_S: Final = 0.05
HELD_TICK_S: Final = 0.5
"""While the venue holds its clock nothing can fill and no price moves."""
HEARTBEAT_S: Final = 1.0


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
            Ledger.open(settings.database_url or self._home.ledger_url) as ledger,
            LiveStateWriter(self._home.live_state) as writer,
            Spool(self._home.spool) as spool,
        ):
            if self._endpoint.base_url is not None:
                self._clock = await asyncio.to_thread(follow_clock, self._endpoint.base_url)
            (await canary(self._endpoint)).insist(self._endpoint)
            async with ExchangeClient(self._endpoint, clock=self._clock, limits=self._home.limits) as client:
                rules = await client.rules()
                pairs = [pair for pair in settings.pairs if pair in rules]
                writer.set_rules({pair: rules[pair] for pair in pairs})
                writer.set_capture_start(self._clock.market_ms())
                view = MarketView(pairs)
                feeds = Feeds(client, pairs, DEFAULT_INTERVALS, view, writer, spool, self._clock)
                await feeds.prepare()
                feeds.streams = streams = MarketStreams(
                    self._endpoint,
                    pairs,
                    feeds.intervals,
                    feeds,
                    self._clock,
                    topics=ALL_STREAMS,
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
                        tasks.create_task(self._work(ledger, view, feeds, rules), name="work"),
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

    async def _work(self, ledger: Ledger, view: MarketView, feeds: Feeds, rules: Mapping[Pair, MarketRules]) -> None:
        """Trade the account opened last, and go over to another one as soon as it is opened. Never returns."""
        parts = Parts(self._home, self._settings, self._endpoint, self._clock, ledger, view, rules)
        while True:
            account = ledger.current_account()
            if account is None:
                account = ledger.open_account("paper", self._settings.paper_balance, self._clock.market_ms())
            async with open_session(parts, account) as session:
                await self._trade(session, ledger, feeds)

    async def _trade(self, session: Session, ledger: Ledger, feeds: Feeds) -> None:
        """Every tick: fill, settle, judge, trade; every second: a sign of life. Returns when another account was opened."""
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
            await asyncio.sleep(HELD_TICK_S if held else TICK_S)

    def tick(self, session: Session, feeds: Feeds) -> None:
        """One round: funding that became known, then the account's own round."""
        for pair, settlements in feeds.settled.items():
            while settlements:
                settled_ms, rate = settlements.pop(0)
                session.broker.settle(pair, settled_ms, Decimal(repr(rate)))
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
