"""What the market streams carry and when: the market's own events once each, its state as often as the exchange tells it.

Closed candles, trades and forced orders follow market time and are never left out, whatever the speed. Quotes, books,
marks and running candles are states: they are told at most as often, in wall time, as the real exchange does. Only
streams that someone listens to are worked on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from hydra_core.domain.clock import Clock
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import LIQUIDATIONS, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.simulation.base import Depth
from hydra_core.venue import formats
from hydra_core.venue.faults import Fault, Faults
from hydra_core.venue.feed import Feed
from hydra_core.venue.hub import Hub
from hydra_core.venue.topics import Topic

STREAM_LEVELS: Final = 20
"""Levels a side that the differential book covers."""
STALE_BY: Final = 1_000_000
"""Update ids by which a stale snapshot is behind: before anything that a stream still carries."""
FLOOD_EVERY_MS: Final = 10.0
"""Wall time between two bursts of an ordered flood."""
QUIET_MS: Final = 1_000
"""A quote that has not moved is told again after this much wall time."""


@dataclass(slots=True)
class BookState:
    """The book of a pair as last told: update id, the levels behind it, and when (wall) it was told."""

    update_id: int
    depth: Depth
    bids: list[list[str]]
    asks: list[list[str]]
    told_wall_ms: int


class Publisher:
    """Feeds the hub.

    Parameters
    ----------
    feed : Feed
    hub : Hub
    wall : Clock
        Only its wall time is read.
    faults : Faults
        Ordered breaks in the sequences of books and candles, and floods.
    """

    def __init__(self, feed: Feed, hub: Hub, wall: Clock, faults: Faults) -> None:
        self._faults = faults
        self._late: list[tuple[int, str, bytes]] = []
        self._flooded: dict[int, int] = {}
        self._feed = feed
        self._hub = hub
        self._wall = wall
        self._market = feed.market
        self._books: dict[Pair, BookState] = {}
        self._due: dict[str, int] = {}
        self._quote_id = 0
        self._quotes: dict[tuple[str, Pair], tuple[tuple[float, ...], int]] = {}
        self._burst: dict[tuple[Any, ...], Any] | None = None
        self._forced: dict[Pair, tuple[int, int, list[Liquidation]]] = {}
        self._state_makers: dict[str, Callable[[str, Topic, int], None]] = {
            "kline": self._tell_running,
            "markPrice": self._tell_marks,
            "bookTicker": self._tell_quotes,
            "depth": self._tell_book,
            "ticker": self._tell_day,
        }

    # -- the market's own events -------------------------------------------------------------------------------------

    def next_event_ms(self, after_ms: int) -> int | None:
        """Market time of the next event worth waking for, None when nobody listens to any.

        Trades come so often that they are gathered rather than waited for one by one.
        """
        times: list[int] = [due for due, _, _ in self._late]
        for topic in self._hub.topics.values():
            if topic.kind == "kline" and topic.interval is not None:
                times.append(topic.interval.floor(after_ms) + topic.interval.ms)
            elif topic.kind in {"trade", "aggTrade"}:
                times.append(after_ms + 1)
            elif topic.kind == "forceOrder":
                times += [self._next_forced(pair, after_ms) for pair in self._of(topic)]
        return min(times, default=None)

    def publish_events(self, after_ms: int, until_ms: int) -> int:
        """Send every event in (after, until] in the order of market time; returns how many."""
        events: list[tuple[int, int, str, bytes]] = []
        for name, topic in self._hub.topics.items():
            if topic.pair is not None and not self._feed.lists(topic.pair):
                continue
            if topic.kind == "kline":
                events += self._closed(name, topic, after_ms, until_ms)
            elif topic.kind in {"trade", "aggTrade"}:
                events += self._trades(name, topic, after_ms, until_ms)
            elif topic.kind == "forceOrder":
                events += self._forced_orders(name, topic, after_ms, until_ms)
        events += [(due, 2, name, message) for due, name, message in self._late if due <= until_ms]
        self._late = [late for late in self._late if late[0] > until_ms]
        events.sort(key=lambda event: event[:2])
        for _, _, name, message in events:
            self._hub.send(name, message)
        return len(events)

    def _closed(self, name: str, topic: Topic, after_ms: int, until_ms: int) -> list[tuple[int, int, str, bytes]]:
        pair, interval = topic.pair, topic.interval
        if pair is None or interval is None:
            return []
        first = interval.floor(after_ms)
        end = interval.floor(until_ms)
        if end <= first:
            return []
        bars = self._market.candles(pair, interval, first, end)
        out = []
        for row in range(len(bars)):
            closes = int(bars.ts[row]) + interval.ms
            one = type(bars)(*(getattr(bars, column)[row : row + 1] for column in _COLUMNS))
            message = formats.kline_event(pair, interval, one, self._feed.formats[pair], True, closes)
            fault = self._candle_fault(pair, interval)
            if fault is None:
                out.append((closes, 1, name, message))
            elif fault.kind == "candle_late":
                self._late.append((closes + fault["ms"], name, message))
        return out

    def _candle_fault(self, pair: Pair, interval: Interval) -> Fault | None:
        """The ordered fault that strikes a candle's closing message."""
        for fault in self._faults.in_force("candle_unclosed", "candle_late"):
            if fault["symbol"] in {"", pair} and fault["interval"] in {"", interval}:
                fault.use()
                self._faults.note(fault, symbol=pair, interval=str(interval))
                return fault
        return None

    def tell_closed(self, pair: Pair, interval: Interval, open_ms: int) -> None:
        """Tell a closed candle again, as it stands now, to whoever listens."""
        bars = self._market.candles(pair, interval, open_ms, open_ms + interval.ms)
        if len(bars):
            form, closes = self._feed.formats[pair], open_ms + interval.ms
            message = formats.kline_event(pair, interval, bars, form, True, closes)
            self._hub.send(f"{pair.lower()}@kline_{interval}", message)

    def _trades(self, name: str, topic: Topic, after_ms: int, until_ms: int) -> list[tuple[int, int, str, bytes]]:
        if topic.pair is None:
            return []
        trades = self._market.trades(topic.pair, after_ms + 1, until_ms + 1)
        rows = formats.trade_rows(trades, self._feed.formats[topic.pair])
        aggregated = topic.kind == "aggTrade"
        return [(row["T"], 0, name, formats.trade_event(topic.pair, row, aggregated=aggregated)) for row in rows]

    def _forced_orders(
        self, name: str, topic: Topic, after_ms: int, until_ms: int
    ) -> list[tuple[int, int, str, bytes]]:
        return [
            (forced.event_ms, 0, name, formats.liquidation_event(forced, self._feed.formats[pair]))
            for pair in self._of(topic)
            for forced in self._liquidations(pair, after_ms, until_ms)
        ]

    def _liquidations(self, pair: Pair, after_ms: int, until_ms: int) -> list[Liquidation]:
        """Forced orders in (after, until]."""
        _, forced = self._forced_span(pair, after_ms, until_ms)
        return [one for one in forced if after_ms < one.event_ms <= until_ms]

    def _next_forced(self, pair: Pair, after_ms: int) -> int:
        """Market time of the next forced order, or of the end of the span that is known to hold none."""
        last, forced = self._forced_span(pair, after_ms, after_ms)
        return next((one.event_ms for one in forced if one.event_ms > after_ms), last)

    def _forced_span(self, pair: Pair, after_ms: int, until_ms: int) -> tuple[int, list[Liquidation]]:
        """End and forced orders of a span of an hour or more that covers (after, until]; kept at hand."""
        first, last, forced = self._forced.get(pair, (0, 0, []))
        if not first <= after_ms + 1 <= until_ms + 1 < last:
            first, last = after_ms + 1, until_ms + 1 + HOUR_MS
            forced = self._market.liquidations(pair, first, last) if LIQUIDATIONS in self._market.inputs else []
            self._forced[pair] = (first, last, forced)
        return last, forced

    # -- states ------------------------------------------------------------------------------------------------------

    def publish_states(self, now_ms: int) -> float:
        """Tell the states that are due; returns wall milliseconds until the next is (``inf`` when nobody listens)."""
        wall = self._wall.wall_ms()
        nearest = self._flood(now_ms)
        for name, topic in tuple(self._hub.topics.items()):
            if not topic.rate_ms or (topic.pair is not None and not self._feed.lists(topic.pair)):
                continue
            due = self._due.get(name, 0)
            if due <= wall:
                self._state_makers[topic.kind](name, topic, now_ms)
                due = wall + topic.rate_ms
                self._due[name] = due
            nearest = min(nearest, due - wall)
        if len(self._due) > 2 * len(self._hub.topics) + 64:
            self._due = {name: due for name, due in self._due.items() if name in self._hub.topics}
        return nearest

    def _flood(self, now_ms: int) -> float:
        """Send what ordered floods are due; returns wall milliseconds until more is."""
        nearest = float("inf")
        for fault in self._faults.in_force("flood"):
            nearest = FLOOD_EVERY_MS
            wall = self._wall.wall_ms()
            began = self._faults.began.setdefault(fault.number, wall)
            names = [
                name
                for name, topic in self._hub.topics.items()
                if topic.rate_ms and re.fullmatch(fault["streams"], name)
            ]
            sent, due = self._flooded.get(fault.number, 0), int(fault["rate"] * (wall - began) / 1000)
            self._burst = {}
            try:
                for place in range(sent, due if names else sent):
                    name = names[place % len(names)]
                    topic = self._hub.topics[name]
                    self._quotes.clear()
                    self._state_makers[topic.kind](name, topic, now_ms)
            finally:
                self._burst = None
            self._flooded[fault.number] = due
        return nearest

    def _of_now(self, ask: Callable[..., Any], *what: Any) -> Any:
        """What the market says of one moment; within a burst it is asked once, for nothing can change meanwhile."""
        if self._burst is None:
            return ask(*what)
        key = (ask.__name__, *what)
        if key not in self._burst:
            self._burst[key] = ask(*what)
        return self._burst[key]

    def _tell_running(self, name: str, topic: Topic, now_ms: int) -> None:
        if topic.pair is None or topic.interval is None:
            return
        bars = self._of_now(self._market.running, topic.pair, topic.interval, now_ms)
        if bars is not None:
            form = self._feed.formats[topic.pair]
            self._hub.send(name, formats.kline_event(topic.pair, topic.interval, bars, form, False, now_ms))

    def _tell_marks(self, name: str, topic: Topic, now_ms: int) -> None:
        rows = [
            formats.mark_event(self._of_now(self._market.mark, pair, now_ms), self._feed.formats[pair])
            for pair in self._of(topic)
        ]
        self._hub.send(name, orjson.dumps(rows if topic.pair is None else rows[0]))

    def _tell_quotes(self, name: str, topic: Topic, now_ms: int) -> None:
        wall = self._wall.wall_ms()
        for pair in self._of(topic):
            quote = self._of_now(self._market.quote, pair, now_ms)
            # Without its times a quote is the same while the market stands still.
            seen = (quote.bid, quote.bid_size, quote.ask, quote.ask_size)
            before, told = self._quotes.get((name, pair), ((), 0))
            if seen == before and wall - told < QUIET_MS:
                continue
            self._quotes[name, pair] = (seen, wall)
            self._quote_id = max(now_ms, self._quote_id + 1)
            self._hub.send(name, orjson.dumps(formats.book_ticker(quote, self._feed.formats[pair], self._quote_id)))

    def _tell_day(self, name: str, topic: Topic, now_ms: int) -> None:
        rows = [self.day_row(pair, now_ms) for pair in self._of(topic)]
        events = [
            {
                "e": "24hrTicker",
                "E": now_ms,
                "s": row["symbol"],
                "p": row["priceChange"],
                "P": row["priceChangePercent"],
                "w": row["weightedAvgPrice"],
                "c": row["lastPrice"],
                "Q": row["lastQty"],
                "o": row["openPrice"],
                "h": row["highPrice"],
                "l": row["lowPrice"],
                "v": row["volume"],
                "q": row["quoteVolume"],
                "O": row["openTime"],
                "C": row["closeTime"],
                "F": 0,
                "L": 0,
                "n": 0,
            }
            for row in rows
        ]
        self._hub.send(name, orjson.dumps(events if topic.pair is None else events[0]))

    def day_row(self, pair: Pair, now_ms: int) -> dict[str, Any]:
        """The last day of a pair as ``ticker/24hr`` tells it."""
        hour = Interval.H1.floor(now_ms)
        bars = self._market.candles(pair, Interval.H1, hour - 23 * HOUR_MS, hour)
        return formats.day_ticker(pair, bars, self._market.price(pair, now_ms), self._feed.formats[pair], now_ms)

    # -- the book ----------------------------------------------------------------------------------------------------

    def _tell_book(self, name: str, topic: Topic, now_ms: int) -> None:
        if topic.pair is None:
            return
        state = self._books.get(topic.pair)
        if topic.levels and state is not None:
            ids = (state.update_id, state.update_id, state.update_id - 1)
            bids, asks = state.bids[: topic.levels], state.asks[: topic.levels]
            self._hub.send(name, formats.depth_event(topic.pair, ids, bids, asks, state.depth.event_ms))
        if state is None or self._wall.wall_ms() - state.told_wall_ms >= topic.rate_ms:
            self.renew_book(topic.pair, now_ms)

    def renew_book(self, pair: Pair, now_ms: int) -> BookState:
        """Move a pair's book on to now and tell the difference to every differential stream of the pair.

        All of them carry the same chain of update ids, which the REST snapshot names too: applied to a snapshot, the
        differences that follow rebuild the book exactly.
        """
        depth = self._market.depth(pair, now_ms, STREAM_LEVELS)
        form = self._feed.formats[pair]
        before = self._books.get(pair)
        bids, asks = formats.levels(depth.bids, form), formats.levels(depth.asks, form)
        update_id = now_ms if before is None else max(now_ms, before.update_id + 1)
        fault = self._book_fault(pair, "skip", "wrong_pu", "crossed")
        if fault is not None and fault["how"] == "crossed" and asks:
            # A bid above the best ask: the next difference takes it out again, for it is part of the state told.
            bids = [[asks[min(2, len(asks) - 1)][0], bids[0][1] if bids else asks[0][1]], *bids]
        state = BookState(update_id, depth, bids, asks, self._wall.wall_ms())
        self._books[pair] = state
        if before is not None:
            names = [
                name
                for name, topic in self._hub.topics.items()
                if topic.kind == "depth" and topic.pair == pair and not topic.levels
            ]
            if names and not (fault is not None and fault["how"] == "skip"):
                linked = before.update_id - 7 if fault is not None and fault["how"] == "wrong_pu" else before.update_id
                ids = (before.update_id + 1, update_id, linked)
                message = formats.depth_event(
                    pair, ids, _changes(before.bids, bids), _changes(before.asks, asks), now_ms
                )
                for name in names:
                    self._hub.send(name, message)
        return state

    def _book_fault(self, pair: Pair, *ways: str) -> Fault | None:
        """The ordered break of a pair's book that strikes now."""
        for fault in self._faults.in_force("book_gap"):
            if fault["how"] in ways and fault["symbol"] in {"", pair}:
                fault.use()
                self._faults.note(fault, symbol=pair)
                return fault
        return None

    def snapshot(self, pair: Pair, now_ms: int, limit: int) -> dict[str, Any]:
        """The book for REST: as the differential streams of the pair last told it, renewed when that is old."""
        state = self._books.get(pair)
        if state is None or self._wall.wall_ms() - state.told_wall_ms >= 100:
            state = self.renew_book(pair, now_ms)
        if self._book_fault(pair, "stale_snapshot") is not None:
            state = replace(state, update_id=state.update_id - STALE_BY)
        return {
            "lastUpdateId": state.update_id,
            "E": now_ms,
            "T": state.depth.event_ms,
            "bids": state.bids[:limit],
            "asks": state.asks[:limit],
        }

    def _of(self, topic: Topic) -> tuple[Pair, ...]:
        return self._feed.pairs if topic.pair is None else (topic.pair,)


_COLUMNS: Final = ("ts", "open", "high", "low", "close", "volume")


def _changes(before: list[list[str]], after: list[list[str]]) -> list[list[str]]:
    """Levels to set so that ``before`` becomes ``after``: new sizes, and size 0 where a level is gone."""
    old, new = {price: size for price, size in before}, {price for price, _ in after}
    changed = [[price, size] for price, size in after if old.get(price) != size]
    return changed + [[price, "0"] for price, _ in before if price not in new]
