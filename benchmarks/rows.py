"""A row of a benchmark, how its ratio is judged, the table on the screen and the file it is kept in.

Not here: what is measured.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

AT_LEAST = "at least"
AT_MOST = "at most"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Parameters
    ----------
    name : what is compared
    ours, peer : measured in the same run, both in ``unit``
    goal : what ``ours / peer`` is to reach, or not to exceed
    sense : :data:`AT_LEAST` for rates, :data:`AT_MOST` for durations
    notes : what the peer is and on how much data
    """

    name: str
    ours: float
    peer: float
    goal: float
    unit: str
    sense: str = AT_LEAST
    notes: str = ""

    def __post_init__(self) -> None:
        if self.sense not in (AT_LEAST, AT_MOST):
            raise ValueError(f"{self.name}: a goal is {AT_LEAST!r} or {AT_MOST!r}, not {self.sense!r}")
        if not (self.ours > 0 and self.peer > 0):
            raise ValueError(f"{self.name}: ours is {self.ours}, the peer {self.peer}; both must be above zero")

    @property
    def ratio(self) -> float:
        """Ours over the peer's, in the very unit that was measured."""
        return self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether the goal is reached, judged before any rounding."""
        return self.ratio >= self.goal if self.sense == AT_LEAST else self.ratio <= self.goal

    def to_json(self) -> dict[str, Any]:
        """The row as plain data, figures rounded to four significant digits."""
        return {
            "name": self.name,
            "ours": significant(self.ours),
            "peer": significant(self.peer),
            "ratio": significant(self.ratio),
            "goal": self.goal,
            "holds": self.holds,
            "unit": self.unit,
            "notes": f"goal: ratio {self.sense} {self.goal:g}; {self.notes}".rstrip("; "),
        }


@dataclass
class Report:
    """What a group's measuring hands back beside its rows: what could not be run here, and why."""

    say: Callable[[str], None] = lambda words: None
    left_out: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, why: str) -> None:
        """Name a row that this machine cannot run."""
        self.left_out[name] = why


def significant(value: float, digits: int = 4) -> float:
    """The value with so many significant digits."""
    return float(f"{value:.{digits}g}")


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass(frozen=True)
class Turns:
    """Seconds that ours and the peer took, one pair a turn."""

    taken: tuple[tuple[float, float], ...]

    @property
    def ours(self) -> float:
        """Median seconds of ours."""
        return statistics.median(ours for ours, _ in self.taken)

    @property
    def peer(self) -> float:
        """Median seconds of the peer."""
        return statistics.median(peer for _, peer in self.taken)

    def __str__(self) -> str:
        ratios = [peer / ours for ours, peer in self.taken]
        return f"{len(ratios)} turns, ratio from {min(ratios):.3g} to {max(ratios):.3g}"


def side_by_side(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int = 5, warm_up: bool = True
) -> Turns:
    """Time both in turns, so that a busy moment of the machine meets both alike."""
    if warm_up:
        ours()
        peer()
    return Turns(tuple((seconds(ours), seconds(peer)) for _ in range(repeats)))


def write_rows(group: str, rows: Sequence[Row], folder: Path = RESULTS, beside_others: bool = False) -> Path:
    """Keep a group's rows as ``<group>.json``, in one step; returns the file.

    With ``beside_others`` the file's rows of other names stay, where they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, fresh = folder / f"{group}.json", folder / f"{group}.json.tmp"
    told = {row.name: row.to_json() for row in rows}
    if beside_others and target.exists():
        told = {row["name"]: row for row in json.loads(target.read_text())} | told
    fresh.write_text(json.dumps(list(told.values()), indent=1) + "\n")
    fresh.replace(target)
    return target


def show(group: str, rows: Sequence[Row], left_out: Mapping[str, str], console: Console) -> None:
    """The table of a group, and below it what was left out."""
    table = Table(title=f"benchmarks: {group}", title_justify="left")
    table.add_column("what")
    for heading in ("ours", "peer", "ratio", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("holds")
    for row in rows:
        told = row.to_json()
        goal = f"{'>=' if row.sense == AT_LEAST else '<='} {row.goal:g}"
        figures = [f"{told[name]:,g}" for name in ("ours", "peer")]
        table.add_row(row.name, *figures, f"{row.ratio:.2f}", goal, row.unit, "yes" if row.holds else "no")
    console.print(table)
    for row in rows:
        console.print(f"  {row.name}: {row.notes}", style="dim", highlight=False)
    for name, why in left_out.items():
        console.print(f"  left out: {name}: {why}", style="yellow", highlight=False)
