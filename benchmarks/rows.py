"""A row of a benchmark, how its ratio is judged, the table on the screen and the file it is kept in.

Not here: what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.intervals import iso

RESULTS = Path(__file__).parent / "results"

AT_LEAST = "at least"
AT_MOST = "at most"


class Disagreement(RuntimeError):
    """Ours and the peer come to different results on the same job: then there is nothing to time."""


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

    @property
    def sentence(self) -> str:
        """The row in words, to be quoted: both figures, their ratio, the goal and whether it is reached."""
        ours, peer = (f"{significant(value, 3):,g}" for value in (self.ours, self.peer))
        reached = "reached" if self.holds else "missed"
        ratio = f"{self.ratio:,.3g} times" if self.ratio < 100 else f"{self.ratio:,.0f} times"
        return f"{self.name}: {ours} {self.unit} beside {peer}, {ratio} (goal {self.sense} {self.goal:g}, {reached})"

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
            "says": self.sentence,
            "notes": f"goal: ratio {self.sense} {self.goal:g}; {self.notes}".rstrip("; "),
        }


@dataclass
class Report:
    """What a group's measuring is told, and what it hands back beside its rows: what could not be run here, and why.

    Parameters
    ----------
    quick : small sizes, to see that everything runs; the figures say nothing and are not kept
    """

    say: Callable[[str], None] = lambda words: None
    left_out: dict[str, str] = field(default_factory=dict)
    quick: bool = False

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

    @property
    def middle(self) -> tuple[float, float]:
        """Seconds of ours and of the peer in the turn whose ratio is the median one (of an even number, the lower)."""
        ordered = sorted(self.taken, key=lambda turn: turn[1] / turn[0])
        return ordered[(len(ordered) - 1) // 2]

    def __str__(self) -> str:
        ratios = [peer / ours for ours, peer in self.taken]
        return f"{len(ratios)} turns, ratio from {min(ratios):.3g} to {max(ratios):.3g}"


def side_by_side(
    ours: Callable[[], object],
    peer: Callable[[], object],
    repeats: int = 5,
    warm_up: bool = True,
    swapping: bool = False,
) -> Turns:
    """Time both in turns, so that a busy moment of the machine meets both alike.

    Parameters
    ----------
    warm_up : whether both are run once before, untimed
    swapping : whether the peer goes first in every second turn, so that what one leaves behind meets the other as often
    """
    if warm_up:
        ours()
        peer()
    taken = []
    for turn in range(repeats):
        if swapping and turn % 2:
            theirs, mine = seconds(peer), seconds(ours)
        else:
            mine, theirs = seconds(ours), seconds(peer)
        taken.append((mine, theirs))
    return Turns(tuple(taken))


def machine() -> str:
    """Day and processor that figures were taken on."""
    names = [platform.processor() or platform.machine()]
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        names = [
            line.partition(":")[2].strip() for line in listing.read_text().splitlines() if "model name" in line
        ] or names
    return f"{iso(SystemClock().wall_ms())[:10]}, {os.cpu_count()} cores, {names[0]}"


def write_rows(
    group: str,
    rows: Sequence[Row],
    folder: Path = RESULTS,
    beside_others: bool = False,
    still: Sequence[str] | None = None,
) -> Path:
    """Keep a group's rows as ``<group>.json``, in one step; returns the file.

    Parameters
    ----------
    beside_others : the file's rows of other names stay, where they are
    still : names that rows of this group may have; with it, rows beside that have another one go
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, fresh = folder / f"{group}.json", folder / f"{group}.json.tmp"
    measured = machine()
    told = {row.name: {**row.to_json(), "measured": measured} for row in rows}
    if beside_others and target.exists():
        told = {row["name"]: row for row in json.loads(target.read_text())} | told
    if still is not None:
        told = {name: row for name, row in told.items() if name in still}
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
