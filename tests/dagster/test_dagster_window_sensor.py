"""The rule that keeps one window running, on a real ledger and a real Dagster instance."""

from __future__ import annotations

from decimal import Decimal

import dagster as dg
import pytest

from hydra_core.domain.clock import SystemClock
from hydra_core.ledger.records import STRATEGY, TRADER, lease_name
from hydra_core.ledger.store import Ledger
from hydra_dagster import tags
from hydra_dagster.build import build_live_defs
from hydra_dagster.resources import Workshop, WorkshopResource
from hydra_dagster.sensors import STARTING_S, clear_dead, next_window

LEASE = lease_name("paper", STRATEGY)


@pytest.fixture
def ledger(workshop: Workshop):
    with workshop.ledger() as opened:
        yield opened


def wall() -> int:
    return SystemClock().wall_ms()


def with_trader(ledger: Ledger, silent_s: float = 0.0) -> None:
    ledger.open_account("paper", Decimal(1000), market_ms=0)
    ledger.heartbeat(TRADER, wall() - int(silent_s * 1000))


def live_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    from dagster._core.test_utils import create_run_for_test

    run = create_run_for_test(instance, job_name="live_window", tags=tags.lane(tags.LIVE))
    if status is dg.DagsterRunStatus.STARTED:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
        instance.report_dagster_event(event, run_id=run.run_id)
    return run


def skipped(answer: dg.RunRequest | dg.SkipReason) -> str:
    assert isinstance(answer, dg.SkipReason)
    return str(answer.skip_message)


def test_without_an_account_or_a_trader_there_is_nothing_to_decide_on(instance, workshop, ledger) -> None:
    assert "no account" in skipped(next_window(instance, workshop))
    ledger.open_account("paper", Decimal(1000), market_ms=0)
    assert "never gave a sign of life" in skipped(next_window(instance, workshop))


def test_a_free_lease_gets_a_window_with_the_champions_pinned(instance, workshop, ledger) -> None:
    with_trader(ledger)
    request = next_window(instance, workshop)
    assert isinstance(request, dg.RunRequest)
    config = request.run_config["ops"]["live__decisions"]["config"]
    assert config == {"account": "paper", "window_s": workshop.settings.platform.window_s, "pins": {}}
    assert request.tags[tags.LANE] == tags.LIVE
    assert request.tags[tags.MAX_RETRIES] == "0"
    assert int(request.tags[tags.MAX_RUNTIME]) > workshop.settings.platform.window_s


def test_a_silent_trader_still_gets_windows_that_record_it(instance, workshop, ledger) -> None:
    with_trader(ledger, silent_s=3600)
    assert isinstance(next_window(instance, workshop), dg.RunRequest)


def test_every_request_has_a_key_of_its_own(instance, workshop, ledger) -> None:
    """Dagster remembers a run key for ever: two windows of one account must not share it."""
    with_trader(ledger)
    first, second = next_window(instance, workshop), next_window(instance, workshop)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key != second.run_key


def test_a_held_lease_is_waited_for_whatever_dagster_says(instance, workshop, ledger) -> None:
    """An orphaned run that Dagster has written off still decides: its lease counts."""
    with_trader(ledger)
    claim = ledger.acquire_lease(LEASE, "orphan-run", wall(), ttl_ms=20_000)
    assert claim is not None
    assert "orphan-r holds the lease" in skipped(next_window(instance, workshop))
    ledger.release_lease(claim)
    assert isinstance(next_window(instance, workshop), dg.RunRequest)


def test_a_run_on_its_way_to_the_lease_is_waited_for(instance, workshop, ledger) -> None:
    with_trader(ledger)
    live_run(instance, dg.DagsterRunStatus.NOT_STARTED)
    assert "is not_started" in skipped(next_window(instance, workshop))


def test_a_started_run_gets_time_to_take_the_lease_and_is_reported_failed_after_it(instance, ledger, workshop) -> None:
    """Its process is dead and Dagster does not notice: the sensor says so, and the next window starts."""
    with_trader(ledger)
    run = live_run(instance, dg.DagsterRunStatus.STARTED)
    assert "may still take the lease" in skipped(next_window(instance, workshop))
    assert clear_dead(instance, wall() + (STARTING_S + 1) * 1000, freed_ms=0) == ""
    dead = instance.get_run_by_id(run.run_id)
    assert dead is not None
    assert dead.status is dg.DagsterRunStatus.FAILURE
    assert isinstance(next_window(instance, workshop), dg.RunRequest)


def test_a_run_whose_lease_just_ended_is_given_time_too(instance, ledger, workshop) -> None:
    run = live_run(instance, dg.DagsterRunStatus.STARTED)
    later = wall() + 3_600_000
    assert "may still take the lease" in clear_dead(instance, later, freed_ms=later - 1000)
    still = instance.get_run_by_id(run.run_id)
    assert still is not None
    assert still.status is dg.DagsterRunStatus.STARTED


def test_the_sensor_of_the_code_location_answers_by_the_same_rule(instance, resource: WorkshopResource, ledger) -> None:
    defs = build_live_defs(resource, automation=False)
    sensor = defs.resolve_sensor_def("live_window_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    with dg.build_sensor_context(instance=instance, definitions=defs, resources={"workshop": resource}) as context:
        assert "no account" in str(sensor.evaluate_tick(context).skip_message)
        with_trader(ledger)
        assert len(sensor.evaluate_tick(context).run_requests) == 1
    running = build_live_defs(resource, automation=True).resolve_sensor_def("live_window_sensor")
    assert running.default_status is dg.DefaultSensorStatus.RUNNING
