"""The shape of both code locations: what a person meets in the web UI, written down once."""

from __future__ import annotations

import dagster as dg
import pytest

from hydra_core.domain.tables import EXTERNAL_TABLES, SCHEMAS
from hydra_core.research.audit.lines import BY_KIND
from hydra_dagster import keys
from hydra_dagster.assets.market import CAPTURED, LAKE_TABLES
from hydra_dagster.assets.validation import leak_check
from hydra_dagster.build import build_live_defs, build_research_defs

TABLES = ("candles", "funding", "open_interest", "long_short", "liquidations")
EXTRA = ("reference_prices", "captures")
"""Market tables that no model needs: not part of a collection for training."""
UPSTREAM = {
    "research/dataset": {f"market/{table}" for table in TABLES},
    "research/forecaster_sweep": {"research/dataset"},
    "research/policy_sweep": {"research/dataset", "models/forecaster_candidate"},
    "models/forecaster_candidate": {"research/dataset", "research/forecaster_sweep"},
    "models/crowd_candidate": {"research/dataset"},
    "models/policy_candidate": {"research/dataset", "models/forecaster_candidate", "research/policy_sweep"},
    "validation/forecaster": {"research/dataset", "models/forecaster_candidate", "research/forecaster_sweep"},
    "validation/crowd": {"research/dataset", "models/crowd_candidate"},
    "validation/policy": {"research/dataset", "models/policy_candidate", "models/forecaster_candidate"},
    "validation/committee": {
        "research/dataset", "research/forecaster_sweep", "research/policy_sweep",
        "validation/forecaster", "validation/crowd", "validation/policy",
    },
    "champions/forecaster": {"models/forecaster_candidate", "validation/forecaster", "validation/committee"},
    "champions/crowd": {"models/crowd_candidate", "validation/crowd"},
    "champions/policy": {"models/policy_candidate", "validation/policy"},
    "shadow/forecaster": {"market/candles", "champions/forecaster", "models/forecaster_candidate"},
    "shadow/crowd": {"market/candles", "champions/crowd", "models/crowd_candidate"},
    "shadow/policy": {
        "market/candles", "champions/policy", "models/policy_candidate", "champions/forecaster",
    },
    "study/market_study": {"market/candles", "market/liquidations", "market/captures"},
    "report/research": {
        "validation/committee", "champions/forecaster", "champions/crowd", "champions/policy",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def research() -> dg.Definitions:
    return build_research_defs(automation=False)


def test_the_lineage_reads_like_the_drawing(research: dg.Definitions) -> None:
    graph = research.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    elsewhere: dict[str, set[str]] = {f"external/{table}": set() for table in EXTERNAL_TABLES}
    elsewhere["external/news_sentiment"] = {"external/news"}
    assert found == UPSTREAM | {f"market/{table}": set() for table in (*TABLES, *EXTRA)} | elsewhere
    for key in graph.get_all_asset_keys():
        assert graph.get(key).group_name == key.path[0]


def test_every_asset_says_what_it_is_and_by_which_code(research: dg.Definitions) -> None:
    for spec in research.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.code_version, spec.key


def test_the_checks_and_which_of_them_stop_a_run(research: dg.Definitions) -> None:
    graph = research.resolve_asset_graph()
    found = {(key.asset_key.to_user_string(), key.name): graph.get(key).blocking for key in graph.asset_check_keys}
    gates = {(f"validation/{kind}", "gates"): False for kind in ("forecaster", "crowd", "policy", "committee")}
    expectations = {(f"market/{table}", "expectations"): True for table in (*TABLES, *EXTRA)}
    expectations |= {(f"external/{table}", "expectations"): True for table in EXTERNAL_TABLES}
    gaps = {(f"market/{table}", "no_gaps"): False for table in (*TABLES, *EXTRA) if table not in CAPTURED}
    cross = {("market/candles", "cross_checks"): False, ("market/funding", "cross_checks"): False}
    cross[("market/captures", "cross_checks")] = False
    cross[("market/reference_prices", "cross_checks")] = True
    answered = {(f"external/{table}", "answered"): False for table in EXTERNAL_TABLES}
    leaks = {(f"models/{kind}_candidate", leak_check(check)): True for kind in BY_KIND for check in BY_KIND[kind]}
    assert {name for _, name in leaks} >= {"leaks_L1_prefix_invariance", "leaks_L10_survivorship"}
    intervals = {("market/candles", "intervals_agree"): False}
    live = {(f"shadow/{kind}", "live_skill"): False for kind in ("forecaster", "crowd", "policy")}
    drift = {("research/dataset", "drift"): False}
    assert found == live | gates | leaks | expectations | gaps | cross | answered | intervals | drift
    watched = research.resolve_job_def("watch").asset_layer.executable_asset_keys
    assert {key.to_user_string() for key in watched} == {key for key in UPSTREAM if key.startswith("shadow/")}


def test_every_market_table_has_a_freshness_policy(research: dg.Definitions) -> None:
    policies = {spec.key.to_user_string(): spec.freshness_policy for spec in research.resolve_all_asset_specs()}
    assert all(policies[f"market/{table}"] is not None for table in (*TABLES, *EXTRA))
    assert all(policies[f"external/{table}"] is not None for table in EXTERNAL_TABLES)
    assert {table for group in keys.MARKET_TABLES for table in LAKE_TABLES[group]} == set(SCHEMAS)


def test_jobs_schedules_and_sensors(research: dg.Definitions) -> None:
    repository = research.get_repository_def()
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == {
        "collect", "reference", "external", "research", "retrain", "watch", "study", "rollback", "recalibrate",
    }  # fmt: skip
    assert {each.name for each in repository.schedule_defs} == {
        "daily_refresh", "daily_reference", "daily_watch", "weekly_retraining", "weekly_recalibration",
        "weekly_study", "hourly_external",
    }  # fmt: skip
    assert {each.name for each in repository.sensor_defs} == {"failed_runs"}
    live = build_live_defs(automation=False).get_repository_def()
    assert {job.name for job in live.get_all_jobs() if not job.name.startswith("__")} == {
        "live_window", "prune_windows",
    }  # fmt: skip
    assert {each.name for each in live.sensor_defs} == {"live_window_sensor"}
    assert live.get_job("live_window").tags["dagster/max_retries"] == "0"


def test_one_run_holds_the_whole_of_a_retraining(research: dg.Definitions) -> None:
    """Blocking checks stop only their own run, so collecting and training are one."""
    job = research.resolve_job_def("retrain")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {
        key for key in UPSTREAM if not key.startswith(("shadow/", "study/"))
    } | {f"market/{table}" for table in TABLES}


@pytest.mark.parametrize("automation", [True, False])
def test_automation_is_on_or_off_as_asked(automation: bool) -> None:
    schedules = build_research_defs(automation=automation).get_repository_def().schedule_defs
    wanted = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    assert {each.default_status for each in schedules} == {wanted}
