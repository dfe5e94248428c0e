"""The ledger: one object through which every process reads and writes the books.

It is put together from parts: :class:`~.accounts.AccountBook` (worth, latches, bars), :class:`~.orders.OrderBook`
(orders, fills, positions, funding), :class:`~.executions.ExecutionBook` (targets being worked),
:class:`~.journal.JournalBook` (double entry, read here), :class:`~.cycles.CycleBook` (leases, decisions, plans) and
:class:`~.control.ControlBook` (commands, heartbeats). Every write is one transaction with a key: doing it again
changes nothing. No clock here: times are handed in.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from hydra_core.ledger.accounts import AccountBook
from hydra_core.ledger.control import ControlBook
from hydra_core.ledger.cycles import CycleBook
from hydra_core.ledger.engine import BUSY_TIMEOUT_MS, open_engine, place_of, plain_errors, prepare_schema
from hydra_core.ledger.executions import ExecutionBook
from hydra_core.ledger.journal import JournalBook
from hydra_core.ledger.orders import OrderBook


class Ledger(AccountBook, OrderBook, ExecutionBook, JournalBook, CycleBook, ControlBook):
    """The books of one market home; safe to share between threads, cheap to open in every process.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from tempfile import mkdtemp
    >>> with Ledger.open(f"sqlite:///{mkdtemp()}/ledger.db") as ledger:
    ...     ledger.open_account("paper", Decimal(1000), market_ms=0).cash
    Decimal('1000')
    """

    @classmethod
    def open(cls, url: str, migrate: bool = True, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Self:
        """Open a ledger and bring its schema up to date.

        Parameters
        ----------
        url : str, ``sqlite:///file`` or ``postgresql+psycopg2://…``
        migrate : bool, False refuses an older schema instead of upgrading it
        busy_timeout_ms : int, how long SQLite waits for another writer

        Raises
        ------
        UsageError : not a URL of a supported database
        LockHeld : another process keeps the database locked
        HydraError : the database cannot be reached, or its schema is newer than this code
        """
        engine = open_engine(url, busy_timeout_ms)
        try:
            with plain_errors(engine):
                prepare_schema(engine, migrate)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @property
    def place(self) -> str:
        """The database file, or the server's URL without its password."""
        return place_of(self._engine)

    def insist(self) -> None:
        """Begin and end a transaction that could write.

        Raises
        ------
        LedgerUnusable : nothing can be booked now
        """
        with self._writing():
            pass

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
