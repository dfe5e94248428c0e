"""The tables in words, from their one definition: what ``docs/data.md`` and ``hydra lake tables`` say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from hydra_core.domain.tables import EXTERNAL, TABLES, Table

BEGIN: Final = "<!-- tables: written by `hydra lake tables` -->"
END: Final = "<!-- end of tables -->"


def describe(tables: Mapping[str, Table] = TABLES) -> str:
    """Markdown of every table: columns with units, source, delay, gaps; tables that differ in their grid alone are one."""
    return "\n\n".join(_section(together) for together in _alike(tables.values()))


def _alike(tables: Iterable[Table]) -> Iterator[list[Table]]:
    """Tables in order, those with the same words together."""
    groups: dict[tuple[object, ...], list[Table]] = {}
    for table in tables:
        words = (table.stamp, tuple(table.units.items()), table.source, table.delay, table.gaps, table.group)
        groups.setdefault(words, []).append(table)
    return iter(groups.values())


def _section(tables: list[Table]) -> str:
    first = tables[0]
    grid = ", ".join(str(table.interval) for table in tables) if first.interval else "none: rows come when they come"
    lines = [
        f"### {', '.join(table.name for table in tables)}",
        "",
        "| column | unit |",
        "| --- | --- |",
        f"| ts | {first.stamp} |",
        *(f"| {column} | {unit} |" for column, unit in _columns(first)),
        "",
        f"- Grid: {grid}.",
        f"- Source: {first.source}. Kept by the asset `{_asset(first)}`.",
        f"- Delay: {first.delay}.",
        f"- Gaps: {first.gaps}",
    ]
    return "\n".join(lines)


def _asset(table: Table) -> str:
    """Key of the asset that keeps a table."""
    return f"{EXTERNAL}/{table.name}" if table.via == EXTERNAL else f"market/{table.group}"


def _columns(table: Table) -> list[tuple[str, str]]:
    """Columns and units, neighbours of one unit on one line; numbered ones as their first and last."""
    units: dict[str, list[str]] = {}
    for column, unit in table.units.items():
        units.setdefault(unit, []).append(column)
    return [(_names(columns), unit) for unit, columns in units.items()]


def _names(columns: list[str]) -> str:
    stems = list(dict.fromkeys(column.rstrip("0123456789") for column in columns))
    if all(stem.endswith("_") for stem in stems):
        last = columns[-1].rpartition("_")[2]
        return ", ".join(f"{stem}1 to {stem}{last}" for stem in stems)
    return ", ".join(columns)
