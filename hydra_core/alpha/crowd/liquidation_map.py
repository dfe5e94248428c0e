"""Where leveraged positions would be forced out: a map estimated from open interest, the long/short ratio and prices.

Nobody publishes liquidation prices. What is published says how much was opened when: the growth of a side's stock, with
what was closed at a usual rate and what was forced out added back, was opened at about that bar's close. Where open interest
does not move but for what was forced out, nobody opened or closed anything. A usual mix of leverages spreads what was opened
over liquidation prices, and a price that has been traded since is a price where nobody waits any more.
Who is forced out pushes the price on, so the last of a side is reached before its own price would be.

Where what is taken for granted is true, the distribution of what waits over the distance from the price is within .05 of the
true one in every row that has the whole look-back (Kolmogorov-Smirnov; tests hold it against large books of known positions).
What is left of that distance are positions older than the look-back, up to a tenth of what waits after a long fall or rise.

Here: that estimate, as the share of open interest that waits within so many standard deviations. Not here: what it takes for
granted (``habits``), the columns that the crowd model makes of it (``columns``), true liquidation prices
(``research.truth.agents``).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from hydra_core.alpha.crowd.habits import USUAL, Habits, Side, lag, opening, openings
from hydra_core.domain.market import Bools, Floats, Ints
from hydra_core.statistics.rolling import change, rolling_mean
from hydra_core.statistics.view import View

HOUR: Final = 12
MAP_BARS: Final = 2002
"""Bars (5m) that the map looks back: a week, less the hour that readings are smoothed over, as far as other columns look. Of a
stock that halves in two days 9 % is older. After five days it would be 18 %, too much where the price has run away from most
that was opened since."""
MOVED: Final = 1e-6
"""Relative change of open interest, forced exits apart, from which on somebody opened or closed."""
FORCED_SHARE: Final = 0.03
"""Share of open interest that makes a forced exit of a side; as in ``alpha.labels``."""
STEP: Final = 0.25
STEPS: Final = 32
"""The map reaches so many steps, each a quarter of an hour's standard deviation."""
REACH: Final = STEP * STEPS


def waiting(view: View, habits: Habits = USUAL, first: int = MAP_BARS) -> Floats:
    """Share of open interest that is estimated to wait within each step below (longs) and above (shorts) the close.

    Parameters
    ----------
    first : row from which on the map is wanted; rows before :data:`MAP_BARS` have none

    Returns
    -------
    float64 array (2, T, P, STEPS), longs first; each step holds what lies between its borders. NaN where the open interest,
    the ratio or the volatility of the row is not known, and before ``first``
    """
    scale = view.sigma * math.sqrt(HOUR)
    distances, shares = np.array(habits.distances), np.array(habits.shares)
    out = np.empty((2, *scale.shape, STEPS))
    for which, pairs in enumerate(published(view)):
        for pair, side in enumerate(pairs):
            out[which, :, pair] = _map(
                side.held, side.forced, side.moved, side.price, side.lowest, scale[:, pair], side.interest, distances, shares,
                habits.kept, max(first, MAP_BARS),
            )  # fmt: skip
    return out


def published(view: View, rows: slice = slice(None)) -> tuple[list[Side], list[Side]]:
    """What the panel's rows tell of the longs, and of the shorts, of each pair."""
    panel = view.panel
    forced = [np.nan_to_num(seen / panel.close) for seen in (panel.liquidated_long, panel.liquidated_short)]
    # Open interest is published a bar late: the stock at a close stands in the row after it.
    stock = np.full(panel.open_interest.shape, np.nan)
    stock[:-1] = panel.open_interest[1:]
    moved = np.abs(change(stock, 1) + forced[0] + forced[1]) > MOVED * stock
    longs = 1.0 / (1.0 + np.exp(-view.log_long_short))
    out = []
    sides = ((longs, forced[0], panel.liquidated_long, 1.0), (1.0 - longs, forced[1], panel.liquidated_short, -1.0))
    for part, gone, seen, sign in sides:
        held = rolling_mean(part * stock, HOUR) - _lost_since(gone)
        lowest = np.log(panel.low) if sign > 0.0 else -np.log(panel.high)
        interest = panel.open_interest + 0.0 * seen
        each = (held, gone, moved, sign * view.log_close, lowest, interest)
        pairs = range(len(panel.pairs))
        out.append([Side(*(np.ascontiguousarray(values[rows, pair]) for values in each)) for pair in pairs])
    return out[0], out[1]


def _lost_since(gone: Floats) -> Floats:
    """What an hour's mean stock has lost to forced exits by the hour's end."""
    out = np.zeros(gone.shape)
    for back in range(HOUR - 1):
        out[back:] += gone[: max(gone.shape[0] - back, 0)] * ((HOUR - 1 - back) / HOUR)
    return out


def trigger_distance(shares: Floats, pressure: Floats | float = 0.0) -> Floats:
    """Distance at which :data:`FORCED_SHARE` of open interest has been forced out, in hourly standard deviations.

    Parameters
    ----------
    shares : (..., STEPS), of :func:`waiting`
    pressure : (...), price change by all of open interest forced out, in the same unit

    Returns
    -------
    array (...), between 0 and :data:`REACH`, which also stands for never; NaN where unknown
    """
    total = np.cumsum(shares, axis=-1)
    reached = total >= FORCED_SHARE
    first = np.argmax(reached, axis=-1)[..., None]
    after = np.take_along_axis(total, first, axis=-1)[..., 0]
    own = np.take_along_axis(shares, first, axis=-1)[..., 0]
    inside = 1.0 - (after - FORCED_SHARE) / np.maximum(own, 1e-12)
    found = STEP * (first[..., 0] + np.clip(inside, 0.0, 1.0)) - pressure * FORCED_SHARE
    # Undisturbed, the price has to come to where every step before is reached, less what those before it have pushed.
    ends = STEP * np.arange(1, STEPS + 1) - np.asarray(pressure)[..., None] * total
    passed = np.take_along_axis(np.maximum.accumulate(ends, axis=-1), np.maximum(first - 1, 0), axis=-1)[..., 0]
    found = np.maximum(np.where(first[..., 0] > 0, np.maximum(found, passed), found), 0.0)
    return np.where(np.isnan(total[..., -1]), np.nan, np.where(reached.any(axis=-1), found, REACH))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _map(
    held: Floats,
    forced: Floats,
    moved: Bools,
    price: Floats,
    lowest: Floats,
    scale: Floats,
    interest: Floats,
    distances: Floats,
    mix: Floats,
    kept: float,
    first: int,
) -> Floats:
    """The map of one pair and side; shorts see the price upside down.

    Parameters
    ----------
    held, forced, moved, price, lowest : (T,), of :class:`~hydra_core.alpha.crowd.habits.Side`
    scale : (T,), standard deviation of an hour
    interest : (T,), base units
    distances, mix : (K,), from entry to liquidation, nearest last
    kept : share of a stock that is left a bar later
    first : row from which on
    """
    rows = held.size
    out = np.full((rows, STEPS), np.nan)
    units, place = openings(held, forced, moved, kept)
    opened = np.empty(MAP_BARS)
    for row in range(first, rows):
        known = price[row] + scale[row] + interest[row]
        if not np.isfinite(known) or interest[row] <= 0.0 or scale[row] <= 0.0:
            continue
        out[row] = 0.0
        _opened(opened, row, units, place, held, forced, moved, kept)
        floor = price[row]  # lowest price since the entry that is looked at
        furthest = price[row] - REACH * scale[row]
        weight = 1.0 / interest[row]
        for back in range(MAP_BARS):
            entry = row - back
            if back > 0:
                weight *= kept
                if lowest[entry + 1] < floor:  # a NaN is below nothing
                    floor = lowest[entry + 1]
            if not (opened[back] > 0.0 and np.isfinite(price[entry])):
                continue
            for k in range(distances.size - 1, -1, -1):
                level = price[entry] - distances[k]
                if level < furthest:
                    break  # those further from entry lie further still
                if level < floor:
                    step = int((price[row] - level) / (STEP * scale[row]))
                    if step < STEPS:
                        out[row, step] += weight * opened[back] * mix[k]
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _opened(
    out: Floats, row: int, units: Floats, place: Ints, held: Floats, forced: Floats, moved: Bools, kept: float
) -> None:
    """Base units opened in the row and in each of the bars before it, newest first, as is known at the row; fills ``out``.

    Parameters
    ----------
    units, place : (T,), of :func:`~hydra_core.alpha.crowd.habits.openings`; of those since which nobody has acted at the row
        they know more than the row does
    """
    out[:] = 0.0
    oldest = row - MAP_BARS + 1
    newest, lost = row - 1, 0.0
    while newest >= oldest and not moved[newest]:
        lost += forced[newest]
        newest -= 1
    for entry in range(oldest, newest):
        if place[entry] >= oldest:
            out[row - place[entry]] += units[entry]
    if newest < oldest:
        return
    found = opening(held, forced, newest, row - 1, lost, kept)
    if not found > 0.0:  # a NaN is not
        return
    since = newest - lag(row - newest)
    if since >= oldest:
        out[row - since] += found
    # The hour that it is the middle of has gone on: whoever acted after it opened as much again.
    for entry in range(max(since + 1, oldest), row + 1):
        if since < newest and moved[min(entry, row - 1)]:
            out[row - entry] += found
