"""What fills, stops, liquidations and funding do to one position, in plain numbers.

The row-by-row backtest (``research/fills``) runs these functions as they stand, the compiled loop compiles them. Not
here: the order of events inside a bar, and what is written down about it.
"""

from __future__ import annotations

import math
from typing import Any, Final

from hydra_core.execution.slippage import expected_cost

UNTOUCHED: Final = 0
STOPPED: Final = 1
LIQUIDATED: Final = 2
FEE_DAYS: Final = 30
"""UTC days of trading that decide a fee tier; the day itself does not count."""


def tier_fee(traded: float, floors: Any, fees: Any) -> float:
    """Fee of the highest tier whose floor is reached, as a fraction of notional.

    Parameters
    ----------
    traded : USDT in the last :data:`FEE_DAYS` days
    floors, fees : of the tiers, ascending, of one length
    """
    fee: float = fees[0]
    for tier in range(1, len(floors)):
        if traded >= floors[tier]:
            fee = fees[tier]
    return fee


def fill_price(
    price: float,
    change: float,
    crossing: float,
    day_notional: float,
    day_volatility: float,
    coefficient: float,
    factor: float,
) -> float:
    """Price at which a market order for ``change`` signed base units fills around a middle price, USDT.

    Parameters
    ----------
    crossing : half the spread and slippage, fraction of price
    day_notional, day_volatility : as in ``execution.slippage.peak_impact``
    factor : multiplies the whole cost
    """
    cost = expected_cost(crossing, abs(change) * price, day_notional, day_volatility, coefficient) * factor
    return price * (1 + cost if change > 0 else 1 - cost)


def average_entry(quantity: float, entry: float, change: float, price: float) -> float:
    """Average entry price of a position that grows by ``change``, USDT; its quantity has the same sign or is 0."""
    return (abs(quantity) * entry + abs(change) * price) / (abs(quantity) + abs(change))


def inside_bar(
    quantity: float, stop: float, forced: float, opening: float, high: float, low: float, gap_share: float
) -> tuple[int, float]:
    """Stop or liquidation of a position against a bar's extremes: what happened, and the price around which it fills.

    Parameters
    ----------
    quantity : signed base units, not 0
    stop : USDT, NaN without one
    forced : liquidation price, USDT
    gap_share : share of the way from a stop to the bar's extreme that a stop's fill gives away

    Notes
    -----
    Where both lie inside the bar the stop comes first, on the way; it fills at its trigger less a share of what lies
    beyond, or at the open where the bar begins beyond it. A fill beyond the liquidation price is a liquidation.
    """
    if math.isnan(low) or math.isnan(high):
        return UNTOUCHED, 0.0
    side = 1.0 if quantity > 0 else -1.0
    worst = low if side > 0 else high
    fill = worst
    stopped = not math.isnan(stop) and (worst - stop) * side <= 0
    if stopped:
        beyond = (opening - stop) * side <= 0
        fill = opening if beyond else stop + gap_share * (worst - stop)
    if (fill - forced) * side <= 0:
        return LIQUIDATED, fill
    return (STOPPED, fill) if stopped else (UNTOUCHED, 0.0)


def bankruptcy(side: float, entry: float, leverage: float) -> float:
    """Price at which a position's isolated margin is gone, USDT: a liquidation costs the margin and no more."""
    return max(entry * (1 - side / leverage), 0.0)


def funding_payment(quantity: float, price: float, rate: float) -> float:
    """USDT received (negative: paid) at a settlement: longs pay shorts while the rate is positive."""
    return -quantity * price * rate
