"""Minutes of a whole weekly retraining against its limit: from candles to promoted (or refused) models.

Eight pairs, 100,000 candles, a sweep of twenty trials, three networks of different seeds in the forecaster; features, folds,
walk-forward, crowd model, policy, gates and reports included. The market is the synthetic one, so there is something to
find. A second part does the same on five times the history and judges the memory that it takes.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import market
from benchmarks.memory import peak_mb
from benchmarks.rows import AT_MOST, Report, Row
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import FIELD_NAMES, Panel
from hydra_core.home import Home
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import build_dataset
from hydra_core.research.pipeline import ResearchRun, run_research
from hydra_core.settings import ForecasterSettings, Settings, TrainingSettings

CPU_NAME, GPU_NAME = "weekly retraining", "weekly retraining on a GPU"
CPU_MINUTES, GPU_MINUTES = 60.0, 5.0
"""On two cores, and on one H100."""
WEEKLY = TrainingSettings(
    candles=100_000, forecaster_trials=20, forecaster=ForecasterSettings(networks=3, device="auto")
)
QUICK = TrainingSettings(
    candles=13_000, folds=2, forecaster_trials=2, policy_trials=1, policy_steps=8_192, epochs=1, stride_bars=12
)


LONG_NAME = "memory of a retraining on 500,000 candles"
LONG_GB = 24.0
MOST_DAYS = 700
"""Of one synthetic market, which lasts two years."""
LONG = WEEKLY.model_copy(update={"candles": 500_000})


@dataclass(frozen=True)
class Cost:
    """What a retraining took: wall clock and processor time in minutes, most memory ever held in GB, models promoted."""

    minutes: float
    cpu_minutes: float
    peak_gb: float
    pairs: int
    promoted: tuple[str, ...]


def measure(report: Report) -> list[Row]:
    """One row: minutes; on a GPU where there is one."""
    on_gpu = torch.cuda.is_available()
    report.leave_out(*((CPU_NAME, "a GPU is at hand") if on_gpu else (GPU_NAME, "there is no GPU here")))
    training = QUICK if report.quick else WEEKLY
    report.say(f"weekly retraining on {training.candles:,} candles a pair (up to an hour)")
    cost = timed(training, report)
    where = torch.cuda.get_device_name() if on_gpu else f"{training.threads} CPU thread a network"
    notes = (
        f"peer: the limit; {cost.pairs} pairs x {training.candles:,} candles in memory, {training.forecaster_trials} "
        f"trials, {training.forecaster.networks} seeds, {where}; {cost.cpu_minutes:.1f} CPU minutes; "
        f"promoted: {', '.join(cost.promoted) or 'none'}"
    )
    name, limit = (GPU_NAME, GPU_MINUTES) if on_gpu else (CPU_NAME, CPU_MINUTES)
    return [Row(name, cost.minutes, limit, 1.0, "min", AT_MOST, notes)]


def long(report: Report) -> list[Row]:
    """One row: the most memory that a process of its own holds while it retrains on five times the weekly history."""
    training = QUICK if report.quick else LONG
    report.say(f"retraining on {training.candles:,} candles a pair, in a process of its own (up to two hours)")
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        cost = alone.apply(alone_timed, (training,))
        alone.close()
        alone.join()
    notes = (
        f"peer: the limit; {cost.pairs} pairs x {training.candles:,} candles, {training.forecaster_trials} trials, "
        f"{training.forecaster.networks} seeds; {cost.minutes:.1f} min, {cost.cpu_minutes:.1f} CPU minutes"
    )
    return [Row(LONG_NAME, cost.peak_gb, LONG_GB, 1.0, "GB", AT_MOST, notes)]


def alone_timed(training: TrainingSettings) -> Cost:
    """:func:`timed` in a process that has no console but the error stream."""
    return timed(training, Report(say=lambda words: print(f"  {words} ...", file=sys.stderr, flush=True)))


def timed(training: TrainingSettings, report: Report) -> Cost:
    """A retraining in a folder that is gone afterwards, and what it took."""
    panel = history(training.candles)
    with tempfile.TemporaryDirectory(prefix="retraining-") as folder:
        began, cpu = time.perf_counter(), time.process_time()
        run = retrain(panel, training, Path(folder), report)
        minutes, cpu = (time.perf_counter() - began) / 60, (time.process_time() - cpu) / 60
    passed = tuple(kind for kind, done in run.promotions.items() if done.promoted)
    return Cost(minutes, cpu, peak_mb() / 1024, len(panel.pairs), passed)


def history(candles: int) -> Panel:
    """So many closed bars of the synthetic market; of a longer history than one market has, of several, end to end."""
    days = -(-candles * FORECAST_INTERVAL.ms // DAY_MS)
    parts = -(-days // MOST_DAYS)
    if parts == 1:
        return market.panel(days).last(candles)
    drawn = [market.panel(-(-days // parts), seed=market.SEED + number) for number in range(parts)]
    joined = drawn[0]
    for after in drawn[1:]:
        joined = _appended(joined, after)
    return joined.last(candles)


def _appended(first: Panel, after: Panel) -> Panel:
    """A panel that goes on at the price where the first one ended: every pair's money stays, its base units change."""
    scale = first.close[-1] / after.open[0]
    moved = {name: getattr(after, name) * scale for name in ("open", "high", "low", "close")}
    moved |= {name: getattr(after, name) / scale for name in ("volume", "open_interest")}
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), moved.get(name, getattr(after, name))]) for name in FIELD_NAMES
    }
    ts = first.ts[0] + first.interval.ms * np.arange(len(first) + len(after))
    return Panel(pairs=first.pairs, interval=first.interval, ts=ts, inputs=first.inputs, **columns)


def retrain(panel: Panel, training: TrainingSettings, folder: Path, report: Report) -> ResearchRun:
    """Every stage of a retraining in a fresh home."""
    told: set[str] = set()

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in told:
            told.add(stage)
            report.say(f"weekly retraining: {stage}")

    home = Home(folder, f"synthetic-{market.SEED}-{market.SIGNAL}").create()  # its name tells what is believable
    settings = Settings(data_root=folder, pairs=panel.pairs, training=training, groq_api_key=None)
    bench = Bench.of(home, settings, progress)
    dataset = build_dataset(bench.datasets, panel, training)
    return run_research(bench, dataset, at_ms=int(panel.close_ms[-1]))
