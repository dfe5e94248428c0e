"""Group research: the dataset and the sweeps over it; the work is ``hydra_core.research.pipeline``.

What passes from asset to asset is a version in the metadata; the data themselves lie in the home.
"""

from typing import Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.domain.intervals import iso
from hydra_core.domain.market import CANDLES, INPUTS
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop


class DatasetConfig(dg.Config):
    """Which part of the lake to learn from; 0 means as far as it reaches."""

    as_of_ms: int = Field(default=0, ge=0, description="market time, epoch ms; 0: asked from the exchange")
    start_ms: int = Field(default=0, ge=0, description="first bar, epoch ms; 0: as many candles as training.candles says")


@dg.asset(
    key=keys.DATASET,
    group_name=keys.RESEARCH,
    deps=[keys.market(table) for table in INPUTS],
    code_version=versions.CODE,
    kinds={"numpy"},
    description="Features, labels and walk-forward folds of all pairs, filed under the hash of what they were made from.",
)
def dataset(
    context: dg.AssetExecutionContext, config: DatasetConfig, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Prepare the dataset of a history that ends at market time."""
    from hydra_core.research import pipeline

    with reporting.plain_failures():
        made = pipeline.prepare(
            workshop.research, config.as_of_ms or workshop.market_now(), config.start_ms or None
        )
        told = made.summary()
    metadata: dict[str, Any] = {
        reporting.ROWS: told["rows"],
        "from": iso(told["start_ms"]),
        "until": iso(told["end_ms"]),
        "lock-box from": iso(told["lockbox_start_ms"]),
        "pairs": ", ".join(told["pairs"]),
        "inputs": ", ".join(told["inputs"]),
        "features": len(told["features"]),
        "folds": reporting.table([{"fold": number, **fold} for number, fold in enumerate(told["folds"], 1)]),
        versions.RESULT: dg.MetadataValue.json(told),
    }
    return dg.MaterializeResult(data_version=dg.DataVersion(made.version), metadata=metadata)


ASSETS: Final = [dataset]
_ = CANDLES
