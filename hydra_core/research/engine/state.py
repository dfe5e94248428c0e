"""What the compiled loop remembers of each parameter set, works in, and writes down: named tuples of few, packed arrays.

Not here: what is done with them (``loop``), what they become (``results``).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from hydra_core.domain.market import Floats, Ints
from hydra_core.research.engine.memory import on_lines
from hydra_core.research.engine.money import FEE_DAYS

QUANTITY: Final = 0
ENTRY: Final = 1
STOP: Final = 2
LEVERAGE: Final = 3
EARNED: Final = 4
FORCED: Final = 5
FLOOR: Final = 6
CEILING: Final = 7
SIGN: Final = 8
SIDE: Final = 9
LARGEST: Final = 10
BOUGHT: Final = 11
BOUGHT_VALUE: Final = 12
SOLD: Final = 13
SOLD_VALUE: Final = 14
PROFIT: Final = 15
FEES: Final = 16
FUNDING: Final = 17
NUMBERS: Final = 18
"""Numbers of one pair: as in ``fills.Account``; the price liquidation is forced at; a bar whose low and high lie between floor
and ceiling touches neither stop nor liquidation; +1 held long, -1 short, 0 flat; from :data:`SIDE` on the running sums of the
open round trip."""

OPENED_MS: Final = 0
TRIP_ROW: Final = 1
BARRED: Final = 2
STAMPS: Final = 3

WANTED: Final = 0
WANTED_STOP: Final = 1
WANTED_LEVERAGE: Final = 2

CASH: Final = 0
PEAK: Final = 1
DAY_START: Final = 2
DAY_LATCHED: Final = 3
DRAWDOWN_LATCHED: Final = 4
STRESS: Final = 5
FEE: Final = 6
TRADED_TODAY: Final = 7
HIGHEST: Final = 8
LOWEST: Final = 9
PAID: Final = 10
FUNDED: Final = 11
TRADED: Final = 12
SCALARS: Final = TRADED + FEE_DAYS
"""Numbers of one set: cash, peak since the last release, equity at the day's start, the two latches, stress bits of the last
bar, fee, USDT traded today, highest equity so far, lowest share of it since, fees paid and funding received so far, and a
ring of USDT traded by UTC day."""

LIQUIDATIONS: Final = 0
TRADES: Final = 1
INCOMPLETE: Final = 2
TRIPS: Final = 3
COUNTS: Final = 9
"""Counts of one set: liquidations, round trips ended, settlements without a rate, and from :data:`TRIPS` on the trips of day
loss, drawdown, position loss, unreadable input, correlation spike, extreme regime."""

LIMITS: Final = 5
"""Numbers of one pair within which nothing happens to it; ``quiet`` names them."""

TRADE_COLUMNS: Final = (
    "pair", "entered_row", "left_row", "side", "quantity", "bought", "bought_value", "sold", "sold_value", "profit",
    "fees", "funding", "why",
)  # fmt: skip
FILL_COLUMNS: Final = ("row", "pair", "change", "price", "fee")
LINES: Final = ("equity", "cash", "realised", "fees", "funding")
TABLES: Final = ("quantity", "worth", "target")


class Books(NamedTuple):
    """Positions and what is on its way, of all sets; in the loop of one, without the first axis.

    Parameters
    ----------
    numbers : (K, NUMBERS, P)
    stamps : int64 (K, STAMPS, P), when opened (epoch ms), row of the round trip or -1, whether barred
    coming : (K, 3, S * P), decisions on their way in a ring of S slots: target, stop, leverage
    reason : int64 (K, S * P), of those decisions
    scalars : (K, SCALARS) ; ``counts`` : int64 (K, COUNTS)
    """

    numbers: Any
    stamps: Any
    coming: Any
    reason: Any
    scalars: Any
    counts: Any

    @classmethod
    def opened(cls, sets: int, pairs: int, slots: int, cash: float, fee: Floats) -> Books:
        """The books of accounts that hold cash alone; ``fee`` (K,) is the fee each begins with."""
        scalars = np.zeros((sets, SCALARS))
        scalars[:, (CASH, PEAK, DAY_START, HIGHEST)] = cash
        scalars[:, FEE], scalars[:, LOWEST] = fee, 1.0
        numbers = on_lines((sets, NUMBERS, pairs), 0.0)
        numbers[:, STOP] = np.nan
        numbers[:, FLOOR], numbers[:, CEILING] = -np.inf, np.inf
        numbers[:, LEVERAGE] = 1.0
        stamps = np.zeros((sets, STAMPS, pairs), np.int64)
        stamps[:, TRIP_ROW] = -1
        coming = on_lines((sets, 3, slots * pairs), 0.0)
        coming[:, WANTED_STOP], coming[:, WANTED_LEVERAGE] = np.nan, 1.0
        reason = np.zeros((sets, slots * pairs), np.int64)
        return cls(numbers, stamps, coming, reason, scalars, np.zeros((sets, COUNTS), np.int64))


class Work(NamedTuple):
    """Room for one instant of one set, and for the sizes of one block of bars.

    Parameters
    ----------
    floats : (8, P); ``whole`` : int64 (6, P); ``cast`` : int64 (4 P,); ``sizes`` : (8, block * P)
    shared : (2, block * P), of ``quiet.shared_columns``; ``cube`` : the same by bar, (2, block, P)
    turns : int64 (block,), of ``quiet.turning``; ``bits`` : int64 (block,), of ``quiet.stressed``
    bounds : (LIMITS, P); ``worth`` : (P,)
    """

    floats: Floats
    whole: Ints
    cast: Ints
    sizes: Floats
    shared: Floats
    cube: Floats
    turns: Ints
    bits: Ints
    bounds: Floats
    worth: Floats

    @classmethod
    def room(cls, pairs: int, block: int) -> Work:
        """Room for blocks of so many bars."""
        shared = on_lines((2, block * pairs), 0.0)
        return cls(
            on_lines((8, pairs), np.nan),
            np.zeros((8, pairs), np.int64),
            np.zeros(4 * pairs, np.int64),
            on_lines((8, pairs * block)),
            shared,
            shared.reshape(2, block, pairs),
            np.zeros(block, np.int64),
            np.zeros(block, np.int64),
            on_lines((LIMITS, pairs), 0.0),
            on_lines((pairs,), 0.0),
        )


class Log(NamedTuple):
    """What is written down.

    Parameters
    ----------
    daily : (K, D), equity at the close of each UTC day's last bar
    outcomes, votes : int64, of the first set in detail: by code; by seat and choice + 1
    lines : (5, T), :data:`LINES` of the first set; ``tables`` : (3, T * P), :data:`TABLES`; empty where not asked for
    trades : (n, columns), ``fills`` : (m, columns) of the first set; ``written`` : int64 (2,), how many there were
    """

    daily: Floats
    outcomes: Ints
    votes: Ints
    lines: Floats
    tables: Floats
    trades: Floats
    fills: Floats
    written: Ints

    @classmethod
    def blank(cls, sets: int, days: int, outcomes: int, rows: int, pairs: int, records: int) -> Log:
        """A log of so many days; of so many rows and records in detail, none where ``records`` is 0."""
        kept = rows if records else 0
        return cls(
            np.zeros((sets, days)),
            np.zeros(outcomes, np.int64),
            np.zeros(12, np.int64),
            np.empty((len(LINES), kept)),
            np.empty((len(TABLES), kept * pairs)),
            np.empty((records, len(TRADE_COLUMNS))),
            np.empty((2 * records, len(FILL_COLUMNS))),
            np.zeros(2, np.int64),
        )
