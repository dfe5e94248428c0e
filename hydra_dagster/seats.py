"""The job that gives a seat back: launch ``rollback`` in the web UI, name the kind, and the one before sits again.

An op, not the champion's asset: launched with nothing filled in, an asset's job would promote. It records the champion's
asset all the same, so its page tells what happened. The same in one command: ``hydra models rollback KIND``.
"""

from typing import Final, Literal

import dagster as dg
from pydantic import Field

from hydra_core.alpha.models import FORECASTER
from hydra_dagster import keys, reporting, tags
from hydra_dagster.assets.champions import VACANT, ChampionConfig, market_time, seat_metadata, settle
from hydra_dagster.resources import Workshop

DATA_VERSION: Final = "dagster/data_version"


class RollbackConfig(dg.Config):
    """Whose seat, and to whom."""

    kind: Literal["forecaster", "crowd", "policy"] = Field(default=FORECASTER, description="whose seat")
    version: str = Field(default="", description="a former champion's first digits; empty: the one before")
    reason: str = Field(default="", description="kept in the history")


@dg.op
def give_seat_back(
    context: dg.OpExecutionContext, config: RollbackConfig, workshop: dg.ResourceParam[Workshop]
) -> None:
    """Roll a seat back and record who holds it now."""
    asked = ChampionConfig(action="rollback", version=config.version, reason=config.reason)
    with reporting.plain_failures():
        seat = settle(context.instance, workshop, config.kind, asked, market_time(workshop))
        metadata = seat_metadata(workshop, config.kind, seat)
    context.log.info(f"{config.kind}: {seat.action}, holder {(seat.holder or VACANT)[:12]}: {seat.why}")
    context.log_event(
        dg.AssetMaterialization(
            keys.champion(config.kind), metadata=metadata, tags={DATA_VERSION: seat.holder or VACANT}
        )
    )


@dg.job(
    description="Give a seat back to the champion before, or to a named former one; config: kind, version, reason.",
    tags=tags.lane(tags.TRAIN),
    executor_def=dg.in_process_executor,
)
def rollback() -> None:
    """One seat, one run."""
    give_seat_back()
