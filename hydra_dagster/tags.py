"""Tags that runs carry, and why. The limits on them are in ``dagster.yaml``."""

from typing import Final

LANE: Final = "hydra/lane"
"""Which queue a run stands in: one window, one training and one collection at a time."""
LIVE: Final = "live"
TRAIN: Final = "train"
COLLECT: Final = "collect"

ACCOUNT: Final = "hydra/account"
PINS: Final = "hydra/pins"

MAX_RETRIES: Final = "dagster/max_retries"
"""0 on window runs: a dead window is followed by a new one from the sensor, never run again by the daemon."""
MAX_RUNTIME: Final = "dagster/max_runtime"
RANGE_START: Final = "dagster/asset_partition_range_start"
RANGE_END: Final = "dagster/asset_partition_range_end"
PRIORITY: Final = "dagster/priority"


def lane(name: str) -> dict[str, str]:
    """Tags that put a run in a lane."""
    return {LANE: name}
