"""Listen keys of the user stream: made, kept alive, expired in wall time."""

from __future__ import annotations

import secrets
from typing import Final

from hydra_core.domain.clock import Clock
from hydra_core.venue import refusals

VALID_MS: Final = 3_600_000
"""Wall time that a key lives from its making or its last keep-alive."""


class ListenKeys:
    """The account's one key at a time.

    Parameters
    ----------
    wall : Clock
        Only its wall time is read.
    """

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._key = ""
        self._until_ms = 0
        self._life_ms = VALID_MS

    def live(self, life_ms: int) -> None:
        """Another life of keys; the one in use is cut down to it too."""
        self._until_ms = min(self._until_ms, self._wall.wall_ms() + life_ms)
        self._life_ms = life_ms

    def create(self) -> str:
        """The valid key, a new one when there is none; its life starts anew."""
        if not self.valid(self._key):
            self._key = secrets.token_hex(32)
        self._until_ms = self._wall.wall_ms() + self._life_ms
        return self._key

    def keep_alive(self) -> str:
        """Extend the key's life; refuses with -1125 when there is none."""
        if not self.valid(self._key):
            raise refusals.unknown_listen_key()
        return self.create()

    def valid(self, key: str) -> bool:
        """Whether a stream may be opened with this key."""
        return bool(key) and key == self._key and self._wall.wall_ms() < self._until_ms

    def expire(self) -> str:
        """End the key now; returns it, empty when there was none."""
        key, self._key = self._key, ""
        return key

    def expired(self) -> str:
        """The key, if its life is over (it is then forgotten), else empty."""
        return self.expire() if self._key and not self.valid(self._key) else ""
