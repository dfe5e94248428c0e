"""How large a trade may be, as a share of equity: Kelly on the net payoff, capped by the risk of one trade at its stop.

Here: everything that follows from the signal alone, over arrays of any shape; compiled, so that a live cycle and the
backtest engine size by the same code. Not here: what depends on the book (``exposure``).

Sources: Kelly (1956) for f = (p b - q) / b; the payoff ratio b is that of a normal return, cut at the cost: with m the
mean net of costs and s the standard deviation, E[win] = m + s phi(m/s) / Phi(m/s) and E[loss] = -m + s phi(m/s) /
Phi(-m/s).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numba.extending import register_jitable

from hydra_core.domain.market import Floats
from hydra_core.risk.limits import Limits

LIQUIDATION_CLEARANCE: Final = 2.0
"""A liquidation lies at least this many stop distances away."""
MAINTENANCE_RATE: Final = 0.01
"""Maintenance margin assumed where the exchange's own is not at hand: Binance asks 0.4 to 0.65 % of a position of 10,000
USDT in its large pairs, and shows its tables to owners of a key only."""
REGIME_LEVERAGE: Final = (1.0, 0.6, 0.25)
"""Share of the largest leverage that the calm, turbulent and extreme regimes permit."""
_SQRT_TWO_PI: Final = math.sqrt(2 * math.pi)
_SQRT_HALF: Final = math.sqrt(0.5)


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
    multiplier : the pair's size multiplier
    """

    side: Floats
    edge: Floats
    kelly_share: Floats
    risk_share: Floats
    stop_distance: Floats
    leverage: Floats
    multiplier: Floats


@register_jitable  # type: ignore[untyped-decorator]
def kelly(probability: Any, payoff: Any) -> Any:
    """Kelly's share of wealth to stake: f = (p b - q) / b, negative where the bet should not be taken.

    Parameters
    ----------
    probability : chance of winning, in [0, 1]
    payoff : b, gain on a win per unit lost on a loss, > 0
    """
    return (probability * payoff - (1 - probability)) / payoff


@register_jitable  # type: ignore[untyped-decorator]
def sure_fraction(edge: float, fraction: float, observations: float) -> float:
    """The fraction of Kelly's bet that is staked: the setting, or less where the edge may be an error of estimation.

    Parameters
    ----------
    edge : net mean over standard deviation of one trade
    fraction : the setting
    observations : independent trades that the edge is known from; 0: it is taken as known

    Notes
    -----
    A mean estimated with t = edge sqrt(observations) is best staked at c = 1 / (1 + 1 / t^2) of what Kelly asks for: the
    growth of the bet on the estimate, averaged over the error of the estimate, is largest there.
    """
    if not observations > 0.0:
        return fraction
    t_squared = edge * edge * observations
    return min(fraction, t_squared / (1.0 + t_squared))


@njit(cache=True)  # type: ignore[untyped-decorator]
def gain_and_loss(mean: float, deviation: float) -> tuple[float, float]:
    """:func:`payoff` of one bet."""
    return _gain_and_loss(mean / deviation, deviation)  # type: ignore[no-any-return]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _gain_and_loss(ratio: float, deviation: float) -> tuple[float, float]:
    """:func:`payoff` of one bet whose mean is ``ratio`` deviations."""
    ratio = min(8.0, max(-8.0, ratio))  # beyond, one tail is empty to double precision
    density = math.exp(-0.5 * ratio * ratio) / _SQRT_TWO_PI
    tail = 0.5 * math.erfc(abs(ratio) * _SQRT_HALF)
    above, below = (1.0 - tail, tail) if ratio > 0 else (tail, 1.0 - tail)
    return deviation * (ratio + density / above), deviation * (density / below - ratio)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _payoffs(mean: Floats, deviation: Floats, gain: Floats, loss: Floats) -> None:
    for i in range(mean.size):
        gain[i], loss[i] = gain_and_loss(mean[i], deviation[i])


def payoff(mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Expected gain given a gain and expected loss given a loss, both positive, of a normal net return.

    Parameters
    ----------
    mean, deviation : of the net log return over the horizon
    """
    means, deviations = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(deviation, np.float64))
    gain, loss = np.empty(means.size), np.empty(means.size)
    _payoffs(means.ravel(), deviations.ravel(), gain, loss)
    return gain.reshape(means.shape), loss.reshape(means.shape)


def permitted_share(regimes: Floats) -> Floats:
    """Share of the largest leverage that regime probabilities (..., 3) permit; unknown ones count as the extreme."""
    known = np.where(np.isfinite(regimes).all(axis=-1, keepdims=True), regimes, np.array([0.0, 0.0, 1.0]))
    return np.asarray(known @ np.array(REGIME_LEVERAGE))


@njit(cache=True)  # type: ignore[untyped-decorator]
def capped_leverage(share: float, max_leverage: float) -> float:
    """Largest leverage at a permitted share of it: at least 1 unless the setting itself is lower."""
    return max(max_leverage * share, min(1.0, max_leverage))


def leverage_cap(regimes: Floats, limits: Limits) -> Floats:
    """Largest leverage that the regime probabilities permit; an unknown regime counts as the extreme one.

    Parameters
    ----------
    regimes : (..., 3), probabilities of calm, turbulent, extreme

    Returns
    -------
    (...), notional over equity, at least 1 unless the setting itself is lower
    """
    share = permitted_share(regimes)
    cap = np.empty(share.size)
    _leverage_caps(share.reshape(-1), limits.risk.max_leverage, cap)
    return cap.reshape(share.shape)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _leverage_caps(share: Floats, max_leverage: float, out: Floats) -> None:
    for i in range(share.size):
        out[i] = capped_leverage(share[i], max_leverage)


@njit(cache=True)  # type: ignore[untyped-decorator]
def safe_leverage(stop_distance: float, cap: float, maintenance: float) -> float:
    """The highest leverage up to ``cap`` whose liquidation lies well beyond the stop; at least 1.

    Parameters
    ----------
    stop_distance : fraction of price; ``maintenance`` : margin below which a position is liquidated, fraction of notional
    """
    return max(1.0, min(cap, 1.0 / (LIQUIDATION_CLEARANCE * stop_distance + maintenance)))


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def kelly_share(
    edge: float,
    volatility: float,
    confidence: float,
    kelly_fraction: float,
    edge_observations: float,
    multiplier: float,
) -> float:
    """Notional over equity that fractional Kelly asks of one signal; 0 where Kelly says no.

    Parameters
    ----------
    edge : net expected return in standard deviations; ``volatility`` : the standard deviation; of the horizon
    multiplier : the pair's size multiplier
    """
    if not edge > 0:
        return 0.0
    gain, loss = _gain_and_loss(edge, volatility)
    stake = max(0.0, kelly(min(1.0, max(0.0, confidence)), gain / loss))
    sure = sure_fraction(edge, kelly_fraction, edge_observations)
    return sure * stake / loss * multiplier  # type: ignore[no-any-return]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def bound_signals(
    expected_return: Floats,
    confidence: Floats,
    adverse_excursion: Floats,
    volatility: Floats,
    multipliers: Floats,
    leverage_caps: Floats,
    maintenance: Floats,
    round_trip: float,
    risk_per_trade: float,
    stop_sigmas: float,
    side: Floats,
    edge: Floats,
    risk_share: Floats,
    stop_distance: Floats,
    leverage: Floats,
) -> None:
    """:func:`size` but for Kelly's share, over flat arrays of one length; the last five are written.

    One short loop a column: the compiler can then take several values at a time.
    """
    n = expected_return.size
    for i in range(n):
        total = volatility[i] + expected_return[i] + adverse_excursion[i] + confidence[i]
        known = (volatility[i] > 0) & (total - total == 0.0)  # a difference is 0 of finite numbers only
        side[i] = (1.0 if expected_return[i] >= 0 else -1.0) if known else 0.0
    for i in range(n):
        net = (abs(expected_return[i]) - round_trip) / volatility[i]
        edge[i] = net if side[i] != 0.0 else math.nan
    for i in range(n):
        stop = min(0.95, max(1e-4, max(stop_sigmas * volatility[i], adverse_excursion[i])))
        stop_distance[i] = stop if side[i] != 0.0 else math.nan
    for i in range(n):
        risk_share[i] = risk_per_trade / stop_distance[i] * multipliers[i]
    for i in range(n):
        safe = safe_leverage(stop_distance[i], leverage_caps[i], maintenance[i])
        leverage[i] = safe if stop_distance[i] > 0 else math.nan


@njit(cache=True)  # type: ignore[untyped-decorator]
def _kelly_shares(
    edge: Floats,
    volatility: Floats,
    confidence: Floats,
    kelly_fraction: float,
    edge_observations: float,
    multipliers: Floats,
    side: Floats,
    out: Floats,
) -> None:
    for i in range(edge.size):
        out[i] = math.nan
        if side[i] != 0.0:
            out[i] = kelly_share(
                edge[i], volatility[i], confidence[i], kelly_fraction, edge_observations, multipliers[i]
            )


def size(
    expected_return: Floats,
    confidence: Floats,
    adverse_excursion: Floats,
    volatility: Floats,
    multipliers: Floats,
    leverage_caps: Floats,
    maintenance: Floats,
    limits: Limits,
) -> Sizing:
    """Shares of equity that signals permit.

    Parameters
    ----------
    expected_return, confidence, adverse_excursion, volatility : (..., P), as in ``alpha.models.Forecast``
    multipliers : (P,), the pairs' size multipliers
    leverage_caps : (..., P), from :func:`leverage_cap`
    maintenance : (P,), the pairs' maintenance rates

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
    shape = np.shape(expected_return)
    multiplier = np.broadcast_to(multipliers, shape)
    side, edge, kelly_wanted, risk_share, stop_distance, leverage = columns = [np.empty(shape) for _ in range(6)]
    said = [_flat(values) for values in (expected_return, confidence, adverse_excursion, volatility)]
    flat_side, flat_edge, flat_kelly, *others = (column.reshape(-1) for column in columns)
    bound_signals(
        *said,
        _flat(multiplier),
        _flat(np.broadcast_to(leverage_caps, shape)),
        _flat(np.broadcast_to(maintenance, shape)),
        limits.round_trip,
        risk.risk_per_trade,
        risk.stop_sigmas,
        flat_side,
        flat_edge,
        *others,
    )
    kelly_by = risk.kelly_fraction, risk.edge_observations
    _kelly_shares(flat_edge, said[3], said[1], *kelly_by, _flat(multiplier), flat_side, flat_kelly)
    return Sizing(side, edge, kelly_wanted, risk_share, stop_distance, leverage, multiplier)


def _flat(values: Floats) -> Floats:
    return np.ascontiguousarray(values, np.float64).reshape(-1)
