"""Orders against the market: what crosses the book, what rests until a trade reaches it, what a trigger sets off.

Whether an order may be taken in at all is asked in ``engine_checks.py``; who asks for it is ``engine.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from hydra_core.domain.pairs import Pair
from hydra_core.venue import refusals
from hydra_core.venue.account import ZERO, money
from hydra_core.venue.admission import OrderRequest
from hydra_core.venue.engine_checks import Checks
from hydra_core.venue.orders import AlgoOrder, Order, Trade


@dataclass(frozen=True, slots=True)
class FillPlan:
    """How an incoming order is filled when that was ordered: a share of it, in so many parts, and what ends the rest.

    ``then`` is ``rest`` (its time in force decides) or the status that the order ends with.
    """

    share: Decimal
    parts: int
    then: str


Planner = Callable[[Order], FillPlan | None]


class Matching(Checks):
    """Fills orders."""

    planner: Planner | None = None
    """Asked for every incoming order, by ordered faults."""

    def _enter(self, order: Order) -> None:
        """An accepted order meets the book: what crosses is filled, the rest follows its time in force."""
        self._note_order(order, "NEW", None, self._now)
        plan = self.planner(order) if self.planner is not None else None
        if plan is None:
            self._take(order, order.quantity)
        else:
            for part in self._parts(order, plan):
                self._take(order, part)
            if order.is_open and plan.then != "rest":
                self._close(order, plan.then, self._now)
        if order.is_open and (order.kind != "LIMIT" or order.time_in_force in {"IOC", "FOK"}):
            self._close(order, "EXPIRED", self._now)

    def _take(self, order: Order, most: Decimal) -> None:
        """Fill up to ``most`` base units of an order from the book."""
        for price, size in self._crossing(order.pair, order.side, order.price):
            quantity = min(size, self._fillable(order), most)
            if quantity <= 0:
                break
            self.feed.take(order.pair, order.side, self._now, price, quantity)
            self._fill(order, price, quantity, maker=False, ts=self._now)
            most -= quantity

    def _parts(self, order: Order, plan: FillPlan) -> list[Decimal]:
        """The plan's share of an order in parts on the step grid, as even as they can be."""
        step = self.feed.rules[order.pair].step_size
        steps = int(order.quantity * plan.share / step)
        parts = max(1, min(plan.parts, steps))
        return [step * (steps * (place + 1) // parts - steps * place // parts) for place in range(parts)]

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
