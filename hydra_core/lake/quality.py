"""What checks last said of each table, kept beside it, and the figures of a table's completeness: what a report shows.

Checks run where data is collected; a report only reads. Not here: the checks themselves (:mod:`expectations`,
:mod:`crosschecks`) and how they are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import EXTERNAL_TABLES, TABLES
from hydra_core.lake.expectations import CheckLine, SuiteReport
from hydra_core.lake.files import locked, read_versioned, write_atomic
from hydra_core.lake.gaps import Gap, GapState
from hydra_core.lake.manifest import Revision
from hydra_core.lake.rules import WARNING
from hydra_core.lake.store import QUALITY, Lake

CROSS: Final = "cross-"
ASIDE: Final = "aside-"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was last checked of one table and pair: rows, up to which stamp, how many rules, and those that failed."""

    table: str
    pair: Pair
    rows: int
    until_ms: int
    rules: int
    failures: tuple[CheckLine, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing critical failed."""
        return not any(line.severity == "critical" for line in self.failures)


@dataclass(frozen=True, slots=True)
class Completeness:
    """One table's figures over all pairs and months.

    Parameters
    ----------
    table : str
    pairs : int
    months : first and last month
    rows : int
    expected : int, rows that the grid should have over the spans asked for; 0 for tables without a grid
    newest_ms : int, stamp of the newest row
    gaps : (pair, gap), every gap on record
    revisions : (pair, month, revision)
    """

    table: str
    pairs: int
    months: tuple[str, str]
    rows: int
    expected: int
    newest_ms: int
    gaps: tuple[tuple[Pair, Gap], ...]
    revisions: tuple[tuple[Pair, str, Revision], ...]

    @property
    def share(self) -> float | None:
        """Rows that are there of those that should be; None without a grid."""
        return self.rows / self.expected if self.expected else None

    def count(self, state: GapState) -> int:
        """Gaps of a state."""
        return sum(gap.state is state for _, gap in self.gaps)


def record(lake: Lake, table: str, reports: Mapping[Pair, SuiteReport], until_ms: Mapping[Pair, int]) -> None:
    """Keep what a suite said of a table, pair by pair; pairs that were not checked keep their last word."""
    found = {
        pair: {
            "rows": report.rows,
            "until_ms": until_ms.get(pair, 0),
            "rules": len(report.checks),
            "failures": [asdict(line) for line in report.failures()],
        }
        for pair, report in reports.items()
    }
    _update(_file(lake, table), found)


def record_lines(lake: Lake, name: str, lines: Mapping[Pair, Iterable[CheckLine]]) -> None:
    """Keep what the comparisons of a market asset said (``name``), pair by pair."""
    _keep(lake, f"{CROSS}{name}", lines)


def _keep(lake: Lake, name: str, lines: Mapping[Pair, Iterable[CheckLine]]) -> None:
    found = {}
    for pair, these in lines.items():
        every = list(these)
        failed = [asdict(line) for line in every if not line.passed]
        found[pair] = {"rows": 0, "until_ms": 0, "rules": len(every), "failures": failed}
    _update(_file(lake, name), found)


def record_aside(lake: Lake, found: Mapping[str, Mapping[Pair, tuple[str, ...]]]) -> None:
    """Keep which rows of the exchange were set aside, table by table and pair by pair; a pair that is clean now is told so."""
    for table, by_pair in found.items():
        known = _read(_file(lake, f"{ASIDE}{table}"))
        told = {pair: rows for pair, rows in by_pair.items() if rows or pair in known}
        lines = {
            pair: [
                CheckLine(
                    "rows_are_believable",
                    table,
                    not rows,
                    WARNING,
                    len(rows),
                    f"set aside, first {rows[0]}" if rows else "",
                )
            ]
            for pair, rows in told.items()
        }
        if lines:
            _keep(lake, f"{ASIDE}{table}", lines)


def verdicts(lake: Lake) -> list[Verdict]:
    """What was last said of every table, of every comparison (``cross-…``), and of rows set aside (``aside-…``)."""
    groups = dict.fromkeys(table.group for table in TABLES.values())
    names = [
        *TABLES,
        *EXTERNAL_TABLES,
        *(f"{CROSS}{group}" for group in groups),
        *(f"{ASIDE}{table}" for table in TABLES),
    ]
    found = []
    for name in names:
        for pair, word in sorted(_read(_file(lake, name)).items()):
            failures = tuple(CheckLine(**line) for line in word["failures"])
            found.append(Verdict(name, Pair(pair), word["rows"], word["until_ms"], word["rules"], failures))
    return found


def completeness(lake: Lake) -> list[Completeness]:
    """Figures of every table that holds something."""
    found = []
    for table, spec in TABLES.items():
        entries = [
            (pair, month, entry) for pair, months in lake.entries(table).items() for month, entry in months.items()
        ]
        if not entries:
            continue
        months = sorted(month for _, month, _ in entries)
        step = spec.interval.ms if spec.interval else 0
        found.append(
            Completeness(
                table=table,
                pairs=len({pair for pair, _, _ in entries}),
                months=(months[0], months[-1]),
                rows=sum(entry.rows for _, _, entry in entries),
                expected=sum(_slots(entry.start_ms, entry.last_ms + step, step) for _, _, entry in entries)
                if step
                else 0,
                newest_ms=max(entry.last_ms for _, _, entry in entries),
                gaps=tuple((pair, gap) for pair, _, entry in sorted(entries) for gap in entry.gaps),
                revisions=tuple(
                    (pair, month, one) for pair, month, entry in sorted(entries) for one in entry.revisions
                ),
            )
        )
    return found


def _slots(start_ms: int, end_ms: int, step_ms: int) -> int:
    """Points of a grid in [start, end)."""
    return max(0, -(-end_ms // step_ms) + (-start_ms // step_ms))


def _file(lake: Lake, name: str) -> Path:
    return lake.root / QUALITY / f"{lake.venue}-{name}.json"


def _update(path: Path, found: Mapping[Pair, Any]) -> None:
    with locked(path.with_name(f".{path.name}.lock")):
        write_atomic(path, json.dumps({**_read(path), **found}, indent=1, sort_keys=True).encode())


def _read(path: Path) -> dict[str, Any]:
    content, _ = read_versioned(path)
    try:
        word: dict[str, Any] = json.loads(content or b"{}")
    except ValueError as error:
        raise DataCorrupt(
            f"{path} is not readable ({error})", "Delete it; the next collection writes it anew"
        ) from error
    return word
