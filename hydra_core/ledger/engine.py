"""Opening a ledger's database: connections, the two kinds of transaction, migrations, plain errors.

A write transaction on SQLite begins IMMEDIATE, so that what it read cannot have changed when it writes; on PostgreSQL
the rows that matter are locked with FOR UPDATE. Leaving a transaction by an exception rolls it back.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url

from hydra_core.domain.errors import HydraError, LedgerLocked, LedgerUnusable, UsageError
from hydra_core.ledger.schema import REVISION

BUSY_TIMEOUT_MS: Final = 5_000
_MIGRATION_LOCK: Final = 0x4859_4452
"""Key of the PostgreSQL advisory lock under which a migration runs."""
_READ_ONLY: Final = "hydra_read_only"


def open_engine(url: str, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """An engine for ``sqlite:///…`` or ``postgresql+psycopg2://…``.

    Raises
    ------
    UsageError : another kind of database
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, busy_timeout_ms)
    if parsed.drivername == "postgresql":  # the bare name means psycopg 3 to SQLAlchemy 2.1; only psycopg2 is installed
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 10})


def parse_url(url: str) -> URL:
    """The URL taken apart; raises UsageError unless it is of a supported kind of database."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise UsageError(f"not a database URL: {error}", "Write sqlite:///file or postgresql+psycopg2://…") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"unknown database {parsed.drivername}", "Use sqlite:///file or postgresql+psycopg2://…")
    return parsed


def _sqlite_engine(url: URL, busy_timeout_ms: int) -> Engine:
    if not url.database or url.database == ":memory:":
        raise UsageError("the ledger must be a file", "Write sqlite:////path/to/ledger.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": busy_timeout_ms / 1000})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours, below: the driver's own would come too late
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={busy_timeout_ms}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def place_of(engine: Engine) -> str:
    """Where the ledger is, without any password: what error messages name."""
    return engine.url.database or "" if engine.dialect.name == "sqlite" else engine.url.render_as_string()


@contextlib.contextmanager
def plain_errors(engine: Engine) -> Iterator[None]:
    """Turn a database's refusals into HYDRA's errors."""
    try:
        yield
    except sa.exc.OperationalError as error:
        words = str(error.orig).strip()
        if "locked" in words or "busy" in words:
            raise LedgerLocked(
                f"the ledger {place_of(engine)} is locked by another process",
                "End whatever keeps a transaction open on it (a database browser, a stuck process) and try again",
            ) from error
        raise LedgerUnusable(
            f"the ledger {place_of(engine)} cannot be used: {words}", "Check the database and its disk"
        ) from error
    except sa.exc.DatabaseError as error:
        if isinstance(error, sa.exc.IntegrityError):
            raise
        raise LedgerUnusable(
            f"the ledger {place_of(engine)} cannot be used: {error.orig}", "Restore it from a backup"
        ) from error


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed on leaving, rolled back by an exception."""
    with plain_errors(engine), engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view for several reads."""
    with plain_errors(engine), engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def insert_once(connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key is there already; True when it was inserted."""
    return connection.execute(_insert_once(connection.dialect.name, table), dict(values)).rowcount == 1


@cache
def _insert_once(dialect: str, table: sa.Table) -> sa.Insert:
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def upsert(connection: Connection, table: sa.Table, *rows: Mapping[str, Any]) -> None:
    """Insert rows of the same columns, each in place of one with its primary key."""
    if rows:
        connection.execute(_upsert(connection.dialect.name, table, frozenset(rows[0])), [dict(row) for row in rows])


@cache
def _upsert(dialect: str, table: sa.Table, columns: frozenset[str]) -> sa.Insert:
    keys = [column.name for column in table.primary_key]
    if dialect == "postgresql":
        theirs = postgresql.insert(table)
        rest = {name: theirs.excluded[name] for name in sorted(columns) if name not in keys}
        return theirs.on_conflict_do_update(index_elements=keys, set_=rest)
    ours = sqlite.insert(table)
    rest = {name: ours.excluded[name] for name in sorted(columns) if name not in keys}
    return ours.on_conflict_do_update(index_elements=keys, set_=rest)


def revision_of(connection: Connection) -> str | None:
    """The schema's revision in the database; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def prepare_schema(engine: Engine, migrate: bool) -> None:
    """Bring the schema to :data:`REVISION`, or say why it cannot be used.

    Raises
    ------
    HydraError : the schema is older and ``migrate`` is False, or it is not one that this code knows
    """
    with reading(engine) as connection:
        found = revision_of(connection)
    if found == REVISION:
        return
    _refuse_unknown(engine, found)
    if not migrate:
        raise HydraError(
            f"the ledger {place_of(engine)} has schema {found or 'none'}, older than this code, which needs {REVISION}",
            "Open it once with a command that may migrate it, e.g. `hydra up`",
        )
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        found = revision_of(connection)  # another process may have migrated while we waited for the lock
        if found != REVISION:
            _refuse_unknown(engine, found)
            upgrade(connection)


def _refuse_unknown(engine: Engine, found: str | None) -> None:
    if found is not None and found not in _known_revisions():
        raise HydraError(
            f"the ledger {place_of(engine)} has schema {found}, newer than this code, which knows up to {REVISION}",
            "Use the HYDRA version that wrote it, or a newer one",
        )


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()}


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the packaged migrations inside the caller's transaction."""
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
