"""What the book as a whole permits: caps on one position and on all together, and the correlation penalty.

:func:`penalty`, :func:`largest_gross` and :func:`trim` are plain numbers over lists or arrays, so that the backtest engine
can compile them; the others hand them the settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hydra_core.settings import RiskSettings


def penalty(candidate: int, side: float, notionals: Any, correlations: Any, largest: float) -> float:
    """Factor in [1 - largest, 1] by which a position shrinks for moving with those already held.

    Parameters
    ----------
    candidate : int, index of the pair; its own position is left out
    side : float, +1 or -1
    notionals : signed USDT held by pair
    correlations : (P, P); an unknown (NaN) correlation counts as full
    largest : float, share taken off at full correlation

    Notes
    -----
    The notional-weighted mean of the correlations with what is held, counting opposite positions as their negative and
    a hedge as no reason to take more.
    """
    total = weighted = 0.0
    row = correlations[candidate]
    for other in range(len(notionals)):
        notional = notionals[other]
        if notional == 0.0 or other == candidate:
            continue
        rho = row[other]
        total += abs(notional)
        if math.isnan(rho):
            weighted += abs(notional)
        else:
            weighted += max(0.0, rho * side * notional)
    return 1.0 - largest * min(1.0, weighted / total) if total > 0 else 1.0


def correlation_penalty(
    candidate: int, side: int, notionals: Sequence[float], correlations: Sequence[Sequence[float]], largest: float
) -> float:
    """:func:`penalty` over sequences."""
    return penalty(candidate, float(side), notionals, correlations, largest)


def largest_gross(equity: float, max_total_notional: float, max_leverage: float) -> float:
    """Largest sum of notionals, USDT: the platform's cap or the largest leverage on equity, whichever is less."""
    return max(0.0, min(max_total_notional, max_leverage * equity))


def gross_cap(equity: float, risk: RiskSettings) -> float:
    """:func:`largest_gross` by the settings."""
    return largest_gross(equity, risk.max_total_notional, risk.max_leverage)


def trim(
    quantities: Any,
    prices: Any,
    equity: float,
    max_position_notional: float,
    max_total_notional: float,
    max_leverage: float,
    room: float,
    kept: Any,
) -> None:
    """Write into ``kept`` the positions cut back to the caps they have outgrown; those inside stay as they are.

    Parameters
    ----------
    quantities : signed base units
    prices : USDT; a position with an unknown price cannot be judged and stays
    room : float, share of a cap that is left free once a position is cut, so that the next tick does not cut again
    """
    total = 0.0
    for i in range(len(quantities)):
        quantity = quantities[i]
        notional = abs(quantity) * prices[i]
        kept[i] = quantity
        if notional > max_position_notional:
            kept[i] = quantity * (max_position_notional * (1 - room) / notional)
            notional = max_position_notional * (1 - room)
        if not math.isnan(notional):
            total += notional
    cap = largest_gross(equity, max_total_notional, max_leverage)
    if total > cap:
        for i in range(len(quantities)):
            kept[i] = kept[i] * (cap * (1 - room) / total)


def trimmed(
    quantities: Sequence[float], prices: Sequence[float], equity: float, risk: RiskSettings, room: float
) -> list[float]:
    """:func:`trim` by the settings, as a new list."""
    kept = list(quantities)
    caps = (risk.max_position_notional, risk.max_total_notional, risk.max_leverage)
    trim(quantities, prices, equity, *caps, room, kept)
    return kept
