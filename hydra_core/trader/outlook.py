"""A look at the exchange itself, now and then: which followed pairs it trades no more, and how far its clock is from ours.

Not here: what silence means to a stream (``market.streams``), what an account does about a delivery (the broker).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loguru import logger

from hydra_core.domain.clock import AnchoredClock, Clock
from hydra_core.domain.errors import Unsupported
from hydra_core.domain.pairs import Pair
from hydra_core.market.drift import ClockDrift
from hydra_core.market.rest import ExchangeClient

EVERY_MS: Final = 600_000
"""Wall time between two looks while all is well."""
UNWELL_EVERY_MS: Final = 5_000
"""Wall time between two looks while a stream is not well: a pair that is gone is one of the reasons."""
CLOCK_MAX_SPEED: Final = 20.0
"""In a market that runs faster than this a millisecond of the wall is more than the alarm allows."""
GONE: Final = "no longer listed"


class Outlook:
    """What the exchange says of itself.

    Parameters
    ----------
    client : ExchangeClient
    pairs : the pairs that are followed
    clock : Clock
    every_ms, unwell_every_ms : int, wall time between two looks while all streams are well, and while one is not
    """

    def __init__(
        self,
        client: ExchangeClient,
        pairs: Sequence[Pair],
        clock: Clock,
        every_ms: int = EVERY_MS,
        unwell_every_ms: int = UNWELL_EVERY_MS,
    ) -> None:
        self._client = client
        self._pairs = tuple(pairs)
        self._clock = clock
        self._every_ms = every_ms
        self._unwell_every_ms = unwell_every_ms
        self._looked_wall_ms = -every_ms
        self._measured = False
        self.drift = ClockDrift(clock)
        self.delisted: Mapping[Pair, str] = {}
        """Followed pairs that are traded no more, each with the exchange's word."""
        self.settled: frozenset[Pair] = frozenset()
        """Those of them whose positions the exchange has closed: delivered, or gone from its list in two looks running."""
        self.deliveries: Mapping[Pair, int] = {}
        """When each followed pair that is listed is delivered, epoch ms; far in the future for one that never is."""

    def due(self, *, well: bool) -> bool:
        """Whether it is time for a look, which comes sooner while a stream is not well."""
        return self._clock.wall_ms() - self._looked_wall_ms >= (self._every_ms if well else self._unwell_every_ms)

    async def look(self) -> bool:
        """Ask the exchange; True when another set of pairs is delisted than before.

        Raises
        ------
        VenueError : it gave no usable answer; asked again when due
        """
        self._looked_wall_ms = self._clock.wall_ms()
        if self._speed() <= CLOCK_MAX_SPEED:
            await self.drift.measure(self._client.server_time)
            self._measured = True
        try:
            listed = await self._client.listings()
        except Unsupported:
            return False  # an exchange whose list is not read
        before = self.delisted
        self.delisted = {
            pair: listed[pair].status if pair in listed else GONE
            for pair in self._pairs
            if pair not in listed or not listed[pair].trading
        }
        now = self._clock.market_ms()
        self.settled = frozenset(
            pair
            for pair in self.delisted
            if (listed[pair].settled(now) if pair in listed else before.get(pair) == GONE)
        )
        self.deliveries = {pair: listed[pair].delivery_ms for pair in self._pairs if pair in listed}
        if self.delisted != before:
            logger.warning("pairs that are traded no more: {}", dict(self.delisted) or "none")
        return self.delisted.keys() != before.keys()

    def to_json(self) -> dict[str, Any]:
        """Plain data for the report to the live state; no clock where none was measured."""
        clock = {"offset_ms": self.drift.offset_ms, "alarm": self.drift.alarm} if self._measured else None
        return {"delisted": dict(self.delisted), "clock": clock}

    def _speed(self) -> float:
        return self._clock.anchor.speed if isinstance(self._clock, AnchoredClock) else 1.0
