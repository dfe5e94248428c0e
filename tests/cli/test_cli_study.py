"""``hydra study`` on a small lake: one JSON line, tables with reasons, and a usage error in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from hydra_core.cli.main import app
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import LIQUIDATIONS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import SCHEMAS, TRADES, candle_table
from hydra_core.home import Home, home_named, use_home
from hydra_core.lake.store import open_lake
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.settings import Settings

START = 1_727_740_800_000
"""2024-10-01T00:00 UTC."""
DAYS = 8
BTC = Pair("BTCUSDT")


def stamped(stamps: np.ndarray, columns: dict[str, object], table: str) -> pl.DataFrame:
    ts = pl.Series("ts", stamps).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    return pl.DataFrame({"ts": ts, **columns}).select(list(SCHEMAS[table])).cast(dict(SCHEMAS[table]))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Eight days of BTC alone, its forced orders, and a day of its trades."""
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    made = use_home(home_named(tmp_path, "synthetic-7-0.3"))
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=DAYS, start_ms=START))
    lake = open_lake(made.lake, Settings(data_root=tmp_path).exchange, "")
    rng = np.random.default_rng(1)
    stamps = np.arange(START, START + DAYS * DAY_MS, FORECAST_INTERVAL.ms)
    close = 100 * np.exp(np.cumsum(rng.standard_t(5, stamps.size) * 0.001))
    opened = np.concatenate([[100.0], close[:-1]])
    prices = {"open": opened, "high": np.maximum(opened, close) * 1.0005, "low": np.minimum(opened, close) * 0.9995}
    candles = candle_table(FORECAST_INTERVAL)
    frame = stamped(stamps, {**prices, "close": close, "volume": np.ones(stamps.size)}, candles)
    lake.write(candles, BTC, "2024-10", frame, closed=False, source="double")
    at = np.sort(rng.integers(START, START + DAYS * DAY_MS, 300))
    sides = np.where(rng.random(300) < 0.5, "long", "short")
    orders = stamped(
        at, {"side": sides, "quantity": rng.lognormal(size=300), "price": np.full(300, 100.0)}, LIQUIDATIONS
    )
    lake.write(LIQUIDATIONS, BTC, "2024-10", orders, closed=False, source="double")
    last = np.arange(START + (DAYS - 1) * DAY_MS, START + DAYS * DAY_MS, FORECAST_INTERVAL.ms // 50)
    numbers = np.arange(last.size)
    columns = {
        "trade_id": numbers,
        "price": np.full(last.size, 100.0),
        "quantity": np.ones(last.size),
        "side": ["buy"] * last.size,
    }
    lake.write(TRADES, BTC, "2024-10", stamped(last, columns, TRADES), closed=False, source="double")
    return made


def test_the_study_is_one_json_object_on_the_last_line(home: Home) -> None:
    result = CliRunner().invoke(app, ["study", "--pairs", "BTC,ETH", "--days", "8", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["trading_rules_reading_this"] == 0
    assert (told["from_ms"], told["until_ms"], told["rows"]) == (START, START + DAYS * DAY_MS, DAYS * 288)
    bitcoin, ether = told["pairs"]
    assert 0.2 < bitcoin["volatility"]["estimates"]["close to close"]["value"] < 0.8
    assert bitcoin["volatility"]["ticks"] == pytest.approx(50)
    assert bitcoin["liquidations"]["clustering"]["events"] == 300
    assert "no candles of ETHUSDT" in ether["garch"]["unknown"]
    assert "too few to compare forecasts" in told["forecasts"]["unknown"]


def test_tables_say_what_is_known_and_why_the_rest_is_not(home: Home) -> None:
    result = CliRunner().invoke(app, ["study", "--pairs", "BTC", "--days", "3"])
    assert result.exit_code == 0, result.output
    for words in (
        "no seat, gate, risk rule or order reads any of it", "GARCH(1,1)-t", "could not be estimated",
        "BTCUSDT: volatility", "3 whole days of bars", "Give it at least 5 days",
    ):  # fmt: skip
        assert words in result.output, words
    assert f"{3 * 288} bars of 5m" in result.output


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--days", "0"), 2, "--days 0 is out of range"),
        (("--pairs", "XYZ"), 2, "unknown pair 'XYZ'"),
        (("--pairs", "ETH"), 1, "holds no candles of ETHUSDT"),
    ],
)
def test_what_cannot_be_studied_is_one_line(home: Home, words: tuple[str, ...], code: int, says: str) -> None:
    result = CliRunner().invoke(app, ["study", *words])
    assert result.exit_code == code
    assert says in result.output
    assert "Traceback" not in result.output
