"""Time: the one module that reads the system clock; everything else is handed a :class:`Clock`.

*Market time* is the venue's: the decision grid, candles, funding, plan expiry, slices. *Wall time* never jumps back
inside a process: heartbeats, staleness, leases, time-outs. On a real exchange the two agree.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Two readings, both in epoch milliseconds UTC."""

    def market_ms(self) -> int:
        """Market time now."""
        ...

    def wall_ms(self) -> int:
        """Wall time now; comparable between processes of one machine, monotonic inside one."""
        ...

    def wall_seconds_until(self, market_ms: int) -> float:
        """Wall seconds until a market time: negative once it has passed, ``inf`` while the market is held."""
        ...


class SystemClock:
    """Market time is the machine's UTC time."""

    def __init__(self) -> None:
        self._epoch_ns = time.time_ns()
        self._start_ns = time.monotonic_ns()

    def wall_ms(self) -> int:
        """Epoch milliseconds, advanced by the monotonic clock."""
        return (self._epoch_ns + time.monotonic_ns() - self._start_ns) // 1_000_000

    def market_ms(self) -> int:
        """The same as wall time."""
        return self.wall_ms()

    def wall_seconds_until(self, market_ms: int) -> float:
        """Seconds until ``market_ms``."""
        return (market_ms - self.wall_ms()) / 1000


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """What a venue tells of its clock: at wall time ``wall_ms`` the market stood at ``market_ms``."""

    market_ms: int
    wall_ms: int
    speed: float
    held: bool


class AnchoredClock:
    """A market clock that runs ``speed`` times as fast as the wall from an anchor, or stands still while held.

    Parameters
    ----------
    anchor : ClockAnchor
        The venue's word; :meth:`set_anchor` replaces it when the venue changes speed or is held.
    wall : Clock, optional
        Where wall time comes from.
    """

    def __init__(self, anchor: ClockAnchor, wall: Clock | None = None) -> None:
        self._wall = wall or SystemClock()
        self._anchor = anchor

    @property
    def anchor(self) -> ClockAnchor:
        """The anchor in force."""
        return self._anchor

    def set_anchor(self, anchor: ClockAnchor) -> None:
        """Follow a new anchor from now on."""
        self._anchor = anchor

    def wall_ms(self) -> int:
        """Wall time now."""
        return self._wall.wall_ms()

    def market_ms(self) -> int:
        """Market time now."""
        anchor = self._anchor
        if anchor.held:
            return anchor.market_ms
        return anchor.market_ms + int((self._wall.wall_ms() - anchor.wall_ms) * anchor.speed)

    def wall_seconds_until(self, market_ms: int) -> float:
        """Wall seconds until ``market_ms`` at the current speed."""
        ahead = market_ms - self.market_ms()
        if self._anchor.held or self._anchor.speed <= 0:
            return float("inf") if ahead > 0 else 0.0
        return ahead / 1000 / self._anchor.speed


class ManualClock:
    """A clock that a test or a replay moves by hand; wall and market time advance together unless told otherwise."""

    def __init__(self, market_ms: int, wall_ms: int | None = None) -> None:
        self._market = market_ms
        self._wall = market_ms if wall_ms is None else wall_ms

    def market_ms(self) -> int:
        """Market time as last set."""
        return self._market

    def wall_ms(self) -> int:
        """Wall time as last set."""
        return self._wall

    def wall_seconds_until(self, market_ms: int) -> float:
        """Seconds until ``market_ms``, one market second a wall second."""
        return (market_ms - self._market) / 1000

    def advance(self, ms: int, *, wall_ms: int | None = None) -> None:
        """Move both readings on by ``ms`` (wall by ``wall_ms`` where given)."""
        self._market += ms
        self._wall += ms if wall_ms is None else wall_ms
