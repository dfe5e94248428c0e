"""Where a backtest's money came from: by layer, by pair, by regime.

By layer: the same signals are traded several times, one more thing switched on at a time, and each difference is the doing of
what was switched on. The order is fixed (it decides who gets what two things do together): signal, risk brain, votes,
funding, execution costs. By pair and by regime nothing is run again: profits that were booked are added up.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats, Panel
from hydra_core.execution.committee import SEATS
from hydra_core.research.backtest import BacktestResult
from hydra_core.research.engine.inputs import Market
from hydra_core.research.engine.results import Prepared, trade
from hydra_core.research.fills import FillRules
from hydra_core.risk.limits import Limits

SIGNAL: Final = "3 signal: sized by Kelly alone, no stop, no cap but leverage, no cost"
RISK: Final = "4 risk brain: stops, risk per trade, caps, correlation penalty, kill switches"
VOTES: Final = "5 votes of the seats"
FUNDING: Final = "5 funding"
COSTS: Final = "5 fees, spread, slippage, impact"
LAYERS: Final = (SIGNAL, RISK, VOTES, FUNDING, COSTS)
REGIMES: Final = ("calm", "turbulent", "extreme")
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, eq=False)
class Attribution:
    """Net profit of a span, taken apart three times; USDT.

    Parameters
    ----------
    net : the profit; each of the three sums to it
    layers : what each step of :data:`LAYERS` added
    pairs : by pair; ``pair_costs`` : fees and funding in it, by pair, of round trips
    regimes : by the regime that a pair was most probably in when the bar began
    """

    net: float
    layers: dict[str, float]
    pairs: dict[str, float]
    pair_costs: dict[str, dict[str, float]]
    regimes: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return {
            "net": self.net,
            "layers": self.layers,
            "pairs": self.pairs,
            "pair_costs": self.pair_costs,
            "regimes": self.regimes,
        }


def attribute(
    prepared: Prepared,
    limits: Limits,
    regimes: Floats,
    initial_equity: float = 10_000.0,
    *,
    fills: FillRules | None = None,
    assume_approvals: Set[str] = frozenset(),
) -> Attribution:
    """Take a span's profit apart.

    Parameters
    ----------
    regimes : (T, P, 3), probabilities of calm, turbulent and extreme over the span's rows, NaN where unknown
    assume_approvals : seats taken as approving in the full run
    """
    fills = fills or prepared.fills
    every = frozenset(SEATS)
    free = replace(fills, cost_factor=0.0)
    unbound = replace(limits, risk=limits.risk.model_copy(update=_UNBOUND))
    unpaid = replace(prepared, market=_without_funding(prepared.market))
    runs = (
        trade(unpaid, unbound, initial_equity, fills=free, assume_approvals=every),
        trade(unpaid, limits, initial_equity, fills=free, assume_approvals=every),
        trade(unpaid, limits, initial_equity, fills=free, assume_approvals=assume_approvals),
        trade(prepared, limits, initial_equity, fills=free, assume_approvals=assume_approvals),
        trade(prepared, limits, initial_equity, fills=fills, assume_approvals=assume_approvals),
    )
    profits = [float(run.result.equity[-1]) - initial_equity for run in runs]
    steps = np.diff([0.0, *profits])
    result = runs[-1].result
    return Attribution(
        net=profits[-1],
        layers=dict(zip(LAYERS, steps.tolist(), strict=True)),
        pairs=by_pair(result),
        pair_costs=_pair_costs(result),
        regimes=by_regime(result, regimes),
    )


def by_pair(result: BacktestResult) -> dict[str, float]:
    """Net profit of each pair, USDT."""
    total = result.pair_profit.sum(axis=0)
    return {str(pair): float(profit) for pair, profit in zip(result.pairs, total, strict=True)}


def by_regime(result: BacktestResult, regimes: Floats) -> dict[str, float]:
    """Net profit by the regime known at the close before each bar, USDT."""
    likeliest = np.where(np.isfinite(regimes).all(axis=-1), np.nan_to_num(regimes).argmax(axis=-1), len(REGIMES))
    known = np.vstack([np.full((1, likeliest.shape[1]), len(REGIMES)), likeliest[:-1]])
    return {name: float(result.pair_profit[known == which].sum()) for which, name in enumerate((*REGIMES, UNKNOWN))}


def regimes_of(prepared: Prepared, panel_regimes: Floats, panel: Panel) -> Floats:
    """Regimes over the prepared span from those over the newest rows of its panel, NaN where there are none."""
    out = np.full((len(panel), len(panel.pairs), len(REGIMES)), np.nan)
    out[len(panel) - panel_regimes.shape[0] :] = panel_regimes
    return out[prepared.start : prepared.end]


_UNBOUND: Final = {
    "risk_per_trade": 0.2,
    "stop_sigmas": 1e6,
    "correlation_penalty": 0.0,
    "max_position_notional": 1e15,
    "max_total_notional": 1e15,
    "max_positions": 10**6,
    "day_loss_limit": 1.0,
    "drawdown_limit": 1.0,
    "position_loss_limit": 1.0,
    "correlation_spike": 1.0,
    "extreme_regime_probability": 1.0,
}


def _without_funding(market: Market) -> Market:
    return market._replace(due=np.zeros_like(market.due))


def _pair_costs(result: BacktestResult) -> dict[str, dict[str, float]]:
    told = {str(pair): {"fees": 0.0, "funding": 0.0, "trades": 0.0} for pair in result.pairs}
    for one in result.trades:
        at = told[str(one.pair)]
        at["fees"] += one.fees
        at["funding"] += one.funding
        at["trades"] += 1
    return told
