"""How fast the local venue may run: as fast as the decision cycles keep up.

The pace follows what the ledger shows (latency of the newest cycles, points missed); the venue's control plane is told. It is
raised gently and cut at once, so that nearly every grid point is decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hydra_core.ledger.store import Ledger

START_SPEED: Final = 80.0
MAX_SPEED: Final = 400.0
MIN_SPEED: Final = 5.0
BUSY_SHARE: Final = 0.55
"""Share of a grid step that a cycle may take before the pace is cut."""
IDLE_SHARE: Final = 0.40
NEWEST: Final = 12


@dataclass(slots=True)
class Governor:
    """Sets the venue's speed from how the cycles do.

    Parameters
    ----------
    ledger, account, strategy : whose decisions are watched
    step_ms : market time between two grid points
    set_speed : tells the venue
    """

    ledger: Ledger
    account: str
    strategy: str
    step_ms: int
    set_speed: Callable[[float], object]
    speed: float = START_SPEED
    _missed: int = 0
    _seen: int = 0

    def tick(self) -> float:
        """Look once and adjust; returns the speed in force (market seconds a wall second)."""
        decided = self.ledger.decisions(self.account, limit=NEWEST)
        missed = sum(span.points for span in self.ledger.missed(self.account, self.strategy))
        if not decided or decided[0].cycle_ms == self._seen:
            return self.speed
        self._seen = decided[0].cycle_ms
        latencies = sorted(line.latency_ms for line in decided)
        slow = latencies[int(0.9 * (len(latencies) - 1))]
        step_wall_ms = self.step_ms / self.speed
        if missed > self._missed:
            self._go(self.speed * 0.7)
        elif slow > BUSY_SHARE * step_wall_ms:
            self._go(self.speed * 0.85)
        elif slow < IDLE_SHARE * step_wall_ms:
            self._go(self.speed * 1.2)
        self._missed = missed
        return self.speed

    def _go(self, speed: float) -> None:
        speed = min(MAX_SPEED, max(MIN_SPEED, speed))
        if speed != self.speed:
            self.speed = speed
            self.set_speed(speed)
