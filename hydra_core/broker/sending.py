"""Requests about orders and what follows from their answers: sending, cancelling, and looking up what was not answered.

One order, one request at a time; a request without an answer is followed by look-ups, never by the same request. What may be
sent is decided by the broker, what an answer does to the ledger by ``books``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from loguru import logger

from hydra_core.broker.books import Books
from hydra_core.broker.facts import OrderFact
from hydra_core.broker.gateway import Cause, Gateway
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import OutcomeUnknown, Refused, VenueError, VenueUnavailable
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState
from hydra_core.execution.orders import RESTING, Word
from hydra_core.ledger.records import OrderRecord
from hydra_core.market.limits import backoff

SEND_ATTEMPTS: Final = 3
"""Sendings of one order where every earlier one was certainly not taken (a limit, a clock that was off)."""
PROBES: Final = 12
PROBE_FIRST_S: Final = 0.05
PROBE_CAP_S: Final = 5.0
TOLD_S: Final = 1.0
"""Wall seconds that the user stream has to bring the trades of an order whose answer tells that it filled."""
REFUSAL_PAUSE_MS: Final = (250, 5_000)
"""First and longest wall pause after a refusal before another order of the pair."""
RULES_CHANGED: Final = frozenset({Cause.OFF_GRID, Cause.FILTER, Cause.NO_SUCH_PAIR})
POSITION_DIFFERS: Final = frozenset({Cause.NOTHING_TO_REDUCE, Cause.NO_MARGIN})


class Host(Protocol):
    """What the answers lead to, at the broker."""

    @property
    def told_at_once(self) -> bool:
        """Whether the user stream is up and brings every trade."""

    def want(self, reason: str) -> None:
        """Ask for a comparison as soon as possible."""

    def stop_refused(self, order: OrderRecord, cause: Cause, reason: str) -> None:
        """A protective stop was not taken."""

    async def look_up(self, record: OrderRecord) -> None:
        """Ask for one order and fold the answer in."""

    async def fetch_fills(self, pair: Pair) -> int:
        """Book the pair's trades since the last reading."""

    async def refresh_rules(self) -> None:
        """Take in what is listed now."""

    async def read_caps(self) -> None:
        """Take in the leverage tables as they are now."""


class Sender:
    """The requests of one account.

    Parameters
    ----------
    gateway, books, clock : the wire, the ledger, time
    host : Host
    window_s : float, wall seconds for which an order may stay invisible after it was sent
    """

    def __init__(self, gateway: Gateway, books: Books, clock: Clock, host: Host, window_s: float) -> None:
        self._gateway = gateway
        self._books = books
        self._clock = clock
        self._host = host
        self._window_ms = window_s * 1000
        self._sent_wall: dict[str, int] = {}
        self._missed: set[str] = set()
        self._cancel_wanted: dict[str, str] = {}
        self._probing: set[str] = set()
        self._pauses_by_pair: dict[Pair, tuple[int, int]] = {}
        self._outbox: list[OrderRecord] = []
        self._answers: list[OrderFact] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: defaultdict[Pair, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.waiting: set[Pair] = set()
        """Pairs whose refusal told that position or margin differ: the account is compared before another order."""
        self.outside_band: set[Pair] = set()
        """Pairs whose market orders were refused for the price band."""
        self.fault: BaseException | None = None

    def send(self, order: OrderRecord) -> None:
        """Send an order whose intent is booked, with all others of this round of the loop."""
        if not self._outbox:
            self._spawn(self._dispatch())
        self._outbox.append(order)

    def cancel(self, order_id: str, reason: str) -> bool:
        """Have an order cancelled; False when it works no more or that is under way."""
        record = self._books.live.get(order_id)
        if record is None or order_id in self._cancel_wanted:
            return False
        if record.state is OrderState.NEW:
            self._books.hear(order_id, Word.WITHDRAWN, reason)
            return True
        self._cancel_wanted[order_id] = reason
        if record.state is not OrderState.PENDING:
            self._spawn(self._cancel(record))
        return True

    def ready(self, pair: Pair) -> bool:
        """Whether another order of the pair may be tried now."""
        until, _ = self._pauses_by_pair.get(pair, (0, 0))
        return pair not in self.waiting and self._clock.wall_ms() >= until

    async def settled(self) -> None:
        """Return once no request of ours is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.fault is not None:
            raise self.fault

    async def aclose(self) -> None:
        """End what is under way; orders whose answers did not come are looked up by the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _dispatch(self) -> None:
        """Book in one transaction that the round's orders are about to go, then let each go."""
        going, self._outbox = self._outbox, []
        going = [order for order in going if self._books.is_new(order.order_id)]  # not withdrawn since
        with self._books.together():
            for order in going:
                # A look-up that comes before its turn must not take it for one that never arrived.
                self._sent_wall[order.order_id] = self._clock.wall_ms()
                self._books.hear(order.order_id, Word.SENT)
        for order in going:
            self._spawn(self._send(order))
            await asyncio.sleep(0)  # an order's bytes leave before the next one is signed

    async def _send(self, order: OrderRecord) -> None:
        order_id = order.order_id
        pauses = backoff(SEND_ATTEMPTS, first_s=0.1)
        while True:
            self._sent_wall[order_id] = self._clock.wall_ms()
            try:
                fact = await (self._gateway.place_stop(order) if order.kind == "stop" else self._gateway.place(order))
            except Refused as error:
                await self._on_refusal(order, error)
            except OutcomeUnknown as error:
                self._hear_nothing(order_id, error)
            except VenueUnavailable as error:  # a limit, or a timestamp: it was turned away before it was looked at
                pause = next(pauses, None)
                if pause is not None:
                    if self._gateway.cause(error) is Cause.CLOCK:
                        await self._synchronise()
                    await asyncio.sleep(max(pause, min(self._gateway.wait_s, 2.0)))
                    continue
                self._books.hear(order_id, Word.REFUSED, f"not taken: {error}")
                self._pause(order.pair)
            else:
                self._pauses_by_pair.pop(order.pair, None)
                if not self._answers:
                    self._spawn(self._fold_in())
                self._answers.append(fact)
                return
            break
        self.follow_up(order_id)

    async def _fold_in(self) -> None:
        """Book in one transaction what came back in the same round of the loop."""
        facts, self._answers = self._answers, []
        with self._books.together():
            told = [self._books.take_order(fact) for fact in facts]
        for order in told:
            if order.order_id in self._books.short:
                self._spawn(self._await_trades(order.order_id))
            self.follow_up(order.order_id)

    async def _on_refusal(self, order: OrderRecord, error: Refused) -> None:
        """Keep the reason, and look into what it tells of the exchange's state."""
        cause = self._gateway.cause(error)
        if cause is Cause.DUPLICATE:  # an earlier sending of this very order landed
            self._hear_nothing(order.order_id, error)
            return
        self._books.hear(order.order_id, Word.REFUSED, str(error))
        logger.warning("order {} refused: {}", order.order_id, error)
        if order.kind == "stop":
            self._host.stop_refused(order, cause, str(error))
        else:
            self._pause(order.pair)
        if cause is Cause.OUTSIDE_BAND:
            self.outside_band.add(order.pair)
        if cause in POSITION_DIFFERS:
            self.waiting.add(order.pair)
            self._host.want(f"{order.pair}: {error}")
        if cause in RULES_CHANGED:
            await self._host.refresh_rules()
        if cause is Cause.BRACKET:
            await self._host.read_caps()

    async def _cancel(self, record: OrderRecord) -> None:
        order_id, reason = record.order_id, self._cancel_wanted.get(record.order_id, "")
        if order_id not in self._books.live:  # it ended before its cancel could go
            self.follow_up(order_id)
            return
        self._books.hear(order_id, Word.CANCEL_SENT, reason)
        try:
            if record.kind == "stop":
                await self._gateway.cancel_stop(record)
                self._books.hear(order_id, Word.CANCELED, reason)
            else:
                self._books.take_order(await self._gateway.cancel(record))
        except Refused as error:  # filled, triggered or gone already: which of them is what the look-up tells
            self._books.hear(order_id, Word.CANCEL_REFUSED, str(error))
            self.probe_later(order_id)
        except OutcomeUnknown as error:
            self._hear_nothing(order_id, error)
        except VenueUnavailable as error:
            logger.warning("cancel of {} was turned away: {}", order_id, error)
            if self._gateway.cause(error) is Cause.CLOCK:
                await self._synchronise()
            self._books.hear(order_id, Word.NO_ANSWER, str(error))
            self.probe_later(order_id)
        await self._await_trades(order_id)
        self.follow_up(order_id)

    def follow_up(self, order_id: str) -> None:
        """What has to follow an answer: a cancel that waited for it, trades that are not booked."""
        record = self._books.live.get(order_id)
        if record is None:
            self._cancel_wanted.pop(order_id, None)
            self._sent_wall.pop(order_id, None)
            self._missed.discard(order_id)
        elif order_id in self._cancel_wanted and record.state in RESTING:
            self._spawn(self._cancel(record))

    def _hear_nothing(self, order_id: str, error: VenueError) -> None:
        logger.warning("outcome of {} is unknown: {}", order_id, error)
        self._sent_wall[order_id] = self._clock.wall_ms()  # the window for it to show begins with the silence
        self._books.hear(order_id, Word.NO_ANSWER, str(error))
        self.probe_later(order_id)

    def probe_later(self, order_id: str) -> None:
        """Look an order up until the exchange has a word on it, beside everything else."""
        if order_id not in self._probing:
            self._probing.add(order_id)
            self._spawn(self._probe(order_id))

    async def _probe(self, order_id: str) -> None:
        """Look an order up until the exchange has a word on it; transport errors never count as one."""
        pauses = list(backoff(PROBES, PROBE_FIRST_S, PROBE_CAP_S))
        try:
            while True:
                record = self._books.live.get(order_id)
                if record is None or record.state is not OrderState.UNKNOWN:
                    return
                try:
                    await self._host.look_up(record)
                    await self._await_trades(order_id)
                except VenueError as error:
                    logger.warning("look-up of {}: {}", order_id, error)
                await asyncio.sleep(pauses.pop(0) if pauses else PROBE_CAP_S)
        finally:
            self._probing.discard(order_id)
            self.follow_up(order_id)
            self._host.want(f"order {order_id} was looked up")

    def is_settled(self, record: OrderRecord) -> bool:
        """Whether an order that was looked for in vain was sent so long ago that the exchange must know of it.

        One missing row is never enough: a machine that was held up may come to its first look after the whole window.
        """
        sent = self._sent_wall.get(record.order_id)
        if sent is None:
            return True
        again = record.order_id in self._missed
        self._missed.add(record.order_id)
        return again and self._clock.wall_ms() - sent >= self._window_ms

    def _pause(self, pair: Pair) -> None:
        first, longest = REFUSAL_PAUSE_MS
        _, last = self._pauses_by_pair.get(pair, (0, 0))
        pause = min(max(first, 2 * last), longest)
        self._pauses_by_pair[pair] = (self._clock.wall_ms() + pause, pause)

    async def _await_trades(self, order_id: str) -> None:
        """Give the user stream a moment to bring the trades that an answer told of; ask for them where it does not."""
        short = self._books.short.get(order_id)
        if short is None:
            return
        if self._host.told_at_once:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(short.over.wait(), TOLD_S)
        async with self._reading[short.pair]:  # one reading answers for all of the pair's orders that wait for trades
            if order_id not in self._books.short:
                return
            try:
                await self._host.fetch_fills(short.pair)
            except VenueError as error:
                logger.warning("trades of {} are not read yet: {}", short.pair, error)
                self._host.want(f"trades of {short.pair}")

    async def _synchronise(self) -> None:
        try:
            logger.warning("the exchange's clock is {} ms ahead of ours", await self._gateway.synchronise())
        except VenueError as error:
            logger.warning("the exchange's clock cannot be read: {}", error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.fault = self.fault or task.exception()
            self._host.want("a request ended in an error of ours")
