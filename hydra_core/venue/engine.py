"""The matching engine: orders against the market's book and trades, the account they move, one sequence of events.

Time reaches it from outside (:meth:`Engine.advance`); inside a step everything happens in market order: public trades
fill resting orders and set off conditional ones, settlements charge funding, marks call margin. A step is written to
the state file before anyone is told of it. Reading requests and spelling messages is done elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.domain.pairs import Pair
from hydra_core.venue import refusals
from hydra_core.venue.account import ZERO, Account, money, notional_cap
from hydra_core.venue.admission import AlgoRequest, OrderRequest
from hydra_core.venue.book import OrderBook
from hydra_core.venue.events import AccountEvent, AlgoEvent, LeverageEvent, OrderEvent, PositionLine, UserEvent
from hydra_core.venue.feed import SETTLEMENT, Feed
from hydra_core.venue.margin import MarginState, MarginWatch, margin_state
from hydra_core.venue.orders import AlgoOrder, Income, Order, Trade
from hydra_core.venue.state import Changes, VenueStore

MAX_OPEN_ORDERS: Final = 200
MAX_OPEN_ALGOS: Final = 10
"""Resting and conditional orders allowed a pair."""


class Engine:
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

    def __init__(
        self, feed: Feed, store: VenueStore, opening_balance: Decimal, now_ms: int, tell: Callable[[UserEvent], None]
    ) -> None:
        self.feed = feed
        self.book = OrderBook()
        self._store = store
        self._tell = tell
        self._now = now_ms
        self._watch = MarginWatch()
        self._changes = Changes()
        self._pending: list[UserEvent] = []
        saved = store.document("account")
        if saved is None:
            self.account = Account(opening_balance, opened_ms=now_ms)
            self._changes.account = True
            self._flush()
        else:
            self.account = Account.from_json(saved)
            # The account may have been written after the clock: nothing that it has been through may happen twice.
            self._now = max(now_ms, int(saved["settled_ms"]))
            self.book.load(store.orders(), store.algo_orders(), store.trades(), store.income())

    @property
    def now_ms(self) -> int:
        """Market time up to which everything has happened."""
        return self._now

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
        held = self.account.position(pair).quantity
        if request.reduce_only and held * request.side >= 0:
            raise refusals.reduce_only_rejected()
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

    def margin(self, extra: tuple[Pair, int, Decimal, Decimal] | None = None) -> MarginState:
        """The account now, optionally with one more order at rest."""
        orders = self.book.open_orders()
        pairs = {*self.account.open_pairs(), *(order.pair for order in orders)} | ({extra[0]} if extra else set())
        marks = self.feed.marks(self._now, tuple(pairs))
        return margin_state(self.account, orders, marks, self.feed.rules, self.feed.tables, extra)

    # -- checks --------------------------------------------------------------------------------------------------

    def _check_margin(self, request: OrderRequest) -> None:
        pair = request.pair
        mark = self.feed.mark(pair, self._now)
        held = self.account.position(pair).quantity
        after = abs(held + request.side * request.quantity) * mark
        leverage = self.account.leverage_of(pair, self.feed.rules[pair])
        if after > abs(held) * mark and after > notional_cap(self.feed.tables[pair], leverage):
            raise refusals.beyond_bracket()
        reference = request.price or self._touch(request)
        before, with_order = self.margin(), self.margin((pair, request.side, reference, request.quantity))
        claim = with_order.position_initial + with_order.order_initial - before.position_initial - before.order_initial
        if claim <= 0:
            return
        open_loss = max(ZERO, (reference - mark) * request.side) * request.quantity
        if claim + open_loss > before.available:
            raise refusals.margin_insufficient()

    def _check_time_in_force(self, request: OrderRequest) -> None:
        if request.kind != "LIMIT" or request.time_in_force not in {"FOK", "GTX"}:
            return
        crossing = sum((size for _, size in self._crossing(request.pair, request.side, request.price)), ZERO)
        if request.time_in_force == "GTX" and crossing > 0:
            raise refusals.VenueRefusal(
                -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected."
            )
        if request.time_in_force == "FOK" and crossing < request.quantity:
            raise refusals.VenueRefusal(
                -5021, "Due to the order could not be filled immediately, the FOK order has been rejected."
            )

    def _touch(self, request: OrderRequest) -> Decimal:
        levels = self.feed.levels(request.pair, request.side, self._now)
        return levels[0][0] if levels else self.feed.mark(request.pair, self._now)

    def _reference(self, pair: Pair, working_type: str) -> Decimal:
        if working_type == "MARK_PRICE":
            return self.feed.mark(pair, self._now)
        return self.feed.price(pair, self.feed.market.price(pair, self._now))

    # -- matching ------------------------------------------------------------------------------------------------

    def _crossing(self, pair: Pair, side: int, limit: Decimal) -> list[tuple[Decimal, Decimal]]:
        levels = self.feed.levels(pair, side, self._now)
        return [level for level in levels if not limit or (limit - level[0]) * side >= 0]

    def _enter(self, order: Order) -> None:
        """An accepted order meets the book: what crosses is filled, the rest follows its time in force."""
        self._note_order(order, "NEW", None, self._now)
        for price, size in self._crossing(order.pair, order.side, order.price):
            quantity = min(size, self._fillable(order))
            if quantity <= 0:
                break
            self.feed.take(order.pair, order.side, self._now, price, quantity)
            self._fill(order, price, quantity, maker=False, ts=self._now)
        if order.is_open and (order.kind != "LIMIT" or order.time_in_force in {"IOC", "FOK"}):
            self._close(order, "EXPIRED", self._now)

    def _match_resting(self, pair: Pair, price: Decimal, quantity: Decimal, ts: int) -> None:
        """A public trade fills the orders whose price it reaches: up to its own size at the price, wholly beyond it."""
        for order in self.book.open_orders(pair):
            through = (order.price - price) * order.side
            if through < 0:
                continue
            filled = min(self._fillable(order), order.remaining if through > 0 else quantity)
            if filled > 0:
                self._fill(order, order.price, filled, maker=True, ts=ts)
            elif order.reduce_only:
                self._close(order, "EXPIRED", ts)

    def _fillable(self, order: Order) -> Decimal:
        if not order.reduce_only:
            return order.remaining
        held = self.account.position(order.pair).quantity
        return min(order.remaining, abs(held)) if held * order.side < 0 else ZERO

    def _fill(self, order: Order, price: Decimal, quantity: Decimal, *, maker: bool, ts: int) -> None:
        rules = self.feed.rules[order.pair]
        realised = self.account.position(order.pair).fill(order.side * quantity, price, ts)
        commission = money(price * quantity * (rules.maker_fee if maker else rules.taker_fee))
        self.account.wallet += realised - commission
        order.filled += quantity
        order.quote += price * quantity
        order.status = "FILLED" if order.filled == order.quantity else "PARTIALLY_FILLED"
        order.updated_ms = ts
        trade = Trade(
            trade_id=self.book.next_id(),
            order_id=order.order_id,
            client_id=order.client_id,
            pair=order.pair,
            side=order.side,
            price=price,
            quantity=quantity,
            commission=commission,
            realised=realised,
            maker=maker,
            ts=ts,
        )
        self.book.trades.append(trade)
        self._changes.trades.append(trade)
        if realised:
            self._enter_income(order.pair, "REALIZED_PNL", realised, ts, str(trade.trade_id))
        self._enter_income(order.pair, "COMMISSION", -commission, ts, str(trade.trade_id))
        self._note_account("ORDER", ZERO, (order.pair,), ts)
        self._note_order(order, "TRADE", trade, ts)

    def _trigger(self, pair: Pair, price: Decimal, ts: int) -> None:
        for algo in self.book.waiting(pair):
            reference = self.feed.mark(pair, ts) if algo.working_type == "MARK_PRICE" else price
            extreme = algo.extreme
            if algo.reached(reference):
                self._fire(algo, ts)
            elif algo.extreme != extreme:
                self._changes.algo_orders[algo.algo_id] = algo

    def _fire(self, algo: AlgoOrder, ts: int) -> None:
        held = self.account.position(algo.pair).quantity
        quantity = abs(held) if algo.close_position else algo.quantity
        algo.trigger_ms = ts
        if algo.reduce_only and held * algo.side >= 0:
            self._end_algo(algo, "REJECTED", "ReduceOnly reject", ts)
            return
        kind = "MARKET" if algo.is_market else "LIMIT"
        request = OrderRequest(
            algo.pair, algo.side, kind, algo.time_in_force, quantity, algo.price, algo.reduce_only, ""
        )
        try:
            self._check_time_in_force(request)
            if not algo.reduce_only:
                self._check_margin(request)
        except refusals.VenueRefusal as refusal:
            self._end_algo(algo, "REJECTED", refusal.message, ts)
            return
        order_id = self.book.next_id()
        client_id = algo.client_id if not self.book.knows_client_id(algo.client_id) else f"venue-{order_id}"
        order = Order(
            order_id=order_id,
            client_id=client_id,
            pair=algo.pair,
            side=algo.side,
            kind=kind,
            time_in_force=algo.time_in_force,
            price=algo.price,
            quantity=quantity,
            reduce_only=algo.reduce_only,
            created_ms=ts,
            updated_ms=ts,
            original_kind=algo.kind,
            close_position=algo.close_position,
            stop_price=algo.trigger_price,
        )
        algo.order_id = order_id
        self._end_algo(algo, "TRIGGERED", "", ts)
        self._enter(order)
        self._end_algo(algo, "FINISHED", "", ts)

    # -- funding and liquidation -----------------------------------------------------------------------------------

    def _settle(self, pair: Pair, rate: float, ts: int) -> None:
        held = self.account.position(pair).quantity
        if not held:
            return
        payment = money(-held * self.feed.mark(pair, ts) * Decimal(repr(rate)))
        if payment:
            self.account.wallet += payment
            self._enter_income(pair, "FUNDING_FEE", payment, ts)
            self._note_account("FUNDING_FEE", payment, (pair,), ts)

    def _call_margin(self, pair: Pair, price: float, ts: int) -> None:
        """Liquidate the whole account once its balance at the marks no longer covers the maintenance margin."""
        pairs = self.account.open_pairs()
        if not pairs or not self._watch.due(pair, price, ts):
            return
        marks = self.feed.marks(ts, pairs)
        slack = self.account.wallet + self.account.unrealised(marks) - self.account.maintenance(marks, self.feed.tables)
        held = {one: float(self.account.positions[one].quantity) for one in pairs}
        self._watch.checked(float(slack), held, {one: float(mark) for one, mark in marks.items()}, ts)
        if slack > 0:
            return
        logger.warning("account is liquidated at market time {}: {}", ts, ", ".join(pairs))
        for order in self.book.open_orders():
            self._close(order, "EXPIRED", ts)
        for one in pairs:
            self._liquidate(one, marks[one], ts)
        if self.account.wallet < 0:
            shortfall = -self.account.wallet
            self.account.wallet = ZERO
            self._enter_income(pairs[0], "INSURANCE_CLEAR", shortfall, ts)
            self._note_account("INSURANCE_CLEAR", shortfall, (), ts)

    def _liquidate(self, pair: Pair, mark: Decimal, ts: int) -> None:
        held = self.account.position(pair).quantity
        order_id = self.book.next_id()
        order = Order(
            order_id=order_id,
            client_id=f"autoclose-{ts}{order_id}",
            pair=pair,
            side=-1 if held > 0 else 1,
            kind="LIQUIDATION",
            time_in_force="IOC",
            price=ZERO,
            quantity=abs(held),
            reduce_only=True,
            created_ms=ts,
            updated_ms=ts,
            original_kind="LIQUIDATION",
        )
        self._note_order(order, "NEW", None, ts)
        for price, size in self._crossing(pair, order.side, ZERO):
            quantity = min(size, order.remaining)
            if quantity > 0:
                self.feed.take(pair, order.side, ts, price, quantity)
                self._fill(order, price, quantity, maker=False, ts=ts)
        if order.remaining > 0:
            # The insurance fund takes what the book could not, at the mark.
            self._fill(order, mark, order.remaining, maker=False, ts=ts)

    # -- records ---------------------------------------------------------------------------------------------------

    def _enter_income(self, pair: Pair, kind: str, amount: Decimal, ts: int, info: str = "") -> None:
        entry = Income(self.book.next_id(), pair, kind, amount, ts, info)
        self.book.income.append(entry)
        self._changes.income.append(entry)

    def _close(self, order: Order, status: str, ts: int) -> None:
        order.status = status
        order.updated_ms = ts
        self._note_order(order, status, None, ts)

    def _end_algo(self, algo: AlgoOrder, status: str, reason: str, ts: int) -> None:
        algo.status, algo.reason, algo.updated_ms = status, reason, ts
        self._note_algo(algo, ts)

    def _note_order(self, order: Order, execution: str, trade: Trade | None, ts: int) -> None:
        self.book.keep(order)
        self._changes.orders[order.order_id] = order
        self._pending.append(OrderEvent(replace(order), execution, trade, ts))

    def _note_algo(self, algo: AlgoOrder, ts: int) -> None:
        self.book.keep_algo(algo)
        self._changes.algo_orders[algo.algo_id] = algo
        self._pending.append(AlgoEvent(replace(algo), ts))

    def _note_account(self, reason: str, change: Decimal, pairs: tuple[Pair, ...], ts: int) -> None:
        lines = []
        for pair in pairs:
            held = self.account.position(pair)
            mark = self.feed.mark(pair, ts)
            lines.append(PositionLine(pair, held.quantity, held.entry, held.unrealised(mark)))
        self._changes.account = True
        self._watch.reset()
        self._pending.append(AccountEvent(reason, self.account.wallet, change, tuple(lines), ts))

    def _flush(self) -> None:
        """Write the step, then tell of it."""
        if self._changes:
            self._store.commit(self._changes, {**self.account.to_json(), "settled_ms": self._now})
            self._changes = Changes()
        events, self._pending = self._pending, []
        for event in events:
            self._tell(event)
