"""One trader per account: an operating-system lock on a file, freed by the kernel whenever its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra_core.domain.errors import LockHeld


@contextmanager
def trader_lock(folder: Path) -> Iterator[None]:
    """Hold the trader's lock of a market home.

    Parameters
    ----------
    folder : Path
        The home's ``run`` folder.

    Raises
    ------
    LockHeld : another process holds it; its process id is named
    """
    path = folder / "trader.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode().strip() or "unknown"
            raise LockHeld(
                f"the ledger in {folder.parent} is in use by another trader (process {owner})",
                "Stop it with `hydra down`, or use another market home (HYDRA_MARKET)",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
