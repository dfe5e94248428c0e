"""``python -m benchmarks.research.engine_beside_vectorbt``: one JSON object with what ``backtests`` tells of.

A process of its own because numba's cache must be empty. Where the jobs coincide (one entry, no stop, no funding, no switch)
both must earn the same before anything is timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from hydra_core.alpha.models import Forecast
from hydra_core.decision.assessment import assemble
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import CANDLES, FUNDING, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.research.engine.parameters import Variant
from hydra_core.research.engine.results import Prepared, sweep, trade
from hydra_core.risk.limits import Limits
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings
from hydra_core.statistics.state import MarketState, layer2

BARS, QUICK_BARS = 100_000, 4_000
START_MS = 1_704_067_200_000
OTHERS = frozenset({"crowd", "analyst", "policy"})
CASH = 1e6
REPEATS = 3
TOLERANCE = 1e-9
THRESHOLDS = 16


def candles(bars: int, seed: int = 7) -> Panel:
    """Correlated random walks with wicks and a funding rate."""
    rng = np.random.default_rng(seed)
    shape = (bars, len(DEFAULT_PAIRS))
    moves = 0.0015 * (0.6 * rng.standard_normal((bars, 1)) + 0.8 * rng.standard_normal(shape))
    close = 100.0 * np.exp(np.cumsum(moves, axis=0))
    opening = np.vstack([np.full(shape[1], 100.0), close[:-1]])
    wick = 1 + np.abs(rng.normal(0, 0.0007, shape))
    none = np.full(shape, np.nan)
    return Panel(
        pairs=DEFAULT_PAIRS,
        interval=FORECAST_INTERVAL,
        ts=START_MS + FORECAST_INTERVAL.ms * np.arange(bars, dtype=np.int64),
        open=opening,
        high=np.maximum(opening, close) * wick,
        low=np.minimum(opening, close) / wick,
        close=close,
        volume=np.full(shape, 1e5),
        funding_rate=rng.normal(5e-5, 1e-4, shape),
        open_interest=none,
        long_short=none,
        liquidated_long=none,
        liquidated_short=none,
        inputs=frozenset({CANDLES, FUNDING}),
    )


def forecast(panel: Panel) -> Forecast:
    """The state of an EMA cross as side, its distance as strength."""
    close = pd.DataFrame(panel.close)
    gap = (close.ewm(span=20).mean() / close.ewm(span=100).mean() - 1).to_numpy()
    gap = gap.copy()
    gap[:100] = np.nan
    strength = np.clip(np.abs(gap) / np.nanstd(gap), 0, 3)
    sigma = np.full(gap.shape, 0.010)
    return Forecast(np.sign(gap) * (0.001 + 0.002 * strength), 0.55 + 0.1 * strength, 0.8 * sigma, sigma)


def calm(panel: Panel) -> MarketState:
    """Layer 2 of the panel, its stress and regimes known in every bar."""
    state = layer2(panel)
    return replace(
        state,
        mean_correlation=np.nan_to_num(state.mean_correlation, nan=0.3),
        variance_ratio=np.nan_to_num(state.variance_ratio, nan=1.0),
        regimes=np.nan_to_num(state.regimes, nan=1 / 3),
    )


def cpu(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU seconds of this process: what else runs on the machine does not count."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def inputs_of(panel: Panel, side: Floats, size: Any, costs: CostSettings) -> dict[str, Any]:
    """What vectorbt's ``from_signals`` takes to enter ``side`` at the next open; 0 is an exit. Made before the clock runs."""
    late = np.vstack([np.zeros((1, side.shape[1])), side[:-1]])
    columns = late.shape[1] // len(panel.pairs)
    frame = pd.DataFrame(np.tile(panel.close, (1, columns)))
    return dict(
        close=frame,
        entries=late > 0,
        exits=late == 0,
        short_entries=late < 0,
        short_exits=late == 0,
        price=np.tile(panel.open, (1, columns)),
        size=size,
        upon_opposite_entry="reverse",
        fees=costs.taker_fee_bp * 1e-4,
        slippage=(costs.half_spread_bp + costs.slippage_bp) * 1e-4,
        init_cash=CASH,
        freq="5min",
    )


def free_hand(costs: CostSettings) -> Limits:
    """Limits under which an entry is held until the forecast turns: no stop, resize, cap or switch."""
    risk = RiskSettings(
        kelly_fraction=1.0, risk_per_trade=0.01, max_position_notional=1e12, max_total_notional=1e12, max_positions=8,
        max_leverage=1.0, correlation_penalty=0.0, stop_sigmas=100.0, day_loss_limit=1.0, drawdown_limit=1.0,
        position_loss_limit=1.0, correlation_spike=1.0, extreme_regime_probability=1.0,
    )  # fmt: skip
    return Limits(DecisionSettings(confidence_threshold=0.5, resize_band=1e9), risk, costs, 10**6)


def main(quick: bool = False) -> int:
    """Measure and print."""
    import vectorbt  # type: ignore[import-untyped]

    panel = candles(QUICK_BARS if quick else BARS)
    words, limits = forecast(panel), Limits()
    state = calm(panel)
    signals = assemble(panel, limits, words, state=state)
    bars = panel.close.size

    costs = CostSettings(impact_coefficient=0.0)
    free = free_hand(costs)
    plain = replace(panel, inputs=frozenset({CANDLES}))
    side = np.nan_to_num(np.sign(words.expected_return))
    strong = Forecast(0.2 * side + np.where(side == 0, np.nan, 0.0), 0 * side + 0.9, 0 * side + 0.9, 0 * side + 0.01)
    began = time.process_time()
    same = Prepared.of(plain, replace(signals, forecast=strong), free)
    made = trade(same, free, CASH, assume_approvals=OTHERS).result
    compiled_s = time.process_time() - began
    late = np.vstack([np.zeros((1, 8)), np.abs(made.target)[:-1]])
    size = np.where(late > 0, late, 1.0)
    from_signals = vectorbt.Portfolio.from_signals
    one = inputs_of(plain, side, size, costs)
    theirs = from_signals(**one)
    profit = float(theirs.value().iloc[-1].sum() - CASH * 8)
    apart = abs(profit - (made.equity[-1] - CASH)) / float(np.abs([t.net for t in made.trades]).sum())
    if apart > TOLERANCE or len(made.trades) < len(panel) // 100:
        said = (
            f"on the same job vectorbt earns {profit}, the engine {made.equity[-1] - CASH} in {len(made.trades)} trades"
        )
        json.dump({"disagreement": said}, sys.stdout)
        return 0

    began = time.process_time()
    everything = Prepared.of(panel, signals, limits)
    prepare_s = time.process_time() - began
    variants = [
        Variant(
            replace(
                limits,
                decision=DecisionSettings(confidence_threshold=0.56 + 0.01 * (at % THRESHOLDS)),
                risk=RiskSettings(kelly_fraction=0.1 * (1 + at // THRESHOLDS)),
            )
        )
        for at in range(64)
    ]

    def many() -> object:
        return sweep(everything, variants, assume_approvals=OTHERS)

    def chunk_of_theirs(chunk: int) -> dict[str, Any]:
        thresholds = [at.limits.decision.confidence_threshold for at in variants[8 * chunk : 8 * chunk + 8]]
        sides = [np.where(words.confidence >= threshold, side, 0.0) for threshold in thresholds]
        return inputs_of(panel, np.hstack(sides), 10.0, limits.costs)

    vectorbt_s = cpu(lambda: from_signals(**one))
    theirs_s = 0.0
    for chunk in range(8):  # all 64 at once would not fit into memory
        eight = chunk_of_theirs(chunk)
        theirs_s += cpu(partial(from_signals, **eight), 1)
    engine_s = cpu(lambda: sweep(everything, [Variant(limits)], assume_approvals=OTHERS))
    same_s = cpu(lambda: sweep(same, [Variant(free)], CASH, assume_approvals=OTHERS))
    json.dump(
        {
            "pairs": len(panel.pairs),
            "bars": len(panel),
            "version": vectorbt.__version__,
            "trades": len(made.trades),
            "apart": apart,
            "prepare_s": prepare_s,
            "compile_s": compiled_s,
            "engine": bars / engine_s,
            "engine_same": bars / same_s,
            "vectorbt": bars / vectorbt_s,
            "sweep": 64 * bars / cpu(many, 1),
            "vectorbt_sweep": 64 * bars / theirs_s,
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main("--quick" in sys.argv[1:]))
