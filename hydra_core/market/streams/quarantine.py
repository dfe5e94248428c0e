"""Where messages go that cannot be read: counted, kept in a bounded file for a person, never in the way.

Not here: judging messages (``messages``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loguru import logger

from hydra_core.domain.clock import Clock

MAX_BYTES: Final = 1_000_000
"""Size at which the file becomes ``.old``, replacing the one before: at most twice this much is kept."""
KEPT_CHARACTERS: Final = 2_000
PER_SECOND: Final = 20
"""Messages a wall second that are written and logged; a flood of rubbish is counted but fills neither disk nor log."""
_KEY: Final = re.compile(r'("listenKey"\s*:\s*")[^"]*')


class Quarantine:
    """Counts and keeps malformed messages.

    Parameters
    ----------
    clock : Clock, its wall time is read
    file : Path or None, where they are kept; None only counts
    """

    def __init__(self, clock: Clock, file: Path | None = None) -> None:
        self._clock = clock
        self._file = file
        self._second = (0, 0)
        self.told: Callable[[str], None] = lambda words: None
        """Told of every message that is set aside."""
        self.counts: Counter[str] = Counter()
        """By stream."""
        self.reasons: Counter[str] = Counter()
        """By the kind of error."""

    @property
    def total(self) -> int:
        """Messages set aside since the start."""
        return self.counts.total()

    def add(self, stream: str, error: BaseException, message: Any) -> None:
        """Set a message aside."""
        self.counts[stream] += 1
        self.reasons[type(error).__name__] += 1
        self.told(f"{stream}: {error!r}")
        now = self._clock.wall_ms()
        second, written = self._second
        if now // 1000 != second:
            second, written = now // 1000, 0
        self._second = (second, written + 1)
        if written >= PER_SECOND:
            return
        text = message if isinstance(message, str) else _plain(message)
        text = _KEY.sub(r"\1...", text)[:KEPT_CHARACTERS]
        logger.warning("malformed message of {} set aside ({!r}): {:.200}", stream, error, text)
        if self._file is not None:
            self._write({"wall_ms": now, "stream": stream, "error": repr(error)[:300], "message": text})

    def _write(self, row: dict[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.exists() and self._file.stat().st_size >= MAX_BYTES:
                self._file.replace(self._file.with_suffix(".old"))
            with self._file.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            logger.warning("{}: not written: {}", self._file, error)


def _plain(message: Any) -> str:
    if isinstance(message, (bytes, bytearray)):
        return message.decode(errors="replace")
    try:
        return json.dumps(message)
    except (TypeError, ValueError):
        return repr(message)
