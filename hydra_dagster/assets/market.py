"""Group market: the exchange's tables in the lake, one asset a table, by month and pair.

A run over many partitions collects all of them at once; the work is ``hydra_core.lake``. A month that is still open is
recorded as not closed and collected again by the next run.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.domain.intervals import iso
from hydra_core.domain.market import CANDLES, LIQUIDATIONS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CAPTURES, REFERENCE_PRICES, STREAM_TABLES, TABLES
from hydra_dagster import keys, reporting, versions
from hydra_dagster.partitions import PAIR_MONTH, key_of, months_by_pair
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.lake.collect import Collected

LAKE_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    group: tuple(name for name, table in TABLES.items() if table.group == group) for group in keys.MARKET_TABLES
}
"""Market asset -> the lake tables it keeps."""
CAPTURED: Final = frozenset(TABLES[name].group for name in STREAM_TABLES)
"""Market assets that are taken up from the trader's captures."""
INTERVALS_AGREE: Final = "intervals_agree"
NO_GAPS: Final = "no_gaps"
DAILY: Final = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=26), fail_window=timedelta(hours=50))
"""The daily refresh was missed once, twice."""
SCARCE: Final = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=7), fail_window=timedelta(days=20))
"""The exchange keeps about 30 days of these: what is not collected by then is lost."""
FRESH: Final[Mapping[str, dg.FreshnessPolicy]] = {
    **dict.fromkeys(keys.MARKET_TABLES, DAILY),
    **dict.fromkeys((REFERENCE_PRICES, CAPTURES), SCARCE),
}
_TOLD: Final[Mapping[str, str]] = {
    CANDLES: "Candles of every interval; the higher ones are held against those derived from the finest.",
    "funding": "Funding rates as settled, with each contract's true settlement times and intervals.",
    "open_interest": "Open interest every 5 minutes; exchanges keep about 30 days of it.",
    "long_short": "Ratio of accounts long to accounts short every 5 minutes; exchanges keep about 30 days of it.",
    LIQUIDATIONS: "Forced orders as the trader heard them on the stream: no exchange offers a history of them.",
    REFERENCE_PRICES: "Bars of mark price, index price and premium: what positions are valued and funding is made by.",
    CAPTURES: "Order book snapshots and public trades as the trader heard them on the streams.",
}


class CollectConfig(dg.Config):
    """What a collection may take; 0 means no limit but the partitions'."""

    as_of_ms: int = Field(default=0, ge=0, description="market time, epoch ms; 0: asked from the exchange")
    start_ms: int = Field(default=0, ge=0, description="nothing before, epoch ms")
    end_ms: int = Field(default=0, ge=0, description="nothing from here on, epoch ms")
    refresh: bool = Field(default=False, description="ask for closed months again")

    def clip(self, as_of_ms: int) -> tuple[int, int] | None:
        """The span to stay inside, None for whole months."""
        return (self.start_ms, self.end_ms or as_of_ms) if self.start_ms or self.end_ms else None


def _collect(
    workshop: Workshop,
    table: str,
    cells: Mapping[Pair, tuple[str, ...]],
    config: CollectConfig,
    tell: Callable[..., None],
) -> "list[Collected]":
    """Fetch the tables of a market asset; pairs with the same months go together."""
    from hydra_core.lake.collect import collect

    as_of = config.as_of_ms or workshop.market_now()
    clip = config.clip(as_of)
    if table in CAPTURED:
        return list(_take_up(workshop, table, cells, as_of, clip))
    found: list[Collected] = []
    for months in sorted(set(cells.values())):
        pairs = [pair for pair, its in cells.items() if its == months]
        found += collect(
            workshop.endpoint,
            workshop.lake,
            pairs,
            months,
            LAKE_TABLES[table],
            as_of,
            progress=tell,
            clip=clip,
            refresh=config.refresh,
            limits=workshop.home.limits,
        )
    return found


def _take_up(
    workshop: Workshop,
    table: str,
    cells: Mapping[Pair, tuple[str, ...]],
    as_of: int,
    clip: tuple[int, int] | None,
) -> "Iterator[Collected]":
    """What the trader captured, added to what the lake has."""
    from hydra_core.lake.compact import compact, forget_candles

    for pair, months in cells.items():
        for name in LAKE_TABLES[table]:
            yield from compact(workshop.lake, workshop.home.spool, name, pair, months, as_of, clip)
        if table == CAPTURES:
            forget_candles(workshop.home.spool, pair, as_of)


def _result(context: dg.AssetExecutionContext, table: str, found: "Sequence[Collected]") -> dg.MaterializeResult[None]:
    """One materialization over all partitions of the run, with each partition's own rows and hashes."""
    by_cell: dict[tuple[Pair, str], list[Collected]] = {}
    for one in found:
        by_cell.setdefault((one.pair, one.month), []).append(one)
    for (pair, month), parts in by_cell.items():
        context.add_asset_metadata(_cell(parts), partition_key=str(key_of(month, pair)))
    digest = hashlib.sha256("\n".join(sorted(one.content_hash for one in found)).encode()).hexdigest()
    absent = sorted({f"{one.table}: {one.absent}" for one in found if one.absent})
    metadata: dict[str, Any] = {
        "rows_in_run": sum(one.rows for one in found),
        "months_fetched": sum(one.fetched for one in found),
        "months_changed": sum(one.changed for one in found),
        "rows_corrected": sum(one.revised for one in found),
    }
    if absent:
        metadata["absent"] = reporting.as_json(absent)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest), metadata=metadata, check_results=list(_warnings(table, found))
    )


def _cell(parts: "Sequence[Collected]") -> dict[str, Any]:
    return {
        reporting.ROWS: sum(one.rows for one in parts),
        "closed": all(one.closed for one in parts if not one.absent),
        "files": reporting.table(
            [
                {
                    "table": one.table,
                    "rows": one.rows,
                    "content_hash": one.content_hash[:16],
                    "closed": one.closed,
                    "changed": one.changed,
                    "note": one.absent or "; ".join(one.warnings),
                    "file": one.path,
                }
                for one in parts
            ]
        ),
    }


def _warnings(table: str, found: "Sequence[Collected]") -> Iterator[dg.AssetCheckResult]:
    """Whether anything was remarked while collecting; remarks do not stop a run."""
    if table in CAPTURED:
        return
    known = [(one, gap) for one in found for gap in one.gaps]
    holes = [(one, gap) for one, gap in known if gap in one.unresolved]
    yield dg.AssetCheckResult(
        check_name=NO_GAPS,
        passed=not holes,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(holes)} gaps are unresolved" if holes else f"no unresolved gap, {len(known)} explained",
        metadata={
            "gaps": reporting.table(
                [
                    {
                        "what": one.label,
                        "from": iso(gap.start),
                        "to": iso(gap.end),
                        "where": str(gap.kind),
                        "state": str(gap.state),
                    }
                    for one, gap in known
                ]
            )
        },
    )
    if table == CANDLES:
        remarks = [(one, line) for one in found for line in one.warnings if " differs " in line]
        yield dg.AssetCheckResult(
            check_name=INTERVALS_AGREE,
            passed=not remarks,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(remarks)} months differ"
            if remarks
            else "higher intervals are what the finest makes of them",
            metadata={"differences": reporting.table([{"what": one.label, "how": line} for one, line in remarks])},
        )


def _check_specs(table: str) -> list[dg.AssetCheckSpec]:
    key = keys.market(table)
    told = "No rows are missing for reasons unknown."
    specs = [] if table in CAPTURED else [dg.AssetCheckSpec(NO_GAPS, asset=key, description=told)]
    if table == CANDLES:
        told = "The exchange's higher intervals equal those derived from its finest."
        specs.append(dg.AssetCheckSpec(INTERVALS_AGREE, asset=key, description=told))
    return specs


def _make(table: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.market(table),
        group_name=keys.MARKET,
        partitions_def=PAIR_MONTH,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=versions.CODE,
        check_specs=_check_specs(table),
        kinds={"parquet"},
        description=_TOLD[table],
        freshness_policy=FRESH[table],
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL),
    )
    def market_table(
        context: dg.AssetExecutionContext, config: CollectConfig, workshop: dg.ResourceParam[Workshop]
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        cells = months_by_pair(context.partition_keys)
        with reporting.plain_failures():
            found = _collect(workshop, table, cells, config, reporting.progress_to(context.log))
        return _result(context, table, found)

    return market_table


ASSETS: Final = [_make(table) for table in keys.MARKET_TABLES]
