"""A doorbell between the processes of a home: it hurries whoever waits for the next tick, and carries no data.

A named pipe in the home's ``run`` folder. What has changed is in the ledger or in the kill file; who misses the bell finds it
there at the next tick, so nothing depends on its being heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from loguru import logger

PIPE: Final = "trader.bell"
_NOBODY: Final = frozenset({errno.ENOENT, errno.ENXIO, errno.ENOTDIR})


def ring(folder: Path) -> bool:
    """Ring the bell of a home's ``run`` folder; False where nobody listens."""
    try:
        handle = os.open(folder / PIPE, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in _NOBODY:
            logger.warning("the doorbell {} cannot be rung: {}", folder / PIPE, error)
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(handle).st_mode):
            return False
        with contextlib.suppress(BlockingIOError):  # full of rings that were not heard yet
            os.write(handle, b"!")
        return True
    except BrokenPipeError:
        return False
    finally:
        os.close(handle)


class Doorbell:
    """The listening side; use it as a context manager inside a running event loop.

    Parameters
    ----------
    folder : Path
        The home's ``run`` folder. Where it can hold no pipe the bell stays silent.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PIPE
        self._rung = asyncio.Event()
        self._handles: list[int] = []

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            self._handles.append(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK))
            if not stat.S_ISFIFO(os.fstat(self._handles[0]).st_mode):
                raise OSError(errno.EINVAL, "not a pipe", str(self._path))
            self._handles.append(os.open(self._path, os.O_WRONLY | os.O_NONBLOCK))  # so that it never reads as ended
        except OSError as error:
            logger.warning("no doorbell, what happens is seen at the next tick: {}", error)
            self._close()
            return self
        asyncio.get_running_loop().add_reader(self._handles[0], self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handles:
            asyncio.get_running_loop().remove_reader(self._handles[0])
        self._close()

    async def wait(self, seconds: float) -> bool:
        """Return after so many wall seconds, or as soon as it rings; whether it rang."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._handles[0], 4096)
        self._rung.set()

    def _close(self) -> None:
        for handle in self._handles:
            os.close(handle)
        self._handles.clear()
