"""How long the ledger keeps what: decisions for a window in which they can be replayed, money for ever.

Deleted once older than the window: decisions without an order, plans that nothing was traded by, missed points; equity
points are thinned to the last of each hour. Never deleted: accounts, orders and their moves, fills, funding, cash, the
journal, positions, executions, latches, commands, each account's newest decision, and every decision behind an order
(``hydra audit`` answers for any order). What replay needs inside the window stays whole: the decision, its inputs and the
texts (settings, market rules) that they name. A text that no kept decision names goes while no window holds a lease: a
window keeps its texts before the first decision that names them.

Deleting goes in short transactions, so that a running trader never waits long; interrupted, the rest is deleted next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.engine import Connection, Engine

from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.ledger import schema
from hydra_core.ledger.engine import open_engine, prepare_schema, reading, writing

KEEP_DAYS: Final = 90
"""Days of market time that decisions are kept by default; a decision of 8 pairs takes about 7 kB."""
LEAST_DAYS: Final = 1
"""The day in progress is never cut: its start of equity and its plans are in use."""
TEXT_KEYS: Final = ("rules_blob", "limits_blob")
"""Where a decision's inputs name the texts that it was made with."""
BATCH: Final = 400

_DECISION, _PLAN = schema.decision, schema.plan
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows deleted (or, on a dry run, that would be), by table."""

    before_ms: int
    rows: dict[str, int]


def prune(url: str, before_ms: int, *, dry: bool = False, progress: Progress | None = None) -> Pruned:
    """Delete what is older than a market time and not worth keeping.

    Parameters
    ----------
    before_ms : int, market time
    dry : bool, count only
    progress : called with table and rows deleted so far
    """
    engine = open_engine(url)
    try:
        prepare_schema(engine, migrate=False)
        rows = {table.name: _delete(engine, table, condition, dry, progress) for table, condition in _stale(before_ms)}
        rows["blob"] = _delete_texts(engine, dry)
        return Pruned(before_ms, rows)
    finally:
        engine.dispose()


def window_start(now_ms: int, days: int) -> int:
    """Market time before which nothing needs to be kept."""
    return now_ms - days * DAY_MS


def _stale(before_ms: int) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Tables in the order in which they are pruned, each with what goes."""
    order, execution = schema.trade_order, schema.execution
    ordered = sa.select(order.c.plan_id).where(order.c.plan_id == _DECISION.c.plan_id).exists()
    worked = sa.select(execution.c.plan_id).where(execution.c.plan_id == _DECISION.c.plan_id).exists()
    later = _DECISION.alias()
    newer = (
        sa.select(later.c.cycle_ms)
        .where(
            later.c.account == _DECISION.c.account,
            later.c.strategy == _DECISION.c.strategy,
            later.c.cycle_ms > _DECISION.c.cycle_ms,
        )
        .exists()
    )
    yield _DECISION, sa.and_(_DECISION.c.cycle_ms < before_ms, ~ordered, ~worked, newer)
    traded = sa.select(order.c.plan_id).where(order.c.plan_id == _PLAN.c.plan_id).exists()
    begun = sa.select(execution.c.plan_id).where(execution.c.plan_id == _PLAN.c.plan_id).exists()
    next_plan = _PLAN.alias()
    superseded = (
        sa.select(next_plan.c.plan_id)
        .where(next_plan.c.account == _PLAN.c.account, next_plan.c.cycle_ms > _PLAN.c.cycle_ms)
        .exists()
    )
    yield _PLAN, sa.and_(_PLAN.c.expires_ms < before_ms, ~traded, ~begun, superseded)
    yield schema.missed, schema.missed.c.last_ms < before_ms
    point, other = schema.equity_point, schema.equity_point.alias()
    same_hour = other.c.ts_ms - other.c.ts_ms % HOUR_MS == point.c.ts_ms - point.c.ts_ms % HOUR_MS
    followed = (
        sa.select(other.c.ts_ms)
        .where(
            other.c.account == point.c.account,
            other.c.ts_ms > point.c.ts_ms,
            other.c.ts_ms < point.c.ts_ms + HOUR_MS,
            same_hour,
        )
        .exists()
    )
    yield point, sa.and_(point.c.ts_ms < before_ms - before_ms % HOUR_MS, followed)


def _delete_texts(engine: Engine, dry: bool) -> int:
    """Delete the texts whose hash stands in no kept decision; none while a window may be about to name one."""
    blob, lease = schema.blob, schema.lease
    with (reading if dry else writing)(engine) as connection:
        if connection.execute(sa.select(lease.c.name).where(lease.c.run_id != "").limit(1)).first() is not None:
            return 0
        named = set(connection.execute(sa.union(*(sa.select(_named(engine, key)) for key in TEXT_KEYS))).scalars())
        kept = set(connection.execute(sa.select(blob.c.hash)).scalars())
        loose = sorted(kept - named)
        if not dry and loose:
            connection.execute(sa.delete(blob).where(blob.c.hash.in_(loose)))
        return len(loose)


def _named(engine: Engine, key: str) -> sa.ColumnElement[Any]:
    """The hash that a decision's inputs name under a key."""
    if engine.dialect.name == "postgresql":
        text: sa.ColumnElement[Any] = sa.cast(_DECISION.c.inputs, JSON)[key].astext
        return text
    return sa.func.json_extract(_DECISION.c.inputs, f"$.{key}")


def _delete(
    engine: Engine, table: sa.Table, condition: sa.ColumnElement[bool], dry: bool, progress: Progress | None
) -> int:
    if dry:
        with reading(engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one())
    keys = list(table.primary_key)
    total = 0
    while True:
        with reading(engine) as connection:
            found = connection.execute(sa.select(*keys).where(condition).limit(BATCH)).all()
        if not found:
            return total
        with writing(engine) as connection:
            total += _delete_keys(connection, table, condition, keys, [tuple(row) for row in found])
        if progress is not None:
            progress(table.name, total)


def _delete_keys(
    connection: Connection,
    table: sa.Table,
    condition: sa.ColumnElement[bool],
    keys: list[sa.Column[Any]],
    found: list[tuple[Any, ...]],
) -> int:
    """Delete rows by key that still meet the condition: what was written since they were found is looked at again."""
    where = sa.and_(sa.tuple_(*keys).in_(found), condition)
    return connection.execute(sa.delete(table).where(where)).rowcount
