"""A small market with holes, changing stress and regimes, that the tests of the compiled backtest share."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hydra_core.decision import Limits, assemble

sys.path.append(str(Path(__file__).parents[1] / "decision"))
from decision_market import FixedCrowd, FixedForecaster, calm_state, forecast_of, random_panel

__all__ = ["LIMITS", "SEATS", "FixedCrowd", "FixedForecaster", "market", "random_panel"]

SEATS = frozenset({"crowd", "analyst", "policy"})
LIMITS = Limits()


def market(seed, rows=300, sigma=0.004, size=0.006, holes=0.0):
    """A panel with missing bars, its funding rates partly unknown, and an assessment with changing stress and regimes."""
    rng = np.random.default_rng(seed)
    panel = random_panel(rows, seed=seed, sigma=sigma)
    missing = rng.random(panel.close.shape) < holes
    columns = {name: np.where(missing, np.nan, getattr(panel, name)) for name in ("open", "high", "low", "close")}
    rate = np.where(rng.random(panel.close.shape) < holes, np.nan, rng.normal(0, 2e-4, panel.close.shape))
    panel = replace(panel, **columns, funding_rate=rate)
    expected = np.zeros(panel.close.shape)
    for row in range(1, rows):
        expected[row] = 0.95 * expected[row - 1] + 0.3 * rng.standard_normal(8)
    expected *= size
    expected[rng.random(expected.shape) < holes] = np.nan
    regimes = rng.dirichlet((6.0, 1.0, 0.3), size=(rows, 8))
    state = calm_state(
        rows,
        8,
        regimes=regimes,
        mean_correlation=np.where(rng.random(rows) < 0.02, 0.95, 0.4),
        variance_ratio=np.where(rng.random((rows, 1)) < 0.2, 6.0, 1.0) * np.ones((rows, 8)),
    )
    forecast = forecast_of(expected, 0.5 + 20 * np.abs(expected).clip(0, 0.02))
    return panel, assemble(panel, LIMITS, forecast, state=state)
