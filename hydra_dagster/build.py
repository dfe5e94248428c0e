"""The two code locations, built by functions, so that tests and tools can build them anew with other parts."""

import dagster as dg

from hydra_core.settings import Settings
from hydra_dagster import jobs, schedules, sensors
from hydra_dagster.resources import WorkshopResource


def build_research_defs(workshop: WorkshopResource | None = None, *, automation: bool | None = None) -> dg.Definitions:
    """Market tables, learning, champions and their shadows, report, study; their checks, jobs, schedules, failure sensor.

    Parameters
    ----------
    workshop : which home to work in; None: from the environment
    automation : whether the schedules are on to begin with; None: the setting platform.live_sensor
    """
    from hydra_dagster import checks, drift, recalibration, seats
    from hydra_dagster.assets import champions, external, market, models, report, research, shadow, study, validation

    groups = (market, research, models, validation, champions, shadow, report, study, external)
    return dg.Definitions(
        assets=[asset for group in groups for asset in group.ASSETS],
        asset_checks=[*checks.CHECKS, *validation.LEAK_CHECKS, *drift.CHECKS],
        jobs=[
            jobs.collect,
            jobs.reference,
            jobs.external,
            jobs.research,
            jobs.retrain,
            jobs.watch,
            jobs.study,
            seats.rollback,
            recalibration.recalibrate,
        ],
        schedules=schedules.make_schedules(_automation(automation)),
        sensors=[sensors.make_failure_sensor()],
        resources={"workshop": workshop or WorkshopResource()},
        executor=dg.in_process_executor,
    )


def build_live_defs(workshop: WorkshopResource | None = None, *, automation: bool | None = None) -> dg.Definitions:
    """The live window and the sensor that keeps it running; arguments as in :func:`build_research_defs`."""
    from hydra_dagster.assets import live

    return dg.Definitions(
        assets=live.ASSETS,
        jobs=[jobs.live_window, jobs.prune_windows],
        schedules=schedules.make_live_schedules(_automation(automation)),
        sensors=[sensors.make_live_window_sensor(_automation(automation))],
        resources={"workshop": workshop or WorkshopResource()},
        executor=dg.in_process_executor,
    )


def _automation(given: bool | None) -> bool:
    return Settings().platform.live_sensor if given is None else given
