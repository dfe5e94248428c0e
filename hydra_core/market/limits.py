"""How often an exchange may be asked: one budget of request weight and one of orders, shared by every process of a home.

An exchange counts weight by address and orders by account, tells both in the headers of every answer, pauses who goes beyond
(429) and bans who goes on (418). ccxt counts before it sends and never reads what is answered; all of that is done here:
whoever wants to ask draws from the budget first, and the exchange's own count corrects it. Not here: what a request costs
(ccxt's tables know), and what a refusal means (:mod:`errors`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.shared_state import Busy, Record, Shared

WEIGHT_LIMIT: Final = 2400
"""Request weight per minute and address that Binance USD-M allows, until the exchange has named its own."""
ORDER_LIMITS: Final[Mapping[str, int]] = {"10": 300, "60": 1200}
"""Orders per so many seconds and account, until the exchange has named its own."""
BAN_STATUS: Final = 418
DEFAULT_PAUSE_S: Final[Mapping[int, float]] = {429: 10.0, BAN_STATUS: 120.0}
"""Pause when the exchange limits without saying for how long."""
TRADER_SEEN_MS: Final = 5 * MINUTE_MS
"""A trader that drew this recently is about: bulk work leaves it room."""
EDGE_MS: Final = 250
"""Bulk work begins a minute this late, so that two clocks a little apart do not count one request in two minutes."""
PATIENCE_S: Final = 0.25
"""How long a protective request waits for the shared record; then it goes uncounted rather than late."""
KEPT_S: Final = 60
FLIGHT_S: Final = 30
"""After so long an order on its way is given up: whoever sent it is dead."""
LANDING_S: Final = 0.02
"""Pause while it is open when orders on their way arrive."""

TOO_MANY_ORDERS: Final = '"code":-1015'
"""In the body of a 429 that is about orders; it names no pause."""

_BANNED_UNTIL = re.compile(r"until\s+(\d{13})")


class Lane(StrEnum):
    """What a request is for, and so how much of the limit it may touch."""

    PROTECTIVE = "protective"
    """Stops, reducing orders, cancels, look-ups of orders whose outcome is unknown: all of it, and through a 429 pause."""
    TRADING = "trading"
    """Every other order and read of the trader."""
    BULK = "bulk"
    """History."""


SHARE: Final[Mapping[Lane, float]] = {Lane.PROTECTIVE: 1.0, Lane.TRADING: 0.97, Lane.BULK: 0.965}
"""Share of the weight limit that a lane may fill; what is above is kept for the lanes before it."""
BULK_BESIDE_TRADER: Final = 0.75
"""Bulk work's share while a trader is about."""
ORDER_SHARE: Final[Mapping[Lane, float]] = {Lane.PROTECTIVE: 1.0, Lane.TRADING: 0.9, Lane.BULK: 0.9}
"""Share of the order counts."""

_lane: ContextVar[Lane | None] = ContextVar("lane", default=None)
_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


@contextmanager
def lane(kind: Lane) -> Iterator[None]:
    """Requests made inside the block belong to this lane."""
    token = _lane.set(kind)
    try:
        yield
    finally:
        _lane.reset(token)


@dataclass(slots=True)
class Permit:
    """Weight that was drawn for one request and not yet accounted for by its answer."""

    weight: int
    minute: int
    settled: bool = False
    orders: int = 0
    """Orders that are on their way: the exchange will count them when they arrive, which may be later than they were drawn."""
    second: int = 0


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """What a person is told: weight used and allowed this minute, orders of the last minute, wall seconds of a pause."""

    used: int
    limit: int
    orders_minute: int
    paused_s: float
    banned_s: float
    trader_about: bool


class RequestBudget:
    """Holds requests back so that an exchange never has to.

    Parameters
    ----------
    shared : Shared, where the counts are kept
    limit : int or None, weight per minute; None keeps no count (a local venue), but a plain refusal is obeyed all the same
    clock : Clock, its wall time is read
    usual : Lane, of requests made outside a :func:`lane` block
    """

    def __init__(
        self,
        limit: int | None = WEIGHT_LIMIT,
        clock: Clock | None = None,
        *,
        shared: Shared | None = None,
        usual: Lane = Lane.TRADING,
    ) -> None:
        self._limit = limit
        self._clock = clock or SystemClock()
        self._shared = shared or Shared()
        self._usual = usual
        self._account = ""
        self._changes: list[Callable[[Record, int], None]] = []

    @classmethod
    def open(
        cls,
        folder: Path | None,
        endpoint: Endpoint,
        key: str = "",
        *,
        limit: int | None = WEIGHT_LIMIT,
        clock: Clock | None = None,
        usual: Lane = Lane.TRADING,
    ) -> RequestBudget:
        """The budget of an exchange's address and an API key, shared by all who name the same folder.

        Parameters
        ----------
        folder : Path or None, below the market home; None: this process's own
        endpoint : Endpoint
        key : str, API key; only its hash is kept. Weight is counted by address, so every key of a home shares one record
        limit, clock, usual : see the class
        """
        shared = Shared(folder / f"{_name(endpoint)}.json") if folder is not None else Shared()
        budget = cls(limit, clock, shared=shared, usual=usual)
        budget._account = hashlib.sha256(key.encode()).hexdigest()[:12] if key else ""
        return budget

    @asynccontextmanager
    async def spend(self, weight: int, orders: int = 0) -> AsyncIterator[Permit]:
        """Wait until a request of this weight (and so many orders) may go; hold its permit while it runs.

        Cancelling the wait draws nothing. An answer that never comes leaves its weight drawn until the minute after.
        """
        kind = _lane.get() or self._usual
        permit = await self._draw(weight, orders, kind)
        token = _permit.set(permit)
        try:
            yield permit
        finally:
            _permit.reset(token)
            if permit.orders:
                self._later(
                    lambda record, now: self._land(record, now, permit)
                )  # no answer: it arrived by now, if at all

    async def _draw(self, weight: int, orders: int, kind: Lane) -> Permit:
        waited = 0.0
        while True:
            try:
                permit, pause = self.draw(weight, orders, kind)
            except Busy:
                if kind is Lane.PROTECTIVE and waited >= PATIENCE_S:
                    return Permit(0, -1, settled=True)
                permit, pause = None, 0.002
                waited += pause
            if permit is not None:
                return permit
            await asyncio.sleep(pause)

    def draw(self, weight: int, orders: int = 0, kind: Lane = Lane.TRADING) -> tuple[Permit | None, float]:
        """A permit, or None and the wall seconds after which to ask again.

        Raises
        ------
        Busy : another process has the record at this moment
        """
        with self._shared.held() as record:
            now = self._roll(record)
            minute = now // MINUTE_MS
            if kind is not Lane.BULK:
                record["trader_ms"] = now
            until = max(record["banned_ms"], 0 if kind is Lane.PROTECTIVE else record["paused_ms"])
            if until > now:
                return None, (until - now) / 1000
            if orders and (pause := self._orders_pause(record, now, orders, kind)):
                return None, pause
            if self._limit is not None:
                pause = self._weight_pause(record, now, weight, kind)
                if pause:
                    return None, pause
            record["granted"] += weight
            record["flying"] += weight
            permit = Permit(weight, minute)
            if orders:
                permit.orders, permit.second = orders, now // 1000
                _count(record["flying_orders"].setdefault(self._account, {}), permit.second, orders)
            return permit, 0.0

    def _weight_pause(self, record: Record, now: int, weight: int, kind: Lane) -> float:
        """Wall seconds until so much weight is free for a lane; 0 where it is."""
        limit = int(record["limit"] or self._limit or WEIGHT_LIMIT)
        share = SHARE[kind]
        if kind is Lane.BULK and now - record["trader_ms"] < TRADER_SEEN_MS:
            share = BULK_BESIDE_TRADER
        if kind is Lane.BULK and now % MINUTE_MS < EDGE_MS and record["edge"]:
            return (EDGE_MS - now % MINUTE_MS) / 1000
        if _used(record) + weight <= max(share * limit, min(weight, limit)):
            return 0.0
        return (MINUTE_MS - now % MINUTE_MS + (EDGE_MS if kind is Lane.BULK else 0)) / 1000

    def _orders_pause(self, record: Record, now: int, orders: int, kind: Lane) -> float:
        """Wall seconds until so many orders may be sent; 0 where they may."""
        counts = record["orders"].get(self._account, {})
        flying = sum(record["flying_orders"].get(self._account, {}).values())
        longest = 0.0
        for window, limit in (record["order_limits"] or ORDER_LIMITS).items():
            span = int(window)
            # Counts are kept by whole seconds: the one in which the window begins belongs to it.
            inside = sorted((int(second), sent) for second, sent in counts.items() if int(second) >= now // 1000 - span)
            over = sum(sent for _, sent in inside) + flying + orders - int(ORDER_SHARE[kind] * limit)
            if over > 0 and flying:
                return LANDING_S  # when those on their way have arrived it is known how long they count
            for second, sent in inside:
                if over <= 0:
                    break
                over -= sent
                longest = max(longest, second + 1 + span - now / 1000)
        return max(longest, 0.0)

    def _land(self, record: Record, now: int, permit: Permit) -> None:
        """Orders that were on their way have arrived by now: from now on they count as long as the exchange's windows are."""
        landed, permit.orders = permit.orders, 0
        flying = record["flying_orders"].get(self._account, {})
        if landed and str(permit.second) in flying:  # else they were given up as never to be heard of
            _count(flying, permit.second, -landed)
            _count(record["orders"].setdefault(self._account, {}), now // 1000, landed)

    def note(self, status: int, headers: Mapping[str, str], body: str = "") -> None:
        """Take in an answer: its HTTP status, headers and words. Never waits; a record in use is tried again briefly."""
        permit = _permit.get()
        lower = {name.lower(): value for name, value in headers.items()}
        self._later(lambda record, now: self._take_in(record, now, status, lower, body, permit))

    def settle(self, permit: Permit) -> None:
        """A request's answer came without headers worth a note."""

        def change(record: Record, now: int) -> None:
            _settle(record, permit)
            self._land(record, now, permit)

        self._later(change)

    def _later(self, change: Callable[[Record, int], None]) -> None:
        """Change the record now, or with the next request where another process has it at this moment."""
        self._changes.append(change)
        try:
            with self._shared.held() as record:
                self._roll(record)
        except Busy:
            return

    def _take_in(
        self, record: Record, now: int, status: int, headers: Mapping[str, str], body: str, permit: Permit | None
    ) -> None:
        minute = now // MINUTE_MS
        if permit is not None:
            _settle(record, permit)
            self._land(record, now, permit)
        told = headers.get("x-mbx-used-weight-1m", "")
        if told.isdigit() and _minute_of(headers.get("date", ""), minute) == minute:
            record["told"] = max(record["told"], int(told))
        self._orders_told(record, headers, now)
        if status == 429 and TOO_MANY_ORDERS in body:
            self._orders_used_up(record, now)  # orders are a budget of their own: reading goes on
        elif status in DEFAULT_PAUSE_S:
            asked = headers.get("retry-after", "")
            seconds = float(asked) if asked.replace(".", "", 1).isdigit() else DEFAULT_PAUSE_S[status]
            until = now + int(seconds * 1000)
            name = "paused_ms"
            if status == BAN_STATUS:
                name = "banned_ms"
                if words := _BANNED_UNTIL.search(body):
                    until = max(until, int(words.group(1)))
            record[name] = max(record[name], until)

    def _orders_told(self, record: Record, headers: Mapping[str, str], now: int) -> None:
        """Orders that the exchange counted and nobody here sent are counted as of now."""
        counts = record["orders"].get(self._account, {})
        flying = sum(record["flying_orders"].get(self._account, {}).values())
        for header, span in (("x-mbx-order-count-10s", 10), ("x-mbx-order-count-1m", 60)):
            told = headers.get(header, "")
            if told.isdigit():
                ours = flying + sum(sent for second, sent in counts.items() if int(second) > now // 1000 - span)
                if int(told) > ours:
                    record["orders"][self._account] = counts
                    counts[str(now // 1000)] = counts.get(str(now // 1000), 0) + int(told) - ours

    def _orders_used_up(self, record: Record, now: int) -> None:
        """The exchange refused an order for their number: its shortest window is full as of now."""
        counts = record["orders"].setdefault(self._account, {})
        span, limit = min(((int(window), most) for window, most in (record["order_limits"] or ORDER_LIMITS).items()))
        ours = sum(sent for second, sent in counts.items() if int(second) >= now // 1000 - span)
        if ours < limit:
            counts[str(now // 1000)] = counts.get(str(now // 1000), 0) + limit - ours

    def allow(self, limit: int) -> None:
        """Keep to so much weight a minute: what is known of an exchange that does not name its limit itself."""
        self._limit = limit

    def learn(self, rate_limits: Any) -> None:
        """Take in the ``rateLimits`` of an exchangeInfo answer; entries of other kinds are left alone."""
        orders: dict[str, int] = {}
        weight = 0
        for entry in rate_limits or ():
            span = int(entry.get("intervalNum", 1)) * {"SECOND": 1, "MINUTE": 60}.get(str(entry.get("interval")), 0)
            if entry.get("rateLimitType") == "REQUEST_WEIGHT" and span == KEPT_S:
                weight = int(entry["limit"])
            elif entry.get("rateLimitType") == "ORDERS" and 0 < span <= KEPT_S:
                orders[str(span)] = int(entry["limit"])

        def change(record: Record, now: int) -> None:
            record["limit"], record["order_limits"] = weight or record["limit"], orders or record["order_limits"]

        self._later(change)

    @property
    def wait_s(self) -> float:
        """Wall seconds that the exchange asked everyone to pause for, from now."""
        status = self.status()
        return max(status.paused_s, status.banned_s)

    def status(self) -> BudgetStatus:
        """How much is used and whether the exchange paused or banned this address."""
        record = self._shared.peek()
        now = self._bring_up(record)
        counts = record["orders"].get(self._account, {})
        flying = sum(record["flying_orders"].get(self._account, {}).values())
        return BudgetStatus(
            used=_used(record),
            limit=int(record["limit"] or self._limit or WEIGHT_LIMIT),
            orders_minute=flying + sum(sent for second, sent in counts.items() if int(second) > now // 1000 - KEPT_S),
            paused_s=max(0.0, (record["paused_ms"] - now) / 1000),
            banned_s=max(0.0, (record["banned_ms"] - now) / 1000),
            trader_about=now - record["trader_ms"] < TRADER_SEEN_MS,
        )

    def close(self) -> None:
        """Let go of the shared file; what was drawn stays drawn."""
        self._shared.close()

    def _roll(self, record: Record) -> int:
        """The record in the present minute, with every word of the exchange in it; returns wall time, epoch ms."""
        now = self._bring_up(record)
        while self._changes:
            self._changes.pop(0)(record, now)
        return now

    def _bring_up(self, record: Record) -> int:
        """Bring the record into the present minute; returns wall time, epoch ms.

        A request drawn at the end of a minute may be counted by the exchange in the next one, so what is still flying then
        weighs on both; one that never settled (its process died) is forgotten a minute later. A record that cannot be
        read counts as used up, because what it held is not known.
        """
        now = self._clock.wall_ms()
        minute = now // MINUTE_MS
        if record.pop("unreadable", False) or not isinstance(record.get("minute", 0), int):
            record.clear()
            record.update(_fresh(minute), told=self._limit or 0, edge=True)
            return now
        if "minute" not in record:
            record.update(_fresh(minute))
        elif record["minute"] != minute:
            carried = record["flying"] if record["minute"] == minute - 1 else 0
            record.update(minute=minute, granted=0, flying=0, told=0, carried=carried, entered=carried, edge=True)
        for name, kept_s in (("orders", KEPT_S), ("flying_orders", FLIGHT_S)):
            oldest = now // 1000 - kept_s
            record[name] = {
                account: kept
                for account, counts in record.get(name, {}).items()
                if (kept := {second: sent for second, sent in counts.items() if int(second) > oldest})
            }
        return now


def _fresh(minute: int) -> Record:
    """A record that knows of nothing."""
    return {
        "minute": minute, "granted": 0, "flying": 0, "carried": 0, "entered": 0, "told": 0, "edge": False,
        "paused_ms": 0, "banned_ms": 0, "trader_ms": 0, "limit": 0, "order_limits": {}, "orders": {}, "flying_orders": {},
    }  # fmt: skip


def _count(counts: dict[str, int], second: int, orders: int) -> None:
    """Add to (or take from) what was counted in a second; nothing is kept of none."""
    left = counts.pop(str(second), 0) + orders
    if left > 0:
        counts[str(second)] = left


def _used(record: Record) -> int:
    """Weight that the exchange may have counted this minute, at most: ours, or its own word plus what is on its way."""
    return int(max(record["granted"] + record["entered"], record["told"] + record["flying"] + record["carried"]))


def _settle(record: Record, permit: Permit) -> None:
    """A request's answer came: its weight is on its way no more."""
    if permit.settled:
        return
    permit.settled = True
    if permit.minute == record["minute"]:
        record["flying"] = max(0, record["flying"] - permit.weight)
    elif permit.minute == record["minute"] - 1:
        record["carried"] = max(0, record["carried"] - permit.weight)


def _minute_of(date: str, otherwise: int) -> int:
    """The minute in which the exchange says that it answered."""
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000) // MINUTE_MS if date else otherwise
    except (TypeError, ValueError):
        return otherwise


def _name(endpoint: Endpoint) -> str:
    """File name of an address's record."""
    return re.sub(r"[^a-z0-9.-]+", "-", f"{endpoint.exchange} {(endpoint.base_url or '').lower()}").strip("-")


def backoff(attempts: int, first_s: float = 0.25, cap_s: float = 8.0) -> Iterator[float]:
    """Pauses between ``attempts`` tries, doubling, each drawn between half and all of its length (seconds)."""
    for attempt in range(attempts - 1):
        yield min(cap_s, first_s * 2**attempt) * random.uniform(0.5, 1.0)
