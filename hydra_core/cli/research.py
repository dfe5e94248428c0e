"""``hydra audit-leaks``, ``bench``, ``bench truth``: whether what HYDRA says about itself can be believed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hydra_core.cli.common import JsonFlag, MarketOption, err, open_home, out, reporting_errors, say_json
from hydra_core.cli.models import newest_panel
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.lake.store import Lake

if TYPE_CHECKING:
    from hydra_core.domain.market import Panel
    from hydra_core.domain.pairs import Pair
    from hydra_core.research.audit.lines import AuditLine
    from hydra_core.research.audit.sources import Sources
    from hydra_core.research.truth.bench import Plan

TRUTH = "truth"
AUDITED_DAYS = 30


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("audit-leaks")(audit_leaks)
    app.command()(bench)


def audit_leaks(
    data: Annotated[
        Path | None,
        typer.Option("--data", "--replay", help="Folder of recorded history; left out: the lake of the home."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Random rows after which the future is replaced by noise.", min=1)] = 200,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Put every registered feature and statistic, and how they are joined, to the leak suite on this data, and the figures
    that the home's champions were seated with to the caps of what is believable (with --data there are none)."""
    from hydra_core.alpha.registry import ModelRegistry
    from hydra_core.research.audit.lines import CHECKS, leaks
    from hydra_core.research.audit.plausibility import recorded_figures
    from hydra_core.research.audit.sources import sources_of_lake, traded_in
    from hydra_core.research.audit.suite import audit_history

    with (
        reporting_errors(),
        Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=err) as bar,
    ):
        figures: list[AuditLine] = []
        if data is not None:
            panel, sources, traded = recorded(data)
        else:
            settings, home = open_home(market)
            lake = Lake(home.lake, settings.exchange)
            panel = newest_panel(lake, settings.pairs, AUDITED_DAYS)
            sources = sources_of_lake(lake, panel.pairs, int(panel.ts[0]), int(panel.close_ms[-1]))
            traded = traded_in(lake)
            figures = recorded_figures(ModelRegistry(home.models), home.market)
        task = bar.add_task("audit", total=None)
        lines = audit_history(
            panel,
            sources,
            traded,
            rows=rows,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    lines += figures
    found = leaks(lines)
    # A history has no figures of its own: L9 judges what a model is claimed to be worth.
    unjudged = {} if figures else {"L9": "no champion" if data is None else "a folder has no champions"}
    if as_json:
        say_json(
            {
                "features": sum(line.check == "L1" for line in lines),
                "checks": sorted({line.check for line in lines}),
                "not_judged": unjudged,
                "leaks": [str(line) for line in found],
                "lines": [line.to_json() for line in lines],
            }
        )
    else:
        for line in lines:
            word = "[green]clean[/]" if line.clean else "[red]leak [/]"
            out.print(f"{word} {line.check:3} {CHECKS[line.check]:17} {line.name}: {line.detail}", soft_wrap=True)
        for check, why in unjudged.items():
            out.print(f"not judged: {check} {CHECKS[check]}: {why}; every candidate is held to it before it is seated")
        out.print(f"{len(lines)} checks, {len(found)} leaks")
    if found:
        raise typer.Exit(1)


def bench(
    only: Annotated[
        str,
        typer.Argument(help="Group of benchmarks, or truth: how much of what is there is found. Left out: all groups."),
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="truth: one seed a row, ten research runs each.")] = False,
    seeds: Annotated[
        str,
        typer.Option(help="truth: fresh seeds, comma-separated or as first-last; left out: the ones of this release."),
    ] = "",
    jobs: Annotated[int, typer.Option(help="truth: processes at once.", min=1)] = 2,
    rows: Annotated[str, typer.Option(help="truth: only rows whose name contains one of these words.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            help="truth: folder of recorded history, for the rows on real data and as a null by random signs."
        ),
    ] = None,
    later: Annotated[
        Path | None,
        typer.Option(help="truth: folder of a sealed period after --data; judged on, and each reading written down."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="truth: forget what an earlier run left.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the benchmarks: ours beside a peer or a limit in the same run, with the ratio."""
    with reporting_errors():
        if only == TRUTH:
            from hydra_core.research.truth.bench import Plan

            words = tuple(rows.split())
            plan = Plan.of(quick=quick, seeds=_numbers(seeds), only=words, data=data, later=later)
            _truth(plan, jobs, fresh, as_json)
            return
        if not Path("benchmarks/__main__.py").is_file():
            raise UsageError("benchmarks are part of the checkout", "Run this in HYDRA's folder")
        command = [sys.executable, "-m", "benchmarks", *([only] if only else []), *(["--json"] if as_json else [])]
        code = subprocess.run(command, check=False).returncode
    if code:
        raise typer.Exit(code)


def _truth(plan: Plan, jobs: int, fresh: bool, as_json: bool) -> None:
    """Measure the share of what is there that is found, and show it row by row."""
    from hydra_core.cli.common import load_settings
    from hydra_core.research.truth.bench import measure

    folder = load_settings().data_root / TRUTH
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=err) as bar:
        task = bar.add_task("truth", total=None)
        made = measure(
            plan,
            folder,
            jobs=jobs,
            fresh=fresh,
            progress=lambda what, done, total: bar.update(task, description=what[:50], completed=done, total=total),
        )
    table = Table(title="share of what is there that is found", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("row", "ours", "reference", "judged (95 %)", "goal", "sample", "verdict"):
        table.add_column(head, no_wrap=head in ("ours", "reference", "verdict"))
    for row in made.rows:
        table.add_row(
            row.name,
            f"{row.ours:.4g}",
            f"{row.reference:.4g}",
            f"{row.ratio:.3g} ({row.low:.3g} to {row.high:.3g})",
            row.goal_text,
            row.sample,
            "[green]holds[/]" if row.holds else "[red]falls short[/]",
        )
    if not as_json:
        out.print(table)
        for row in made.rows:
            if row.beside:
                figures = ", ".join(f"{name} {value:.3g}" for name, value in row.beside.items())
                out.print(f"{row.name}, beside it: {figures}", soft_wrap=True)
        for name, why in made.absent.items():
            out.print(f"left out: {name}: {why}", soft_wrap=True)
    else:
        say_json([row.to_json() for row in made.rows])


def _numbers(text: str) -> tuple[int, ...]:
    """Seeds from ``1,2,7`` or ``100-104``."""
    found: list[int] = []
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise UsageError(f"--seeds {text!r} are no seeds", "Give --seeds 101,102 or --seeds 101-105") from None
    return tuple(found)


def recorded(folder: Path, days: int = 0) -> tuple[Panel, Sources, dict[Pair, tuple[int, int]]]:
    """A folder of recorded history as a panel, what it was joined from, and when each pair traded.

    Parameters
    ----------
    days : newest days; 0 for all that its base interval covers
    """
    from hydra_core.research.audit.sources import Sources
    from hydra_core.simulation import open_market

    market = open_market("recorded", folder, days or 20)
    end = market.end_ms or 0
    start = max(market.origin_ms, end - days * DAY_MS) if days else market.origin_ms
    pairs = market.pairs
    sources = Sources(
        pairs,
        {pair: market.candles(pair, FORECAST_INTERVAL, start, end) for pair in pairs},
        {pair: market.funding(pair, start - DAY_MS, end) for pair in pairs},
        {pair: market.open_interest(pair, start - DAY_MS, end) for pair in pairs},
        {pair: market.long_short(pair, start - DAY_MS, end) for pair in pairs},
    )
    traded = {pair: (int(bars.ts[0]), int(bars.ts[-1])) for pair, bars in sources.candles.items() if len(bars)}
    return sources.panel(start, end), sources, traded
