"""The broker at an exchange: sends booked orders, hears what became of them, and asks when it hears nothing.

An order's intent is on disk before its request leaves. A request without an answer leaves its order UNKNOWN: it is looked up
by its client id until the exchange has a word on it, never sent again, and counts at its worst case meanwhile. Reconciling
is ``reconcile``'s, stops are ``stops``', the wire is ``gateway``'s; here is what happens when, and what may go.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from loguru import logger

from hydra_core.broker import facts
from hydra_core.broker.books import Books
from hydra_core.broker.gateway import FIT, Cause, Gateway
from hydra_core.broker.protocol import Incident, MarketBook, Standing
from hydra_core.broker.reconcile import Reconciler, Report
from hydra_core.broker.sending import Sender
from hydra_core.broker.stops import Stops
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError, LedgerUnusable, Unsupported, VenueError
from hydra_core.domain.intervals import iso
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState, Position
from hydra_core.execution.orders import DONE, LIVE, Word
from hydra_core.execution.rounding import refusal
from hydra_core.ledger.records import EXTERNAL, FundingPayment, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.listings import Listing
from hydra_core.settings import LiveSettings

IN_FULL_MS: Final = 2_000
"""Wall time after which a trade that was told in short only is asked for."""
UNBOOKED_MS: Final = 500
"""Wall time after which an order that filled more than is booked leads to a comparison: its trades are asked for before."""
RULES_EVERY_MS: Final = 600_000
"""Wall time between two looks at what the exchange lists."""


class ExchangeBroker:
    """Trades one account at one exchange.

    Parameters
    ----------
    gateway : Gateway, opened
    ledger, account : where everything is booked; the account is one that was opened live
    view : MarketBook, newest marks and quotes
    clock : Clock
    rules : filters by pair; replaced in place when the exchange changed them
    live : LiveSettings
    listings : asks the exchange what it lists
    """

    def __init__(
        self,
        gateway: Gateway,
        ledger: Ledger,
        account: str,
        view: MarketBook,
        clock: Clock,
        rules: dict[Pair, MarketRules],
        live: LiveSettings,
        listings: Callable[[], Awaitable[Mapping[Pair, Listing]]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._account = account
        self._view = view
        self._clock = clock
        self._rules = rules
        self._live = live
        self._listings = listings
        self._rules_wall = clock.wall_ms()
        venue = gateway.endpoint.exchange
        self.books = Books(ledger, account, venue, rules, view.exact_mark, clock.market_ms)
        self._sender = Sender(gateway, self.books, clock, self, live.probe_window_s)
        self._reconciler = Reconciler(gateway, self.books, ledger, account, venue, rules, live, self._sender.is_settled)
        self.stops = Stops(self, ledger, account, clock, rules, live)
        self._caps: dict[Pair, Decimal] = {}
        self._wake = asyncio.Event()
        self._wanted = "start"
        self._started = False
        self._clean = False
        self._stream_up: bool | None = None
        self._forbidden = ""
        self._read_wall = clock.wall_ms()
        self._armed_wall: dict[Pair, int] = {}
        self._told_short: dict[tuple[Pair, str], int] = {}
        """Trades that were told without their fee, by pair and number, and when (wall ms): booked once told in full."""
        self._short_since: dict[str, int] = {}
        """Orders that filled more than is booked, and since when (wall ms)."""
        self._has_countdown = live.dead_man_s > 0
        self.last_report: Report | None = None

    # -- what the desk and the guard see -------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        """How far the account is known now."""
        silent_s = (self._clock.wall_ms() - self._read_wall) / 1000
        if self._forbidden:
            return Standing(False, self._forbidden)
        if silent_s > self._live.unknown_after_s:
            return Standing(False, f"the account could not be read for {silent_s:.0f} s")
        if not self._started or self.last_report is None:
            return Standing(True, "the account has not been compared with the exchange yet")
        if self._stream_up is False:
            return Standing(True, "the user stream is down")
        if self._gateway.drift.alarm:
            return Standing(True, self._gateway.drift.alarm)
        if not self._clean:
            report = self.last_report
            words = report.failed or "; ".join(report.differences) or f"{len(report.unresolved)} orders are unresolved"
            return Standing(True, f"ledger and exchange: {words}")
        return Standing()

    def restore(self) -> int:
        """Take up the orders that were open when the last process ended; what was never sent is given up."""
        for record in list(self.books.live.values()):
            if record.state is OrderState.NEW:
                self.books.hear(record.order_id, Word.WITHDRAWN, "the process ended before it was sent")
            elif record.state is OrderState.PENDING:
                self.books.hear(record.order_id, Word.NO_ANSWER, "the process ended before its answer")
        return len(self.books.live)

    def submit(self, order: OrderRecord) -> None:
        """Send an order whose intent is booked, unless it may not go; the answer is heard later."""
        self.books.live[order.order_id] = order
        block = self._why_not(order)
        if block:
            logger.warning("order {} is not sent: {}", order.order_id, block)
            self.books.hear(order.order_id, Word.WITHDRAWN, block)
            return
        self._sender.send(order)

    def cancel(self, order_id: str, reason: str) -> bool:
        """Have a working order cancelled; False when it works no more. It may fill until the exchange has answered."""
        return self._sender.cancel(order_id, reason)

    def working(self, pair: Pair | None = None) -> list[OrderRecord]:
        """Orders of ours that may still fill, protective stops left out."""
        return [
            order
            for order in self.books.live.values()
            if order.kind != "stop" and order.plan_id != EXTERNAL and (pair is None or order.pair == pair)
        ]

    def ready(self, pair: Pair) -> bool:
        """Whether another order of the pair may be tried now: not while a refusal is looked into, or shortly after one."""
        return self._sender.ready(pair)

    def bounded(self, pair: Pair) -> bool:
        """Whether market orders of the pair were refused for its price band, so that limits must do."""
        return pair in self._sender.outside_band

    def protect(self, positions: Mapping[Pair, Position]) -> None:
        """Keep every position's protective stop at rest, and none where nothing is held."""
        self.stops.keep(positions)

    def protected(self, pair: Pair) -> bool:
        """Whether a protective stop of the pair rests at the exchange."""
        return self.stops.resting(pair)

    def must_close(self) -> Mapping[Pair, str]:
        """Positions that cannot be protected, each with its reason."""
        return {**self.stops.leaving, **self.stops.exits}

    def tick(self) -> int:
        """Raise what a request could not cope with; fetch trades that an order told of and that are not booked."""
        if self._sender.fault is not None:
            raise self._sender.fault
        now = self._clock.wall_ms()
        self._short_since = {order: self._short_since.get(order, now) for order in self.books.short}
        if any(now - since >= UNBOOKED_MS for since in self._short_since.values()):
            self.want("an order filled more than is booked")
        late = [trade for trade, heard in self._told_short.items() if now - heard >= IN_FULL_MS]
        for trade in late:
            del self._told_short[trade]
        if late:
            self.want("a trade was told in short only")
        return 0

    def settle(self, pair: Pair, settlement_ms: int, rate: Decimal) -> FundingPayment | None:
        """Funding is booked from the exchange's own entries: ask for them now."""
        if pair in self._ledger.positions(self._account):
            self.want(f"funding of {pair}")
        return None

    def flat(self) -> bool:
        """Whether the last comparison found nothing held at the exchange; one is asked for where it was before."""
        report = self.last_report
        if report is not None and report.clean and not self._reconciler.venue_positions:
            return True
        self.want("to see that nothing is held")
        return False

    def incidents(self) -> list[Incident]:
        """What was done to the account since the last call."""
        found = list(self.books.incidents)
        self.books.incidents.clear()
        return found

    # -- what the user stream tells ------------------------------------------------------------------------------------

    def on_user_stream(self, up: bool, reason: str) -> None:
        """The user stream came up (what was missed has been read by then) or went down: then nothing new may go."""
        if up == self._stream_up:
            return
        self._stream_up = up
        if not up:
            self._clean = False
            self.want(f"user stream down: {reason}")

    def on_user_event(self, message: Mapping[str, Any]) -> None:
        """Fold in a message of the user stream; one that cannot be read leads to a comparison instead."""
        try:
            kind = message["e"]
            if kind == "ORDER_TRADE_UPDATE":
                told = facts.read_order_event(message)
                with self.books.together():
                    self._on_order(*told)
            elif kind == "ALGO_UPDATE":
                self.books.take_order(facts.read_algo_event(message))
            elif kind == "ACCOUNT_UPDATE" and message["a"].get("m") != "ORDER":
                self.want(f"account update: {message['a'].get('m')}")
            elif kind == "TRADE_LITE":
                self._told_short.setdefault(facts.read_short_trade(message), self._clock.wall_ms())
            elif kind == "MARGIN_CALL":
                self.books.alarm(facts.read_margin_call(message))
                self._clean = False
                self.want("a margin call")
            elif kind in {"ACCOUNT_CONFIG_UPDATE", "CONDITIONAL_ORDER_TRIGGER_REJECT"}:
                self.want(f"{kind}")
        except facts.MALFORMED as error:
            logger.warning("user event cannot be read ({!r}): {:.200}", error, str(message))
            self.on_unread(repr(error))

    def on_unread(self, words: str) -> None:
        """A message of the user stream could not be read: nothing new may go until the account has been compared."""
        said = "a user event could not be read"
        if not any(alarm.startswith(said) for alarm in self.books.alarms):
            self.books.alarm(f"{said} ({words})")
        self._clean = False
        self.want(said)

    def _on_order(self, order: facts.OrderFact, fill: facts.FillFact | None) -> None:
        if fill is not None:
            self._told_short.pop((fill.pair, fill.trade_id), None)
            if self.books.find(order) is None:
                self.books.take_order(order)
            self.books.take_fill(fill, order.client_id)
        self.books.take_order(order)
        self._sender.follow_up(order.client_id)

    @property
    def told_at_once(self) -> bool:
        """Whether the user stream is up and brings every trade."""
        return bool(self._stream_up) and math.isinf(self._gateway.listen_s)

    @property
    def live_orders(self) -> Mapping[str, OrderRecord]:
        """Orders that may still fill, by client id."""
        return self.books.live

    # -- sending -------------------------------------------------------------------------------------------------------

    def send_stop(self, order: OrderRecord) -> None:
        """Send a protective stop whose intent is booked; it may go in every mode."""
        self.books.live[order.order_id] = order
        self._sender.send(order)

    def _why_not(self, order: OrderRecord) -> str:
        standing = self.standing
        held = self._ledger.position(self._account, order.pair)
        rules = self._rules.get(order.pair)
        if rules is None:
            return f"the exchange does not list {order.pair}"
        if not order.reduce_only:
            if order.pair in self.stops.leaving:
                return self.stops.leaving[order.pair]
            if standing.block:
                return standing.block
            if self._gateway.wait_s > 0:
                return f"the exchange asked for a pause of {self._gateway.wait_s:.0f} s"
        elif not standing.known and self._forbidden:
            return self._forbidden
        price = order.limit_price or self._view.exact_mark(order.pair)
        if price is None and not order.reduce_only:
            return f"{order.pair} has no mark price"
        quantity = held.quantity if held is not None else Decimal(0)
        return refusal(
            order.quantity,
            price or Decimal(0),
            rules,
            reduce_only=order.reduce_only,
            held=quantity,
            cap=self._caps.get(order.pair),
        )

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Return once no request of ours is under way."""
        await self._sender.settled()

    async def aclose(self) -> None:
        """End what is under way; orders whose answers did not come are looked up by the next process."""
        await self._sender.aclose()

    def stop_refused(self, order: OrderRecord, cause: Cause, reason: str) -> None:
        """A protective stop was not taken."""
        self.stops.refused(order, cause, reason)

    async def look_up(self, record: OrderRecord) -> None:
        """Ask for one order and fold the answer in."""
        await self._reconciler.look_up(record)

    async def fetch_fills(self, pair: Pair) -> int:
        """Book the pair's trades since the last reading."""
        return await self._reconciler.fetch_fills(pair)

    def want(self, reason: str) -> None:
        """Ask for a comparison as soon as possible."""
        self._wanted = self._wanted or reason
        self._wake.set()

    async def run(self) -> None:
        """Compare with the exchange at the start, whenever asked and every while; keep its countdown running."""
        try:
            while True:
                self._wake.clear()
                self._insist()
                await self.reconcile(self._wanted or "loop")
                await self.keep_countdown()
                pause = self._live.reconcile_s
                if not self._clean:
                    pause = min(pause, max(0.5, self._live.reconcile_s / 10))
                if self._armed_wall:
                    pause = min(pause, self._live.dead_man_s / 3)
                if self.working():
                    pause = min(pause, self._gateway.listen_s)
                try:
                    await asyncio.wait_for(self._wake.wait(), pause)
                except TimeoutError:
                    continue
        finally:
            await self._sender.aclose()

    def _insist(self) -> None:
        """End the session where a request ended in an error of ours: what it left undone is unknown here, and a new process
        finds out by asking."""
        fault = self._sender.fault
        if fault is None or isinstance(fault, LedgerUnusable):
            return  # books that cannot be used end the session by the next tick, and are waited for
        logger.opt(exception=fault).error("a request about an order of {} ended in an error", self._account)
        raise HydraError(
            f"a request about an order of {self._account} ended in an error: {type(fault).__name__}: {fault}",
            "Start the trader again (`hydra up` does): it looks up what became of its orders",
        ) from fault

    async def reconcile(self, reason: str) -> Report:
        """Compare now; what may go afterwards follows from what was found."""
        self._wanted = ""
        if not self._started and not await self._start():
            self.last_report = Report(reason, failed=self._forbidden or "the exchange does not answer")
            return self.last_report
        if self._clock.wall_ms() - self._rules_wall > RULES_EVERY_MS:
            await self.refresh_rules()
        report = await self._reconciler.run(reason)
        self.last_report = report
        self._clean = report.clean
        if not report.failed:
            self._read_wall = self._clock.wall_ms()
            self._sender.waiting.clear()
        for record in list(self.books.live.values()):
            if record.state is OrderState.UNKNOWN:
                self._sender.probe_later(record.order_id)
        return report

    async def _start(self) -> bool:
        """Read what must hold before anything is sent: the exchange's time, one-way mode, the brackets."""
        try:
            await self._gateway.synchronise()
            if unfit := await self._gateway.unfit(self._rules):
                self._forbidden = f"{unfit}; {FIT}"
                return False
            self._forbidden = ""
            self._caps = await self._gateway.notional_caps(self._rules)
        except VenueError as error:
            logger.warning("the exchange cannot be read: {}", error)
            return False
        self._started = True
        return True

    async def refresh_rules(self) -> None:
        """Take in what is listed now; a pair that is delivered soon, or traded no more, has to be closed and is left alone."""
        if self._listings is None:
            return
        try:
            listed = await self._listings()
        except VenueError as error:
            logger.warning("filters cannot be read: {}", error)
            return
        self._rules_wall = self._clock.wall_ms()
        horizon = self._clock.market_ms() + int(self._live.close_before_delivery_h * 3_600_000)
        for pair in self._rules:
            listing = listed.get(pair)
            if listing is None or not listing.trading:
                self.stops.leaving[pair] = f"{pair} is traded no more"
            elif listing.delivery_ms <= horizon:
                self.stops.leaving[pair] = f"{pair} is delivered at {iso(listing.delivery_ms)}"
            else:
                self.stops.leaving.pop(pair, None)
            if listing is not None:
                self._rules[pair] = replace(listing.rules, margin_steps=self._rules[pair].margin_steps)

    async def read_caps(self) -> None:
        """Take in the leverage tables as they are now."""
        try:
            self._caps = await self._gateway.notional_caps(self._rules)
        except VenueError as error:
            logger.warning("brackets cannot be read: {}", error)

    async def keep_countdown(self) -> None:
        """Have the exchange cancel resting orders should we fall silent; where it cannot, only stops protect."""
        if not self._has_countdown:
            return
        pairs = {order.pair for order in self.working() if order.kind == "limit" and order.state in LIVE - DONE}
        now = self._clock.wall_ms()
        try:
            for pair in pairs:
                await self._gateway.countdown(pair, int(self._live.dead_man_s * 1000))
                self._armed_wall[pair] = now
            for pair in [pair for pair in self._armed_wall if pair not in pairs]:
                await self._gateway.countdown(pair, 0)
                del self._armed_wall[pair]
        except Unsupported as error:
            logger.info("{}", error)
            self._has_countdown = False
        except VenueError as error:
            logger.warning("countdown: {}", error)
