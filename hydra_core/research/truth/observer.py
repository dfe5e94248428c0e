"""The best that can be foretold of the market of agents without seeing how each liquidation price scatters.

No published number tells where a cohort's liquidation price lies about that of its leverage before the price comes there. The
observer here knows the market's parameters, who entered when and at which price, who has been forced out, and the volatility
of the coming hour: all that is published tells, and more. Of a cohort's scatter it knows the law, and that whoever is left
waits beyond every price that was reached since the entry. Given all this the scatters are independent, so the chance of a
forced exit is the mean of the oracle's over draws of them, without bias. Nobody who sees only what is published ranks hours
better than this observer: a share of its average precision is no more than the same share of what can be reached.

Not here: the market and the oracle (``agents``), the row of the table (``forced``).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats, Ints
from hydra_core.research.truth.agents import (
    AGE,
    COHORTS,
    FORCED_SHARE,
    HOLDING,
    HOUR,
    IMPACT,
    SCATTER,
    WARM_UP,
    AgentMarket,
    cohorts,
    reach_probability,
    trigger,
)

DRAWS: Final = 32
NEAR: Final = 5.0
"""Standard deviations of an hour within which cohorts are looked for: the chance to get beyond is one in a million."""
FAR_OUT: Final = 5.0
"""Standard deviations of the scatter beyond which no cohort is looked for."""


def observed_hazard(market: AgentMarket, rows: Ints, seed: int, draws: int = DRAWS) -> Floats:
    """Chance that longs (shorts) are forced out in the hour after each of the rows, as the observer knows it.

    Parameters
    ----------
    rows : (n,), of ``market.decided``
    seed : of the draws; the market's own are not touched
    draws : of all scatters a row; the standard error of a hazard h is at most sqrt(h (1 - h) / draws)

    Returns
    -------
    array (2, n, P), longs first
    """
    hours = WARM_UP + (np.asarray(rows, np.int64) + 1) // HOUR
    distance, mix = cohorts()
    out = np.empty((2, hours.size, len(market.courses)))
    for pair, course in enumerate(market.courses):
        rng = np.random.default_rng((seed, 10, pair))
        out[:, :, pair] = _foretold(
            hours, course.price, course.flow, course.sigma, course.swept, course.gone, distance, mix, draws, rng
        )
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _foretold(
    hours: Ints,
    price: Floats,
    flow: Floats,
    sigma: Floats,
    swept: Floats,
    gone: Ints,
    distance: Floats,
    mix: Floats,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Hazards (2, n) of one pair; arrays as in :class:`~hydra_core.research.truth.agents.Course` and ``cohorts``."""
    out = np.zeros((2, hours.size))
    size, entered, usual, least = np.empty((4, AGE * COHORTS))
    for index in range(hours.size):
        hour = hours[index]
        total = _held(hour, flow, gone, mix)
        deviation = sigma[hour] * math.sqrt(HOUR)
        for which in range(2):
            now = price[hour] if which == 0 else -price[hour]
            furthest = now - NEAR * deviation - IMPACT * FORCED_SHARE
            found = _who_may_wait(
                hour, which, furthest, price, flow, swept, gone, distance, mix, size, entered, usual, least
            )
            chance = 0.0
            for _ in range(draws):
                level, near = np.empty(found), 0
                weight = np.empty(found)
                for k in range(found):
                    drawn = entered[k] - usual[k] * math.exp(SCATTER * normal_beyond(least[k], rng))
                    if drawn > furthest:
                        level[near], weight[near] = drawn, size[k]
                        near += 1
                order = np.argsort(-level[:near])
                at = trigger(level[:near][order], weight[:near][order], FORCED_SHARE * total, IMPACT / total)
                chance += reach_probability(now - at, deviation)
            out[which, index] = chance / draws
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _held(hour: int, flow: Floats, gone: Ints, mix: Floats) -> float:
    """Base units of both sides at the beginning of an hour."""
    total = 0.0
    for entry in range(max(hour - AGE + 1, 0), hour + 1):
        kept = 0.5 ** ((hour - entry) / HOLDING)
        for which in range(2):
            for k in range(COHORTS):
                if gone[entry, which, k] >= hour:
                    total += kept * flow[entry, which] * mix[k]
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _who_may_wait(
    hour: int,
    which: int,
    furthest: float,
    price: Floats,
    flow: Floats,
    swept: Floats,
    gone: Ints,
    distance: Floats,
    mix: Floats,
    size: Floats,
    entered: Floats,
    usual: Floats,
    least: Floats,
) -> int:
    """Cohorts of one side that are left and may wait above ``furthest``; fills the last four arrays and returns how many.

    Parameters
    ----------
    size : base units; entered : log price of the entry, of shorts upside down
    usual : log distance to liquidation of the leverage; least : what the standardised scatter is known to exceed
    """
    found, floor = 0, np.inf
    for entry in range(hour, max(hour - AGE, -1), -1):
        if entry < hour:
            floor = min(floor, swept[entry, which])
        start = price[entry] if which == 0 else -price[entry]
        kept = 0.5 ** ((hour - entry) / HOLDING)
        for k in range(COHORTS - 1, -1, -1):
            if start - distance[k] * math.exp(-SCATTER * FAR_OUT) < furthest:
                break  # smaller leverages wait further still
            if gone[entry, which, k] < hour:
                continue
            size[found], entered[found], usual[found] = kept * flow[entry, which] * mix[k], start, distance[k]
            least[found] = math.log((start - floor) / distance[k]) / SCATTER if floor < start else -np.inf
            found += 1
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def normal_beyond(least: float, rng: np.random.Generator) -> float:
    """A standard normal above ``least``, by rejection: from itself or, in its tail, from an exponential (Robert 1995)."""
    if least < 0.3:
        while True:
            plain = rng.standard_normal()
            if plain > least:
                return float(plain)
    rate = 0.5 * (least + math.sqrt(least * least + 4.0))
    while True:
        beyond = least + rng.standard_exponential() / rate
        if rng.random() <= math.exp(-0.5 * (beyond - rate) ** 2):
            return float(beyond)
