"""What the parts of the ledger share: an engine, transactions, and rows to records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping

from hydra_core.domain.errors import HydraError
from hydra_core.ledger import engine as database
from hydra_core.ledger import schema


class Book:
    """Base of the ledger's parts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _writing(self) -> AbstractContextManager[Connection]:
        return database.writing(self._engine)

    def _reading(self) -> AbstractContextManager[Connection]:
        return database.reading(self._engine)

    def _rows(self, statement: sa.Select[Any]) -> Sequence[RowMapping]:
        """All rows of one query, in a transaction of its own."""
        with self._reading() as connection:
            return connection.execute(statement).mappings().all()


def account_row(connection: Connection, name: str, *, lock: bool = False) -> RowMapping:
    """The account's row; ``lock`` keeps every other booking on it waiting until this transaction ends.

    Raises
    ------
    HydraError : there is no such account
    """
    query = sa.select(schema.account).where(schema.account.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise HydraError(f"the ledger has no account {name!r}", "Open one: `hydra portfolio reset` or `hydra paper`")
    return row
