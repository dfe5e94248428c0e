"""The venue's market clock: an anchor, a speed, a hold, and an end.

It knows what the market time is and wakes those who wait when speed or hold change. It keeps nothing on disk
(``state.py``) and starts no events (``pulse.py``).
"""

from __future__ import annotations

import asyncio
import math

from hydra_core.domain.clock import AnchoredClock, Clock, ClockAnchor, SystemClock
from hydra_core.domain.errors import UsageError

MAX_SPEED = 86_400.0


def checked_speed(speed: float) -> float:
    """The speed, market seconds a wall second; raises UsageError outside (0, MAX_SPEED]."""
    if not math.isfinite(speed) or not 0 < speed <= MAX_SPEED:
        raise UsageError(f"speed {speed} is not possible", f"Use a number above 0 and at most {MAX_SPEED:g}")
    return float(speed)


class VenueClock:
    """Market time that runs ``speed`` times as fast as the wall, can be held, and never runs back or past the end.

    Parameters
    ----------
    start_ms : int
        Market time now, epoch ms.
    speed : float
        Market seconds a wall second.
    held : bool
        Stand still from the start.
    end_ms : int or None
        Market time at which a recorded market ends, epoch ms.
    wall : Clock, optional
        Where wall time comes from.
    """

    def __init__(self, start_ms: int, speed: float, held: bool, end_ms: int | None, wall: Clock | None = None) -> None:
        self._wall = wall or SystemClock()
        self._end_ms = end_ms
        self._floor_ms = start_ms
        anchor = ClockAnchor(self._capped(start_ms), self._wall.wall_ms(), checked_speed(speed), held)
        self._clock = AnchoredClock(anchor, self._wall)
        self._changed = asyncio.Event()
        self.drift_ms = 0
        """How far the clock that the exchange shows is ahead of the market's, by order."""

    @property
    def end_ms(self) -> int | None:
        """Market time at which the market ends, None when it does not."""
        return self._end_ms

    @property
    def speed(self) -> float:
        """Market seconds a wall second."""
        return self._clock.anchor.speed

    @property
    def held(self) -> bool:
        """Whether market time stands still by order."""
        return self._clock.anchor.held

    @property
    def ended(self) -> bool:
        """Whether the market is over."""
        return self._end_ms is not None and self.market_ms() >= self._end_ms

    def market_ms(self) -> int:
        """Market time now, epoch ms; never earlier than it has been."""
        self._floor_ms = max(self._floor_ms, self._capped(self._clock.market_ms()))
        return self._floor_ms

    def server_ms(self) -> int:
        """Market time as the exchange's own clock shows it: signatures are held against it."""
        return self.market_ms() + self.drift_ms

    def wall_ms(self) -> int:
        """Wall time now, epoch ms."""
        return self._wall.wall_ms()

    def wall_seconds_until(self, market_ms: int) -> float:
        """Wall seconds until a market time: negative once passed, ``inf`` while held or beyond the end."""
        if self._end_ms is not None and market_ms > self._end_ms:
            return math.inf
        return self._clock.wall_seconds_until(market_ms)

    def anchor(self) -> ClockAnchor:
        """An anchor valid now: market and wall time of this moment with speed and hold; the end counts as a hold."""
        return ClockAnchor(self.market_ms(), self._wall.wall_ms(), self.speed, self.held or self.ended)

    def set(self, speed: float | None = None, held: bool | None = None) -> ClockAnchor:
        """Change speed or hold from this moment on, market time being continuous; returns the new anchor.

        Raises
        ------
        UsageError : the speed is not possible
        """
        wanted = self.speed if speed is None else checked_speed(speed)
        hold = self.held if held is None else held
        self._clock.set_anchor(ClockAnchor(self.market_ms(), self._wall.wall_ms(), wanted, hold))
        self.wake()
        return self.anchor()

    def advance(self, ms: int) -> ClockAnchor:
        """Move market time on by ``ms`` at once; returns the new anchor. Raises UsageError for a step back."""
        if ms < 0:
            raise UsageError(f"market time cannot go back by {-ms} ms", "Use 0 or more milliseconds")
        now = self._capped(self.market_ms() + ms)
        self._clock.set_anchor(ClockAnchor(now, self._wall.wall_ms(), self.speed, self.held))
        self.wake()
        return self.anchor()

    def wake(self) -> None:
        """Wake whoever sleeps in :meth:`sleep`."""
        self._changed.set()

    async def sleep(self, wall_seconds: float) -> None:
        """Sleep for wall seconds (``inf`` allowed), or less when the clock is changed or :meth:`wake` is called."""
        if wall_seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(None if math.isinf(wall_seconds) else wall_seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def _capped(self, market_ms: int) -> int:
        return market_ms if self._end_ms is None else min(market_ms, self._end_ms)
