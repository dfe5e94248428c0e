"""Group champions: who holds each seat.

An asset of its own, because a blocking check stops only its own run: before a candidate takes a seat, the gates' check of
exactly that candidate is read again, and what the leak suite said of it. The asset is made in every run; its version is the
seat's holder, its metadata say why.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import dagster as dg
from pydantic import Field

from hydra_core.alpha.models import FORECASTER, KINDS
from hydra_core.domain.intervals import iso
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop

VACANT: Final = "vacant"


class ChampionConfig(dg.Config):
    """What to do with the seat."""

    action: Literal["promote", "rollback", "vacate"] = Field(
        default="promote",
        description="promote the candidate if it passed its gates and its leak suite; give the seat back to the one before; "
        "empty the seat",
    )
    version: str = Field(default="", description="with rollback: an earlier champion's version (or its first digits)")
    reason: str = Field(default="", description="kept in the history")


@dataclass(frozen=True)
class Seat:
    """Who holds a seat after the asset was made, and why."""

    holder: str | None
    action: str
    why: str


def settle(instance: dg.DagsterInstance, workshop: Workshop, kind: str, config: ChampionConfig, at_ms: int) -> Seat:
    """Promote, roll back or vacate; a candidate that may not take the seat leaves its holder where he is."""
    registry = workshop.registry
    if config.action == "vacate":
        registry.demote(kind, config.reason or "vacated by hand", at_ms=at_ms)
        return Seat(None, "vacated", config.reason or "vacated by hand")
    if config.action == "rollback":
        return _roll_back(workshop, kind, config, at_ms)
    candidate = versions.latest(instance, keys.candidate(kind))
    version = str(candidate.result.get("version") or "")
    standing = registry.champion(kind)
    if not version:
        return Seat(
            standing, "kept", f"there is no candidate: {candidate.result.get('absent') or 'nothing was trained'}"
        )
    validation = versions.latest(instance, keys.validation(kind))
    word = versions.word_of(instance, keys.validation(kind), keys.GATES)
    refusal = (
        versions.refusal(validation, word, version)
        or _leaks(workshop, kind, version)
        or _refused_together(instance, kind)
    )
    if refusal:
        return Seat(standing, "refused", refusal)
    if standing is not None and version != standing and version == registry.origin(kind, standing):
        return Seat(standing, "kept", f"its weights are {version[:12]}'s, its calibration was renewed since")
    registry.promote(kind, version, dict(validation.result), at_ms=at_ms)
    return Seat(version, "promoted" if version != standing else "kept", "its gates passed")


def _leaks(workshop: Workshop, kind: str, version: str) -> str:
    """Why the leak suite, run whenever it was, keeps this very version from its seat; empty when it was found clean."""
    from hydra_core.research.audit.record import refusal

    return refusal(workshop.registry, kind, version)


def _refused_together(instance: dg.DagsterInstance, kind: str) -> str:
    """Why the seats together stand against a forecaster: nothing is traded without one, so theirs is a word on its seat."""
    if kind != FORECASTER:
        return ""
    from hydra_core.research.validation import committee_version

    judged = {each: versions.latest(instance, keys.validation(each)).result for each in KINDS}
    seats = {each: str(result["version"]) for each, result in judged.items() if result.get("passed")}
    word = versions.word_of(instance, keys.COMMITTEE, keys.GATES)
    refusal = versions.refusal(versions.latest(instance, keys.COMMITTEE), word, committee_version(seats))
    return f"the seats together: {refusal}" if refusal else ""


def _roll_back(workshop: Workshop, kind: str, config: ChampionConfig, at_ms: int) -> Seat:
    reason = config.reason or "rolled back by hand"
    return Seat(workshop.registry.give_back(kind, config.version, reason, at_ms=at_ms), "rolled back", reason)


def _history(workshop: Workshop, kind: str) -> dg.MetadataValue:
    return reporting.table(
        [
            {
                "market time": iso(row["at_ms"]),
                "action": row["action"],
                "version": (row["version"] or VACANT)[:12],
                "before": (row["previous"] or VACANT)[:12],
            }
            for row in reversed(workshop.registry.history(kind)[-20:])
        ]
    )


def _make(kind: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.champion(kind),
        group_name=keys.CHAMPIONS,
        deps=[keys.candidate(kind), keys.validation(kind), *([keys.COMMITTEE] if kind == FORECASTER else [])],
        code_version=versions.CODE,
        kinds={"registry"},
        description=f"Who holds the {kind}'s seat. Roll back by materializing it with config action: rollback.",
    )
    def champion(
        context: dg.AssetExecutionContext, config: ChampionConfig, workshop: dg.ResourceParam[Workshop]
    ) -> dg.MaterializeResult[None]:
        with reporting.plain_failures():
            seat = settle(context.instance, workshop, kind, config, market_time(workshop))
            metadata = seat_metadata(workshop, kind, seat)
        context.log.info(f"{kind}: {seat.action}, holder {(seat.holder or VACANT)[:12]}: {seat.why}")
        return dg.MaterializeResult(data_version=dg.DataVersion(seat.holder or VACANT), metadata=metadata)

    return champion


def market_time(workshop: Workshop) -> int:
    """Market time for the history; a roll-back must work with the venue down, so then it is the newest known."""
    from hydra_core.domain.errors import VenueError

    try:
        return workshop.market_now()
    except VenueError:
        rows: list[Any] = list(workshop.registry.history())
        return max((int(row["at_ms"]) for row in rows), default=0)


def seat_metadata(workshop: Workshop, kind: str, seat: Seat) -> dict[str, Any]:
    """What the asset's page tells of a seat."""
    return {
        "holder": seat.holder or VACANT,
        "action": seat.action,
        "why": seat.why,
        "history": _history(workshop, kind),
        versions.RESULT: reporting.as_json({"version": seat.holder, "action": seat.action, "why": seat.why}),
    }


ASSETS: Final = [_make(kind) for kind in KINDS]
