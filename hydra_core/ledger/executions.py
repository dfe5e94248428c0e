"""Executions: targets being worked, kept so that a restart goes on with the same schedule, and what came of them.

Not here: orders and fills (``orders``), how an execution is worked (``trader.desk``).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Schedule, Target
from hydra_core.ledger import codec, schema
from hydra_core.ledger.book import Book
from hydra_core.ledger.engine import upsert
from hydra_core.ledger.records import Execution

_TABLE = schema.execution
_OF_PLAN = sa.select(_TABLE).where(_TABLE.c.plan_id == sa.bindparam("plan"))
_END = sa.update(_TABLE).where(
    _TABLE.c.plan_id == sa.bindparam("plan"), _TABLE.c.pair == sa.bindparam("of"), _TABLE.c.ended_ms.is_(None)
)


class ExecutionBook(Book):
    """Executions; written by the trader alone."""

    def record_executions(self, standing: Iterable[Execution], ended: Iterable[Execution] = ()) -> None:
        """Book what is being worked from now on, and what is not any more, in one transaction.

        One that is booked already takes the new target (its stop, its reason) and expiry and keeps how it began.
        """
        begun, over = list(standing), list(ended)
        if not begun and not over:
            return
        with self._writing() as connection:
            upsert(connection, _TABLE, *(_values(one) for one in begun))
            if over:
                connection.execute(_END, [_ending(one) for one in over])

    def end_executions(self, ended: Iterable[Execution]) -> None:
        """Note that executions are worked no more; one that ended before keeps its first reason."""
        self.record_executions((), ended)

    def open_executions(self, account: str, now_ms: int) -> list[Execution]:
        """Executions that are neither ended nor expired at market time ``now_ms``, oldest first."""
        where = (_TABLE.c.account == account, _TABLE.c.ended_ms.is_(None), _TABLE.c.expires_ms > now_ms)
        query = sa.select(_TABLE).where(*where).order_by(_TABLE.c.arrival_ms, _TABLE.c.plan_id, _TABLE.c.pair)
        return [_execution(row) for row in self._rows(query)]

    def plan_executions(self, plan_id: str) -> dict[Pair, Execution]:
        """The executions that began with a plan, by pair."""
        found = (_execution(row) for row in self._rows(_OF_PLAN, {"plan": plan_id}))
        return {one.pair: one for one in found}

    def executions_until(self, account: str, expires_ms: int) -> dict[Pair, Execution]:
        """The newest execution of each pair that was to be worked until a market time: what a plan began or went on with."""
        where = (_TABLE.c.account == account, _TABLE.c.expires_ms == expires_ms)
        found = (_execution(row) for row in self._rows(sa.select(_TABLE).where(*where).order_by(_TABLE.c.arrival_ms)))
        return {one.pair: one for one in found}

    def execution(self, plan_id: str, pair: Pair) -> Execution | None:
        """The execution of one pair that began with a plan; None when there is none."""
        query = sa.select(_TABLE).where(_TABLE.c.plan_id == plan_id, _TABLE.c.pair == pair)
        return next((_execution(row) for row in self._rows(query)), None)

    def executions(self, account: str, *, since_ms: int = 0, limit: int = 1_000) -> list[Execution]:
        """Executions of an account taken up from a market time on, newest first."""
        query = sa.select(_TABLE).where(_TABLE.c.account == account, _TABLE.c.arrival_ms >= since_ms)
        query = query.order_by(_TABLE.c.arrival_ms.desc(), _TABLE.c.plan_id, _TABLE.c.pair).limit(limit)
        return [_execution(row) for row in self._rows(query)]

    def executed(self, plan_id: str, pair: Pair) -> list[tuple[Decimal, Decimal, Decimal]]:
        """Fills of an execution's orders: signed quantity, price and fee, oldest first."""
        fill, order = schema.fill, schema.trade_order
        query = (
            sa.select(fill.c.side, fill.c.quantity, fill.c.price, fill.c.fee)
            .join(order, order.c.order_id == fill.c.order_id)
            .where(order.c.plan_id == plan_id, order.c.pair == pair)
            .order_by(fill.c.event_ms, fill.c.trade_id)
        )
        return [(row["quantity"] * row["side"], row["price"], row["fee"]) for row in self._rows(query)]


def _values(one: Execution) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in Execution.__dataclass_fields__}
    return {
        **values, "pair": one.pair, "target": codec.dumps(one.target), "schedule": codec.dumps(one.schedule),
    }  # fmt: skip


def _ending(one: Execution) -> dict[str, Any]:
    key = {"plan": one.plan_id, "of": one.pair}
    return key | {"ended_ms": one.ended_ms, "end_price": one.end_price, "end_reason": one.end_reason}


def _execution(row: RowMapping) -> Execution:
    values = {name: row[name] for name in Execution.__dataclass_fields__}
    values |= {
        "target": codec.loads(Target, row["target"]),
        "schedule": codec.loads(Schedule, row["schedule"]),
    }
    return Execution(**values)
