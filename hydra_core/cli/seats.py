"""``hydra models …``: who holds the seats, how well the holders still do, and giving a seat back.

A running window ends early when a seat changes and the next one begins with the new holders. Not here: training and
promotion (``models``), which only the gates decide.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hydra_core.alpha.models import KINDS
from hydra_core.cli.common import JsonFlag, MarketOption, open_home, out, reporting_errors, say_json
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import iso

KindArgument = Annotated[str, typer.Argument(help=f"Kind of model: {', '.join(KINDS)}.")]
ReasonOption = Annotated[str, typer.Option(help="Kept in the history.")]
VACANT = "vacant"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Who holds the seats, how well they still do, and giving a seat back.", no_args_is_help=True
    )
    group.command("list")(list_models)
    group.command()(watch)
    group.command()(drift)
    group.command()(recalibrate)
    group.command()(rollback)
    group.command()(demote)
    app.add_typer(group, name="models")


def list_models(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """List every sealed model with its seat, and the newest changes of the seats."""
    from hydra_core.alpha.registry import ModelRegistry

    with reporting_errors():
        _, home = open_home(market)
        registry = ModelRegistry(home.models)
        champions, cards = registry.champions(), registry.list()
        if as_json:
            say_json(
                {
                    "champions": champions,
                    "models": [
                        {"kind": card.kind, "version": card.version, "trained_until": iso(card.trained_until_ms)}
                        for card in cards
                    ],
                    "history": list(registry.history()),
                }
            )
            return
        table = Table(title="sealed models")
        for head in ("kind", "version", "trained until", "seat"):
            table.add_column(head, no_wrap=True)
        for card in cards:
            seat = "champion" if champions.get(card.kind) == card.version else ""
            table.add_row(card.kind, card.version[:12], iso(card.trained_until_ms), seat)
        out.print(table)
        for row in list(registry.history())[-10:]:
            holder, before = (row["version"] or VACANT)[:12], (row["previous"] or VACANT)[:12]
            out.print(f"{iso(row['at_ms'])} {row['kind']} {row['action']}: {before} -> {holder}")


def watch(
    demote: Annotated[bool, typer.Option("--demote", help="Empty a seat whose holder has left its interval.")] = False,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Hold every champion's live skill against what it was promoted for, with the newest challenger as its shadow."""
    from hydra_core.research.bench import Bench
    from hydra_core.research.pipeline import newest_close
    from hydra_core.research.shadow import WATCHED
    from hydra_core.research.shadow import watch as look

    with reporting_errors():
        settings, home = open_home(market)
        bench = Bench.of(home, settings)
        seen = [found for kind in WATCHED if (found := look(bench, kind, newest_close(bench), act=demote))]
        if as_json:
            say_json({"seats": [one.to_json() for one in seen]})
            return
        for one in seen:
            out.print(f"{one.kind} {one.champion[:12]}: {one.word}: {one.why}", soft_wrap=True)
            if one.shadow is not None:
                lead = "" if one.lead is None else f", {one.lead.value * 1e4:+.1f} bp a day beside it"
                out.print(f"  challenger {one.challenger[:12]}: {one.shadow.value:.3f}{lead}", soft_wrap=True)
        if not seen:
            out.print("no seat is held: nothing to watch")


def drift(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Hold what the forecaster champion reads against what it was taught on, and look for a change of its losses."""
    from hydra_core.research.bench import Bench
    from hydra_core.research.driftlook import look

    with reporting_errors():
        settings, home = open_home(market)
        seen = look(Bench.of(home, settings))
        if as_json:
            say_json({"drift": None if seen is None else seen.to_json()})
            return
        if seen is None:
            out.print("nobody holds the forecaster's seat")
            return
        table = Table(title=f"what forecaster {seen.champion[:12]} reads, until {iso(seen.until_ms)}")
        for head in ("feature", "word", "index", "largest while training", "known then", "known now"):
            table.add_column(head, no_wrap=True)
        for one in seen.ordered:
            figures = (
                "" if each is None else f"{each:.3f}" for each in (one.index, one.usual, one.known_before, one.known)
            )
            table.add_row(one.name, one.word, *figures)
        out.print(table)
        out.print(seen.verdict, soft_wrap=True)


def recalibrate(
    seat: Annotated[bool, typer.Option("--seat", help="Seat the renewed version when it passes its gates.")] = False,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Try a calibration of the newest weeks for the forecaster champion's weights, as a new version."""
    from hydra_core.research.bench import Bench
    from hydra_core.research.pipeline import newest_close
    from hydra_core.research.recalibration import recalibrate as renew

    with reporting_errors():
        settings, home = open_home(market)
        bench = Bench.of(home, settings)
        age = settings.decision.max_champion_age_days
        found = renew(bench, newest_close(bench), act=seat, max_age_days=age)
        if as_json:
            say_json({"recalibration": None if found is None else found.to_json()})
        elif found is None:
            out.print("nobody holds the forecaster's seat")
        else:
            out.print(f"forecaster {found.champion[:12]}: {found.why}", soft_wrap=True)


def rollback(
    kind: KindArgument,
    version: Annotated[str, typer.Option(help="A former champion (first digits); left out: the one before.")] = "",
    reason: ReasonOption = "rolled back by hand",
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Give a seat back to the champion before the present one, or to a named former champion."""
    from hydra_core.alpha.registry import ModelRegistry
    from hydra_core.report.account import market_now

    with reporting_errors():
        _check(kind)
        _, home = open_home(market)
        registry = ModelRegistry(home.models)
        holder = registry.give_back(kind, version, reason, at_ms=market_now(home))
        _say(kind, holder, "rolled back", as_json)


def demote(
    kind: KindArgument,
    reason: ReasonOption = "vacated by hand",
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Empty a seat; without a forecaster HYDRA stays flat."""
    from hydra_core.alpha.registry import ModelRegistry
    from hydra_core.report.account import market_now

    with reporting_errors():
        _check(kind)
        _, home = open_home(market)
        ModelRegistry(home.models).demote(kind, reason, at_ms=market_now(home))
        _say(kind, None, "vacated", as_json)


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown kind of model {kind!r}", f"Known: {', '.join(KINDS)}")


def _say(kind: str, holder: str | None, action: str, as_json: bool) -> None:
    if as_json:
        say_json({"kind": kind, "action": action, "champion": holder})
    else:
        out.print(f"{kind}: {action}; the seat is held by {holder[:12] if holder else 'nobody'}")
