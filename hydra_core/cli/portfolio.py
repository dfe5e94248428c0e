"""``hydra portfolio …``: what an account holds, wants, may not do and did, read from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

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
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import iso
from hydra_core.execution.shortfall import Shortfall
from hydra_core.home import Home
from hydra_core.ledger.records import Account, Execution
from hydra_core.ledger.store import Ledger
from hydra_core.report import operator
from hydra_core.report.account import AccountView, market_now, view_account
from hydra_core.report.dashboard import costs_table, orders_table, positions_table, refusals_table
from hydra_core.report.operator import beats

AccountOption = Annotated[str, typer.Option("--account", help="Account; left out: the one opened last.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Positions, trades and worth of an account.", no_args_is_help=True)
    group.command()(show)
    group.command()(positions)
    group.command()(orders)
    group.command()(trades)
    group.command()(refusals)
    group.command()(switches)
    group.command()(executions)
    group.command()(reset)
    app.add_typer(group, name="portfolio")


def show(market: MarketOption = "", account: AccountOption = "", as_json: JsonFlag = False) -> None:
    """Show worth, profit, fees, funding, open positions, working orders, signs of life and latched kill switches."""
    with reporting_errors(), open_ledger(market) as (settings, home, ledger):
        view = view_account(home, ledger, account_of(ledger, account).name, settings)
        working = ledger.open_orders(view.account)
        alive = beats(ledger, SystemClock().wall_ms())
        if as_json:
            say_json({**view.to_json(), "working_orders": working, "heartbeats": alive})
            return
        out.print(summary_table(view))
        out.print(positions_table(view))
        if working:
            out.print(orders_table(working, market_now(home)))
        for beat in alive:
            out.print(f"{beat.who}: last heartbeat [{'green' if beat.fresh else 'red'}]{beat.age_s:.1f} s[/] ago")
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


def orders(market: MarketOption = "", account: AccountOption = "", as_json: JsonFlag = False) -> None:
    """Show the orders that may still fill; one whose fate is unknown counts."""
    with reporting_errors(), open_ledger(market) as (_, home, ledger):
        name = account_of(ledger, account).name
        working = ledger.open_orders(name)
        if as_json:
            say_json({"account": name, "orders": working})
        else:
            out.print(orders_table(working, market_now(home)))


def refusals(
    market: MarketOption = "",
    account: AccountOption = "",
    cycles: Annotated[int, typer.Option(help="Newest decisions to look at.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show what the newest decisions wanted and did not do, and which orders were refused, with the reasons."""
    with reporting_errors(), open_ledger(market) as (_, _, ledger):
        if cycles < 1:
            raise UsageError(f"--cycles {cycles} is not positive")
        name = account_of(ledger, account).name
        found = [*operator.refusals(ledger, name, cycles), *operator.refused_orders(ledger, name)]
        if as_json:
            say_json({"account": name, "refusals": found})
        else:
            out.print(refusals_table(found))


def switches(market: MarketOption = "", account: AccountOption = "", as_json: JsonFlag = False) -> None:
    """Show every kill switch: what it does, whether it is clear, tripped or latched, and why."""
    with reporting_errors(), open_ledger(market) as (_, home, ledger):
        name = account_of(ledger, account).name
        lines = operator.switch_lines(ledger, name, home, SystemClock().wall_ms())
        if as_json:
            say_json({"account": name, "switches": lines})
            return
        table = Table("switch", "does", "state", "since", "why", title=f"kill switches of {name}")
        for line in lines:
            style = {operator.CLEAR: "green", operator.UNJUDGED: "yellow"}.get(line.state, "bold red")
            since = iso(line.since_ms) if line.since_ms is not None else ""
            table.add_row(line.name, line.does, f"[{style}]{line.state}[/]", since, line.reason)
        out.print(table)


def executions(
    market: MarketOption = "",
    account: AccountOption = "",
    limit: Annotated[int, typer.Option(help="Newest executions to show.")] = 30,
    as_json: JsonFlag = False,
) -> None:
    """Show what working each change of position cost against the price at its arrival (implementation shortfall)."""
    with reporting_errors(), open_ledger(market) as (_, _, ledger):
        if limit < 1:
            raise UsageError(f"--limit {limit} is not positive")
        name = account_of(ledger, account).name
        lines = operator.costs(ledger, ledger.executions(name, limit=limit))
        means = operator.mean_costs(lines)
        if as_json:
            told = [{**asdict(one), "shortfall": _parts(spent)} for one, spent in lines]
            say_json(
                {"account": name, "executions": told, "means": [{**asdict(m), "total_bp": m.total_bp} for m in means]}
            )
            return
        out.print(executions_table(name, lines))
        out.print(costs_table(means))


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
        ("maintenance margin", f"{view.maintenance:.2f} USDT"),
        ("mode", view.mode),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table


def executions_table(name: str, lines: Sequence[tuple[Execution, Shortfall | None]]) -> Table:
    """Changes of position with their price at arrival, what was filled at which mean, and the cost in basis points."""
    table = Table(title=f"executions of {name}, cost in bp of the notional at arrival")
    for column in (
        "arrived",
        "pair",
        "schedule",
        "wanted",
        "filled",
        "arrival",
        "average",
        "price",
        "fees",
        "unfilled",
        "end",
    ):
        table.add_column(column, justify="left" if column in ("arrived", "pair", "schedule", "end") else "right")
    for one, spent in lines:
        kind = "at once" if one.target.urgent else f"{one.schedule.kind} x{one.schedule.slices}"
        row = [iso(one.arrival_ms), one.pair, kind, f"{one.change:+f}"]
        if spent is None:
            row += ["", "none", "", "", "", ""]
        else:
            average = "" if spent.average is None else f"{spent.average:.6g}"
            row += [f"{spent.filled:+f}", f"{spent.arrival:f}", average]
            row += [f"{spent.bp(part):+.2f}" for part in (spent.price_cost, spent.fees, spent.opportunity)]
        table.add_row(*row, one.end_reason or "open")
    return table


def _parts(spent: Shortfall | None) -> dict[str, Any] | None:
    """A shortfall for JSON, in USDT and in basis points."""
    if spent is None:
        return None
    return {
        **asdict(spent),
        "total": spent.total,
        "total_bp": spent.bp(spent.total),
        "price_bp": spent.bp(spent.price_cost),
    }
