"""The check on the feature store that says whether the forecaster champion still reads, and is worth, what it was.

A warning and never a stop: what is trained anew learns from what is now, and the seat is live skill's business (``shadow``).
It looks at the lake, so the daily look at the champions evaluates it too, without making the dataset anew.
"""

from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from hydra_core.domain.intervals import iso
from hydra_dagster import keys, reporting
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.research.drift import Drift


@dg.asset_check(
    asset=keys.DATASET,
    name=keys.DRIFT,
    blocking=False,
    description="The forecaster champion's features are distributed as when it was trained (PSI), losses no larger (ADWIN).",
)
def drift(context: dg.AssetCheckExecutionContext, workshop: dg.ResourceParam[Workshop]) -> dg.AssetCheckResult:
    """Look at the champion's drift; what cannot be looked at is a warning with its reason."""
    from hydra_core.domain.errors import HydraError
    from hydra_core.research.driftlook import look

    try:
        seen = look(workshop.bench(reporting.progress_to(context.log)))
    except HydraError as error:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(error))
    if seen is None:
        nobody = "nobody holds the forecaster's seat: there is nothing to hold the features against"
        return dg.AssetCheckResult(passed=True, severity=dg.AssetCheckSeverity.WARN, description=nobody)
    return dg.AssetCheckResult(
        passed=seen.calm, severity=dg.AssetCheckSeverity.WARN, description=seen.verdict, metadata=_told(seen)
    )


def _told(seen: "Drift") -> dict[str, Any]:
    from hydra_core.research.drift import LOSSES, RECENT_DAYS
    from hydra_core.statistics.shift import BINS, CONFIDENCE, MOVED, SHIFTING

    features = [
        {
            "feature": one.name,
            "PSI": "" if one.index is None else f"{one.index:.4f}",
            "largest while training": "" if one.usual is None else f"{one.usual:.4f}",
            "known then": "" if one.known_before is None else f"{one.known_before:.1%}",
            "known now": f"{one.known:.1%}",
            "word": one.word,
        }
        for one in seen.ordered
    ]
    turns = [
        {"noticed": iso(one.at_ms), "before": one.before, "after": one.after, "word": _direction(one.before, one.after)}
        for one in seen.turns
    ]
    limits = (
        f"Population stability index over {BINS} quantile bins of the training window, newest {RECENT_DAYS} days: from "
        f"{SHIFTING:g} worth a look, from {MOVED:g} moved (Siddiqi 2006), unless a stretch of that length moved as far while "
        f"training. ADWIN on the mean log loss of each horizon, between {LOSSES[0]:g} and {LOSSES[1]:g} nats, chance of a "
        f"false alarm {CONFIDENCE:g} a look (Bifet and Gavalda 2007)."
    )
    return {
        "champion": seen.champion,
        "held against": seen.held_against,
        "features from": iso(seen.from_ms),
        "until": iso(seen.until_ms),
        f"features from {SHIFTING:g}": seen.above(SHIFTING),
        f"features from {MOVED:g}": seen.above(MOVED),
        "features": reporting.table(features),
        "losses since": iso(seen.losses_from_ms) if seen.loss is not None else "none",
        **({"log loss": reporting.number(seen.loss)} if seen.loss is not None else {}),
        "changes of the losses": reporting.table(turns),
        "limits": dg.MetadataValue.md(limits),
    }


def _direction(before: float, after: float) -> str:
    return "worse" if after > before else "better"


CHECKS: Final = [drift]
