"""What the calendar starts: market time decides what is collected, wall time only when."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster_moment import NOW_MS

from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.settings import Settings
from hydra_dagster import tags
from hydra_dagster.partitions import covered
from hydra_dagster.resources import Workshop
from hydra_dagster.schedules import make_schedules, refresh_request

SUNDAY = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def tick(name: str, workshop: Workshop, instance: dg.DagsterInstance) -> dg.ScheduleExecutionData:
    schedule = next(each for each in make_schedules(running=False) if each.name == name)
    context = dg.build_schedule_context(instance, SUNDAY, resources={"workshop": workshop})
    return schedule.evaluate_tick(context)


@pytest.mark.parametrize(
    ("name", "job", "lane"),
    [
        ("daily_refresh", "collect", "collect"),
        ("daily_reference", "reference", "collect"),
        ("weekly_retraining", "retrain", "train"),
    ],
)
def test_the_open_months_of_market_time_are_refreshed(name, job, lane, workshop, instance, monkeypatch) -> None:
    """A market that stands in October 2024 refreshes September and October 2024, whatever the wall clock says."""
    monkeypatch.setattr(Workshop, "market_now", lambda self: NOW_MS + 5)
    schedule = next(each for each in make_schedules(running=False) if each.name == name)
    assert schedule.job_name == job
    (request,) = tick(name, workshop, instance).run_requests
    assert covered(request.tags) == dict.fromkeys(DEFAULT_PAIRS, ("2024-09", "2024-10"))
    assert request.tags[tags.LANE] == lane
    configs = [op["config"] for op in request.run_config["ops"].values()]
    assert {config["as_of_ms"] for config in configs} == {NOW_MS + 5}
    assert len(configs) == (2 if job == "reference" else 5)


def test_weekly_means_sunday_at_three_utc() -> None:
    weekly = next(each for each in make_schedules(running=True) if each.name == "weekly_retraining")
    assert (weekly.cron_schedule, weekly.execution_timezone) == ("0 3 * * 0", "UTC")
    assert weekly.default_status is dg.DefaultScheduleStatus.RUNNING


def test_while_the_venue_is_silent_nothing_is_started_and_the_tick_says_why(workshop, instance, monkeypatch) -> None:
    def silent(self):
        raise VenueUnavailable("no clock from http://127.0.0.1:8899", "Start the venue")

    monkeypatch.setattr(Workshop, "market_now", silent)
    done = tick("daily_refresh", workshop, instance)
    assert not done.run_requests
    assert "no clock from" in str(done.skip_message)


def test_a_few_pairs_are_refreshed_with_what_lies_between_them(home, monkeypatch) -> None:
    """One range of partitions covers neighbours only."""
    monkeypatch.setattr(Workshop, "market_now", lambda self: NOW_MS)
    some = Workshop(home, Settings(data_root=home.root, market=home.market, pairs=("BTCUSDT", "SOLUSDT")))
    request = refresh_request(some, {})
    assert isinstance(request, dg.RunRequest)
    assert tuple(covered(request.tags)) == DEFAULT_PAIRS[:3]
