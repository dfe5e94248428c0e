"""Public REST endpoints: the market up to the venue's now, and never a row beyond it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST, Floats, Ints
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series
from hydra_core.simulation.base import Trades
from hydra_core.venue import formats, refusals
from hydra_core.venue.admission import required, whole
from hydra_core.venue.clock import VenueClock
from hydra_core.venue.feed import Feed, PairFormat
from hydra_core.venue.limits import Limits
from hydra_core.venue.mark_candles import DAYS_A_PAGE, MarkCandles, Which
from hydra_core.venue.overlay import USUAL_FUNDING_H
from hydra_core.venue.paging import listed_pair
from hydra_core.venue.publisher import Publisher
from hydra_core.venue.routes import Answer, Params, Route

PUBLISHED_AFTER_MS: Final = 15_000
"""Market time from the stamp of an open interest or ratio reading to its publication."""
MAX_KLINES: Final = 1_500
MAX_BACK_MS: Final = 4_000 * DAY_MS
"""How far before a market's origin its coarser candles are looked for."""
_PERIODS: Final = {
    "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "12h": 720, "1d": 1440,
}  # fmt: skip


class PublicApi:
    """Answers from the market.

    Parameters
    ----------
    clock : VenueClock
    feed : Feed
    limits : Limits
        Named in ``exchangeInfo``.
    publisher : Publisher
        Owner of the book's update ids.
    """

    def __init__(self, clock: VenueClock, feed: Feed, limits: Limits, publisher: Publisher) -> None:
        self._clock = clock
        self._feed = feed
        self._market = feed.market
        self._limits = limits
        self._publisher = publisher
        self._marks = MarkCandles(feed.market)

    def routes(self) -> dict[tuple[str, str], Route]:
        """Every public endpoint by method and path."""
        get = {
            "/fapi/v1/ping": Route(lambda _: {}),
            "/fapi/v1/time": Route(lambda _: {"serverTime": self._clock.server_ms()}),
            "/fapi/v1/exchangeInfo": Route(self.exchange_info),
            "/fapi/v1/klines": Route(self.klines, _kline_weight),
            "/fapi/v1/markPriceKlines": Route(partial(self.mark_klines, Which.MARK), _kline_weight),
            "/fapi/v1/indexPriceKlines": Route(partial(self.mark_klines, Which.INDEX), _kline_weight),
            "/fapi/v1/premiumIndexKlines": Route(partial(self.mark_klines, Which.PREMIUM), _kline_weight),
            "/fapi/v1/premiumIndex": Route(self.premium_index),
            "/fapi/v1/fundingRate": Route(self.funding_rate),
            "/fapi/v1/fundingInfo": Route(self.funding_info),
            "/fapi/v1/openInterest": Route(self.open_interest),
            "/futures/data/openInterestHist": Route(self.open_interest_history),
            "/futures/data/globalLongShortAccountRatio": Route(self.long_short_history),
            "/fapi/v1/depth": Route(self.depth, _depth_weight),
            "/fapi/v1/aggTrades": Route(self.agg_trades, 20),
            "/fapi/v1/ticker/price": Route(self.ticker_price),
            "/fapi/v1/ticker/bookTicker": Route(self.ticker_book, 2),
            "/fapi/v1/ticker/24hr": Route(self.ticker_day, lambda params: 1 if params.get("symbol") else 40),
        }
        return {("GET", path): route for path, route in get.items()}

    def pair(self, params: Params) -> Pair:
        """The listed pair that ``symbol`` names; refuses with -1102 or -1121."""
        return listed_pair(self._feed, params)

    def _pairs(self, params: Params) -> tuple[Pair, ...]:
        return (self.pair(params),) if params.get("symbol") else self._feed.pairs

    def _one_or_all(self, params: Params, rows: list[Any]) -> Answer:
        return rows if not params.get("symbol") else rows[0]

    def exchange_info(self, params: Params) -> Answer:
        """Pairs and their filters."""
        origin = self._market.origin_ms
        symbols = [
            formats.symbol_row(self._feed.rules[pair], self._feed.formats[pair], self._feed.listings[pair], origin)
            for pair in self._feed.pairs
        ]
        return formats.exchange_info(symbols, self._clock.market_ms(), self._limits.announced())

    def klines(self, params: Params) -> bytes:
        """Candles, the last one in progress when the span reaches now."""
        pair = self.pair(params)
        interval = self._interval(required(params, "interval"))
        limit = _limit(params, 500, MAX_KLINES)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        now = self._clock.market_ms()
        opened = interval.floor(now)
        last = opened if end is None else min(interval.floor(end), opened)
        if start is None:
            bars = self._last_bars(pair, interval, last, limit, opened)
        else:
            first = -(-start // interval.ms) * interval.ms
            bars = self._first_bars(pair, interval, first, min(last + interval.ms, opened), limit)
        form = self._feed.formats[pair]
        rows = formats.kline_rows(bars, interval, form)
        if len(bars) < limit and last == opened and (start is None or start <= opened):
            running = self._market.running(pair, interval, now)
            if running is not None:
                tail = formats.kline_rows(running, interval, form)
                rows = b",".join((rows, tail)) if rows else tail
        return b"[%s]" % rows

    def mark_klines(self, which: Which, params: Params) -> bytes:
        """Candles of the mark price, the index price or the premium index, the last one in progress."""
        pair = self.pair({"symbol": params.get("pair", "")} if which is Which.INDEX else params)
        interval = self._interval(required(params, "interval"))
        limit = _limit(params, 500, MAX_KLINES)
        start, end, now = whole(params, "startTime"), whole(params, "endTime"), self._clock.market_ms()
        if not self._market.has_marks:
            return b"[]"
        last = interval.floor(now if end is None else min(end, now))
        if start is None:
            start = last - min(limit * interval.ms, DAYS_A_PAGE * DAY_MS) + interval.ms
        stop = min(last, start + limit * interval.ms) + interval.ms
        bars = _head(self._marks.candles(pair, interval, which, start, stop, now + 1), limit)
        form = PairFormat(8, 0) if which is Which.PREMIUM else self._feed.formats[pair]
        return f"[{formats.bare_kline_rows(bars, interval, form)}]".encode()

    def _last_bars(self, pair: Pair, interval: Interval, last: int, limit: int, opened: int) -> Bars:
        """The newest closed candles up to the one that opens at ``last``, room left for the one in progress."""
        room = limit - 1 if last == opened else limit
        stop = min(last + interval.ms, opened)
        return self._market.candles(pair, interval, stop - room * interval.ms, stop)

    def _first_bars(self, pair: Pair, interval: Interval, first: int, stop: int, limit: int) -> Bars:
        """The first closed candles of [first, stop); holes and the time before the first listing are skipped."""
        span = limit * interval.ms
        at = max(first, self._market.origin_ms - MAX_BACK_MS)
        while at < stop:
            bars = self._market.candles(pair, interval, at, min(at + span, stop))
            if len(bars) >= limit or at + span >= stop:
                return _head(bars, limit)
            if len(bars):
                more = self._market.candles(pair, interval, at, min(at + 4 * span, stop))
                return _head(more, limit)
            at += span
            span *= 4
        return Bars.empty()

    def _interval(self, word: str) -> Interval:
        interval = next((one for one in Interval if one == word), None)
        if interval is None or interval.ms < self._market.base_interval.ms:
            raise refusals.bad_interval()
        return interval

    def premium_index(self, params: Params) -> Answer:
        """Mark price, index price and the coming settlement."""
        now = self._clock.market_ms()
        rows = [
            formats.premium_index(self._market.mark(pair, now), self._feed.formats[pair])
            for pair in self._pairs(params)
        ]
        return self._one_or_all(params, rows)

    def funding_rate(self, params: Params) -> Answer:
        """Settled funding rates."""
        limit = _limit(params, 100, 1_000)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        rows: list[dict[str, Any]] = []
        for pair in self._pairs(params):
            if FUNDING in self._market.inputs:
                settled = self._until_now(self._market.funding, pair, start, end, 0, limit, 8 * HOUR_MS)
                prices = self._prices(pair, settled.ts)
                rows += formats.funding_rows(pair, settled, prices.tolist(), self._feed.formats[pair])
        rows.sort(key=lambda row: row["fundingTime"])
        return rows[:limit] if start is not None else rows[-limit:]

    def funding_info(self, params: Params) -> Answer:
        """Pairs whose settlement interval is not the usual 8 h."""
        now = self._clock.market_ms()
        hours = {pair: self._market.funding_hours(pair, now) for pair in self._feed.pairs}
        return [formats.funding_info_row(pair, every) for pair, every in hours.items() if every != USUAL_FUNDING_H]

    def open_interest(self, params: Params) -> Answer:
        """Open interest as last known."""
        pair, now = self.pair(params), self._clock.market_ms()
        if OPEN_INTEREST not in self._market.inputs:
            raise refusals.not_offered()
        series = self._market.open_interest(pair, now - HOUR_MS, now + 1)
        if not len(series):
            raise refusals.not_offered()
        value = self._feed.formats[pair].quantity % series.value[-1]
        return {"symbol": pair, "openInterest": value, "time": int(series.ts[-1])}

    def open_interest_history(self, params: Params) -> Answer:
        """Open interest by its stamps."""
        pair = self.pair(params)
        series = self._readings(params, pair, OPEN_INTEREST)
        return formats.open_interest_rows(pair, series, self._prices(pair, series.ts), self._feed.formats[pair])

    def long_short_history(self, params: Params) -> Answer:
        """Ratio of accounts long to accounts short by its stamps."""
        pair = self.pair(params)
        return formats.long_short_rows(pair, self._readings(params, pair, LONG_SHORT))

    def _readings(self, params: Params, pair: Pair, which: str) -> Series:
        period = _PERIODS.get(required(params, "period"))
        if period is None:
            raise refusals.illegal_parameter("period")
        limit = _limit(params, 30, 500)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        if which not in self._market.inputs:
            return Series.empty()
        read = self._market.open_interest if which == OPEN_INTEREST else self._market.long_short
        return self._until_now(read, pair, start, end, PUBLISHED_AFTER_MS, limit, period * MINUTE_MS)

    def _until_now(
        self, read: Any, pair: Pair, start: int | None, end: int | None, delay_ms: int, limit: int, step_ms: int
    ) -> Series:
        """At most ``limit`` stamped values on a grid: the first from ``start`` on, or the last before ``end``.

        Values whose stamp is not ``delay_ms`` in the past are not known yet.
        """
        stop = self._clock.market_ms() - delay_ms + 1
        if end is not None:
            stop = min(stop, end + 1)
        first = stop - (limit + 1) * step_ms if start is None else start
        if first >= stop:
            return Series.empty()
        series: Series = read(pair, first, stop)
        if read != self._market.funding and step_ms > 5 * MINUTE_MS:
            on_grid = series.ts % step_ms == 0
            series = Series(series.ts[on_grid], series.value[on_grid])
        rows = slice(0, limit) if start is not None else slice(max(0, len(series) - limit), None)
        return Series(series.ts[rows], series.value[rows])

    def _prices(self, pair: Pair, stamps: Ints) -> Floats:
        """Price at each stamp, USDT: the open of the candle that contains it, of the finest candles that reach back."""
        if not stamps.size:
            return np.empty(0)
        now = self._clock.market_ms()
        bars, length = Bars.empty(), 0
        for interval in (Interval.M5, Interval.H1):
            length = interval.ms
            first, stop = interval.floor(int(stamps[0])), min(int(stamps[-1]) + 1, interval.floor(now))
            bars = self._market.candles(pair, interval, first, stop)
            if len(bars) and bars.ts[0] <= stamps[0]:
                break
        if not len(bars):
            return np.full(stamps.shape, self._market.price(pair, now))
        at = np.clip(np.searchsorted(bars.ts, stamps, side="right") - 1, 0, len(bars) - 1)
        return np.where(stamps >= bars.ts[-1] + length, bars.close[-1], bars.open[at])

    def depth(self, params: Params) -> Answer:
        """The book."""
        pair = self.pair(params)
        return self._publisher.snapshot(pair, self._clock.market_ms(), _limit(params, 500, 1_000))

    def agg_trades(self, params: Params) -> Answer:
        """Public trades, derived from the candles."""
        pair, now = self.pair(params), self._clock.market_ms()
        limit = _limit(params, 500, 1_000)
        start, end, from_id = whole(params, "startTime"), whole(params, "endTime"), whole(params, "fromId")
        if from_id is not None:
            # Ids rise with time; the last day is what a client can page through.
            first, stop = now - DAY_MS, now
        elif start is not None:
            first, stop = start, min(now, start + HOUR_MS if end is None else end, start + DAY_MS)
        else:
            stop = now if end is None else min(now, end)
            first = stop - 2 * HOUR_MS
        trades = self._market.trades(pair, first, stop + 1)
        begin = 0 if from_id is None else int(np.searchsorted(trades.trade_id, from_id))
        if start is None and from_id is None:
            begin = max(0, len(trades) - limit)
        asked = Trades(*(getattr(trades, name)[begin : begin + limit] for name in Trades.__slots__))
        return formats.trade_rows(asked, self._feed.formats[pair])

    def ticker_price(self, params: Params) -> Answer:
        """Last prices."""
        now = self._clock.market_ms()
        rows = [
            {"symbol": pair, "price": self._feed.formats[pair].price % self._market.price(pair, now), "time": now}
            for pair in self._pairs(params)
        ]
        return self._one_or_all(params, rows)

    def ticker_book(self, params: Params) -> Answer:
        """Best bids and asks."""
        now = self._clock.market_ms()
        rows = [
            formats.book_ticker_row(self._market.quote(pair, now), self._feed.formats[pair])
            for pair in self._pairs(params)
        ]
        return self._one_or_all(params, rows)

    def ticker_day(self, params: Params) -> Answer:
        """The last day's prices and volumes."""
        now = self._clock.market_ms()
        return self._one_or_all(params, [self._publisher.day_row(pair, now) for pair in self._pairs(params)])


def _limit(params: Params, usual: int, most: int) -> int:
    value = whole(params, "limit")
    if value is None:
        return usual
    if value <= 0:
        raise refusals.illegal_parameter("limit")
    return min(value, most)


def _head(bars: Bars, limit: int) -> Bars:
    if len(bars) <= limit:
        return bars
    return Bars(*(getattr(bars, name)[:limit] for name in ("ts", "open", "high", "low", "close", "volume")))


def _kline_weight(params: Params) -> int:
    limit = _limit(params, 500, MAX_KLINES)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


def _depth_weight(params: Params) -> int:
    limit = _limit(params, 500, 1_000)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20
