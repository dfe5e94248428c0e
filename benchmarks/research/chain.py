"""From candles to a report, and the forecaster's answer alone: seconds against what was promised.

The models are trained quickly on another, shorter history; their skill is of no matter, their shape is the real one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import decision, market
from benchmarks.research import training
from benchmarks.research.features import BARS, QUICK_BARS, example
from benchmarks.rows import AT_MOST, Report, Row, seconds
from hydra_core.alpha.crowd.model import CrowdArtifact
from hydra_core.alpha.crowd.model import load as load_crowd
from hydra_core.alpha.crowd.train import train_crowd
from hydra_core.alpha.forecaster.artifact import load as load_forecaster
from hydra_core.alpha.models import FORECASTER, Models
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.decision.assessment import assess
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Panel
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.research import plots
from hydra_core.research.books import CAPITAL, book_of
from hydra_core.research.engine.attribution import attribute, regimes_of
from hydra_core.research.engine.results import Prepared, trade
from hydra_core.risk.limits import Limits

CHAIN_S = 90.0
"""Seconds that 8 pairs x 100,000 bars may take on two cores."""
INFERENCE_MS = 0.4
"""Median milliseconds of one network for eight pairs, one thread."""
CALLS, QUICK_CALLS = 3_000, 200


def measure(report: Report) -> list[Row]:
    """Two rows: the whole chain, and one network's answer."""
    calls, bars = (QUICK_CALLS, QUICK_BARS) if report.quick else (CALLS, BARS)
    with tempfile.TemporaryDirectory() as folder:
        registry = ModelRegistry(Path(folder) / "models")
        version = decision.forecaster(registry, Path(folder) / "forecaster")
        report.say("inference")
        call = decision.model_call(registry, version)
        for _ in range(calls // 10):
            call()
        taken = np.array([seconds(call) for _ in range(calls)]) * 1e3
        said = f"peer: the limit; the network on ready windows of 8 pairs, onnxruntime, 1 thread; {calls:,} calls"
        rows = [
            Row(
                "inference of one network",
                float(np.median(taken)),
                INFERENCE_MS,
                1.0,
                "ms",
                AT_MOST,
                f"{said}, 99th percentile {np.percentile(taken, 99):.3g} ms",
            )
        ]
        report.say(f"from candles to a report, 8 pairs x {bars:,} bars")
        forecaster = load_forecaster(registry.path(FORECASTER, version), version)
        try:
            models = Models(forecaster, _crowd(Path(folder) / "crowd"))
        except InputMissing as error:
            report.say(f"without a crowd model: {error}")
            models = Models(forecaster)
        panel = example(bars)
        chain(panel.last(MAX_LOOKBACK_BARS + 600), models, Limits())  # what is compiled and imported, once
        began, cpu = time.perf_counter(), time.process_time()
        pages = chain(panel, models, Limits())
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        kinds = ", ".join(models.versions)
        rows.append(
            Row(
                "candles to report",
                wall,
                CHAIN_S,
                1.0,
                "s",
                AT_MOST,
                f"peer: the limit; 8 pairs x {len(panel):,} bars in memory, models given ({kinds}): features, layers 2 to 5, "
                f"backtest, attribution by layer, pair and regime, {pages} bytes of pictures; {cpu:.0f} CPU seconds",
            )
        )
        return rows


def chain(panel: Panel, models: Models, limits: Limits) -> int:
    """Features, layers 2 and 3, the decisions of every bar, what came of them and the pictures; returns their bytes."""
    start = models.lookback
    assessment = assess(panel, models, limits, last=len(panel) - start)
    prepared = Prepared.of(panel, assessment, limits, start)
    book = book_of(trade(prepared, limits, CAPITAL).result, panel)
    parts = attribute(prepared, limits, regimes_of(prepared, assessment.state.regimes, panel), CAPITAL)
    pictures = (plots.equity_picture({"all seats": book}, int(book.ts[0])), plots.attribution_picture(parts.to_json()))
    return sum(len(picture) for picture in pictures)


def _crowd(folder: Path) -> CrowdArtifact:
    panel = market.panel(training.DAYS)
    rows = np.arange(MAX_LOOKBACK_BARS, len(panel) - 60)
    cut = int(0.8 * rows.size)
    made = train_crowd(panel, rows[:cut], rows[cut + 60 :], 1, horizon=48)
    made.save(folder)
    return load_crowd(folder, "benchmark")
