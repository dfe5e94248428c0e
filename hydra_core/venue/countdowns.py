"""The dead man's switch of an account: resting orders of a pair are cancelled unless the client speaks again in time."""

from __future__ import annotations

from hydra_core.domain.clock import Clock
from hydra_core.domain.pairs import Pair


class Countdowns:
    """One countdown a pair, in wall time: it is the client's silence that they measure.

    Parameters
    ----------
    wall : Clock
        Only its wall time is read.
    """

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._due: dict[Pair, int] = {}

    def set(self, pair: Pair, ms: int) -> None:
        """Start a pair's countdown anew, or end it with 0."""
        if ms:
            self._due[pair] = self._wall.wall_ms() + ms
        else:
            self._due.pop(pair, None)

    def over(self) -> list[Pair]:
        """Pairs whose countdown has run out; they are forgotten."""
        now = self._wall.wall_ms()
        out = [pair for pair, due in self._due.items() if due <= now]
        for pair in out:
            del self._due[pair]
        return out

    def wait_ms(self) -> float:
        """Wall milliseconds until the next one runs out, ``inf`` when there is none."""
        return min((due - self._wall.wall_ms() for due in self._due.values()), default=float("inf"))
