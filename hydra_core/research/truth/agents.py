"""A market of leveraged agents whose liquidation prices are known: the ground truth of the crowd model.

On every full hour a share of the agents closes and others enter, long or short after a sentiment that nobody sees. Agents are
small and many: those who enter in one hour on one side with about one leverage are a cohort with one liquidation price.
Within the hour the price diffuses; whoever it reaches is forced out, and every forced order pushes the price on, so that one
exit brings the next. What an exchange would publish of this is a
panel of 5m bars: candles, funding, open interest a bar late, the ratio of accounts, forced notional by side.

The oracle knows the agents. The price at which enough of a side will have been forced out follows from their liquidation
prices and sizes, and the chance of a diffusion to reach it within an hour is the reflection principle's: the hazard is exact.

Not here: the hazard for somebody who cannot see how liquidation prices scatter (``observer``), what the crowd model makes of
the panel (``alpha.crowd``), the row of the table (``forced``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import INPUTS, Floats, Ints, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.research.truth.histories import START_MS
from hydra_core.research.truth.planted import persistent

HOUR: Final = 12
"""Bars of an hour: within one the agents change only by being forced out."""
FORCED_SHARE: Final = 0.03
"""A side is forced out when so much of open interest is, within the hour."""
SIGMA: Final = 0.0015
"""Standard deviation of a 5m bar in an ordinary hour."""
SIGMA_SPREAD: Final = 0.4
SIGMA_LIFE: Final = 48.0
"""Hours; half-life of the log volatility."""
FLOW: Final = 50.0
"""Base units that enter in an ordinary hour."""
HOLDING: Final = 36.0
"""Hours after which half of a cohort has closed by itself."""
AGE: Final = 216
"""Hours after which the last of it has."""
COHORTS: Final = 12
"""Of one side that enter in one hour, by leverage."""
LEVERAGE: Final = (3.0, 75.0)
"""The least and the largest."""
LEVERAGE_MIDDLE: Final = 12.0
LEVERAGE_SPREAD: Final = 0.8
"""Standard deviation of the log leverage, by notional."""
MAINTENANCE: Final = 0.005
SCATTER: Final = 0.1
"""Standard deviation of the log distance from entry to liquidation about that of the cohort's leverage."""
SENTIMENT_LIFE: Final = 60.0
"""Hours; half-life of what makes most agents enter on one side."""
IMPACT: Final = 0.15
"""Log price change when all of open interest is forced out at once; linear in the share."""
FUNDING_SLOPE: Final = 8e-4
RATIO_NOISE: Final = 0.01
WARM_UP: Final = 240
"""Hours before the first that is kept: the market fills with agents."""
REACH: Final = 10.0
"""Standard deviations of an hour beyond which no one is looked for: the chance to get there is one in 10^23."""


@dataclass(frozen=True, eq=False)
class Course:
    """What happened to the agents of one pair, hour by hour from the warm-up on: all but how their liquidation prices scatter.

    Parameters
    ----------
    price : (H,), log price at the hour's beginning, at which its agents enter
    flow : (H, 2), base units that enter long and short
    sigma : (H,), standard deviation of a 5m bar within the hour
    swept : (H, 2), the level down to which everybody has been forced out within the hour, those of shorts upside down
    gone : (H, 2, COHORTS), hour in which those who entered were forced out; H where they never were
    """

    price: Floats
    flow: Floats
    sigma: Floats
    swept: Floats
    gone: Ints


@dataclass(frozen=True, eq=False)
class AgentMarket:
    """One draw.

    Parameters
    ----------
    panel : Panel of T bars of 5m, P pairs, with every input
    decided : (n,), rows that close an hour, from which the next hour is foretold
    hazard : (2, T, P), the oracle's chance that longs (shorts) are forced out in the hour after a decided row, NaN elsewhere
    forced : (2, T, P), 1 where they were, 0 where not, NaN elsewhere and where the hour is not complete
    courses : of each pair
    """

    panel: Panel
    decided: Ints
    hazard: Floats
    forced: Floats
    courses: tuple[Course, ...]


def agent_market(hours: int, seed: int, pairs: int = 4) -> AgentMarket:
    """Draw a market of so many hours; its pairs do not know of each other."""
    drawn = [_one(hours, seed, number) for number in range(pairs)]
    made = [published for published, _ in drawn]
    columns: dict[str, Any] = {
        name: np.stack([one[name] for one in made], axis=1) for name in made[0] if name not in _BY_SIDE
    }
    by_side = {name: np.stack([one[name] for one in made], axis=2) for name in _BY_SIDE}
    rows = hours * HOUR
    decided = np.arange(HOUR - 1, rows, HOUR, dtype=np.int64)
    forced = by_side["happened"]
    panel = Panel(
        pairs=DEFAULT_PAIRS[:pairs],
        interval=Interval.M5,
        ts=START_MS + HOUR_MS // HOUR * np.arange(rows, dtype=np.int64),
        liquidated_long=by_side["liquidated"][0],
        liquidated_short=by_side["liquidated"][1],
        inputs=frozenset(INPUTS),
        **columns,
    )
    return AgentMarket(panel, decided, by_side["hazard"], forced, tuple(course for _, course in drawn))


_BY_SIDE: Final = ("liquidated", "hazard", "happened")


def cohorts() -> tuple[Floats, Floats]:
    """Log distance from entry to liquidation at each leverage, falling, and the share of notional there; (COHORTS,) each."""
    leverage = np.geomspace(*LEVERAGE, COHORTS)
    mix = np.exp(-0.5 * (np.log(leverage / LEVERAGE_MIDDLE) / LEVERAGE_SPREAD) ** 2)
    return np.maximum(1.0 / leverage - MAINTENANCE, 0.004), mix / mix.sum()


def _one(hours: int, seed: int, number: int) -> tuple[dict[str, Floats], Course]:
    """One pair: by the name of the panel's field what is published, with what only the oracle knows; and the course."""
    rng = np.random.default_rng((seed, 9, number))
    total = hours + WARM_UP
    sentiment = persistent(rng.standard_normal(total), SENTIMENT_LIFE)
    sigma = SIGMA * np.exp(SIGMA_SPREAD * persistent(rng.standard_normal(total), SIGMA_LIFE))
    busy = np.exp(0.4 * persistent(rng.standard_normal(total), 24.0) + 0.4 * rng.standard_normal(total))
    part = 1.0 / (1.0 + np.exp(-sentiment - 0.5 * rng.standard_normal(total)))
    flow = FLOW * busy[:, None] * np.stack([part, 1.0 - part], axis=1)
    distance, mix = cohorts()
    apart = np.exp(SCATTER * rng.standard_normal((total, 2, COHORTS)))
    steps = rng.standard_normal((total, HOUR))
    extremes = rng.random((2, total, HOUR))
    *said, swept, gone = _live(flow, mix, distance * apart, sigma, steps, extremes)
    price = np.append(0.0, said[0][HOUR - 1 : -1 : HOUR, 3])
    return _published(rng, tuple(said), sigma), Course(price, flow, sigma, swept, gone)


def _published(rng: np.random.Generator, said: tuple[Floats, ...], sigma: Floats) -> dict[str, Floats]:
    """Cut the warm-up away and turn what happened into what an exchange would tell of it."""
    bars, stock, accounts, liquidated, hazard, happened = said
    first = WARM_UP * HOUR
    bars, stock, accounts, liquidated = (x[first:] for x in (bars, stock, accounts, liquidated))
    rows = len(bars)
    price = np.exp(math.log(100.0) + bars - bars[0, 0])
    opened, high, low, close = price.T
    part = accounts[:, 0] / accounts.sum(axis=1)
    settled = np.arange(rows) // (8 * HOUR) * (8 * HOUR)
    noise = 5e-5 * rng.standard_normal(rows)
    out = {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": rng.lognormal(8.0, 0.4, rows) * (1.0 + np.abs(np.log(close / opened)) / SIGMA),
        "funding_rate": 1e-4 + FUNDING_SLOPE * (part[settled] - 0.5) + noise[settled],
        "open_interest": np.append(stock[:1], stock[:-1]),
        "long_short": accounts[:, 0]
        / np.maximum(accounts[:, 1], 1.0)
        * np.exp(RATIO_NOISE * rng.standard_normal(rows)),
    }
    decided = np.arange(HOUR - 1, rows, HOUR)
    for name, hourly in (("hazard", hazard), ("happened", happened)):
        found = np.full((2, rows), np.nan)
        # Hour h is foretold from the last row of hour h - 1.
        found[:, decided[:-1]] = hourly[WARM_UP + 1 :].T
        out[name] = found
    out["liquidated"] = (liquidated * close[:, None]).T
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def reach_probability(distance: float, deviation: float) -> float:
    """Chance that a diffusion falls by ``distance`` within a span of standard deviation ``deviation``.

    2 Phi(-d / s) by the reflection principle; 1 at no distance.
    """
    if distance <= 0.0:
        return 1.0
    return float(math.erfc(distance / deviation / math.sqrt(2.0)))


@njit(cache=True)  # type: ignore[untyped-decorator]
def trigger(levels: Floats, sizes: Floats, needed: float, push: float) -> float:
    """Undisturbed price at which more than ``needed`` has been forced out; -inf where there is not that much.

    Parameters
    ----------
    levels, sizes : (n,), log liquidation prices in falling order, and what waits at each; those of shorts upside down
    push : log price change by one unit forced out
    """
    lowest, out = np.inf, 0.0
    for k in range(levels.size):
        # Those before have pushed the price below the undisturbed one already.
        lowest = min(lowest, levels[k] + push * out)
        out += sizes[k]
        if out > needed:
            return float(lowest)
    return -np.inf


@njit(cache=True)  # type: ignore[untyped-decorator]
def _live(
    flow: Floats, mix: Floats, distance: Floats, sigma: Floats, steps: Floats, extremes: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats, Ints]:
    """Hour after hour; see the module.

    Parameters
    ----------
    flow : (hours, 2), base units that enter long and short
    mix : (COHORTS,), how they are spread over leverages
    distance : (hours, 2, COHORTS), log distance from entry to liquidation
    sigma : (hours,); steps : (hours, HOUR), standard normal; extremes : (2, hours, HOUR), uniform

    Returns
    -------
    bars (T, 4) log open, high, low, close; stock (T,) base units; accounts (T, 2); liquidated (T, 2) base units;
    hazard, happened (hours, 2), of the hour itself as foretold at its beginning; swept, gone as in :class:`Course`
    """
    hours = sigma.size
    size, level = np.zeros((2, AGE * COHORTS)), np.zeros((2, AGE * COHORTS))
    bars = np.empty((hours * HOUR, 4))
    stock, accounts = np.empty(hours * HOUR), np.empty((hours * HOUR, 2))
    liquidated = np.zeros((hours * HOUR, 2))
    hazard, happened = np.zeros((hours, 2)), np.zeros((hours, 2))
    swept, gone = np.empty((hours, 2)), np.full((hours, 2, COHORTS), hours)
    stay = 0.5 ** (1.0 / HOLDING)
    price = 0.0
    for hour in range(hours):
        # Agents act at the close before the hour: the last row of the hour before shows them.
        size *= stay
        first = hour % AGE * COHORTS
        for which in range(2):
            sign = 1.0 if which == 0 else -1.0
            for k in range(COHORTS):
                size[which, first + k] = flow[hour, which] * mix[k]
                level[which, first + k] = sign * price - distance[hour, which, k]
        total = size.sum()
        if hour:
            row = hour * HOUR - 1
            stock[row], accounts[row, 0], accounts[row, 1] = total, size[0].sum(), size[1].sum()
        deviation = sigma[hour] * math.sqrt(HOUR)
        push = IMPACT / total
        near_longs = _near(size[0], level[0], price - REACH * deviation)
        near_shorts = _near(size[1], level[1], -price - REACH * deviation)
        needed = FORCED_SHARE * total
        at = trigger(level[0][near_longs], size[0][near_longs], needed, push)
        hazard[hour, 0] = reach_probability(price - at, deviation)
        at = trigger(level[1][near_shorts], size[1][near_shorts], needed, push)
        hazard[hour, 1] = reach_probability(-price - at, deviation)
        part = slice(hour * HOUR, (hour + 1) * HOUR)
        swept[hour] = _hour(
            price, sigma[hour], steps[hour], extremes[:, hour], push, near_longs, near_shorts, size, level,
            bars[part], liquidated[part],
        )  # fmt: skip
        for which, near in enumerate((near_longs, near_shorts)):
            for cohort in near[size[which, near] == 0.0]:
                entered = hour - (hour - cohort // COHORTS) % AGE
                gone[entered, which, cohort % COHORTS] = hour
        left = np.array([size[0].sum(), size[1].sum()]) + liquidated[part].sum(axis=0)
        for bar in range(hour * HOUR, (hour + 1) * HOUR):
            left -= liquidated[bar]
            stock[bar], accounts[bar, 0], accounts[bar, 1] = left.sum(), left[0], left[1]
        for which in range(2):
            happened[hour, which] = 1.0 if liquidated[part, which].sum() > needed else 0.0
        price = bars[(hour + 1) * HOUR - 1, 3]
    return bars, stock, accounts, liquidated, hazard, happened, swept, gone


@njit(cache=True)  # type: ignore[untyped-decorator]
def _near(size: Floats, level: Floats, furthest: float) -> Ints:
    """Cohorts of one side within reach, nearest first; levels of shorts are upside down."""
    found = np.flatnonzero((size > 0.0) & (level > furthest))
    return found[np.argsort(-level[found])]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _hour(
    price: float,
    sigma: float,
    steps: Floats,
    extremes: Floats,
    push: float,
    longs: Ints,
    shorts: Ints,
    size: Floats,
    level: Floats,
    bars: Floats,
    liquidated: Floats,
) -> tuple[float, float]:
    """One hour of diffusion with forced exits; fills its bars and clears who was forced out. Returns ``swept`` of both sides.

    Each side is called at the undisturbed price less its own pressure. The extremes within a bar are those of a Brownian
    bridge between its ends, so the lowest price of the hour has the law of a diffusion's.
    """
    next_long, next_short, gone_long, gone_short = 0, 0, 0.0, 0.0
    diffused, before = price, price
    reach = 2.0 * sigma * sigma
    swept_long, swept_short = np.inf, np.inf
    for bar in range(HOUR):
        step = sigma * steps[bar]
        up = diffused + 0.5 * (step + math.sqrt(step * step - reach * math.log(extremes[0, bar])))
        down = diffused + 0.5 * (step - math.sqrt(step * step - reach * math.log(extremes[1, bar])))
        diffused += step
        highest = up - push * gone_long + push * gone_short
        lowest = down - push * gone_long + push * gone_short
        while next_long < longs.size and down - push * gone_long <= level[0, longs[next_long]]:
            gone_long += size[0, longs[next_long]]
            liquidated[bar, 0] += size[0, longs[next_long]]
            size[0, longs[next_long]] = 0.0
            next_long += 1
        while next_short < shorts.size and -up - push * gone_short <= level[1, shorts[next_short]]:
            gone_short += size[1, shorts[next_short]]
            liquidated[bar, 1] += size[1, shorts[next_short]]
            size[1, shorts[next_short]] = 0.0
            next_short += 1
        # Whoever is left waits beyond the price that the last look was at.
        swept_long = min(swept_long, down - push * gone_long)
        swept_short = min(swept_short, -up - push * gone_short)
        close = diffused + push * (gone_short - gone_long)
        lowest = min(lowest, down - push * gone_long + push * (gone_short - liquidated[bar, 1]))
        highest = max(highest, up + push * gone_short - push * (gone_long - liquidated[bar, 0]))
        bars[bar, 0] = before
        bars[bar, 1] = max(highest, max(before, close))
        bars[bar, 2] = min(lowest, min(before, close))
        bars[bar, 3] = close
        before = close
    return swept_long, swept_short
