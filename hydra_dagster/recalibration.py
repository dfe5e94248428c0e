"""The job that renews the forecaster champion's calibration: by the calendar between two retrainings, or by hand in the web UI.

An op that records the champion's asset where the seat has passed to the renewed version; the running window then ends early and
the next one loads it. The same in one command: ``hydra models recalibrate --seat``.
"""

import dagster as dg
from pydantic import Field

from hydra_core.alpha.models import FORECASTER
from hydra_dagster import keys, reporting, tags
from hydra_dagster.assets.champions import Seat, seat_metadata
from hydra_dagster.resources import Workshop
from hydra_dagster.seats import DATA_VERSION


class RecalibrationConfig(dg.Config):
    """How to look."""

    as_of_ms: int = Field(
        default=0, ge=0, description="nothing later, epoch ms of market time; 0: all that was collected"
    )
    seat: bool = Field(default=True, description="seat the renewed version when it passes its gates")


@dg.op
def renew_calibration(
    context: dg.OpExecutionContext, config: RecalibrationConfig, workshop: dg.ResourceParam[Workshop]
) -> None:
    """Try a calibration of the newest weeks; a champion whose own is still as good keeps it."""
    from hydra_core.research.pipeline import newest_close
    from hydra_core.research.recalibration import recalibrate as renew

    with reporting.plain_failures():
        bench = workshop.bench(reporting.progress_to(context.log))
        if bench.registry.champion(FORECASTER) is None:
            context.log.info("nobody holds the forecaster's seat")
            return
        until = config.as_of_ms or newest_close(bench)
        age = workshop.settings.decision.max_champion_age_days
        found = renew(bench, until, act=config.seat, max_age_days=age)
    if found is None:
        return
    context.log.info(f"forecaster {found.champion[:12]}: {found.why}")
    if not found.version:
        return
    metadata = seat_metadata(workshop, FORECASTER, Seat(found.version, "recalibrated", found.why))
    metadata[keys.GATES] = reporting.table([gate.to_json() for gate in found.gates])
    made = dg.AssetMaterialization(keys.champion(FORECASTER), metadata=metadata, tags={DATA_VERSION: found.version})
    context.log_event(made)


@dg.job(
    description="Renew the forecaster champion's calibration on the newest weeks, as a new version that passes its gates.",
    tags=tags.lane(tags.TRAIN),
    executor_def=dg.in_process_executor,
)
def recalibrate() -> None:
    """One seat, one run."""
    renew_calibration()
