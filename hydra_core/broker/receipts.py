"""Gateways of exchanges that answer an order with a receipt: taken is all it says, what became of it has to be looked up.

Here is what they share: the look after each receipt, client ids as an exchange takes them and back, reading lists page by page
and window by window, the mark up to which trades were read. Their endpoints and rows are each exchange's module's.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, Final

from hydra_core.broker.facts import FillFact, OrderFact, PositionFact
from hydra_core.broker.wire import Params, Wire
from hydra_core.domain.errors import OutcomeUnknown, Refused, Unsupported, VenueError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.execution.orders import Word
from hydra_core.ledger.records import OrderRecord
from hydra_core.market.exchanges import ExchangeAdapter, adapter_for

LOOKS_AFTER_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Wall pauses before the looks that follow a receipt."""
ENDED: Final = frozenset({Word.FILLED, Word.CANCELED, Word.EXPIRED, Word.REFUSED})
WINDOW_MS: Final = 7 * DAY_MS
"""Longest span that a list of trades or entries is asked for at once."""
OVERLAP_MS: Final = 5 * MINUTE_MS
"""How far before its mark a list is read again: a row may become visible after a later one."""
SETTLED_MS: Final = HOUR_MS
"""Rows older than this are certainly visible."""
FOREIGN: Final = "at-"
"""Beginning of the name of an order without a client id of ours; the exchange's own id follows."""
LIQUIDATED: Final = "autoclose-"
DELEVERAGED: Final = "adl_autoclose-"
DELIVERED: Final = "settlement_autoclose-"
"""Beginnings of the names of orders that the exchange itself placed; ``books`` knows them."""
_NAMED_BY_EXCHANGE: Final = re.compile(f"(?:{FOREIGN}|{LIQUIDATED}|{DELEVERAGED}|{DELIVERED})(.+)")


@dataclass(frozen=True, slots=True)
class Call:
    """One request: ccxt's name of the endpoint, and what is sent."""

    method: str
    params: Params


class ReceiptGateway(Wire, ABC):
    """What the gateways of such exchanges share; see :class:`hydra_core.broker.gateway.Gateway` for the promises."""

    names_refusals = False
    listen_s = 3.0
    cash_grain = Decimal(0)
    no_countdown: ClassVar[str]
    """Why the exchange's countdown, if it has one, is not used."""

    @property
    def adapter(self) -> ExchangeAdapter:
        """Names of pairs and client ids."""
        return adapter_for(self.endpoint.exchange)

    # -- orders --------------------------------------------------------------------------------------------------------

    async def place(self, order: OrderRecord) -> OrderFact:
        """Send an order, and look at what became of it."""
        call = self._placing(order)
        venue_id = await self._order(
            call.method, call.params, self._receipt, protective=order.reduce_only, about=order.pair
        )
        rests = order.kind == "limit" and order.time_in_force != "IOC"
        return await self._after(order, venue_id, algo=False, rests=rests)

    async def place_stop(self, order: OrderRecord) -> OrderFact:
        """Send a protective stop, and see that it rests."""
        call = self._placing_stop(order)
        venue_id = await self._order(call.method, call.params, self._receipt, about=order.pair)
        return await self._after(order, venue_id, algo=True, rests=True)

    async def _after(self, order: OrderRecord, venue_id: str, *, algo: bool, rests: bool) -> OrderFact:
        """What became of an order that was taken; that it was taken is certain, whatever the looks answer."""
        taken = _taken(order, venue_id, algo)
        for pause in LOOKS_AFTER_S:
            await asyncio.sleep(pause)
            try:
                fact = await self._find(order.pair, order.order_id, algo=algo)
            except VenueError:
                return taken
            if fact is None:
                continue
            if fact.word is Word.REFUSED:
                raise Refused(f"{order.pair}: {fact.reason or 'taken and turned down'}")
            taken = fact
            if fact.word in ENDED or rests:
                break
        return taken

    async def cancel(self, order: OrderRecord) -> OrderFact:
        """Cancel an order, and look at what became of it."""
        call = self._cancelling(order.pair, order.order_id, algo=False)
        await self._order(call.method, call.params, self._receipt, about=order.pair)
        return await self._gone(order.pair, order.order_id, algo=False)

    async def cancel_stop(self, order: OrderRecord) -> None:
        """Cancel a waiting stop; Refused when it was triggered first."""
        await self._cancel_stop(order.pair, order.order_id)

    async def drop_stop(self, stop: OrderFact) -> None:
        """Cancel a waiting conditional order, whoever placed it."""
        await self._cancel_stop(stop.pair, stop.client_id)

    async def _cancel_stop(self, pair: Pair, name: str) -> None:
        call = self._cancelling(pair, name, algo=True)
        await self._order(call.method, call.params, self._receipt, about=pair)
        fact = await self._gone(pair, name, algo=True)
        if fact.word not in ENDED:
            raise OutcomeUnknown(f"{pair}: stop {name} still waits after its cancel was taken")
        if fact.word is Word.FILLED or fact.actual_id:
            raise Refused(f"{pair}: stop {name} was triggered before its cancel")

    async def _gone(self, pair: Pair, name: str, *, algo: bool) -> OrderFact:
        """An order after its cancel was taken; still working where the exchange takes longer than the looks."""
        fact = None
        for pause in LOOKS_AFTER_S:
            await asyncio.sleep(pause)
            try:
                fact = await self.look_up(pair, name, algo=algo) or fact
            except VenueError as error:
                raise OutcomeUnknown(
                    f"{pair}: cancel of {name} was taken, what it did is not known: {error}"
                ) from error
            if fact is not None and fact.word in ENDED:
                return fact
        if fact is None:
            raise OutcomeUnknown(f"{pair}: cancel of {name} was taken, and the exchange does not show it")
        return fact

    async def cancel_all(self, pair: Pair) -> None:
        """Cancel every resting order of a pair one by one; protective stops stay."""
        for fact in await self.open_orders():
            if fact.pair != pair:
                continue
            call = self._cancelling(pair, fact.client_id, algo=False)
            try:
                await self._order(call.method, call.params, self._receipt, about=pair)
            except Refused:
                continue  # it ended meanwhile

    async def countdown(self, pair: Pair, ms: int) -> None:
        """Raises Unsupported: none of these exchanges has a countdown per pair that certainly spares protective stops."""
        raise Unsupported(f"{self.endpoint} {self.no_countdown}", "Protective stops rest at the exchange all the same")

    async def look_up(self, pair: Pair, client_id: str, *, algo: bool = False) -> OrderFact | None:
        """An order by its client id; None where the exchange knows none of that id now."""
        return _settled(await self._find(pair, client_id, algo=algo))

    async def order_by_venue_id(self, pair: Pair, venue_id: str) -> OrderFact | None:
        """An order by the exchange's id; None where it knows none of that id now."""
        return _settled(await self._find(pair, f"{FOREIGN}{venue_id}", algo=False))

    async def funding_rate(self, pair: Pair, ts_ms: int) -> tuple[Decimal, Decimal] | None:
        """None: what the exchange tells of a settlement comes with the wallet's entry."""
        return None

    # -- trades and entries --------------------------------------------------------------------------------------------

    async def fills(self, pair: Pair, mark: int, floor_ms: int) -> tuple[list[FillFact], int]:
        """Every trade of a pair since shortly before ``mark`` (epoch ms), in order, and the time up to which all is read."""
        now = self.drift.now_ms()
        start = max(mark - OVERLAP_MS, floor_ms + 1)
        found = [fill async for fill in self._fills(pair, start, now) if fill.ts_ms > floor_ms]
        found.sort(key=lambda fill: (fill.ts_ms, fill.order, fill.trade_id))
        newest = max((fill.ts_ms for fill in found), default=mark)
        if now - max(mark, newest) > DAY_MS:
            newest = now - SETTLED_MS  # so that the span asked for does not grow while nothing is traded
        return found, max(mark, newest)

    async def newest_fill(self, pair: Pair) -> int:
        """Time of the pair's newest trade in the last week, epoch ms; 0 where there is none."""
        now = self.drift.now_ms()
        return max([fill.ts_ms async for fill in self._fills(pair, now - WINDOW_MS + MINUTE_MS, now)], default=0)

    def _windows(self, start_ms: int) -> Iterable[tuple[int, int]]:
        """Spans from a time to a minute from now, none longer than an exchange answers for at once."""
        end = self.drift.now_ms() + MINUTE_MS
        while start_ms < end:
            yield start_ms, min(start_ms + WINDOW_MS, end)
            start_ms += WINDOW_MS

    async def positions(self) -> dict[Pair, PositionFact]:
        """Open positions by pair."""
        rows = await self._positions()
        return {row.pair: row for row in rows if row.quantity}

    # -- names ---------------------------------------------------------------------------------------------------------

    def _wire_id(self, order_id: str) -> str:
        """A client id of ours as the exchange takes it."""
        return self.adapter.order_ids.fit(order_id)

    def _name(self, told: Any, venue_id: str, beginning: str = FOREIGN) -> str:
        """What an order is called here: its id where it is one of ours, else the exchange's id after a beginning."""
        return self.adapter.order_ids.own(str(told or "")) or f"{beginning}{venue_id}"

    def _ids(self, name: str, client: str, venue: str) -> dict[str, str]:
        """The parameter that names an order: the exchange's own id for one that is not ours."""
        theirs = _NAMED_BY_EXCHANGE.fullmatch(name)
        return {venue: theirs.group(1)} if theirs else {client: self._wire_id(name)}

    # -- what each exchange says in its own way ------------------------------------------------------------------------

    @abstractmethod
    def _placing(self, order: OrderRecord) -> Call:
        """The request that sends an order; raises Refused where it cannot be said exactly."""

    @abstractmethod
    def _placing_stop(self, order: OrderRecord) -> Call:
        """The request that sends a protective stop."""

    @abstractmethod
    def _cancelling(self, pair: Pair, name: str, *, algo: bool) -> Call:
        """The request that cancels an order or a conditional one."""

    @abstractmethod
    def _receipt(self, answer: Any) -> str:
        """The exchange's id in the answer to an order or cancel."""

    @abstractmethod
    async def _find(self, pair: Pair, name: str, *, algo: bool) -> OrderFact | None:
        """An order by its name here; REFUSED for one that was taken and then turned down."""

    @abstractmethod
    async def open_orders(self) -> list[OrderFact]:
        """Every resting order of the account."""

    @abstractmethod
    def _fills(self, pair: Pair, start_ms: int, now_ms: int) -> AsyncIterator[FillFact]:
        """Trades of a pair from a time on, in any order."""

    @abstractmethod
    async def _positions(self) -> list[PositionFact]:
        """Rows of positions, empty ones included."""


def largest(steps: Iterable[tuple[Decimal, Decimal]], leverage: Decimal) -> Decimal:
    """Of (largest leverage, largest size) tiers the largest size that a leverage allows; 0 where there is none."""
    return max((size for most, size in steps if most >= leverage), default=Decimal(0))


def optional(value: Any) -> Decimal | None:
    """An exact number, None for an empty text."""
    return None if value in (None, "") else Decimal(str(value))


def side_of(word: str) -> Side:
    """``buy`` or ``sell``, in any case; raises KeyError."""
    return {"buy": Side.LONG, "sell": Side.SHORT}[word.lower()]


def words_of(row: Mapping[str, Any], *names: str) -> str:
    """The first of some fields that says something."""
    return next((str(row[name]) for name in names if row.get(name) not in (None, "")), "")


def _settled(fact: OrderFact | None) -> OrderFact | None:
    """An order as one that was taken: turned down later, it has ended without an effect."""
    return replace(fact, word=Word.EXPIRED) if fact is not None and fact.word is Word.REFUSED else fact


def _taken(order: OrderRecord, venue_id: str, algo: bool) -> OrderFact:
    """What a receipt alone says."""
    return OrderFact(
        client_id=order.order_id,
        venue_id=venue_id,
        pair=order.pair,
        side=order.side,
        kind=order.kind,
        word=Word.WORKING,
        quantity=order.quantity,
        filled=Decimal(0),
        reduce_only=order.reduce_only,
        ts_ms=order.created_ms,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        algo=algo,
    )
