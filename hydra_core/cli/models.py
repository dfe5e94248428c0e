"""``hydra train``, ``backtest``, ``report``: models and what they are worth. The seats are in ``seats``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hydra_core.cli import seats
from hydra_core.cli.common import (
    JsonFlag,
    MarketOption,
    account_of,
    err,
    open_home,
    open_ledger,
    out,
    reporting_errors,
    say_json,
)
from hydra_core.cli.platform import wait_with_progress
from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, iso
from hydra_core.domain.market import CANDLES, Panel
from hydra_core.domain.pairs import Pair, parse_pairs
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.lake.panel import load_panel
from hydra_core.lake.store import Lake, open_lake
from hydra_core.platform.control import Platform
from hydra_core.platform.parts import DAEMON, RESEARCH, STORAGE
from hydra_core.platform.runs import RunEvent


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(train)
    app.command("backtest")(backtest_command)
    app.command("report")(report_command)
    seats.register(app)


def train(
    pairs: Annotated[str, typer.Option(help="Pairs, comma-separated, or all.")] = "all",
    candles: Annotated[int, typer.Option(help="Newest 5m candles a pair to train on, at most.")] = 100_000,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Train, validate and promote what passes the gates, as a Dagster run on the lake as it is.

    Uses the running platform, or starts what a training needs and ends it again.
    """
    from hydra_core.alpha.features.selection import asked_for

    with reporting_errors():
        settings, home = open_home(market)
        chosen = parse_pairs(pairs, settings.pairs)
        if candles < MAX_LOOKBACK_BARS:
            raise UsageError(f"--candles {candles} is too few", f"At least {MAX_LOOKBACK_BARS}: the longest look-back")
        asked_for(settings.training.features)
        platform = Platform(home, settings, (STORAGE, RESEARCH, DAEMON), tied=True)
        started = platform.running() is None
        try:
            platform.start()
            config = {"research/dataset": {"pairs": list(chosen), "candles": candles}}
            with platform.console() as console:
                wait_with_progress(platform)
                columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
                with Progress(*columns, console=err) as bar:
                    task = bar.add_task("training", total=None)

                    def show(event: RunEvent) -> None:
                        if event.progress:
                            done, total = event.progress
                            bar.update(task, description=event.message[:60], completed=done, total=total)

                    outcome = console.run("research", "hydra_research", config=config, on_event=show)
        finally:
            if started:
                platform.stop()
        if not outcome.succeeded:
            raise HydraError(f"training failed (run {outcome.run_id[:8]}): {outcome.error}", "`hydra up` shows the run")
        from hydra_core.alpha.registry import ModelRegistry

        champions = ModelRegistry(home.models).champions()
        if as_json:
            say_json({"run": outcome.run_id, "seconds": outcome.seconds, "champions": champions})
        else:
            seats = ", ".join(f"{kind} {version[:12]}" for kind, version in champions.items()) or "none: see the report"
            out.print(f"trained in {outcome.seconds:.0f} s; champions: {seats}")


def backtest_command(
    days: Annotated[int, typer.Option(help="Newest days of the lake to trade.")] = 30,
    balance: Annotated[float, typer.Option(help="USDT to start with.")] = 10_000.0,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Trade the newest days of the lake with the standing champions, through the whole decision chain.

    Days that a champion was trained on flatter it: the report's lock-box figures are the honest ones. Days of a lock-box are
    read by it, which is written down.
    """
    from hydra_core.alpha.models import load_models
    from hydra_core.alpha.registry import ModelRegistry
    from hydra_core.research.backtest import backtest
    from hydra_core.research.conditions import conditions_of
    from hydra_core.research.metrics import annual_sharpe, max_drawdown
    from hydra_core.research.trials import BACKTEST, read_lockbox
    from hydra_core.risk.limits import Limits

    with reporting_errors():
        settings, home = open_home(market)
        if days < 1:
            raise UsageError(f"--days {days} is not positive")
        if not balance > 0:
            raise UsageError(f"--balance {balance:g} is not positive", "Give --balance 10000, for example")
        lake = open_lake(home.lake, settings.exchange, settings.lake_url)
        panel = newest_panel(lake, settings.pairs, days)
        conditions = conditions_of(home, lake, panel)
        registry = ModelRegistry(home.models)
        models = load_models(registry, registry.champions())
        horizon = models.horizon_bars(settings.training.horizon_bars)
        limits = conditions.limits(Limits(settings.decision, settings.risk, settings.costs, horizon))
        first = min(MAX_LOOKBACK_BARS, len(panel) - 1)
        span_ms = int(panel.ts[first]), int(panel.close_ms[-1])
        for kind, version in models.versions.items():
            read_lockbox(home.studies, span_ms=span_ms, kind=kind, version=version, reason=BACKTEST)
        result = backtest(
            panel,
            models,
            limits,
            first,
            initial_equity=balance,
            rules=conditions.rules,
            settlements=conditions.settlements,
        )
        _, daily = result.daily()
        found = {
            "from": iso(int(result.ts[0])),
            "to": iso(int(result.ts[-1])),
            "trades": len(result.trades),
            "net_return": float(result.equity[-1] / balance - 1),
            "sharpe": annual_sharpe(daily) if daily.size > 1 else 0.0,
            "max_drawdown": max_drawdown(result.equity),
            "fees": float(result.fees.sum()),
            "funding": float(result.funding.sum()),
            "liquidations": result.liquidations,
            "complete": result.complete,
            "absent": dict(models.absent),
            "traded by": {line["what"]: line["traded by"] for line in conditions.told(limits)},
        }
        if as_json:
            say_json(found)
            return
        table = Table(title="backtest of the champions", show_header=False)
        for name, value in found.items():
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
        out.print(table)


def report_command(market: MarketOption = "", account: str = "", as_json: JsonFlag = False) -> None:
    """Write the HTML report of the market home and say where it is."""
    from hydra_core.report.build import write_report

    with reporting_errors(), open_ledger(market) as (settings, home, ledger):
        path = write_report(home, ledger, account_of(ledger, account).name, settings)
        if as_json:
            say_json({"report": str(path)})
        else:
            out.print(str(path), soft_wrap=True)


def newest_panel(lake: Lake, pairs: tuple[Pair, ...], days: int) -> Panel:
    """The newest days of the lake with the look-back before them; raises UsageError when it holds no candles."""
    stamps = [lake.read(f"{CANDLES}_{FORECAST_INTERVAL}", pair)["ts"].dt.epoch("ms").to_numpy() for pair in pairs]
    if any(not column.size for column in stamps):
        raise UsageError("the lake holds no candles of some pair", "Run `hydra demo` or `hydra backfill` first")
    end = min(int(column[-1]) for column in stamps) + FORECAST_INTERVAL.ms
    return load_panel(lake, pairs, end - days * DAY_MS - MAX_LOOKBACK_BARS * FORECAST_INTERVAL.ms, end)
