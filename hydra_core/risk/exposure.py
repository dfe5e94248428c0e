"""What the book as a whole permits: caps on one position and on all together, and the correlation penalty."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra_core.settings import RiskSettings


def correlation_penalty(
    candidate: int, side: int, notionals: Sequence[float], correlations: Sequence[Sequence[float]], largest: float
) -> float:
    """Factor in [1 - largest, 1] by which a position shrinks for moving with those already held.

    Parameters
    ----------
    candidate : int, index of the pair; its own position is left out
    side : int, +1 or -1
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
    for other, notional in enumerate(notionals):
        if notional == 0.0 or other == candidate:
            continue
        rho = row[other]
        total += abs(notional)
        if math.isnan(rho):
            weighted += abs(notional)
        else:
            weighted += max(0.0, rho * side * notional)
    return 1.0 - largest * min(1.0, weighted / total) if total > 0 else 1.0


def gross_cap(equity: float, risk: RiskSettings) -> float:
    """Largest sum of notionals, USDT: the platform's cap or the largest leverage on equity, whichever is less."""
    return max(0.0, min(risk.max_total_notional, risk.max_leverage * equity))


def trimmed(
    quantities: Sequence[float], prices: Sequence[float], equity: float, risk: RiskSettings, room: float
) -> list[float]:
    """Positions cut back to the caps they have outgrown; those inside stay as they are.

    Parameters
    ----------
    quantities : signed base units
    prices : USDT; a position with an unknown price cannot be judged and stays
    room : float, share of a cap that is left free once a position is cut, so that the next tick does not cut again
    """
    kept = list(quantities)
    total = 0.0
    for i, (quantity, price) in enumerate(zip(quantities, prices, strict=True)):
        notional = abs(quantity) * price
        if notional > risk.max_position_notional:
            kept[i] = quantity * (risk.max_position_notional * (1 - room) / notional)
            notional = risk.max_position_notional * (1 - room)
        if not math.isnan(notional):
            total += notional
    cap = gross_cap(equity, risk)
    if total > cap:
        kept = [quantity * (cap * (1 - room) / total) for quantity in kept]
    return kept
