"""``hydra kill``, ``hydra resume``: the manual switch. The kill file works with every other part down."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from hydra_core.broker.emergency import flatten
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import credentials_of
from hydra_core.cli.common import JsonFlag, MarketOption, err, open_home, open_ledger, out, reporting_errors, say_json
from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import HydraError, LockHeld
from hydra_core.home import Home
from hydra_core.ledger.doorbell import ring
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.venue_clock import follow_clock
from hydra_core.platform.control import running
from hydra_core.platform.processes import child_environment
from hydra_core.settings import Settings
from hydra_core.trader.lock import trader_lock

FlattenFlag = Annotated[bool, typer.Option("--flatten", help="Also close every position.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(kill)
    app.command()(resume)


def kill(flatten: FlattenFlag = False, market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Pull the manual kill switch: no order but cancels and protective stops until `hydra resume`.

    The switch is a file, so it works with the trader, Dagster and the database down. With --flatten a running trader closes
    every position; without one this command takes its lock and closes them itself.
    """
    with reporting_errors():
        settings, home = open_home(market)
        home.kill_file.write_text("flatten\n" if flatten else "halt\n")
        ring(home.run)
        alive = _trader_alive(home.run)
        if flatten and not alive:
            record = running(home)
            url = record.venue_url if record else settings.venue_url
            err.print("no trader is running: flattening from here")
            command = [sys.executable, "-m", "hydra_core.trader", "--until-flat"]
            done = subprocess.run(command, env=child_environment(home, settings, threads=1, venue_url=url), check=False)
            if done.returncode:
                _flatten_without_ledger(settings, home, url)
        say = {"switch": str(home.kill_file), "mode": "flatten" if flatten else "halted", "trader": alive}
        if as_json:
            say_json(say)
        else:
            out.print(f"kill switch pulled ({say['mode']}); release it with `hydra resume`")


def _flatten_without_ledger(settings: Settings, home: Home, venue_url: str) -> None:
    """The last way to flat, for an account at an exchange: by what the exchange says, with no book at all."""
    if not settings.live.enabled:
        raise HydraError("positions could not be closed from here", "See the lines above; the switch stays pulled")
    endpoint = Endpoint(settings.exchange, venue_url or None)
    clock: Clock = follow_clock(endpoint.base_url) if endpoint.base_url is not None else SystemClock()

    async def close() -> None:
        async with open_gateway(
            endpoint, credentials_of(settings, endpoint), clock, budget_folder=home.limits
        ) as gateway:
            await flatten(gateway, clock)

    err.print("the books cannot be used: closing what the exchange says is open")
    with trader_lock(home.run):
        asyncio.run(close())


def resume(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Release the manual switch and every latched kill switch.

    Losses count from the present equity on: look at why they tripped first (`hydra portfolio show`).
    """
    with reporting_errors(), open_ledger(market) as (_, home, ledger):
        account = ledger.current_account()
        latched = sorted(ledger.latched(account.name)) if account else []
        home.kill_file.unlink(missing_ok=True)
        ledger.command("resume", {}, SystemClock().wall_ms())
        alive = _trader_alive(home.run)
        if as_json:
            say_json({"released": latched, "trader": alive})
        else:
            names = ", ".join(latched) or "nothing was latched"
            out.print(f"resume: {names}" + ("" if alive else "; takes effect when the trader starts"))


def _trader_alive(folder: Path) -> bool:
    """Whether a trader holds the home's lock."""
    try:
        with trader_lock(folder):
            return False
    except LockHeld:
        return True
