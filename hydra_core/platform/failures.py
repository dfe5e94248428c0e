"""Failed runs as lines in a file of the home, so that they are seen without opening the web UI."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hydra_core.home import Home

KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class FailureLine:
    """A run that failed: which, when (wall time), and what failed first."""

    run_id: str
    job: str
    wall_ms: int
    error: str


def note_failure(home: Home, line: FailureLine) -> None:
    """Keep a failed run; noting the same run again changes nothing."""
    known = failures(home)
    if any(kept.run_id == line.run_id for kept in known):
        return
    path = _path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text("".join(json.dumps(asdict(kept)) + "\n" for kept in [*known, line][-KEPT:]))
    fresh.replace(path)


def failures(home: Home) -> list[FailureLine]:
    """The newest failed runs, oldest first."""
    path = _path(home)
    if not path.exists():
        return []
    return [FailureLine(**json.loads(line)) for line in path.read_text().splitlines() if line]


def _path(home: Home) -> Path:
    return home.run / "failures.jsonl"
