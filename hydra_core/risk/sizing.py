"""How large a trade may be, as a share of equity: Kelly on the net payoff, capped by the risk of one trade at its stop.

Here: everything that follows from the signal alone, over arrays of any shape. Not here: what depends on the book
(``exposure``).

Sources: Kelly (1956) for f = (p b - q) / b; the payoff ratio b is that of a normal return, cut at the cost: with m the
mean net of costs and s the standard deviation, E[win] = m + s phi(m/s) / Phi(m/s) and E[loss] = -m + s phi(m/s) /
Phi(-m/s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.risk.limits import Limits

LIQUIDATION_CLEARANCE: Final = 2.0
"""A liquidation lies at least this many stop distances away."""
MAINTENANCE_RATE: Final = 0.01
"""Maintenance margin assumed where the exchange's own is not at hand."""
REGIME_LEVERAGE: Final = (1.0, 0.6, 0.25)
"""Share of the largest leverage that the calm, turbulent and extreme regimes permit."""


@dataclass(frozen=True, eq=False)
class Sizing:
    """What a signal alone permits; arrays of one shape, NaN where the signal is unknown.

    Parameters
    ----------
    side : +1 long, -1 short, 0 where unknown
    edge : expected return less the round trip, in standard deviations of the horizon; not positive: no proposal
    kelly_share : notional over equity that fractional Kelly asks for, pair multiplier included; 0 where Kelly says no
    risk_share : notional over equity at which a stop costs the risk of one trade, pair multiplier included
    stop_distance : fraction of price
    leverage : notional over isolated margin
    """

    side: Floats
    edge: Floats
    kelly_share: Floats
    risk_share: Floats
    stop_distance: Floats
    leverage: Floats


def kelly(probability: Floats, payoff: Floats) -> Floats:
    """Kelly's share of wealth to stake: f = (p b - q) / b, negative where the bet should not be taken.

    Parameters
    ----------
    probability : chance of winning, in [0, 1]
    payoff : b, gain on a win per unit lost on a loss, > 0
    """
    return (probability * payoff - (1 - probability)) / payoff


def payoff(mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Expected gain given a gain and expected loss given a loss, both positive, of a normal net return.

    Parameters
    ----------
    mean, deviation : of the net log return over the horizon
    """
    from scipy.special import ndtr

    ratio = np.clip(mean / deviation, -8.0, 8.0)  # beyond, one tail is empty to double precision
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi)
    gain = deviation * (ratio + density / ndtr(ratio))
    loss = deviation * (-ratio + density / ndtr(-ratio))
    return gain, loss


def leverage_cap(regimes: Floats, limits: Limits) -> Floats:
    """Largest leverage that the regime probabilities permit; an unknown regime counts as the extreme one.

    Parameters
    ----------
    regimes : (..., 3), probabilities of calm, turbulent, extreme

    Returns
    -------
    (...), notional over equity, at least 1 unless the setting itself is lower
    """
    known = np.where(np.isfinite(regimes).all(axis=-1, keepdims=True), regimes, np.array([0.0, 0.0, 1.0]))
    cap = limits.risk.max_leverage * (known @ np.array(REGIME_LEVERAGE))
    return np.asarray(np.maximum(cap, min(1.0, limits.risk.max_leverage)))


def safe_leverage(stop_distance: Floats, cap: Floats) -> Floats:
    """The highest leverage up to ``cap`` whose liquidation lies well beyond the stop; at least 1.

    Parameters
    ----------
    stop_distance : fraction of price
    """
    return np.maximum(1.0, np.minimum(cap, 1.0 / (LIQUIDATION_CLEARANCE * stop_distance + MAINTENANCE_RATE)))


def size(
    expected_return: Floats,
    confidence: Floats,
    adverse_excursion: Floats,
    volatility: Floats,
    multipliers: Floats,
    leverage_caps: Floats,
    limits: Limits,
) -> Sizing:
    """Shares of equity that signals permit.

    Parameters
    ----------
    expected_return, confidence, adverse_excursion, volatility : (..., P), as in ``alpha.models.Forecast``
    multipliers : (P,), the pairs' size multipliers
    leverage_caps : (..., P), from :func:`leverage_cap`

    Returns
    -------
    Sizing of shape (..., P)

    Notes
    -----
    Kelly's stake is what is lost on a loss, so the notional is the stake over the expected loss. The stop lies at the
    wider of ``stop_sigmas`` standard deviations of the horizon and the expected adverse excursion. A NaN anywhere in a
    signal makes it unknown: side 0.
    """
    risk = limits.risk
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        known = (
            np.isfinite(expected_return) & np.isfinite(confidence) & np.isfinite(adverse_excursion) & (volatility > 0)
            & np.isfinite(volatility)
        )  # fmt: skip
        net = np.abs(expected_return) - limits.round_trip
        gain, loss = payoff(net, volatility)
        fraction = np.maximum(kelly(np.clip(confidence, 0.0, 1.0), gain / loss), 0.0)
        stop = np.clip(np.maximum(risk.stop_sigmas * volatility, adverse_excursion), 1e-4, 0.95)
        leverage = safe_leverage(stop, leverage_caps)
        kelly_share = np.where(net > 0, risk.kelly_fraction * fraction / loss * multipliers, 0.0)
        return Sizing(
            side=np.where(known, np.where(expected_return >= 0, 1.0, -1.0), 0.0),
            edge=np.where(known, net / volatility, np.nan),
            kelly_share=np.where(known, kelly_share, np.nan),
            risk_share=np.where(known, risk.risk_per_trade / stop * multipliers, np.nan),
            stop_distance=np.where(known, stop, np.nan),
            leverage=np.where(known, leverage, np.nan),
        )
