"""What happens by the calendar: a daily refresh of the open months, a weekly retraining.

Cron runs on wall time; what is collected is decided by market time, handed to the run as ``as_of_ms``.
"""

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from hydra_core.domain.errors import HydraError
from hydra_core.domain.intervals import month_of, month_span
from hydra_core.domain.market import INPUTS
from hydra_dagster import jobs, keys, tags
from hydra_dagster.partitions import range_tags
from hydra_dagster.resources import Workshop

DAILY: Final = "15 1 * * *"
WEEKLY: Final = "0 3 * * 0"
NIGHTLY: Final = "40 4 * * *"


def collect_config(as_of_ms: int, start_ms: int = 0, end_ms: int = 0) -> dict[str, Any]:
    """Run config of every market asset: market time, and the span to stay inside (0: the partitions' own)."""
    config = {"as_of_ms": as_of_ms, "start_ms": start_ms, "end_ms": end_ms}
    return {"ops": {keys.op_name(keys.market(table)): {"config": config} for table in INPUTS}}


def open_months(as_of_ms: int) -> tuple[str, str]:
    """The month before and the month of a market time: rows of both may still arrive or change."""
    this = month_of(as_of_ms)
    return month_of(month_span(this)[0] - 1), this


def refresh_request(workshop: Workshop, lane: Mapping[str, str]) -> dg.RunRequest | dg.SkipReason:
    """A run over the open months of the settings' pairs, at market time now; a skip while the exchange is silent."""
    try:
        as_of = workshop.market_now()
    except HydraError as error:
        return dg.SkipReason(f"market time is unknown: {error}")
    span = range_tags(open_months(as_of), _stretch(workshop))
    return dg.RunRequest(run_config=collect_config(as_of), tags={**lane, **span})


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

    return [daily_refresh, weekly_retraining]


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
