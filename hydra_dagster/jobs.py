"""Jobs: which assets are made together, in which lane, by which executor.

All run in one process: what is slow to import (expectations, learning libraries) is imported once per run, and a
blocking check stops what stands after it only inside its own run.
"""

from typing import Final

import dagster as dg

from hydra_dagster import keys, tags

MARKET: Final = dg.AssetSelection.groups(keys.MARKET)
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
live_window: Final = dg.define_asset_job(
    "live_window",
    selection=dg.AssetSelection.groups(keys.LIVE),
    description="One window of decisions with pinned champions.",
    tags={**tags.lane(tags.LIVE), tags.MAX_RETRIES: "0", tags.PRIORITY: "10"},
    executor_def=dg.in_process_executor,
)
