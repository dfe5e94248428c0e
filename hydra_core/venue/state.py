"""What the venue remembers over a restart: clock and account, in one SQLite file.

Each change of the account is one transaction, so that whatever a client was told survives the process being killed.
The clock is written every second with a little time reserved ahead: after a kill the market resumes from there and
never runs backwards past anything a client has seen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from hydra_core.domain.errors import DataCorrupt, LockHeld
from hydra_core.venue.orders import AlgoOrder, Income, Order, Trade, from_json, to_json

SCHEMA_VERSION: Final = 1
_TABLES: Final = {"orders": Order, "algo_orders": AlgoOrder, "trades": Trade, "income": Income}


@dataclass(frozen=True, slots=True)
class ClockState:
    """The clock as it was saved: market time (epoch ms), speed, hold, and up to when the account was settled."""

    market_ms: int
    speed: float
    held: bool
    settled_ms: int


@dataclass(slots=True)
class Changes:
    """Rows that a step of the engine created or changed, by their key."""

    orders: dict[int, Order] = field(default_factory=dict)
    algo_orders: dict[int, AlgoOrder] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    income: list[Income] = field(default_factory=list)
    account: bool = False

    def __bool__(self) -> bool:
        return bool(self.account or self.orders or self.algo_orders or self.trades or self.income)


class VenueStore:
    """The state file of one venue; held exclusively while the venue runs.

    Parameters
    ----------
    folder : Path
        Created when absent; the file in it is ``venue.db``.

    Raises
    ------
    LockHeld : another venue runs on this folder
    DataCorrupt : the file is not a venue's state, or one of another version
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "venue.db"
        self._db = sqlite3.connect(self.path, isolation_level=None, timeout=2.0)
        try:
            self._prepare()
        except sqlite3.OperationalError as error:
            self._db.close()
            raise LockHeld(
                f"the venue's state {self.path} is in use ({error})", "Stop the other venue first"
            ) from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DataCorrupt(
                f"the venue's state {self.path} cannot be read ({error})", "Move the file away"
            ) from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("CREATE TABLE IF NOT EXISTS document (name TEXT PRIMARY KEY, body BLOB NOT NULL)")
        for table in _TABLES:
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        self._db.execute("COMMIT")
        version = self.document("schema")
        if version is None:
            self._put("schema", {"version": SCHEMA_VERSION})
        elif version.get("version") != SCHEMA_VERSION:
            self._db.close()
            raise DataCorrupt(
                f"the venue's state {self.path} has version {version.get('version')}, this one reads {SCHEMA_VERSION}",
                "Move the file away to start a fresh account",
            )

    def document(self, name: str) -> dict[str, Any] | None:
        """A stored document, None when there is none."""
        row = self._db.execute("SELECT body FROM document WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        body: dict[str, Any] = orjson.loads(row[0])
        return body

    def clock(self) -> ClockState | None:
        """The clock as last saved."""
        body = self.document("clock")
        if body is None:
            return None
        return ClockState(int(body["market_ms"]), float(body["speed"]), bool(body["held"]), int(body["settled_ms"]))

    def save_clock(self, state: ClockState) -> None:
        """Remember the clock."""
        self._put("clock", asdict(state))

    def save_market(self, name: str) -> None:
        """Remember which market the state belongs to."""
        self._put("market", {"name": name})

    def orders(self) -> list[Order]:
        """Every order, oldest first."""
        return [from_json(Order, body) for body in self._rows("orders")]

    def algo_orders(self) -> list[AlgoOrder]:
        """Every conditional order, oldest first."""
        return [from_json(AlgoOrder, body) for body in self._rows("algo_orders")]

    def trades(self) -> list[Trade]:
        """Every fill, oldest first."""
        return [from_json(Trade, body) for body in self._rows("trades")]

    def income(self) -> list[Income]:
        """Every wallet entry, oldest first."""
        return [from_json(Income, body) for body in self._rows("income")]

    def commit(self, changes: Changes, account: dict[str, Any]) -> None:
        """Write one step of the engine in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._write("orders", ((row.order_id, row) for row in changes.orders.values()))
            self._write("algo_orders", ((row.algo_id, row) for row in changes.algo_orders.values()))
            self._write("trades", ((row.trade_id, row) for row in changes.trades))
            self._write("income", ((row.transaction_id, row) for row in changes.income))
            self._put("account", account)
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _put(self, name: str, body: dict[str, Any]) -> None:
        self._db.execute("INSERT OR REPLACE INTO document VALUES (?, ?)", (name, orjson.dumps(body)))

    def _write(self, table: str, rows: Iterable[tuple[int, Order | AlgoOrder | Trade | Income]]) -> None:
        self._db.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",
            [(key, orjson.dumps(to_json(row))) for key, row in rows],
        )

    def _rows(self, table: str) -> list[dict[str, Any]]:
        return [orjson.loads(body) for (body,) in self._db.execute(f"SELECT body FROM {table} ORDER BY id")]
