"""``python -m benchmarks [group ...] [--json]``: measure, show a table, keep ``benchmarks/results/<group>.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

from rich.console import Console

from benchmarks.rows import Report, show, write_rows

GROUPS = ("decision", "execution", "market", "research", "statistics")
KEPT_IN = {"statistics": "research"}
"""Groups whose rows stand in the file of another one, beside its own."""


def main(arguments: list[str] | None = None) -> int:
    """Run the groups asked for, all of them when none is named; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="HYDRA against peers and limits")
    parser.add_argument("groups", nargs="*", metavar="group", help=f"one of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
    asked = parser.parse_args(arguments)
    unknown = [group for group in asked.groups if group not in GROUPS]
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    console = Console(stderr=asked.json, width=None if sys.stderr.isatty() or sys.stdout.isatty() else 120)
    told: dict[str, Any] = {"groups": {}, "left_out": {}}
    for group in asked.groups or GROUPS:
        report = Report(say=lambda words: console.print(f"  {words} ...", style="dim"))
        rows = importlib.import_module(f"benchmarks.{group}").measure(report)
        shared = group in KEPT_IN or group in KEPT_IN.values()
        kept = write_rows(KEPT_IN.get(group, group), rows, beside_others=shared)
        show(group, rows, report.left_out, console)
        console.print(f"  kept in benchmarks/results/{kept.name}\n")
        told["groups"][group] = [row.to_json() for row in rows]
        told["left_out"].update(report.left_out)
    if asked.json:
        sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
