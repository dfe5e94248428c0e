"""Whether a table's rows are what :mod:`rules` says: run by Great Expectations, reported as ours.

What must be exact over a grid (order, cadence, holes) is a polars expression in the same report. Great Expectations takes
seconds to import, so that happens in :func:`run_suite` and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import polars as pl
from polars import selectors

from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import APPENDED, CANDLE_TABLES, cadence_of, schema_of, table_of
from hydra_core.lake.rules import CRITICAL, RULES, WARNING, Rule

MAX_QUIET_SHARE: Final = 0.01
"""Share of a pair's bars without a trade that is worth a look; single ones are outages."""
MAX_BAR_MOVE: Final = 0.5
"""Log move from open to close that is worth a look; the cascade of 2025-10-10 stayed below it."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One expectation's outcome: how many rows broke it, and an example in words."""

    name: str
    column: str
    passed: bool
    severity: str
    unexpected: int
    detail: str


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """All expectations of one table's rows."""

    table: str
    rows: int
    checks: tuple[CheckLine, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing critical failed."""
        return not self.failures(CRITICAL)

    def failures(self, severity: str | None = None) -> tuple[CheckLine, ...]:
        """Checks that failed, of one severity or of all."""
        return tuple(line for line in self.checks if not line.passed and severity in (None, line.severity))


def run_suite(frame: pl.DataFrame, table: str, known: Sequence[Rule] = ()) -> SuiteReport:
    """Check rows of one table.

    Parameters
    ----------
    frame : polars.DataFrame, the table's columns; with a ``pair`` column, rows of several pairs one after the other
    table : str
    known : rules that these rows are known to hold to, and that are not asked again

    Returns
    -------
    SuiteReport : a failure is a line in it, not an error
    """
    keyed = "pair" in frame.columns
    rules = _rules(table, keyed)
    asked = tuple(place for place, rule in enumerate(rules) if rule not in known)
    shown = frame.with_columns(selectors.datetime().dt.epoch("ms")) if _has_time(frame) else frame
    batch = _batches().get_batch(batch_parameters={"dataframe": shown.to_pandas()})
    results = batch.validate(_suite(table, keyed, asked), result_format="BOOLEAN_ONLY").results
    if not all(result.success for result in results):  # which rows broke a rule costs far more than whether any did
        results = batch.validate(_suite(table, keyed, asked), result_format="SUMMARY").results
    found = {int(result.expectation_config.meta["place"]): result for result in results}
    lines = [_line(rule, found[place] if place in asked else None) for place, rule in enumerate(rules)]
    return SuiteReport(table, frame.height, (*lines, *_grid_lines(frame, table)))


def run_suites(frames: Mapping[Pair, pl.DataFrame], table: str) -> dict[Pair, SuiteReport]:
    """A report a pair, at the price of about one: all pairs are checked at once, and one by one only what fails."""
    if not frames:
        return {}
    together = pl.concat(
        [frame.select(pl.lit(str(pair)).alias("pair"), pl.all()) for pair, frame in frames.items()], how="vertical"
    )
    report = run_suite(together, table)
    if report.failures():
        # Rules are about single rows, so what holds for all pairs together holds for each.
        held = [rule for rule, line in zip(_rules(table, keyed=True), report.checks, strict=False) if line.passed]
        return {pair: run_suite(frame, table, held) for pair, frame in frames.items()}
    return {pair: replace(report, rows=frame.height) for pair, frame in frames.items()}


@cache
def _batches() -> Any:
    """Great Expectations, set up once a process: where its batches come from."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("rows")


@cache
def _suite(table: str, keyed: bool, asked: tuple[int, ...]) -> Any:
    """The table's rules at the places asked for, as Great Expectations takes them."""
    import great_expectations as gx
    from great_expectations import expectations

    return gx.ExpectationSuite(
        name=f"{table}{'_by_pair' if keyed else ''}",
        expectations=[
            getattr(expectations, rule.kind)(**rule.arguments, severity=rule.severity, meta={"place": place})
            for place, rule in enumerate(_rules(table, keyed))
            if place in asked
        ],
    )


def _rules(table: str, keyed: bool) -> tuple[Rule, ...]:
    """The table's list for a frame with or without a pair column."""
    schema = schema_of(table)
    expected = ["pair", *schema] if keyed else list(schema)
    rules = [Rule("ExpectTableColumnsToMatchOrderedList", {"column_list": expected})]
    lacking = table_of(table).may_lack
    rules += [Rule("ExpectColumnValuesToNotBeNull", {"column": column}) for column in expected if column not in lacking]
    if table not in APPENDED:
        once = Rule("ExpectCompoundColumnsToBeUnique", {"column_list": ["pair", "ts"]})
        rising = Rule("ExpectColumnValuesToBeIncreasing", {"column": "ts", "strictly": True})
        rules.append(once if keyed else rising)
    return (*rules, *RULES[table])


def _line(rule: Rule, result: Any) -> CheckLine:
    """A result in our words; None for a rule that holds."""
    arguments = rule.arguments
    column = str(arguments.get("column") or arguments.get("column_A") or ", ".join(arguments.get("column_list", ())))
    if result is None:
        return CheckLine(_snake(rule.kind), column, True, rule.severity, 0, "")
    found = result.result or {}
    unexpected = int(found.get("unexpected_count") or 0)
    raised = [word["exception_message"] for word in _exceptions(result.exception_info)]
    limits = {
        name: value for name, value in arguments.items() if name not in ("column", "column_list") and value is not None
    }
    if result.success:
        detail = ""
    elif raised:
        detail = raised[0]
    elif "unexpected_count" in found:
        detail = f"{unexpected} rows break {limits or rule.kind}, e.g. {_examples(found)}"
    else:
        detail = f"found {found.get('observed_value')}, expected {dict(arguments)}"
    return CheckLine(_snake(rule.kind), column, bool(result.success), rule.severity, unexpected, detail)


def _examples(found: Mapping[str, Any]) -> str:
    """The first offending values, in plain numbers."""
    values = list(found.get("partial_unexpected_list", ()))[:3]
    return ", ".join(
        str([float(part) for part in value]) if isinstance(value, tuple) else str(value) for value in values
    )


def _exceptions(info: Any) -> list[Mapping[str, Any]]:
    """What was raised while an expectation was evaluated: one record, or one a metric."""
    if not isinstance(info, Mapping):
        return []
    records = [info] if "raised_exception" in info else [word for word in info.values() if isinstance(word, Mapping)]
    return [word for word in records if word.get("raised_exception")]


def _grid_lines(frame: pl.DataFrame, table: str) -> list[CheckLine]:
    """Order, grid and holes, exactly."""
    if not _has_time(frame):
        return [CheckLine("time_is_utc_milliseconds", "ts", False, CRITICAL, frame.height, f"schema {frame.schema}")]
    keys = ["pair"] if "pair" in frame.columns else []
    stamp = pl.col("ts").dt.epoch("ms")
    step = stamp.diff().over(keys) if keys else stamp.diff()
    steps = frame.select(step.alias("step"), stamp.alias("ts"))
    backwards = steps.filter(pl.col("step") < (0 if table in APPENDED else 1)).height
    lines = [
        CheckLine(
            "time_ascends", "ts", not backwards, CRITICAL, backwards, f"{backwards} rows go back" if backwards else ""
        )
    ]
    grid = cadence_of(table)
    if grid is not None:
        stray = steps.filter(pl.col("ts") % grid.ms != 0).height
        missing = int(steps.select(((pl.col("step") // grid.ms) - 1).clip(0).sum()).item() or 0)
        lines.append(
            CheckLine(
                "time_on_grid", "ts", not stray, CRITICAL, stray, f"{stray} rows off the {grid} grid" if stray else ""
            )
        )
        lines.append(
            CheckLine("no_holes", "ts", not missing, WARNING, missing, f"{missing} rows missing" if missing else "")
        )
    if table in CANDLE_TABLES and "volume" in frame.columns and frame.height:
        quiet = pl.col("volume").eq(0).mean().alias("share")
        share = float((frame.group_by(keys).agg(quiet) if keys else frame.select(quiet))["share"].max() or 0.0)  # type: ignore[arg-type]
        calm = share <= MAX_QUIET_SHARE
        lines.append(
            CheckLine(
                "bars_have_trades",
                "volume",
                calm,
                WARNING,
                0 if calm else frame.filter(pl.col("volume") == 0).height,
                "" if calm else f"{share:.1%} of bars are without a trade",
            )
        )
    if table in CANDLE_TABLES and {"open", "close"} <= set(frame.columns):
        wild = frame.filter((pl.col("close") / pl.col("open")).log().abs() > MAX_BAR_MOVE).height
        lines.append(
            CheckLine(
                "bar_move", "close", not wild, WARNING, wild, f"{wild} bars move over {MAX_BAR_MOVE}" if wild else ""
            )
        )
    return lines


def _has_time(frame: pl.DataFrame) -> bool:
    return "ts" in frame.columns and isinstance(frame.schema["ts"], pl.Datetime)


def _snake(name: str) -> str:
    """``ExpectColumnToExist`` -> ``expect_column_to_exist``."""
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and place else letter.lower() for place, letter in enumerate(name)
    )
