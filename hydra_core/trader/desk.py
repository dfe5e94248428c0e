"""From plans to orders: works each target position by its schedule, never past it, never twice.

An order's id is derived from plan, pair and slice and its intent is booked before it is sent, so a repeated step finds its
own order. What is being worked is booked too (:class:`~hydra_core.ledger.records.Execution`): a restart goes on with the same
schedule, and what it cost against the price at its arrival can be told. What the kill switches allow is told by the guard;
protective exits come from there too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.protocol import Broker
from hydra_core.domain.clock import Clock
from hydra_core.domain.market import MarketRules, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, OrderState, Plan, Position, Schedule, Side, Target
from hydra_core.execution.orders import NEVER_ARRIVED, client_order_id
from hydra_core.execution.rounding import Order, decimal, floor_quantity, orders_to_reach, round_stop
from hydra_core.execution.schedule import allowed, continues, schedule_of, shares_of, slices
from hydra_core.ledger.records import Execution, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.trader.view import MarketView

ATTEMPTS: Final = 3
"""Orders sent for one slice, where the earlier ones ended without an effect that the exchange chose (a remainder that
expired, a sending that never arrived), or where other filters ask for another size; what it refused is not sent again."""
TRIED_AGAIN: Final = frozenset({OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED})
DONE: Final = "done"
"""End of an execution that reached its target; it stays in mind, for its stop, until its plan expires."""
BOUND_STEP: Final = Decimal("0.005")
BOUND_MOST: Final = Decimal("0.05")
"""How far from the best price the limit of a closing order lies where market orders are refused, and how far at most."""


class Desk:
    """Works the newest plan of one account.

    Parameters
    ----------
    ledger, account : where plans are read and orders booked
    broker, view, clock, rules : who takes the orders, market, time, filters
    max_age_s : float, wall seconds after which a quote or mark is too old to open anything on
    """

    def __init__(
        self,
        ledger: Ledger,
        account: str,
        broker: Broker,
        view: MarketView,
        clock: Clock,
        rules: Mapping[Pair, MarketRules],
        *,
        max_age_s: float = math.inf,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._broker = broker
        self._view = view
        self._clock = clock
        self._rules = rules
        self._max_age_ms = max_age_s * 1000
        self._plan_id = ""
        self._ended = ""
        self._work: dict[Pair, Execution] = {}
        self._before: dict[Pair, tuple[Decimal, Decimal]] = {}
        """Where counting began: base units that the market had traded, and that the execution's orders had filled."""
        self._held_back: set[Pair] = set()
        """Pairs whose entries waited in the newest round: their targets stand, they are not done."""
        self._shut_now: frozenset[Pair] | None = None
        """Pairs that nothing may be opened in, once this round has asked."""
        self._judged: tuple[int, frozenset[Pair]] = (-1, frozenset())
        """Grid point of the newest decision that was read, and the pairs that it found a fault with."""
        self._closed: dict[Pair, int] = {}
        """When each pair was last closed at once: a plan from before does not open it again."""
        for one in ledger.open_executions(account, clock.market_ms()):
            self._work[one.pair] = one
            sizes = ledger.executed(one.plan_id, one.pair)
            self._count(one.pair, sum((abs(size) for size, _, _ in sizes), Decimal(0)))

    @property
    def work(self) -> Mapping[Pair, Execution]:
        """Targets being worked, by pair."""
        return self._work

    def tick(self, mode: Mode, positions: Mapping[Pair, Position]) -> int:
        """Take up the newest plan and send what is due; returns the number of orders sent.

        Parameters
        ----------
        mode : Mode, what the kill switches allow: HALTED sends nothing, FLATTEN leaves the field to the guard
        positions : open positions by pair

        Notes
        -----
        What a round books is one transaction: the first order goes out after one commit, not after one for each pair. The
        broker sends nothing before the round has ended, so no request is older than its intent in the books.
        """
        with self._ledger.together():
            return self._round(mode, positions)

    def _round(self, mode: Mode, positions: Mapping[Pair, Position]) -> int:
        plan = self._ledger.latest_plan(self._account)
        if plan is not None and plan.plan_id != self._plan_id:
            self._adopt(plan, positions)
        now = self._clock.market_ms()
        expired = {pair: "expired" for pair, work in self._work.items() if now >= work.expires_ms}
        for pair, reason in expired.items():
            self._call_back(pair, reason)
        self._leave(expired)
        self._leave({pair: f"{pair} is traded no more" for pair in self._work if pair in self._view.delisted})
        if mode in (Mode.HALTED, Mode.FLATTEN):
            return 0
        self._held_back.clear()
        self._shut_now = None
        sent = sum(self._advance(work, mode, positions, now) for work in self._work.values())
        if (
            self._work
            and not sent
            and not self._broker.working()
            and all(self._done(w, now) for w in self._work.values())
        ):
            if self._plan_id != self._ended:
                self._ledger.end_executions(self._over(work, DONE) for work in self._work.values())
            self._end(DONE)
        return sent

    def protect(self, positions: Mapping[Pair, Position]) -> bool:
        """Give positions the stops of their newest targets; True when one changed."""
        changed = False
        for pair, work in self._work.items():
            held = positions.get(pair)
            if held is None or work.target.stop_price is None or held.quantity * _sign(work.target.quantity) <= 0:
                continue
            side = Side.LONG if held.quantity > 0 else Side.SHORT
            stop = round_stop(work.target.stop_price, side, self._rules[pair])
            if stop != held.stop_price:
                changed |= self._ledger.set_stop(self._account, pair, stop)
        return changed

    def close(self, pair: Pair, held: Position, key: str, reason: str) -> bool:
        """Close a position at once, reduce-only; ``key`` tells this occasion apart. False while one is under way."""
        if not self._broker.ready(pair):
            return False
        for order in self._broker.working(pair):
            if order.reduce_only and (order.kind == "market" or order.time_in_force == "IOC"):
                return False
            self._broker.cancel(order.order_id, reason)
        self._closed[pair] = self._clock.market_ms()
        if pair in self._work:
            self._leave({pair: reason})
            self._end(reason)
        side = Side.SHORT if held.quantity > 0 else Side.LONG
        attempt = 0
        while not self._send(
            key, pair, Order(side, abs(held.quantity), reduce_only=True), attempt, reason, purpose="close"
        ):
            attempt += 1  # an earlier attempt under this key ended without closing all of it
        self._note_exit(key, pair, held, reason)
        return True

    def release(self, pair: Pair, reason: str) -> bool:
        """Stop working a pair's target: another hand moved its position; True when one was being worked."""
        if pair not in self._work:
            return False
        self._leave({pair: reason})
        self._call_back(pair, reason)
        self._end(reason)
        return True

    def drop(self, reason: str) -> int:
        """Stop working every target and cancel what works; protective closes stay. Returns the orders cancelled."""
        if self._work:
            self._leave(dict.fromkeys(self._work, reason))
            self._end(reason)
        return self.pause(reason)

    def pause(self, reason: str) -> int:
        """Cancel what works to open; targets stand, and are worked on once entries are allowed again."""
        idle = [order for order in self._broker.working() if not order.reduce_only]
        return sum(self._broker.cancel(order.order_id, reason) for order in idle)

    def _adopt(self, plan: Plan, positions: Mapping[Pair, Position]) -> None:
        """Let a newer plan supersede the old one; a target that it repeats keeps its schedule."""
        now = self._clock.market_ms()
        restarted = not self._plan_id
        self._plan_id = plan.plan_id
        if now >= plan.expires_ms:
            return
        taken: dict[Pair, Execution] = {}
        if restarted:  # what an earlier plan began and this one went on with is booked under the earlier one
            known = self._ledger.executions_until(self._account, plan.expires_ms)
        else:
            known = self._ledger.plan_executions(plan.plan_id)
        filled = self._filled(plan)
        for target in plan.targets:
            if target.quantity and plan.cycle_ms <= self._closed.get(target.pair, -1):
                continue  # decided while the position was still held
            old = self._work.get(target.pair)
            if old is not None and continues(old.target, target):
                kept = replace(target, shares=old.target.shares)
                taken[target.pair] = replace(old, target=kept, expires_ms=plan.expires_ms)
                continue
            booked = known.get(target.pair)
            if booked is not None and booked.ended_ms is not None:
                continue  # reached or given up before a restart: what another hand did since is not undone
            taken[target.pair] = booked or Execution(
                plan_id=plan.plan_id,
                account=self._account,
                target=target,
                schedule=schedule_of(target, plan.schedule),
                start_ms=plan.cycle_ms,
                initial=_held(positions, target.pair) - filled.get(target.pair, Decimal(0)),
                expires_ms=plan.expires_ms,
                arrival_ms=now,
                arrival_price=self._mid(target.pair),
            )
        superseded = f"superseded by plan {plan.plan_id}"
        for pair in self._work.keys() - taken.keys():
            self._call_back(pair, superseded)
        over = [old for pair, old in self._work.items() if pair not in taken or taken[pair].plan_id != old.plan_id]
        self._ledger.record_executions(taken.values(), [self._over(one, superseded) for one in over])
        fresh = [
            one for pair, one in taken.items() if pair not in self._work or self._work[pair].plan_id != one.plan_id
        ]
        self._work = taken
        for one in fresh:
            self._count(one.pair, abs(filled.get(one.pair, Decimal(0))))

    def _count(self, pair: Pair, filled: Decimal) -> None:
        """Begin to count what the market trades from here on; what the execution's orders have filled stands beside it."""
        self._before[pair] = (decimal(self._view.traded(pair)), filled)

    def _filled(self, plan: Plan) -> dict[Pair, Decimal]:
        """What a plan's own orders have filled already (after a restart), signed base units by pair."""
        filled: defaultdict[Pair, Decimal] = defaultdict(Decimal)
        for order in self._ledger.orders(self._account, plan_id=plan.plan_id):
            filled[order.pair] += order.filled * order.side
        return filled

    def _call_back(self, pair: Pair, reason: str) -> None:
        """Cancel what works of a pair; protective closes stay."""
        for order in self._broker.working(pair):
            if not order.reduce_only:
                self._broker.cancel(order.order_id, reason)

    def _leave(self, reasons: Mapping[Pair, str]) -> None:
        """Work these pairs no more."""
        if not reasons:
            return
        self._ledger.end_executions(self._over(self._work.pop(pair), reason) for pair, reason in reasons.items())

    def _over(self, work: Execution, reason: str) -> Execution:
        """An execution as it ends now."""
        now = self._clock.market_ms()
        return replace(work, ended_ms=now, end_price=self._mid(work.pair), end_reason=reason)

    def _mid(self, pair: Pair) -> Decimal | None:
        """Middle of the newest quote, None where there is none."""
        quote = self._view.quotes.get(pair)
        return None if quote is None else decimal(quote.mid)

    def _note_exit(self, key: str, pair: Pair, held: Position, reason: str) -> None:
        """Book a close at once as an execution of its own, so that what it cost is told with the others."""
        if self._ledger.execution(key, pair) is not None:
            return
        now, price = self._clock.market_ms(), self._mid(pair)
        exit_now = Execution(
            plan_id=key,
            account=self._account,
            target=Target(pair, 0.0, None, reason, urgent=True),
            schedule=Schedule(),
            start_ms=now,
            expires_ms=now,
            initial=held.quantity,
            arrival_ms=now,
            arrival_price=price,
            ended_ms=now,
            end_price=price,
            end_reason=reason,
        )
        self._ledger.record_executions([exit_now])

    def _end(self, reason: str) -> None:
        """Note once that the newest plan is worked no more, so that the next decision counts on nothing of it."""
        if self._plan_id and self._plan_id != self._ended:
            self._ledger.end_plan(self._plan_id, self._clock.market_ms(), reason)
            self._ended = self._plan_id

    def _done(self, work: Execution, now: int) -> bool:
        """Whether a target's last slice has been due; what the filters could not express by then stays undone."""
        if work.pair in self._held_back:
            return False
        if work.schedule.participation and now < work.expires_ms and self._rest(work):
            return False  # the market's volume may yet allow what is left
        return len(slices(work.schedule, 0.0, 0.0, work.start_ms, now)) >= max(1, work.schedule.slices)

    def _advance(self, work: Execution, mode: Mode, positions: Mapping[Pair, Position], now: int) -> int:
        """Send the orders that carry a pair to its goal of now."""
        pair = work.target.pair
        quote = self._view.quotes.get(pair)
        if quote is None or not self._broker.ready(pair):
            self._held_back.add(pair)
            return 0
        if self._broker.working(pair):
            return 0
        shares = shares_of(work.target, work.schedule)
        due = slices(work.schedule, float(work.initial), work.target.quantity, work.start_ms, now, shares)
        if not due:
            return 0
        current = _held(positions, pair)
        price = Decimal(repr(quote.mid))
        if work.arrival_price is None:
            self._work[pair] = work = replace(work, arrival_ms=now, arrival_price=price)
            self._ledger.record_executions([work])
        sent = 0
        for order in orders_to_reach(due[-1].goal, current, price, self._rules[pair]):
            if not order.reduce_only and (mode is Mode.REDUCING or self._stale(quote) or pair in self._shut(now)):
                self._held_back.add(pair)
                continue
            purpose = "close" if order.reduce_only else "slice"
            if work.schedule.participation:
                sent += self._part(work, order, due[-1].index)
            else:
                sent += self._try(work, order, due[-1].index, purpose)
            break  # the entry after a close waits for the close to fill
        return sent

    def _stale(self, quote: Quote) -> bool:
        """Whether a pair's quote or mark is too old to open anything on."""
        wall = self._clock.wall_ms()
        age = max(wall - quote.received_wall_ms, self._view.mark_age_ms(quote.pair, wall))
        return age > self._max_age_ms

    def _shut(self, now: int) -> frozenset[Pair]:
        """Pairs that nothing may be opened in now; read once a round.

        Those that the newest decision found a fault with: what was begun waits until one finds none. And those that are barred
        for the day: what stood before its bar is given up by the guard, unless it died first.
        """
        if self._shut_now is None:
            self._shut_now = self._faulty() | self._ledger.portfolio(self._account, {}, now).barred
        return self._shut_now

    def _faulty(self) -> frozenset[Pair]:
        """Pairs that the newest decision found a fault with."""
        newest = next(iter(self._ledger.decisions(self._account, limit=1)), None)
        if newest is not None and newest.cycle_ms != self._judged[0]:
            record = self._ledger.decision(newest.account, newest.strategy, newest.cycle_ms)
            self._judged = (newest.cycle_ms, record.decision.faulty if record is not None else frozenset())
        return self._judged[1]

    def _part(self, work: Execution, order: Order, index: int) -> bool:
        """Send as much of an order as the market's volume allows, under the number of the execution's orders so far."""
        pair = work.target.pair
        traded_before, filled_before = self._before[pair]
        own = [one for one in self._ledger.orders(self._account, plan_id=work.plan_id) if one.pair == pair]
        if sum(one.state in TRIED_AGAIN and not one.filled for one in own) >= ATTEMPTS:
            return False
        done = sum((one.filled for one in own), Decimal(0)) - filled_before
        traded = decimal(self._view.traded(pair)) - traded_before
        room = allowed(order.quantity, abs(work.change), done, traded, work.schedule.participation)
        if room < order.quantity:
            rules = self._rules[pair]
            room = floor_quantity(room, rules)
            if room < rules.min_quantity or room * (self._mid(pair) or 0) < rules.min_notional:
                return False
        part = replace(order, quantity=room)
        return self._send(work.plan_id, pair, part, index, work.target.reason, purpose=f"part {len(own)}")

    def _rest(self, work: Execution) -> Decimal:
        """What an execution has still to trade and the filters can express, unsigned base units."""
        filled = sum((size for size, _, _ in self._ledger.executed(work.plan_id, work.pair)), Decimal(0))
        return abs(floor_quantity(work.change - filled, self._rules[work.pair]))

    def _try(self, work: Execution, order: Order, index: int, purpose: str) -> bool:
        """Send a slice's order; again where the last one ended short of it and not by a refusal."""
        pair = work.target.pair
        for attempt in range(ATTEMPTS):
            word = purpose if not attempt else f"{purpose} {attempt}"
            if self._send(work.plan_id, pair, order, index, work.target.reason, purpose=word):
                return True
            earlier = self._ledger.order(client_order_id(work.plan_id, pair, index, word))
            refused = earlier.state is OrderState.REJECTED and NEVER_ARRIVED not in earlier.reason
            if earlier.state not in TRIED_AGAIN or (refused and earlier.quantity == order.quantity):
                return False
        return False

    def _send(self, plan_id: str, pair: Pair, order: Order, index: int, reason: str, *, purpose: str) -> bool:
        """Book an order's intent, then hand it to the broker; False when it was booked before."""
        now = self._clock.market_ms()
        limit = self._bound(pair, order.side, index) if order.reduce_only and self._broker.bounded(pair) else None
        record = OrderRecord(
            order_id=client_order_id(plan_id, pair, index, purpose),
            plan_id=plan_id,
            account=self._account,
            pair=pair,
            side=order.side,
            quantity=order.quantity,
            kind="market" if limit is None else "limit",
            state=OrderState.NEW,
            created_ms=now,
            updated_ms=now,
            slice_index=index,
            reduce_only=order.reduce_only,
            limit_price=limit,
            reason=reason,
            time_in_force="" if limit is None else "IOC",
        )
        if not self._ledger.record_order(record):
            return False
        logger.info("order {} {} {} {} ({})", record.order_id, order.side.name.lower(), order.quantity, pair, reason)
        self._broker.submit(record)
        return True

    def _bound(self, pair: Pair, side: Side, attempt: int) -> Decimal | None:
        """Limit of a closing order where market orders are refused: farther from the best price with each attempt."""
        quote = self._view.quotes.get(pair)
        if quote is None:
            return None
        best = Decimal(repr(quote.ask if side is Side.LONG else quote.bid))
        away = min(BOUND_STEP * (1 + attempt), BOUND_MOST)
        return round_stop(best * (1 + side * away), Side.SHORT if side is Side.LONG else Side.LONG, self._rules[pair])


def _held(positions: Mapping[Pair, Position], pair: Pair) -> Decimal:
    held = positions.get(pair)
    return Decimal(0) if held is None else held.quantity


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
