"""The market study as an asset: tables, pictures and reasons in its metadata, in a job and on a schedule of its own."""

from __future__ import annotations

import dagster as dg
import numpy as np
import polars as pl
import pytest

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import SCHEMAS
from hydra_core.report.page import write_page
from hydra_core.report.study import study_sections
from hydra_core.research.study.kept import FILE
from hydra_dagster import keys
from hydra_dagster.build import build_research_defs
from hydra_dagster.schedules import make_schedules

START_MS, DAYS, BAR_MS = 1_727_740_800_000, 12, 300_000
TABLE = "candles_5m"


def fill(workshop) -> None:
    """Twelve days of BTC and ETH with fat tails and a rise of volatility after the sixth."""
    stamps = np.arange(START_MS, START_MS + DAYS * 86_400_000, BAR_MS)
    for seed, pair in enumerate(("BTCUSDT", "ETHUSDT")):
        rng = np.random.default_rng(seed)
        moves = rng.standard_t(4, stamps.size) * 0.001 * np.where(np.arange(stamps.size) < 6 * 288, 1.0, 2.5)
        close = 100 * np.exp(np.cumsum(moves))
        opened = np.concatenate([[100.0], close[:-1]])
        columns = {
            "ts": pl.Series("ts", stamps).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"),
            "open": opened,
            "high": np.maximum(opened, close) * 1.0004,
            "low": np.minimum(opened, close) * 0.9996,
            "close": close,
            "volume": np.ones(stamps.size),
        }
        frame = pl.DataFrame(columns).select(list(SCHEMAS[TABLE])).cast(dict(SCHEMAS[TABLE]))
        workshop.lake.write(TABLE, Pair(pair), "2024-10", frame, closed=False, source="double")


def run(instance, resource, pairs: list[str]) -> dg.ExecuteInProcessResult:
    config = {"ops": {keys.op_name(keys.MARKET_STUDY): {"config": {"pairs": pairs, "days": DAYS}}}}
    job = build_research_defs(resource, automation=False).resolve_job_def("study")
    return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def test_the_study_is_made_with_tables_pictures_and_reasons(workshop, resource, instance) -> None:
    fill(workshop)
    done = run(instance, resource, ["BTC", "ETH", "SOL"])
    assert done.success
    (made,) = done.asset_materializations_for_node(keys.op_name(keys.MARKET_STUDY))
    told = made.metadata
    assert "no seat, gate, risk rule or order" in told["for whom"].value
    assert told["bars a pair"].value == DAYS * 288
    for title in ("volatility a year", "jumps", "diffusion", "GARCH(1,1)-t", "changes of volatility", "regimes"):
        text = told[f"table: {title}"].value
        assert text.splitlines()[1].startswith("| --- |"), title
        assert "| BTCUSDT |" in text, title
    lacking = told["table: could not be estimated"].value
    assert "SOLUSDT: garch" in lacking
    assert "no candles of SOLUSDT" in lacking
    assert told["parts that could not be estimated"].value == lacking.count("\n") - 1
    assert "2024-10-07" in told["table: changes of volatility"].value
    for picture in ("volatility", "branching ratios"):
        assert told[picture].value.startswith(f"![{picture}](data:image/png;base64,"), picture
    (section,) = study_sections(workshop.home)
    assert "no seat, gate, risk rule or order" in section.text
    assert {table.title for table in section.tables} == {
        name.removeprefix("table: ") for name in told if name.startswith("table: ")
    }
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    page = write_page(
        workshop.home.reports / "x.html", [section], [], market="m", subtitle="s", synthetic=True, why_flat=""
    )
    assert "Market study" in page.read_text()
    (workshop.home.studies / FILE).write_text('{"tables": {"jumps": 7}}')
    with pytest.raises(DataCorrupt, match="is no market study"):
        study_sections(workshop.home)
    progress = [event.message for event in instance.all_logs(done.run_id) if "progress " in str(event.user_message)]
    assert progress


def test_an_empty_lake_fails_in_one_line(workshop, resource, instance) -> None:
    assert study_sections(workshop.home) == []
    done = run(instance, resource, [])
    assert not done.success
    (failure,) = [event for event in done.all_node_events if event.is_step_failure]
    assert "holds no candles" in str(failure.event_specific_data)


def test_it_runs_weekly_after_the_training_and_is_no_part_of_one() -> None:
    weekly = {each.name: each for each in make_schedules(running=False)}["weekly_study"]
    assert (weekly.job_name, weekly.cron_schedule, weekly.execution_timezone) == ("study", "30 5 * * 0", "UTC")
    defs = build_research_defs(automation=False)
    for job in ("research", "retrain", "watch"):
        assert keys.MARKET_STUDY not in defs.resolve_job_def(job).asset_layer.executable_asset_keys
    graph = defs.resolve_asset_graph()
    assert not graph.get(keys.MARKET_STUDY).child_keys
