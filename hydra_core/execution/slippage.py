"""What a fill costs beyond the middle price: half the spread, and the square-root law of impact.

Source: Donier and Bonart, "A million metaorder analysis of market impact on the Bitcoin", arXiv 1412.4503:
I = Y sigma_D sqrt(Q / V_D), with an average fill cost of two thirds of it.
"""

from __future__ import annotations

import math
from typing import Final

from hydra_core.settings import CostSettings

AVERAGE_SHARE: Final = 2.0 / 3.0
"""Average cost of a metaorder's fills as a share of its peak impact (the integral of the square root)."""


def peak_impact(notional: float, day_notional: float, day_volatility: float, coefficient: float = 1.0) -> float:
    """Impact at the end of an order, as a fraction of price.

    Parameters
    ----------
    notional, day_notional : USDT of the order and traded in a day; an unknown (not positive) day volume gives 0
    day_volatility : float, standard deviation of the daily log return
    coefficient : float, Y of the law
    """
    if not (day_notional > 0 and notional > 0 and day_volatility > 0):
        return 0.0
    return coefficient * day_volatility * math.sqrt(notional / day_notional)


def expected_cost(
    crossing: float, notional: float, day_notional: float, day_volatility: float, coefficient: float
) -> float:
    """Expected distance of a taker fill from the middle price, before fees, as a fraction of price.

    Parameters
    ----------
    crossing : float, half the spread and slippage, fraction of price
    """
    return crossing + AVERAGE_SHARE * peak_impact(notional, day_notional, day_volatility, coefficient)


def taker_cost(costs: CostSettings, notional: float, day_notional: float, day_volatility: float) -> float:
    """:func:`expected_cost` by the settings."""
    crossing = (costs.half_spread_bp + costs.slippage_bp) * 1e-4
    return expected_cost(crossing, notional, day_notional, day_volatility, costs.impact_coefficient)


def sweep_price(best: float, best_size: float, quantity: float, buys: bool, impact: float) -> float:
    """Price of a taker order against a visible top of book.

    What the top holds fills there; the rest pays, on average, ``impact`` on top (a fraction of price).

    Parameters
    ----------
    best, best_size : the side of the book that is hit, USDT and base units
    quantity : unsigned base units
    """
    beyond = max(0.0, quantity - max(0.0, best_size))
    share = beyond / quantity if quantity > 0 else 0.0
    return best * (1 + (1 if buys else -1) * share * impact)
