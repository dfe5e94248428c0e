"""``python -m benchmarks [group ...] [--json]``: measure, show a table, keep ``benchmarks/results/<group>.json``.

A group of several parts is kept part by part: what was measured before an interruption stands. ``--part`` measures some of
them, ``--quick`` runs everything on small sizes and keeps nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from benchmarks.rows import Disagreement, Report, Row, show, write_rows

GROUPS = ("decision", "execution", "market", "research")
Part = Callable[[Report], list[Row]]


def main(arguments: list[str] | None = None) -> int:
    """Run the groups asked for, all of them when none is named; 1 when a part's two sides did not agree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="HYDRA against peers and limits")
    parser.add_argument("groups", nargs="*", metavar="group", help=f"one of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: whether it runs, not how fast; keeps nothing"
    )
    parser.add_argument("--part", action="append", metavar="NAME", help="this part of the group alone; may be repeated")
    asked = parser.parse_args(arguments)
    unknown = [group for group in asked.groups if group not in GROUPS]
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    console = Console(stderr=asked.json, width=None if sys.stderr.isatty() or sys.stdout.isatty() else 120)
    told: dict[str, Any] = {"groups": {}, "left_out": {}, "disagreements": {}}
    for group in asked.groups or GROUPS:
        parts = parts_of(group)
        missing = [name for name in asked.part or () if name not in parts]
        if missing:
            parser.error(f"{group} has no part {', '.join(missing)}; there are {', '.join(parts)}")
        chosen = {name: part for name, part in parts.items() if not asked.part or name in asked.part}
        report = Report(say=lambda words: console.print(f"  {words} ...", style="dim"), quick=asked.quick)
        rows, faults = run_parts(group, chosen, report)
        show(group, rows, report.left_out, console)
        if not asked.quick:
            # A run of every part knows all the names there are: rows of an earlier measuring of other things go.
            complete = len(chosen) == len(parts) and not faults
            still = [*(row.name for row in rows), *report.left_out] if complete else None
            kept = write_rows(group, rows, beside_others=len(parts) > 1, still=still)
            console.print(f"  kept in benchmarks/results/{kept.name}\n")
        for name, why in faults.items():
            console.print(f"  {name}: {why}", style="bold red", highlight=False)
        told["groups"][group] = [row.to_json() for row in rows]
        told["left_out"].update(report.left_out)
        told["disagreements"].update(faults)
    if asked.json:
        sys.stdout.write(json.dumps(told) + "\n")
    return 1 if told["disagreements"] else 0


def parts_of(group: str) -> Mapping[str, Part]:
    """The parts of a group by name; one of its own name where it has no parts."""
    module = importlib.import_module(f"benchmarks.{group}")
    parts: Mapping[str, Part] = getattr(module, "PARTS", None) or {group: module.measure}
    return parts


def run_parts(group: str, parts: Mapping[str, Part], report: Report) -> tuple[list[Row], dict[str, str]]:
    """Rows of all parts, kept as they come, and the parts whose two sides did not agree, with the reason."""
    rows: list[Row] = []
    faults: dict[str, str] = {}
    for name, part in parts.items():
        try:
            found = part(report)
        except Disagreement as error:
            faults[name] = str(error)
            continue
        rows += found
        if len(parts) > 1 and not report.quick:
            write_rows(group, found, beside_others=True)
    return rows, faults


if __name__ == "__main__":
    sys.exit(main())
