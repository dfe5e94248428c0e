"""Rows a second of the feature columns beside the same columns in pandas; both must agree before anything is timed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks import market
from benchmarks.research import in_pandas
from benchmarks.rows import Report, Row, side_by_side
from hydra_core.alpha.features import FeatureSet

Columns = npt.NDArray[np.float32]

DAYS = 60
GOAL = 3.0
TOLERANCE = 1e-3
"""Largest difference allowed: float32 columns, and pandas' running sums carry the rounding of all rows before."""


def disagreement(ours: Columns, peer: Columns) -> float:
    """Largest absolute difference where both are finite; infinite where one has far fewer values than the other."""
    known = np.isfinite(ours) & np.isfinite(peer)
    if known.mean() < 0.98 * max(np.isfinite(ours).mean(), np.isfinite(peer).mean()):
        return float("inf")
    return float(np.abs(ours[known] - peer[known]).max())


def measure(report: Report) -> list[Row]:
    """One row: rows of all pairs a second."""
    report.say("features beside pandas")
    panel = market.panel(DAYS)
    chosen = FeatureSet(in_pandas.COLUMNS)
    ours, peer = chosen.compute(panel), in_pandas.compute(panel)
    for column, name in enumerate(chosen.names):
        apart = disagreement(ours[:, :, column], peer[:, :, column])
        if apart > TOLERANCE:
            raise RuntimeError(f"{name}: HYDRA and pandas differ by {apart:.2g}; nothing is timed until they agree")
    turns = side_by_side(lambda: chosen.compute(panel), lambda: in_pandas.compute(panel), warm_up=False)
    rows = len(panel) * len(panel.pairs)
    notes = f"{len(chosen)} registered features, the same in pandas, equal within {TOLERANCE:g}; {rows:,} pair rows"
    return [Row("features", rows / turns.ours, rows / turns.peer, GOAL, "rows/s", notes=f"{notes}; {turns}")]
