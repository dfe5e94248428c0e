"""``hydra paper``, ``trader``, ``venue serve``, ``replay``, ``audit``: trading, and asking why."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from hydra_core.cli.audit import audit
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
from hydra_core.cli.demo import demo
from hydra_core.cli.platform import home_to_open, wait_with_progress
from hydra_core.cli.portfolio import open_paper
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import iso, parse_time
from hydra_core.home import Home
from hydra_core.ledger.store import Ledger
from hydra_core.platform.control import Platform
from hydra_core.platform.parts import PARTS, WEBSERVER
from hydra_core.report.dashboard import dashboard
from hydra_core.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(demo)
    app.command()(paper)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(trader)
    group = typer.Typer(help="The local exchange.", no_args_is_help=True)
    group.command("serve")(serve_venue)
    app.add_typer(group, name="venue")
    app.command("replay")(replay_cycle)
    app.command()(audit)


def paper(
    balance: Annotated[float, typer.Option(help="USDT of a fresh paper account.")] = 10_000.0,
    market: MarketOption = "",
) -> None:
    """Trade on paper in the foreground, with the dashboard, until Ctrl-C; a fresh account is opened.

    Starts venue, trader and Dagster (its sensor launches the decision windows) and ends them all again.
    """
    with reporting_errors():
        settings, home = _opened(market)
        with Ledger.open(settings.database_url or home.ledger_url) as ledger:
            account = open_paper(home, ledger, balance)
            platform = Platform(home, settings, set(PARTS) - {WEBSERVER}, tied=True)
            started = platform.running() is None
            try:
                platform.start()
                wait_with_progress(platform)
                clock = SystemClock()
                pause = threading.Event()
                with Live(console=out, refresh_per_second=2, screen=out.is_terminal) as live:
                    while not pause.wait(0.5):
                        live.update(dashboard(home, ledger, account.name, settings, clock.wall_ms()))
            except KeyboardInterrupt:
                err.print("ending; positions stay in the ledger")
            finally:
                if started:
                    platform.stop()


def trader(context: typer.Context) -> None:
    """Run the trader alone: feeds, orders, guard (`--base-url URL` for a local venue, `--until-flat`)."""
    from hydra_core.trader.__main__ import main

    sys.exit(main(context.args))


def serve_venue(
    replay: Annotated[Path | None, typer.Option(help="Folder of recorded history.")] = None,
    signal: Annotated[float, typer.Option(help="Planted predictability, a correlation; 0 is noise.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic market.")] = 7,
    speed: Annotated[float, typer.Option(help="Market seconds a wall second.")] = 1.0,
    days: Annotated[int, typer.Option(help="Days of history before the clock's start.")] = 120,
    port: Annotated[int, typer.Option(help="Port on loopback.")] = 8899,
) -> None:
    """Serve a local exchange that speaks the Binance USD-M protocol, on loopback only."""
    from hydra_core.demo.market import open_recorded, open_synthetic
    from hydra_core.platform.markets import venue_arguments
    from hydra_core.venue.__main__ import main

    with reporting_errors():
        if not speed > 0:
            raise UsageError(f"--speed {speed:g} is not positive")
        settings = load_settings()
        if replay is not None:
            home, description = open_recorded(settings, replay, days, 12.0, fresh=False)
        else:
            home, description = open_synthetic(settings, seed, signal, days, fresh=False)
        arguments = list(venue_arguments(home, description, port))
        arguments[arguments.index("--speed") + 1] = str(speed)
        code = main(arguments)
    sys.exit(code)


def replay_cycle(
    cycle: Annotated[str, typer.Argument(help="Grid point: epoch ms or 2024-10-29T01:30:00.")],
    account: Annotated[str, typer.Option(help="Account; left out: the one opened last.")] = "",
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a recorded decision again from its data and model versions, and compare byte for byte."""
    from hydra_core.replay import replay

    with reporting_errors(), open_ledger(market) as (_, home, ledger):
        name = account_of(ledger, account).name
        cycle_ms = int(cycle) if cycle.isdigit() else parse_time(cycle)
        result = replay(cycle_ms, home, ledger, account=name)
        if as_json:
            say_json({"cycle_ms": cycle_ms, "identical": result.identical, "differences": list(result.differences)})
        elif result.identical:
            out.print(f"{iso(cycle_ms)}: identical, byte for byte")
        else:
            out.print(f"{iso(cycle_ms)}: [red]differs[/]")
            for difference in result.differences:
                out.print(f"  {difference}")
        if not result.identical:
            raise typer.Exit(1)


def _opened(market: str) -> tuple[Settings, Home]:
    settings = load_settings()
    home = home_to_open(settings, market)
    return settings.model_copy(update={"market": home.market}), home
