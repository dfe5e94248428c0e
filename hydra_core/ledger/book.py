"""What the parts of the ledger share: an engine, transactions, and rows to records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import local
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping

from hydra_core.domain.errors import HydraError
from hydra_core.ledger import engine as database
from hydra_core.ledger import schema

_ACCOUNT = sa.select(schema.account).where(schema.account.c.name == sa.bindparam("account"))
_LOCKED_ACCOUNT = _ACCOUNT.with_for_update()


class Book:
    """Base of the ledger's parts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._view = local()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """One consistent view, and one transaction, for everything that this thread reads inside the block."""
        with self._reading() as connection:
            self._view.connection = connection
            try:
                yield
            finally:
                self._view.connection = None

    def together(self) -> AbstractContextManager[None]:
        """One transaction for everything that this thread books and reads inside the block: all of it holds, or none.

        It begins with the first booking, so a block that books nothing keeps nobody waiting. What was booked counts only
        once the block is left: nothing may go out to anybody before. Inside another such block it is part of that one.
        """
        return nullcontext() if getattr(self._view, "block", None) is not None else self._block()

    @contextmanager
    def _block(self) -> Iterator[None]:
        with ExitStack() as block:
            self._view.block, self._view.writing = block, None
            try:
                yield
            finally:
                self._view.block = self._view.writing = None

    def _writing(self) -> AbstractContextManager[Connection]:
        block: ExitStack | None = getattr(self._view, "block", None)
        if block is None:
            return database.writing(self._engine)
        if self._view.writing is None:
            self._view.writing = block.enter_context(database.writing(self._engine))
        return nullcontext(self._view.writing)

    def _reading(self) -> AbstractContextManager[Connection]:
        shared: Connection | None = getattr(self._view, "writing", None) or getattr(self._view, "connection", None)
        return database.reading(self._engine) if shared is None else nullcontext(shared)

    def _rows(self, statement: sa.Select[Any], values: Mapping[str, Any] | None = None) -> Sequence[RowMapping]:
        """All rows of one query, in a transaction of its own unless several are read at once."""
        with self._reading() as connection:
            return connection.execute(statement, values).mappings().all()


def account_row(connection: Connection, name: str, *, lock: bool = False) -> RowMapping:
    """The account's row; ``lock`` keeps every other booking on it waiting until this transaction ends.

    Raises
    ------
    HydraError : there is no such account
    """
    row = connection.execute(_LOCKED_ACCOUNT if lock else _ACCOUNT, {"account": name}).mappings().first()
    if row is None:
        raise HydraError(f"the ledger has no account {name!r}", "Open one: `hydra portfolio reset` or `hydra paper`")
    return row
