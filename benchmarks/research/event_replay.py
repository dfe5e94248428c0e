"""Event-driven replay of recorded bars beside nautilus_trader: the same wanted positions, orders, fee and bars in both.

Ours is the trader's own code (:mod:`hydra_core.replay.bars`: market view, paper broker, guard, desk, books in memory), which
judges every kill switch and books an equity point at every close. The peer runs in an environment of its own beside ours, as
its pins exclude HYDRA's (``benchmarks/peers.txt``). Both must make the same fills and the same profit before anything is told.
Each side is a fresh process a turn; what is timed is its run alone, the peer's bar objects being made and sorted before.

``python -m benchmarks.research.event_replay job.npz`` is one turn of ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.rows import Disagreement, Report, Row, Turns
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import CANDLES, MarketRules, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.home import Home
from hydra_core.replay.bars import BarReplay, Wanted
from hydra_core.settings import CostSettings, Settings

NAME = "event-driven replay"
PEERS = Path(sys.prefix) / "peers" / "bin" / "python"
BARS, QUICK_BARS = 100_000, 2_000
TURNS = 3
START_MS = 1_704_067_200_000
FEE = "0.0005"
CASH = 1_000_000.0
NOTIONAL = 1_000.0
STEP = 0.001
GOAL = 1.0
TOLERANCE = 1e-6
"""Largest difference of the profits as a share of what was traded: the peer rounds each fee and profit to 8 decimals."""


def job(bars: int, seed: int = 7) -> dict[str, Any]:
    """Bars of eight pairs and the positions of an EMA cross, flat at the end; prices of two decimals, sizes of three."""
    rng = np.random.default_rng(seed)
    shape = (bars, len(DEFAULT_PAIRS))
    moves = 0.0015 * (0.6 * rng.standard_normal((bars, 1)) + 0.8 * rng.standard_normal(shape))
    close = np.round(1_000.0 * np.exp(np.cumsum(moves - moves.mean(axis=0), axis=0)), 2)
    frame = pd.DataFrame(close)
    side = np.sign(frame.ewm(span=20).mean().to_numpy() - frame.ewm(span=100).mean().to_numpy())
    side[:100] = side[-1] = 0.0
    turned = np.vstack([np.ones((1, shape[1]), np.bool_), side[1:] != side[:-1]])
    entered = np.maximum.accumulate(np.where(turned, np.arange(bars)[:, None], 0), axis=0)
    size = np.floor(NOTIONAL / np.take_along_axis(close, entered, axis=0) / STEP) * STEP
    return {
        "pairs": np.array([str(pair) for pair in DEFAULT_PAIRS]),
        "ts": START_MS + FORECAST_INTERVAL.ms * np.arange(bars, dtype=np.int64),
        "interval_ms": FORECAST_INTERVAL.ms,
        "close": close,
        "wanted": np.round(side * size, 3),
        "fee": FEE,
        "cash": CASH,
    }


def ours(given: Any, home: Home) -> dict[str, Any]:
    """One run of the trader's code on a job; what it took and came to."""
    pairs = tuple(Pair(str(one)) for one in given["pairs"])
    close = np.asarray(given["close"], np.float64)
    none = np.full(close.shape, np.nan)
    volume = np.full(close.shape, 1e6)
    panel = Panel(
        pairs, FORECAST_INTERVAL, given["ts"], close, close, close, close, volume, *[none] * 5, frozenset({CANDLES})
    )
    rules = {
        pair: MarketRules(
            pair,
            Decimal("0.01"),
            Decimal(repr(STEP)),
            Decimal(repr(STEP)),
            Decimal(5),
            taker_fee=Decimal(str(given["fee"])),
        )
        for pair in pairs
    }
    costs = CostSettings(half_spread_bp=0.0, slippage_bp=0.0, impact_coefficient=0.0, latency_ms=0)
    settings = Settings(data_root=home.root, pairs=pairs, costs=costs, groq_api_key=None)
    cash = Decimal(repr(float(given["cash"])))
    replay = BarReplay(panel, Wanted(np.asarray(given["wanted"])), home, settings, rules, cash)
    began, cpu = time.perf_counter(), time.process_time()
    replay.run()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    account = replay.ledger.account(replay.account)
    fills = replay.ledger.fills(replay.account, limit=sys.maxsize)
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "fills": len(fills),
        "turnover": float(sum((one.fill.quantity * one.fill.price for one in fills), Decimal(0))),
        "profit": float(account.cash - account.initial_balance),
        "open": len(replay.ledger.positions(replay.account)),
    }


def require_agreement(ours: dict[str, Any], peer: dict[str, Any]) -> float:
    """How far the profits lie apart, as a share of what was traded.

    Raises
    ------
    Disagreement : other fills, something still open, or more than :data:`TOLERANCE`
    """
    apart = abs(ours["profit"] - peer["profit"]) / max(ours["turnover"], 1.0)
    if ours["fills"] != peer["fills"] or ours["open"] or peer["open"] or not ours["fills"] or apart > TOLERANCE:
        raise Disagreement(f"{NAME}: on the same job ours comes to {ours}, the peer to {peer}")
    return apart


def measure(report: Report) -> list[Row]:
    """One row: pair-bars a second."""
    if not PEERS.exists():
        report.leave_out(NAME, "nautilus_trader is not installed beside this environment; `make bench` installs it")
        return []
    bars, turns = (QUICK_BARS, 1) if report.quick else (BARS, TURNS)
    report.say(f"event-driven replay of {len(DEFAULT_PAIRS)} pairs x {bars:,} bars beside nautilus_trader")
    made = job(bars)
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        file = Path(folder) / "job.npz"
        np.savez(file, **made)
        mine = [sys.executable, "-m", "benchmarks.research.event_replay", str(file)]
        theirs = [str(PEERS), "-P", str(Path(__file__).with_name("in_nautilus.py")), str(file)]
        told = [(turn(mine), turn(theirs)) for _ in range(turns)]
    apart = max(require_agreement(one, other) for one, other in told)
    pair_bars = int(np.asarray(made["close"]).size)
    taken = Turns(tuple((one["cpu_s"], other["cpu_s"]) for one, other in told))
    first, peer = told[0]
    return [
        Row(
            NAME,
            pair_bars / taken.ours,
            pair_bars / taken.peer,
            GOAL,
            "pair-bars/s",
            notes=f"peer: nautilus_trader {peer['version']}, its run alone, a Python strategy; ours: broker, guard, desk and "
            f"equity points at every close, books in memory; {len(DEFAULT_PAIRS)} pairs x {bars:,} bars, {first['fills']:,} "
            f"fills in both, profits apart by {apart:.1g} of what was traded; process CPU seconds; {taken}",
        )
    ]


def turn(command: list[str]) -> dict[str, Any]:
    """One fresh process; the JSON object that it prints last."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main(file: str) -> int:
    """Run the job once and print what it took."""
    from loguru import logger

    logger.remove()
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        sys.stdout.write(json.dumps(ours(np.load(file), Home(Path(folder), "replay").create())) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
