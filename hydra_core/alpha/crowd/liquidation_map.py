"""Where leveraged positions would be forced out: a map estimated from open interest, the long/short ratio and prices.

Nobody publishes liquidation prices. What is published says how much was opened when: the growth of a side's stock, with
what was closed at a usual rate and what was forced out added back, was opened at about that bar's close. A usual mix of
leverages spreads it over liquidation prices, and a price that has been traded since is a price where nobody waits any more.

Here: that estimate, as the share of open interest that waits within so many standard deviations. Not here: the columns that
the crowd model makes of it (``columns``), true liquidation prices (``research.truth.agents``).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View

HOUR: Final = 12
MAP_BARS: Final = 1440
"""Bars (5m) that the map looks back: five days."""
HALF_LIFE: Final = 576.0
"""Bars after which half of a stock has been closed by its owners: two days, a usual holding time."""
LEVERAGES: Final = np.geomspace(2.0, 125.0, 16)
_OFF: Final = np.log(LEVERAGES / 15.0) / 0.9
SHARES: Final = np.exp(-0.5 * _OFF**2) / np.exp(-0.5 * _OFF**2).sum()
"""A usual mix of leverages by notional, log-normal about 15: no exchange publishes it, so it is an assumption, the same for
every market. It is smooth, for a coarse one would put cliffs where there are none."""
MAINTENANCE: Final = 0.004
"""Maintenance margin as a fraction of notional at the smallest tier."""
FORCED_SHARE: Final = 0.03
"""Share of open interest that makes a forced exit of a side; as in ``alpha.labels``."""
STEP: Final = 0.25
STEPS: Final = 32
"""The map reaches so many steps, each a quarter of an hour's standard deviation."""
REACH: Final = STEP * STEPS


def usual_distances() -> Floats:
    """Log distance from entry to liquidation at each of :data:`LEVERAGES`, shape (K,)."""
    return -np.log1p(-np.maximum(1.0 / LEVERAGES - MAINTENANCE, 0.002))


def waiting(view: View) -> Floats:
    """Share of open interest that is estimated to wait within each step below (longs) and above (shorts) the close.

    Returns
    -------
    float64 array (2, T, P, STEPS), longs first; each step holds what lies between its borders. NaN where the open interest,
    the ratio or the volatility of the row is not known
    """
    return np.stack([_side(view, long=True), _side(view, long=False)])


def trigger_distance(shares: Floats) -> Floats:
    """Distance at which :data:`FORCED_SHARE` of open interest has been reached, in hourly standard deviations.

    Parameters
    ----------
    shares : (..., STEPS), of :func:`waiting`

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
    found = STEP * (first[..., 0] + np.clip(inside, 0.0, 1.0))
    return np.where(np.isnan(total[..., -1]), np.nan, np.where(reached.any(axis=-1), found, REACH))


def _side(view: View, *, long: bool) -> Floats:
    panel = view.panel
    ratio = np.exp(rolling_mean(view.log_long_short, HOUR))
    part = ratio / (1.0 + ratio) if long else 1.0 / (1.0 + ratio)
    stock = panel.open_interest * part
    # Open interest is published a bar late: what was forced out in a bar is missing from the next row's reading.
    seen = panel.liquidated_long if long else panel.liquidated_short
    forced = np.nan_to_num(seen) / panel.close
    opened = np.full(stock.shape, np.nan)
    kept = 0.5 ** (1.0 / HALF_LIFE)
    opened[1:] = stock[1:] - kept * stock[:-1] + forced[:-1]
    opened = np.nan_to_num(np.maximum(opened, 0.0))
    out = np.empty((*stock.shape, STEPS))
    sign = 1.0 if long else -1.0
    against = np.log(panel.low) if long else -np.log(panel.high)
    for pair in range(stock.shape[1]):
        out[:, pair] = _map(
            opened[:, pair],
            sign * view.log_close[:, pair],
            against[:, pair],
            view.sigma[:, pair] * math.sqrt(HOUR),
            panel.open_interest[:, pair] + 0.0 * seen[:, pair],  # no map while nobody listens to liquidations
            usual_distances(),
            SHARES,
        )
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _map(
    opened: Floats,
    price: Floats,
    lowest: Floats,
    scale: Floats,
    interest: Floats,
    distances: Floats,
    mix: Floats,
) -> Floats:
    """The map of one pair and side; shorts see the price upside down.

    Parameters
    ----------
    opened : (T,), base units opened in each bar
    price, lowest : (T,), log close and log low
    scale : (T,), standard deviation of an hour
    interest : (T,), base units
    distances, mix : (K,), of the leverages, nearest last
    """
    rows = opened.size
    out = np.full((rows, STEPS), np.nan)
    kept = 0.5 ** (1.0 / HALF_LIFE)
    for row in range(MAP_BARS - 1, rows):
        known = price[row] + scale[row] + interest[row]
        if not np.isfinite(known) or interest[row] <= 0.0 or scale[row] <= 0.0:
            continue
        out[row] = 0.0
        floor = price[row]  # lowest price since the entry that is looked at
        weight = 1.0
        furthest = price[row] - REACH * scale[row]
        for entry in range(row, row - MAP_BARS, -1):
            if opened[entry] > 0.0 and np.isfinite(price[entry]):
                for k in range(distances.size - 1, -1, -1):
                    level = price[entry] - distances[k]
                    if level < furthest:
                        break  # smaller leverages lie further still
                    if level < floor:
                        step = int((price[row] - level) / (STEP * scale[row]))
                        if step < STEPS:
                            out[row, step] += weight * mix[k] * opened[entry] / interest[row]
            if lowest[entry] < floor:  # a NaN is below nothing
                floor = lowest[entry]
            weight *= kept
    return out
