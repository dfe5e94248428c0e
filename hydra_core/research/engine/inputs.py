"""What a backtest reads beside candles and signals: when funding is due, what a day trades, how far a day moves.

Here: arrays over a panel's rows, and :class:`Market` and :class:`Signals`, the flat arrays that the compiled loop walks.
Not here: limits and costs (``parameters``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from hydra_core.decision.assessment import Assessment
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.domain.market import FUNDING, Bools, Floats, Ints, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Series
from hydra_core.research.engine.memory import on_lines
from hydra_core.risk.sizing import permitted_share

MINUTE_MS: Final = 60_000
LONGEST_INTERVAL_MS: Final = 8 * HOUR_MS
"""No contract settles less often; a longer silence is a gap in the record."""


@dataclass(frozen=True, eq=False)
class Settlements:
    """When funding is paid, by row and pair of a panel.

    Parameters
    ----------
    due : bool (T, P), a settlement falls into the bar; it is paid on what is held at its close
    rate : (T, P), fraction of notional; NaN where the rate of one that is due is not known
    """

    due: Bools
    rate: Floats

    @classmethod
    def on_grid(cls, panel: Panel, interval_ms: int) -> Settlements:
        """Settlements at multiples of an interval, at the rates the panel knows; none where it has no funding at all."""
        due = (panel.close_ms % interval_ms == 0)[:, None] & (FUNDING in panel.inputs)
        return cls(np.broadcast_to(due, panel.close.shape), panel.funding_rate)

    @classmethod
    def recorded(cls, panel: Panel, funding: Mapping[Pair, Series]) -> Settlements:
        """Each contract's own settlements (every 1, 4 or 8 hours), from the record of its settled rates.

        Where a pair's record is silent for longer than :data:`LONGEST_INTERVAL_MS`, settlements are due at its
        multiples with an unknown rate.
        """
        due = np.zeros(panel.close.shape, np.bool_)
        rate = np.full(panel.close.shape, np.nan)
        grid = panel.close_ms % LONGEST_INTERVAL_MS == 0
        for column, pair in enumerate(panel.pairs):
            series = funding.get(pair, Series.empty())
            # exchanges stamp a settlement some milliseconds late: the minute is meant
            stamps = (series.ts + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
            rows = -(-(stamps - panel.ts[0]) // panel.interval.ms) - 1
            inside = (rows >= 0) & (rows < len(panel))
            due[rows[inside], column] = True
            rate[rows[inside], column] = series.value[inside]
            newest = np.searchsorted(stamps, panel.close_ms, side="right") - 1
            age = panel.close_ms - np.where(newest >= 0, stamps[newest] if stamps.size else 0, -LONGEST_INTERVAL_MS)
            due[:, column] |= grid & (age >= LONGEST_INTERVAL_MS)
        return cls(due, rate)

    def rows(self, rows: slice) -> Settlements:
        """A contiguous part of the rows."""
        return Settlements(self.due[rows], self.rate[rows])


def day_notional(panel: Panel) -> Floats:
    """USDT traded in the day before each bar's open, shape (T, P); 0 where it is not known."""
    bars = DAY_MS // panel.interval.ms
    traded = np.nan_to_num(panel.volume * panel.close, nan=0.0)
    total = np.concatenate([np.zeros((1, traded.shape[1])), np.cumsum(traded, axis=0)])
    rows = np.arange(len(panel))
    first = np.maximum(rows - bars, 0)
    share = (rows - first) / bars  # a young panel's volume is scaled up to a day's
    return np.asarray((total[rows] - total[first]) / np.maximum(share, 1 / bars)[:, None])


def day_volatility(panel: Panel, signals: Assessment, start: int, end: int) -> Floats:
    """Expected standard deviation of a day's log return at rows [start, end), 0 where it is unknown."""
    bars_a_day = DAY_MS // panel.interval.ms
    out = np.zeros((end - start, len(panel.pairs)))
    assessed = np.searchsorted(signals.bar_close_ms, panel.close_ms[start:end]) - 1
    known = assessed >= 0  # the value of the bar before: an order at the open knows no more
    out[known] = signals.state.volatility[assessed[known]] * math.sqrt(bars_a_day)
    return np.nan_to_num(out, nan=0.0)


OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
RATE: Final = 4
DAY_NOTIONAL: Final = 5
DAY_VOLATILITY: Final = 6
LAST: Final = 7


class Market(NamedTuple):
    """The span that is traded, T rows of P pairs.

    Parameters
    ----------
    numbers : (8, T * P): open, high, low, close, funding rate, day's notional and volatility, last known close
    due, missing : bool (T * P,), whether funding is paid, whether there is no candle ; ``close_ms`` : int64 (T,)
    correlation : (K, P, P) matrices, ``correlation_at`` int64 (T,) which of them is in force
    stress : (3, T), mean correlation, variance ratio, probability of the extreme regime, NaN where unknown
    """

    numbers: Floats
    due: Bools
    missing: Bools
    close_ms: Ints
    correlation: Floats
    correlation_at: Ints
    stress: Floats


EXPECTED_RETURN: Final = 0
CONFIDENCE: Final = 1
ADVERSE_EXCURSION: Final = 2
VOLATILITY: Final = 3
PERMITTED: Final = 4
HAZARD_LONG: Final = 5
HAZARD_SHORT: Final = 6
BIAS: Final = 7
TRAP: Final = 8


class Signals(NamedTuple):
    """What layers 2 and 3 said at each close, NaN where unknown.

    Parameters
    ----------
    numbers : (9, T * P): the forecast's four, share of the largest leverage that the regime permits, hazards of longs and
        shorts, the analyst's bias and trap
    multiplier, maintenance : (P,), the pairs' size multipliers and maintenance rates
    """

    numbers: Floats
    multiplier: Floats
    maintenance: Floats


def last_known(close: Floats) -> Floats:
    """Closes (T, P) with missing ones at the last that was known before them, NaN before the first."""
    rows = np.where(np.isfinite(close), np.arange(close.shape[0])[:, None], 0)
    return np.take_along_axis(close, np.maximum.accumulate(rows, axis=0), axis=0)


def _flat(values: Floats) -> Floats:
    return np.ascontiguousarray(values, np.float64).reshape(-1)


def arrays(
    panel: Panel,
    signals: Assessment,
    multiplier: Floats,
    maintenance: Floats,
    settlements: Settlements,
    start: int,
    end: int,
) -> tuple[Market, Signals]:
    """The engine's arrays over rows [start, end) of a panel; a bar that the signals do not cover has none.

    Parameters
    ----------
    settlements : over all rows of the panel
    multiplier, maintenance : (P,), the pairs' size multipliers and maintenance rates
    """
    if signals.pairs != panel.pairs:
        raise InputMissing(f"signals of {signals.pairs}, panel of {panel.pairs}", "Assess the panel that is traded")
    pairs, span = len(panel.pairs), slice(start, end)
    cells = pairs * (end - start)
    offset = int(signals.bar_close_ms[0] - panel.close_ms[0]) // panel.interval.ms
    first, last = max(start, offset), min(end, offset + len(signals))
    there, from_signals = slice(first - start, last - start), slice(first - offset, last - offset)

    def laid(values: Floats | None) -> Floats:
        """Signals of (n, P) or (n,) on the span's rows."""
        if values is None:
            return np.full((end - start) * pairs, np.nan)
        if first == start and last == end and len(signals) == end - start:
            return _flat(values)
        out = np.full((end - start, *values.shape[1:]), np.nan)
        if last > first:
            out[there] = values[from_signals]
        return out.reshape(-1)

    mean_correlation, variance_ratio, extreme = signals.stress
    at = np.zeros(end - start, np.int64)
    if last > first:
        at[there] = signals.correlation_at[from_signals]
    hazard, words = signals.hazard, signals.forecast
    market = Market(
        np.stack(
            [
                _flat(panel.open[span]),
                _flat(panel.high[span]),
                _flat(panel.low[span]),
                _flat(panel.close[span]),
                _flat(settlements.rate[span]),
                _flat(day_notional(panel)[span]),
                _flat(day_volatility(panel, signals, start, end)),
                _flat(last_known(panel.close[span])),
            ],
            out=on_lines((8, cells)),
        ),
        np.ascontiguousarray(settlements.due[span]).reshape(-1),
        np.isnan(panel.close[span]).reshape(-1),
        np.ascontiguousarray(panel.close_ms[span]),
        np.ascontiguousarray(signals.correlation),
        at,
        np.stack([laid(mean_correlation), laid(variance_ratio), laid(extreme)]),
    )
    said = np.stack(
        [
            laid(words.expected_return),
            laid(words.confidence),
            laid(words.adverse_excursion),
            laid(words.volatility),
            laid(permitted_share(signals.state.regimes)),
            laid(hazard.long if hazard else None),
            laid(hazard.short if hazard else None),
            laid(signals.opinions.bias.astype(np.float64)),
            laid(signals.opinions.trap.astype(np.float64)),
        ],
        out=on_lines((9, cells)),
    )
    return market, Signals(said, *(np.ascontiguousarray(one, np.float64) for one in (multiplier, maintenance)))
