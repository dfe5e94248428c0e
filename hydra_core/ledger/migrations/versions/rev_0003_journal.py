"""The journal (double entry) and the executions of plans; what is booked already is carried over in one balanced event."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _exact() -> sa.types.TypeEngine[Any]:
    return sa.Numeric() if op.get_context().dialect.name == "postgresql" else sa.Text()


def upgrade() -> None:
    """Add two tables, and every account's standing as its first postings."""
    posting = op.create_table(
        "posting",
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("event", sa.String(200), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("book", sa.String(48), nullable=False),
        sa.Column("amount", _exact(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "event", "line", name="pk_posting"),
    )
    op.create_index("ix_posting_account_book", "posting", ["account", "book"])
    op.create_table(
        "execution",
        sa.Column("plan_id", sa.String(80), nullable=False),
        sa.Column("pair", sa.String(24), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("initial", _exact(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("arrival_ms", sa.BigInteger(), nullable=False),
        sa.Column("arrival_price", _exact(), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_price", _exact(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "pair", name="pk_execution"),
    )
    op.create_index("ix_execution_account_arrival_ms", "execution", ["account", "arrival_ms"])
    assert posting is not None
    _carry_over(op.get_bind(), posting)


def _carry_over(connection: sa.Connection, posting: sa.Table) -> None:
    accounts = connection.execute(sa.text("SELECT * FROM account")).mappings().all()
    held = connection.execute(sa.text("SELECT account, pair, quantity, entry_price FROM position")).mappings().all()
    for row in accounts:
        money = {
            name: Decimal(str(row[name]))
            for name in ("cash", "initial_balance", "realised", "fees", "funding", "other")
        }
        lines = [
            ("cash", money["cash"]), ("capital", -money["initial_balance"]), ("realised", -money["realised"]),
            ("fees", money["fees"]), ("funding", -money["funding"]), ("other", -money["other"]),
        ]  # fmt: skip
        with localcontext(Context(prec=60)):
            for one in held:
                if one["account"] == row["name"]:
                    cost = Decimal(str(one["quantity"])) * Decimal(str(one["entry_price"]))
                    lines += [(f"position/{one['pair']}", cost), (f"contract/{one['pair']}", -cost)]
        exact = op.get_context().dialect.name == "postgresql"
        values = [
            {
                "account": row["name"], "event": "carried over", "line": number, "book": book,
                "amount": amount if exact else format(amount, "f"), "ts_ms": row["opened_ms"],
            }
            for number, (book, amount) in enumerate(lines)
            if amount
        ]  # fmt: skip
        if values:
            connection.execute(sa.insert(posting), values)
