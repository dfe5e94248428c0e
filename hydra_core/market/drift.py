"""How far the exchange's clock is from ours, measured as well as a round trip allows, and when that is alarming.

A signed request with a stamp too far off is refused before it is executed: measure, stamp by the exchange's time, send the
same request again. The receive window is never widened for it: a late order must die.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from hydra_core.domain.clock import Clock

ALARM_MS: Final = 500
"""A clock further off than this is this machine's fault or the exchange's: somebody has to look."""


class ClockDrift:
    """The distance of one exchange's clock from ours.

    Parameters
    ----------
    clock : Clock, its market time is compared with the exchange's
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset_ms = 0
        """By how much the exchange's clock was last found ahead of ours."""
        self.alarm = ""
        """Why somebody has to look, empty while all is well."""

    def now_ms(self) -> int:
        """The exchange's time now, epoch ms: what requests are stamped with."""
        return self._clock.market_ms() + self.offset_ms

    async def measure(self, ask: Callable[[], Awaitable[int]]) -> int:
        """Ask for the exchange's time (epoch ms) and take the distance from the middle of the round trip.

        Returns
        -------
        int : ms that the exchange is ahead, right to half the round trip; the alarm allows for that much
        """
        sent = self._clock.market_ms()
        told = await ask()
        received = self._clock.market_ms()
        self.offset_ms = told - (sent + received) // 2
        unsure = (received - sent + 1) // 2
        if abs(self.offset_ms) - unsure > ALARM_MS:
            self.alarm = f"the exchange's clock is {self.offset_ms} ms ahead of ours (give or take {unsure} ms)"
            logger.error("{}: check this machine's clock against UTC", self.alarm)
        else:
            self.alarm = ""
        return self.offset_ms
