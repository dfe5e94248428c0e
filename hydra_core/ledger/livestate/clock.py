"""Market time for a process without a connection to the venue: the trader's clock anchor, read from the live state."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hydra_core.domain.clock import AnchoredClock, Clock, ClockAnchor, SystemClock
from hydra_core.domain.errors import InputMissing
from hydra_core.ledger import codec
from hydra_core.ledger.livestate.tables import CLOCK, connect

_REFRESH_MS: Final = 50


class LiveStateClock:
    """A Clock that follows the anchor the trader writes, read again at most every 50 ms of wall time.

    When the trader dies the clock runs on at the last known speed: the stale heartbeat is what stops decisions.

    Parameters
    ----------
    path : Path, the live-state file
    wall : Clock, optional, where wall time comes from

    Raises
    ------
    InputMissing : the file is not there, or the trader has not written its clock yet
    """

    def __init__(self, path: Path, wall: Clock | None = None) -> None:
        self._wall = wall or SystemClock()
        self._connection = connect(path, create=False)
        self._path = path
        try:
            self._clock = AnchoredClock(self._read(), self._wall)
        except InputMissing:
            self._connection.close()
            raise
        self._read_at = self._wall.wall_ms()

    @property
    def anchor(self) -> ClockAnchor:
        """The anchor in force."""
        self._follow()
        return self._clock.anchor

    def market_ms(self) -> int:
        """Market time now."""
        self._follow()
        return self._clock.market_ms()

    def wall_ms(self) -> int:
        """Wall time now."""
        return self._wall.wall_ms()

    def wall_seconds_until(self, market_ms: int) -> float:
        """Wall seconds until a market time; ``inf`` while the market is held."""
        self._follow()
        return self._clock.wall_seconds_until(market_ms)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> None:
        now = self._wall.wall_ms()
        if now - self._read_at >= _REFRESH_MS:
            self._clock.set_anchor(self._read())
            self._read_at = now

    def _read(self) -> ClockAnchor:
        return read_anchor(self._connection, self._path)


def read_anchor(connection: sqlite3.Connection, path: Path) -> ClockAnchor:
    """The clock anchor on file; raises InputMissing when the trader has not written one."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (CLOCK,)).fetchone()
    if row is None:
        raise InputMissing(f"the live state {path} has no clock yet", "Wait until the trader has reached the venue")
    return codec.decode(ClockAnchor, json.loads(row[0]))
