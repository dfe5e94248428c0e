"""Sensors: one keeps a window running, one writes failures where a person looks.

A window is judged by its lease in the ledger, never by Dagster's word alone: the launcher does not notice a dead run
process, and an orphaned one may still be deciding.
"""

import json
from collections.abc import Sequence
from typing import Final

import dagster as dg

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import HydraError
from hydra_core.ledger.records import STRATEGY, TRADER, lease_name
from hydra_core.platform.failures import FailureLine, note_failure
from hydra_core.settings import PlatformSettings
from hydra_dagster import jobs, keys, tags
from hydra_dagster.resources import Workshop

INTERVAL_S: Final = 5
STARTING_S: Final = 90
"""How long a started run may take to its first lease: importing and loading models on a busy machine."""
RUNTIME_SLACK_S: Final = 120
WAITING: Final = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
GOING: Final = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


def make_live_window_sensor(running: bool) -> dg.SensorDefinition:
    """The sensor that keeps one window running, switched on or off to begin with."""

    @dg.sensor(
        job=jobs.live_window,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Starts the next window of decisions as soon as none holds the lease.",
    )
    def live_window_sensor(
        context: dg.SensorEvaluationContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            return next_window(context.instance, workshop)
        except HydraError as error:
            return dg.SkipReason(f"cannot judge the window: {error}")

    return live_window_sensor


def next_window(instance: dg.DagsterInstance, workshop: Workshop) -> dg.RunRequest | dg.SkipReason:
    """The next window, or why there is none: the whole rule of the sensor.

    1. Somebody holds the lease, or a run is on its way to it: wait.
    2. A run that is started but lost its lease long ago is dead: report it failed.
    3. No account, or a trader that never gave a sign of life: there is nothing to decide on. A trader that fell silent
       does not stop the windows: they record, cycle by cycle, that nothing was done and why.
    4. Else request a window with the champions of this moment pinned.
    """
    now = SystemClock().wall_ms()
    with workshop.ledger() as ledger:
        account = ledger.current_account()
        if account is None:
            return dg.SkipReason("the ledger has no account yet: the trader opens it")
        if TRADER not in ledger.heartbeats():
            return dg.SkipReason("the trader never gave a sign of life: start it with `hydra up`")
        lease = ledger.lease(lease_name(account.name, STRATEGY))
    if lease is not None and lease.held(now):
        return dg.SkipReason(f"run {lease.run_id[:8]} holds the lease for {(lease.expires_wall_ms - now) / 1000:.0f} s")
    freed = lease.expires_wall_ms if lease is not None else 0
    if busy := clear_dead(instance, now, freed):
        return dg.SkipReason(busy)
    return window_request(workshop, account.name, now)


def clear_dead(instance: dg.DagsterInstance, now_ms: int, freed_ms: int) -> str:
    """Report started window runs without a lease failed; returns what is still on its way, empty when nothing is."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={tags.LANE: tags.LIVE}, statuses=[*WAITING, *GOING]), order_by="create_timestamp"
    )
    for record in records:
        run = record.dagster_run
        if run.status in WAITING:
            return f"run {run.run_id[:8]} is {run.status.value.lower()}"
        since = max(freed_ms, int((record.start_time or 0) * 1000))
        if now_ms - since < STARTING_S * 1000:
            return f"run {run.run_id[:8]} has started and may still take the lease"
        instance.report_run_failed(run, f"No lease for {(now_ms - since) / 1000:.0f} s: the window's process is dead.")
    return ""


def window_request(workshop: Workshop, account: str, now_ms: int) -> dg.RunRequest:
    """A window for an account with the champions of this moment pinned into its config and tags."""
    pins = workshop.registry.champions()
    platform: PlatformSettings = workshop.settings.platform
    config = {"account": account, "window_s": platform.window_s, "pins": pins}
    return dg.RunRequest(
        # Unique for every intended window: Dagster remembers a run key for ever.
        run_key=f"live-{account}-{now_ms}",
        run_config={"ops": {keys.op_name(keys.DECISIONS): {"config": config}}},
        tags={
            **tags.lane(tags.LIVE),
            tags.ACCOUNT: account,
            tags.PINS: json.dumps({kind: version[:12] for kind, version in sorted(pins.items())}),
            tags.MAX_RETRIES: "0",
            tags.MAX_RUNTIME: str(platform.window_s + RUNTIME_SLACK_S),
        },
    )


def make_failure_sensor() -> dg.SensorDefinition:
    """The sensor that writes every failed run into the home, where `hydra status` and the report find it."""

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        monitor_all_code_locations=True,
        minimum_interval_seconds=15,
        description="Writes failed runs, with what failed first, to run/failures.jsonl.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, workshop: dg.ResourceParam[Workshop]) -> None:
        run = context.dagster_run
        line = FailureLine(run.run_id, run.job_name, SystemClock().wall_ms(), first_error(context))
        note_failure(workshop.home, line)
        context.log.error(f"{run.job_name} {run.run_id[:8]} failed: {line.error}")

    return failed_runs


def first_error(context: dg.RunFailureSensorContext) -> str:
    """What the first failed step said, or the run itself."""
    for event in _step_failures(context):
        data = event.step_failure_data
        if data.error is not None:
            cause = data.error
            while cause.cause is not None:
                cause = cause.cause
            return f"{event.step_key}: {cause.message.strip()}"
    return context.failure_event.message or "no message"


def _step_failures(context: dg.RunFailureSensorContext) -> Sequence[dg.DagsterEvent]:
    return context.get_step_failure_events()
