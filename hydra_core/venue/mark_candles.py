"""Candles of mark price, index price and premium index, made from the same readings that ``premiumIndex`` answers with.

The mark is the mean of the newest prints and the index lies the predicted funding rate below it, as the market declares;
only pages of these candles are cut to a few days, because the walk through each of them has to be made first.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np

from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import Floats, Ints
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars
from hydra_core.venue.overlay import Overlay

MARK_PRINTS: Final = 6
"""Prints that the mark averages."""
DAYS_A_PAGE: Final = 8


class Which(Enum):
    """Of what the candles are."""

    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"


def mark_candles(market: Overlay, pair: Pair, interval: Interval, which: Which, start_ms: int, end_ms: int) -> Bars:
    """Candles that open in [start, end), at most :data:`DAYS_A_PAGE` days of them; volume is 0.

    Parameters
    ----------
    end_ms : int
        Epoch ms up to which the market may be read: a candle that reaches beyond it is in progress.
    """
    first = interval.floor(max(start_ms + interval.ms - 1, market.origin_ms))
    stop = min(end_ms, first + max(DAYS_A_PAGE * DAY_MS, interval.ms))
    stamps, marks = _marks(market, pair, first, stop)
    if not stamps.size:
        return Bars.empty()
    opens = stamps - stamps % interval.ms
    edges = np.flatnonzero(np.concatenate([[True], opens[1:] != opens[:-1]]))
    last = np.concatenate([edges[1:], [stamps.size]]) - 1
    ts = opens[edges]
    prices = [marks[edges], np.maximum.reduceat(marks, edges), np.minimum.reduceat(marks, edges), marks[last]]
    if which is not Which.MARK:
        begun = np.array([market.mark(pair, int(at)).funding_rate for at in stamps[edges]])
        ended = np.array([market.mark(pair, int(at)).funding_rate for at in stamps[last]])
        rates = [begun, np.maximum(begun, ended), np.minimum(begun, ended), ended]
        if which is Which.PREMIUM:
            prices = rates
        else:
            opened, high, low, closed = prices
            prices = [opened / (1 + begun), high / (1 + rates[2]), low / (1 + rates[1]), closed / (1 + ended)]
    return Bars(ts, prices[0], prices[1], prices[2], prices[3], np.zeros(ts.shape))


def _marks(market: Overlay, pair: Pair, first: int, stop: int) -> tuple[Ints, Floats]:
    """Time and mark price of every print in [first, stop)."""
    stamps, marks = [], []
    day = first - first % DAY_MS
    while day < stop:
        path = market.path(pair, day, min(day + DAY_MS, stop))
        total = np.concatenate([[0.0], np.cumsum(path.value)])
        upto = np.arange(1, len(path) + 1)
        since = np.maximum(upto - MARK_PRINTS, 0)
        inside = path.ts >= first
        stamps.append(path.ts[inside])
        marks.append(((total[upto] - total[since]) / (upto - since))[inside])
        day += DAY_MS
    return np.concatenate(stamps), np.concatenate(marks)
