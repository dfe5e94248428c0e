"""Bad input at the command line: one clear line (what, where, what to do), exit code 1 or 2, nothing half-written."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hydra_core.cli.main import app
from hydra_core.home import home_named, use_home
from hydra_core.ledger.store import Ledger
from hydra_core.platform.markets import MarketDescription, describe_home

START = 1_730_160_000_000


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    return tmp_path


@pytest.fixture
def home(root: Path) -> Path:
    """A home of a synthetic market whose platform is not running."""
    made = use_home(home_named(root, "synthetic-7-0.3"))
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=30, start_ms=START))
    return made.path


def hydra(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("backfill", "--pairs", "NOPE", "--from", "2024-08-01", "--to", "2024-09-01"), 2, "unknown pair 'NOPE'"),
        (("backfill", "--from", "2024-09-01", "--to", "2024-08-01"), 2, "is not before"),
        (("backfill", "--from", "yesterday", "--to", "2024-08-01"), 2, "not a date"),
        (
            ("backfill", "--from", "2024-08-01", "--to", "2024-09-01"),
            1,
            "venue of market synthetic-7-0.3 is not running",
        ),
        (("paper", "--balance", "-5"), 2, "not positive"),
        (("portfolio", "reset", "--balance", "0"), 2, "not positive"),
        (("demo", "--balance", "-1"), 2, "not positive"),
        (("demo", "--signal", "2"), 2, "out of range"),
        (("demo", "--days", "3"), 2, "too short"),
        (("demo", "--hours", "0"), 2, "out of range"),
        (("demo", "--replay", "/nonexistent/folder"), 2, "/nonexistent/folder"),
        (("train", "--candles", "10"), 2, "too few"),
        (("train", "--pairs", "BTC,XYZ"), 2, "unknown pair 'XYZ'"),
        (("replay", "1730160000000"), 2, "no account"),
        (("portfolio", "show"), 2, "no account has been opened"),
        (("portfolio", "show", "--market", "../../etc"), 2, "not a market name"),
    ],
)
def test_bad_input_is_one_clear_line(home: Path, words: tuple[str, ...], code: int, says: str) -> None:
    result = hydra(*words)
    assert result.exit_code == code, result.output
    assert says in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output


def test_without_any_home_the_reader_is_told_what_to_run(root: Path) -> None:
    result = hydra("portfolio", "show")
    assert result.exit_code == 2
    assert "make demo" in result.output


def test_wrong_settings_name_the_variable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_RISK__KELLY_FRACTION", "seven")
    result = hydra("portfolio", "show")
    assert result.exit_code == 2
    assert "HYDRA_RISK__KELLY_FRACTION" in result.output


def test_training_on_a_feature_that_does_not_exist_lists_what_there_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_TRAINING__FEATURES", '["usual","interval"]')
    result = hydra("train")
    said = " ".join(result.output.split())
    assert (result.exit_code, "unknown features interval" in said) == (2, True), said
    assert "intervals" in said
    monkeypatch.setenv("HYDRA_TRAINING__FEATURES", "[]")
    result = hydra("train")
    assert result.exit_code == 2
    assert "HYDRA_TRAINING__FEATURES" in result.output


def test_a_malformed_replay_file_is_named(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "replay" / "candles" / "5m"
    folder.mkdir(parents=True)
    (folder / "BTCUSDT.parquet").write_bytes(b"PAR1 this is no table")
    result = hydra("demo", "--replay", str(tmp_path / "replay"))
    assert result.exit_code in (1, 2)
    assert "BTCUSDT.parquet" in "".join(result.output.split())
    assert not list(root.glob("recorded-*"))


def test_kill_and_resume_work_with_everything_down(home: Path) -> None:
    """The switch is a file: no trader, no database needed; resume takes it away again."""
    assert hydra("kill").exit_code == 0
    assert (home / "KILL").read_text() == "halt\n"
    assert hydra("resume").exit_code == 0
    assert not (home / "KILL").exists()


def test_every_reading_command_ends_with_one_json_object(home: Path) -> None:
    with Ledger.open(f"sqlite:///{home / 'ledger.db'}") as ledger:
        ledger.open_account("paper", Decimal(1000), START)
    for words in (
        ("portfolio", "show"),
        ("portfolio", "positions"),
        ("portfolio", "trades"),
        ("version",),
        ("status",),
    ):
        result = hydra(*words, "--json")
        last = result.stdout.strip().splitlines()[-1]
        assert isinstance(json.loads(last), dict), words


def test_an_unknown_order_is_named(home: Path) -> None:
    result = hydra("audit", "hy-0")
    assert result.exit_code == 1
    assert "hy-0" in result.output
