"""The cascade: forced positions through a crash, traded by the real guard and desk; and verdicts that can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from real_history import FOLDER, needs
from typer.testing import CliRunner

from hydra_core.cli.main import app
from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.domain.intervals import DAY_MS, Interval, parse_time
from hydra_core.domain.trading import Mode
from hydra_core.home import Home
from hydra_core.replay.stress import StressRun, stress
from hydra_core.report.stress import stress_sections, write_stress
from hydra_core.risk.switches import Judgement
from hydra_core.settings import RiskSettings, Settings
from hydra_core.simulation.recorded import RecordedMarket
from hydra_core.simulation.specs import SPECS
from hydra_core.trader import guard as guard_module

STEP = Interval.M5.ms
BEGAN = parse_time("2024-03-01")
DAYS = 10
CRASH = BEGAN + 9 * DAY_MS + 12 * 3_600_000
ENTERED = CRASH - STEP
PAIRS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
SETTINGS = Settings(pairs=PAIRS)  # type: ignore[arg-type]


def write_history(folder: Path, fall: float = 0.2) -> Path:
    """Ten quiet days of three pairs; in the last one everything falls by a fifth in four bars and comes half back."""
    rng = np.random.default_rng(3)
    bars = DAYS * DAY_MS // STEP
    ts = BEGAN + STEP * np.arange(bars)
    path = np.zeros(bars)
    at = (CRASH - BEGAN) // STEP
    path[at : at + 4] = np.log(1 - fall) / 4
    path[at + 4 : at + 8] = -np.log(1 - fall) / 8
    for pair in PAIRS:
        close = 100 * SPECS_SCALE[pair] * np.exp(np.cumsum(rng.normal(0, 0.0006, bars) + path))
        opening = np.concatenate([close[:1], close[:-1]])
        wick = 1 + np.abs(rng.normal(0, 0.0004, bars))
        frame = pl.DataFrame(
            {
                "ts": pl.Series(ts).cast(pl.Datetime("ms", "UTC")), "open": opening,
                "high": np.maximum(opening, close) * wick, "low": np.minimum(opening, close) / wick,
                "close": close, "volume": np.full(bars, 5e8) / close,
            }
        )  # fmt: skip
        file = folder / "candles" / "5m" / f"{pair}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(file)
    return folder


SPECS_SCALE = {"BTCUSDT": 600.0, "ETHUSDT": 30.0, "SOLUSDT": 1.0}


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert set(PAIRS) <= set(SPECS)
    return write_history(tmp_path_factory.mktemp("crash"))


@pytest.fixture(scope="module")
def run(crash: Path) -> StressRun:
    return stress(RecordedMarket(crash), SETTINGS, ENTERED, hours=0.2)


def obeys(run: StressRun, risk: RiskSettings) -> None:
    """What the verdicts say, said again from the samples alone."""
    assert run.holds, [verdict for verdict in run.verdicts if not verdict.holds]
    for sample in run.samples:
        assert sample.gross <= sample.cap * (1 + 1e-9)
        assert sample.largest <= risk.max_position_notional
        assert sample.positions <= risk.max_positions
    assert run.final.positions == 0
    assert run.final.equity > 0
    limit = run.balance * (1 - risk.day_loss_limit)
    below = [sample for sample in run.samples if sample.equity <= limit]
    tripped = [event for event in run.events if event.what.startswith("kill switch day_loss")]
    assert bool(below) == bool(tripped)
    if below:
        assert tripped[0].ts_ms == below[0].ts_ms, "at the first mark that meets its condition"
        assert all(s.mode == Mode.FLATTEN for s in run.samples if s.ts_ms >= below[0].ts_ms), "and it latches"


def test_a_crash_is_lived_through(run: StressRun) -> None:
    obeys(run, SETTINGS.risk)
    assert run.lowest <= run.balance * 0.95, "the crash must trip the day loss to be worth anything"
    assert {verdict.name for verdict in run.verdicts} >= {
        "no exposure limit is exceeded",
        "day_loss trips at the first mark that meets its condition",
        "day_loss is overshot by no more than the bar that crossed it",
        "the account ends flat",
    }
    allowed = 0.8 * min(3 * run.balance, 3 * SETTINGS.risk.max_position_notional)
    assert run.samples[0].gross > allowed, "positions are as large as the limits leave standing"
    assert sum(event.what.startswith("sold") for event in run.events) >= len(PAIRS)


def test_positions_on_the_other_side_gain_and_are_closed_by_nobody(crash: Path) -> None:
    """Shorts through the same fall: nothing trips on losses before the way back up takes its stops."""
    short = stress(RecordedMarket(crash), SETTINGS, ENTERED, side=-1, hours=0.15)
    assert max(sample.equity for sample in short.samples) > short.balance * 1.05
    assert not any(event.what.startswith("kill switch day_loss") for event in short.events)
    verdicts = {verdict.name: verdict.holds for verdict in short.verdicts}
    assert verdicts["no switch trips without its condition"]


def blind(*_: object, **__: object) -> Judgement:
    """A guard whose switches see nothing."""
    return Judgement(Mode.ACTIVE)


def test_a_guard_that_sees_nothing_is_found_out(crash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "evaluate", blind)
    monkeypatch.setattr(guard_module, "stop_hit", lambda *_: False)
    found = stress(RecordedMarket(crash), SETTINGS, ENTERED, hours=0.15)
    failed = {verdict.name for verdict in found.verdicts if not verdict.holds}
    assert failed == {"day_loss trips at the first mark that meets its condition"}
    assert not found.holds
    assert found.final.positions == 0, "the decision cycle has the same switches and closes at its next grid point"


def test_a_start_off_the_market_is_refused(crash: Path) -> None:
    with pytest.raises(UsageError, match="is no start"):
        stress(RecordedMarket(crash), SETTINGS, BEGAN)
    with pytest.raises(UsageError, match="volatility is not known yet"):
        stress(RecordedMarket(crash), SETTINGS, BEGAN + 2 * DAY_MS)


def test_the_page_tells_the_timeline(run: StressRun, tmp_path: Path) -> None:
    worse = replace(run, verdicts=[replace(run.verdicts[0], holds=False), *run.verdicts[1:]])
    text = write_stress(tmp_path / "stress.html", "recorded-x", [run, worse], synthetic=False).read_text()
    for event in run.events:
        assert escape(event.what.split(" (")[0][:40]) in text
    assert datetime.fromtimestamp(run.entered_ms / 1000, UTC).strftime("%H:%M") in text
    assert "held" in text
    assert "failed" in text
    [section] = stress_sections(Home(tmp_path, "some-market"))
    assert [row[-1] for row in section.tables[0].rows] == ["held", "failed"]
    for table in section.tables[1:]:
        assert [what for _, what in table.rows] == [event.what for event in run.events]
    (tmp_path / "stress.json").write_text("{}")
    with pytest.raises(DataCorrupt, match="no stress finding"):
        stress_sections(Home(tmp_path, "some-market"))
    assert stress_sections(Home(tmp_path / "elsewhere", "some-market")) == []


def test_the_command_writes_the_page(crash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_PAIRS", json.dumps(PAIRS))
    moment = datetime.fromtimestamp(ENTERED / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    words = ["stress", "--replay", str(crash), "--at", moment, "--hours", "0.15", "--page", "out/s.html", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["holds"]
    assert Path(said["page"]).exists()
    for wrong in (["--side", "up"], ["--hours", "0"], ["--at", "2020-01-01"]):
        assert CliRunner().invoke(app, ["stress", "--replay", str(crash), *wrong]).exit_code == 2


@needs(FOLDER / "candles" / "5m" / "BTCUSDT.parquet")
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("side", [1, -1], ids=["long", "short"])
@pytest.mark.parametrize("moment", ["2025-10-10T20:55:00", "2025-10-10T21:10:00", "2025-10-10T21:15:00"])
def test_the_cascade_of_october_2025(moment: str, side: int) -> None:
    """Positions at the allowed size into the real cascade: limits hold, the switches are on time, it ends flat and solvent."""
    found = stress(RecordedMarket(FOLDER), Settings(), parse_time(moment), side=side, hours=5.0)
    assert found.samples[0].positions == Settings().risk.max_positions, "forced on, whatever the switches say"
    if found.final.positions:  # what gains is taken from nobody: the person who forced it on closes it
        assert side < 0
        assert [verdict.name for verdict in found.verdicts if not verdict.holds] == ["the account ends flat"]
    else:
        obeys(found, Settings().risk)
