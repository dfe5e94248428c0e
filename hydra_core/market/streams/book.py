"""One pair's order book, kept exactly: a snapshot, then differences in unbroken sequence, never crossed.

Whoever reads an unsynchronised book is refused. Fetching snapshots is ``books``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hydra_core.domain.errors import InputStale
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.readings import BookDiff

Level = tuple[float, float]

KEPT_DIFFS: Final = 2_000
"""Differences held while a snapshot is on its way; more means that no snapshot comes."""


class _Side:
    """Levels of one side; the best stands at the end of ``_keys``, so that changes at the top move little memory."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[float] = []
        self._sizes: dict[float, float] = {}

    def reset(self, rows: Iterable[Level]) -> None:
        self._sizes = {price: size for price, size in rows if size > 0}
        self._keys = sorted(self._sign * price for price in self._sizes)

    def put(self, price: float, size: float) -> None:
        key = self._sign * price
        if size > 0:
            if price not in self._sizes:
                insort(self._keys, key)
            self._sizes[price] = size
        elif self._sizes.pop(price, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def best(self) -> Level | None:
        if not self._keys:
            return None
        price = self._sign * self._keys[-1]
        return price, self._sizes[price]

    def top(self, count: int) -> list[Level]:
        return [(self._sign * key, self._sizes[self._sign * key]) for key in self._keys[: -count - 1 : -1]]

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(slots=True)
class BookCounts:
    """What befell a book since the start."""

    applied: int = 0
    stale: int = 0
    gaps: int = 0
    crossed: int = 0
    snapshots: int = 0
    overflows: int = 0


class OrderBook:
    """The book of a pair; prices in USDT, sizes in base units.

    Sequence rule of the USD-M diff stream: the first event applied to a snapshot with id L satisfies U <= L <= u, or
    follows it directly (pu == L); afterwards every event's ``pu`` is the ``u`` of the one before.

    Parameters
    ----------
    pair : Pair

    Examples
    --------
    >>> book = OrderBook(Pair("BTCUSDT"))
    >>> book.load(10, [(99.0, 1.0)], [(101.0, 2.0)])
    True
    >>> book.best()
    ((99.0, 1.0), (101.0, 2.0))
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.counts = BookCounts()
        self.synced = False
        self.reason = "no snapshot yet"
        self.update_id = -1
        self.event_ms = 0
        self.received_wall_ms = 0
        self._first = True
        self._bids, self._asks = _Side(1), _Side(-1)
        self._waiting: list[BookDiff] = []

    def apply(self, diff: BookDiff) -> bool:
        """Take a difference; False when the book is (or thereby comes to be) out of sync and a snapshot is needed."""
        if not self.synced:
            if len(self._waiting) >= KEPT_DIFFS:
                self.counts.overflows += 1
                self._waiting.clear()
            self._waiting.append(diff)
            return False
        if diff.final_id < self.update_id or (diff.final_id == self.update_id and not self._first):
            self.counts.stale += 1
            return True
        if not self._follows(diff):
            self.counts.gaps += 1
            self.lose(f"gap: event follows {diff.previous_id}, the book stands at {self.update_id}")
            self._waiting.append(diff)
            return False
        self._set(diff)
        return self._uncrossed()

    def ahead(self, diff: BookDiff) -> bool:
        """Whether differences are missing before this one."""
        return self.synced and diff.final_id > self.update_id and not self._follows(diff)

    def load(self, update_id: int, bids: Iterable[Level], asks: Iterable[Level], event_ms: int = 0) -> bool:
        """Take a snapshot and the differences that waited for it; False when the snapshot is too old for them."""
        self.counts.snapshots += 1
        self._bids.reset(bids)
        self._asks.reset(asks)
        self.update_id, self._first, self.synced = update_id, True, True
        self.event_ms = max(self.event_ms, event_ms)
        waiting = sorted((diff for diff in self._waiting if diff.final_id >= update_id), key=lambda diff: diff.final_id)
        self._waiting.clear()
        if waiting and not self._follows(waiting[0]):
            self.lose(f"snapshot {update_id} does not meet the stream, which goes on from {waiting[0].first_id}")
            self._waiting = waiting
            return False
        for place, diff in enumerate(waiting):
            if not self.apply(diff):
                self._waiting += waiting[place + 1 :]
                return False
        return self._uncrossed()

    def lose(self, reason: str) -> None:
        """Declare the book out of sync: what it holds is not shown to anyone any more."""
        self.synced = False
        self.reason = reason

    def restart(self, reason: str) -> None:
        """As :meth:`lose`, and forget what waited: the stream itself starts anew."""
        self.lose(reason)
        self._waiting.clear()

    def best(self) -> tuple[Level, Level]:
        """Best bid and ask as (price, size).

        Raises
        ------
        InputStale : the book is out of sync, or a side is empty
        """
        self._insist()
        bid, ask = self._bids.best(), self._asks.best()
        if bid is None or ask is None:
            raise InputStale(f"the order book of {self.pair} has an empty side")
        return bid, ask

    def top(self, count: int) -> tuple[list[Level], list[Level]]:
        """The best ``count`` levels of bids and asks, best first; raises InputStale when out of sync."""
        self._insist()
        return self._bids.top(count), self._asks.top(count)

    def __len__(self) -> int:
        return len(self._bids) + len(self._asks)

    def _insist(self) -> None:
        if not self.synced:
            raise InputStale(f"the order book of {self.pair} is out of sync ({self.reason})", "Wait for its snapshot")

    def _follows(self, diff: BookDiff) -> bool:
        if diff.previous_id == self.update_id:
            return True
        return self._first and diff.first_id <= self.update_id <= diff.final_id

    def _set(self, diff: BookDiff) -> None:
        for price, size in diff.bids:
            self._bids.put(price, size)
        for price, size in diff.asks:
            self._asks.put(price, size)
        self.update_id, self._first = diff.final_id, False
        self.event_ms, self.received_wall_ms = diff.event_ms, diff.received_wall_ms
        self.counts.applied += 1

    def _uncrossed(self) -> bool:
        bid, ask = self._bids.best(), self._asks.best()
        if bid is not None and ask is not None and bid[0] >= ask[0]:
            self.counts.crossed += 1
            self.lose(f"crossed: bid {bid[0]:g}, ask {ask[0]:g}")
            return False
        return True
