"""What nobody looks at until it is missing: failed runs in the home, old windows out of the history."""

from __future__ import annotations

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.platform.failures import failures
from hydra_dagster import jobs, reporting, tags
from hydra_dagster.sensors import make_failure_sensor


def test_a_failed_run_is_written_into_the_home_with_what_failed_first(instance, workshop, home) -> None:
    @dg.op
    def collects() -> None:
        with reporting.plain_failures():
            raise UsageError("the market has no such pair", "Known pairs: BTCUSDT")

    @dg.job(name="collect")
    def failing() -> None:
        collects()

    done = failing.execute_in_process(instance=instance, raise_on_error=False)
    event = next(each for each in done.all_events if each.is_run_failure)
    context = dg.build_run_status_sensor_context(
        "failed_runs", event, instance, done.dagster_run, resources={"workshop": workshop}
    )
    make_failure_sensor()(context.for_run_failure())
    (line,) = failures(home)
    assert (line.run_id, line.job) == (done.run_id, "collect")
    assert "the market has no such pair. Known pairs: BTCUSDT" in line.error


def test_old_windows_are_forgotten_and_nothing_else(instance) -> None:
    """Two windows and a training, all ended; a month later only the training is left, its history with it."""
    ended = dg.DagsterRunStatus.SUCCESS
    for _ in range(2):
        create_run_for_test(instance, job_name="live_window", tags=tags.lane(tags.LIVE), status=ended)
    going = create_run_for_test(
        instance, job_name="live_window", tags=tags.lane(tags.LIVE), status=dg.DagsterRunStatus.STARTED
    )
    training = create_run_for_test(instance, job_name="research", tags=tags.lane(tags.TRAIN), status=ended)

    def prune() -> set[str]:
        assert jobs.prune_windows.execute_in_process(instance=instance).success
        return {record.dagster_run.run_id for record in instance.get_run_records()}

    assert len(prune()) == 5
    later = SystemClock().wall_ms() + 30 * 86_400_000

    class Later(SystemClock):
        def wall_ms(self) -> int:
            return later

    original, jobs.SystemClock = jobs.SystemClock, Later
    try:
        left = prune()
    finally:
        jobs.SystemClock = original
    assert {going.run_id, training.run_id} <= left
    kept = [instance.get_run_by_id(run_id) for run_id in left]
    assert sum(run.tags.get(tags.LANE) == tags.LIVE for run in kept if run) == 1
