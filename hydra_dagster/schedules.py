"""What happens by the calendar: a daily refresh of the open months, a daily look at the champions, a weekly retraining,
a weekly market study, and between two trainings a renewal of the forecaster champion's calibration.

Cron runs on wall time; what is collected is decided by market time, handed to the run as ``as_of_ms``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from hydra_core.domain.errors import HydraError
from hydra_core.domain.intervals import month_of, month_span
from hydra_core.domain.market import INPUTS
from hydra_core.domain.tables import EXTERNAL_TABLES, NEWS_SENTIMENT
from hydra_dagster import jobs, keys, tags
from hydra_dagster.partitions import range_tags
from hydra_dagster.resources import Workshop

DAILY: Final = "15 1 * * *"
LATER: Final = "45 1 * * *"
HOURLY: Final = "7 * * * *"
WEEKLY: Final = "0 3 * * 0"
STUDYING: Final = "30 5 * * 0"
RENEWING: Final = "0 3 * * 3"
WATCHING: Final = "30 2 * * *"
NIGHTLY: Final = "40 4 * * *"


def collect_config(as_of_ms: int, start_ms: int = 0, end_ms: int = 0, tables: Sequence[str] = INPUTS) -> dict[str, Any]:
    """Run config of market assets: market time, and the span to stay inside (0: the partitions' own)."""
    config = {"as_of_ms": as_of_ms, "start_ms": start_ms, "end_ms": end_ms}
    return {"ops": {keys.op_name(keys.market(table)): {"config": config} for table in tables}}


def open_months(as_of_ms: int) -> tuple[str, str]:
    """The month before and the month of a market time: rows of both may still arrive or change."""
    this = month_of(as_of_ms)
    return month_of(month_span(this)[0] - 1), this


def refresh_request(
    workshop: Workshop, lane: Mapping[str, str], tables: Sequence[str] = INPUTS
) -> dg.RunRequest | dg.SkipReason:
    """A run over the open months of the settings' pairs, at market time now; a skip while the exchange is silent."""
    try:
        as_of = workshop.market_now()
    except HydraError as error:
        return dg.SkipReason(f"market time is unknown: {error}")
    span = range_tags(open_months(as_of), _stretch(workshop))
    return dg.RunRequest(run_config=collect_config(as_of, tables=tables), tags={**lane, **span})


def external_request(workshop: Workshop) -> dg.RunRequest | dg.SkipReason:
    """A look at every external source at market time now; a skip where none is there, or the exchange is silent."""
    try:
        absent = workshop.sources.absent
        if set(EXTERNAL_TABLES) - {NEWS_SENTIMENT} <= set(absent):
            return dg.SkipReason("nothing external: " + "; ".join(f"{name}: {why}" for name, why in absent.items()))
        config = {"as_of_ms": workshop.market_now()}
    except HydraError as error:
        return dg.SkipReason(str(error))
    ops = {keys.op_name(keys.external(table)): {"config": config} for table in EXTERNAL_TABLES}
    return dg.RunRequest(run_config={"ops": ops}, tags=tags.lane(tags.COLLECT))


def _stretch(workshop: Workshop) -> Any:
    """The settings' pairs and those between them: one range covers neighbours only."""
    from hydra_core.domain.pairs import DEFAULT_PAIRS

    positions = [DEFAULT_PAIRS.index(pair) for pair in workshop.settings.pairs]
    return DEFAULT_PAIRS[min(positions) : max(positions) + 1]


def make_schedules(running: bool) -> list[dg.ScheduleDefinition]:
    """The schedules, switched on or off to begin with."""
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(job=jobs.collect, cron_schedule=DAILY, execution_timezone="UTC", default_status=status)
    def daily_refresh(
        context: dg.ScheduleEvaluationContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.RunRequest | dg.SkipReason:
        """Collect the current and the previous month again: closed months change no more."""
        return refresh_request(workshop, tags.lane(tags.COLLECT))

    @dg.schedule(job=jobs.retrain, cron_schedule=WEEKLY, execution_timezone="UTC", default_status=status)
    def weekly_retraining(
        context: dg.ScheduleEvaluationContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.RunRequest | dg.SkipReason:
        """Refresh, train, validate, and give a seat to whoever passes its gates."""
        return refresh_request(workshop, tags.lane(tags.TRAIN))

    @dg.schedule(job=jobs.reference, cron_schedule=LATER, execution_timezone="UTC", default_status=status)
    def daily_reference(
        context: dg.ScheduleEvaluationContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.RunRequest | dg.SkipReason:
        """Collect reference prices and take up what the trader captured."""
        return refresh_request(workshop, tags.lane(tags.COLLECT), keys.EXTRA_TABLES)

    @dg.schedule(job=jobs.external, cron_schedule=HOURLY, execution_timezone="UTC", default_status=status)
    def hourly_external(
        context: dg.ScheduleEvaluationContext, workshop: dg.ResourceParam[Workshop]
    ) -> dg.RunRequest | dg.SkipReason:
        """Look at what comes from elsewhere, where there is a key or a list for it."""
        return external_request(workshop)

    # After the daily refresh: it looks at what the lake holds, and needs no exchange.
    daily_watch = dg.ScheduleDefinition(
        name="daily_watch", job=jobs.watch, cron_schedule=WATCHING, execution_timezone="UTC", default_status=status
    )
    weekly_recalibration = dg.ScheduleDefinition(
        name="weekly_recalibration",
        job_name="recalibrate",
        cron_schedule=RENEWING,
        execution_timezone="UTC",
        default_status=status,
    )
    # On its own: a training need not wait for what no model reads.
    weekly_study = dg.ScheduleDefinition(
        name="weekly_study", job=jobs.study, cron_schedule=STUDYING, execution_timezone="UTC", default_status=status
    )
    return [
        daily_refresh,
        daily_reference,
        daily_watch,
        weekly_retraining,
        weekly_recalibration,
        weekly_study,
        hourly_external,
    ]


def make_live_schedules(running: bool) -> list[dg.ScheduleDefinition]:
    """The schedules of the live location: only clearing up."""
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    return [
        dg.ScheduleDefinition(
            name="nightly_pruning",
            job=jobs.prune_windows,
            cron_schedule=NIGHTLY,
            execution_timezone="UTC",
            default_status=status,
        )
    ]
