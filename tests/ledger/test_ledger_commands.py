"""``hydra ledger …`` at the command line: backup, restore, export, prune, check, and when they are refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hydra_core.cli.main import app
from hydra_core.home import Home, home_named, use_home
from hydra_core.ledger.store import Ledger
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.trader.lock import trader_lock

START = 1_730_160_000_000


def hydra(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    made = use_home(home_named(tmp_path, "synthetic-7-0.3"))
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=30, start_ms=START))
    with Ledger.open(made.ledger_url) as ledger:
        ledger.open_account("paper", Decimal(1000), START)
    return made


def test_there_and_back(home: Home) -> None:
    """A backup, a second account, a restore: the account is gone, and what was there before is kept."""
    made = said(hydra("ledger", "backup", "--json"))
    assert Path(made["file"]).parent == home.path / "backups"
    with Ledger.open(home.ledger_url) as ledger:
        ledger.open_account("paper", Decimal(5), START)
    done = said(hydra("ledger", "restore", made["file"], "--json"))
    with Ledger.open(home.ledger_url) as ledger:
        assert [one.name for one in ledger.accounts()] == ["paper"]
    with Ledger.open(f"sqlite:///{done['before']}") as before:
        assert len(before.accounts()) == 2
    assert said(hydra("ledger", "check", "--json"))["faults"] == {"paper": []}


def test_a_restore_is_refused_while_a_trader_runs(home: Home, tmp_path: Path) -> None:
    assert hydra("ledger", "backup", "--to", str(tmp_path / "copy.db")).exit_code == 0
    with trader_lock(home.run):
        refused = hydra("ledger", "restore", str(tmp_path / "copy.db"))
    assert refused.exit_code == 1
    assert "in use by another trader" in refused.stderr
    absent = hydra("ledger", "restore", str(tmp_path / "absent.db"))
    assert (absent.exit_code, "no backup at" in absent.stderr) == (2, True)


def test_files_and_old_rows(home: Home, tmp_path: Path) -> None:
    counts = said(hydra("ledger", "export", str(tmp_path / "files"), "--format", "csv", "--table", "account", "--json"))
    assert counts["rows"] == {"account": 1}
    assert "1000" in (tmp_path / "files" / "account.csv").read_text()
    assert hydra("ledger", "export", str(tmp_path / "files"), "--format", "xlsx").exit_code == 2
    assert said(hydra("ledger", "prune", "--dry-run", "--json"))["rows"]["decision"] == 0
    assert hydra("ledger", "prune", "--keep-days", "0").exit_code == 2
