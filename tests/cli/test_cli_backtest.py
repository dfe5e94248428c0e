"""``hydra backtest``: traded by what the home knows of its contracts, and written down as a reading of the days it traded."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from hydra_core.alpha import models
from hydra_core.alpha.models import CROWD, FORECASTER, Models
from hydra_core.cli.main import app
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.market import FUNDING, MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.domain.series import Bars
from hydra_core.domain.tables import TS, candle_table
from hydra_core.home import Home, home_named, use_home
from hydra_core.lake.panel import frame_of
from hydra_core.lake.store import Lake
from hydra_core.ledger.livestate import LiveStateWriter
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.research.trials import BACKTEST, lockbox_ledger

sys.path.append(str(Path(__file__).parents[1] / "decision"))
from decision_market import FixedCrowd, FixedForecaster, forecast_of, random_panel

PAIRS = (Pair("BTCUSDT"), Pair("ETHUSDT"))
DAYS = 2
MONTH = "2024-07"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose lake holds candles and settlements every four hours, with a forecaster and a crowd model in their seats."""
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("HYDRA_PAIRS", json.dumps(PAIRS))
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    panel = random_panel(MAX_LOOKBACK_BARS + DAYS * 288, PAIRS)
    made = use_home(home_named(tmp_path, "synthetic-7-0.3"))
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=30, start_ms=int(panel.ts[0])))
    lake = Lake(made.lake, "binanceusdm")
    stamps = panel.ts[0] + 4 * HOUR_MS * np.arange(len(panel) // 48 + 1, dtype=np.int64)
    hours = np.full(stamps.size, 4.0)
    settled = pl.DataFrame({"ts": pl.Series(stamps).cast(TS), "rate": hours * 1e-4, "interval_hours": hours})
    for column, pair in enumerate(PAIRS):
        lake.write(
            candle_table(Interval.M5), pair, MONTH, frame_of(bars(panel, column)), closed=False, source="t"
        )  # fmt: skip
        lake.write(FUNDING, pair, MONTH, settled, closed=False, source="t")
    way = np.where(np.arange(len(panel)) // 100 % 2 == 0, 0.02, -0.02)
    forecast = forecast_of(np.repeat(way[:, None], len(PAIRS), axis=1))
    seats = Models(FixedForecaster(forecast, panel), FixedCrowd(0.1))
    monkeypatch.setattr(models, "load_models", lambda *_: seats)
    return made


def bars(panel: Panel, column: int) -> Bars:
    return Bars(panel.ts, *(getattr(panel, name)[:, column] for name in ("open", "high", "low", "close", "volume")))


def traded() -> dict[str, Any]:
    done = CliRunner().invoke(app, ["backtest", "--days", str(DAYS), "--json"])
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_every_backtest_is_a_reading_of_the_days_it_trades(home: Home) -> None:
    assert traded() == traded()
    rows = lockbox_ledger(home.studies).records()
    assert [(row["kind"], row["version"], row["reason"]) for row in rows] == 2 * [
        (FORECASTER, "fixed-forecaster", BACKTEST),
        (CROWD, "fixed-crowd", BACKTEST),
    ]
    assert len({row["key"] for row in rows}) == 4
    assert {row["end_ms"] - row["start_ms"] for row in rows} == {DAYS * DAY_MS}


def test_it_trades_by_the_lakes_settlements_and_the_traders_rules(home: Home) -> None:
    plain = traded()
    assert plain["trades"] > 0
    assert plain["complete"]
    assert plain["funding"] != 0
    assert plain["traded by"]["funding"] == "each contract's own settlements, every 4 h"
    assert plain["traded by"]["contracts"].startswith("none known")
    whole = Decimal(10**6)  # no position is as large: nothing can be opened
    with LiveStateWriter(home.live_state) as writer:
        writer.set_rules({pair: MarketRules(pair, Decimal("0.1"), whole, whole, Decimal(5)) for pair in PAIRS})
    ruled = traded()
    assert ruled["trades"] == 0
    assert ruled["traded by"]["contracts"].startswith("filters as the exchange lists them now: BTCUSDT, ETHUSDT")


def test_a_fee_schedule_is_paid_by(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = traded()
    monkeypatch.setenv("HYDRA_COSTS__FEE_TIERS", '[{"volume": 1000, "taker_bp": 1, "maker_bp": 0}]')
    stepped = traded()
    assert 0 < stepped["fees"] < flat["fees"]
    assert stepped["traded by"]["fees"] == "5 bp a side, by the volume of 30 days: 1 bp from 1,000 USDT"
