"""Protective stops that rest at the exchange: one for each position, of its size, and none where nothing is held.

A new stop is at rest before the old one goes. A stop that the exchange will not take, or that is missing for too long,
makes its position one that has to be closed at once. Sending and hearing are the broker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Protocol

from loguru import logger

from hydra_core.broker.gateway import Cause
from hydra_core.domain.clock import Clock
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState, Position, Side
from hydra_core.execution.orders import RESTING, client_order_id
from hydra_core.execution.rounding import floor_quantity, round_stop
from hydra_core.ledger.records import EXTERNAL, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.settings import LiveSettings

STOP_PLAN: Final = "stop"


class StopSender(Protocol):
    """What stops need of the broker."""

    @property
    def live_orders(self) -> Mapping[str, OrderRecord]:
        """Orders that may still fill, by client id."""
        ...

    def send_stop(self, order: OrderRecord) -> None:
        """Send a stop whose intent is booked."""
        ...

    def cancel(self, order_id: str, reason: str) -> bool:
        """Have an order cancelled."""
        ...


class Stops:
    """The stops of one account.

    Parameters
    ----------
    broker : StopSender
    ledger, account : where their intents are booked
    clock, rules, live : time, filters, settings
    """

    def __init__(
        self,
        broker: StopSender,
        ledger: Ledger,
        account: str,
        clock: Clock,
        rules: Mapping[Pair, MarketRules],
        live: LiveSettings,
    ) -> None:
        self._broker = broker
        self._ledger = ledger
        self._account = account
        self._clock = clock
        self._rules = rules
        self._live = live
        self._naked_since: dict[Pair, int] = {}
        self._regridded: set[Pair] = set()
        self.exits: dict[Pair, str] = {}
        """Positions that have to be closed at once, each with its reason."""
        self.leaving: dict[Pair, str] = {}
        """Pairs that are about to be traded no more, each with why."""

    def resting(self, pair: Pair) -> bool:
        """Whether a stop of ours rests for the pair."""
        return any(order.state in RESTING for order in self._ours(pair))

    def keep(self, positions: Mapping[Pair, Position]) -> None:
        """Bring the stops at the exchange in line with the positions."""
        for pair in {
            order.pair for order in self._broker.live_orders.values() if order.kind == "stop"
        } - positions.keys():
            for order in self._ours(pair):
                self._broker.cancel(order.order_id, "its position is closed")
        for pair in [pair for pair in (*self._naked_since, *self.exits) if pair not in positions]:
            self._naked_since.pop(pair, None)
            self.exits.pop(pair, None)
        for pair, held in positions.items():
            self._keep_one(pair, held)

    def refused(self, order: OrderRecord, cause: Cause, reason: str) -> None:
        """A stop was not taken: its position is closed, unless there is none any more."""
        if cause is Cause.NOTHING_TO_REDUCE:
            return
        if cause is Cause.OFF_GRID and order.pair not in self._regridded:
            self._regridded.add(order.pair)  # the filters have changed and are being read: once more, on the new grid
            return
        words = (
            "the price is through the stop already"
            if cause is Cause.WOULD_TRIGGER
            else f"no stop can be placed: {reason}"
        )
        logger.error("{}: {}", order.pair, words)
        self.exits[order.pair] = words

    def _keep_one(self, pair: Pair, held: Position) -> None:
        stop = held.stop_price or self._taken_up(pair, held) or self._default(pair, held)
        rules = self._rules.get(pair)
        quantity = abs(floor_quantity(held.quantity, rules)) if rules is not None else abs(held.quantity)
        if stop is None or not quantity:
            return
        if rules is not None:
            stop = round_stop(stop, Side.LONG if held.quantity > 0 else Side.SHORT, rules)
        side = Side.SHORT if held.quantity > 0 else Side.LONG
        fitting: list[OrderRecord] = []
        others: list[OrderRecord] = []
        for order in self._ours(pair):
            fits = (order.side, order.remaining, order.stop_price) == (side, quantity, stop)
            (fitting if fits else others).append(order)
        if not fitting and pair not in self.exits:
            self._place(pair, held, side, quantity, stop)
        enough = [order for order in fitting if order.state in RESTING]
        if enough:
            self._naked_since.pop(pair, None)
            self._regridded.discard(pair)
            for order in others:
                self._broker.cancel(order.order_id, "a newer stop rests")
            for order in enough[1:]:  # one that was still on its way when its books were lost arrived beside a new one
                self._broker.cancel(order.order_id, "the same stop rests already")
        elif not self.resting(pair):
            now = self._clock.wall_ms()
            since = self._naked_since.setdefault(pair, now)
            if now - since > self._live.stop_grace_s * 1000 and pair not in self.exits:
                self.exits[pair] = f"no stop has rested for {self._live.stop_grace_s:g} s"
                logger.error("{}: {}", pair, self.exits[pair])

    def _taken_up(self, pair: Pair, held: Position) -> Decimal | None:
        """The price of a stop that rests already for a position whose books were lost; kept in the ledger."""
        resting = [o.stop_price for o in self._ours(pair) if o.state in RESTING and o.side * held.quantity < 0]
        if not resting or resting[0] is None:
            return None
        self._ledger.set_stop(self._account, pair, resting[0])
        return resting[0]

    def _default(self, pair: Pair, held: Position) -> Decimal | None:
        """A stop for a position that came without one (opened by hand, or adopted); kept in the ledger."""
        rules = self._rules.get(pair)
        if rules is None:
            return None
        share = Decimal(repr(self._live.default_stop))
        side = Side.LONG if held.quantity > 0 else Side.SHORT
        stop = round_stop(held.entry_price * (1 - side * share), side, rules)
        self._ledger.set_stop(self._account, pair, stop)
        return stop

    def _place(self, pair: Pair, held: Position, side: Side, quantity: Decimal, stop: Decimal) -> None:
        now = self._clock.market_ms()
        attempt = 0
        while True:
            record = OrderRecord(
                order_id=client_order_id(
                    f"{self._account}-{held.opened_ms}", pair, attempt, f"stop {side} {quantity:f} {stop:f}"
                ),
                plan_id=STOP_PLAN,
                account=self._account,
                pair=pair,
                side=side,
                quantity=quantity,
                kind="stop",
                state=OrderState.NEW,
                created_ms=now,
                updated_ms=now,
                slice_index=attempt,
                reduce_only=True,
                stop_price=stop,
                reason=f"protective stop {stop:f}",
            )
            if self._ledger.record_order(record):
                self._broker.send_stop(record)
                return
            attempt += 1  # the same stop was there before and ended

    def _ours(self, pair: Pair) -> list[OrderRecord]:
        return [
            order
            for order in self._broker.live_orders.values()
            if order.pair == pair and order.kind == "stop" and order.plan_id != EXTERNAL
        ]
