"""The market data of several pairs over an exchange's streams: subscribed, watched, repaired, handed to a sink in order.

What arrives is checked and put into sequence here; connections are the ``line``'s, time limits the ``standing``'s.
Keeping what arrives is the sink's.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import VenueError
from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.connect import VENUE_PROTOCOL
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.limits import backoff
from hydra_core.market.rest import ExchangeClient, together
from hydra_core.market.streams.book import OrderBook
from hydra_core.market.streams.books import Books
from hydra_core.market.streams.line import ROTATE_AFTER_MS, Door, Line
from hydra_core.market.streams.mailbox import Mailbox
from hydra_core.market.streams.messages import KINDS, MALFORMED
from hydra_core.market.streams.quarantine import Quarantine
from hydra_core.market.streams.readings import (
    BOOK_STREAM,
    CANDLE_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    STREAM,
    STREAMS,
    TOPICS,
    TRADE_STREAM,
    CandleTick,
    Reading,
    StreamHealth,
    Trade,
)
from hydra_core.market.streams.sink import Repair, StreamSink, nothing_to_repair
from hydra_core.market.streams.socket import Connection, Gateway
from hydra_core.market.streams.standing import Standing, State
from hydra_core.market.streams.subscriptions import subscriptions
from hydra_core.market.streams.tradefill import TradeFill
from hydra_core.market.streams.unified import Watched, follows, insist_followable

WATCH_EVERY_S: Final = 0.25
LOAD_TRIES: Final = 6
LOAD_PAUSE_S: Final = 5.0
FUTURE_MS: Final = DAY_MS
"""A state that claims to be from so far ahead of the market's clock is malformed: it would outlive every true one."""


class MarketStreams:
    """Subscriptions to the market data of several pairs, kept up until :meth:`run` is cancelled.

    Parameters
    ----------
    endpoint : Endpoint
    pairs, intervals : what to subscribe to; every interval for every pair
    sink : StreamSink (a TradeSink where trades are among the topics)
    clock : Clock, its market time judges event times, its wall time arrivals
    topics : names of the streams to follow
    client : ExchangeClient, for snapshots and missed trades; by default one of its own
    repair : callable, fetches what the sink missed of a stream; a stream is healthy only after it has returned
    quarantine : Quarantine, for what cannot be read
    silence_s : by stream, wall seconds without an event after which it is stale, where that differs from the topic's own
    rotate_after_ms : wall ms after which connections are renewed
    keep_alive_ms : wall ms between pings, by default as everywhere
    mailbox : Mailbox, the queue before the sink
    seed : int, of the jitter
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pairs: Sequence[Pair],
        intervals: Sequence[Interval],
        sink: StreamSink,
        clock: Clock,
        *,
        topics: Sequence[str] = STREAMS,
        client: ExchangeClient | None = None,
        repair: Repair = nothing_to_repair,
        quarantine: Quarantine | None = None,
        silence_s: Mapping[str, float] | None = None,
        rotate_after_ms: int = ROTATE_AFTER_MS,
        keep_alive_ms: int | None = None,
        mailbox: Mailbox | None = None,
        seed: int | None = None,
    ) -> None:
        insist_followable(endpoint.exchange, topics)
        self._keep_alive_ms = keep_alive_ms
        self._endpoint = endpoint
        self._pairs = tuple(pairs)
        self._known = frozenset(pairs)
        self._intervals = frozenset(intervals)
        self._sink = sink
        self._clock = clock
        self._topics = tuple(topics)
        self._client = client
        self._repair_sink = repair
        self.quarantine = quarantine or Quarantine(clock)
        self._silence = silence_s or {}
        self._rotate_after_ms = rotate_after_ms
        self._rng = random.Random(seed)
        self._mailbox = Mailbox() if mailbox is None else mailbox
        self._lines: dict[str, list[Line]] = {name: [] for name in topics}
        self._standing: dict[tuple[str, Pair], Standing] = {}
        self._newest: dict[tuple[str, Pair], Any] = {}
        self._sources: dict[Pair, str] = {}
        self._quote_ids: dict[Pair, int] = {}
        self._told: dict[str, tuple[bool, str]] = {}
        self._withdrawn: frozenset[Pair] = frozenset()
        self._catching: set[asyncio.Task[None]] = set()
        self._fault: asyncio.Future[None] | None = None
        self._books: Books | None = None
        self._fill: TradeFill | None = None
        self.door = Door(self._rng)
        self._late: Counter[str] = Counter()
        self._take_by: dict[str, Callable[[Any], None]] = {
            CANDLE_STREAM: self._candle,
            TRADE_STREAM: self._trade,
            QUOTE_STREAM: self._quote,
            BOOK_STREAM: self._book,
            MARK_STREAM: self._mark,
            LIQUIDATION_STREAM: self._liquidation,
        }

    # -- asking ------------------------------------------------------------------------------------------------------

    @property
    def malformed(self) -> int:
        """Messages that could not be read."""
        return self.quarantine.total

    @property
    def late(self) -> int:
        """States that came after newer ones and were left out."""
        return self._late.total()

    @property
    def dropped(self) -> int:
        """Quotes that a slow consumer never saw."""
        return self._mailbox.dropped.total()

    @property
    def books(self) -> Books:
        """The order books; raises RuntimeError when they are not followed or :meth:`run` has not begun."""
        if self._books is None:
            raise RuntimeError("order books are not followed")
        return self._books

    def books_kept(self) -> Iterable[tuple[Pair, OrderBook]]:
        """Every order book that is followed, in sequence or not; none before :meth:`run` has begun."""
        return () if self._books is None else self._books.books.items()

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every line."""
        return tuple(line for lines in self._lines.values() for line in lines)

    def health(self) -> tuple[StreamHealth, ...]:
        """How every stream is now; one that runs over several connections is as well as the worst of them."""
        out = []
        for name in self._topics:
            found = [line.standing.health(self.quarantine.counts[name]) for line in self._lines[name]]
            if not found:
                topic = TOPICS[name]
                limit = self._silence.get(name, topic.silence_s)
                out.append(StreamHealth(name, False, State.CONNECTING, 0, float("inf"), limit, message="connecting"))
                continue
            worst = next((one for one in found if not one.ok), found[0])
            values = {field: getattr(worst, field) for field in worst.__slots__}
            values |= {
                "event_ms": max(one.event_ms for one in found),
                "age_s": max(one.age_s for one in found),
                "reconnects": sum(one.reconnects for one in found),
                "dropped": self._mailbox.dropped[name],
                "late": self._late[name],
            }
            if name == TRADE_STREAM and self._fill is not None:
                values["holes"] = self._fill.unfilled
            if name == BOOK_STREAM and self._books is not None:
                values["holes"] = self._books.gaps
                if worst.ok and worst.state == State.UP and (lost := self._books.unsynced):
                    values |= {
                        "ok": False,
                        "state": str(State.REPAIRING),
                        "message": f"out of sync: {', '.join(lost[:5])}",
                    }
            out.append(StreamHealth(**values))
        return tuple(out)

    def reading(self, stream: str, pair: Pair) -> Reading | None:
        """The newest value of a stream for a pair with its source, times and health; None before the first."""
        value, standing = self._newest.get((stream, pair)), self._standing.get((stream, pair))
        if value is None or standing is None or (seen := standing.newest(pair)) is None:
            return None
        speaks = pair not in standing.silent() and standing.fresh(pair)
        healthy = standing.health().ok and speaks and pair not in self._withdrawn
        source = self._sources.get(pair, STREAM) if stream == TRADE_STREAM else STREAM
        return Reading(value, source, seen[0], seen[1], healthy)

    def withdraw(self, pairs: Iterable[Pair]) -> None:
        """Expect nothing of these pairs any more: their silence is no fault, their newest readings are not healthy ones.

        Pairs withdrawn before and not named now are followed as ever.
        """
        self._withdrawn = frozenset(pairs)
        for standing in {id(one): one for one in self._standing.values()}.values():
            standing.withdraw(self._withdrawn)
        if self._books is not None:
            self._books.withdraw(self._withdrawn, "the pair is not traded")
        if self._fill is not None:
            self._fill.withdrawn = self._withdrawn

    # -- running -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep every stream up; returns only by cancellation. A fault of the sink ends it with that fault."""
        self._fault = asyncio.get_running_loop().create_future()
        gateway = Gateway(self._endpoint, self._keep_alive_ms)
        own = None
        try:
            if self._client is None:
                own = self._client = await ExchangeClient(self._endpoint, clock=self._clock).__aenter__()
            self._books = Books(
                self._pairs if BOOK_STREAM in self._topics else (), self._client, self._clock, self._rng
            )
            self._fill = TradeFill(self._pairs, self._client, self._clock, self._hand_on_trade)
            await self._load(gateway)
            self._make_lines(gateway)
            work = [line.run() for line in self.lines]
            await together([*work, self._mailbox.deliver(), self._watch(), self._faults(self._fault)])
        finally:
            self._fault.cancel()
            for task in self._catching:
                task.cancel()
            await asyncio.gather(*self._catching, return_exceptions=True)
            if self._books is not None:
                await self._books.close()
            if self._fill is not None:
                await self._fill.close()
            await gateway.close()
            if own is not None:
                self._client = None
                await own.__aexit__()

    async def _faults(self, fault: asyncio.Future[None]) -> None:
        """Raise what went wrong inside a callback of ccxt's, which would only log it."""
        await fault

    def _fail(self, fault: BaseException) -> None:
        if self._fault is not None and not self._fault.done():
            self._fault.set_exception(fault)

    async def _load(self, gateway: Gateway) -> None:
        """Read the exchange's markets, for as long as it takes."""
        pauses = backoff(LOAD_TRIES)
        while True:
            try:
                await gateway.load()
                return
            except VenueError as error:
                for name in self._topics:
                    self._tell(name, False, str(error))
            await asyncio.sleep(next(pauses, LOAD_PAUSE_S))

    def _make_lines(self, gateway: Gateway) -> None:
        for name in self._topics:
            topic = TOPICS[name]
            for pairs, subscribe in self._subscriptions(name):
                standing = Standing(topic, pairs, self._clock, self._silence.get(name))
                self._standing.update({(name, pair): standing for pair in pairs})
                connect = partial(self._connection, name)
                line = Line(
                    standing,
                    gateway,
                    self.door,
                    connect,
                    subscribe,
                    self._repair,
                    self._changed,
                    self._clock,
                    random.Random(self._rng.random()),
                    self._rotate_after_ms,
                    renewed=self._renewed,
                )
                self._lines[name].append(line)
        self.withdraw(self._withdrawn)

    def _subscriptions(self, name: str) -> list[tuple[tuple[Pair, ...], Any]]:
        """What each connection of a stream carries, and how."""
        if self._endpoint.exchange == VENUE_PROTOCOL:
            return [*subscriptions(name, self._pairs, self._intervals)]
        assert self._client is not None
        how = follows(self._endpoint.exchange, name, self._pairs, self._intervals, self._client, self._clock)
        return [(self._pairs, how)]

    def _connection(self, name: str) -> Connection:
        known = self._endpoint.exchange == VENUE_PROTOCOL
        kind, take = (Connection, self._take) if known else (Watched, self._take_reading)
        connection = kind(name, partial(take, name), True, self._clock, self.quarantine, self._mailbox)
        connection.fault = self._fail
        return connection

    async def _repair(self, name: str) -> None:
        """Fill what a stream missed while it was away."""
        if name == TRADE_STREAM and self._fill is not None:
            await self._fill.catch_up()
        elif name == BOOK_STREAM and self._books is not None:
            self._books.restart()
            await self._books.synced()
        await self._repair_sink(name)

    def _renewed(self, name: str) -> None:
        """A connection was replaced; what the old one still held is asked for, for no later event may show its absence."""
        if name == BOOK_STREAM and self._books is not None:
            self._books.judge()
        elif name in (TRADE_STREAM, CANDLE_STREAM):
            task = asyncio.create_task(self._catch_up(name), name=f"catch up {name}")
            self._catching.add(task)
            task.add_done_callback(self._catching.discard)

    async def _catch_up(self, name: str) -> None:
        try:
            if name == TRADE_STREAM and self._fill is not None:
                await self._fill.catch_up()
            await self._repair_sink(name)
        except VenueError as error:
            logger.warning("stream {}: what the old connection held was not asked for: {}", name, error)

    async def _watch(self) -> None:
        """End connections that fell silent or must rest; tell what changed."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._books is not None and self._books.failed is not None:
                raise self._books.failed
            if self._books is not None and not any(line.overlapping for line in self._lines.get(BOOK_STREAM, ())):
                self._books.judge()
            for line in self.lines:
                standing = line.standing
                if standing.state not in (State.UP, State.STALE, State.REPAIRING):
                    continue
                if not line.allowed:
                    line.end(ConnectionResetError("the market runs too fast for it"))
                elif late := standing.silent(patiently=True):
                    words = standing.words(late)
                    standing.be_patient(late)
                    standing.excuse()
                    line.end(TimeoutError(words))
            for found in self.health():
                self._tell(found.stream, found.ok, found.message)

    def _changed(self, standing: Standing) -> None:
        if standing.topic.name == BOOK_STREAM and standing.state is State.DOWN and self._books is not None:
            self._books.lose("the stream is down")
        for found in self.health():
            if found.stream == standing.topic.name:
                self._tell(found.stream, found.ok, found.message)

    def _tell(self, name: str, ok: bool, message: str) -> None:
        before = self._told.get(name)
        if before is not None and before[0] == ok and (ok or before[1] == message):
            return
        self._told[name] = (ok, message)
        self._sink.on_health(name, ok, self._clock.market_ms(), message)

    # -- taking ------------------------------------------------------------------------------------------------------

    def _take(self, name: str, message: Any, received_wall_ms: int) -> None:
        """Read an event and put it where it belongs; what cannot be read is set aside."""
        try:
            stream, read = KINDS[message["e"]]
            reading = read(message, received_wall_ms)
        except MALFORMED as error:
            self.quarantine.add(name, error, message)
            return
        try:
            self._take_by[stream](reading)
        except ValueError as error:
            self.quarantine.add(name, error, message)

    def _take_reading(self, name: str, reading: Any, received_wall_ms: int) -> None:
        """Put a reading that ccxt made where it belongs; one that cannot be true is set aside."""
        try:
            self._take_by[name]((reading, reading.event_ms) if name == QUOTE_STREAM else reading)
        except ValueError as error:
            self.quarantine.add(name, error, repr(reading))

    def _note(self, stream: str, pair: Pair, event_ms: int, received_wall_ms: int, value: Any) -> None:
        standing = self._standing.get((stream, pair))
        if standing is not None:
            standing.note(pair, event_ms, received_wall_ms)
        self._newest[stream, pair] = value

    def _put(self, stream: str, delivery: Callable[[], None]) -> None:
        self._mailbox.put(stream, stream != QUOTE_STREAM, delivery)

    def _candle(self, tick: CandleTick) -> None:
        self._expect(tick.pair)
        if tick.interval not in self._intervals:
            raise ValueError(f"{tick.interval} candles are not followed")
        self._note(CANDLE_STREAM, tick.pair, tick.event_ms, tick.received_wall_ms, tick)
        args = (tick.pair, tick.interval, tick.ts, *tick.values, tick.closed, tick.event_ms)
        self._put(CANDLE_STREAM, partial(self._sink.on_candle, *args))

    def _trade(self, trade: Trade) -> None:
        self._expect(trade.pair)
        if self._fill is not None:
            self._fill.take(trade)

    def _hand_on_trade(self, trade: Trade) -> None:
        self._note(TRADE_STREAM, trade.pair, trade.event_ms, trade.received_wall_ms, trade)
        self._sources[trade.pair] = trade.source
        self._put(TRADE_STREAM, partial(self._sink.on_trade, trade))  # type: ignore[attr-defined]

    def _quote(self, told: tuple[Quote, int]) -> None:
        quote, update_id = told
        self._expect(quote.pair)
        self._not_ahead(quote.event_ms)
        if update_id < self._quote_ids.get(quote.pair, -1) and not self._restarted(
            QUOTE_STREAM, quote.pair, quote.event_ms
        ):
            self._late[QUOTE_STREAM] += 1
            return
        self._quote_ids[quote.pair] = update_id
        self._note(QUOTE_STREAM, quote.pair, quote.event_ms, quote.received_wall_ms, quote)
        self._put(QUOTE_STREAM, partial(self._sink.on_quote, quote))

    def _mark(self, mark: MarkReading) -> None:
        if mark.pair not in self._known:
            return
        self._not_ahead(mark.event_ms)
        standing = self._standing.get((MARK_STREAM, mark.pair))
        seen = standing.newest(mark.pair) if standing is not None else None
        if seen is not None and mark.event_ms < seen[0]:
            self._late[MARK_STREAM] += 1
            return
        self._note(MARK_STREAM, mark.pair, mark.event_ms, mark.received_wall_ms, mark)
        self._put(MARK_STREAM, partial(self._sink.on_mark, mark))

    def _liquidation(self, liquidation: Liquidation) -> None:
        if liquidation.pair not in self._known:
            return
        self._note(LIQUIDATION_STREAM, liquidation.pair, liquidation.event_ms, self._clock.wall_ms(), liquidation)
        self._put(LIQUIDATION_STREAM, partial(self._sink.on_liquidation, liquidation))

    def _book(self, diff: Any) -> None:
        self._expect(diff.pair)
        if self._books is not None:
            self._note(BOOK_STREAM, diff.pair, diff.event_ms, diff.received_wall_ms, diff)
            self._books.overlapping = any(line.overlapping for line in self._lines[BOOK_STREAM])
            self._books.take(diff)

    def _expect(self, pair: Pair) -> None:
        """Refuse what is told of a pair that was not asked for: a renamed contract, or a fault of the exchange."""
        if pair not in self._known:
            raise ValueError(f"{pair} is not followed")

    def _restarted(self, stream: str, pair: Pair, event_ms: int) -> bool:
        """Whether a lower update id is newer by its event time: the exchange counts anew."""
        seen = self._standing[stream, pair].newest(pair)
        return seen is not None and event_ms > seen[0]

    def _not_ahead(self, event_ms: int) -> None:
        """Refuse an event time that would outlive every true one."""
        now = self._clock.market_ms()
        if event_ms > now + FUTURE_MS:
            logger.debug("event time {} is a day ahead of the market's {}", event_ms, now)
            raise ValueError(f"event time {event_ms} lies more than a day ahead of the market's clock")
