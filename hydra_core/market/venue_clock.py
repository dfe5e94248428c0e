"""Following a local venue's clock, and setting it: its control plane, never the exchange's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
import urllib.request
from typing import Any, Final

from hydra_core.domain.clock import AnchoredClock, Clock, ClockAnchor, SystemClock
from hydra_core.domain.errors import VenueUnavailable

CLOCK_PATH: Final = "/_venue/clock"
WALLS_AGREE_MS: Final = 2_000
"""Wall clocks further apart than this are two machines' (or were set meanwhile): our own reading is taken instead."""
PATIENCE_S: Final = 60.0
"""Seconds given to a clock that must be read or set: on a busy machine a venue is slow long before it is gone, and one that
is gone refuses at once."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def read_anchor(base_url: str, wall: Clock | None = None, timeout_s: float = 2.0) -> ClockAnchor:
    """The venue's clock now; blocks for one request.

    Raises
    ------
    VenueUnavailable : the venue does not answer, or not with a clock
    """
    return _ask(base_url, None, wall or SystemClock(), timeout_s)


def set_clock(
    base_url: str, speed: float | None = None, held: bool | None = None, *, timeout_s: float = PATIENCE_S
) -> ClockAnchor:
    """Change the venue's speed (market seconds a wall second), hold it or let it run; returns the new anchor.

    Raises
    ------
    VenueUnavailable : the venue does not answer, or refuses
    """
    change = {name: value for name, value in (("speed", speed), ("held", held)) if value is not None}
    return _ask(base_url, change, SystemClock(), timeout_s)


def follow_clock(base_url: str) -> AnchoredClock:
    """A clock at the venue's market time; keep it right with :func:`keep_following` or :class:`ClockFollower`."""
    wall = SystemClock()
    return AnchoredClock(read_anchor(base_url, wall), wall)


async def keep_following(clock: AnchoredClock, base_url: str, every_s: float = 0.5) -> None:
    """Read the venue's clock for ever; while it does not answer, the last anchor stays in force."""
    while True:
        with contextlib.suppress(VenueUnavailable):  # its silence is the streams' to report; time goes on as last told
            clock.set_anchor(await asyncio.to_thread(read_anchor, base_url, clock))
        await asyncio.sleep(every_s)


class ClockFollower:
    """Follows the venue's clock in a thread, for code without an event loop.

    Examples
    --------
    >>> with ClockFollower(base_url).start() as follower:  # doctest: +SKIP
    ...     follower.clock.market_ms()
    """

    def __init__(self, base_url: str, every_s: float = 0.5) -> None:
        self._base_url = base_url
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.clock = follow_clock(base_url)

    def start(self) -> ClockFollower:
        """Begin to follow; returns itself."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="venue-clock", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Stop following; the clock runs on from its last anchor."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def refresh(self) -> AnchoredClock:
        """Read the venue's clock at once; raises VenueUnavailable."""
        self.clock.set_anchor(read_anchor(self._base_url, self.clock))
        return self.clock

    def __enter__(self) -> ClockFollower:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.refresh()
            except VenueUnavailable:
                continue  # as in keep_following


def _ask(base_url: str, change: dict[str, Any] | None, wall: Clock, timeout_s: float) -> ClockAnchor:
    """One request to the control plane."""
    url = base_url.rstrip("/") + CLOCK_PATH
    body = None if change is None else json.dumps(change).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    sent = wall.wall_ms()
    try:
        with _direct.open(request, timeout=timeout_s) as answer:
            word = json.loads(answer.read())
        read = (sent + wall.wall_ms()) // 2
        theirs = int(word["wall_ms"])
        return ClockAnchor(
            market_ms=int(word["market_ms"]),
            wall_ms=theirs if abs(theirs - read) <= WALLS_AGREE_MS else read,
            speed=float(word["speed"]),
            held=bool(word["held"]),
        )
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise VenueUnavailable(f"no clock from {url}: {error}", "Check `hydra status`, or start the venue") from error
