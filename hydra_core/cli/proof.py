"""``hydra parity`` and ``hydra stress``: what was recorded, and what could happen, lived through by the real code."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hydra_core.cli.common import (
    JsonFlag,
    MarketOption,
    account_of,
    err,
    load_settings,
    open_ledger,
    out,
    reporting_errors,
    say_json,
)
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import HOUR_MS, iso, parse_time

if TYPE_CHECKING:
    from hydra_core.replay.parity import ParityReport
    from hydra_core.replay.stress import StressRun

SHOWN = 12
"""Rows of money shown on the terminal; all of them are in the JSON, the largest on the page."""
CASCADE = ("2025-10-10T20:55:00", "2025-10-10T21:10:00", "2025-10-10T21:15:00")
"""Where a stress run begins by default: before, into and at the bottom of the cascade of 10 October 2025."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(parity)
    app.command()(stress)


def parity(
    hours: Annotated[
        float, typer.Option(help="Only the last so many market hours; 0: the whole session.", min=0)
    ] = 0.0,
    since: Annotated[str, typer.Option(help="First grid point: epoch ms or 2024-10-29T01:30:00.")] = "",
    until: Annotated[str, typer.Option(help="End of the span, itself excluded.")] = "",
    account: Annotated[str, typer.Option(help="Account; left out: the one opened last.")] = "",
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Live a recorded session through again and give every difference from the backtester its cause, to the cent.

    Every decision is made again from its own data, models and settings and must come out identical. The decisions are then led
    through the backtester's account; what the real account made beyond it is attributed to signal, price, latency and data.
    Fills are held against the declared slippage. Writes reports/parity-ACCOUNT.html and a section of the report. Exits with 1
    where a decision differs, a fill cost more than declared, or a cent has no cause.
    """
    from hydra_core.replay.parity import parity as live_again
    from hydra_core.report.account import is_synthetic
    from hydra_core.report.parity import write_parity

    with reporting_errors(), open_ledger(market) as (_, home, ledger):
        name = account_of(ledger, account).name
        first, end = _time(since), _time(until)
        if hours:
            newest = ledger.decisions(name, until_ms=end, limit=1)
            if newest:
                first = max(first or 0, newest[0].cycle_ms - int(hours * HOUR_MS))
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
        with Progress(*columns, console=err) as bar:
            task = bar.add_task("decisions", total=None)
            found = live_again(
                home, ledger, name, since_ms=first, until_ms=end,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
        page = write_parity(home, found, is_synthetic(home))
        if as_json:
            say_json({**found.to_json(), "page": str(page)})
        else:
            _show(found)
            out.print(f"page: {page}", soft_wrap=True)
        if not found.holds:
            raise typer.Exit(1)


def stress(
    replay: Annotated[Path, typer.Option(help="Folder of recorded history that holds the crash.")],
    at: Annotated[list[str] | None, typer.Option(help="When positions are forced on, UTC; may be repeated.")] = None,
    side: Annotated[str, typer.Option(help="long, short or both.")] = "long",
    balance: Annotated[float, typer.Option(help="USDT of the account.")] = 10_000.0,
    hours: Annotated[float, typer.Option(help="Market hours that follow.")] = 2.0,
    page: Annotated[Path | None, typer.Option(help="Where the page goes; left out: data_lake/stress.html.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Force positions on at the allowed size and live through a recorded crash with the real trader.

    By default the cascade of 2025-10-10: positions are taken at 20:55, 21:10 and 21:15 UTC in turn, as large as the exposure
    limits leave standing, with the stops that the risk brain would set; from then on window, desk, guard and kill switches do
    what they do. Shown is whether exposure stayed inside its limits, whether the switches tripped at the first mark that met
    their condition, whether a loss limit was overshot by more than the bar that crossed it, and whether the account ended flat
    and solvent; the timeline becomes a page, and a section of `hydra report`. Exits with 1 where something did not hold.
    """
    from hydra_core.replay.stress import stress as live_through
    from hydra_core.report.stress import PAGE, write_stress
    from hydra_core.simulation.recorded import RecordedMarket

    with reporting_errors():
        settings = load_settings()
        sides = {"long": (1,), "short": (-1,), "both": (1, -1)}.get(side)
        if sides is None:
            raise UsageError(f"--side {side!r} is none of long, short, both")
        if not balance > 0 or not hours > 0:
            raise UsageError(f"--balance {balance:g} and --hours {hours:g} must be positive")
        moments = [parse_time(moment) for moment in at or CASCADE]
        recorded = RecordedMarket(replay)
        for moment in moments:
            if not recorded.origin_ms < moment < recorded.end_ms - int(hours * HOUR_MS):
                raise UsageError(
                    f"{iso(moment)} and {hours:g} h after it are not in {replay}",
                    f"It holds {iso(recorded.origin_ms)} to {iso(recorded.end_ms)}",
                )
        runs = []
        for moment in moments:
            for one in sides:
                err.print(f"{iso(moment)} {'long' if one > 0 else 'short'} …", highlight=False)
                runs.append(
                    live_through(recorded, settings, moment, side=one, balance=Decimal(repr(balance)), hours=hours)
                )
        written = write_stress(page or settings.data_root / PAGE, recorded.name, runs, synthetic=False)
        holds = all(run.holds for run in runs)
        if as_json:
            say_json({"holds": holds, "runs": [run.to_json() for run in runs], "page": str(written)})
        else:
            for run in runs:
                _tell(run)
            out.print(f"page: {written}", soft_wrap=True)
        if not holds:
            raise typer.Exit(1)


def _show(found: ParityReport) -> None:
    plain: dict[str, Any] = found.to_json()
    fills = plain["fills"]
    out.print(
        f"{found.identical} of {found.decisions} decisions identical over {plain['hours']:g} h, "
        f"{found.missed} grid points missed; {fills['within']} of {fills['fills']} fills within the declared slippage "
        f"({fills['slippage_bp']:.2f} bp found, {fills['declared_bp']:.2f} declared)",
        soft_wrap=True,
    )
    sums = Table("cause", "USDT", title="account less backtest")
    for cause, amount in plain["by_cause"].items():
        sums.add_row(cause, f"{amount:+.2f}")
    sums.add_row("together", f"{found.difference:+.2f}")
    out.print(sums)
    rows = Table("from", "pair", "cause", "what", "USDT", title=f"largest of {len(found.rows)} differences")
    for row in sorted(found.rows, key=lambda row: -abs(row.usdt))[:SHOWN]:
        rows.add_row(iso(row.from_ms), row.pair, row.cause.value, row.what, f"{row.usdt:+.4f}")
    out.print(rows)
    for one in found.differing[:SHOWN]:
        out.print(f"[red]{iso(one.cycle_ms)} differs[/] ({one.cause.value}): {', '.join(one.places[:4])}")
    out.print("[green]parity holds[/]" if found.holds else "[red]parity does not hold[/]")


def _tell(run: StressRun) -> None:
    side = "long" if run.side > 0 else "short"
    table = Table("what has to hold", "verdict", "found", title=f"{side} at {iso(run.entered_ms)}")
    for one in run.verdicts:
        table.add_row(one.name, "[green]holds[/]" if one.holds else "[red]fails[/]", one.found)
    out.print(table)


def _time(said: str) -> int | None:
    if not said:
        return None
    return int(said) if said.isdigit() else parse_time(said)
