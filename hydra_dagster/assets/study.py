"""Group study: what the estimators of layer 2 say about the lake's newest bars; the work is ``hydra_core.research.study``.

For people alone: nothing stands downstream of it, and no seat, gate, risk rule or order reads it.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.domain.intervals import iso
from hydra_core.domain.market import CANDLES, LIQUIDATIONS
from hydra_core.domain.pairs import parse_pair
from hydra_core.domain.tables import CAPTURES
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.research.study.records import MarketStudy


class StudyConfig(dg.Config):
    """Which part of the lake to read."""

    as_of_ms: int = Field(
        default=0, ge=0, description="nothing later, epoch ms of market time; 0: all that was collected"
    )
    pairs: list[str] = Field(default=[], description="empty: the settings' pairs")
    days: int = Field(default=104, ge=1, le=365, description="newest days, at most")


@dg.asset(
    key=keys.MARKET_STUDY,
    group_name=keys.STUDY,
    deps=[keys.market(table) for table in (CANDLES, LIQUIDATIONS, CAPTURES)],
    code_version=versions.CODE,
    kinds={"numpy"},
    description="Volatility, jumps, clustering, regimes, change points and forecasts of the newest bars, with errors. "
    "For reading only: no trading rule reads it.",
)
def market_study(
    context: dg.AssetExecutionContext, config: StudyConfig, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Study the newest bars of the lake; what cannot be estimated is a row that says why."""
    from hydra_core.research.study.kept import keep
    from hydra_core.research.study.sources import study_lake

    with reporting.plain_failures():
        pairs = [parse_pair(pair) for pair in config.pairs] or workshop.settings.pairs
        progress = reporting.progress_to(context.log)
        study = study_lake(workshop.lake, pairs, config.days, config.as_of_ms, progress)
        keep(workshop.home, study)
    version = hashlib.sha256(json.dumps(study.to_json(), sort_keys=True).encode()).hexdigest()
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=_told(study))


def _told(study: "MarketStudy") -> dict[str, Any]:
    from hydra_core.research.study.plots import branching_picture, volatility_picture
    from hydra_core.research.study.records import Unknown
    from hydra_core.research.study.tables import NO_RULE, markdown, tables_of

    metadata: dict[str, Any] = {
        "for whom": NO_RULE,
        "from": iso(study.from_ms),
        "until": iso(study.until_ms),
        "bars a pair": study.rows,
        "parts that could not be estimated": len(study.unknown),
    }
    if not isinstance(study.cross, Unknown):
        metadata["spectral radius"] = reporting.number(study.cross.radius.value)
    pictures = {"volatility": volatility_picture(study), "branching ratios": branching_picture(study)}
    metadata |= {name: reporting.picture(png, name) for name, png in pictures.items() if png is not None}
    # A table of the study and a picture or number above may go by one name: the tables say that they are some.
    metadata |= {f"table: {title}": dg.MetadataValue.md(markdown(rows)) for title, rows in tables_of(study).items()}
    return metadata


ASSETS: Final = [market_study]
