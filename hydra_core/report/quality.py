"""The report's data-quality page: what each table holds, what is missing and why, what checks said, what was corrected.

Only reads: checks ran where data was collected (``lake.quality``). Damage to files is looked for anew each time.
"""

from __future__ import annotations

from typing import Final

from hydra_core.domain.intervals import iso
from hydra_core.domain.tables import TABLES
from hydra_core.home import Home
from hydra_core.lake.gaps import GapState
from hydra_core.lake.listings import Listings
from hydra_core.lake.quality import Completeness, Verdict, completeness, verdicts
from hydra_core.lake.store import Lake, open_lake
from hydra_core.report.account import market_now
from hydra_core.report.sections import Section, Table
from hydra_core.settings import Settings

MOST: Final = 60
"""Rows of a list that a page shows; the rest is in the manifests."""


def quality_sections(home: Home, settings: Settings) -> list[Section]:
    """The data-quality page of a home's lake."""
    lake = open_lake(home.lake, settings.exchange, settings.lake_url)
    damaged = lake.verify()
    held = completeness(lake)
    said = verdicts(lake)
    now = market_now(home)
    tables = [
        _summary(held, damaged, now),
        _checks(said),
        _failures(said),
        _gaps(held),
        _revisions(held),
        _vanished(lake),
    ]
    text = (
        "Every file is checked against its recorded hash, every table against its expectations and other tables. A gap is "
        "repaired, verified as no trade, or unresolved; unresolved rows reach no model as numbers."
    )
    if damaged:
        tables.insert(1, Table(("problem",), [(line,) for line in damaged], "damaged files"))
    return [Section("data", "Data quality", text, (), [table for table in tables if table.rows])]


def _summary(held: list[Completeness], damaged: list[str], now_ms: int) -> Table:
    rows = [
        (
            one.table,
            one.pairs,
            f"{one.months[0]} to {one.months[1]}",
            one.rows,
            "" if one.share is None else f"{one.share:.4%}",
            _age(now_ms - one.newest_ms - (TABLES[one.table].interval.ms if TABLES[one.table].bars else 0)),  # type: ignore[union-attr]
            *(one.count(state) for state in GapState),
            len(one.revisions),
            "damaged" if any(f"/{one.table}/" in problem for problem in damaged) else "held",
        )
        for one in held
    ]
    columns = ("table", "pairs", "months", "rows", "complete", "newest row", *(str(state) for state in GapState))
    return Table((*columns, "corrections", "hashes"), rows, "tables")


def _checks(said: list[Verdict]) -> Table:
    rows = []
    for table in dict.fromkeys(verdict.table for verdict in said):
        these = [verdict for verdict in said if verdict.table == table]
        failures = [line for verdict in these for line in verdict.failures]
        critical = sum(line.severity == "critical" for line in failures)
        verdict = "failed" if critical else "passed"
        rows.append((table, len(these), max(one.rules for one in these), critical, len(failures) - critical, verdict))
    return Table(("table", "pairs", "rules", "critical", "warnings", "verdict"), rows, "expectations and comparisons")


def _failures(said: list[Verdict]) -> Table:
    rows = [
        (verdict.table, verdict.pair, line.name, line.severity, line.detail)
        for verdict in said
        for line in verdict.failures
    ]
    return Table(("table", "pair", "rule", "severity", "what"), rows[:MOST], f"what did not hold ({len(rows)})")


def _gaps(held: list[Completeness]) -> Table:
    rows = [
        (one.table, pair, iso(gap.start), iso(gap.end), str(gap.state), str(gap.kind))
        for one in held
        for pair, gap in one.gaps
    ]
    rows.sort(key=lambda row: (row[4] != GapState.UNRESOLVED, row))
    return Table(
        ("table", "pair", "from", "to", "state", "where"), rows[:MOST], f"gaps ({len(rows)}), unresolved first"
    )


def _revisions(held: list[Completeness]) -> Table:
    rows = [
        (one.table, pair, month, revision.number, iso(revision.as_of_ms), revision.changed, revision.late,
         revision.withdrawn, iso(revision.first_ms))
        for one in held
        for pair, month, revision in one.revisions
    ]  # fmt: skip
    columns = ("table", "pair", "month", "revision", "replaced", "changed", "late", "withdrawn", "first row")
    return Table(columns, rows[-MOST:], f"corrections after the fact ({len(rows)})")


def _vanished(lake: Lake) -> Table:
    rows = [
        (one.pair, one.status, iso(one.vanished_ms), str(one.rules.tick_size), str(one.rules.step_size))
        for one in Listings(lake).read().values()
        if one.vanished_ms
    ]
    return Table(("pair", "last status", "gone since", "tick", "step"), rows, "contracts that are listed no more")


def _age(ms: int) -> str:
    """A span in the unit that a person thinks of it in."""
    seconds = max(0, ms) / 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{seconds:.0f} s old"
