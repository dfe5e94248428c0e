"""Rows a second of the feature columns beside the same columns in pandas; both must agree before anything is timed."""

from __future__ import annotations

import numpy as np
from numba import get_num_threads

from benchmarks.research import in_pandas
from benchmarks.rows import Disagreement, Report, Row, side_by_side
from hydra_core.alpha.features import FeatureSet
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import CANDLES, FUNDING, LONG_SHORT, OPEN_INTEREST, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.statistics.view import View

BARS, QUICK_BARS = 100_000, 5_000
START_MS = 1_704_067_200_000
GOAL = 3.0
TOLERANCE = 1e-6
"""Largest difference allowed, in standard deviations of the column: pandas' running sums carry the rounding of all rows."""


def example(bars: int, seed: int = 7) -> Panel:
    """Random walks of eight pairs with every reading that the columns need."""
    rng = np.random.default_rng(seed)
    shape = (bars, len(DEFAULT_PAIRS))
    level = np.exp(0.3 * np.sin(np.arange(bars) / 700.0))[:, None]
    close = 100.0 * np.exp(np.cumsum(0.001 * level * rng.standard_t(4, shape), axis=0))
    opening = np.vstack([np.full((1, shape[1]), 100.0), close[:-1]])
    wick = 1 + np.abs(rng.normal(0, 0.0007, shape))
    none = np.full(shape, np.nan)
    return Panel(
        DEFAULT_PAIRS,
        FORECAST_INTERVAL,
        START_MS + FORECAST_INTERVAL.ms * np.arange(bars, dtype=np.int64),
        opening,
        np.maximum(opening, close) * wick,
        np.minimum(opening, close) / wick,
        close,
        np.exp(rng.normal(5, 1, shape)),
        np.repeat(rng.normal(1e-4, 1e-4, (bars // 96 + 1, shape[1])), 96, axis=0)[:bars],
        np.exp(10 + np.cumsum(rng.normal(0, 0.002, shape), axis=0)),
        np.exp(np.cumsum(rng.normal(0, 0.003, shape), axis=0)),
        none,
        none,
        frozenset({CANDLES, FUNDING, OPEN_INTEREST, LONG_SHORT}),
    )


def disagreement(ours: Floats, peer: Floats) -> float:
    """Largest difference in standard deviations where both are finite; infinite where one has far fewer values."""
    known = np.isfinite(ours) & np.isfinite(peer)
    if known.mean() < 0.98 * max(np.isfinite(ours).mean(), np.isfinite(peer).mean()):
        return float("inf")
    return float(np.abs(ours[known] - peer[known]).max() / ours[known].std())


def apart(panel: Panel) -> dict[str, float]:
    """The :func:`disagreement` of every column, before either is rounded."""
    view = View(panel)
    peers = in_pandas.compute(panel)
    members = FeatureSet(in_pandas.COLUMNS).features
    return {one.name: disagreement(one.compute(view), peer) for one, peer in zip(members, peers, strict=True)}


def measure(report: Report) -> list[Row]:
    """One row: rows of all pairs a second."""
    report.say("features beside pandas")
    panel = example(QUICK_BARS if report.quick else BARS)
    chosen = FeatureSet(in_pandas.COLUMNS)
    worst, name = max((by, name) for name, by in apart(panel).items())
    if worst > TOLERANCE:
        raise Disagreement(
            f"{name}: HYDRA and pandas differ by {worst:.2g} deviations; nothing is timed until they agree"
        )
    turns = side_by_side(
        lambda: chosen.compute(panel), lambda: in_pandas.compute(panel), repeats=1 if report.quick else 5, warm_up=False
    )
    rows = len(panel) * len(panel.pairs)
    notes = (
        f"{len(chosen)} registered features, the same in pandas, {len(panel.pairs)} pairs x {len(panel):,} bars; "
        f"ours in {get_num_threads()} threads, pandas knows one; "
        f"largest disagreement {worst:.1g} standard deviations ({name}); ours laid side by side in float32, pandas' not"
    )
    return [Row("features", rows / turns.ours, rows / turns.peer, GOAL, "rows/s", notes=f"{notes}; {turns}")]
