"""What a language model answered before, by the state it saw, and how often it was asked today; one small JSON file.

It survives window runs, which last minutes: without it every new window would ask again. Losing it costs money, nothing
else, so an unreadable file is set aside and started afresh.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock
from typing import Any, Final

from loguru import logger

from hydra_core.alpha.analyst.schema import AnswerRefused, Draft, parse
from hydra_core.domain.intervals import DAY_MS

CAPACITY: Final = 512


class AnswerCache:
    """Drafts by model and state, and calls by day.

    Parameters
    ----------
    path : Path or None, where it is kept; None keeps it in memory
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = Lock()
        self._answers: dict[str, str] = {}
        self._day, self._calls = 0, 0
        if path is not None and path.exists():
            self._read(path)

    def get(self, model: str, state_hash: str) -> Draft | None:
        """The draft that a model gave for a state, if it is remembered."""
        with self._lock:
            text = self._answers.get(f"{model}:{state_hash}")
        if text is None:
            return None
        try:
            return parse(text)
        except AnswerRefused:
            return None

    def put(self, model: str, state_hash: str, draft: Draft) -> None:
        """Remember a draft; the oldest one makes room."""
        with self._lock:
            self._answers.pop(f"{model}:{state_hash}", None)
            self._answers[f"{model}:{state_hash}"] = draft.model_dump_json()
            while len(self._answers) > CAPACITY:
                self._answers.pop(next(iter(self._answers)))
            self._write()

    def count_call(self, wall_ms: int, limit: int) -> bool:
        """Count a call on its UTC day; False, and nothing counted, when the day's limit is reached."""
        with self._lock:
            day = wall_ms // DAY_MS
            if day != self._day:
                self._day, self._calls = day, 0
            if self._calls >= limit:
                return False
            self._calls += 1
            self._write()
            return True

    def _read(self, path: Path) -> None:
        try:
            plain: dict[str, Any] = json.loads(path.read_text())
            self._answers = {str(key): str(text) for key, text in plain["answers"].items()}
            self._day, self._calls = int(plain["day"]), int(plain["calls"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            aside = path.with_suffix(".unreadable")
            path.replace(aside)
            logger.warning("analyst cache {} was unreadable ({}), set aside as {}", path, type(error).__name__, aside)

    def _write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps({"day": self._day, "calls": self._calls, "answers": self._answers}))
        fresh.replace(self._path)
