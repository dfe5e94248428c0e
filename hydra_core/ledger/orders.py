"""Orders, fills, positions and funding: what the trader books, each in one transaction with a key.

Which move of an order is allowed is the table in ``execution``; here the new state is written down as told.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from hydra_core.domain.errors import HydraError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Position, Side
from hydra_core.ledger import schema
from hydra_core.ledger.accounting import apply_fill
from hydra_core.ledger.accounts import position_of, positions_of
from hydra_core.ledger.book import Book, account_row
from hydra_core.ledger.engine import insert_once, upsert
from hydra_core.ledger.records import ENDED, BookedFill, FundingPayment, OrderEvent, OrderRecord

_ORDER = schema.trade_order
_FILL = schema.fill
_ENDED = tuple(state.value for state in ENDED)


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

        Filled quantity and average price follow from :meth:`record_fill`, never from here.

        Raises
        ------
        HydraError : there is no such order
        """
        with self._writing() as connection:
            row = _order_row(connection, order_id)
            changes: dict[str, Any] = {}
            if venue_order_id is not None and venue_order_id != row["venue_order_id"]:
                changes["venue_order_id"] = venue_order_id
            if row["state"] != state.value:
                changes["state"] = state.value
                _event(connection, order_id, row["state"], state.value, reason, ts_ms)
                if reason:
                    changes["reason"] = reason
            if changes:
                changes["updated_ms"] = ts_ms
                connection.execute(sa.update(_ORDER).where(_ORDER.c.order_id == order_id).values(**changes))
            return _order({**row, **changes})

    def record_fill(self, fill: Fill, order_state: OrderState | None = None) -> bool:
        """Book a fill: position, cash, and its order's filled quantity, average price and (if given) state.

        Returns False, and changes nothing, when (venue, pair, trade id) was booked already.

        Raises
        ------
        HydraError : no such account, a quantity or price that is not positive, or the same key with other numbers
        """
        with self._writing() as connection:
            account = account_row(connection, fill.account, lock=True)
            key = (_FILL.c.venue == fill.venue, _FILL.c.pair == fill.pair, _FILL.c.trade_id == fill.trade_id)
            earlier = connection.execute(sa.select(_FILL).where(*key)).mappings().first()
            if earlier is not None:
                if (earlier["account"], earlier["side"], earlier["quantity"], earlier["price"]) != (
                    fill.account, int(fill.side), fill.quantity, fill.price,
                ):  # fmt: skip
                    raise HydraError(f"fill {fill.venue} {fill.pair} {fill.trade_id} was booked with other numbers")
                return False
            held = _position_row(connection, fill.account, fill.pair)
            booked = apply_fill(position_of(held) if held is not None else None, fill)
            after = booked.position.quantity if booked.position is not None else Decimal(0)
            values = {name: getattr(fill, name) for name in Fill.__dataclass_fields__}
            values |= {"side": int(fill.side), "realised": booked.realised, "position_after": after}
            connection.execute(sa.insert(_FILL).values(**values))
            _save_position(connection, fill.account, fill.pair, booked.position)
            changes = {
                "cash": account["cash"] + booked.cash_change,
                "realised": account["realised"] + booked.realised,
                "fees": account["fees"] + fill.fee,
            }
            connection.execute(sa.update(schema.account).where(schema.account.c.name == fill.account).values(**changes))
            _fill_order(connection, fill, order_state)
            return True

    def record_funding(self, payment: FundingPayment) -> bool:
        """Book a settlement and move cash by its amount; False when (account, pair, settlement) was booked already."""
        with self._writing() as connection:
            account = account_row(connection, payment.account, lock=True)
            values = {name: getattr(payment, name) for name in FundingPayment.__dataclass_fields__}
            if not insert_once(connection, schema.funding_payment, values):
                return False
            changes = {"cash": account["cash"] + payment.amount, "funding": account["funding"] + payment.amount}
            where = schema.account.c.name == payment.account
            connection.execute(sa.update(schema.account).where(where).values(**changes))
            return True

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

    def order(self, order_id: str) -> OrderRecord:
        """One order; raises HydraError when there is none of that id."""
        with self._reading() as connection:
            return _order(_order_row(connection, order_id))

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
        self, account: str, *, since_ms: int = 0, order_id: str | None = None, limit: int = 1_000
    ) -> list[BookedFill]:
        """Fills of an account from a market time on, newest first."""
        query = sa.select(_FILL).where(_FILL.c.account == account, _FILL.c.event_ms >= since_ms)
        if order_id is not None:
            query = query.where(_FILL.c.order_id == order_id)
        return [
            _booked(row)
            for row in self._rows(query.order_by(_FILL.c.event_ms.desc(), _FILL.c.trade_id.desc()).limit(limit))
        ]

    def funding_payments(self, account: str, *, since_ms: int = 0, limit: int = 1_000) -> list[FundingPayment]:
        """Funding settlements of an account, newest first."""
        table = schema.funding_payment
        query = sa.select(table).where(table.c.account == account, table.c.settlement_ms >= since_ms)
        rows = self._rows(query.order_by(table.c.settlement_ms.desc(), table.c.pair).limit(limit))
        return [FundingPayment(**{**row, "pair": Pair(row["pair"])}) for row in rows]


def _order_row(connection: Connection, order_id: str) -> RowMapping:
    row = connection.execute(sa.select(_ORDER).where(_ORDER.c.order_id == order_id)).mappings().first()
    if row is None:
        raise HydraError(f"the ledger has no order {order_id!r}", "`hydra portfolio trades` lists the orders of fills")
    return row


def _position_row(connection: Connection, account: str, pair: Pair) -> RowMapping | None:
    table = schema.position
    query = sa.select(table).where(table.c.account == account, table.c.pair == pair)
    return connection.execute(query).mappings().first()


def _save_position(connection: Connection, account: str, pair: Pair, position: Position | None) -> None:
    table = schema.position
    if position is None:
        connection.execute(sa.delete(table).where(table.c.account == account, table.c.pair == pair))
        return
    values = {name: getattr(position, name) for name in Position.__dataclass_fields__}
    upsert(connection, table, {"account": account, **values})


def _fill_order(connection: Connection, fill: Fill, state: OrderState | None) -> None:
    """Add a fill to its order; a fill of an order that is not ours (made by hand at the exchange) has none."""
    row = connection.execute(sa.select(_ORDER).where(_ORDER.c.order_id == fill.order_id)).mappings().first()
    if row is None:
        return
    filled = row["filled"] + fill.quantity
    spent = (row["avg_price"] or Decimal(0)) * row["filled"] + fill.price * fill.quantity
    changes: dict[str, Any] = {"filled": filled, "avg_price": spent / filled, "updated_ms": fill.event_ms}
    if state is not None and row["state"] != state.value:
        changes["state"] = state.value
        _event(connection, fill.order_id, row["state"], state.value, f"fill {fill.trade_id}", fill.event_ms)
    connection.execute(sa.update(_ORDER).where(_ORDER.c.order_id == fill.order_id).values(**changes))


def _event(connection: Connection, order_id: str, from_state: str, to_state: str, reason: str, ts_ms: int) -> None:
    values = {"order_id": order_id, "from_state": from_state, "to_state": to_state, "reason": reason, "ts_ms": ts_ms}
    connection.execute(sa.insert(schema.order_event).values(**values))


def _order(row: RowMapping | dict[str, Any]) -> OrderRecord:
    values = {name: row[name] for name in OrderRecord.__dataclass_fields__}
    values |= {"pair": Pair(row["pair"]), "side": Side(row["side"]), "state": OrderState(row["state"])}
    return OrderRecord(**values)


def _booked(row: RowMapping) -> BookedFill:
    values = {name: row[name] for name in Fill.__dataclass_fields__}
    values |= {"pair": Pair(row["pair"]), "side": Side(row["side"])}
    return BookedFill(Fill(**values), row["realised"], row["position_after"])
