"""Holding the lease while a window lives, and noticing what ends it early."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from hydra_core.alpha.registry import CHAMPIONS, ModelRegistry
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import LockHeld
from hydra_core.ledger.records import LeaseClaim
from hydra_core.ledger.store import Ledger

_POLL_S: Final = 0.25
_RENEW_EVERY_MS: Final = 5_000


class Lease:
    """A held lease that is renewed while waiting; :meth:`release` may be called at any time, also twice."""

    def __init__(self, ledger: Ledger, claim: LeaseClaim, clock: Clock, ttl_ms: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self.claim = claim
        self.ttl_ms = ttl_ms
        self._renewed_ms = clock.wall_ms()

    def renewed(self) -> None:
        """Note that a commit has just prolonged it."""
        self._renewed_ms = self._clock.wall_ms()

    def keep(self) -> None:
        """Renew when due: every 5 s of wall time, or a third of its life if that is shorter.

        Raises
        ------
        LeaseLost : another run has taken it
        """
        now = self._clock.wall_ms()
        if now - self._renewed_ms >= min(_RENEW_EVERY_MS, self.ttl_ms // 3):
            self._ledger.renew_lease(self.claim, now, self.ttl_ms)
            self._renewed_ms = now

    def release(self) -> None:
        """Give it back, so that the next window need not wait for it to run out."""
        self._ledger.release_lease(self.claim)


def take_lease(
    ledger: Ledger,
    name: str,
    run_id: str,
    clock: Clock,
    ttl_ms: int,
    wait_s: float | None,
    should_stop: Callable[[], bool],
) -> Lease | None:
    """Take the lease, waiting for a holder to let go; None when told to stop meanwhile.

    Raises
    ------
    LockHeld : another run still holds it after ``wait_s`` (None: its own life and a few seconds)
    """
    limit = clock.wall_ms() + int(1000 * (ttl_ms / 1000 + 5 if wait_s is None else wait_s))
    while not should_stop():
        claim = ledger.acquire_lease(name, run_id, clock.wall_ms(), ttl_ms)
        if claim is not None:
            return Lease(ledger, claim, clock, ttl_ms)
        if clock.wall_ms() >= limit:
            held = ledger.lease(name)
            raise LockHeld(
                f"lease {name} is held by run {held.run_id if held else '?'}",
                "Wait for that window to end, or end it: `hydra down`",
            )
        time.sleep(_POLL_S)
    return None


class ChampionWatch:
    """Tells when a seat has another champion than the window's pinned one; looks at the file only when it changed."""

    def __init__(self, registry: ModelRegistry, pins: dict[str, str]) -> None:
        self._registry = registry
        self._pins = pins
        self._seen: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Whether the champions differ from the pins now."""
        try:
            status = (self._registry.root / CHAMPIONS).stat()
        except FileNotFoundError:
            return bool(self._pins)
        seen = (status.st_mtime_ns, status.st_ino)
        if seen == self._seen:
            return False
        if self._registry.champions() != self._pins:
            return True
        self._seen = seen
        return False


@contextlib.contextmanager
def stopping_on_terminate(should_stop: Callable[[], bool] | None) -> Iterator[Callable[[], bool]]:
    """A stop flag that SIGTERM sets too, where nobody else handles it: a window then ends after its cycle."""
    told = threading.Event()

    def stop() -> bool:
        return told.is_set() or (should_stop is not None and should_stop())

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        told.set()

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        yield stop
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
