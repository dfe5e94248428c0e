"""Orders, fills, positions and funding: what the trader books, each in one transaction with a key.

Which move of an order is allowed is the table in ``execution``; here the new state is written down as told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from hydra_core.domain.errors import HydraError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Position, Side
from hydra_core.ledger import schema
from hydra_core.ledger.accounting import apply_fill, exact
from hydra_core.ledger.accounts import account_of, position_of, positions_of
from hydra_core.ledger.book import Book, account_row
from hydra_core.ledger.changes import order_filled, order_moved, worth_moved
from hydra_core.ledger.engine import insert_once, upsert
from hydra_core.ledger.journal import CASH, contract_move, post
from hydra_core.ledger.records import ENDED, BookedFill, CashEntry, FundingPayment, OrderEvent, OrderRecord

_ORDER = schema.trade_order
_FILL = schema.fill
_ENDED = tuple(state.value for state in ENDED)
# Statements of every order and fill, built once: building one takes longer than running it.
_ORDER_OF_ID = sa.select(_ORDER).where(_ORDER.c.order_id == sa.bindparam("id"))
_ORDER_OF_VENUE = sa.select(_ORDER).where(
    _ORDER.c.account == sa.bindparam("account"),
    _ORDER.c.pair == sa.bindparam("pair"),
    _ORDER.c.venue_order_id == sa.bindparam("id"),
)
_CHANGE_ORDER = sa.update(_ORDER).where(_ORDER.c.order_id == sa.bindparam("id"))
_FILL_OF_KEY = sa.select(_FILL).where(
    _FILL.c.venue == sa.bindparam("venue"),
    _FILL.c.pair == sa.bindparam("pair"),
    _FILL.c.trade_id == sa.bindparam("trade_id"),
)
_BOOKED_TRADES = sa.select(_FILL.c.trade_id, _FILL.c.quantity, _FILL.c.price).where(
    _FILL.c.venue == sa.bindparam("venue"),
    _FILL.c.pair == sa.bindparam("pair"),
    _FILL.c.trade_id.in_(sa.bindparam("ids", expanding=True)),
)
_AT_ONCE = 500
_POSITION = sa.select(schema.position).where(
    schema.position.c.account == sa.bindparam("account"), schema.position.c.pair == sa.bindparam("pair")
)
_END_POSITION = sa.delete(schema.position).where(
    schema.position.c.account == sa.bindparam("account"), schema.position.c.pair == sa.bindparam("pair")
)
_CHANGE_ACCOUNT = sa.update(schema.account).where(schema.account.c.name == sa.bindparam("account"))
_CURSOR = sa.select(schema.cursor.c.value).where(
    schema.cursor.c.account == sa.bindparam("account"), schema.cursor.c.name == sa.bindparam("cursor")
)
_INSERT_FILL = sa.insert(_FILL)
_INSERT_EVENT = sa.insert(schema.order_event)


class OrderBook(Book):
    """Orders, fills, positions, funding; written by the trader alone."""

    def record_order(self, order: OrderRecord) -> bool:
        """Book an order before it is sent; False when its id is known already (nothing changes then)."""
        with self._writing() as connection:
            values = {name: getattr(order, name) for name in OrderRecord.__dataclass_fields__}
            values |= {"side": int(order.side), "state": order.state.value}
            if not insert_once(connection, _ORDER, values):
                return False
            _event(connection, order.order_id, "", order.state.value, order.reason, order.created_ms)
            return True

    def move_order(
        self,
        order_id: str,
        state: OrderState,
        ts_ms: int,
        reason: str = "",
        *,
        venue_order_id: str | None = None,
    ) -> OrderRecord:
        """Write down an order's new state and keep the move in its history; the same state again changes nothing.

        ``reason`` goes into the history; the order itself keeps why it was made until it ends, then why it did.

        Filled quantity and average price follow from :meth:`record_fill`, never from here.

        Raises
        ------
        HydraError : there is no such order
        """
        with self._writing() as connection:
            order = _order(_order_row(connection, order_id))
            changes = order_moved(order, state, ts_ms, reason, venue_order_id)
            if "state" in changes:
                _event(connection, order_id, order.state.value, state.value, reason, ts_ms)
            _change(connection, order_id, changes)
            return replace(order, **changes)

    def record_fill(
        self, fill: Fill, order_state: OrderState | None = None, *, realised: Decimal | None = None
    ) -> bool:
        """Book a fill: position, cash, and its order's filled quantity, average price and (if given) state.

        ``realised`` is the profit that an exchange states for it, to its own rounding; left out, it is worked out.

        Returns False, and changes nothing, when (venue, pair, trade id) was booked already.

        Raises
        ------
        HydraError : no such account, a quantity or price that is not positive, or the same key with other numbers
        """
        with self._writing() as connection:
            account = account_row(connection, fill.account, lock=True)
            key = {"venue": fill.venue, "pair": fill.pair, "trade_id": fill.trade_id}
            earlier = connection.execute(_FILL_OF_KEY, key).mappings().first()
            if earlier is not None:
                if (earlier["account"], earlier["side"], earlier["quantity"], earlier["price"]) != (
                    fill.account, int(fill.side), fill.quantity, fill.price,
                ):  # fmt: skip
                    raise HydraError(f"fill {fill.venue} {fill.pair} {fill.trade_id} was booked with other numbers")
                return False
            row = _position_row(connection, fill.account, fill.pair)
            held = position_of(row) if row is not None else None
            booked = apply_fill(held, fill, realised)
            after = booked.position.quantity if booked.position is not None else Decimal(0)
            values = {name: getattr(fill, name) for name in Fill.__dataclass_fields__}
            values |= {"side": int(fill.side), "realised": booked.realised, "position_after": after}
            connection.execute(_INSERT_FILL, values)
            _save_position(connection, fill.account, fill.pair, booked.position)
            with exact():
                changes = {
                    "cash": account["cash"] + booked.cash_change,
                    "realised": account["realised"] + booked.realised,
                    "fees": account["fees"] + fill.fee,
                }
            connection.execute(_CHANGE_ACCOUNT, {"account": fill.account, **changes})
            post(
                connection, fill.account, f"fill/{fill.venue}/{fill.pair}/{fill.trade_id}", fill.event_ms,
                ("fees", CASH, fill.fee), (CASH, "realised", booked.realised),
                contract_move(fill.pair, held, booked.position),
            )  # fmt: skip
            _fill_order(connection, fill, order_state)
            return True

    def record_funding(self, payment: FundingPayment) -> bool:
        """Book a settlement and move cash by its amount; False when (account, pair, settlement) was booked already."""
        with self._writing() as connection, exact():
            account = account_row(connection, payment.account, lock=True)
            values = {name: getattr(payment, name) for name in FundingPayment.__dataclass_fields__}
            if not insert_once(connection, schema.funding_payment, values):
                return False
            changes = {"cash": account["cash"] + payment.amount, "funding": account["funding"] + payment.amount}
            where = schema.account.c.name == payment.account
            connection.execute(sa.update(schema.account).where(where).values(**changes))
            event = f"funding/{payment.pair}/{payment.settlement_ms}"
            post(connection, payment.account, event, payment.settlement_ms, (CASH, "funding", payment.amount))
            return True

    def record_cash(self, entry: CashEntry) -> bool:
        """Book cash that moved without a trade; False when (account, entry id) was booked already."""
        with self._writing() as connection, exact():
            account = account_row(connection, entry.account, lock=True)
            values = {name: getattr(entry, name) for name in CashEntry.__dataclass_fields__}
            if not insert_once(connection, schema.cash_entry, values):
                return False
            changes = {"cash": account["cash"] + entry.amount, "other": account["other"] + entry.amount}
            if entry.by_hand:
                changes |= worth_moved(account_of(account), entry.amount)
            where = schema.account.c.name == entry.account
            connection.execute(sa.update(schema.account).where(where).values(**changes))
            post(connection, entry.account, f"cash/{entry.entry_id}", entry.ts_ms, (CASH, "other", entry.amount))
            return True

    def cash_entries(self, account: str, *, since_ms: int = 0) -> list[CashEntry]:
        """Cash of an account that moved without a trade, oldest first."""
        table = schema.cash_entry
        query = sa.select(table).where(table.c.account == account, table.c.ts_ms >= since_ms)
        return [CashEntry(**row) for row in self._rows(query.order_by(table.c.ts_ms, table.c.entry_id))]

    def cursor(self, account: str, name: str) -> int | None:
        """How far a list of the exchange's was read; None before the first reading."""
        rows = self._rows(_CURSOR, {"account": account, "cursor": name})
        return next((int(row["value"]) for row in rows), None)

    def set_cursor(self, account: str, name: str, value: int) -> None:
        """Note how far a list of the exchange's was read; call it after what was read is booked."""
        with self._writing() as connection:
            upsert(connection, schema.cursor, {"account": account, "name": name, "value": value})

    def set_stop(self, account: str, pair: Pair, stop_price: Decimal | None) -> bool:
        """Set or clear the protective stop of an open position; False when there is no position."""
        table = schema.position
        with self._writing() as connection:
            where = (table.c.account == account, table.c.pair == pair)
            return connection.execute(sa.update(table).where(*where).values(stop_price=stop_price)).rowcount == 1

    def positions(self, account: str) -> dict[Pair, Position]:
        """Open positions by pair."""
        with self._reading() as connection:
            account_row(connection, account)
            return positions_of(connection, account)

    def position(self, account: str, pair: Pair) -> Position | None:
        """The open position of a pair, None when there is none."""
        with self._reading() as connection:
            row = _position_row(connection, account, pair)
        return None if row is None else position_of(row)

    def order(self, order_id: str) -> OrderRecord:
        """One order; raises HydraError when there is none of that id."""
        with self._reading() as connection:
            return _order(_order_row(connection, order_id))

    def order_or_none(self, order_id: str) -> OrderRecord | None:
        """One order by its id, None when it is not ours."""
        return next((_order(row) for row in self._rows(_ORDER_OF_ID, {"id": order_id})), None)

    def order_by_venue_id(self, account: str, pair: Pair, venue_order_id: str) -> OrderRecord | None:
        """One order by the exchange's own id, None when none of ours is known to have it."""
        key = {"account": account, "pair": pair, "id": venue_order_id}
        return next((_order(row) for row in self._rows(_ORDER_OF_VENUE, key)), None)

    def orders(
        self,
        account: str,
        *,
        plan_id: str | None = None,
        states: Iterable[OrderState] | None = None,
        limit: int = 1_000,
    ) -> list[OrderRecord]:
        """Orders of an account, newest first."""
        query = sa.select(_ORDER).where(_ORDER.c.account == account)
        if plan_id is not None:
            query = query.where(_ORDER.c.plan_id == plan_id)
        if states is not None:
            query = query.where(_ORDER.c.state.in_([state.value for state in states]))
        query = query.order_by(_ORDER.c.created_ms.desc(), _ORDER.c.order_id.desc()).limit(limit)
        return [_order(row) for row in self._rows(query)]

    def open_orders(self, account: str) -> list[OrderRecord]:
        """Orders that may still fill (UNKNOWN included), oldest first."""
        query = sa.select(_ORDER).where(_ORDER.c.account == account, _ORDER.c.state.not_in(_ENDED))
        return [_order(row) for row in self._rows(query.order_by(_ORDER.c.created_ms, _ORDER.c.order_id))]

    def order_history(self, order_id: str) -> list[OrderEvent]:
        """The order's moves, oldest first."""
        table = schema.order_event
        query = sa.select(table).where(table.c.order_id == order_id).order_by(table.c.id)
        return [
            OrderEvent(row["order_id"], row["from_state"], row["to_state"], row["reason"], row["ts_ms"])
            for row in self._rows(query)
        ]

    def fills(
        self,
        account: str,
        *,
        since_ms: int = 0,
        order_id: str | None = None,
        pair: Pair | None = None,
        venue_trades: bool = False,
        limit: int = 1_000,
    ) -> list[BookedFill]:
        """Fills of an account from a market time on, newest first; ``venue_trades`` leaves adjustments out."""
        if order_id is not None:  # by that alone: SQLite would look through all of the account's instead
            query = sa.select(_FILL).where(_FILL.c.order_id == order_id)
            query = query.where(_FILL.c.event_ms >= since_ms) if since_ms else query
        else:
            query = sa.select(_FILL).where(_FILL.c.account == account, _FILL.c.event_ms >= since_ms)
        if pair is not None:
            query = query.where(_FILL.c.pair == pair)
        if venue_trades:
            query = query.where(_FILL.c.order_id != "")
        return [
            _booked(row)
            for row in self._rows(query.order_by(_FILL.c.event_ms.desc(), _FILL.c.trade_id.desc()).limit(limit))
            if row["account"] == account
        ]

    def booked_trades(self, venue: str, pair: Pair, trade_ids: Sequence[str]) -> dict[str, tuple[Decimal, Decimal]]:
        """Quantity and price of those of an exchange's trades of a pair that are booked, by number."""
        rows: list[RowMapping] = []
        for first in range(0, len(trade_ids), _AT_ONCE):
            ids = list(trade_ids[first : first + _AT_ONCE])
            rows += self._rows(_BOOKED_TRADES, {"venue": venue, "pair": pair, "ids": ids})
        return {row["trade_id"]: (row["quantity"], row["price"]) for row in rows}

    def turnover(self, account: str, since_ms: int) -> Decimal:
        """Notional (USDT) that an account traded from a market time on."""
        query = sa.select(_FILL.c.quantity, _FILL.c.price).where(
            _FILL.c.account == account, _FILL.c.event_ms >= since_ms
        )
        return sum((row["quantity"] * row["price"] for row in self._rows(query)), Decimal(0))

    def quantity_at(self, account: str, pair: Pair, ts_ms: int) -> Decimal:
        """Signed position as it stood at a market time: today's less what was filled since."""
        held = self.position(account, pair)
        quantity = held.quantity if held is not None else Decimal(0)
        where = (_FILL.c.account == account, _FILL.c.pair == pair, _FILL.c.event_ms >= ts_ms)
        later = self._rows(sa.select(_FILL.c.quantity, _FILL.c.side).where(*where))
        return quantity - sum((row["quantity"] * row["side"] for row in later), Decimal(0))

    def funding_payments(self, account: str, *, since_ms: int = 0, limit: int = 1_000) -> list[FundingPayment]:
        """Funding settlements of an account, newest first."""
        table = schema.funding_payment
        query = sa.select(table).where(table.c.account == account, table.c.settlement_ms >= since_ms)
        rows = self._rows(query.order_by(table.c.settlement_ms.desc(), table.c.pair).limit(limit))
        return [FundingPayment(**{**row, "pair": Pair(row["pair"])}) for row in rows]


def _order_row(connection: Connection, order_id: str) -> RowMapping:
    row = connection.execute(_ORDER_OF_ID, {"id": order_id}).mappings().first()
    if row is None:
        raise HydraError(f"the ledger has no order {order_id!r}", "`hydra portfolio trades` lists the orders of fills")
    return row


def _position_row(connection: Connection, account: str, pair: Pair) -> RowMapping | None:
    return connection.execute(_POSITION, {"account": account, "pair": pair}).mappings().first()


def _save_position(connection: Connection, account: str, pair: Pair, position: Position | None) -> None:
    if position is None:
        connection.execute(_END_POSITION, {"account": account, "pair": pair})
        return
    values = {name: getattr(position, name) for name in Position.__dataclass_fields__}
    upsert(connection, schema.position, {"account": account, **values})


def _fill_order(connection: Connection, fill: Fill, state: OrderState | None) -> None:
    """Add a fill to its order; a fill of an order that is not ours (made by hand at the exchange) has none."""
    row = connection.execute(_ORDER_OF_ID, {"id": fill.order_id}).mappings().first()
    if row is None:
        return
    order = _order(row)
    changes = order_filled(order, fill, state)
    if "state" in changes:
        _event(connection, fill.order_id, row["state"], changes["state"].value, f"fill {fill.trade_id}", fill.event_ms)
    _change(connection, fill.order_id, changes)


def _change(connection: Connection, order_id: str, changes: Mapping[str, Any]) -> None:
    if not changes:
        return
    values = {name: value.value if name == "state" else value for name, value in changes.items()}
    connection.execute(_CHANGE_ORDER, {"id": order_id, **values})


def _event(connection: Connection, order_id: str, from_state: str, to_state: str, reason: str, ts_ms: int) -> None:
    values = {"order_id": order_id, "from_state": from_state, "to_state": to_state, "reason": reason, "ts_ms": ts_ms}
    connection.execute(_INSERT_EVENT, values)


def _order(row: RowMapping | dict[str, Any]) -> OrderRecord:
    values = {name: row[name] for name in OrderRecord.__dataclass_fields__}
    values |= {"pair": Pair(row["pair"]), "side": Side(row["side"]), "state": OrderState(row["state"])}
    return OrderRecord(**values)


def _booked(row: RowMapping) -> BookedFill:
    values = {name: row[name] for name in Fill.__dataclass_fields__}
    values |= {"pair": Pair(row["pair"]), "side": Side(row["side"])}
    return BookedFill(Fill(**values), row["realised"], row["position_after"])
