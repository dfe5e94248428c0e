"""Group external: what comes from elsewhere than the exchange, one asset a table; all of it optional.

An asset whose source has no key or list is made without rows and says why; one whose source fails says so in its check and
stops nothing. Rows carry when they could be known, so that being fetched late never makes them known early. The work is
``hydra_core.lake.gather``.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.domain.tables import (
    CROSS_BASIS,
    CROSS_FUNDING,
    DERIVATIVES,
    EXTERNAL_TABLES,
    NEWS,
    NEWS_SENTIMENT,
    ONCHAIN,
)
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.lake.gather import Gathered, Sources

ANSWERED: Final = "answered"
HOURLY: Final = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=6), fail_window=timedelta(hours=26))
"""Looks failed, or nobody looked, for hours."""
_DEPENDS_ON: Final[Mapping[str, tuple[str, ...]]] = {NEWS_SENTIMENT: (NEWS,)}


class LookConfig(dg.Config):
    """When a look is taken."""

    as_of_ms: int = Field(default=0, ge=0, description="market time, epoch ms; 0: asked from the exchange")


def _look(table: str, sources: "Sources", now_ms: int) -> "Gathered":
    """One look at a table's source."""
    from hydra_core.lake import gather

    looks: dict[str, Callable[[Sources, int], Gathered]] = {
        ONCHAIN: gather.gather_onchain,
        DERIVATIVES: gather.gather_derivatives,
        NEWS: gather.gather_news,
        NEWS_SENTIMENT: gather.score_gathered_news,
        CROSS_FUNDING: gather.gather_cross_funding,
        CROSS_BASIS: gather.gather_cross_basis,
    }
    return looks[table](sources, now_ms)


def _result(table: str, sources: "Sources", gathered: "Gathered") -> dg.MaterializeResult[None]:
    """What was done, for a person; the data version is the content of the table."""
    from hydra_core.lake.gather import content_of

    metadata: dict[str, Any] = {
        "rows_added": gathered.recorded.added,
        "rows_revised": gathered.recorded.revised,
        "rows_late": gathered.recorded.late,
        "questions": gathered.asked,
        "set_aside_so_far": gathered.broken,
        "problems": reporting.table([{"problem": line} for line in gathered.problems]),
    }
    if gathered.absent:
        metadata = {"absent": gathered.absent}
    words = gathered.absent or f"{len(gathered.problems)} of {gathered.asked} questions failed"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hashlib.sha256("\n".join(content_of(sources, table)).encode()).hexdigest()),
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name=ANSWERED,
                passed=not gathered.problems,
                severity=dg.AssetCheckSeverity.WARN,
                description=words if gathered.absent or gathered.problems else "every question was answered",
            )
        ],
    )


def _make(table: str) -> dg.AssetsDefinition:
    spec = EXTERNAL_TABLES[table]

    @dg.asset(
        key=keys.external(table),
        group_name=keys.EXTERNAL,
        deps=[keys.external(parent) for parent in _DEPENDS_ON.get(table, ())],
        code_version=versions.CODE,
        check_specs=[
            dg.AssetCheckSpec(
                ANSWERED, asset=keys.external(table), description="Its source answered, or is absent on purpose."
            )
        ],
        kinds={"parquet"},
        description=f"{spec.source}. Absent without them.",
        freshness_policy=HOURLY,
    )
    def external_table(config: LookConfig, workshop: dg.ResourceParam[Workshop]) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from hydra_core.lake.gather import Gathered

        with reporting.plain_failures():
            sources = workshop.sources
            if reason := sources.absent.get(NEWS if table == NEWS_SENTIMENT else table):
                return _result(table, sources, Gathered(absent=reason))
            return _result(table, sources, _look(table, sources, config.as_of_ms or workshop.market_now()))

    return external_table


ASSETS: Final = [_make(table) for table in EXTERNAL_TABLES]
