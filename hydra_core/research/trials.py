"""What was tried and what was looked at: every trial of every sweep, every reading of a lock-box. Append-only.

Both are JSON lines, one record a line under a key. Writing a trial again changes nothing, a reading again is another record.
Nothing is ever removed: a trial that failed or was pruned was a trial, and a lock-box that was read twice was read twice.
Not here: what follows from the counts (``gates``).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt

TRIALS: Final = "trials.jsonl"
READINGS: Final = "lockbox.jsonl"
VALIDATION: Final = "validation"
COMPARISON: Final = "champion comparison"
BACKTEST: Final = "backtest"
"""Why a lock-box was read."""


class Journal:
    """An append-only file of keyed records, safe for several processes.

    Parameters
    ----------
    path : Path of the file; made when first written to
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, key: str, record: Mapping[str, Any], *, again: bool = False) -> bool:
        """Append a record unless its key is there; returns whether it was appended.

        Parameters
        ----------
        again : append in any case, under the key and the number of the time (``key#2``) from the second on
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            keys = {row["key"] for row in self._parse(text)}
            if again:
                time = 1 + sum(one == key or one.startswith(f"{key}#") for one in keys)
                key = key if time == 1 else f"{key}#{time}"
            elif key in keys:
                return False
            if text and not text.endswith("\n"):
                file.write("\n")
            file.write(json.dumps({"key": key, **record}, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
            return True

    def records(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        return self._parse(self.path.read_text()) if self.path.exists() else []

    def _parse(self, text: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                if number == len(lines) and not text.endswith("\n"):
                    continue  # the last line of a writer that was killed: it was never acknowledged
                raise DataCorrupt(f"{self.path}, line {number} is no record: {error}", "Restore the file") from error
        return rows


def trial_ledger(studies: Path) -> Journal:
    """Every trial of every sweep of this home."""
    return Journal(studies / TRIALS)


def trials_of(studies: Path, study: str) -> list[dict[str, Any]]:
    """Trials of one study, aborted and pruned ones included, in order of their number."""
    rows = [row for row in trial_ledger(studies).records() if row["study"] == study]
    return sorted(rows, key=lambda row: int(row["number"]))


def lockbox_ledger(studies: Path) -> Journal:
    """Every reading of every lock-box of this home."""
    return Journal(studies / READINGS)


def read_lockbox(studies: Path, *, span_ms: tuple[int, int], kind: str, version: str, reason: str = VALIDATION) -> int:
    """Write down that a model is about to be traded or judged on a lock-box, each time anew.

    Parameters
    ----------
    span_ms : first and last bar that is read, epoch ms; of a backtest the whole span, as a lock-box may come to lie in it
    reason : :data:`VALIDATION`, :data:`COMPARISON` or :data:`BACKTEST`

    Returns
    -------
    int : how many versions of that kind have read an overlapping span for that reason so far, this one included: as often
        as one is looked at, it is one candidate that luck may have chosen
    """
    ledger = lockbox_ledger(studies)
    record = {"kind": kind, "version": version, "start_ms": span_ms[0], "end_ms": span_ms[1], "reason": reason}
    ledger.add(f"{kind}/{version}/{span_ms[0]}-{span_ms[1]}", record, again=True)
    readers = {
        row["version"]
        for row in ledger.records()
        if row["kind"] == kind
        and row.get("reason", VALIDATION) == reason
        and row["start_ms"] < span_ms[1]
        and span_ms[0] < row["end_ms"]
    }
    return len(readers)
