"""What a crowd usually does: how long it holds, how far from entry it is liquidated, how much its forced orders push the price.

No exchange publishes any of it, but what is published tells: if the habits are right, the notional that the map has at the
prices which a bar traded through is the notional that was reported forced out in that bar. So the distances are weighed until
it is (a Poisson likelihood's multiplicative updates, Shepp and Vardi 1982), under several holding times of which the best
stays. Where nothing is reported the habits are assumptions.

Not here: the map drawn with them (``liquidation_map``), pressure and volatility weighed by the events (``train``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numba import njit

from hydra_core.domain.market import Bools, Floats, Ints

HALF_LIFE: Final = 576.0
"""Bars after which half of a stock has been closed by its owners: two days, a usual holding time."""
HALF_LIVES: Final = tuple(HALF_LIFE * 2.0 ** (k / 2) for k in range(-2, 3))
"""Of which the one that explains the reported liquidations best is learned: a day to four days."""
MAINTENANCE: Final = 0.004
"""Maintenance margin as a fraction of notional at the smallest tier."""
LEVELS: Final = 64
LEVERAGES: Final = np.geomspace(2.0, 125.0, 2 * LEVELS + 1)[1::2]
"""Middles of so many spans of one ratio, from the least to the largest. Fewer stand too far apart: with sixteen their spacing
alone puts the distribution of what waits off by .03 in the middle row and by .05 and more in one row of ten."""
_OFF: Final = np.log(LEVERAGES / 15.0) / 0.9
SHARES: Final = np.exp(-0.5 * _OFF**2) / np.exp(-0.5 * _OFF**2).sum()
"""A usual mix of leverages by notional, log-normal about 15: an assumption for every market of which nothing else is known. It
is smooth, for a coarse one would put cliffs where there are none."""
PRESSURE: Final = 0.1
"""Log price change by forced exits of all of open interest, in proportion: one per cent of it moves the price by ten basis
points."""
PRESSURES: Final = (0.0, *(PRESSURE * 2.0 ** (k / 2) for k in range(-3, 4)))
"""Of which the one that explains the events best is learned."""
BINS: Final = 24
EDGES: Final = np.geomspace(0.0015, 0.6, BINS + 1)
"""Of the log distance from entry to liquidation, as it is learned."""
_FINER: Final = 3
"""Levels of a bin in the map, so that it has no cliffs either."""
_DOUBT: Final = 0.02
"""Share of open interest that has to have been traded through at a distance before the reports outweigh the assumption."""
_UPDATES: Final = 200
_HOUR: Final = 12
"""Bars whose readings a side's stock is the mean of."""


@dataclass(frozen=True)
class Habits:
    """What the map takes for granted.

    Parameters
    ----------
    half_life : bars after which half of a stock has been closed by its owners
    distances, shares : log distances from entry to liquidation, falling, and the share of notional at each
    pressure : log price change by forced exits of all of open interest, in proportion
    windows, volatility : of the log-HAR forecast of the horizon's variance, the intercept first; empty: the platform's
    """

    half_life: float
    distances: tuple[float, ...]
    shares: tuple[float, ...]
    pressure: float
    windows: tuple[int, ...] = ()
    volatility: tuple[float, ...] = ()

    @property
    def kept(self) -> float:
        """Share of a stock that its owners still hold a bar later."""
        return float(0.5 ** (1.0 / self.half_life))

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats survive JSON bit for bit."""
        return {
            "half_life": self.half_life,
            "distances": list(self.distances),
            "shares": list(self.shares),
            "pressure": self.pressure,
            "windows": list(self.windows),
            "volatility": list(self.volatility),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Habits:
        """The inverse of :meth:`to_json`; raises ValueError for what no map can be drawn with."""
        out = cls(
            half_life=float(plain["half_life"]),
            distances=tuple(float(v) for v in plain["distances"]),
            shares=tuple(float(v) for v in plain["shares"]),
            pressure=float(plain["pressure"]),
            windows=tuple(int(v) for v in plain["windows"]),
            volatility=tuple(float(v) for v in plain["volatility"]),
        )
        sized = len(out.distances) == len(out.shares) and len(out.volatility) == (
            len(out.windows) + 1 if out.windows else 0
        )
        if not sized or out.half_life <= 0.0:
            raise ValueError("habits of which no map can be drawn")
        return out


def usual_distances() -> Floats:
    """Log distance from entry to liquidation at each of :data:`LEVERAGES`, shape (K,), falling."""
    return -np.log1p(-np.maximum(1.0 / LEVERAGES - MAINTENANCE, 0.002))


USUAL: Final = Habits(HALF_LIFE, tuple(float(v) for v in usual_distances()), tuple(float(v) for v in SHARES), PRESSURE)


@dataclass(frozen=True, eq=False)
class Side:
    """What is known of one side of one pair, shorts seeing the price upside down; arrays (T,).

    Parameters
    ----------
    held : base units that the side held at each close, the mean of the last hour's readings
    forced : base units forced out in each bar
    moved : whether somebody opened or closed at that close
    price, lowest : log close and log low
    interest : open interest as read in the row, base units; NaN where forced exits are not listened to
    """

    held: Floats
    forced: Floats
    moved: Bools
    price: Floats
    lowest: Floats
    interest: Floats


def learned(parts: list[Side], reach: int) -> Habits:
    """Half-life and distances that explain what was forced out of the sides best; the assumption where nothing was.

    Parameters
    ----------
    parts : sides of all pairs, their training rows only
    reach : bars that a position is looked for in the past
    """
    usual = _binned()
    best, least = USUAL, math.inf
    for half_life in HALF_LIVES:
        found = [_swept(part, 0.5 ** (1.0 / half_life), reach) for part in parts]
        swept, reported = (np.concatenate([each[k] for each in found]) for k in (0, 1))
        seen = (swept.sum(axis=1) > 0.0) & (reported >= 0.0)
        swept, reported = swept[seen], reported[seen]
        if not reported.sum() > 0.0:
            return USUAL
        weights = _weighed(swept, reported, usual)
        told = swept @ weights + 1e-9
        deviance = float(2.0 * (_times_log(reported, reported / told) - reported + told).sum())
        if deviance < least:
            middle = np.sqrt(EDGES[1:] / EDGES[:-1]) ** (1.0 / _FINER)
            starts = np.geomspace(EDGES[0], EDGES[-1], BINS * _FINER + 1)[:-1] * middle[0]
            distances, shares = starts[::-1], np.repeat(weights / _FINER, _FINER)[::-1]
            least = deviance
            best = replace(
                USUAL,
                half_life=half_life,
                distances=tuple(float(v) for v in distances),
                shares=tuple(float(v) for v in shares),
            )
    return best


def _times_log(x: Floats, ratio: Floats) -> Floats:
    return np.where(x > 0.0, x * np.log(np.maximum(ratio, 1e-12)), 0.0)


def _binned() -> Floats:
    """The assumed mix by bin, smooth: each leverage's share is spread to the next one's distance."""
    distances = usual_distances()[::-1]
    borders = np.sqrt(distances[1:] * distances[:-1])
    borders = np.concatenate([distances[:1] ** 2 / borders[:1], borders, distances[-1:] ** 2 / borders[-1:]])
    below = np.interp(np.log(EDGES), np.log(borders), np.concatenate([[0.0], np.cumsum(SHARES[::-1])]))
    shares = np.diff(below)
    return np.asarray(np.maximum(shares, 1e-6) / shares.sum())


def _weighed(swept: Floats, reported: Floats, usual: Floats) -> Floats:
    """Shares of the bins, (BINS,), by maximum likelihood with the assumption as a prior."""
    weights, total = usual, swept.sum(axis=0)
    for _ in range(_UPDATES):
        told = swept @ weights + 1e-12
        weights = (weights * (swept.T @ (reported / told)) + _DOUBT * usual) / (total + _DOUBT)
    return weights


def _swept(part: Side, kept: float, reach: int) -> tuple[Floats, Floats]:
    """What waited, by bin of distance, where each hour traded through, and what was reported: shares of open interest."""
    units, place = openings(part.held, part.forced, part.moved, kept)
    opened = np.bincount(place, units, part.held.size)
    swept = _traded_through(opened, part.price, part.lowest, part.interest, EDGES, kept, reach, _HOUR)
    hours = swept.shape[0]
    share = part.forced[: hours * _HOUR] / part.interest[: hours * _HOUR]
    reported = np.where(np.isfinite(share), share, -1.0).reshape(hours, _HOUR)
    whole = (reported >= 0.0).all(axis=1) & (np.arange(hours) * _HOUR >= reach)
    return swept, np.where(whole, reported.sum(axis=1), -1.0)


@njit(cache=True)  # type: ignore[untyped-decorator]
def opening(held: Floats, forced: Floats, entry: int, last: int, lost: float, kept: float) -> float:
    """Base units opened at the close of ``entry`` when nobody acted from then until ``last``.

    What was there at the end and what was ``lost`` to forced exits on the way, beyond what was kept of the stock before.
    """
    before = held[entry - 1] - forced[entry]
    return float(held[last] + lost - before * kept ** (last - entry + 1))


@njit(cache=True)  # type: ignore[untyped-decorator]
def lag(bars: int) -> int:
    """Bars that an opening lies, in the mean, before the first of the ``bars`` whose growth it is.

    Where somebody acts in every bar, the growth of an hour's mean stock is the mean of what the hour's bars opened, so it
    belongs into the hour's middle. Where nobody acts for an hour after it, each reading knows the opening, and when it was.
    """
    return max(0, (_HOUR + 1 - bars) // 2)


@njit(cache=True)  # type: ignore[untyped-decorator]
def openings(held: Floats, forced: Floats, moved: Bools, kept: float) -> tuple[Floats, Ints]:
    """What was opened where somebody acted, known once somebody acts again; arrays (T,) of :class:`Side`.

    Returns
    -------
    units : float64 (T,), base units, 0 where nothing was opened or it is not known
    place : int64 (T,), bar that they were opened in, in the mean (:func:`lag`)
    """
    units, place = np.zeros(held.size), np.arange(held.size)
    last, lost = held.size - 1, 0.0
    for row in range(held.size - 1, 0, -1):
        if moved[row]:
            found = opening(held, forced, row, last, lost, kept)
            if found > 0.0:  # a NaN is not
                units[row] = found
            place[row] = max(row - lag(last - row + 1), 0)
            last, lost = row - 1, 0.0
        else:
            lost += forced[row]
    return units, place


@njit(cache=True)  # type: ignore[untyped-decorator]
def _traded_through(
    opened: Floats, price: Floats, lowest: Floats, interest: Floats, edges: Floats, kept: float, reach: int, hour: int
) -> Floats:
    """By hour and bin: share of open interest opened so far above what is traded for the first time since then."""
    rows, bins = opened.size, edges.size - 1
    out = np.zeros((rows // hour, bins))
    for row in range(reach, rows // hour * hour):
        if not (interest[row] > 0.0 and np.isfinite(lowest[row])):
            continue
        floor, weight = np.inf, 1.0 / interest[row]
        for entry in range(row - 1, row - reach, -1):
            weight *= kept
            if entry + 1 < row and lowest[entry + 1] < floor:
                floor = lowest[entry + 1]
            if floor <= lowest[row]:
                break  # and of everything opened earlier too
            if not opened[entry] > 0.0 or not price[entry] - lowest[row] > edges[0]:
                continue
            near, far = max(price[entry] - floor, edges[0]), price[entry] - lowest[row]
            for k in range(bins):
                if edges[k] >= far:
                    break
                if edges[k + 1] > near:
                    inside = math.log(min(edges[k + 1], far) / max(edges[k], near))
                    out[row // hour, k] += weight * opened[entry] * inside / math.log(edges[k + 1] / edges[k])
    return out
