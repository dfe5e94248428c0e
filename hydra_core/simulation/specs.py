"""Declared facts about each pair: levels, liquidity and the exchange's filters.

They give the synthetic market its scale and tell how a derived order book looks; nothing here is estimated from data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair


@dataclass(frozen=True, slots=True)
class PairSpec:
    """What one pair looks like.

    Parameters
    ----------
    price : float, USDT, where a synthetic history begins
    volatility : float, standard deviation of the diffusive log return, per year; jumps come on top
    market_share : float, correlation of the diffusive return with the common factor
    minute_notional : float, USDT traded in an ordinary minute
    open_interest_notional : float, USDT
    half_spread_bp : float, half of the ordinary bid-ask spread, bp of price
    top_notional : float, USDT resting at the best bid and at the best ask
    log_long_short : float, level of the log ratio of long to short accounts
    """

    price: float
    volatility: float
    market_share: float
    tick: str
    step: str
    min_notional: str
    minute_notional: float
    open_interest_notional: float
    half_spread_bp: float
    top_notional: float
    log_long_short: float
    max_leverage: int = 20
    maintenance_margin: str = "0.01"


SPECS: Final[Mapping[Pair, PairSpec]] = {
    Pair(f"{base}USDT"): spec
    for base, spec in {
        "BTC": PairSpec(60_000.0, 0.42, 0.97, "0.1", "0.001", "50", 8e6, 6.0e9, 0.3, 400_000, 0.46, 50, "0.005"),
        "ETH": PairSpec(3_000.0, 0.58, 0.96, "0.01", "0.001", "20", 6e6, 4.0e9, 0.4, 250_000, 0.50, 50, "0.005"),
        "SOL": PairSpec(150.0, 0.72, 0.94, "0.01", "0.01", "5", 2e6, 1.2e9, 0.6, 90_000, 0.53),
        "BNB": PairSpec(580.0, 0.50, 0.92, "0.01", "0.01", "5", 5e5, 4.0e8, 0.5, 70_000, 0.47),
        "DOGE": PairSpec(0.12, 0.80, 0.94, "0.00001", "1", "5", 9e5, 6.0e8, 0.9, 50_000, 0.54),
        "XRP": PairSpec(0.52, 0.72, 0.93, "0.00001", "0.1", "5", 1e6, 8.0e8, 0.7, 60_000, 0.52),
        "ADA": PairSpec(0.40, 0.74, 0.94, "0.00001", "1", "5", 4e5, 3.0e8, 0.9, 40_000, 0.51),
        "LTC": PairSpec(75.0, 0.66, 0.93, "0.01", "0.001", "5", 2.5e5, 2.0e8, 1.0, 30_000, 0.49),
    }.items()
}
assert tuple(SPECS) == DEFAULT_PAIRS


def per_unit(grid: str) -> float:
    """How many ticks or steps make one: prices are kept as rounded multiples divided by this, exact in decimals."""
    return float(1 / Decimal(grid))


def rules_of(pair: Pair) -> MarketRules:
    """The exchange's filters for a pair of :data:`SPECS`."""
    spec = SPECS[pair]
    return MarketRules(
        pair=pair,
        tick_size=Decimal(spec.tick),
        step_size=Decimal(spec.step),
        min_quantity=Decimal(spec.step),
        min_notional=Decimal(spec.min_notional),
        max_leverage=spec.max_leverage,
        maintenance_margin=Decimal(spec.maintenance_margin),
    )
