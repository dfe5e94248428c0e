"""``hydra live``: trading at an exchange, after a person has read what is at stake and typed it back."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Annotated

import typer

from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import Opening, credentials_of, look, open_live
from hydra_core.cli.common import JsonFlag, MarketOption, err, load_settings, out, reporting_errors, say_json
from hydra_core.cli.platform import home_to_open
from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.home import Home
from hydra_core.ledger.records import Account
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.venue_clock import follow_clock
from hydra_core.platform.control import running
from hydra_core.report.proving import proving_of
from hydra_core.settings import Settings
from hydra_core.trader.lock import trader_lock


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(live)


def live(
    exchange: Annotated[str, typer.Option(help="Address of a local venue; left out: the exchange itself.")] = "",
    confirm: Annotated[str, typer.Option(help="The words to agree with, instead of typing them when asked.")] = "",
    open_only: Annotated[bool, typer.Option("--open-only", help="Open the account, start nothing.")] = False,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Trade with real money: shows account and limits, asks for them to be typed back, opens the account, runs the trader.

    Needs HYDRA_LIVE__ENABLED=true, HYDRA_EXCHANGE_KEY and HYDRA_EXCHANGE_SECRET. Until ledger and exchange have been compared
    and agree, positions can only become smaller. Where less than four weeks of paper trading stand behind it, or its fills were
    2 bp or more from what backtests charge, the words to be typed say so.
    """
    with reporting_errors():
        settings = load_settings()
        home = home_to_open(settings, market).create()
        record = running(home)
        endpoint = Endpoint(
            settings.exchange, exchange or settings.venue_url or (record.venue_url if record else "") or None
        )
        credentials = credentials_of(settings, endpoint)
        clock: Clock = follow_clock(endpoint.base_url) if endpoint.base_url is not None else SystemClock()
        with trader_lock(home.run):
            account = asyncio.run(_open(settings, home, endpoint, credentials, clock, confirm))
        if as_json:
            say_json({"account": account.name, "cash": account.cash, "exchange": str(endpoint), "terms": account.terms})
        else:
            out.print(f"account {account.name} is open with {account.cash:.2f} USDT at {endpoint}")
        if open_only:
            return
    from hydra_core.trader.__main__ import main

    sys.exit(main(["--base-url", endpoint.base_url] if endpoint.base_url else []))


async def _open(
    settings: Settings, home: Home, endpoint: Endpoint, credentials: Credentials, clock: Clock, confirm: str
) -> Account:
    async with open_gateway(endpoint, credentials, clock, budget_folder=home.limits) as gateway:
        opening = await look(gateway, settings)
        with Ledger.open(settings.database_url or home.ledger_url) as ledger:
            proving = proving_of(ledger, settings)
            err.print(f"{proving.told}: {'proven' if proving.held else '[bold]not proven on paper[/]'}")
            opening = replace(opening, proven=proving.held)
            _agree(opening, confirm)
            return await open_live(gateway, ledger, settings.pairs, opening, clock.market_ms())


def _agree(opening: Opening, confirm: str) -> None:
    """Show what is at stake and have it typed back; raises UsageError for other words."""
    err.print(f"[bold]{opening.endpoint}[/]: {opening.wallet:.2f} USDT")
    for line in opening.positions:
        err.print(f"  holds {line}")
    for name, value in opening.limits.items():
        err.print(f"  {name} {value:g}")
    words = confirm
    if not words:
        err.print(f"To agree, type: [bold]{opening.phrase}[/]", highlight=False, soft_wrap=True)
        words = typer.prompt("", prompt_suffix="> ", err=True)
    if words.strip() != opening.phrase:
        raise UsageError(
            "these are not the words that were asked for; nothing was opened", f"They are: {opening.phrase}"
        )
