"""The venue's one timetable: what happens when, as the market clock runs.

It sleeps until the next event that somebody listens to, sends it, brings the account up to now, and tells the states
that are due. Everything that follows market time goes through :meth:`Pulse.step` once, in order.
"""

from __future__ import annotations

import math
from typing import Final

from aiohttp import WSCloseCode
from loguru import logger

from hydra_core.venue.account_formats import listen_key_expired
from hydra_core.venue.service import RESERVED_WALL_S, Venue

LEAST_SLEEP_S: Final = 0.01
"""Events closer together than this go out together."""
GATHER_S: Final = 0.05
"""Trades and the account's own events are gathered over this much wall time."""
HOUSEKEEPING_MS: Final = int(RESERVED_WALL_S * 1000 / 2)


class Pulse:
    """Moves one venue through time.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._cursor = venue.clock.market_ms()
        self._kept_house_ms = venue.clock.wall_ms()
        self._ended = False

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            until_state_ms = self.step()
            await self._venue.clock.sleep(self._sleep_s(until_state_ms))

    def step(self) -> float:
        """Do everything that is due now; returns wall milliseconds until the next state is."""
        venue = self._venue
        now = venue.clock.market_ms()
        if now > self._cursor:
            venue.publisher.publish_events(self._cursor, now)
            self._cursor = now
        venue.settle_account()
        if venue.clock.ended:
            self._end()
            until_state_ms = math.inf
        else:
            until_state_ms = venue.publisher.publish_states(now)
        wall = venue.clock.wall_ms()
        if wall - self._kept_house_ms >= HOUSEKEEPING_MS:
            self._kept_house_ms = wall
            self._keep_house()
        return until_state_ms

    def _sleep_s(self, until_state_ms: float) -> float:
        venue = self._venue
        waits = [until_state_ms / 1000, HOUSEKEEPING_MS / 1000, venue.countdowns.wait_ms() / 1000]
        event = venue.publisher.next_event_ms(self._cursor)
        if event is not None:
            least = GATHER_S if event == self._cursor + 1 else LEAST_SLEEP_S
            waits.append(max(least, venue.clock.wall_seconds_until(event)))
        if venue.engine.busy:
            waits.append(GATHER_S)
        if venue.clock.end_ms is not None and not self._ended:
            waits.append(max(LEAST_SLEEP_S, venue.clock.wall_seconds_until(venue.clock.end_ms)))
        return max(LEAST_SLEEP_S, min(waits))

    def _keep_house(self) -> None:
        venue = self._venue
        venue.save_clock()
        venue.hub.end_old()
        key = venue.keys.expired()
        if key:
            venue.hub.end_key(key, listen_key_expired(key, venue.clock.market_ms()))

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            logger.info("the market has ended: the venue is under maintenance")
            self._venue.save_clock(exact=True)
            self._venue.hub.end_all(WSCloseCode.GOING_AWAY, "System is under maintenance.")
