"""The market home: one folder that holds everything known about one market, so that nothing crosses between markets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hydra_core.domain.errors import UsageError

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,80}$")
POINTER = "current"


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one market home; :meth:`create` makes the folders."""

    root: Path
    market: str

    @property
    def path(self) -> Path:
        """The home's folder."""
        return self.root / self.market

    @property
    def lake(self) -> Path:
        """Parquet tables and their manifests."""
        return self.path / "lake"

    @property
    def catalog(self) -> Path:
        """DuckDB file of views over the lake."""
        return self.path / "catalog.duckdb"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the default ledger."""
        return f"sqlite:///{(self.path / 'ledger.db').absolute()}"

    @property
    def live_state(self) -> Path:
        """SQLite file of the live state."""
        return self.path / "live.db"

    @property
    def models(self) -> Path:
        """Model registry."""
        return self.path / "models"

    @property
    def dagster(self) -> Path:
        """Dagster's SQLite storage."""
        return self.path / "dagster"

    @property
    def studies(self) -> Path:
        """Optuna journals."""
        return self.path / "studies"

    @property
    def venue(self) -> Path:
        """Clock and accounts of the local venue."""
        return self.path / "venue"

    @property
    def run(self) -> Path:
        """Pids, sockets and logs of running processes."""
        return self.path / "run"

    @property
    def reports(self) -> Path:
        """HTML reports."""
        return self.path / "reports"

    @property
    def spool(self) -> Path:
        """The trader's captures, waiting to be compacted into the lake."""
        return self.path / "spool"

    @property
    def quarantine(self) -> Path:
        """What could not be read, for a person to look at; bounded, and safe to delete."""
        return self.path / "quarantine"

    @property
    def limits(self) -> Path:
        """Request budgets that this home's processes share."""
        return self.path / "limits"

    @property
    def analyst_answers(self) -> Path:
        """What the language model answered, and how often it was asked today."""
        return self.path / "analyst.json"

    @property
    def kill_file(self) -> Path:
        """Its presence is the manual kill switch; readable with every other part down."""
        return self.path / "KILL"

    def create(self) -> Home:
        """Make the folders; returns itself."""
        for folder in (
            self.lake,
            self.models,
            self.dagster,
            self.studies,
            self.venue,
            self.run,
            self.reports,
            self.spool,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        return self


def home_named(root: Path, market: str) -> Home:
    """The home of a market by its name; raises UsageError for a name that is no folder name."""
    if not _NAME.match(market):
        raise UsageError(f"not a market name: {market!r}", "Use letters, digits, dots and dashes")
    return Home(root, market)


def current_home(root: Path, market: str = "") -> Home:
    """The named home, or the one used last; raises UsageError when there is none."""
    if market:
        return home_named(root, market)
    pointer = root / POINTER
    if not pointer.exists():
        raise UsageError(f"no market home in {root} yet", "Run `make demo` or `hydra demo` first, or set HYDRA_MARKET")
    return home_named(root, pointer.read_text().strip())


def use_home(home: Home) -> Home:
    """Create the home and remember it as the one used last (atomically)."""
    home.create()
    pointer = home.root / POINTER
    fresh = pointer.with_suffix(".tmp")
    fresh.write_text(home.market + "\n")
    fresh.replace(pointer)
    return home
