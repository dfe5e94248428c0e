"""The first schema of the ledger.

Written out in full rather than taken from ``schema.py``: a migration must not change when the schema does.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_STANDING = sa.text("released_ms IS NULL")


def _text(name: str, size: int | None = None, *, key: bool = False, null: bool = False) -> sa.Column[str]:
    kind = sa.Text() if size is None else sa.String(size)
    return sa.Column(name, kind, primary_key=key, nullable=null)


def _whole(name: str, *, key: bool = False, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), primary_key=key, nullable=null)


def _money(name: str, *, null: bool = False) -> sa.Column[Any]:
    exact: sa.types.TypeEngine[Any] = sa.Numeric() if op.get_context().dialect.name == "postgresql" else sa.Text()
    return sa.Column(name, exact, nullable=null)


def _number() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def _table(name: str, *parts: Any, **options: Any) -> None:
    keys = [part.name for part in parts if isinstance(part, sa.Column) and part.primary_key]
    for part in parts:
        if isinstance(part, sa.Column):
            part.primary_key = False
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*keys, name=f"pk_{name}"), **options)


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def upgrade() -> None:
    """Create every table."""
    _accounts()
    _decisions()
    _orders()
    _control()


def _accounts() -> None:
    _table(
        "account",
        _text("name", 64, key=True), _text("kind", 16), _money("initial_balance"), _money("cash"), _money("realised"),
        _money("fees"), _money("funding"), _money("equity"), _money("peak_equity"), _money("day_start_equity"),
        _whole("day_ms"), _whole("opened_ms"),
        sa.Column("opened_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.UniqueConstraint("opened_seq", name="uq_account_opened_seq"),
    )  # fmt: skip
    _table(
        "equity_point",
        _text("account", 64, key=True), _whole("ts_ms", key=True), _money("equity"), _money("cash"),
        _money("unrealised"),
    )  # fmt: skip
    _table(
        "latch",
        _number(), _text("account", 64), _text("switch", 64), _text("mode", 16), _text("reason"), _whole("latched_ms"),
        _whole("released_ms", null=True),
        sqlite_autoincrement=True,
    )  # fmt: skip
    op.create_index(
        "uq_latch_standing", "latch", ["account", "switch"],
        unique=True, sqlite_where=_STANDING, postgresql_where=_STANDING,
    )  # fmt: skip
    _table("barred", _text("account", 64, key=True), _text("pair", 24, key=True), _whole("until_ms"), _text("reason"))


def _decisions() -> None:
    _table(
        "decision",
        _text("account", 64, key=True), _text("strategy", 64, key=True), _whole("cycle_ms", key=True),
        _text("mode", 16), _text("plan_id", 80, null=True), _text("outcomes"), _text("body"), _text("inputs"),
        _text("pins"), _text("data_hash", 64), _text("run_id", 80), _whole("fence"),
        sa.Column("latency_ms", sa.Integer(), nullable=False), _whole("committed_wall_ms"),
    )  # fmt: skip
    _table(
        "missed",
        _text("account", 64, key=True), _text("strategy", 64, key=True), _whole("first_ms", key=True),
        _whole("last_ms"), sa.Column("points", sa.Integer(), nullable=False), _text("reason"),
    )  # fmt: skip
    _table(
        "plan",
        _text("plan_id", 80, key=True), _text("account", 64), _text("strategy", 64), _whole("cycle_ms"),
        _whole("expires_ms"), _text("body"), _whole("ended_ms", null=True), _text("end_reason"),
    )  # fmt: skip
    _index("plan", "account", "cycle_ms")
    _table("blob", _text("hash", 64, key=True), _text("kind", 32), _text("body"))


def _orders() -> None:
    _table(
        "trade_order",
        _text("order_id", 64, key=True), _text("plan_id", 80), _text("account", 64), _text("pair", 24),
        sa.Column("side", sa.Integer(), nullable=False), _money("quantity"), _text("kind", 8),
        _money("limit_price", null=True), _money("stop_price", null=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False), _text("state", 12), _money("filled"),
        _money("avg_price", null=True), _text("reason"), sa.Column("slice_index", sa.Integer(), nullable=False),
        _text("venue_order_id", 64, null=True), _whole("created_ms"), _whole("updated_ms"),
    )  # fmt: skip
    _index("trade_order", "account", "state")
    _index("trade_order", "account", "created_ms")
    _index("trade_order", "plan_id")
    _table(
        "order_event",
        _number(), _text("order_id", 64), _text("from_state", 12), _text("to_state", 12), _text("reason"),
        _whole("ts_ms"),
        sqlite_autoincrement=True,
    )  # fmt: skip
    _index("order_event", "order_id")
    _table(
        "fill",
        _text("venue", 64, key=True), _text("pair", 24, key=True), _text("trade_id", 64, key=True),
        _text("order_id", 64), _text("account", 64), sa.Column("side", sa.Integer(), nullable=False),
        _money("quantity"), _money("price"), _money("fee"), sa.Column("maker", sa.Boolean(), nullable=False),
        _whole("event_ms"), _text("reason"), _money("realised"), _money("position_after"),
    )  # fmt: skip
    _index("fill", "account", "event_ms")
    _index("fill", "order_id")
    _table(
        "position",
        _text("account", 64, key=True), _text("pair", 24, key=True), _money("quantity"), _money("entry_price"),
        _whole("opened_ms"), _money("stop_price", null=True), _money("realised"),
    )  # fmt: skip
    _table(
        "funding_payment",
        _text("account", 64, key=True), _text("pair", 24, key=True), _whole("settlement_ms", key=True), _money("rate"),
        _money("quantity"), _money("mark_price"), _money("amount"),
    )  # fmt: skip


def _control() -> None:
    _table(
        "command",
        _number(), _text("kind", 32), _text("args"), _whole("created_wall_ms"), _whole("done_wall_ms", null=True),
        _text("result"),
        sqlite_autoincrement=True,
    )  # fmt: skip
    _table(
        "lease",
        _text("name", 160, key=True), _text("run_id", 80), _whole("fence"), _whole("acquired_wall_ms"),
        _whole("renewed_wall_ms"), _whole("expires_wall_ms"),
    )  # fmt: skip
    _table("heartbeat", _text("who", 64, key=True), _whole("wall_ms"), _text("payload"))
