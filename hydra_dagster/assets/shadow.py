"""Group shadow: each champion's live skill against its promise, the newest challenger beside it on paper.

One asset a seat that can be watched; made daily. A holder whose live skill has left its interval loses the seat here.
"""

from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_core.domain.intervals import iso
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.research.bootstrap import Interval
    from hydra_core.research.shadow import Watch

WATCHED: Final = (FORECASTER, CROWD, POLICY)


class ShadowConfig(dg.Config):
    """How to look."""

    as_of_ms: int = Field(
        default=0, ge=0, description="nothing later, epoch ms of market time; 0: all that was collected"
    )
    demote: bool = Field(default=True, description="empty the seat when its holder's live skill has left its interval")


def _make(kind: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.shadow(kind),
        group_name=keys.SHADOW,
        deps=[
            keys.CANDLES_KEY,
            keys.champion(kind),
            keys.candidate(kind),
            *([keys.champion(FORECASTER)] if kind == POLICY else []),  # whose forecasts it times
        ],
        check_specs=[
            dg.AssetCheckSpec(
                keys.LIVE_SKILL,
                asset=keys.shadow(kind),
                description="The champion's live skill has not fallen out of the interval it was promoted with.",
            )
        ],
        code_version=versions.CODE,
        kinds={"python"},
        description=f"The {kind} champion on bars since it took its seat, the newest challenger traded beside it on paper.",
    )
    def shadow(
        context: dg.AssetExecutionContext, config: ShadowConfig, workshop: dg.ResourceParam[Workshop]
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from hydra_core.research.pipeline import newest_close
        from hydra_core.research.shadow import watch

        with reporting.plain_failures():
            bench = workshop.bench(reporting.progress_to(context.log))
            seen = watch(bench, kind, config.as_of_ms or newest_close(bench), act=config.demote)
        return _told(kind, seen)

    return shadow


def _told(kind: str, seen: "Watch | None") -> dg.MaterializeResult[Any]:
    if seen is None:
        word = dg.AssetCheckResult(check_name=keys.LIVE_SKILL, passed=True, description="nobody holds the seat")
        return dg.MaterializeResult(metadata={"word": "vacant"}, check_results=[word])
    rows = [
        {"who": "promised", **_line(seen.promised)},
        {"who": f"champion {seen.champion[:12]}", **_line(seen.live), "bp a day": _bp(seen, "champion")},
        {
            "who": f"challenger {seen.challenger[:12] or 'none'}",
            **_line(seen.shadow),
            "bp a day": _bp(seen, "challenger"),
        },
        {"who": "lead of the challenger, a day", **_line(seen.lead)},
    ]
    metadata: dict[str, Any] = {
        "word": seen.word,
        "why": seen.why,
        "from": iso(seen.from_ms),
        "until": iso(seen.until_ms),
        seen.measure: reporting.table([{"bp a day": "", **row} for row in rows]),
        **{f"inside the intervals of the {who}": reporting.number(share) for who, share in seen.inside.items()},
        **{f"skill of the {who}'s chance of a rise": reporting.number(skill) for who, skill in seen.rises.items()},
        **({"live": reporting.number(seen.live.value)} if seen.live is not None else {}),
        versions.RESULT: reporting.as_json(seen.to_json()),
    }
    check = dg.AssetCheckResult(
        check_name=keys.LIVE_SKILL, passed=not seen.gone, severity=dg.AssetCheckSeverity.WARN, description=seen.why
    )
    return dg.MaterializeResult(metadata=metadata, check_results=[check])


def _line(interval: "Interval | None") -> dict[str, Any]:
    if interval is None:
        return {"value": "not known", "low": "", "high": ""}
    return {name: f"{getattr(interval, name):.5f}" for name in ("value", "low", "high")}


def _bp(seen: "Watch", name: str) -> str:
    return f"{seen.daily[name] * 1e4:.2f}" if name in seen.daily else ""


ASSETS: Final = [_make(kind) for kind in WATCHED]
