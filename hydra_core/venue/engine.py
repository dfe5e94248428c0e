"""The matching engine: orders against the market's book and trades, the account they move, one sequence of events.

Time reaches it from outside (:meth:`Engine.advance`); inside a step everything happens in market order: public trades
fill resting orders and set off conditional ones, settlements charge funding, marks call margin. A step is written to
the state file before anyone is told of it. Reading requests and spelling messages is done elsewhere.
"""

from __future__ import annotations

from decimal import Decimal

from hydra_core.domain.pairs import Pair
from hydra_core.venue import refusals
from hydra_core.venue.account import ZERO, notional_cap
from hydra_core.venue.admission import AlgoRequest, OrderRequest
from hydra_core.venue.engine_checks import MAX_OPEN_ALGOS, MAX_OPEN_ORDERS
from hydra_core.venue.engine_forced import Forced
from hydra_core.venue.events import LeverageEvent
from hydra_core.venue.feed import SETTLEMENT
from hydra_core.venue.orders import AlgoOrder, Order


class Engine(Forced):
    """One account on one market.

    Parameters
    ----------
    feed : Feed
    store : VenueStore
        Where the account was kept and is kept.
    opening_balance : Decimal
        Wallet (USDT) when the store holds no account yet.
    now_ms : int
        Market time up to which the account was last known to be settled; what lies between then and the next
        :meth:`advance` still happens to it.
    tell : callable
        Handed every user event, in order, after it is on disk.
    """

    hedged = False
    """Whether the account stands in hedge mode, in which this venue takes no orders."""

    @property
    def busy(self) -> bool:
        """Whether the passing of time can move the account."""
        return bool(self.book.busy_pairs() or self.account.open_pairs())

    # -- time ----------------------------------------------------------------------------------------------------

    def advance(self, until_ms: int) -> None:
        """Let everything in (now, until] happen to the account, in market order."""
        if until_ms <= self._now:
            return
        watched = {*self.book.busy_pairs(), *self.account.open_pairs()}
        for ts, what, pair, value, quantity in self.feed.steps(watched, self._now, until_ms):
            self._now = ts
            if what == SETTLEMENT:
                self._settle(pair, value, ts)
            else:
                if self.book.is_busy(pair):
                    price = self.feed.price(pair, value)
                    self._match_resting(pair, price, self.feed.quantity(pair, quantity), ts)
                    self._trigger(pair, price, ts)
                self._call_margin(pair, value, ts)
        self._now = until_ms
        self._flush()

    # -- requests ------------------------------------------------------------------------------------------------

    def place(self, request: OrderRequest) -> Order:
        """Take an order in; returns it as it stands after matching.

        Raises
        ------
        VenueRefusal : duplicate id, margin, position, or a time in force that cannot be kept
        """
        pair = request.pair
        if request.client_id and self.book.knows_client_id(request.client_id):
            raise refusals.duplicate_client_id()
        if len(self.book.open_orders(pair)) >= MAX_OPEN_ORDERS:
            raise refusals.too_many_open_orders()
        self._check_listing(pair, request.reduce_only)
        self._check_position(request)
        self._check_counterparty(request)
        self._check_time_in_force(request)
        if not request.reduce_only:
            self._check_margin(request)
        order_id = self.book.next_id()
        order = Order(
            order_id=order_id,
            client_id=request.client_id or f"venue-{order_id}",
            pair=pair,
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force,
            price=request.price,
            quantity=request.quantity,
            reduce_only=request.reduce_only,
            created_ms=self._now,
            updated_ms=self._now,
            original_kind=request.kind,
        )
        self._enter(order)
        self._flush()
        return order

    def place_algo(self, request: AlgoRequest) -> AlgoOrder:
        """Take a conditional order in.

        Raises
        ------
        VenueRefusal : duplicate id, nothing to reduce, or a trigger that is already passed
        """
        pair = request.pair
        if request.client_id and self.book.knows_algo_client_id(request.client_id):
            raise refusals.duplicate_client_id()
        if len(self.book.waiting(pair)) >= MAX_OPEN_ALGOS:
            raise refusals.too_many_open_orders()
        self._check_listing(pair, request.reduce_only)
        if request.reduce_only and self.account.position(pair).quantity * request.side >= 0:
            raise refusals.reduce_only_rejected()
        price = self._reference(pair, request.working_type)
        trailing = request.kind == "TRAILING_STOP_MARKET"
        # A stop waits for the price to move its own way (a buying stop for a rise), a take-profit for the other way.
        rising = (request.side > 0) == request.kind.startswith("STOP")
        if not trailing and (price >= request.trigger_price if rising else price <= request.trigger_price):
            raise refusals.would_trigger()
        algo_id = self.book.next_id()
        algo = AlgoOrder(
            algo_id=algo_id,
            client_id=request.client_id or f"venue-{algo_id}",
            pair=pair,
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force,
            price=request.price,
            quantity=request.quantity,
            trigger_price=ZERO if trailing else request.trigger_price,
            rising=rising,
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            working_type=request.working_type,
            created_ms=self._now,
            updated_ms=self._now,
            callback_rate=request.callback_rate,
            activation_price=request.trigger_price if trailing else ZERO,
        )
        self._note_algo(algo, self._now)
        self._flush()
        return algo

    def amend(self, order: Order, quantity: Decimal, price: Decimal) -> Order:
        """Give a resting limit order another quantity and price; it meets the book anew.

        One that has already filled so much, or that may only rest and would not, is cancelled.

        Raises
        ------
        VenueRefusal : nothing changes, or the account does not carry it
        """
        if not order.is_open:
            raise refusals.unknown_order()
        if (quantity, price) == (order.quantity, order.price):
            raise refusals.nothing_to_modify()
        if quantity <= order.filled:
            return self.cancel(order)
        pair, side = order.pair, order.side
        if order.time_in_force == "GTX" and self._crossing(pair, side, price):
            return self.cancel(order)
        if not order.reduce_only and (quantity - order.filled) * price > order.remaining * order.price:
            more = (quantity - order.filled) - order.remaining * order.price / price
            self._check_margin(OrderRequest(pair, side, "LIMIT", order.time_in_force, more, price, False, ""))
        order.quantity, order.price, order.updated_ms = quantity, price, self._now
        self._note_order(order, "AMENDMENT", None, self._now)
        self._take(order, order.remaining)
        self._flush()
        return order

    def cancel(self, order: Order) -> Order:
        """Take a resting order out; refuses with -2011 one that is not open."""
        if not order.is_open:
            raise refusals.cannot_cancel()
        self._close(order, "CANCELED", self._now)
        self._flush()
        return order

    def cancel_algo(self, algo: AlgoOrder) -> AlgoOrder:
        """Take a waiting conditional order out; refuses with -2011 one that does not wait."""
        if not algo.is_open:
            raise refusals.cannot_cancel()
        self._end_algo(algo, "CANCELED", "", self._now)
        self._flush()
        return algo

    def set_leverage(self, pair: Pair, leverage: int) -> Decimal:
        """Set a pair's leverage; returns the greatest notional (USDT) that it allows.

        Raises
        ------
        VenueRefusal : the leverage is not offered, or the open position and orders do not allow it
        """
        rules, table = self.feed.rules[pair], self.feed.tables[pair]
        if not 1 <= leverage <= rules.max_leverage:
            raise refusals.bad_leverage()
        cap = notional_cap(table, leverage)
        mark = self.feed.mark(pair, self._now)
        if abs(self.account.position(pair).quantity) * mark > cap:
            raise refusals.beyond_bracket()
        before = self.account.leverage.get(pair)
        self.account.leverage[pair] = leverage
        state = self.margin()
        if state.position_initial + state.order_initial > max(state.balance, ZERO):
            if before is None:
                del self.account.leverage[pair]
            else:
                self.account.leverage[pair] = before
            raise refusals.leverage_too_high()
        self._changes.account = True
        self._pending.append(LeverageEvent(pair, leverage, self._now))
        self._flush()
        return cap
