"""One venue put together: market, clock, account, streams and their shared pieces."""

from __future__ import annotations

from collections import deque
from typing import Final

from loguru import logger

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.venue import account_formats
from hydra_core.venue.clock import VenueClock
from hydra_core.venue.config import VenueConfig
from hydra_core.venue.countdowns import Countdowns
from hydra_core.venue.engine import Engine
from hydra_core.venue.events import UserEvent
from hydra_core.venue.faults import Faults
from hydra_core.venue.feed import Feed
from hydra_core.venue.hub import Hub
from hydra_core.venue.limits import Limits
from hydra_core.venue.listen_keys import ListenKeys
from hydra_core.venue.publisher import Publisher
from hydra_core.venue.rest_algo import AlgoApi
from hydra_core.venue.rest_private import PrivateApi
from hydra_core.venue.rest_public import PublicApi
from hydra_core.venue.signatures import Gate
from hydra_core.venue.state import ClockState, VenueStore
from hydra_core.venue.stream_faults import StreamTap
from hydra_core.venue.wire import WireLog

RESERVED_WALL_S: Final = 2.0
"""Wall time that the saved clock runs ahead, so that a killed venue never resumes before what it has told."""
UNKNOWN_KEPT: Final = 200


class Venue:
    """The parts of a running venue.

    Parameters
    ----------
    config : VenueConfig

    Raises
    ------
    LockHeld : another venue runs on the state folder
    DataCorrupt : the state folder cannot be read, or is another market's
    """

    def __init__(self, config: VenueConfig) -> None:
        self.config = config
        self.store = VenueStore(config.state_dir)
        self._check_market()
        saved = self.store.clock()
        start = saved or ClockState(config.start_ms, config.speed, config.held, config.start_ms)
        market = config.market
        self.clock = VenueClock(start.market_ms, start.speed, start.held, market.end_ms)
        self.feed = Feed(market)
        self.keys = ListenKeys(self.clock)
        self.limits = Limits(self.clock, config.weight_limit, config.order_limit)
        self.gate = Gate(config.api_key, config.secret)
        self.faults = Faults(self.clock, config.seed)
        self.wire = WireLog(self.clock, config.state_dir)
        self.hub = Hub(self.clock, StreamTap(self.faults))
        self.publisher = Publisher(self.feed, self.hub, self.clock, self.faults)
        self.engine = Engine(self.feed, self.store, config.balance, start.settled_ms, self._tell)
        self.countdowns = Countdowns(self.clock)
        public = PublicApi(self.clock, self.feed, self.limits, self.publisher)
        self.routes = public.routes() | PrivateApi(self.feed, self.engine, self.keys, self.countdowns).routes()
        self.routes |= AlgoApi(self.feed, self.engine).routes()
        self.unknown_requests: deque[str] = deque(maxlen=UNKNOWN_KEPT)
        self.requests = 0
        self.warm()
        self.save_clock()
        if saved is not None:
            logger.info("resumed at market time {}", self.clock.market_ms())

    def warm(self) -> None:
        """Have the market make everything up to now and a little beyond, so that no client waits for it."""
        market, now = self.feed.market, self.clock.market_ms()
        for pair in market.pairs:
            market.candles(pair, market.base_interval, now - MINUTE_MS * 60, now)
            market.price(pair, now)

    def save_clock(self, *, exact: bool = False) -> None:
        """Write the clock; unless exact, with a little market time reserved ahead."""
        ahead = 0 if exact or self.clock.held else int(RESERVED_WALL_S * 1000 * self.clock.speed)
        self.store.save_clock(
            ClockState(self.clock.market_ms() + ahead, self.clock.speed, self.clock.held, self.engine.now_ms)
        )

    def settle_account(self) -> None:
        """Bring the account up to now; who has been silent too long loses what rests."""
        self.engine.advance(self.clock.market_ms())
        for pair in self.countdowns.over():
            for order in self.engine.book.open_orders(pair):
                self.engine.cancel(order)

    def note_unknown(self, what: str) -> None:
        """Log a request that no endpoint answers."""
        logger.warning("no such endpoint: {}", what)
        self.unknown_requests.append(what)

    def close(self) -> None:
        """Save and let go of the state."""
        self.settle_account()
        self.save_clock(exact=True)
        self.wire.stop()
        self.store.close()

    def _tell(self, event: UserEvent) -> None:
        self.hub.send_user(account_formats.event_bytes(event))

    def _check_market(self) -> None:
        name = self.config.market.name
        found = self.store.document("market")
        if found is None:
            self.store.save_market(name)
        elif found.get("name") != name:
            self.store.close()
            raise DataCorrupt(
                f"the state in {self.config.state_dir} belongs to market {found.get('name')}, this venue runs {name}",
                "Give each market its own state folder",
            )
