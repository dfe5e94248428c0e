"""Every expectation of every table catches what it is there for; healthy rows pass."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from hydra_core.domain.market import FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import (
    BOOK,
    CROSS_BASIS,
    CROSS_FUNDING,
    EXTERNAL_TABLES,
    NEWS,
    NEWS_SENTIMENT,
    ONCHAIN,
    PREMIUM,
    SCHEMAS,
    TRADES,
    TS,
    cadence_of,
    schema_of,
    table_of,
)
from hydra_core.lake.expectations import run_suite, run_suites
from hydra_core.lake.rules import CRITICAL, WARNING

START = 1_717_200_000_000
ROWS = 400


def healthy(table: str, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    grid = cadence_of(table)
    ts = START + np.arange(ROWS, dtype=np.int64) * (grid.ms if grid else 3_600_000)
    values = {name: 1 + 0.2 * rng.random(ROWS) for name in schema_of(table) if name != "ts"}
    if table_of(table).bars:
        values["high"], values["low"] = np.full(ROWS, 2.5), np.full(ROWS, 0.9)
    if table == FUNDING:
        values["rate"], values["interval_hours"] = rng.normal(0, 1e-4, ROWS), np.full(ROWS, 8.0)
    if table.startswith(PREMIUM):
        values = {name: value / 1e4 for name, value in values.items()}
    if table == BOOK:
        values |= {name: 1.5 + value for name, value in values.items() if name.startswith("ask")}
    frame = pl.DataFrame({"ts": pl.Series(ts).cast(TS), **values})
    if table == LIQUIDATIONS:
        frame = frame.with_columns(pl.Series("side", rng.choice(["long", "short"], ROWS)))
    if table == TRADES:
        frame = frame.with_columns(pl.Series("side", rng.choice(["buy", "sell"], ROWS)))
    if table in EXTERNAL_TABLES:
        spec = table_of(table)
        frame = frame.with_columns(
            *(pl.col("ts").alias(name) for name in spec.times), *(pl.lit("a word").alias(name) for name in spec.words)
        )
        told = {"link": pl.lit("https://x.y/z"), "score": pl.lit(0.5), "relevance": pl.lit(1.0), "rate": pl.lit(1e-4),
                "rate_8h": pl.lit(1e-4), "interval_hours": pl.lit(4.0), "basis": pl.lit(1e-3),
                "against_reference": pl.lit(float("nan"))}  # fmt: skip
        frame = frame.with_columns(value.alias(name) for name, value in told.items() if name in frame.columns)
    return frame.select(list(schema_of(table)))


def spoil(frame: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 5)
        .then(pl.lit(value, frame.schema[column]))
        .otherwise(pl.col(column))
        .alias(column)
    )


@pytest.mark.parametrize("table", [*SCHEMAS, *EXTERNAL_TABLES])
def test_healthy_rows_pass(table: str) -> None:
    report = run_suite(healthy(table), table)
    assert not report.failures()
    assert report.rows == ROWS
    assert len(report.checks) >= 5


@pytest.mark.parametrize(
    ("table", "column", "value", "severity"),
    [
        ("candles_5m", "open", 0.0, CRITICAL),
        ("candles_5m", "close", float("nan"), CRITICAL),
        ("candles_5m", "high", 0.95, CRITICAL),
        ("candles_5m", "low", 2.4, CRITICAL),
        ("candles_5m", "volume", -1.0, CRITICAL),
        ("candles_5m", "high", float("inf"), CRITICAL),
        (FUNDING, "rate", 0.2, CRITICAL),
        (FUNDING, "rate", -0.02, WARNING),
        (OPEN_INTEREST, "open_interest", 0.0, CRITICAL),
        (LONG_SHORT, "long_short_ratio", -1.0, CRITICAL),
        (LONG_SHORT, "long_short_ratio", 50.0, WARNING),
        (LIQUIDATIONS, "side", "both", CRITICAL),
        (LIQUIDATIONS, "quantity", 0.0, CRITICAL),
        (ONCHAIN, "value", float("nan"), CRITICAL),
        (ONCHAIN, "published", datetime(2020, 1, 1, tzinfo=UTC), CRITICAL),
        (NEWS, "title", "a <script> b", CRITICAL),
        (NEWS, "link", "javascript:x", CRITICAL),
        (NEWS_SENTIMENT, "score", 1.5, CRITICAL),
        (CROSS_FUNDING, "interval_hours", 0.0, CRITICAL),
        (CROSS_BASIS, "mark", -1.0, CRITICAL),
        (CROSS_BASIS, "against_reference", 0.2, WARNING),
    ],
)
def test_one_wrong_value_is_found_and_weighed(table: str, column: str, value: object, severity: str) -> None:
    report = run_suite(spoil(healthy(table), column, value), table)
    failures = report.failures(severity)
    assert failures
    assert any(line.unexpected == 1 and line.detail for line in failures)
    assert report.passed == (severity == WARNING)


@pytest.mark.parametrize(
    ("spoiled", "name", "severity"),
    [
        (healthy("candles_1m").filter(pl.int_range(pl.len()) != 7), "no_holes", WARNING),
        (healthy("candles_1m").reverse(), "time_ascends", CRITICAL),
        (pl.concat([healthy("candles_1m")[:3], healthy("candles_1m")[2:]]), "time_ascends", CRITICAL),
        (healthy("candles_1m").with_columns(pl.col("ts") + pl.duration(milliseconds=7)), "time_on_grid", CRITICAL),
        (healthy("candles_1m").drop("volume"), "expect_table_columns_to_match_ordered_list", CRITICAL),
        (healthy("candles_1m").with_columns(pl.lit(0.0).alias("volume")), "bars_have_trades", WARNING),
        (spoil(healthy("candles_1m"), "close", 1.0).with_columns(pl.col("open") * 5, high=9e9), "bar_move", WARNING),
    ],
)
def test_order_grid_and_shape_are_checked(spoiled: pl.DataFrame, name: str, severity: str) -> None:
    failures = run_suite(spoiled, "candles_1m").failures(severity)
    assert name in [line.name for line in failures]


def test_all_pairs_at_once_blame_the_right_one() -> None:
    frames = {Pair(f"P{number}"): healthy("candles_5m", number) for number in range(4)}
    assert all(report.passed and report.rows == ROWS for report in run_suites(frames, "candles_5m").values())
    frames[Pair("P2")] = spoil(frames[Pair("P2")], "open", -1.0)
    found = run_suites(frames, "candles_5m")
    assert [pair for pair, report in found.items() if not report.passed] == ["P2"]
    for pair in ("P1", "P2"):
        assert found[Pair(pair)] == run_suite(frames[Pair(pair)], "candles_5m"), "asked alone, it says the same"


def test_nothing_heavy_is_imported_with_the_lake_or_the_market() -> None:
    """Dagster's code locations import these modules: each launched run would pay for ccxt and Great Expectations."""
    modules = ("collect", "store", "panel", "catalog", "derive", "gaps", "expectations")
    code = ";".join(
        [f"import hydra_core.lake.{name}" for name in modules]
        + [
            "import hydra_core.market.streams",
            "import sys",
            "print({'ccxt', 'great_expectations', 'duckdb'} & set(sys.modules))",
        ]
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )
