"""How often an exchange may be asked: its own words on limits, and the pause before a second try.

ccxt counts requests before they are sent; it never reads what the exchange answers about limits. That is done here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from typing import Final

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.intervals import MINUTE_MS

WEIGHT_LIMIT: Final = 2400
"""Request weight per minute and address that Binance USD-M allows."""
CAUTION: Final = 0.8
"""Share of the limit above which new requests wait for the next minute: the rest is kept for orders."""
BAN_STATUS: Final = 418
DEFAULT_PAUSE_S: Final[Mapping[int, float]] = {429: 10.0, BAN_STATUS: 120.0}
"""Pause when the exchange limits without saying for how long."""


class RequestGauge:
    """Holds requests back when the exchange says that they are too many.

    Parameters
    ----------
    limit : int or None, weight per minute; None keeps no count (a local venue), a plain refusal is obeyed all the same
    clock : Clock, its wall time is read
    """

    def __init__(self, limit: int | None = WEIGHT_LIMIT, clock: Clock | None = None) -> None:
        self._limit = limit
        self._clock = clock or SystemClock()
        self._blocked_until_ms = 0
        self.used_weight = 0

    def note(self, status: int, headers: Mapping[str, str]) -> None:
        """Take in an answer: its HTTP status and headers."""
        lower = {name.lower(): value for name, value in headers.items()}
        now = self._clock.wall_ms()
        weight = lower.get("x-mbx-used-weight-1m", "")
        if weight.isdigit():
            self.used_weight = int(weight)
            if self._limit is not None and self.used_weight >= CAUTION * self._limit:
                self._block(now + MINUTE_MS - now % MINUTE_MS)
        if status in DEFAULT_PAUSE_S:
            asked = lower.get("retry-after", "")
            seconds = float(asked) if asked.replace(".", "", 1).isdigit() else DEFAULT_PAUSE_S[status]
            self._block(now + int(seconds * 1000))

    @property
    def wait_s(self) -> float:
        """Wall seconds until the next request may go."""
        return max(0.0, (self._blocked_until_ms - self._clock.wall_ms()) / 1000)

    async def ready(self) -> None:
        """Return when a request may be sent."""
        while (seconds := self.wait_s) > 0:
            await asyncio.sleep(seconds)

    def _block(self, until_ms: int) -> None:
        self._blocked_until_ms = max(self._blocked_until_ms, until_ms)


def backoff(attempts: int, first_s: float = 0.25, cap_s: float = 8.0) -> Iterator[float]:
    """Pauses between ``attempts`` tries, doubling, each drawn between half and all of its length (seconds)."""
    for attempt in range(attempts - 1):
        yield min(cap_s, first_s * 2**attempt) * random.uniform(0.5, 1.0)
