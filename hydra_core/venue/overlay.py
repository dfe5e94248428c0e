"""The market with ordered bends in it: jumps of price, thin books, holes and corrections in candles, other funding times.

Everything that the venue tells is read through it, so that candles, trades, quotes, marks and the engine agree on a
bent market as they do on a straight one. Without orders it hands the market's own answers on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import Floats, Ints, Liquidation, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series
from hydra_core.simulation.base import Depth, Market, Trades

USUAL_FUNDING_H: Final = 8


@dataclass(frozen=True, slots=True)
class Shock:
    """Every price of a pair is ``factor`` times as high from ``from_ms`` on."""

    pair: Pair
    from_ms: int
    factor: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A pair's book: prices ``widen`` (a fraction) further from the middle on each side, sizes times ``thin``."""

    pair: Pair
    widen: float
    thin: float


@dataclass(frozen=True, slots=True)
class Hole:
    """Candles of a pair (of one interval, or of all) that open in [from, to) do not exist."""

    pair: Pair
    interval: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Correction:
    """One candle is told with another close and volume (factors) from now on."""

    pair: Pair
    interval: str
    open_ms: int
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class FundingChange:
    """A pair settles every ``hours`` from ``from_ms`` on, each time up to ``jitter_ms`` late."""

    pair: Pair
    from_ms: int
    hours: int
    jitter_ms: int


class Overlay:
    """A market seen through its bends; the same protocol as :class:`simulation.base.Market`.

    Parameters
    ----------
    market : Market
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self.shocks: list[Shock] = []
        self.shapes: list[Shape] = []
        self.holes: list[Hole] = []
        self.corrections: list[Correction] = []
        self.funding_changes: list[FundingChange] = []

    # -- what no bend touches ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """See the protocol."""
        return self._market.name

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """See the protocol."""
        return self._market.pairs

    @property
    def base_interval(self) -> Interval:
        """See the protocol."""
        return self._market.base_interval

    @property
    def origin_ms(self) -> int:
        """See the protocol."""
        return self._market.origin_ms

    @property
    def start_ms(self) -> int:
        """See the protocol."""
        return self._market.start_ms

    @property
    def end_ms(self) -> int | None:
        """See the protocol."""
        return self._market.end_ms

    @property
    def inputs(self) -> frozenset[str]:
        """See the protocol."""
        return self._market.inputs

    @property
    def has_marks(self) -> bool:
        """See the protocol."""
        return self._market.has_marks

    def coming_rates(self, pair: Pair, stamps: Ints) -> Floats:
        """The market's own, of its usual settlement times: the distance of mark and index, which no other times change."""
        return self._market.coming_rates(pair, stamps)

    def rules(self, pair: Pair) -> MarketRules:
        """The market's own filters; changed ones are the feed's."""
        return self._market.rules(pair)

    def open_interest(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """See the protocol."""
        return self._market.open_interest(pair, start_ms, end_ms)

    def long_short(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """See the protocol."""
        return self._market.long_short(pair, start_ms, end_ms)

    # -- prices ------------------------------------------------------------------------------------------------------

    def factor(self, pair: Pair, ts_ms: int) -> float:
        """What the market's own price at a time is multiplied by."""
        out = 1.0
        for shock in self.shocks:
            if shock.pair == pair and shock.from_ms <= ts_ms:
                out *= shock.factor
        return out

    def _factors(self, pair: Pair, stamps: Ints) -> Floats | None:
        """Factors at many times, None when all are 1."""
        shocks = [shock for shock in self.shocks if shock.pair == pair]
        if not shocks:
            return None
        out: Floats = np.ones(stamps.shape)
        for shock in shocks:
            out[stamps >= shock.from_ms] *= shock.factor
        return out

    def price(self, pair: Pair, ts_ms: int) -> float:
        """Last traded price, USDT."""
        price = self._market.price(pair, ts_ms)
        return price * self.factor(pair, ts_ms) if self.shocks else price

    def path(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Times and prices of the trades."""
        series = self._market.path(pair, start_ms, end_ms)
        factors = self._factors(pair, series.ts)
        return series if factors is None else Series(series.ts, series.value * factors)

    def trades(self, pair: Pair, start_ms: int, end_ms: int) -> Trades:
        """Public trades."""
        trades = self._market.trades(pair, start_ms, end_ms)
        factors = self._factors(pair, trades.ts)
        return trades if factors is None else replace(trades, price=trades.price * factors)

    def liquidations(self, pair: Pair, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Forced orders."""
        forced = self._market.liquidations(pair, start_ms, end_ms)
        if not self.shocks:
            return forced
        return [replace(one, price=one.price * self.factor(pair, one.event_ms)) for one in forced]

    def quote(self, pair: Pair, ts_ms: int) -> Quote:
        """Best bid and ask."""
        quote = self._market.quote(pair, ts_ms)
        if not self.shocks and not self.shapes:
            return quote
        low, high, thin = self._shape(pair, ts_ms)
        return replace(
            quote,
            bid=quote.bid * low,
            ask=quote.ask * high,
            bid_size=quote.bid_size * thin,
            ask_size=quote.ask_size * thin,
        )

    def depth(self, pair: Pair, ts_ms: int, levels: int = 20) -> Depth:
        """The book."""
        depth = self._market.depth(pair, ts_ms, levels)
        if not self.shocks and not self.shapes:
            return depth
        low, high, thin = self._shape(pair, ts_ms)
        return replace(depth, bids=depth.bids * (low, thin), asks=depth.asks * (high, thin))

    def _shape(self, pair: Pair, ts_ms: int) -> tuple[float, float, float]:
        """Factors of bids, of asks and of sizes."""
        low = high = self.factor(pair, ts_ms)
        thin = 1.0
        for shape in self.shapes:
            if shape.pair == pair:
                low, high, thin = low * (1 - shape.widen), high * (1 + shape.widen), thin * shape.thin
        return low, high, thin

    def mark(self, pair: Pair, ts_ms: int) -> MarkReading:
        """Mark and index price, coming settlement."""
        mark = self._market.mark(pair, ts_ms)
        if self.shocks:
            factor = self.factor(pair, ts_ms)
            mark = replace(mark, mark=mark.mark * factor, index=mark.index * factor)
        change = self._funding_change(pair, ts_ms)
        if change is not None:
            step = change.hours * HOUR_MS
            rate = mark.funding_rate * change.hours / USUAL_FUNDING_H
            mark = replace(mark, funding_rate=rate, next_funding_ms=(ts_ms // step + 1) * step)
        return mark

    # -- candles -----------------------------------------------------------------------------------------------------

    def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Bars:
        """Whole candles."""
        bars = self._market.candles(pair, interval, start_ms, end_ms)
        bars = self._shocked(pair, interval, bars, None)
        for correction in self.corrections:
            if correction.pair == pair and correction.interval == interval:
                bars = _corrected(bars, correction)
        for hole in self.holes:
            if hole.pair == pair and hole.interval in {"", interval}:
                outside = (bars.ts < hole.from_ms) | (bars.ts >= hole.to_ms)
                bars = Bars(*(getattr(bars, name)[outside] for name in _COLUMNS))
        return bars

    def running(self, pair: Pair, interval: Interval, ts_ms: int) -> Bars | None:
        """The candle in progress."""
        bars = self._market.running(pair, interval, ts_ms)
        return None if bars is None else self._shocked(pair, interval, bars, ts_ms)

    def _shocked(self, pair: Pair, interval: Interval, bars: Bars, until_ms: int | None) -> Bars:
        """Candles at the shocked prices; one in which a shock falls is made anew from the path through it."""
        factors = self._factors(pair, bars.ts)
        if factors is None:
            return bars
        columns = {name: getattr(bars, name) * factors for name in _PRICES}
        for shock in self.shocks:
            row = int(np.searchsorted(bars.ts, shock.from_ms, side="right")) - 1
            if shock.pair != pair or row < 0 or shock.from_ms >= bars.ts[row] + interval.ms:
                continue
            opened = int(bars.ts[row])
            end = opened + interval.ms if until_ms is None else until_ms + 1
            values = self.path(pair, opened, end).value
            first = columns["open"][row]
            columns["high"][row] = max(first, values.max(initial=first))
            columns["low"][row] = min(first, values.min(initial=first))
            columns["close"][row] = values[-1] if values.size else first
        return Bars(bars.ts, columns["open"], columns["high"], columns["low"], columns["close"], bars.volume)

    # -- funding -----------------------------------------------------------------------------------------------------

    def _funding_change(self, pair: Pair, ts_ms: int) -> FundingChange | None:
        changes = [one for one in self.funding_changes if one.pair == pair and one.from_ms <= ts_ms]
        return max(changes, key=lambda one: one.from_ms, default=None)

    def funding_hours(self, pair: Pair, ts_ms: int) -> int:
        """Hours between two settlements of a pair at a time."""
        change = self._funding_change(pair, ts_ms)
        return USUAL_FUNDING_H if change is None else change.hours

    def funding(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Settled funding rates."""
        changes = sorted((one for one in self.funding_changes if one.pair == pair), key=lambda one: one.from_ms)
        if not changes:
            return self._market.funding(pair, start_ms, end_ms)
        before = self._market.funding(pair, start_ms, min(end_ms, max(start_ms, changes[0].from_ms)))
        stamps, rates = before.ts.tolist(), before.value.tolist()
        for place, change in enumerate(changes):
            step = change.hours * HOUR_MS
            last = changes[place + 1].from_ms if place + 1 < len(changes) else end_ms
            first = max(change.from_ms, start_ms - change.jitter_ms)
            for ts in range(-(-first // step) * step, min(last, end_ms), step):
                told = ts + _jitter(pair, ts, change.jitter_ms)
                if start_ms <= told < end_ms:
                    stamps.append(told)
                    rates.append(self.mark(pair, ts - 1).funding_rate)
        return Series(np.array(stamps, dtype=np.int64), np.array(rates, dtype=np.float64))


_PRICES = ("open", "high", "low", "close")
_COLUMNS = ("ts", *_PRICES, "volume")


def _corrected(bars: Bars, correction: Correction) -> Bars:
    row = int(np.searchsorted(bars.ts, correction.open_ms))
    if row >= len(bars) or bars.ts[row] != correction.open_ms:
        return bars
    columns = {name: getattr(bars, name).copy() for name in _COLUMNS}
    close = columns["close"][row] * correction.close
    columns["close"][row] = close
    columns["high"][row] = max(columns["high"][row], close)
    columns["low"][row] = min(columns["low"][row], close)
    columns["volume"][row] *= correction.volume
    return Bars(*(columns[name] for name in _COLUMNS))


def _jitter(pair: Pair, ts_ms: int, most_ms: int) -> int:
    """A delay below ``most_ms`` that depends on pair and time alone."""
    return int.from_bytes(hashlib.sha256(f"{pair}{ts_ms}".encode()).digest()[:4], "big") % most_ms if most_ms else 0
