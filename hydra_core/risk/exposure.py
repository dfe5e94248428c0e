"""What the book as a whole permits: caps on one position and on all together, correlation penalty, expected shortfall.

:func:`penalty`, :func:`tail_room`, :func:`largest_gross` and :func:`trim` are plain numbers over lists or arrays, so that the
backtest engine can compile them; the others hand them the settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from hydra_core.settings import RiskSettings

SHORTFALL_SIGMAS: Final = 3.9936 / math.sqrt(2.0)
"""Expected shortfall at 97.5 % of a Student t with four degrees of freedom (3.9936), in its own standard deviations."""


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
    for other in range(len(notionals)):  # sums of zeros, where nothing is held, are cheaper than a branch
        notional = 0.0 if other == candidate else notionals[other]
        rho = row[other]
        total += abs(notional)
        weighted += abs(notional) if math.isnan(rho) else max(0.0, rho * side * notional)
    return 1.0 - largest * min(1.0, weighted / total) if total > 0 else 1.0


def correlation_penalty(
    candidate: int, side: int, notionals: Sequence[float], correlations: Sequence[Sequence[float]], largest: float
) -> float:
    """:func:`penalty` over sequences."""
    return penalty(candidate, float(side), notionals, correlations, largest)


def tail_fits(candidate: int, asked: float, notionals: Any, volatilities: Any, at: int, limit: float) -> bool:
    """Whether a notional certainly lies within :func:`tail_room`: the book's expected shortfall stays within the limit even
    if everything fell together. Cheap, and enough for most; False where only the correlations can tell.

    Parameters
    ----------
    asked : USDT ; the others as in :func:`tail_room`
    """
    total = 0.0
    for other in range(len(notionals)):
        notional = asked if other == candidate else abs(notionals[other])
        sigma = volatilities[at + other]
        total += notional * (sigma if sigma > 0.0 else math.nan) if notional > 0.0 else 0.0
    return total * SHORTFALL_SIGMAS <= limit * (1.0 - 1e-9)


def tail_room(
    candidate: int, side: float, notionals: Any, correlations: Any, volatilities: Any, at: int, limit: float
) -> float:
    """Largest notional of a position, USDT, with which the book's expected shortfall stays within a limit; 0 for none.

    Parameters
    ----------
    candidate : int, index of the pair; what is held of it is replaced
    side : float, +1 or -1
    notionals : signed USDT held by pair
    correlations : (P, P); an unknown (NaN) one counts as the worst
    volatilities : standard deviations of the log return over the horizon, of pair i at ``at + i``; that of a held pair
        which is unknown counts as the largest that is known
    limit : float, USDT

    Notes
    -----
    Returns over the horizon are taken as jointly Student t with four degrees of freedom and no mean, so the shortfall is
    :data:`SHORTFALL_SIGMAS` standard deviations of the book, whose variance is quadratic in the notional asked for. A
    hedge of a book that is over the limit is granted up to where the book reaches the limit on the other side.
    """
    own = volatilities[at + candidate]
    if not own > 0.0:
        return 0.0
    pairs = len(notionals)
    widest = own
    for other in range(pairs):
        if volatilities[at + other] > widest:
            widest = volatilities[at + other]
    shared = spread = 0.0
    for other in range(pairs):
        notional = notionals[other]
        if other == candidate or not abs(notional) > 0.0:
            continue
        sigma = volatilities[at + other]
        risk = notional * (sigma if sigma > 0.0 else widest)
        rho = correlations[candidate][other]
        shared += abs(risk) if math.isnan(rho) else rho * side * risk
        spread += risk * risk
        for third in range(other):
            sigma = volatilities[at + third]
            held = third != candidate and abs(notionals[third]) > 0.0
            beside = notionals[third] * (sigma if sigma > 0.0 else widest) if held else 0.0
            rho = correlations[other][third]
            spread += 2.0 * (abs(risk * beside) if math.isnan(rho) else rho * risk * beside)
    budget = max(0.0, limit) / SHORTFALL_SIGMAS
    square = shared * shared - spread + budget * budget
    return max(0.0, math.sqrt(square) - shared) / own if square > 0.0 else 0.0


def expected_shortfall(
    notionals: Sequence[float], correlations: Sequence[Sequence[float]], volatilities: Sequence[float]
) -> float:
    """Expected shortfall of a book over the horizon of its volatilities at 97.5 %, USDT; as in :func:`tail_room`."""
    risks = [n * s if n else 0.0 for n, s in zip(notionals, volatilities, strict=True)]
    variance = 0.0
    for i, one in enumerate(risks):
        for j, other in enumerate(risks):
            rho = 1.0 if i == j else correlations[i][j]
            variance += abs(one * other) if math.isnan(rho) else rho * one * other
    return SHORTFALL_SIGMAS * math.sqrt(max(0.0, variance))


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
