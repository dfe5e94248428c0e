"""Files that a lake never deletes, because a model card or a decision names them: content hashes, and who needs each.

One JSON file at the lake's root. Which files go otherwise is the store's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from hydra_core.domain.errors import DataCorrupt, HydraError
from hydra_core.lake.files import Changed, locked, read_versioned, write_versioned

NAME: Final = "pins.json"
NAMED_BY: Final = 12
"""Leading digits of its content hash that a file's name ends with."""
ATTEMPTS: Final = 16


class Pins:
    """The pins of one lake.

    Parameters
    ----------
    root : Path, the lake's
    """

    def __init__(self, root: Path) -> None:
        self._path = root / NAME
        self._lock = root / ".pins.lock"

    def held(self) -> AbstractContextManager[None]:
        """No pin is added by this machine's processes for the length of a block: what is not pinned may be deleted in it."""
        return locked(self._lock)

    def read(self) -> dict[str, list[str]]:
        """Content hash -> who needs it; raises DataCorrupt where the file is not readable."""
        return self._open()[0]

    def names(self) -> set[str]:
        """What the names of pinned files end with."""
        return {content_hash[:NAMED_BY] for content_hash in self.read()}

    def add(self, hashes: Iterable[str], by: str) -> None:
        """Keep files of these content hashes for ever."""
        wanted = list(hashes)
        for _ in range(ATTEMPTS):
            with self.held():
                pins, version = self._open()
                for content_hash in wanted:
                    pins[content_hash] = sorted({*pins.get(content_hash, []), by})
                try:
                    write_versioned(self._path, json.dumps(pins, indent=1, sort_keys=True).encode(), version)
                    return
                except Changed:
                    continue  # another machine pinned something: put ours beside it
        raise HydraError(f"others write {self._path} all the time", "Run it again")

    def _open(self) -> tuple[dict[str, list[str]], str]:
        content, version = read_versioned(self._path)
        try:
            pins: dict[str, list[str]] = json.loads(content or b"{}")
        except ValueError as error:
            raise DataCorrupt(
                f"{self._path} is not readable ({error})", "Restore it from a backup; nothing is deleted"
            ) from error
        return pins, version
