"""``hydra portfolio …``: what an account holds and did, read from the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer
from rich.table import Table

from hydra_core.cli.common import (
    JsonFlag,
    MarketOption,
    account_of,
    open_ledger,
    out,
    reporting_errors,
    say_json,
)
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger.records import Account
from hydra_core.ledger.store import Ledger
from hydra_core.report.account import AccountView, market_now, view_account

AccountOption = Annotated[str, typer.Option("--account", help="Account; left out: the one opened last.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Positions, trades and worth of an account.", no_args_is_help=True)
    group.command()(show)
    group.command()(positions)
    group.command()(trades)
    group.command()(reset)
    app.add_typer(group, name="portfolio")


def show(market: MarketOption = "", account: AccountOption = "", as_json: JsonFlag = False) -> None:
    """Show worth, profit, fees, funding, open positions and kill switches."""
    with reporting_errors(), open_ledger(market) as (settings, home, ledger):
        view = view_account(home, ledger, account_of(ledger, account).name, settings)
        if as_json:
            say_json(view.to_json())
            return
        out.print(summary_table(view))
        if view.positions:
            out.print(positions_table(view))
        for switch, reason in view.latched.items():
            out.print(f"[red]kill switch {switch}[/]: {reason}")


def positions(market: MarketOption = "", account: AccountOption = "", as_json: JsonFlag = False) -> None:
    """Show the open positions, marked to the newest prices."""
    with reporting_errors(), open_ledger(market) as (settings, home, ledger):
        view = view_account(home, ledger, account_of(ledger, account).name, settings)
        if as_json:
            say_json({"account": view.account, "positions": [line.to_json() for line in view.positions]})
        elif view.positions:
            out.print(positions_table(view))
        else:
            out.print(f"{view.account} holds nothing")


def trades(
    market: MarketOption = "",
    account: AccountOption = "",
    limit: Annotated[int, typer.Option(help="Newest fills to show.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show the newest fills."""
    if limit < 1:
        raise UsageError(f"--limit {limit} is not positive")
    with reporting_errors(), open_ledger(market) as (_, _, ledger):
        name = account_of(ledger, account).name
        booked = ledger.fills(name, limit=limit)
        if as_json:
            say_json({"account": name, "fills": booked})
            return
        table = Table(title=f"fills of {name}")
        for column in ("time", "pair", "side", "quantity", "price", "fee", "realised", "why"):
            table.add_column(column, justify="left" if column in ("time", "pair", "side", "why") else "right")
        for one in booked:
            fill = one.fill
            table.add_row(
                iso(fill.event_ms),
                fill.pair,
                "buy" if fill.side > 0 else "sell",
                f"{fill.quantity:f}",
                f"{fill.price:f}",
                f"{fill.fee:.4f}",
                f"{one.realised:+.4f}",
                fill.reason,
            )
        out.print(table)


def reset(
    balance: Annotated[float, typer.Option(help="USDT of the fresh account.")] = 10_000.0,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Open a fresh paper account; the earlier one stays as history, and a running trader goes over to the new one."""
    with reporting_errors(), open_ledger(market) as (_, home, ledger):
        opened = open_paper(home, ledger, balance)
        if as_json:
            say_json({"account": opened.name, "balance": str(opened.cash)})
        else:
            out.print(f"account {opened.name} opened with {opened.cash} USDT")


def open_paper(home: Home, ledger: Ledger, balance: float) -> Account:
    """A fresh paper account at the market's present time; raises UsageError unless the balance is positive."""
    if not balance > 0:
        raise UsageError(f"a balance of {balance:g} USDT is not positive", "Give --balance 1000, for example")
    return ledger.open_account("paper", Decimal(str(balance)), market_now(home))


def summary_table(view: AccountView) -> Table:
    """Worth and flows of an account."""
    table = Table(
        title=f"account {view.account}" + (" (synthetic market)" if view.synthetic else ""), show_header=False
    )
    rows = (
        ("equity", f"{view.equity:.2f} USDT ({view.net_return:+.2%})"),
        ("cash", f"{view.cash:.2f}"),
        ("unrealised", f"{view.unrealised:+.2f}"),
        ("realised", f"{view.realised:+.2f}"),
        ("fees", f"{view.fees:.2f}"),
        ("funding", f"{view.funding:+.2f}"),
        ("drawdown", f"{view.drawdown:.2%}"),
        ("exposure", f"{view.exposure:.2f} USDT"),
        ("mode", view.mode),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table


def positions_table(view: AccountView) -> Table:
    """Open positions with entry, mark, stop and profit."""
    table = Table(title="positions")
    for column in ("pair", "quantity", "entry", "mark", "stop", "liquidation", "profit"):
        table.add_column(column, justify="left" if column == "pair" else "right")
    for line in view.positions:
        profit = f"[{'green' if line.profit >= 0 else 'red'}]{line.profit:+.2f}[/]"
        liquidation = f"{line.liquidation:.6g}" if line.liquidation else "none"
        table.add_row(
            line.pair, f"{line.quantity:+g}", f"{line.entry:.6g}", f"{line.mark:.6g}",
            f"{line.stop:.6g}" if line.stop else "none", liquidation, profit,
        )  # fmt: skip
    return table
