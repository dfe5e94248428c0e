"""Bars a second of the event-driven backtest beside vectorbt's compiled signal simulation.

The two do not do the same work, and the harder part is ours: sizing, votes, exposure, stops, funding and kill switches are
judged at every bar for all pairs together. vectorbt turns ready-made entries and exits into orders of a fixed value with a
fee, from one cash account. Its own numba code is compiled before the clock starts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks import market
from benchmarks.rows import Report, Row, side_by_side
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import Forecast
from hydra_core.decision.assessment import assemble
from hydra_core.domain.market import Panel
from hydra_core.research.backtest import BacktestResult, backtest
from hydra_core.risk.limits import Limits
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings
from hydra_core.statistics.view import View

DAYS = 15
GOAL = 5.0
HORIZON = 48


def forecast_of(panel: Panel) -> Forecast:
    """A plain rule as forecast: the fall of the long/short ratio below its day's mean, scaled; it trades now and then."""
    deviation = FeatureSet(["long_short_deviation_day"]).compute(panel)[:, :, 0].astype(np.float64)
    sigma = View(panel).sigma * np.sqrt(HORIZON)
    z = -np.clip(deviation / np.nanstd(deviation), -3, 3) * 0.3
    strong = np.abs(z)
    return Forecast(z * sigma, np.clip(0.45 + 0.25 * strong, 0, 1), 0.8 * sigma, sigma)


def measure(report: Report) -> list[Row]:
    """One row: bars of all pairs a second."""
    try:
        import vectorbt  # type: ignore[import-untyped]
    except ImportError:
        report.leave_out("backtest", "vectorbt is not installed (pip install -e '.[dev]')")
        return []
    report.say("backtest beside vectorbt")
    panel = market.panel(DAYS)
    limits = Limits(DecisionSettings(), RiskSettings(), CostSettings(), HORIZON)
    forecast = forecast_of(panel)
    signals = assemble(panel, limits, forecast)
    close = pd.DataFrame(panel.close, columns=list(panel.pairs))
    z = forecast.z
    approved = np.nan_to_num(forecast.confidence) >= limits.decision.confidence_threshold
    flat = np.nan_to_num(np.abs(z)) < 0.1

    def ours() -> BacktestResult:
        return backtest(panel, signals, limits, assume_approvals={"crowd", "analyst", "policy"})

    def peer() -> float:
        portfolio = vectorbt.Portfolio.from_signals(
            close,
            entries=approved & (z > 0),
            exits=flat,
            short_entries=approved & (z < 0),
            short_exits=flat,
            fees=limits.costs.side_bp * 1e-4,
            size=2_000.0,
            size_type="value",
            group_by=True,
            cash_sharing=True,
            init_cash=10_000.0,
            freq="5min",
        )
        return float(portfolio.value().iloc[-1])

    result = ours()
    if not result.trades:
        raise RuntimeError("the backtest benchmark made no trade: it would measure an idle loop")
    turns = side_by_side(ours, peer, repeats=3)
    bars = len(panel)
    notes = (
        f"vectorbt {vectorbt.__version__} Portfolio.from_signals and its value, compiled before; {bars} bars x "
        f"{len(panel.pairs)} pairs; ours makes {len(result.trades)} trades through layers 4 and 5"
    )
    return [Row("backtest", bars / turns.ours, bars / turns.peer, GOAL, "bars/s", notes=f"{notes}; {turns}")]
