"""Bytes in a folder or an object store, whole or not at all: atomic writes, locks, compare-and-swap. Not here: their meaning.

On a disk a file is written aside, synced and renamed under an advisory lock. In an object store (any fsspec URL that is not a
file) one PUT replaces an object as a whole, so a reader finds the old bytes or the new; there is no lock between machines, so
whoever changes a shared object says which version it read (ETag, ``If-Match``) and starts again when that is no longer there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import HydraError, UsageError

ABSENT: Final = ""
"""Version of an object that is not there."""
_UNKNOWN: Final = "?"
_CONFLICTS: Final = ("PreconditionFailed", "ConditionalRequestConflict", "pre-condition", "conflicting conditional")
"""Codes and words by which stores refuse a conditional PUT."""


class Changed(Exception):
    """Somebody else replaced the object since it was read: read again and repeat the change."""


def folder_at(where: Path | str) -> Path:
    """A folder by path or URL (``s3://bucket/prefix``, ``memory://…``), as something that behaves like a Path.

    Raises
    ------
    UsageError : the URL's protocol has no driver here
    """
    if isinstance(where, Path) or "://" not in str(where):
        return Path(where)
    from upath import UPath

    options: dict[str, Any] = {"use_listings_cache": False} if str(where).startswith("s3") else {}
    try:
        found: Path = UPath(str(where), **options)
        found.exists  # noqa: B018 - naming the driver loads it
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"cannot open {where} ({error})", "For s3:// install the extra: pip install 'hydra-perps[s3]'"
        ) from error
    return found


def is_local(path: Path) -> bool:
    """Whether the path is on a disk of this machine."""
    return isinstance(path, Path)


def write_atomic(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` so that a reader, or a crash, finds the old bytes or the new, never a part.

    Raises
    ------
    HydraError : the disk is full or the folder cannot be written; nothing is left behind
    """
    if not is_local(path):
        _put(path, content, {})
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
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


def _read_unless_replaced(path: Path) -> bytes | None:
    """Bytes of an object; None when it was replaced while it was read (the store's driver calls that busy)."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno == errno.EBUSY:
            return None
        raise


def read_versioned(path: Path) -> tuple[bytes | None, str]:
    """Bytes and the version that they are of; None and :data:`ABSENT` where there is nothing.

    On a disk the version means nothing: the lock protects it.

    Raises
    ------
    HydraError : the store does not answer
    """
    try:
        if is_local(path):
            return path.read_bytes(), _UNKNOWN
        while True:
            before = _version(path)
            if before == ABSENT:
                return None, ABSENT
            content = _read_unless_replaced(path)
            if content is not None and before == _version(path):
                return content, before
    except FileNotFoundError:
        return None, ABSENT
    except OSError as error:
        raise HydraError(
            f"cannot read {path} ({error.strerror or error})", "Check the disk, or the object store and its keys"
        ) from error


def write_versioned(path: Path, content: bytes, version: str) -> None:
    """Replace an object that is still of this version.

    Raises
    ------
    Changed : it is of another version by now
    HydraError : the disk or the store does not take it
    """
    if is_local(path) or version == _UNKNOWN:
        write_atomic(path, content)
        return
    _put(path, content, {"IfNoneMatch": "*"} if version == ABSENT else {"IfMatch": version})


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file against other processes and threads of this machine for the length of a block; waits for it.

    The lock of an object store's folder lies in this machine's temporary folder: it spares its processes needless
    conflicts, while :func:`write_versioned` decides between machines.
    """
    if not is_local(path):
        name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
        path = Path(tempfile.gettempdir()) / f"hydra-locks-{os.getuid()}" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise HydraError(f"cannot open {path} ({error.strerror or error})", "Check the folder's permissions") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def leftovers(folder: Path) -> list[Path]:
    """Files of writes that a crash cut off, below a folder; an object store has none."""
    return sorted(folder.rglob(".*.tmp")) if is_local(folder) and folder.is_dir() else []


def abandoned(folder: Path) -> list[Path]:
    """Files in a folder that a process had begun to write and did not live to finish."""
    found = sorted(folder.glob(".*.tmp")) if is_local(folder) and folder.is_dir() else []
    return [path for path in found if not _alive(path.suffixes[-2].removeprefix(".").partition("-")[0])]


def _alive(process: str) -> bool:
    """Whether a process of this machine with that number runs."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def sha256(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def _put(path: Path, content: bytes, condition: dict[str, str]) -> None:
    """One PUT, under a condition where the store knows them."""
    store: Any = path
    conditional = condition if store.protocol in ("s3", "s3a") else {}
    try:
        store.fs.pipe_file(store.path, content, **conditional)
    except FileNotFoundError as error:
        raise HydraError(f"cannot write {path} ({error})", "Make the bucket first") from error
    except OSError as error:
        if condition and any(word in f"{error} {error.__cause__}" for word in _CONFLICTS):
            raise Changed(str(path)) from error
        raise HydraError(f"cannot write {path} ({error})", "Check the object store and its keys") from error


def _version(path: Path) -> str:
    """The object's ETag, :data:`ABSENT` where it is not there, ``?`` where the store has none."""
    store: Any = path
    try:
        fresh = {"refresh": True} if store.protocol in ("s3", "s3a") else {}
        return str(store.fs.info(store.path, **fresh).get("ETag", _UNKNOWN))
    except FileNotFoundError:
        return ABSENT


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
