"""When a candle may be acted on: the exchange says closed, or its successor has been seen and REST confirms it.

A running candle's numbers never become a closed one's; what comes again with other numbers is a revision. Fetching is
the caller's.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final

from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.readings import CandleTick

REMEMBERED: Final = 16
"""Closed candles a series whose numbers are remembered, to tell a repetition from a correction."""


class Verdict(Enum):
    """What a candle message is."""

    RUNNING = "running"
    """Still changing: nothing to act on."""
    CLOSED = "closed"
    """Closed, and the direct successor of the last one: act on it."""
    AHEAD = "ahead"
    """Closed, but candles before it are missing: keep it, fetch them, act when they are there."""
    REVISION = "revision"
    """A closed candle again with other numbers: keep the new numbers, do not act again."""
    REPEAT = "repeat"
    """A closed candle again, unchanged."""
    UNCONFIRMED = "unconfirmed"
    """Running, but its predecessor's close was never told: REST must confirm that one."""


class CandleGate:
    """Judges the candles of many series.

    Examples
    --------
    >>> gate = CandleGate()
    >>> gate.confirmed(Pair("BTCUSDT"), Interval.M1, 0, (1.0, 1.0, 1.0, 1.0, 1.0))
    True
    """

    def __init__(self) -> None:
        self._newest: dict[tuple[Pair, Interval], int] = {}
        self._values: dict[tuple[Pair, Interval], OrderedDict[int, tuple[float, ...]]] = {}

    def newest(self, pair: Pair, interval: Interval) -> int | None:
        """Open time of the newest candle up to which none is missing, None before the first."""
        return self._newest.get((pair, interval))

    def values(self, pair: Pair, interval: Interval, ts: int) -> tuple[float, ...] | None:
        """Open, high, low, close and volume of a closed candle, None when it is not remembered."""
        held = self._values.get((pair, interval))
        return None if held is None else held.get(ts)

    def judge(self, tick: CandleTick) -> Verdict:
        """What a stream's message is; a closed one is remembered."""
        key = (tick.pair, tick.interval)
        newest = self._newest.get(key)
        if not tick.closed:
            late = newest is not None and tick.ts <= newest
            missing = newest is not None and tick.ts > newest + tick.interval.ms
            return Verdict.REPEAT if late else Verdict.UNCONFIRMED if missing else Verdict.RUNNING
        known = self._remember(key, tick.ts, tick.values)
        if newest is None or tick.ts == newest + tick.interval.ms:
            self._newest[key] = tick.ts
            self._close_up(key)
            return Verdict.CLOSED
        if tick.ts > newest:
            return Verdict.REPEAT if known == tick.values else Verdict.AHEAD
        return Verdict.REPEAT if known == tick.values else Verdict.REVISION

    def confirmed(self, pair: Pair, interval: Interval, ts: int, values: tuple[float, ...]) -> bool:
        """Take a closed candle from REST; True when it is new or differs from what was held."""
        key = (pair, interval)
        known = self._remember(key, ts, values)
        newest = self._newest.get(key)
        if newest is None or ts > newest:
            self._newest[key] = ts
            self._close_up(key)
            return True
        return known is not None and known != values

    def _remember(self, key: tuple[Pair, Interval], ts: int, values: tuple[float, ...]) -> tuple[float, ...] | None:
        """The numbers held of a candle before these replaced them."""
        held = self._values.setdefault(key, OrderedDict())
        known = held.get(ts)
        held[ts] = values
        if known is None and len(held) > REMEMBERED:
            del held[min(held)]
        return known

    def _close_up(self, key: tuple[Pair, Interval]) -> None:
        """Move on over candles that arrived ahead."""
        held, step = self._values[key], key[1].ms
        while self._newest[key] + step in held:
            self._newest[key] += step
