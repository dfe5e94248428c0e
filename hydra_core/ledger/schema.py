"""The ledger's tables, in SQLAlchemy Core; one statement of them for SQLite and PostgreSQL.

Money and sizes are Decimal, never float: NUMERIC on PostgreSQL, decimal TEXT on SQLite (whose NUMERIC is a float).
Times are UTC epoch milliseconds; a column ending in ``_wall_ms`` is wall time, every other one market time.
Changing a table means a new file in ``migrations/versions`` and a new :data:`REVISION`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.types import TypeEngine

REVISION: Final = "0003"
"""The newest migration; a ledger is opened only at exactly this one."""


class DecimalText(TypeDecorator[Decimal]):
    """An exact Decimal: NUMERIC without bounds on PostgreSQL, plain decimal notation as TEXT on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC where it is exact, TEXT elsewhere."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric())
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Refuse anything but a finite Decimal."""
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            raise TypeError(f"money must be a finite Decimal, got {value!r}")
        return value if dialect.name == "postgresql" else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Back to the very Decimal that was bound."""
        return None if value is None else Decimal(value)


metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)
_ID = BigInteger().with_variant(Integer, "sqlite")


def _ms(name: str, **options: Any) -> Column[int]:
    return Column(name, BigInteger, nullable=options.pop("nullable", False), **options)


def _money(name: str, **options: Any) -> Column[Decimal]:
    return Column(name, DecimalText, nullable=options.pop("nullable", False), **options)


account = Table(
    "account",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    _money("initial_balance"),
    _money("cash"),
    _money("realised"),
    _money("fees"),
    _money("funding"),
    _money("equity"),
    _money("peak_equity"),
    _money("day_start_equity"),
    _ms("day_ms"),
    _ms("opened_ms"),
    Column("opened_seq", _ID, nullable=False, unique=True),
    _money("other", server_default="0"),
    Column("terms", Text, nullable=False, server_default=""),
)

decision = Table(
    "decision",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("strategy", String(64), primary_key=True),
    _ms("cycle_ms", primary_key=True),
    Column("mode", String(16), nullable=False),
    Column("plan_id", String(80)),
    Column("outcomes", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("pins", Text, nullable=False),
    Column("data_hash", String(64), nullable=False),
    Column("run_id", String(80), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("latency_ms", Integer, nullable=False),
    _ms("committed_wall_ms"),
)

missed = Table(
    "missed",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("strategy", String(64), primary_key=True),
    _ms("first_ms", primary_key=True),
    _ms("last_ms"),
    Column("points", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)

plan = Table(
    "plan",
    metadata,
    Column("plan_id", String(80), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("strategy", String(64), nullable=False),
    _ms("cycle_ms"),
    _ms("expires_ms"),
    Column("body", Text, nullable=False),
    _ms("ended_ms", nullable=True),
    Column("end_reason", Text, nullable=False),
    Index(None, "account", "cycle_ms"),
)

trade_order = Table(
    "trade_order",
    metadata,
    Column("order_id", String(64), primary_key=True),
    Column("plan_id", String(80), nullable=False),
    Column("account", String(64), nullable=False),
    Column("pair", String(24), nullable=False),
    Column("side", Integer, nullable=False),
    _money("quantity"),
    Column("kind", String(8), nullable=False),
    _money("limit_price", nullable=True),
    _money("stop_price", nullable=True),
    Column("reduce_only", Boolean, nullable=False),
    Column("state", String(12), nullable=False),
    _money("filled"),
    _money("avg_price", nullable=True),
    Column("reason", Text, nullable=False),
    Column("slice_index", Integer, nullable=False),
    Column("venue_order_id", String(64)),
    _ms("created_ms"),
    _ms("updated_ms"),
    Column("time_in_force", String(8), nullable=False, server_default=""),
    Index(None, "account", "state"),
    Index(None, "account", "created_ms"),
    Index(None, "plan_id"),
)

order_event = Table(
    "order_event",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("order_id", String(64), nullable=False),
    Column("from_state", String(12), nullable=False),
    Column("to_state", String(12), nullable=False),
    Column("reason", Text, nullable=False),
    _ms("ts_ms"),
    Index(None, "order_id"),
    sqlite_autoincrement=True,
)

fill = Table(
    "fill",
    metadata,
    Column("venue", String(64), primary_key=True),
    Column("pair", String(24), primary_key=True),
    Column("trade_id", String(64), primary_key=True),
    Column("order_id", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("side", Integer, nullable=False),
    _money("quantity"),
    _money("price"),
    _money("fee"),
    Column("maker", Boolean, nullable=False),
    _ms("event_ms"),
    Column("reason", Text, nullable=False),
    _money("realised"),
    _money("position_after"),
    Index(None, "account", "event_ms"),
    Index(None, "order_id"),
)

position = Table(
    "position",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("pair", String(24), primary_key=True),
    _money("quantity"),
    _money("entry_price"),
    _ms("opened_ms"),
    _money("stop_price", nullable=True),
    _money("realised"),
)

funding_payment = Table(
    "funding_payment",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("pair", String(24), primary_key=True),
    _ms("settlement_ms", primary_key=True),
    _money("rate"),
    _money("quantity"),
    _money("mark_price"),
    _money("amount"),
)

cash_entry = Table(
    "cash_entry",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("entry_id", String(80), primary_key=True),
    Column("kind", String(32), nullable=False),
    _money("amount"),
    _ms("ts_ms"),
    Column("note", Text, nullable=False),
)

cursor = Table(
    "cursor",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

posting = Table(
    "posting",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("event", String(200), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("book", String(48), nullable=False),
    _money("amount"),
    _ms("ts_ms"),
    Index(None, "account", "book"),
)

execution = Table(
    "execution",
    metadata,
    Column("plan_id", String(80), primary_key=True),
    Column("pair", String(24), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    _money("initial"),
    _ms("start_ms"),
    _ms("expires_ms"),
    _ms("arrival_ms"),
    _money("arrival_price", nullable=True),
    _ms("ended_ms", nullable=True),
    _money("end_price", nullable=True),
    Column("end_reason", Text, nullable=False),
    Index(None, "account", "arrival_ms"),
)

equity_point = Table(
    "equity_point",
    metadata,
    Column("account", String(64), primary_key=True),
    _ms("ts_ms", primary_key=True),
    _money("equity"),
    _money("cash"),
    _money("unrealised"),
)

latch = Table(
    "latch",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("account", String(64), nullable=False),
    Column("switch", String(64), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    _ms("latched_ms"),
    _ms("released_ms", nullable=True),
    Index(
        "uq_latch_standing",
        "account",
        "switch",
        unique=True,
        sqlite_where=text("released_ms IS NULL"),
        postgresql_where=text("released_ms IS NULL"),
    ),
    sqlite_autoincrement=True,
)

barred = Table(
    "barred",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("pair", String(24), primary_key=True),
    _ms("until_ms"),
    Column("reason", Text, nullable=False),
)

command = Table(
    "command",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("args", Text, nullable=False),
    _ms("created_wall_ms"),
    _ms("done_wall_ms", nullable=True),
    Column("result", Text, nullable=False),
    sqlite_autoincrement=True,
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(160), primary_key=True),
    Column("run_id", String(80), nullable=False),
    Column("fence", BigInteger, nullable=False),
    _ms("acquired_wall_ms"),
    _ms("renewed_wall_ms"),
    _ms("expires_wall_ms"),
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("who", String(64), primary_key=True),
    _ms("wall_ms"),
    Column("payload", Text, nullable=False),
)

blob = Table(
    "blob",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("body", Text, nullable=False),
)
