"""Liquidation cascades of the synthetic market: when they strike, whom, how hard, and the forced orders they leave.

A cascade against longs is one minute's fall of one and a half horizon standard deviations or more, minutes of raised
volatility, a drop of open interest by several percent, and forced orders. Its mean is taken out of the drift beforehand, so
that crowding never tells the direction. Prices are made in :mod:`prices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.domain.market import Bools, Floats, Ints
from hydra_core.simulation import optimum as op
from hydra_core.simulation import processes as pr

HAZARD_LIMIT: Final = 0.02
"""Most probable a cascade can get in one minute, per side."""
OPEN_INTEREST_DROP: Final = (0.055, 0.11)
FORCED_SHARE: Final = 0.25
"""Share of the open interest lost in a cascade that goes through public forced orders."""
ORDERS: Final = 12
"""Forced orders of a cascade."""
SPREAD_MS: Final = 3 * MINUTE_MS
"""Mean time from a cascade's onset to its forced orders."""
ORDINARY_PER_MINUTE: Final = 0.25
"""Probability that a minute that moves by more than its standard deviation forces somebody out."""


@dataclass(frozen=True, slots=True)
class Cascades:
    """Cascades of one block, arrays (P, M); ``long`` marks the minute in which longs are forced out."""

    long: Bools
    short: Bools
    size: Floats
    """Move in horizon standard deviations, 0 where there is none, signed."""
    expected: Floats
    """Mean of ``size`` given what was known at the minute's start: taken out of the drift."""
    drop: Floats
    """Share of open interest that is lost."""


def strike(rng: np.random.Generator, planted: op.Planted, crowding: Floats, relative: Floats) -> Cascades:
    """Draw a block's cascades.

    Parameters
    ----------
    crowding : (P, M), state at each minute's start
    relative : (P, M), volatility over the pair's ordinary one at each minute's start
    """
    tilt = planted.hazard_slope * np.clip(crowding, -op.CROWDING_CAP, op.CROWDING_CAP)
    level = op.CASCADES_PER_HORIZON / op.HORIZON * op.vol_factor(relative) / planted.hazard_norm
    hazard_long = np.minimum(level * np.exp(tilt), HAZARD_LIMIT)
    hazard_short = np.minimum(level * np.exp(-tilt), HAZARD_LIMIT)
    chance = rng.random(crowding.shape)
    long = chance < hazard_long
    short = chance > 1 - hazard_short
    size = op.CASCADE_FLOOR + op.CASCADE_EXCESS * rng.standard_exponential(crowding.shape)
    drop = rng.uniform(*OPEN_INTEREST_DROP, crowding.shape)
    return Cascades(
        long=long,
        short=short,
        size=np.where(long, -size, np.where(short, size, 0.0)),
        expected=(hazard_short - hazard_long) * op.CASCADE_MEAN,
        drop=np.where(long | short, drop, 0.0),
    )


@dataclass(frozen=True, slots=True)
class Forced:
    """Forced orders of one pair in one block, by time: epoch ms, side that was forced out, USDT."""

    ts: Ints
    long_side: Bools
    notional: Floats


def forced_orders(
    rng: np.random.Generator, start_ms: int, cascades: Cascades, pair: int, surprise: Floats, oi_notional: float
) -> Forced:
    """The forced orders that one pair's block shows.

    Parameters
    ----------
    surprise : (M,), each minute's return over its standard deviation
    oi_notional : USDT of open interest
    """
    minutes = np.flatnonzero(cascades.drop[pair])
    within = np.minimum(rng.exponential(SPREAD_MS, (minutes.size, ORDERS)), 9 * MINUTE_MS)
    share = rng.dirichlet(np.ones(ORDERS), minutes.size)
    total = cascades.drop[pair, minutes] * oi_notional * FORCED_SHARE
    hit = np.flatnonzero((np.abs(surprise) > 1) & (rng.random(surprise.size) < ORDINARY_PER_MINUTE))
    ts = np.concatenate(
        [(minutes[:, None] * MINUTE_MS + within).ravel(), hit * MINUTE_MS + rng.uniform(0, MINUTE_MS, hit.size)]
    )
    long_side = np.concatenate([np.repeat(cascades.long[pair, minutes], ORDERS), surprise[hit] < 0])
    notional = np.concatenate(
        [(share * total[:, None]).ravel(), oi_notional * 2e-6 * rng.lognormal(0.0, 1.0, hit.size)]
    )
    kept = ts < pr.MINUTES * MINUTE_MS
    order = np.argsort(ts[kept], kind="stable")
    stamps = (start_ms + ts[kept][order]).astype(np.int64)
    return Forced(ts=stamps, long_side=long_side[kept][order], notional=notional[kept][order])
