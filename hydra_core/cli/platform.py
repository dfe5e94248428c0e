"""``hydra up``, ``down``, ``status``, ``doctor``, ``env``: the platform as a whole."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hydra_core.cli.common import JsonFlag, MarketOption, err, load_settings, open_home, out, reporting_errors, say_json
from hydra_core.domain.errors import UsageError
from hydra_core.home import Home, current_home, home_named, use_home
from hydra_core.market.exchanges import EXCHANGES
from hydra_core.market.venue_clock import read_anchor, set_clock
from hydra_core.platform.control import READY, Platform, down, run_in_foreground
from hydra_core.platform.doctor import examine
from hydra_core.platform.markets import default_market, describe_home, described
from hydra_core.platform.parts import PlatformRecord
from hydra_core.platform.processes import child_environment
from hydra_core.platform.status import look
from hydra_core.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command("down")(down_command)
    app.command()(status)
    app.command()(doctor)
    app.command()(env)


def up(
    market: MarketOption = "",
    foreground: Annotated[bool, typer.Option("--foreground", help="Supervise in this terminal until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start the platform: local venue, trader, code locations, Dagster's daemon and web UI.

    Opens the market home used last (a first synthetic one on a fresh checkout), returns once everything is ready and leaves
    it running; `hydra down` ends it.
    """
    with reporting_errors():
        settings = load_settings()
        home = home_to_open(settings, market)
        settings = settings.model_copy(update={"market": home.market})
        if foreground:
            run_in_foreground(home, settings)
            return
        platform = Platform(home, settings)
        fresh = platform.running() is None
        try:
            platform.start()
            record = wait_with_progress(platform)
            if record.venue_url and read_anchor(record.venue_url).held:
                set_clock(record.venue_url, speed=described(home).speed, held=False)  # a demo leaves its market held
        except BaseException:
            if fresh:
                platform.stop()
            raise
        if as_json:
            say_json({"market": home.market, "web": record.webserver_url, "venue": record.venue_url})
        else:
            out.print(f"[bold green]ready[/] market {home.market}, web UI at {record.webserver_url}")
            out.print("`hydra status` shows how it is, `hydra down` ends it")


def down_command(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """End the platform: every process of it, runs and orphans included."""
    with reporting_errors():
        _, home = open_home(market)
        report = down(home)
        if as_json:
            say_json({"was_running": report.was_running, "orphans": report.orphans})
        else:
            out.print("platform ended" if report.was_running else "no platform was running")


def status(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Show every part's health; exit code 1 when one is not healthy."""
    with reporting_errors():
        settings, home = open_home(market)
        seen = look(home, settings)
        if as_json:
            say_json(seen.to_json())
        else:
            table = Table(title=f"market {home.market}")
            for column in ("", "part", "detail"):
                table.add_column(column)
            for line in seen.lines:
                mark = {True: "[green]●[/]", False: "[red]●[/]", None: "[dim]○[/]"}[line.healthy]
                table.add_row(mark, line.name, line.detail)
            out.print(table)
        if not seen.healthy:
            raise typer.Exit(1)


def doctor(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Examine environment, ports, disk, lake and ledger, and say what to do about what is wrong."""
    with reporting_errors():
        settings = load_settings()
        try:
            home: Home | None = current_home(settings.data_root, market or settings.market)
        except UsageError:
            home = None
        findings = examine(settings, home)
        if as_json:
            say_json({"findings": findings, "healthy": all(found.ok for found in findings)})
        else:
            for found in findings:
                mark = "[green]ok[/]  " if found.ok else "[red]bad[/] "
                out.print(f"{mark} {found.name}: {found.detail}" + (f" → {found.remedy}" if found.remedy else ""))
        if not all(found.ok for found in findings):
            raise typer.Exit(1)


def env(market: MarketOption = "") -> None:
    """Print the environment that Dagster's own commands need: `eval "$(hydra env)"`, then `dagster dev`."""
    with reporting_errors():
        settings, home = open_home(market)
        whole = child_environment(home, settings, threads=settings.training.threads, venue_url=settings.venue_url)
        for name in sorted(whole):
            if name.startswith(("HYDRA_", "DAGSTER_HOME")) and whole[name]:
                out.print(f"export {name}={shlex.quote(whole[name])}", soft_wrap=True, highlight=False)


def home_to_open(settings: Settings, market: str) -> Home:
    """The named home, the one used last, or a first synthetic one; remembered as the one in use."""
    try:
        home = current_home(settings.data_root, market or settings.market)
    except UsageError:
        name, description = default_market()
        home = home_named(settings.data_root, name)
        use_home(home)
        describe_home(home, description)
        return home
    if not home.path.is_dir() and (market or settings.market) not in EXCHANGES:
        raise UsageError(f"no market home {home.path}", "`hydra demo` makes one")
    return use_home(home)


def wait_with_progress(platform: Platform) -> PlatformRecord:
    """Wait until every part is ready, with a bar that names what is awaited."""
    with Progress(
        TextColumn("starting"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err
    ) as bar:
        task = bar.add_task("", total=len(platform.parts))

        def show(record: PlatformRecord) -> None:
            waiting = [part.name for part in record.parts.values() if part.state not in READY]
            bar.update(task, completed=len(platform.parts) - len(waiting), description=", ".join(waiting) or "ready")

        return platform.wait_ready(on_progress=show)
