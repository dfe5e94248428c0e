"""``hydra demo``: the whole chain with progress bars and a summary."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hydra_core.cli.common import JsonFlag, err, load_settings, out, reporting_errors, say_json
from hydra_core.demo import DemoOptions, DemoResult, run_demo
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError

LABELS = {
    "market": "open the market",
    "start": "start venue, trader, Dagster",
    "collect": "collect history",
    "checks": "check the data",
    "research": "train and validate",
    "paper": "trade on paper",
    "stop": "stop the platform",
    "report": "write the report",
}


def demo(
    replay: Annotated[
        Path | None, typer.Option(help="Folder of recorded history instead of a synthetic market.")
    ] = None,
    signal: Annotated[float, typer.Option(help="Planted predictability, a correlation; 0 is pure noise.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic market.")] = 7,
    days: Annotated[int, typer.Option(help="Days of history to collect and train on.")] = 120,
    hours: Annotated[float, typer.Option(help="Venue hours to trade on paper.")] = 12.0,
    balance: Annotated[float, typer.Option(help="USDT of the fresh paper account.")] = 10_000.0,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole chain: collect a market, check it, train on it, validate, trade on paper, report.

    Runs on the local exchange and the project's own Dagster instance; needs no account and no network. `hydra up` afterwards
    shows every run and its lineage. On a synthetic market profit proves that the machinery works, and nothing else.
    """
    with reporting_errors():
        if not balance > 0:
            raise UsageError(f"--balance {balance:g} is not positive", "Give --balance 10000, for example")
        if not 0 < hours <= 24 * 14:
            raise UsageError(f"--hours {hours:g} is out of range", "More than 0, at most 336")
        options = DemoOptions(replay, signal, seed, days, hours, Decimal(str(balance)))
        with Stages(err) as stages:
            result = run_demo(options, load_settings(), stages)
        summary(result, err if as_json else out)
        if as_json:
            say_json(result.to_json())


class Stages:
    """One bar per stage in the order they begin; where nobody can see bars move, a line for each tenth of a stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = SystemClock()
        self._began = self._clock.wall_ms()
        self._bar = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[int, str]] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show ``done`` of ``total`` steps of a stage."""
        note = note.split(f"{done}/{total} ", 1)[-1].removeprefix("progress ")  # the counts stand beside it
        if not self._console.is_terminal:
            self._say(stage, done, max(total, 1), note)
            return
        if stage not in self._tasks:
            for name, task in self._tasks.items():
                if name != stage:
                    self._finish(task)
            self._tasks[stage] = self._bar.add_task(LABELS.get(stage, stage).ljust(28), total=total, note=note)
        self._bar.update(self._tasks[stage], completed=done, total=max(total, 1), note=note[:60])

    def __enter__(self) -> Stages:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _say(self, stage: str, done: int, total: int, note: str) -> None:
        """A line where a stage begins, goes on by a tenth, or does another thing."""
        what = note.split(":")[0] if stage in ("collect", "research") else ""
        mark = (10 * done // total, what)
        if self._said.get(stage) == mark:
            return
        self._said[stage] = mark
        seconds = (self._clock.wall_ms() - self._began) / 1000
        label = LABELS.get(stage, stage)
        self._console.print(
            f"{seconds:6.1f} s  {label:<29} {done}/{total}  {note[:70]}", highlight=False, soft_wrap=True
        )

    def _finish(self, task: TaskID) -> None:
        one = self._bar.tasks[task]
        if one.total is not None and one.completed >= one.total * 0.999:
            self._bar.update(task, completed=one.total)


def summary(result: DemoResult, console: Console) -> None:
    """What came of it, in one table."""
    kind = "synthetic market: profit proves the machinery, nothing else" if result.synthetic else "recorded history"
    table = Table(title=f"{result.market} ({kind})", show_header=False, title_justify="left")
    table.add_row("candles collected", f"{result.candles:,}")
    table.add_row("data checks", f"{result.checks['passed']} passed, {result.checks['failed']} failed")
    for candidate in result.candidates:
        gates = candidate["gates"]
        passed = sum(gate["passed"] for gate in gates)
        failed = ", ".join(gate["name"] for gate in gates if not gate["passed"])
        table.add_row(
            f"{candidate['kind']} candidate",
            f"{passed} of {len(gates)} gates" + (f"; failed: {failed}" if failed else ""),
        )
    seats = ", ".join(f"{one['kind']} {one['version'][:12]}" for one in result.champions)
    table.add_row("champions", seats or "none")
    if result.backtest:
        b = result.backtest
        table.add_row(
            "backtest of the lock-box",
            f"{b['trades']} trades, net {b['net_return']:+.2%}, Sharpe {b['sharpe']:.2f}, drawdown {b['max_drawdown']:.2%}",
        )
    p = result.paper
    table.add_row(
        "paper", f"{p['decisions']} of {p['cycles']} grid points decided, {p['orders']} orders, {p['fills']} fills"
    )
    table.add_row("paper equity", f"{p['equity']:.2f} USDT")
    if result.why_flat:
        table.add_row("why it stayed flat", result.why_flat)
    table.add_row("report", result.report)
    table.add_row("time", f"{result.elapsed_s:.0f} s")
    console.print(table)
