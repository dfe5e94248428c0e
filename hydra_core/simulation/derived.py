"""What every simulated market derives from its candles: running candle, trades, quotes, book and mark.

All of it stands on the seeded walk of :mod:`paths` with declared spread and depth, never on the future beyond the print
in force. None of it trains or scores a model. Where the candles come from is the subclasses' business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import Floats, Ints, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series
from hydra_core.simulation.base import Depth, Trades
from hydra_core.simulation.paths import Walk, walk
from hydra_core.simulation.specs import SPECS, per_unit, rules_of

CACHED_DAYS: Final = 40
"""Walks kept in memory, one per pair and day (about 0.7 MB each)."""
QUOTE_MS: Final = 250
"""Resting sizes change this often."""
LEVEL_BP: Final = 0.6
"""Distance of two book levels, bp of price."""
LEVEL_GROWTH: Final = 0.3
"""Growth of resting size per level, as a share of the best level's."""
WIDEST: Final = 6.0
"""Most a spread widens after a wild candle."""
ORDINARY_RANGE: Final = 1.7
"""Range of an ordinary candle in its standard deviations."""
MARK_PRINTS: Final = 6
"""Prints that the mark averages."""


def prints_per_candle(interval: Interval) -> int:
    """Prints on the walk through one base candle: every 3 s for 1m, fewer a minute for longer ones."""
    return min(60, 20 * interval.ms // Interval.M1.ms)


def _mix(*words: int) -> int:
    """64 bits that are a function of the words (splitmix64)."""
    state = 0
    for word in words:
        state = (state ^ word) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state


@dataclass(frozen=True, eq=False, slots=True)
class _Day:
    """A day's walk, and for each of its candles how wide the spread is, as a multiple of the ordinary one."""

    start_ms: int
    walk: Walk
    widen: Floats


class DerivedMarket(ABC):
    """Base of the markets; implements the derived half of :class:`~hydra_core.simulation.base.Market`."""

    def __init__(self, pairs: tuple[Pair, ...], base_interval: Interval, seed: int) -> None:
        self._pairs = pairs
        self._base = base_interval
        self._seed = seed
        self._prints = prints_per_candle(base_interval)
        self._days: dict[tuple[Pair, int], _Day] = {}
        self._number = {pair: number for number, pair in enumerate(pairs)}
        self._ticks = {pair: per_unit(SPECS[pair].tick) for pair in pairs}
        self._steps = {pair: per_unit(SPECS[pair].step) for pair in pairs}

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair that is traded."""
        return self._pairs

    @property
    def base_interval(self) -> Interval:
        """The finest interval that candles are offered in."""
        return self._base

    @property
    def has_marks(self) -> bool:
        """Whether past marks and indices are told as history."""
        return True

    @abstractmethod
    def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Bars:
        """Every whole candle whose open lies in the span."""

    @abstractmethod
    def _day_candles(self, pair: Pair, day_ms: int) -> Bars:
        """The day's base candles on the full grid: an absent one is flat at the last price and without volume."""

    @abstractmethod
    def _coming_funding(self, pair: Pair, ts_ms: int) -> tuple[float, int]:
        """Predicted rate of the next settlement as known at ``ts_ms``, and its time."""

    @abstractmethod
    def coming_rates(self, pair: Pair, stamps: Ints) -> Floats:
        """The first part of :meth:`_coming_funding` at many times, ascending."""

    @abstractmethod
    def _span(self) -> tuple[int, int]:
        """First millisecond, and the one after the last."""

    def _day(self, pair: Pair, ts_ms: int) -> _Day:
        start_ms = ts_ms - ts_ms % DAY_MS
        key = (pair, start_ms)
        day = self._days.pop(key, None)
        if day is None:
            bars = self._day_candles(pair, start_ms)
            rng = np.random.default_rng(np.random.SeedSequence([self._seed, self._number[pair], start_ms // DAY_MS]))
            made = walk(bars, self._base.ms, self._prints, self._ticks[pair], self._steps[pair], rng)
            deviation = SPECS[pair].volatility * np.sqrt(self._base.ms / (365 * DAY_MS))
            ratio = (bars.high - bars.low) / bars.close / (2 * ORDINARY_RANGE * deviation)
            widen = np.concatenate([[1.0], np.clip(ratio[:-1], 1.0, WIDEST)])
            day = _Day(start_ms, made, widen)
            while len(self._days) >= CACHED_DAYS:
                self._days.pop(next(iter(self._days)))
        self._days[key] = day
        return day

    def _clamp(self, ts_ms: int) -> int:
        first, after = self._span()
        return min(max(ts_ms, first), after - 1)

    def _at(self, pair: Pair, ts_ms: int) -> tuple[_Day, int]:
        """The day and the index of the print in force."""
        day = self._day(pair, self._clamp(ts_ms))
        return day, int(day.walk.at.searchsorted(self._clamp(ts_ms) - day.start_ms, side="right")) - 1

    def price(self, pair: Pair, ts_ms: int) -> float:
        """Last traded price at ``ts_ms``, USDT."""
        day, row = self._at(pair, ts_ms)
        return float(day.walk.price[row])

    def trades(self, pair: Pair, start_ms: int, end_ms: int) -> Trades:
        """Public trades on the walk, in [start, end)."""
        first, after = self._span()
        at, stop = max(start_ms, first), min(end_ms, after)
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        while at < stop:
            day = self._day(pair, at)
            lo, hi = day.walk.at.searchsorted((at - day.start_ms, stop - day.start_ms))
            rows = np.arange(lo, hi)[day.walk.quantity[lo:hi] > 0]
            ids = day.start_ms // self._base.ms * self._prints + rows
            made = day.walk
            parts.append((ids, day.start_ms + made.at[rows], made.price[rows], made.quantity[rows], ~made.buy[rows]))
            at = day.start_ms + DAY_MS
        if not parts:
            none = np.empty(0)
            return Trades(none.astype(np.int64), none.astype(np.int64), none, none, none.astype(bool))
        return Trades(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def path(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Times and prices of the trades in [start, end)."""
        trades = self.trades(pair, start_ms, end_ms)
        return Series(trades.ts, trades.price)

    def running(self, pair: Pair, interval: Interval, ts_ms: int) -> Bars | None:
        """The candle in progress at ``ts_ms`` as known just then (one row), None where nothing has traded in it yet."""
        opened = interval.floor(ts_ms)
        base_open = self._base.floor(ts_ms)
        known = self.candles(pair, self._base, opened, base_open)
        parts = [(known.open, known.high, known.low, known.close, known.volume)] if len(known) else []
        day = self._day(pair, self._clamp(base_open))
        lo, hi = day.walk.at.searchsorted((base_open - day.start_ms, ts_ms + 1 - day.start_ms))
        price, quantity = day.walk.price[lo:hi], day.walk.quantity[lo:hi]
        if quantity.any():
            parts.append((price[:1], price, price, price[-1:], quantity))
        if not parts:
            return None
        columns = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        row = (columns[0][0], columns[1].max(), columns[2].min(), columns[3][-1], columns[4].sum())
        return Bars(np.array([opened], np.int64), *(np.array([value]) for value in row))

    def _touch(self, pair: Pair, ts_ms: int) -> tuple[float, float, float]:
        """Best bid, best ask (on ticks) and how much thinner than usual the book is."""
        day, row = self._at(pair, ts_ms)
        last, ticks = float(day.walk.price[row]), self._ticks[pair]
        widen = float(day.widen[row // self._prints])
        spread = max(1, round(2e-4 * SPECS[pair].half_spread_bp * last * widen * ticks))
        on_tick = round(last * ticks)
        bid, ask = (on_tick - spread, on_tick) if day.walk.buy[row] else (on_tick, on_tick + spread)
        if bid < 1:
            bid, ask = 1, 1 + spread
        return bid / ticks, ask / ticks, widen

    def _size(self, pair: Pair, key: int, level: int, price: float, thin: float) -> float:
        """Resting size in base units: declared, jittered, thinner after a wild candle; ``key`` seeds the jitter of a side."""
        jitter = 0.4 + 1.2 * (key * (2 * level + 1) % (1 << 61)) / (1 << 61)
        size = SPECS[pair].top_notional / price * jitter * (1 + LEVEL_GROWTH * level) / thin
        return max(1.0, round(size * self._steps[pair])) / self._steps[pair]

    def _keys(self, pair: Pair, ts_ms: int) -> tuple[int, int]:
        """Seeds of the sizes on the bid and on the ask side, constant for a quarter of a second."""
        key = _mix(self._seed, self._number[pair], ts_ms // QUOTE_MS)
        return key >> 1, _mix(key) >> 1

    def quote(self, pair: Pair, ts_ms: int) -> Quote:
        """Best bid and ask at ``ts_ms``."""
        bid, ask, thin = self._touch(pair, ts_ms)
        bid_key, ask_key = self._keys(pair, ts_ms)
        return Quote(
            pair=pair,
            bid=bid,
            bid_size=self._size(pair, bid_key, 0, bid, thin),
            ask=ask,
            ask_size=self._size(pair, ask_key, 0, ask, thin),
            event_ms=ts_ms,
            received_wall_ms=ts_ms,
        )

    def depth(self, pair: Pair, ts_ms: int, levels: int = 20) -> Depth:
        """The book at ``ts_ms``; its first level is the quote's."""
        bid, ask, thin = self._touch(pair, ts_ms)
        bid_key, ask_key = self._keys(pair, ts_ms)
        ticks = self._ticks[pair]
        gap = max(1, round(1e-4 * LEVEL_BP * bid * ticks))
        bids = [(round(bid * ticks) - level * gap) / ticks for level in range(levels)]
        asks = [(round(ask * ticks) + level * gap) / ticks for level in range(levels)]
        return Depth(
            pair=pair,
            bids=np.array([(p, self._size(pair, bid_key, i, p, thin)) for i, p in enumerate(bids) if p > 0]),
            asks=np.array([(p, self._size(pair, ask_key, i, p, thin)) for i, p in enumerate(asks)]),
            event_ms=ts_ms,
        )

    def mark(self, pair: Pair, ts_ms: int) -> MarkReading:
        """Mark (mean of the newest prints), index, predicted funding rate and next settlement at ``ts_ms``."""
        day, row = self._at(pair, ts_ms)
        mark = float(day.walk.price[max(0, row - MARK_PRINTS + 1) : row + 1].mean())
        rate, next_ms = self._coming_funding(pair, ts_ms)
        return MarkReading(
            pair=pair,
            mark=mark,
            index=mark / (1 + rate),
            funding_rate=rate,
            next_funding_ms=next_ms,
            event_ms=ts_ms,
            received_wall_ms=ts_ms,
        )

    def rules(self, pair: Pair) -> MarketRules:
        """The exchange's filters for the pair."""
        return rules_of(pair)
