"""Jobs: which assets are made together, in which lane, by which executor; and the clearing of old windows.

All run in one process: what is slow to import (expectations, learning libraries) is imported once per run, and a
blocking check stops what stands after it only inside its own run.
"""

from typing import Final

import dagster as dg
from pydantic import Field

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.intervals import DAY_MS, utc
from hydra_core.domain.market import INPUTS
from hydra_dagster import keys, tags

ENDED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
MARKET: Final = dg.AssetSelection.assets(*(keys.market(table) for table in INPUTS))
"""What models learn from; the other market tables have a job of their own, so that this one stays quick."""
LEARNING: Final = dg.AssetSelection.groups(
    keys.RESEARCH, keys.MODELS, keys.VALIDATION, keys.CHAMPIONS, keys.REPORT_GROUP
)

collect: Final = dg.define_asset_job(
    "collect",
    selection=MARKET,
    description="Collect and check market tables for the months and pairs of the run's range of partitions.",
    tags=tags.lane(tags.COLLECT),
    executor_def=dg.in_process_executor,
)
reference: Final = dg.define_asset_job(
    "reference",
    selection=dg.AssetSelection.assets(*(keys.market(table) for table in keys.EXTRA_TABLES)),
    description="Collect and check the market tables that no model needs: reference prices, captured books and trades.",
    tags=tags.lane(tags.COLLECT),
    executor_def=dg.in_process_executor,
)
external: Final = dg.define_asset_job(
    "external",
    selection=dg.AssetSelection.groups(keys.EXTERNAL),
    description="One look at what comes from elsewhere: on-chain, derivatives, news, other exchanges.",
    tags=tags.lane(tags.COLLECT),
    executor_def=dg.in_process_executor,
)
research: Final = dg.define_asset_job(
    "research",
    selection=LEARNING,
    description="From the lake as it is: dataset, sweeps, candidates, validation, champions, report.",
    tags=tags.lane(tags.TRAIN),
    executor_def=dg.in_process_executor,
)
retrain: Final = dg.define_asset_job(
    "retrain",
    selection=MARKET | LEARNING,
    description="Refresh the range of market tables, then all that `research` does; a failed expectation stops it.",
    tags=tags.lane(tags.TRAIN),
    executor_def=dg.in_process_executor,
)
watch: Final = dg.define_asset_job(
    "watch",
    selection=dg.AssetSelection.groups(keys.SHADOW)
    | dg.AssetSelection.checks(dg.AssetCheckKey(keys.DATASET, keys.DRIFT)),
    description="Hold every champion's live skill against its promise, challengers beside them; demote who fell out of it. "
    "Look at the drift of what the forecaster reads.",
    tags=tags.lane(tags.TRAIN),
    executor_def=dg.in_process_executor,
)
study: Final = dg.define_asset_job(
    "study",
    selection=dg.AssetSelection.groups(keys.STUDY),
    description="What the estimators of layer 2 say about the newest bars of the lake; nothing is decided by it.",
    tags=tags.lane(tags.TRAIN),
    executor_def=dg.in_process_executor,
)
live_window: Final = dg.define_asset_job(
    "live_window",
    selection=dg.AssetSelection.groups(keys.LIVE),
    description="One window of decisions with pinned champions.",
    tags={**tags.lane(tags.LIVE), tags.MAX_RETRIES: "0", tags.PRIORITY: "10"},
    executor_def=dg.in_process_executor,
)


class PruneConfig(dg.Config):
    """Which window runs to forget."""

    keep_days: int = Field(default=14, ge=1, description="days of wall time that a window run is kept")


@dg.op
def forget_old_windows(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    """Delete the runs of old windows: about a hundred a day, and the event log has no retention of its own.

    Their decisions stay in the ledger. No other run is touched: deleting one deletes the history of what it made.
    """
    before = utc(SystemClock().wall_ms() - config.keep_days * DAY_MS)
    old = dg.RunsFilter(tags=tags.lane(tags.LIVE), statuses=list(ENDED), created_before=before)
    records = context.instance.get_run_records(old)
    for record in records:
        context.instance.delete_run(record.dagster_run.run_id)
    context.log.info(f"{len(records)} window runs from before {before:%Y-%m-%d} forgotten")


@dg.job(
    description="Delete window runs older than two weeks from Dagster's history.", executor_def=dg.in_process_executor
)
def prune_windows() -> None:
    """The daily clearing."""
    forget_old_windows()
