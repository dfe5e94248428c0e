"""Backups of the ledger: a whole and consistent copy while others write to it, and the way back.

A backup is always a SQLite file with the ledger's own tables, whatever database the ledger is in: SQLite is copied page by
page by its online backup, PostgreSQL row by row out of one snapshot. It can be restored into either. Not here: whether
anything is running that must not be overwritten under its feet (``cli.ledger``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from hydra_core.domain.errors import DataCorrupt, LockHeld, UsageError
from hydra_core.ledger import schema
from hydra_core.ledger.engine import (
    BUSY_TIMEOUT_MS,
    open_engine,
    parse_url,
    place_of,
    plain_errors,
    prepare_schema,
    reading,
    writing,
)
from hydra_core.ledger.store import Ledger

RESTORED: Final = "not carried out: the ledger was restored from a backup"
"""Result of a command that was waiting when the backup was made: its time is over."""
_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup file holds; ``newest_ms`` is the market time of its newest decision or fill, 0 without any."""

    path: Path
    accounts: tuple[str, ...]
    decisions: int
    orders: int
    fills: int
    newest_ms: int


def backup(url: str, target: Path) -> Path:
    """Copy a ledger to a SQLite file, whole and consistent, while others write to it.

    Parameters
    ----------
    url : str, of the ledger
    target : Path, replaced when it exists, and only once the copy is complete and sound

    Raises
    ------
    UsageError : there is no ledger
    DataCorrupt : the ledger or the copy is damaged
    LockHeld : another process keeps it locked
    """
    parsed = parse_url(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".part")
    fresh.unlink(missing_ok=True)
    try:
        if parsed.get_backend_name() == "sqlite":
            _copy_pages(Path(parsed.database or ""), fresh)
        else:
            _copy_rows_out(url, fresh)
        _insist_sound(fresh)
    except BaseException:
        _remove(fresh)
        raise
    return fresh.replace(target)


def inspect(path: Path) -> Backup:
    """What a backup holds, after its pages, its schema and every account's books were checked.

    A file of an older schema is brought up to date on a copy; the file itself is not touched.

    Raises
    ------
    UsageError : there is no such file
    DataCorrupt : it is damaged, is no ledger, or its books do not add up
    HydraError : it was written by a newer version
    """
    with _prepared(path) as (_, facts):
        return facts


def restore(url: str, source: Path) -> Backup:
    """Put a backup in the place of a ledger, in one transaction: interrupted at any moment, the old one stands.

    Leases are freed, signs of life forgotten, and commands that were waiting are ticked off as not carried out.

    Parameters
    ----------
    url : str, of the ledger that is replaced; a SQLite file that is no database any more is set aside as ``*.damaged``
    source : Path, a backup

    Raises
    ------
    As :func:`inspect`; and LockHeld where another process keeps the ledger locked.
    """
    parsed = parse_url(url)
    with _prepared(source) as (prepared, facts):
        _settle(prepared)
        if parsed.get_backend_name() == "sqlite":
            _copy_pages_back(prepared, Path(parsed.database or ""))
        else:
            _copy_rows_back(prepared, url)
    return facts


@contextmanager
def _prepared(path: Path) -> Iterator[tuple[Path, Backup]]:
    """A checked copy of a backup at the present schema, and what it holds; the copy is gone afterwards."""
    if not path.is_file():
        raise UsageError(f"no backup at {path}", "`hydra ledger backup` makes one")
    with TemporaryDirectory(prefix="hydra-backup-") as folder:
        scratch = Path(folder) / "ledger.db"
        _copy_pages(path, scratch)
        _insist_sound(scratch)
        yield scratch, _facts(path, scratch)


def _facts(path: Path, scratch: Path) -> Backup:
    """Migrate the copy, add its books up, count it."""
    with closing(sqlite3.connect(scratch)) as file:
        known = file.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    if known is None:
        raise DataCorrupt(f"{path} is a database, but no ledger", "Name a file that `hydra ledger backup` made")
    with Ledger.open(f"sqlite:///{scratch}") as ledger:
        accounts = tuple(account.name for account in ledger.accounts())
        faults = [f"{name}: {fault}" for name in accounts for fault in ledger.check_balance(name).faults]
        if faults:
            raise DataCorrupt(f"the books in {path} do not add up: {'; '.join(faults[:3])}", "Take an earlier backup")
    engine = open_engine(f"sqlite:///{scratch}")
    try:
        with reading(engine) as connection:
            count = {
                table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
                for table in (schema.decision, schema.trade_order, schema.fill)
            }
            times = (schema.decision.c.cycle_ms, schema.fill.c.event_ms)
            newest = max(int(connection.execute(sa.select(sa.func.max(at))).scalar() or 0) for at in times)
    finally:
        engine.dispose()
    return Backup(path, accounts, count["decision"], count["trade_order"], count["fill"], newest)


def _copy_pages(source: Path, fresh: Path) -> None:
    if not source.is_file():
        raise UsageError(f"no SQLite ledger at {source}", "`hydra portfolio reset` opens an account in a fresh one")
    with (
        _plain_sqlite(source),
        closing(sqlite3.connect(source, timeout=BUSY_TIMEOUT_MS / 1000)) as origin,
        closing(sqlite3.connect(fresh)) as copy,
    ):
        origin.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def _copy_pages_back(prepared: Path, target: Path) -> None:
    """Overwrite a SQLite ledger page by page; SQLite's own journal keeps it whole, the old one's log included."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _set_damaged_aside(target)
    with (
        _plain_sqlite(target),
        closing(sqlite3.connect(prepared)) as origin,
        closing(sqlite3.connect(target, timeout=BUSY_TIMEOUT_MS / 1000)) as ledger,
    ):
        ledger.execute("PRAGMA synchronous=FULL")
        origin.backup(ledger)


def _set_damaged_aside(target: Path) -> None:
    if not target.exists():
        return
    try:
        with closing(sqlite3.connect(target)) as ledger:
            ledger.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        raise LockHeld(f"the ledger {target} cannot be opened: {error}", "Try again when nothing holds it") from error
    except sqlite3.DatabaseError:
        for name in (target.name, f"{target.name}-wal", f"{target.name}-shm"):
            part = target.with_name(name)
            if part.exists():
                part.replace(part.with_name(f"{name}.damaged"))


def _insist_sound(path: Path) -> None:
    with _plain_sqlite(path), closing(sqlite3.connect(path)) as file:
        verdict = file.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise DataCorrupt(f"{path} fails SQLite's check: {verdict}", "Take an earlier backup")


@contextmanager
def _plain_sqlite(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LockHeld(f"{path} cannot be copied: {error}", "Try again when nothing holds it") from error
    except sqlite3.DatabaseError as error:
        raise DataCorrupt(f"{path} is damaged: {error}", "Restore an earlier backup") from error


def _copy_rows_out(url: str, fresh: Path) -> None:
    source, target = open_engine(url), open_engine(f"sqlite:///{fresh}")
    try:
        with plain_errors(source):
            prepare_schema(source, migrate=False)
        prepare_schema(target, migrate=True)
        with reading(source) as rows, writing(target) as copy:
            _copy_rows(rows, copy)
    finally:
        source.dispose()
        target.dispose()
    with _plain_sqlite(fresh), closing(sqlite3.connect(fresh)) as copy_file:
        copy_file.execute("PRAGMA journal_mode=DELETE")


def _copy_rows_back(prepared: Path, url: str) -> None:
    source, target = open_engine(f"sqlite:///{prepared}"), open_engine(url)
    try:
        with plain_errors(target):
            prepare_schema(target, migrate=True)
        with reading(source) as rows, writing(target) as ledger:
            ledger.execute(sa.text(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT_MS}"))
            try:
                names = ", ".join(table.name for table in schema.metadata.sorted_tables)
                ledger.execute(sa.text(f"TRUNCATE {names}"))
            except sa.exc.OperationalError as error:
                raise LockHeld(
                    f"the ledger {place_of(target)} is in use", "Run `hydra down` in every home that uses it"
                ) from error
            _copy_rows(rows, ledger)
            _restart_numbers(ledger)
    finally:
        source.dispose()
        target.dispose()


def _copy_rows(source: Connection, target: Connection) -> None:
    """Every row of every table, in batches."""
    for table in schema.metadata.sorted_tables:
        rows = source.execution_options(yield_per=_BATCH).execute(sa.select(table))
        for batch in rows.mappings().partitions(_BATCH):
            target.execute(sa.insert(table), [dict(row) for row in batch])


def _restart_numbers(connection: Connection) -> None:
    """Let PostgreSQL number new rows behind the copied ones."""
    for table in schema.metadata.sorted_tables:
        if "id" in table.c:
            newest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, newest or 1, newest is not None)))


def _settle(path: Path) -> None:
    """Take out of a backup what belonged to the processes of its time."""
    engine: Engine = open_engine(f"sqlite:///{path}")
    free: dict[str, Any] = {"run_id": "", "expires_wall_ms": 0}
    waiting = schema.command.c.done_wall_ms.is_(None)
    try:
        with writing(engine) as connection:
            connection.execute(sa.update(schema.lease).values(**free))
            connection.execute(sa.delete(schema.heartbeat))
            done = {"done_wall_ms": schema.command.c.created_wall_ms, "result": RESTORED}
            connection.execute(sa.update(schema.command).where(waiting).values(**done))
    finally:
        engine.dispose()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode=DELETE")


def _remove(path: Path) -> None:
    """Delete a SQLite file with its log."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
