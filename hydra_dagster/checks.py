"""Blocking checks of the market tables: Great Expectations over the rows of the run's partitions.

One validation covers all pairs and months of a run, because the library's import alone costs seconds. A failed one stops
what stands after it in the same run; the rows stay recorded, and nothing is promoted on them (``champions``).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from hydra_core.domain.intervals import month_span
from hydra_core.domain.market import INPUTS
from hydra_core.domain.pairs import Pair
from hydra_dagster import keys, reporting
from hydra_dagster.assets.market import LAKE_TABLES
from hydra_dagster.partitions import PAIR_MONTH, months_by_pair
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.lake.expectations import SuiteReport


def _reports(workshop: Workshop, lake_table: str, cells: Mapping[Pair, tuple[str, ...]]) -> "dict[Pair, SuiteReport]":
    """A report a pair over the span of its months; pairs without rows have none."""
    from hydra_core.lake.expectations import run_suites

    frames = {
        pair: workshop.lake.read(lake_table, pair, month_span(months[0])[0], month_span(months[-1])[1])
        for pair, months in cells.items()
    }
    return run_suites({pair: frame for pair, frame in frames.items() if frame.height}, lake_table)


def _lines(lake_table: str, reports: "Mapping[Pair, SuiteReport]") -> list[dict[str, Any]]:
    """What failed, pair by pair, or one line that says nothing did."""
    rows = sum(report.rows for report in reports.values())
    failed = [
        {
            "table": lake_table,
            "pair": pair,
            "rule": f"{line.name}({line.column})",
            "severity": line.severity,
            "rows": line.unexpected,
            "detail": line.detail,
        }
        for pair, report in reports.items()
        for line in report.failures()
    ]
    count = max((len(report.checks) for report in reports.values()), default=0)
    fine = {
        "table": lake_table,
        "pair": "all",
        "rule": f"{count} rules",
        "severity": "",
        "rows": rows,
        "detail": "passed",
    }
    return failed or [fine]


def _make(table: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=keys.market(table),
        name=keys.EXPECTATIONS,
        blocking=True,
        partitions_def=PAIR_MONTH,
        description="Columns, types, order, ranges and relations between columns of every row.",
    )
    def expectations(
        context: dg.AssetCheckExecutionContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.AssetCheckResult:
        cells = months_by_pair(context.partition_keys)
        with reporting.plain_failures():
            reports = {name: _reports(workshop, name, cells) for name in LAKE_TABLES[table]}
        lines = [line for name, found in reports.items() for line in _lines(name, found)]
        passed = all(report.passed for found in reports.values() for report in found.values())
        rows = sum(report.rows for found in reports.values() for report in found.values())
        broken = sum(line["severity"] == "critical" for line in lines)
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{rows} rows as expected" if passed else f"{broken} critical expectations failed",
            metadata={"rows": rows, "expectations": reporting.table(lines)},
        )

    return expectations


CHECKS: Final = [_make(table) for table in INPUTS]
