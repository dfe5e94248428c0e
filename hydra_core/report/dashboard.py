"""The terminal dashboard: one screen of an account, its newest decisions and the health of what it depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger.records import DecisionLine, EquityPoint
from hydra_core.ledger.store import Ledger
from hydra_core.report.account import AccountView, market_now, view_account
from hydra_core.settings import Settings

BLOCKS: Final = "▁▂▃▄▅▆▇█"
NEWEST: Final = 8


def dashboard(home: Home, ledger: Ledger, account: str, settings: Settings, wall_ms: int) -> RenderableType:
    """The screen as it stands now."""
    view = view_account(home, ledger, account, settings)
    title = f"HYDRA · {home.market} · {iso(market_now(home))}" + (" · synthetic market" if view.synthetic else "")
    upper = Columns(
        [_worth(view, ledger.equity_curve(account, limit=600)), _health(ledger, view, wall_ms)], expand=True
    )
    return Frame(Group(upper, _positions(view), _decisions(ledger.decisions(account, limit=NEWEST))), title=title)


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
    for switch, reason in view.latched.items():
        table.add_row(Text(switch, style="red"), reason)
    for who, beat in sorted(ledger.heartbeats().items()):
        age = (wall_ms - beat.wall_ms) / 1000
        table.add_row(who, Text(f"{age:.1f} s ago", style="green" if age < 5 else "red"))
        for stream, ok in sorted(beat.payload.get("streams", {}).items()):
            table.add_row(f"  {stream}", Text("up" if ok else "down", style="green" if ok else "red"))
    return Frame(table, title="health")


def _positions(view: AccountView) -> RenderableType:
    table = Table(title="positions", expand=True)
    for column in ("pair", "quantity", "entry", "mark", "stop", "profit"):
        table.add_column(column, justify="left" if column == "pair" else "right")
    for line in view.positions:
        stop = f"{line.stop:.6g}" if line.stop else ""
        table.add_row(
            line.pair, f"{line.quantity:+g}", f"{line.entry:.6g}", f"{line.mark:.6g}", stop, _signed(line.profit)
        )
    return table if view.positions else Text("no open positions", style="dim")


def _decisions(lines: Sequence[DecisionLine]) -> RenderableType:
    table = Table(title="newest decisions", expand=True)
    for column in ("grid point", "mode", "outcomes", "plan", "latency"):
        table.add_column(column)
    for line in lines:
        counts = Counter(line.outcomes)
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        table.add_row(iso(line.cycle_ms), line.mode.value, said, line.plan_id or "", f"{line.latency_ms} ms")
    return table if lines else Text("no decision yet", style="dim")


def _signed(value: float) -> Text:
    return Text(f"{value:+,.2f}", style="green" if value >= 0 else "red")
