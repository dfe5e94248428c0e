"""From an exchange's facts to the ledger: each fact is folded in once, whatever order they come in and however often.

Orders move along their table by the exchange's word alone; an order ends only once all that it filled is booked, so that a
position is never ahead of or behind its orders. Orders that are not ours are taken up under the name of who made them.
Asking the exchange is not done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.facts import FillFact, OrderFact
from hydra_core.broker.incidents import forbid
from hydra_core.broker.protocol import Incident, IncidentKind
from hydra_core.broker.stops import STOP_PLAN
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import QUOTE, Pair
from hydra_core.domain.trading import OWN, Fill, OrderState
from hydra_core.execution.orders import DONE, IllegalMove, Word, move
from hydra_core.ledger.records import ADL, DELISTING, EXTERNAL, LIQUIDATION, OrderRecord
from hydra_core.ledger.store import Ledger

ENDINGS: Final = frozenset({Word.FILLED, Word.CANCELED, Word.EXPIRED})
MAKERS: Final = (
    ("autoclose-", LIQUIDATION, IncidentKind.LIQUIDATION),
    ("adl_autoclose", ADL, IncidentKind.ADL),
    ("settlement_autoclose-", DELISTING, IncidentKind.DELISTING),
)
"""Beginnings of the client ids that the exchange gives to its own orders, the plan they are booked under, what they are."""

ANSWERED: Final = "foreign/answered"
"""Name of the mark that says how many of the booked orders of other hands have led to a halt."""
ALL: Final = 1_000_000
KEPT: Final = 1_000
"""Ended orders that are kept at hand."""

OTHERS: Final = frozenset({EXTERNAL, *(plan for _, plan, _ in MAKERS)})
"""Plans of orders that are not ours."""


@dataclass
class Short:
    """An order that filled more than is booked.

    Parameters
    ----------
    filled : Decimal, what the exchange says of it, base units
    over : Event, set once its trades are booked
    """

    pair: Pair
    filled: Decimal = Decimal(0)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Books:
    """The ledger of one account at an exchange.

    Parameters
    ----------
    ledger, account, venue : where it is booked; ``venue`` is part of a fill's key
    rules : fees by pair, for a fill that comes without one
    price_of : from a pair to its newest mark, for fees that are paid in another coin
    now_ms : market time
    """

    def __init__(
        self,
        ledger: Ledger,
        account: str,
        venue: str,
        rules: dict[Pair, MarketRules],
        price_of: Callable[[Pair], Decimal | None],
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._venue = venue
        self._rules = rules
        self._price_of = price_of
        self._now_ms = now_ms
        self._told: dict[str, OrderFact] = {}
        self.live: dict[str, OrderRecord] = {order.order_id: order for order in ledger.open_orders(account)}
        """Orders that may still fill, by client id."""
        self._over: dict[str, OrderRecord] = {}
        """The last orders that ended: most of what is told of an order comes around its end."""
        self._names = {(order.pair, order.venue_order_id): order.order_id for order in self.live.values()}
        """Client ids by pair and the exchange's id, of the orders at hand."""
        self.short: dict[str, Short] = {}
        """Orders that filled more than is booked, by client id: their trades are on the way, or have to be fetched."""
        self.alarms: list[str] = []
        """What must not happen and did; a person is told, and entries stay shut until the account is found right again."""
        self.incidents: list[Incident] = []
        placed = ledger.orders(account, plan_id=EXTERNAL, limit=ALL)
        answered = ledger.cursor(account, ANSWERED) or 0
        self.foreign: set[str] = {order.order_id for order in placed[: max(0, len(placed) - answered)]}
        """Client ids of orders that another hand placed, found since so many of them last led to a halt."""
        self.changes = 0
        """How often the ledger was changed: what a second restart must leave at zero."""

    def together(self) -> AbstractContextManager[None]:
        """One transaction of the ledger for everything that is booked inside the block."""
        return self._ledger.together()

    def is_new(self, order_id: str) -> bool:
        """Whether an order is booked and has not been sent or withdrawn."""
        record = self.live.get(order_id)
        return record is not None and record.state is OrderState.NEW

    def record(self, order_id: str) -> OrderRecord | None:
        """An order as booked; None when there is none of that id."""
        return self.live.get(order_id) or self._over.get(order_id) or self._ledger.order_or_none(order_id)

    def hear(
        self, order_id: str, word: Word, reason: str = "", *, venue_id: str | None = None, ts_ms: int | None = None
    ) -> OrderRecord:
        """Move an order by a word; a word that cannot follow its state raises an alarm and moves nothing."""
        record = self.record(order_id)
        if record is None:
            record = self._ledger.order(order_id)
        try:
            state = move(record.state, word)
        except IllegalMove as error:
            self.alarm(f"order {order_id}: {error}")
            return record
        if state is record.state and venue_id in (None, record.venue_order_id):
            return record
        moved = self._ledger.move_order(
            order_id,
            state,
            ts_ms or self._now_ms(),
            reason if state is not record.state else "",
            venue_order_id=venue_id,
        )
        self.changes += 1
        self._keep(moved)
        return moved

    def of_venue(self, pair: Pair, venue_id: str) -> OrderRecord | None:
        """The booked order that has an id of the exchange's; None when none of ours is known to have it."""
        order_id = self._names.get((pair, venue_id), "")
        record = self.live.get(order_id) or self._over.get(order_id)
        return record or self._ledger.order_by_venue_id(self._account, pair, venue_id)

    def find(self, fact: OrderFact) -> OrderRecord | None:
        """The booked order that a fact speaks of; None before it is taken up."""
        return self._named(fact.client_id, fact.venue_id) or self._by_venue_id(fact)

    def take_order(self, fact: OrderFact) -> OrderRecord:
        """Fold in what the exchange says of an order, ours or not."""
        record = self.find(fact) or self._taken_up(fact)
        venue_id = fact.venue_id
        if fact.algo:  # what it turned into counts, for its trades are told under that id
            venue_id = fact.actual_id or record.venue_order_id or fact.venue_id
        if fact.filled > record.filled:
            self.short.setdefault(record.order_id, Short(fact.pair)).filled = fact.filled
            if fact.word in ENDINGS:
                self._told[record.order_id] = fact
                return self.hear(record.order_id, Word.PART_FILLED, venue_id=venue_id)
        return self.hear(record.order_id, fact.word, fact.reason, venue_id=venue_id)

    def not_booked(self, pair: Pair, facts: Sequence[FillFact]) -> list[FillFact]:
        """Those of a pair's trades that are not booked as they are told here."""
        known = self._ledger.booked_trades(self._venue, pair, [str(fact.trade_id) for fact in facts])
        return [fact for fact in facts if known.get(str(fact.trade_id)) != (fact.quantity, fact.price)]

    def take_fill(self, fact: FillFact, client_id: str | None = None) -> bool:
        """Book a trade; False when it is booked already.

        Parameters
        ----------
        client_id : str, optional
            Of its order, where the fact came with one; else the order is found by the exchange's id.

        Raises
        ------
        LookupError : no order of that id is known; take it up first
        """
        record = self._named(client_id, fact.venue_id) if client_id else None
        record = record or self.of_venue(fact.pair, fact.venue_id)
        if record is None:
            raise LookupError(fact.venue_id)
        fee, note = self._fee(fact)
        fill = Fill(
            venue=self._venue,
            pair=fact.pair,
            trade_id=str(fact.trade_id),
            order_id=record.order_id,
            account=self._account,
            side=fact.side,
            quantity=fact.quantity,
            price=fact.price,
            fee=fee,
            maker=fact.maker,
            event_ms=fact.ts_ms,
            reason=f"{record.reason}{note}",
        )
        full = record.filled + fact.quantity >= record.quantity
        if record.filled + fact.quantity > record.quantity:
            if not self.not_booked(fact.pair, [fact]):
                return False
            self.alarm(f"order {record.order_id} of {record.quantity} filled {record.filled + fact.quantity}")
        incident = self._incident(record, fill)
        if incident is not None and self.not_booked(fact.pair, [fact]):
            forbid(self._ledger, self._account, incident, self._now_ms())
        try:
            state = move(record.state, Word.FILLED if full else Word.PART_FILLED)
        except IllegalMove as error:
            self.alarm(f"order {record.order_id}: {error}")
            state = record.state
        if not self._ledger.record_fill(fill, state, realised=fact.realised):
            return False
        self.changes += 1
        logger.info(
            "filled {} {} {} at {} ({})", fill.side.name.lower(), fill.quantity, fill.pair, fill.price, fill.reason
        )
        booked = self._ledger.order(record.order_id)
        self._keep(booked)
        short = self.short.get(record.order_id)
        if short is not None and booked.filled >= short.filled:
            self.short.pop(record.order_id).over.set()
        self._end(record.order_id)
        if incident is not None:
            self.incidents.append(incident)
        return True

    def short_of(self, pair: Pair) -> list[str]:
        """Client ids of the pair's orders whose trades are not all booked."""
        return [order_id for order_id, short in self.short.items() if short.pair == pair]

    def all_read(self, order_ids: Sequence[str]) -> None:
        """Every trade that the exchange has of these orders is booked: none of them waits for one any more."""
        for order_id in order_ids:
            short = self.short.pop(order_id, None)
            if short is not None:
                short.over.set()

    def incur(self, incident: Incident) -> None:
        """Book what an incident forbids, and leave the rest of the answer to the guard."""
        forbid(self._ledger, self._account, incident, self._now_ms())
        self.incidents.append(incident)

    def answer_foreign(self) -> None:
        """Count orders of other hands anew: those found so far have led to a halt."""
        placed = self._ledger.orders(self._account, plan_id=EXTERNAL, limit=ALL)
        self._ledger.set_cursor(self._account, ANSWERED, len(placed))
        self.foreign.clear()

    def alarm(self, words: str) -> None:
        """Keep and tell what must not happen."""
        logger.error("{}", words)
        self.alarms.append(words)

    def _end(self, order_id: str) -> None:
        """End an order whose last fills have come in."""
        told, record = self._told.get(order_id), self.record(order_id)
        if told is None or record is None or record.filled < told.filled:
            return
        del self._told[order_id]
        self.hear(order_id, told.word, told.reason)

    def _keep(self, record: OrderRecord) -> None:
        before = self.live.get(record.order_id)
        if before is None or before.venue_order_id != record.venue_order_id:  # a stop that turned into an order has two
            self._forget(before)
            self._names[record.pair, record.venue_order_id] = record.order_id
        if record.state not in DONE:
            self.live[record.order_id] = record
            return
        self.live.pop(record.order_id, None)
        self._told.pop(record.order_id, None)
        self._over[record.order_id] = record
        if len(self._over) > KEPT:
            self._forget(self._over.pop(next(iter(self._over))))

    def _forget(self, record: OrderRecord | None) -> None:
        """Drop the exchange's id of an order that is not at hand any more, or has another id now."""
        if record is not None and self._names.get((record.pair, record.venue_order_id)) == record.order_id:
            del self._names[record.pair, record.venue_order_id]

    def _named(self, client_id: str, venue_id: str) -> OrderRecord | None:
        """An order by its client id.

        Only our own ids never return: each deleveraging is called ``adl_autoclose``, and another program may use a name again
        once its order has ended. Of those, the same name under another id of the exchange is another order.
        """
        record = self.record(client_id)
        if record is None or record.kind == "stop" or record.plan_id not in OTHERS:
            return record
        return record if record.account == self._account and record.venue_order_id in (None, venue_id) else None

    def _by_venue_id(self, fact: OrderFact) -> OrderRecord | None:
        """A stop of ours that turned into an order under another client id."""
        return None if fact.algo else self.of_venue(fact.pair, fact.venue_id)

    def _taken_up(self, fact: OrderFact) -> OrderRecord:
        """Book an order that is not in the books, under who made it: a stop of ours where they were lost, or another hand."""
        plan, kind = next(
            ((plan, kind) for beginning, plan, kind in MAKERS if fact.client_id.startswith(beginning)),
            (EXTERNAL, IncidentKind.EXTERNAL),
        )
        own = fact.algo and fact.client_id.startswith(OWN)
        if own:
            plan = STOP_PLAN
        taken = self.record(fact.client_id) is not None
        record = OrderRecord(
            order_id=f"{fact.client_id}-{fact.venue_id}" if taken else fact.client_id,
            plan_id=plan,
            account=self._account,
            pair=fact.pair,
            side=fact.side,
            quantity=fact.quantity,
            kind=fact.kind,
            state=OrderState.OPEN,
            created_ms=fact.ts_ms,
            updated_ms=fact.ts_ms,
            reduce_only=fact.reduce_only,
            limit_price=fact.limit_price,
            stop_price=fact.stop_price,
            reason="protective stop of lost books" if own else f"{kind.value}: not an order of ours",
            venue_order_id=fact.venue_id,
        )
        if self._ledger.record_order(record):
            self.changes += 1
            logger.warning("order {} on {} is taken up: {}", record.order_id, fact.pair, record.reason)
        if plan == EXTERNAL:
            self.foreign.add(record.order_id)
        self._keep(record)
        return record

    def _incident(self, record: OrderRecord, fill: Fill) -> Incident | None:
        """What a fill tells was done to the account; None for one of ours."""
        kinds = {plan: kind for _, plan, kind in MAKERS} | {EXTERNAL: IncidentKind.EXTERNAL}
        kind = kinds.get(record.plan_id)
        if kind is None:
            return None
        words = f"{kind.value}: {fill.side.name.lower()} {fill.quantity:f} {fill.pair} at {fill.price:f}"
        return Incident(kind, fill.pair, words)

    def _fee(self, fact: FillFact) -> tuple[Decimal, str]:
        """The fee in USDT; one in another coin is converted, one that is missing is estimated and says so."""
        rules = self._rules.get(fact.pair)
        rate = Decimal(0) if rules is None else rules.maker_fee if fact.maker else rules.taker_fee
        estimate = fact.quantity * fact.price * rate
        if fact.fee is None:
            return estimate, " (fee estimated: none was told)"
        if fact.fee_asset in ("", QUOTE) or not fact.fee:
            return fact.fee, ""
        price = self._price_of(Pair(f"{fact.fee_asset}{QUOTE}"))
        if price is None:
            return estimate, f" (fee estimated: no price of {fact.fee_asset})"
        return fact.fee * price, f" (fee was {fact.fee} {fact.fee_asset})"
