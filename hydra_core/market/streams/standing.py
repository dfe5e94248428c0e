"""How each stream stands: when which pair last spoke, on the venue's clock and on ours, and whether that is too long ago.

The only judge of staleness. Not here: what is done about it (``line``), showing it (``hydra status``).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Final

from hydra_core.domain.clock import AnchoredClock, Clock
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.readings import StreamHealth, Topic

PATIENCE_MAX: Final = 32.0
"""A pair that stays silent after its connection was renewed is waited for longer and longer, up to so many limits."""
NAMED: Final = 5
"""Silent pairs named in a message."""


class State(StrEnum):
    """Where a stream is in its life."""

    CONNECTING = "connecting"
    REPAIRING = "repairing"
    UP = "up"
    STALE = "stale"
    DOWN = "down"
    PAUSED = "paused"


HOLD_BELIEVED_MS: Final = 5_000
"""A venue that was held when it last told its time, and has not told it for longer than this, may just as well be dead."""


def pace(clock: Clock) -> tuple[float, bool]:
    """Market seconds a wall second, and whether the market is held, as far as that is still known."""
    if isinstance(clock, AnchoredClock) and clock.anchor.held:
        return 1.0, clock.wall_ms() - clock.anchor.wall_ms <= HOLD_BELIEVED_MS
    second = clock.wall_seconds_until(clock.market_ms() + 1_000)
    return (1.0 / second, False) if 0 < second < math.inf else (1.0, True)


class Standing:
    """One stream's clocks.

    Parameters
    ----------
    topic : Topic
    pairs : the pairs that it is followed for
    clock : Clock
    silence_s : float, optional, in place of the topic's own
    """

    def __init__(self, topic: Topic, pairs: Iterable[Pair], clock: Clock, silence_s: float | None = None) -> None:
        self.topic = topic
        self.limit_s = topic.silence_s if silence_s is None else silence_s
        self.state = State.CONNECTING
        self.message = "connecting"
        self.reconnects = 0
        self.dropped = 0
        self.holes = 0
        self.event_ms = 0
        self._clock = clock
        self._every = self._pairs = tuple(pairs)
        self._event: dict[Pair, int] = {}
        self._received: dict[Pair, int] = {}
        self._patience: dict[Pair, float] = {}
        self._heard_wall_ms = 0
        self._excused: tuple[int, int] = (clock.market_ms(), clock.wall_ms())
        self._excused_pair: dict[Pair, tuple[int, int]] = {}
        self._owed: set[Pair] = set()
        self._heard = asyncio.Event()

    def note(self, pair: Pair, event_ms: int, received_wall_ms: int) -> None:
        """An event arrived."""
        self._received[pair] = self._heard_wall_ms = received_wall_ms
        if not self._heard.is_set():
            self._heard.set()
        if event_ms > self._event.get(pair, -1):
            self._event[pair] = event_ms
            self.event_ms = max(self.event_ms, event_ms)
            if self._patience:
                self._patience.pop(pair, None)
            if self._owed:
                self._owed.discard(pair)

    def note_account(self, event_ms: int, received_wall_ms: int) -> None:
        """An event of the account arrived, which belongs to no pair."""
        self._heard_wall_ms, self.event_ms = received_wall_ms, max(self.event_ms, event_ms)
        self._heard.set()

    def newest(self, pair: Pair) -> tuple[int, int] | None:
        """Event time (market ms) and receive time (wall ms) of a pair's newest event."""
        received = self._received.get(pair)
        return None if received is None else (self._event[pair], received)

    def fresh(self, pair: Pair) -> bool:
        """Whether a pair's newest event itself is within the limit: a new connection excuses silence, not an old number."""
        if not self.topic.per_pair or math.isinf(self.limit_s) or pair not in self._received:
            return True
        speed, held = pace(self._clock)
        market, wall = self._clock.market_ms() - self._event[pair], self._clock.wall_ms() - self._received[pair]
        limit = 1000 * self.limit_s
        return held or (wall <= limit * max(1.0, 1.0 / speed) and market <= limit * max(1.0, speed))

    async def heard(self) -> None:
        """Return once an event has arrived on the present connection."""
        await self._heard.wait()

    def renewed(self) -> None:
        """The connection is new: every pair has the whole limit again, those that had fallen silent still owe an event."""
        self.excuse()
        if self._pairs:
            self._heard.clear()

    def withdraw(self, pairs: Collection[Pair]) -> None:
        """Expect nothing of these pairs any more, and again of those that were withdrawn before and are not named now."""
        back = [pair for pair in self._every if pair not in pairs and pair not in self._pairs]
        self._pairs = tuple(pair for pair in self._every if pair not in pairs)
        self._owed.difference_update(pairs)
        self.excuse(back)
        if not self._pairs:
            self._heard.set()  # nobody is left to wait for

    def excuse(self, pairs: Sequence[Pair] | None = None) -> None:
        """Start the clocks anew: the connection is new, or the market is held and silent by rights."""
        moment = (self._clock.market_ms(), self._clock.wall_ms())
        if pairs is None:
            self._excused = moment
            self._excused_pair.clear()
        else:
            self._excused_pair.update(dict.fromkeys(pairs, moment))

    def be_patient(self, pairs: Iterable[Pair]) -> None:
        """Wait longer for pairs that a new connection may not bring back; until they speak the stream is not healthy."""
        for pair in pairs:
            if self.topic.per_pair:
                self._owed.add(pair)
            self._patience[pair] = min(PATIENCE_MAX, 2 * self._patience.get(pair, 1.0))

    def silent(self, *, patiently: bool = False) -> tuple[Pair, ...]:
        """Pairs whose newest event is older than the limit, by event time or by arrival.

        Parameters
        ----------
        patiently : bool
            Give pairs that were silent before the longer time of :meth:`be_patient`: for deciding on a new connection,
            never for calling a stream healthy.
        """
        if math.isinf(self.limit_s) or not self._pairs:
            return ()
        speed, held = pace(self._clock)
        if held:
            self.excuse()
            return ()
        market, wall = self._clock.market_ms(), self._clock.wall_ms()
        wall_limit = 1000 * self.limit_s * max(1.0, 1.0 / speed)
        market_limit = 1000 * self.limit_s * max(1.0, speed)
        if not self.topic.per_pair:
            base_market, base_wall = self._excused
            late = (
                wall - max(self._heard_wall_ms, base_wall) > wall_limit
                or market - max(self.event_ms, base_market) > market_limit
            )
            return self._pairs if late else ()
        late_pairs = []
        for pair in self._pairs:
            base_market, base_wall = self._excused_pair.get(pair, self._excused)
            factor = self._patience.get(pair, 1.0) if patiently else 1.0
            if (
                wall - max(self._received.get(pair, 0), base_wall) > factor * wall_limit
                or market - max(self._event.get(pair, 0), base_market) > factor * market_limit
            ):
                late_pairs.append(pair)
        return tuple(late_pairs)

    def health(self, malformed: int = 0) -> StreamHealth:
        """How the stream is now."""
        late = (self.silent() or tuple(sorted(self._owed))) if self.state in (State.UP, State.STALE) else ()
        state, message = self.state, self.message
        if late:
            state, message = State.STALE, self.words(late)
        elif state is State.STALE:
            state, message = State.UP, ""
        return StreamHealth(
            stream=self.topic.name,
            ok=state in (State.UP, State.PAUSED),
            state=str(state),
            event_ms=self.event_ms,
            age_s=self._age_s(),
            limit_s=self.limit_s,
            reconnects=self.reconnects,
            malformed=malformed,
            dropped=self.dropped,
            holes=self.holes,
            message=message,
        )

    def words(self, late: Sequence[Pair]) -> str:
        """What silence is called."""
        named = ", ".join(late[:NAMED]) + (f" and {len(late) - NAMED} more" if len(late) > NAMED else "")
        return f"no event within {self.limit_s:g} s from {named}"

    def _age_s(self) -> float:
        wall = self._clock.wall_ms()
        if not self._heard_wall_ms:
            return math.inf
        each = [self._received[pair] for pair in self._pairs if pair in self._received] if self.topic.per_pair else []
        oldest = min(each, default=self._heard_wall_ms)
        return max(0.0, (wall - oldest) / 1000)
