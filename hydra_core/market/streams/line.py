"""The life of a stream's connection: dialled, confirmed, repaired, renewed before its time, ended when silent, dialled again.

The one module that owns connection life. A line carries one topic for up to 200 subscriptions; all lines of an exchange
share a :class:`Door`, so that an exchange that is down is asked by one of them and not by all. Not here: judging silence
(``standing``), reading frames (``messages``), what a repair is (the caller's).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import VenueError
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.market.streams.socket import CONFIRM_WITHIN_S, Connection, Gateway, Subscribe
from hydra_core.market.streams.standing import Standing, State, pace

ROTATE_AFTER_MS: Final = 23 * HOUR_MS
"""Connections are renewed before the exchange ends them at 24 h, each at a moment of its own in the hour before this."""
FIRST_PAUSE_S: Final = 0.1
NOBODY_CAP_S: Final = 0.25
"""Longest pause while nobody answers at all: such dials cost the exchange nothing, and its return is to be noticed."""
NOBODY_PATIENT_S: Final = 1.0
PATIENT_AFTER: Final = 120
"""Failed dials after which the pauses grow to the patient cap."""
REFUSED_CAP_S: Final = 30.0
"""Longest pause while the exchange answers and refuses, unless it asks for a longer one."""
SPREAD_S: Final = 0.1
"""Lines come back within this of each other."""
OVERLAP_S: Final = 1.0
"""How long an old connection outlives the confirmation of its successor, at most."""
REPAIR_PAUSE_S: Final = 0.5

Repair = Callable[[str], Awaitable[None]]


class Door:
    """Whether an exchange takes connections: after a failed dial one line knocks, the others wait for it.

    Parameters
    ----------
    rng : random.Random, draws the jitter
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0
        self._refused = False
        self._asked_s = 0.0
        self._not_before_s = 0.0
        self._knocking = asyncio.Lock()
        self.dials = 0

    async def through(self, dial: Callable[[], Awaitable[Connection | None]]) -> Connection | None:
        """Dial now where the door is open, else pause and dial when it is one's turn; None when the dial failed."""
        if self._failures:
            async with self._knocking:
                if self._failures:
                    await asyncio.sleep(self.pause_s())
                    while (left := self._not_before_s - asyncio.get_running_loop().time()) > 0:
                        await asyncio.sleep(left)  # another line was refused meanwhile, and told to wait longer
                    connection = await self._counted(dial)
                    self._failures = 0 if connection is not None else self._failures + 1
                    return connection
            await asyncio.sleep(self._rng.uniform(0.0, SPREAD_S))
        connection = await self._counted(dial)
        if connection is None:
            self._failures = max(1, self._failures)
        return connection

    def failed(self, refused: bool, retry_after_s: float) -> None:
        """Note how a dial failed: whether somebody refused it, and for how long it was asked to wait."""
        self._refused, self._asked_s = refused, retry_after_s
        if retry_after_s > 0:
            self._not_before_s = max(self._not_before_s, asyncio.get_running_loop().time() + retry_after_s)

    def pause_s(self) -> float:
        """Wall seconds before the next knock: longer each time, at least as long as was asked."""
        cap = REFUSED_CAP_S if self._refused else NOBODY_CAP_S if self._failures < PATIENT_AFTER else NOBODY_PATIENT_S
        step = min(max(0, self._failures - 1), 16)
        pause = min(cap, FIRST_PAUSE_S * (1 << step)) * self._rng.uniform(0.5, 1.0)
        return max(pause, self._asked_s * self._rng.uniform(1.0, 1.1))

    async def _counted(self, dial: Callable[[], Awaitable[Connection | None]]) -> Connection | None:
        self.dials += 1
        return await dial()


class Line:
    """Keeps one connection up for ever.

    Parameters
    ----------
    standing : Standing, the stream's clocks; its state is written here
    gateway, door : shared by the lines of an exchange
    connect : callable, makes a connection that is not dialled yet
    subscribe : callable, ccxt's call for it
    repair : callable, fills by REST what was missed; the stream is healthy only after it has returned
    told : callable, called whenever the stream's state has changed
    clock : Clock
    rng : random.Random
    rotate_after_ms : int, wall ms after which a connection is renewed
    renewed : callable, told that an old connection went after a renewal: what it had not delivered yet went with it
    masked : callable, takes secrets out of a message before it is shown or logged
    """

    def __init__(
        self,
        standing: Standing,
        gateway: Gateway,
        door: Door,
        connect: Callable[[], Connection],
        subscribe: Subscribe,
        repair: Repair,
        told: Callable[[Standing], None],
        clock: Clock,
        rng: random.Random,
        rotate_after_ms: int = ROTATE_AFTER_MS,
        masked: Callable[[str], str] = str,
        renewed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.standing = standing
        self.overlapping = False
        """Whether two connections deliver at this moment, the older ahead of or behind the newer."""
        self._renewed = renewed
        self._masked = masked
        self._gateway = gateway
        self._door = door
        self._connect = connect
        self._subscribe = subscribe
        self._repair = repair
        self._told = told
        self._clock = clock
        self._rng = rng
        self._life_ms = rotate_after_ms
        self._current: Connection | None = None
        self._mending: asyncio.Task[None] | None = None
        self.rotations = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                await self._allowed()
                connection = await self._door.through(self._dial)
                if connection is None:
                    continue
                self._current = connection
                self._mend()
                reason = await self._live()
                self._stop_mending()
                self._fall(str(reason))
        finally:
            self._stop_mending()
            if self._current is not None:
                await self._current.close()

    def end(self, error: BaseException) -> None:
        """End the connection, e.g. because it fell silent; the line dials anew."""
        if self._current is not None:
            self._current.end(error)

    @property
    def allowed(self) -> bool:
        """Whether the market's pace lets the topic be followed."""
        return pace(self._clock)[0] <= self.standing.topic.max_speed

    async def _allowed(self) -> None:
        while not self.allowed:
            if self.standing.state is not State.PAUSED:
                self._set(State.PAUSED, f"the market runs faster than {self.standing.topic.max_speed:g}x")
            await asyncio.sleep(0.25)

    async def _dial(self) -> Connection | None:
        """A connection whose subscription stands; None after a failure and its pause."""
        if self.standing.state is State.PAUSED:
            self._set(State.CONNECTING, "connecting")
        connection = self._open()
        try:
            await connection.settled(CONFIRM_WITHIN_S)
        except asyncio.CancelledError:
            await connection.close()
            raise
        if connection.ready.done() and not connection.ended.done():
            return connection
        if not connection.ended.done():
            connection.end(TimeoutError(f"{self.standing.topic.name}: not confirmed within {CONFIRM_WITHIN_S:g} s"))
        reason = await connection.ended
        self._fall(str(reason))
        await connection.close()
        self._door.failed(connection.refused, connection.retry_after_s)
        return None

    def _open(self) -> Connection:
        connection = self._connect()
        connection.start(self._gateway, self._subscribe)
        return connection

    async def _live(self) -> BaseException:
        """Wait for the end of the connection, renewing it before its time; returns why it ended."""
        while True:
            current = self._current
            assert current is not None
            life = self._life_ms * current.life_share
            left_s = (current.opened_wall_ms + life - self._clock.wall_ms()) / 1000
            waits: set[asyncio.Future[Any]] = {current.ended}
            if self._mending is not None:
                waits.add(self._mending)
            await asyncio.wait(waits, timeout=max(0.05, left_s), return_when=asyncio.FIRST_COMPLETED)
            if self._mending is not None and self._mending.done():
                mending, self._mending = self._mending, None
                mending.result()
            elif current.ended.done():
                return current.ended.result()
            elif self._clock.wall_ms() >= current.opened_wall_ms + life:
                await self._renew(current)

    async def _renew(self, old: Connection) -> None:
        """Have a successor confirmed, and both deliver for a moment, before the old connection goes."""
        successor = self._open()
        self.overlapping = True
        try:
            await successor.settled(CONFIRM_WITHIN_S)
            if successor.ended.done() or not successor.ready.done():
                logger.warning("stream {}: not renewed, trying again", self.standing.topic.name)
                old.opened_wall_ms += int(self._life_ms * 0.02) + 1000
                await successor.close()
                return
            await asyncio.wait({old.ended}, timeout=min(OVERLAP_S, self._life_ms / 5_000))
        except asyncio.CancelledError:
            await successor.close()
            raise
        finally:
            self.overlapping = False
        self._current = successor
        self.rotations += 1
        await old.close()
        self._renewed(self.standing.topic.name)
        logger.info("stream {}: connection renewed before its time", self.standing.topic.name)

    def _mend(self) -> None:
        self.standing.renewed()
        self._set(State.REPAIRING, "filling what was missed")
        self._mending = asyncio.create_task(self._mended(), name=f"repair {self.standing.topic.name}")

    async def _mended(self) -> None:
        """Fill by REST, as often as it takes; only then is the stream up."""
        while True:
            try:
                await self._repair(self.standing.topic.name)
                break
            except VenueError as error:
                self._set(State.REPAIRING, f"repair failed: {error}")
            await asyncio.sleep(REPAIR_PAUSE_S * self._rng.uniform(0.5, 1.0))
        if not self.standing.topic.lossless:
            await self.standing.heard()
        self._set(State.UP, "")

    def _stop_mending(self) -> None:
        if self._mending is not None:
            self._mending.cancel()
            self._mending = None

    def _fall(self, reason: str) -> None:
        if self.standing.state in (State.UP, State.STALE, State.REPAIRING):
            self.standing.reconnects += 1
        self._set(State.DOWN, self._masked(reason))

    def _set(self, state: State, message: str) -> None:
        before = self.standing.state, self.standing.message
        self.standing.state, self.standing.message = state, message
        if before != (state, message):
            if state is State.DOWN:
                logger.warning("stream {} is down: {}", self.standing.topic.name, message)
            self._told(self.standing)
