"""The terminal dashboard: one screen of an account, what it wants and may not do, and the health of what it depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger.records import DecisionLine, EquityPoint, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.report.account import AccountView, market_now, view_account
from hydra_core.report.operator import (
    CLEAR,
    UNJUDGED,
    MeanCost,
    Refusal,
    SwitchLine,
    beats,
    costs,
    mean_costs,
    refusals,
    refused_orders,
    switch_lines,
)
from hydra_core.settings import Settings

BLOCKS: Final = "▁▂▃▄▅▆▇█"
NEWEST: Final = 8
REFUSED_ORDERS: Final = 4
EXECUTIONS: Final = 200
"""Newest executions whose cost is averaged."""
NEAR: Final = 0.1
"""A liquidation closer than this share of the mark is shown in red."""


def dashboard(home: Home, ledger: Ledger, account: str, settings: Settings, wall_ms: int) -> RenderableType:
    """The screen as it stands now."""
    view = view_account(home, ledger, account, settings)
    title = f"HYDRA · {home.market} · {iso(market_now(home))}" + (" · synthetic market" if view.synthetic else "")
    upper = Columns(
        [_worth(view, ledger.equity_curve(account, limit=600)), _health(ledger, view, wall_ms)], expand=True
    )
    switches = switch_lines(ledger, account, home, wall_ms)
    spent = mean_costs(costs(ledger, ledger.executions(account, limit=EXECUTIONS)))
    return Frame(
        Group(
            upper,
            _switches(switches),
            positions_table(view),
            orders_table(ledger.open_orders(account), market_now(home)),
            refusals_table([*refusals(ledger, account), *refused_orders(ledger, account, REFUSED_ORDERS)]),
            costs_table(spent),
            _decisions(ledger.decisions(account, limit=NEWEST)),
        ),
        title=title,
    )


def sparkline(points: Sequence[EquityPoint], width: int = 48) -> str:
    """An equity curve in one line of blocks; empty without points."""
    values = [float(point.equity) for point in points]
    if not values:
        return ""
    step = max(1, len(values) // width)
    thinned = values[::step][-width:]
    low, high = min(thinned), max(thinned)
    span = high - low or 1.0
    return "".join(BLOCKS[int((value - low) / span * (len(BLOCKS) - 1))] for value in thinned)


def _worth(view: AccountView, curve: Sequence[EquityPoint]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    profit = view.equity - view.initial_balance
    table.add_row("equity", Text(f"{view.equity:,.2f} USDT", style="bold"), _signed(profit))
    table.add_row("realised", _signed(view.realised), "")
    table.add_row("unrealised", _signed(view.unrealised), "")
    table.add_row("fees / funding", f"{-view.fees:,.2f} / {view.funding:+,.2f}", "")
    table.add_row("drawdown", f"{view.drawdown:.2%}", "")
    table.add_row("exposure", f"{view.exposure:,.0f} USDT", "")
    return Frame(Group(table, Text(sparkline(curve), style="cyan")), title=view.account)


def _health(ledger: Ledger, view: AccountView, wall_ms: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row("mode", Text(view.mode, style="green" if view.mode == "active" else "bold red"))
    for beat in beats(ledger, wall_ms):
        table.add_row(beat.who, Text(f"{beat.age_s:.1f} s ago", style="green" if beat.fresh else "red"))
        for stream, ok in sorted(beat.streams.items()):
            table.add_row(f"  {stream}", Text("up" if ok else "down", style="green" if ok else "red"))
    return Frame(table, title="health")


def _switches(lines: Sequence[SwitchLine]) -> RenderableType:
    """All of them in a line while they are clear; those that are not, each with its reason."""
    quiet = [line.name for line in lines if line.state in (CLEAR, UNJUDGED)]
    table = Table.grid(padding=(0, 2))
    for line in lines:
        if line.state not in (CLEAR, UNJUDGED):
            since = f"since {iso(line.since_ms)}" if line.since_ms is not None else ""
            table.add_row(Text(f"{line.name}: {line.state}", style="bold red"), line.does, line.reason, since)
    unjudged = any(line.state == UNJUDGED for line in lines)
    word = "not judged, no trader" if unjudged else "clear"
    rest = Text(f"{word}: {', '.join(quiet)}", style="yellow" if unjudged else "green")
    return Frame(Group(table, rest) if len(quiet) < len(lines) else rest, title="kill switches")


def positions_table(view: AccountView) -> RenderableType:
    """Open positions with entry, mark, stop, liquidation price and its distance, and profit."""
    table = Table(title="positions", expand=True, box=SIMPLE_HEAD)
    for column in ("pair", "quantity", "entry", "mark", "stop", "liquidation", "distance", "profit"):
        table.add_column(column, justify="left" if column == "pair" else "right")
    for line in view.positions:
        stop = f"{line.stop:.6g}" if line.stop else Text("none", style="red")
        away = Text("none", style="dim")
        if line.distance is not None:
            away = Text(f"{line.distance:.1%}", style="red" if line.distance < NEAR else "")
        table.add_row(
            line.pair, f"{line.quantity:+g}", f"{line.entry:.6g}", f"{line.mark:.6g}", stop,
            f"{line.liquidation:.6g}" if line.liquidation else "none", away, _signed(line.profit),
        )  # fmt: skip
    return table if view.positions else Text("no open positions", style="dim")


def orders_table(orders: Sequence[OrderRecord], market_ms: int) -> RenderableType:
    """Working orders, oldest first; ages are market time."""
    table = Table(title="working orders", expand=True, box=SIMPLE_HEAD)
    for column in ("age", "order", "pair", "side", "kind", "quantity", "filled", "price", "state", "why"):
        table.add_column(column, justify="right" if column in ("age", "quantity", "filled", "price") else "left")
    for order in orders:
        price = order.limit_price or order.stop_price
        table.add_row(
            f"{max(0, market_ms - order.created_ms) / 1000:.0f} s", order.order_id[:12], order.pair,
            order.side.name.lower(), order.kind + (" reduce" if order.reduce_only else ""), f"{order.quantity:f}",
            f"{order.filled:f}", f"{price:f}" if price is not None else "",
            Text(order.state.value, style="bold red" if order.state.value == "unknown" else ""), order.reason,
        )  # fmt: skip
    return table if orders else Text("no working orders", style="dim")


def refusals_table(lines: Sequence[Refusal]) -> RenderableType:
    """What was wanted and not done, with the reason."""
    table = Table(title="refusals", expand=True, box=SIMPLE_HEAD)
    for column in ("last", "pair", "what", "times", "why"):
        table.add_column(column)
    for line in lines:
        table.add_row(iso(line.last_ms), line.pair, line.outcome, str(line.times), line.reason)
    return table if lines else Text("nothing was refused in the newest decision", style="dim")


def costs_table(lines: Sequence[MeanCost]) -> RenderableType:
    """Implementation shortfall by schedule, basis points of the notional at arrival; positive is a cost."""
    table = Table(title="execution cost against the price at arrival, bp", expand=True, box=SIMPLE_HEAD)
    for column in ("schedule", "executions", "price", "fees", "unfilled", "total"):
        table.add_column(column, justify="left" if column == "schedule" else "right")
    for line in lines:
        parts = (line.price_bp, line.fees_bp, line.opportunity_bp, line.total_bp)
        table.add_row(line.kind, str(line.executions), *(f"{part:+.2f}" for part in parts))
    return table if lines else Text("nothing has been executed yet", style="dim")


def _decisions(lines: Sequence[DecisionLine]) -> RenderableType:
    table = Table(title="newest decisions", expand=True, box=SIMPLE_HEAD)
    for column in ("grid point", "mode", "outcomes", "plan", "latency"):
        table.add_column(column)
    for line in lines:
        counts = Counter(line.outcomes)
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        table.add_row(iso(line.cycle_ms), line.mode.value, said, line.plan_id or "", f"{line.latency_ms} ms")
    return table if lines else Text("no decision yet", style="dim")


def _signed(value: float) -> Text:
    value += 0.0  # no negative zero
    return Text(f"{value:+,.2f}", style="green" if value >= 0 else "red")
