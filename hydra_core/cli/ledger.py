"""``hydra ledger …``: upkeep of the books: check, backup, restore, export, prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from hydra_core.cli.common import JsonFlag, MarketOption, err, open_home, open_ledger, out, reporting_errors, say_json
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import DataCorrupt, HydraError, LockHeld, UsageError
from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger import backup as copies
from hydra_core.ledger.export import Format
from hydra_core.ledger.export import export as write_files
from hydra_core.ledger.retention import KEEP_DAYS, LEAST_DAYS, window_start
from hydra_core.ledger.retention import prune as delete_old
from hydra_core.platform.control import running
from hydra_core.report.account import market_now
from hydra_core.trader.lock import trader_lock

BACKUPS: Final = "backups"
"""Folder of a market home for backups that are given no other place."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Upkeep of the books: check, backup, restore, export, prune.", no_args_is_help=True)
    group.command()(check)
    group.command()(backup)
    group.command()(restore)
    group.command()(export)
    group.command()(prune)
    app.add_typer(group, name="ledger")


def check(market: MarketOption = "", as_json: JsonFlag = False) -> None:
    """Add up the books of every account: cash, positions, and the journal in which every event must balance."""
    with reporting_errors(), open_ledger(market) as (_, _, ledger):
        found = {one.name: ledger.check_balance(one.name).faults for one in ledger.accounts()}
        if as_json:
            say_json({"ledger": ledger.place, "faults": found})
        else:
            for name, faults in found.items():
                out.print(f"{name}: " + ("; ".join(f"[red]{fault}[/]" for fault in faults) or "the books add up"))
        if any(found.values()):
            raise typer.Exit(1)


def backup(
    to: Annotated[
        Path | None, typer.Option(help="File to write; left out: one named by the time, in the home.")
    ] = None,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Copy the ledger to a file, whole and checked, while everything runs; a PostgreSQL ledger as well."""
    with reporting_errors():
        settings, home = open_home(market)
        target = to if to is not None else _fresh(home, "ledger")
        written = copies.backup(settings.database_url or home.ledger_url, target)
        facts = copies.inspect(written)
        if as_json:
            say_json(_told(facts))
        else:
            out.print(f"{written}: {_sentence(facts)}", soft_wrap=True)


def restore(
    file: Annotated[Path, typer.Argument(help="A backup, as `hydra ledger backup` makes it.")],
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Put a backup in the ledger's place, after checking it; refused while the platform or a trader runs.

    What is there now is backed up first. An account at an exchange is compared with the exchange when the trader starts.
    """
    with reporting_errors():
        settings, home = open_home(market)
        if running(home) is not None:
            raise LockHeld(f"the platform of {home.path} is running", "Run `hydra down` first")
        url = settings.database_url or home.ledger_url
        with trader_lock(home.run):
            copies.inspect(file)
            kept = _keep_present(url, home)
            facts = copies.restore(url, file)
        if as_json:
            say_json({**_told(facts), "before": None if kept is None else str(kept)})
        else:
            out.print(f"restored: {_sentence(facts)}")
            if kept is not None:
                out.print(f"what was there before is kept as {kept}", soft_wrap=True)


def export(
    folder: Annotated[Path, typer.Argument(help="Folder for one file a table.")],
    kind: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be given again.")] = None,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Write the ledger's tables as files, all from one moment; money stays exact."""
    with reporting_errors():
        settings, home = open_home(market)
        chosen: Format = "csv" if kind == "csv" else "parquet"
        if kind != chosen:
            raise UsageError(f"unknown format {kind!r}", "Write --format parquet or --format csv")
        counts = write_files(settings.database_url or home.ledger_url, folder, chosen, table or ())
        if as_json:
            say_json({"folder": str(folder), "rows": counts})
            return
        for name, count in counts.items():
            out.print(f"{name}.{chosen}: {count:,} rows")


def prune(
    keep_days: Annotated[int, typer.Option(help="Days of market time in which every decision is kept.")] = KEEP_DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, delete nothing.")] = False,
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Delete old decisions that led to no order, old plans and gaps, and thin the equity curve; money is never deleted."""
    with reporting_errors():
        if keep_days < LEAST_DAYS:
            raise UsageError(f"--keep-days {keep_days} is below {LEAST_DAYS}", "The day in progress is never cut")
        settings, home = open_home(market)
        before_ms = window_start(market_now(home), keep_days)
        done = delete_old(
            settings.database_url or home.ledger_url,
            before_ms,
            dry=dry_run,
            progress=lambda name, count: err.print(f"{name}: {count:,}"),
        )
        if as_json:
            say_json({"before_ms": before_ms, "dry_run": dry_run, "rows": done.rows})
            return
        said = ", ".join(f"{count:,} of {name}" for name, count in done.rows.items() if count) or "nothing"
        out.print(f"{'would delete' if dry_run else 'deleted'} {said} from before {iso(before_ms)}")


def _fresh(home: Home, name: str) -> Path:
    """A file in the home's folder of backups, named by the time."""
    stamp = iso(SystemClock().wall_ms()).replace(":", "").replace(" ", "T")
    return home.path / BACKUPS / f"{name}-{stamp}.db"


def _keep_present(url: str, home: Home) -> Path | None:
    """Back up what a restore is about to replace; None where there is nothing sound to keep."""
    try:
        return copies.backup(url, _fresh(home, "before-restore"))
    except UsageError:
        return None
    except (DataCorrupt, HydraError) as error:
        if isinstance(error, LockHeld):
            raise
        err.print(f"the present ledger cannot be backed up: {error}", soft_wrap=True)
        return None


def _told(facts: copies.Backup) -> dict[str, object]:
    return {
        "file": str(facts.path), "accounts": facts.accounts, "decisions": facts.decisions, "orders": facts.orders,
        "fills": facts.fills, "newest_ms": facts.newest_ms,
    }  # fmt: skip


def _sentence(facts: copies.Backup) -> str:
    names = ", ".join(facts.accounts) or "no account"
    newest = f", up to {iso(facts.newest_ms)}" if facts.newest_ms else ""
    return f"{names}; {facts.decisions:,} decisions, {facts.orders:,} orders, {facts.fills:,} fills{newest}"
