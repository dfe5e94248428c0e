"""The whole chain as a newcomer runs it: venue, collection, checks, training, gates, paper trading, report, replay."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from hydra_core.ledger.store import Ledger
from hydra_core.platform.processes import MARKER

pytestmark = pytest.mark.timeout(600)
DAYS = 30
HOURS = 1.0


def hydra(folder: Path, *words: str, timeout_s: float = 560) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with small settings and ports that nobody else uses."""
    environment = {
        **os.environ,
        "HYDRA_DATA_ROOT": str(folder),
        "HYDRA_TRAINING__FORECASTER_TRIALS": "1",
        "HYDRA_TRAINING__POLICY_TRIALS": "1",
        "HYDRA_TRAINING__POLICY_STEPS": "5000",
        "HYDRA_TRAINING__EPOCHS": "1",
        "HYDRA_TRAINING__FOLDS": "2",
        "HYDRA_PLATFORM__VENUE_PORT": "28899",
        "HYDRA_PLATFORM__RESEARCH_PORT": "28266",
        "HYDRA_PLATFORM__LIVE_PORT": "28267",
    }
    command = [sys.executable, "-c", "from hydra_core.cli.main import main; main()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What the demo's last line says."""
    done = hydra(folder, "demo", "--days", str(DAYS), "--hours", str(HOURS), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    for stage in ("collect history", "check the data", "train and validate", "trade on paper"):
        assert stage in done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_every_stage_leaves_its_figures(told: dict[str, Any]) -> None:
    candles_a_pair = DAYS * (1440 + 288 + 96 + 24 + 6)
    assert told["candles"] == pytest.approx(8 * candles_a_pair, rel=0.02)
    assert told["checks"] == {"passed": 5, "failed": 0}
    assert {one["kind"] for one in told["candidates"]} == {"forecaster", "crowd", "policy"}
    assert all(one["gates"] for one in told["candidates"])
    assert set(told["backtest"]) == {"trades", "net_return", "sharpe", "max_drawdown"}
    assert Path(told["report"]).stat().st_size > 100_000


def test_nearly_every_grid_point_is_decided_and_the_others_are_booked_as_missed(told: dict[str, Any]) -> None:
    paper = told["paper"]
    points = HOURS * 120
    assert paper["decisions"] + paper["missed"] == paper["cycles"]
    assert paper["cycles"] == pytest.approx(points, abs=2)
    assert (
        paper["decisions"] >= 0.8 * points
    )  # a short session pays for its first second, in which libraries are loaded


def test_the_seats_of_the_champions_are_those_that_passed(told: dict[str, Any]) -> None:
    passed = {one["kind"] for one in told["candidates"] if one["passed"]}
    champions = {one["kind"] for one in told["champions"]}
    assert champions <= passed
    if "forecaster" not in champions:
        assert told["paper"]["orders"] == 0
        assert told["why_flat"]


def test_decisions_replay_byte_for_byte(told: dict[str, Any], folder: Path) -> None:
    with Ledger.open(f"sqlite:///{folder / told['market'] / 'ledger.db'}") as ledger:
        account = ledger.current_account()
        assert account is not None
        assert not ledger.check_balance(account.name).faults
        decided = ledger.decisions(account.name)
    for line in random.Random(7).sample(decided, 2):
        done = hydra(folder, "replay", str(line.cycle_ms), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout.strip().splitlines()[-1])["identical"] is True


def test_nothing_is_left_running(told: dict[str, Any], folder: Path) -> None:
    home = str(folder / told["market"])
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == home:
                left.append(process.cmdline())
        except psutil.Error:
            continue
    assert left == []
