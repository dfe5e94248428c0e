"""Public trades in unbroken sequence: repeats are dropped, holes are seen, what comes behind a hole waits until it is filled.

The exchange numbers aggregate trades without a gap, over streams and REST alike. Fetching is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.readings import Trade

WAITING_MAX: Final = 20_000
"""Trades that may wait behind a hole before the hole is given up."""


class TradeSequence:
    """The trades of one pair, in order.

    Parameters
    ----------
    pair : Pair
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.newest = -1
        """Number of the newest trade up to which none is missing; -1 before the first."""
        self.repeats = 0
        self.holes = 0
        self.unfilled = 0
        """Trades that were given up."""
        self._waiting: dict[int, Trade] = {}

    @property
    def hole(self) -> tuple[int, int] | None:
        """First and last missing number, None when nothing is missing."""
        return (self.newest + 1, min(self._waiting) - 1) if self._waiting else None

    def begin(self, number: int) -> None:
        """Note the newest trade at a time when none has been taken: what comes after it must not be missed."""
        if self.newest < 0:
            self.newest = number

    def take(self, trade: Trade) -> Sequence[Trade]:
        """The trades that may be handed on now, in order; empty for a repeat, or behind a hole."""
        number = trade.trade_id
        if self.newest < 0 or number == self.newest + 1:
            self.newest = number
            return (trade, *self._released()) if self._waiting else (trade,)
        if number <= self.newest or number in self._waiting:
            self.repeats += 1
            return ()
        if not self._waiting:
            self.holes += 1
        self._waiting[number] = trade
        return self.give_up() if len(self._waiting) > WAITING_MAX else ()

    def fill(self, trades: Sequence[Trade], *, complete: bool) -> list[Trade]:
        """Take what REST has; with ``complete`` a number that it lacks does not exist, and is waited for no longer."""
        for trade in trades:
            if trade.trade_id > self.newest:
                self._waiting.setdefault(trade.trade_id, trade)
        return self._rest() if complete else self._released()

    def give_up(self) -> list[Trade]:
        """Hand on what waits although trades before it are lost; they are counted."""
        if self._waiting:
            first, last = self.newest + 1, min(self._waiting) - 1
            self.unfilled += last - first + 1
        return self._rest()

    def _rest(self) -> list[Trade]:
        """Everything that waits, in order."""
        out = [self._waiting[number] for number in sorted(self._waiting)]
        if out:
            self.newest = out[-1].trade_id
            self._waiting.clear()
        return out

    def _released(self) -> list[Trade]:
        out = []
        while (after := self._waiting.pop(self.newest + 1, None)) is not None:
            self.newest = after.trade_id
            out.append(after)
        return out
