"""``hydra backfill``, ``hydra lake …``: history on demand and the catalogue over it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hydra_core.cli.common import JsonFlag, MarketOption, err, open_home, out, reporting_errors, say_json
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.intervals import iso, months_between, parse_time
from hydra_core.domain.pairs import parse_pairs
from hydra_core.domain.tables import TABLES
from hydra_core.home import Home
from hydra_core.lake import catalog as catalogues
from hydra_core.lake.backfill import EVERYTHING, tables_named
from hydra_core.lake.backfill import backfill as fill
from hydra_core.lake.describe import describe
from hydra_core.lake.store import Lake, open_lake
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.venue_clock import read_anchor
from hydra_core.platform.control import running
from hydra_core.platform.markets import described, insist_exchange
from hydra_core.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backfill)
    group = typer.Typer(help="The tables on disk.", no_args_is_help=True)
    group.command()(catalog)
    group.command()(verify)
    group.command()(tables)
    app.add_typer(group, name="lake")


def backfill(
    start: Annotated[str, typer.Option("--from", help="First day, e.g. 2024-08-01 (UTC).")],
    end: Annotated[str, typer.Option("--to", help="Day after the last one (UTC).")],
    pairs: Annotated[str, typer.Option(help="Pairs, comma-separated, or all.")] = "all",
    tables: Annotated[
        str,
        typer.Option(
            help="Tables, comma-separated. all: whatever there is; usual: what models learn from; reference: mark, index and "
            "premium; captured: what the trader heard on streams. `hydra lake tables` lists them."
        ),
    ] = EVERYTHING,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask for closed months again too.")] = False,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Bring history into the lake, whole months: only what is missing, the same bytes whenever and however often it runs.

    What the trader heard on streams is taken up from its captures. It may be killed at any moment and goes on from the last
    whole month when run again. It shares the exchange's request limit with the trader and leaves it room. A home of a local
    market needs its venue running (`hydra up`).
    """
    with reporting_errors():
        settings, home = open_home(market)
        start_ms, end_ms = parse_time(start), parse_time(end)
        if start_ms >= end_ms:
            raise UsageError(f"--from {start} is not before --to {end}", "Swap them")
        chosen = parse_pairs(pairs, settings.pairs)
        wanted = tables_named(tables)
        endpoint, now_ms = where_and_when(home, settings)
        if start_ms >= now_ms:
            raise UsageError(f"--from {start} lies after the market's present, {iso(now_ms)}")
        months = months_between(start_ms, min(end_ms, now_ms))
        with Steps("fetching") as show:
            results = fill(
                endpoint,
                lake_of(home, settings),
                home.spool,
                chosen,
                months,
                wanted,
                now_ms,
                progress=show,
                refresh=refresh,
                limits=home.limits,
            )
        gaps = Counter(str(gap.state) for one in results for gap in one.gaps)
        if as_json:
            lines = [
                {"table": one.table, "pair": one.pair, "month": one.month, "rows": one.rows, "hash": one.content_hash,
                 "fetched": one.fetched, "changed": one.changed, "closed": one.closed, "absent": one.absent,
                 "unresolved": len(one.unresolved), "revised": one.revised, "warnings": list(one.warnings)}
                for one in results
            ]  # fmt: skip
            say_json({"partitions": lines, "rows": sum(one.rows for one in results), "gaps": gaps})
            return
        out.print(f"{len(results)} partitions, {sum(one.rows for one in results):,} rows, "
                  f"{sum(one.fetched for one in results)} fetched, {sum(one.changed for one in results)} changed, "
                  f"{sum(one.revised for one in results)} rows corrected")  # fmt: skip
        out.print("gaps: " + (", ".join(f"{count} {state}" for state, count in sorted(gaps.items())) or "none"))
        for line in sorted({f"{one.table}: {one.absent}" for one in results if one.absent and not one.rows}):
            err.print(f"absent {line}", highlight=False)
        for one in results:
            for warning in one.warnings:
                err.print(f"[yellow]warning[/] {one.pair} {one.month}: {warning}", highlight=False)


def catalog(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Rebuild the DuckDB file of views over the Parquet files."""
    with reporting_errors():
        settings, home = open_home(market)
        views = catalogues.rebuild(lake_of(home, settings), home.catalog)
        if as_json:
            say_json({"catalog": str(home.catalog), "views": views})
        else:
            out.print(
                f"{home.catalog}: {sum(view.rows for view in views):,} rows in {len(views)} views", highlight=False
            )
            for view in views:
                out.print(f"  {view.name:<16} {view.rows:>14,} rows in {view.files} files", highlight=False)
            if settings.lake_url:
                out.print("open it with hydra_core.lake.catalog.connect, or with DuckDB's httpfs", highlight=False)


def verify(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Check every file of the lake, whatever source it is of, against its recorded hash; exit code 1 when one is damaged."""
    with reporting_errors():
        settings, home = open_home(market)
        problems = lake_of(home, settings).verify()
        if as_json:
            say_json({"problems": problems})
        else:
            for problem in problems:
                out.print(problem, highlight=False, markup=False, soft_wrap=True)
            out.print("every file is as recorded" if not problems else f"{len(problems)} damaged")
        if problems:
            raise typer.Exit(1)


def tables(as_json: JsonFlag = False) -> None:
    """List every table: columns with their units, cadence, source, delay and what is done about gaps."""
    with reporting_errors():
        if as_json:
            lines = [
                {"name": one.name, "ts": one.stamp, "columns": dict(one.units), "interval": one.interval,
                 "source": one.source, "delay": one.delay, "gaps": one.gaps}
                for one in TABLES.values()
            ]  # fmt: skip
            say_json({"tables": lines})
        else:
            out.print(describe(), highlight=False, markup=False)


class Steps:
    """A moving bar on standard error; where nobody can see it move, a line for each tenth that is done."""

    def __init__(self, what: str) -> None:
        self._tenth = -1
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None)

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that so many of all steps are done, and which was the last."""
        self._bar.update(self._task, description=label, completed=done, total=total)
        if not err.is_terminal and 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            err.print(f"{done}/{total} {label}", highlight=False, soft_wrap=True)

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def lake_of(home: Home, settings: Settings) -> Lake:
    """A home's tables, on disk or in the object store that settings name."""
    return open_lake(home.lake, settings.exchange, settings.lake_url)


def where_and_when(home: Home, settings: Settings) -> tuple[Endpoint, int]:
    """The exchange a home's market is reached at, and its present time.

    Raises
    ------
    HydraError : the market is local and its venue is not running
    """
    insist_exchange(home, settings.exchange)
    if not described(home).local:
        return Endpoint(settings.exchange), SystemClock().wall_ms()
    record = running(home)
    url = record.venue_url if record is not None else settings.venue_url
    if not url:
        raise HydraError(f"the local venue of market {home.market} is not running", "Start it with `hydra up`")
    return Endpoint(settings.exchange, url), read_anchor(url).market_ms
