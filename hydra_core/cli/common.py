"""What every command shares: consoles, the JSON line, errors as one line, the home in use."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from loguru import logger
from pydantic import ValidationError
from rich.console import Console

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.home import Home, current_home
from hydra_core.ledger.records import Account
from hydra_core.ledger.store import Ledger
from hydra_core.settings import Settings

out: Final = Console()
"""Results: standard output."""
err: Final = Console(stderr=True)
"""Progress and errors: standard error."""

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of standard output.")]
MarketOption = Annotated[str, typer.Option("--market", help="Market home; left out: the one used last.")]


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn an error made on purpose into one line and its exit code; an interruption into 130."""
    try:
        yield
    except HydraError as error:
        err.print(f"[bold red]error[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from error
    except BaseExceptionGroup as group:
        known, rest = group.split(HydraError)
        if known is None or rest is not None:
            raise
        err.print(f"[bold red]error[/] {_first(known)}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from group
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept, run it again to go on")
        raise typer.Exit(130) from None


def load_settings() -> Settings:
    """The settings; what the environment says wrongly is a usage error that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        said = "; ".join(
            f"HYDRA_{'__'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}" for fault in error.errors()
        )
        raise UsageError(f"settings are wrong: {said}", "Correct the environment or .env") from None


def open_home(market: str = "") -> tuple[Settings, Home]:
    """Settings and the named home, or the one used last."""
    settings = load_settings()
    home = current_home(settings.data_root, market or settings.market)
    if not home.path.is_dir():
        raise UsageError(f"no market home {home.path}", "`hydra demo` makes one")
    return settings.model_copy(update={"market": home.market}), home


@contextmanager
def open_ledger(market: str = "") -> Iterator[tuple[Settings, Home, Ledger]]:
    """Settings, home and its ledger."""
    settings, home = open_home(market)
    with Ledger.open(settings.database_url or home.ledger_url) as ledger:
        yield settings, home, ledger


def account_of(ledger: Ledger, name: str = "") -> Account:
    """The named account, or the one opened last."""
    if name:
        return ledger.account(name)
    account = ledger.current_account()
    if account is None:
        raise UsageError("no account has been opened yet", "`hydra paper --balance 1000` opens one on paper")
    return account


def say_json(value: Any) -> None:
    """Print one JSON object on one line of standard output."""
    sys.stdout.write(json.dumps(value, default=plain, allow_nan=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """JSON form of the platform's own types; money as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"no JSON form for {type(value).__name__}")


def log_to_stderr(level: str) -> None:
    """Send the log of this process to standard error."""
    logger.remove()
    logger.add(sys.stderr, level=level, format="<dim>{time:HH:mm:ss}</dim> {level: <7} {message}")


def _first(group: BaseExceptionGroup[HydraError]) -> BaseException:
    one = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
