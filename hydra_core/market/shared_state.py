"""A small record that processes share through a locked file, or that one process keeps to itself. Not here: what it means.

The file is one line of JSON, written in a single call under an advisory lock that the kernel lets go when its holder dies: a
process killed at any moment leaves either the old record or the new one. One that cannot be read is reported, never guessed.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import HydraError

SIZE: Final = 16_384
"""Bytes that the record is padded to, so that a shorter one leaves nothing of a longer one behind."""

Record = dict[str, Any]


class Busy(Exception):
    """Another process holds the record at this moment; ask again shortly."""


class Shared:
    """A record behind a lock.

    Parameters
    ----------
    path : Path or None, the file; None keeps the record in this process
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._thread = threading.Lock()
        self._kept: Record = {}
        self._file: int | None = None

    @contextmanager
    def held(self) -> Iterator[Record]:
        """The record, to be changed in place; what it holds at the end of the block is kept.

        An unreadable file yields ``{"unreadable": True}``; an empty or new one yields ``{}``.

        Raises
        ------
        Busy : another process holds it
        HydraError : the file cannot be opened or written
        """
        if not self._thread.acquire(blocking=False):
            raise Busy
        try:
            if self._path is None:
                yield self._kept
                return
            try:
                handle = self._handle(self._path)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            except OSError as error:
                raise HydraError(
                    f"cannot use {self._path} ({error.strerror or error})",
                    "Check the disk and the folder's permissions",
                ) from error
            try:
                record = _read(handle)
                yield record
                content = json.dumps(record, separators=(",", ":")).encode()
                os.pwrite(handle, content.ljust(SIZE), 0)
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def peek(self) -> Record:
        """The record as it is now, without the lock: for telling, not for deciding."""
        if self._path is None:
            return dict(self._kept)
        try:
            return _read(self._handle(self._path)) if self._path.exists() else {}
        except OSError:
            return {"unreadable": True}

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _handle(self, path: Path) -> int:
        if self._file is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._file


def _read(handle: int) -> Record:
    """The record in a file."""
    text = os.pread(handle, SIZE, 0).strip(b" \0")
    if not text:
        return {}
    try:
        record = json.loads(text)
    except ValueError:
        return {"unreadable": True}
    return record if isinstance(record, dict) else {"unreadable": True}
