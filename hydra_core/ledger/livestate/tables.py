"""Tables of the live state and how its file is opened; shared by writer, reader and clock.

Plain sqlite3 rather than SQLAlchemy: this file is written several times a second, and is rebuilt rather than migrated.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hydra_core.domain.errors import DataCorrupt, InputMissing, LockHeld

LAYOUT: Final = 1
BUSY_TIMEOUT_MS: Final = 5_000
CLOCK: Final = "clock"
"""Meta name of the venue's clock anchor."""
RULES: Final = "rules"
"""Meta name of the exchange's filters."""
LIQUIDATIONS_FROM: Final = "liquidations_from_ms"
"""Meta name of the market time since when the trader has captured every liquidation."""

STREAM_HEALTH: Final = "streams"
"""Meta name of every stream's health and age, with the wall time of the report."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS candle (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pair TEXT NOT NULL, interval TEXT NOT NULL, ts INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL,
    revision INTEGER NOT NULL, received_wall_ms INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS candle_key ON candle (pair, interval, ts, revision);
CREATE INDEX IF NOT EXISTS candle_order ON candle (interval, ts);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, pair TEXT NOT NULL, ts INTEGER NOT NULL,
    value REAL NOT NULL, revision INTEGER NOT NULL, received_wall_ms INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS series_key ON series (kind, pair, ts, revision);
CREATE TABLE IF NOT EXISTS liquidation (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pair TEXT NOT NULL, event_ms INTEGER NOT NULL, long_side INTEGER NOT NULL,
    quantity REAL NOT NULL, price REAL NOT NULL, received_wall_ms INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS liquidation_key ON liquidation (pair, event_ms, long_side, quantity, price);
CREATE TABLE IF NOT EXISTS quote (
    pair TEXT PRIMARY KEY, bid REAL, bid_size REAL, ask REAL, ask_size REAL, event_ms INTEGER, received_wall_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (
    pair TEXT PRIMARY KEY, mark REAL, mark_index REAL, funding_rate REAL, next_funding_ms INTEGER, event_ms INTEGER,
    received_wall_ms INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS health (
    stream TEXT PRIMARY KEY, ok INTEGER, event_ms INTEGER, message TEXT, received_wall_ms INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class HealthReading:
    """Whether a stream delivers, since when (market time), and its last word."""

    stream: str
    ok: bool
    event_ms: int
    message: str
    received_wall_ms: int


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Newest ids that were read from the append-only tables; everything up to them never changes."""

    candle: int
    series: int
    liquidation: int

    def reached_from(self, earlier: Watermarks) -> bool:
        """Whether reading on from ``earlier`` comes to these."""
        return (
            earlier.candle <= self.candle and earlier.series <= self.series and earlier.liquidation <= self.liquidation
        )


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; with ``create`` the file and its tables are made.

    Raises
    ------
    InputMissing : the file is not there
    DataCorrupt : the file is no live state of this layout
    LockHeld : another process keeps it locked
    """
    if not create and not path.exists():
        raise InputMissing(f"no live state at {path}", "Start the trader: `hydra up` or `hydra trader`")
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if layout not in (0, LAYOUT):
            raise DataCorrupt(f"live state {path} has layout {layout}, this code knows {LAYOUT}", "Delete it")
        if create and layout == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={LAYOUT}; COMMIT;")
        elif layout == 0:
            raise InputMissing(f"the live state {path} is empty", "Start the trader: `hydra up` or `hydra trader`")
    except sqlite3.OperationalError as error:
        connection.close()
        raise LockHeld(f"the live state {path} is locked: {error}", "End the process that keeps it open") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise DataCorrupt(f"{path} is no live state: {error}", "Delete it; the trader rebuilds it") from error
    except (DataCorrupt, InputMissing):
        connection.close()
        raise
    return connection
