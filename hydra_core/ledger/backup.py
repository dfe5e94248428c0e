"""A copy of the ledger while it is in use: SQLite's online backup, written aside and renamed into place.

A PostgreSQL ledger is backed up by its own tools (``pg_dump``); the local state is small, so a copy is a whole one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hydra_core.domain.errors import DataCorrupt, LockHeld, UsageError
from hydra_core.ledger.engine import BUSY_TIMEOUT_MS, parse_url


def backup(url: str, target: Path) -> Path:
    """Copy a SQLite ledger to a file, whole and consistent, while others write to it.

    Parameters
    ----------
    url : str, ``sqlite:///…`` of the ledger
    target : Path, replaced when it exists

    Raises
    ------
    UsageError : the ledger is not a SQLite file, or is not there
    DataCorrupt : the ledger or the copy fails SQLite's integrity check
    LockHeld : another process keeps it locked
    """
    parsed = parse_url(url)
    source = Path(parsed.database or "")
    if parsed.get_backend_name() != "sqlite" or not source.is_file():
        raise UsageError(f"no SQLite ledger at {parsed.render_as_string()}", "Back up PostgreSQL with pg_dump")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".part")
    fresh.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(source, timeout=BUSY_TIMEOUT_MS / 1000)) as origin,
            closing(sqlite3.connect(fresh)) as copy,
        ):
            origin.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.OperationalError as error:
        fresh.unlink(missing_ok=True)
        raise LockHeld(f"the ledger {source} cannot be copied: {error}", "Try again when nothing holds it") from error
    except sqlite3.DatabaseError as error:
        fresh.unlink(missing_ok=True)
        raise DataCorrupt(f"the ledger {source} is damaged: {error}", "Restore an earlier backup") from error
    if verdict != "ok":
        fresh.unlink(missing_ok=True)
        raise DataCorrupt(f"the copy of {source} fails its check: {verdict}", "Restore an earlier backup")
    return fresh.replace(target)
