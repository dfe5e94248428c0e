"""Bytes on disk, whole or not at all: atomic writes, locks between processes. Their meaning is not known here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra_core.domain.errors import HydraError


def write_atomic(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` so that a reader, or a crash, finds the old bytes or the new, never a part.

    Raises
    ------
    HydraError : the disk is full or the folder cannot be written; nothing is left behind
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise HydraError(
            f"cannot write {path} ({error.strerror or error})",
            "Free disk space or correct the folder's permissions and run it again; nothing was half-written",
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file against other processes and threads for the length of a block; waits for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise HydraError(f"cannot open {path} ({error.strerror or error})", "Check the folder's permissions") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
