"""The doctor names what is wrong, where, and what to do; a healthy home gets no remedy."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from groq_double import MAIN, GroqDouble, failure

from hydra_core.domain.intervals import month_span
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.home import Home, home_named
from hydra_core.lake.store import Lake
from hydra_core.ledger.store import Ledger
from hydra_core.platform.doctor import Finding, examine
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.platform.status import look
from hydra_core.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=1_727_740_800_000))
    return made


def finding(home: Home, name: str) -> Finding:
    return next(each for each in examine(Settings(data_root=home.root), home) if each.name == name)


def funding_month(lake: Lake) -> Path:
    start, _ = month_span("2024-06")
    ts = pl.Series("ts", start + np.arange(5) * 28_800_000).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    frame = pl.DataFrame({"ts": ts, "rate": pl.Series([0.0001] * 5), "interval_hours": pl.Series([8.0] * 5)})
    return lake.write("funding", DEFAULT_PAIRS[0], "2024-06", frame, closed=True, source="test").path


def test_a_healthy_home_needs_nothing(home: Home) -> None:
    funding_month(Lake(home.lake, "binanceusdm"))
    with Ledger.open(home.ledger_url) as ledger:
        ledger.open_account("paper", Decimal(1000), market_ms=0)
    assert [(each.name, each.detail) for each in examine(Settings(data_root=home.root), home) if not each.ok] == []
    assert all(not each.remedy for each in examine(Settings(data_root=home.root), home))


def test_without_a_home_it_says_how_to_make_one(tmp_path: Path) -> None:
    last = examine(Settings(data_root=tmp_path), None)[-1]
    assert (last.name, last.ok) == ("market home", False)
    assert "make demo" in last.remedy


def test_an_altered_lake_file_is_found(home: Home) -> None:
    path = funding_month(Lake(home.lake, "binanceusdm"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = finding(home, "lake")
    assert not found.ok
    assert "backfill" in found.remedy


def test_a_damaged_live_state_is_found_and_can_be_deleted(home: Home) -> None:
    home.live_state.write_bytes(b"this is no database" * 100)
    found = finding(home, "live state")
    assert not found.ok
    assert "delete" in found.remedy


def test_a_ledger_of_another_schema_is_found(home: Home) -> None:
    import sqlite3

    with Ledger.open(home.ledger_url):
        pass
    with sqlite3.connect(home.path / "ledger.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    found = finding(home, "ledger")
    assert not found.ok
    assert "9999" in found.detail


def test_a_missing_market_description_is_found(home: Home) -> None:
    (home.path / "market.json").unlink()
    found = finding(home, "market")
    assert (found.ok, "hydra demo" in found.remedy) == (False, True)


def test_what_a_dead_supervisor_left_is_found(home: Home) -> None:
    (home.run / "platform.json").write_text("{}")
    found = finding(home, "processes")
    assert (found.ok, found.remedy) == (False, "Run `hydra down`")


def test_status_of_a_platform_that_is_down_shows_its_books_and_is_not_healthy(home: Home) -> None:
    with Ledger.open(home.ledger_url) as ledger:
        ledger.open_account("paper", Decimal(1000), market_ms=0)
    home.kill_file.write_text("")
    seen = look(home, Settings(data_root=home.root))
    shown = {line.name: line for line in seen.lines}
    assert (seen.running, seen.healthy) == (False, False)
    assert "1000.00 USDT" in shown["account"].detail
    assert "never held" in shown["window"].detail
    assert "kill file" in shown["kill switches"].detail
    assert seen.to_json()["lines"][0]["name"] == "platform"


@pytest.mark.parametrize(("models", "ok", "word"), [((MAIN,), True, MAIN), (("other",), False, "rules it is")])
def test_the_language_model_is_asked_for_by_name(
    home: Home, monkeypatch: pytest.MonkeyPatch, models: tuple[str, ...], ok: bool, word: str
) -> None:
    with closing(GroqDouble(lambda request: failure(500, "unused"), models=models)) as double:
        monkeypatch.setenv("GROQ_API_KEY", "gsk_secret")
        monkeypatch.setenv("HYDRA_ANALYST__BASE_URL", double.url)
        found = finding(home, "analyst")
    assert (found.ok, word in found.detail, bool(found.remedy)) == (ok, True, not ok)
    assert "gsk_secret" not in found.detail + found.remedy
