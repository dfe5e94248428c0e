"""Candles of mark price, index price and premium index, made from the same readings that ``premiumIndex`` answers with.

The mark is the mean of the newest prints and the index lies the predicted funding rate below it, as the market declares. The
walk through a day is made once for all three, and days that are over are kept; a page is cut to a few days all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
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
KEPT_DAYS: Final = 256
"""Days kept, one a pair and interval (5m: 35 kB each, 1m: 170 kB)."""


class Which(Enum):
    """Of what the candles are."""

    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"


Day = Mapping[Which, Bars]


class MarkCandles:
    """Candles of what an exchange computes beside its trades.

    Parameters
    ----------
    market : Overlay
    """

    def __init__(self, market: Overlay) -> None:
        self._market = market
        self._days: dict[tuple[object, ...], Day] = {}

    def candles(self, pair: Pair, interval: Interval, which: Which, start_ms: int, end_ms: int, until_ms: int) -> Bars:
        """Candles that open in [start, end), at most :data:`DAYS_A_PAGE` days of them; volume is 0.

        Parameters
        ----------
        until_ms : int
            Epoch ms before which the market may be read: a candle that reaches beyond it is in progress.
        """
        first = interval.floor(max(start_ms + interval.ms - 1, self._market.origin_ms))
        stop = min(end_ms, until_ms, first + max(DAYS_A_PAGE * DAY_MS, interval.ms))
        days = range(first - first % DAY_MS, stop, DAY_MS)
        parts = [self._day(pair, interval, day, until_ms)[which] for day in days]
        if not parts:
            return Bars.empty()
        columns = [np.concatenate([getattr(bars, name) for bars in parts]) for name in _COLUMNS]
        inside = (columns[0] >= first) & (columns[0] < stop)
        return Bars(*(column[inside] for column in columns))

    def _day(self, pair: Pair, interval: Interval, day_ms: int, until_ms: int) -> Day:
        """A day's candles of all three, up to a time; kept once the day is over."""
        if day_ms + DAY_MS > until_ms:
            return self._make(pair, interval, day_ms, until_ms)
        key = (pair, interval, day_ms, tuple(one for one in self._market.shocks if one.pair == pair))
        day = self._days.pop(key, None)
        if day is None:
            day = self._make(pair, interval, day_ms, day_ms + DAY_MS)
            while len(self._days) >= KEPT_DAYS:
                self._days.pop(next(iter(self._days)))
        self._days[key] = day
        return day

    def _make(self, pair: Pair, interval: Interval, day_ms: int, stop_ms: int) -> Day:
        path = self._market.path(pair, day_ms, stop_ms)
        total = np.concatenate([[0.0], np.cumsum(path.value)])
        upto = np.arange(1, len(path) + 1)
        since = np.maximum(upto - MARK_PRINTS, 0)
        marks = (total[upto] - total[since]) / (upto - since)
        rates = self._market.coming_rates(pair, path.ts)
        values = {Which.MARK: marks, Which.INDEX: marks / (1 + rates), Which.PREMIUM: rates}
        return {which: _bars(path.ts, series, interval) for which, series in values.items()}


_COLUMNS: Final = ("ts", "open", "high", "low", "close", "volume")


def _bars(stamps: Ints, values: Floats, interval: Interval) -> Bars:
    """Candles of a stamped series; an interval without a stamp has none."""
    if not stamps.size:
        return Bars.empty()
    opens = stamps - stamps % interval.ms
    first = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    last = np.append(first[1:], stamps.size) - 1
    return Bars(
        opens[first],
        values[first],
        np.maximum.reduceat(values, first),
        np.minimum.reduceat(values, first),
        values[last],
        np.zeros(first.shape),
    )
