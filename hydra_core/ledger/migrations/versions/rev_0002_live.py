"""What an account on a real exchange needs: cash that moves without a trade, how far the exchange was read, agreed terms."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _exact() -> sa.types.TypeEngine[Any]:
    return sa.Numeric() if op.get_context().dialect.name == "postgresql" else sa.Text()


def upgrade() -> None:
    """Add two tables and three columns; what is booked already has neither other cash nor terms."""
    op.add_column("account", sa.Column("other", _exact(), nullable=False, server_default="0"))
    op.add_column("account", sa.Column("terms", sa.Text(), nullable=False, server_default=""))
    op.add_column("trade_order", sa.Column("time_in_force", sa.String(8), nullable=False, server_default=""))
    op.create_table(
        "cash_entry",
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("entry_id", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("amount", _exact(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "entry_id", name="pk_cash_entry"),
    )
    op.create_table(
        "cursor",
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "name", name="pk_cursor"),
    )
