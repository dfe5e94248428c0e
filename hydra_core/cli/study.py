"""``hydra study``: what the estimators of layer 2 say about the lake's newest bars. No trading rule reads any of it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hydra_core.cli.common import JsonFlag, MarketOption, err, open_home, out, reporting_errors, say_json
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import iso
from hydra_core.domain.pairs import parse_pairs
from hydra_core.lake.store import open_lake


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("study")(study_command)


def study_command(
    pairs: Annotated[str, typer.Option(help="Pairs, comma-separated, or all.")] = "all",
    days: Annotated[int, typer.Option(help="Newest days of the lake to read.")] = 104,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Volatility, jumps, clustering, regimes, change points and forecasts of the newest bars, with errors; for reading only.

    What cannot be estimated is listed with the reason. No seat, gate, risk rule or order reads any of it.
    """
    from hydra_core.research.study.sources import MOST_DAYS, study_lake
    from hydra_core.research.study.tables import NO_RULE, tables_of

    with reporting_errors():
        settings, home = open_home(market)
        chosen = parse_pairs(pairs, settings.pairs)
        if not 1 <= days <= MOST_DAYS:
            raise UsageError(f"--days {days} is out of range", f"Give 1 to {MOST_DAYS}")
        lake = open_lake(home.lake, settings.exchange, settings.lake_url)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=err) as bar:
            task = bar.add_task("study", total=None)

            def show(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)

            study = study_lake(lake, chosen, days, progress=show)
        if as_json:
            say_json(study.to_json())
            return
        out.print(f"{study.rows} bars of 5m, {iso(study.from_ms)} to {iso(study.until_ms)}. {NO_RULE}", highlight=False)
        for title, rows in tables_of(study).items():
            table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            for head in rows[0]:
                table.add_column(head)
            for row in rows:
                table.add_row(*row.values())
            out.print(table)
