"""Checks of the tables: Great Expectations over the rows of the run's partitions, and tables held against each other.

One validation covers all pairs and months of a run, because the library's import alone costs seconds. *Critical* becomes a
blocking error: what stands after it in the same run is stopped, the rows stay recorded, and nothing is promoted on them
(``champions``). *Warning* becomes a warning, for a person. Both are kept beside the lake for the report.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from hydra_core.domain.intervals import month_span
from hydra_core.domain.market import CANDLES, FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CAPTURES, EXTERNAL_TABLES, REFERENCE_PRICES
from hydra_dagster import keys, reporting
from hydra_dagster.assets.market import LAKE_TABLES
from hydra_dagster.partitions import PAIR_MONTH, months_by_pair
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.lake.expectations import SuiteReport


def _reports(workshop: Workshop, lake_table: str, cells: Mapping[Pair, tuple[str, ...]]) -> "dict[Pair, SuiteReport]":
    """A report a pair over the span of its months; pairs without rows have none."""
    from hydra_core.lake.expectations import run_suites
    from hydra_core.lake.quality import record

    frames = {
        pair: workshop.lake.read(lake_table, pair, month_span(months[0])[0], month_span(months[-1])[1])
        for pair, months in cells.items()
    }
    held = {pair: frame for pair, frame in frames.items() if frame.height}
    reports = run_suites(held, lake_table)
    record(
        workshop.lake, lake_table, reports, {pair: int(frame["ts"].dt.epoch("ms")[-1]) for pair, frame in held.items()}
    )
    return reports


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
            return _result({name: _reports(workshop, name, cells) for name in LAKE_TABLES[table]})

    return expectations


def _result(reports: "Mapping[str, Mapping[Pair, SuiteReport]]") -> dg.AssetCheckResult:
    """What was found in each lake table, as one check."""
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


LOOKED_THROUGH: Final = 2
"""Newest months of what comes from elsewhere that every look checks again."""


def _make_external(table: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=keys.external(table),
        name=keys.EXPECTATIONS,
        blocking=True,
        description="Columns, types, order and ranges of the newest rows, and that none was known before it was so.",
    )
    def expectations(workshop: dg.ResourceParam[Workshop]) -> dg.AssetCheckResult:
        from hydra_core.lake.expectations import run_suites
        from hydra_core.lake.quality import record

        with reporting.plain_failures():
            frames = {
                pair: lake.read(table, pair, month_span(lake.months(table, pair)[-LOOKED_THROUGH:][0])[0])
                for lake in workshop.lake.sources(table)
                for pair in lake.pairs(table)
            }
            reports = run_suites(frames, table)
            newest = {pair: int(frame["ts"].dt.epoch("ms")[-1]) for pair, frame in frames.items()}
            record(workshop.lake, table, reports, newest)
            return _result({table: reports})

    return expectations


STOPPING: Final = (REFERENCE_PRICES,)
"""Market assets with a comparison that is critical; the others' are warnings and stop nothing."""


def _make_cross(group: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=keys.market(group),
        name=keys.CROSS_CHECKS,
        blocking=group in STOPPING,
        partitions_def=PAIR_MONTH,
        description="What one table says follows from what others do: intervals, mark and last price, funding and premium.",
    )
    def cross_checks(
        context: dg.AssetCheckExecutionContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.AssetCheckResult:
        from hydra_core.lake.crosschecks import run_cross_checks
        from hydra_core.lake.quality import record_lines

        cells = months_by_pair(context.partition_keys)
        spans = {pair: (month_span(months[0])[0], month_span(months[-1])[1]) for pair, months in cells.items()}
        with reporting.plain_failures():
            found = run_cross_checks(workshop.lake, group, spans, workshop.home.spool)
            record_lines(workshop.lake, group, found)
        failed = [(pair, line) for pair, lines in found.items() for line in lines if not line.passed]
        broken = any(line.severity == "critical" for _, line in failed)
        return dg.AssetCheckResult(
            passed=not failed,
            severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
            description=f"{len(failed)} comparisons failed" if failed else "the tables agree",
            metadata={
                "comparisons": reporting.table(
                    [
                        {"pair": pair, "comparison": line.name, "severity": line.severity, "detail": line.detail}
                        for pair, line in failed
                    ]
                )
            },
        )

    return cross_checks


CROSS_CHECKED: Final = (CANDLES, FUNDING, REFERENCE_PRICES, CAPTURES)
"""Market assets that have something to be compared with."""
CHECKS: Final = [
    *(_make(table) for table in keys.MARKET_TABLES),
    *(_make_cross(table) for table in CROSS_CHECKED),
    *(_make_external(table) for table in EXTERNAL_TABLES),
]
