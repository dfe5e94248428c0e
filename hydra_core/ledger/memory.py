"""The books of one account-keeping process, in memory: what a replay books when nobody has to read it afterwards.

Everything that a trader on paper asks of a ledger, by the same arithmetic (``accounting``, ``changes``) and with the same keys:
doing it again changes nothing. What only other processes need (decisions, leases, commands, the journal) is not kept; asking
for it is an error. Not for threads, and gone with the process: a real account is kept in the database (``store``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Connection

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Mode, OrderState, Plan, Portfolio, Position
from hydra_core.ledger.accounting import apply_fill, exact
from hydra_core.ledger.changes import order_filled, order_moved, portfolio_of, worth_after
from hydra_core.ledger.records import (
    Account,
    BookedFill,
    CashEntry,
    Command,
    DecisionLine,
    EquityPoint,
    Execution,
    FundingPayment,
    Latch,
    OrderEvent,
    OrderRecord,
)
from hydra_core.ledger.store import Ledger

ZERO = Decimal(0)


class _Books:
    """What is booked of one account; positions and open orders are replaced, never changed, so that they may be handed out."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.positions: dict[Pair, Position] = {}
        self.open: dict[str, OrderRecord] = {}
        self.fills: list[BookedFill] = []
        self.fill_times: list[int] = []
        self.turnover: list[Decimal] = [ZERO]
        """Notional of the first so many fills together."""
        self.funding: dict[tuple[Pair, int], FundingPayment] = {}
        self.equity: dict[int, EquityPoint] = {}
        self.latches: list[Latch] = []
        self.standing: dict[str, Latch] = {}
        self.barred: dict[Pair, int] = {}
        self.plan: Plan | None = None

    def hold(self, pair: Pair, position: Position | None) -> None:
        """Book what is held of a pair; listings are in the order of the pairs' names."""
        held = {name: one for name, one in self.positions.items() if name != pair}
        if position is not None:
            held[pair] = position
        self.positions = dict(sorted(held.items()))


class MemoryLedger(Ledger):
    """A :class:`~hydra_core.ledger.store.Ledger` for one process and its lifetime.

    Examples
    --------
    >>> from decimal import Decimal
    >>> with MemoryLedger() as ledger:
    ...     ledger.open_account("replay", Decimal(1000), market_ms=0).cash
    Decimal('1000')
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Books] = {}
        self._orders: dict[str, OrderRecord] = {}
        self._of_plan: defaultdict[str, list[str]] = defaultdict(list)
        self._of_order: defaultdict[str, list[BookedFill]] = defaultdict(list)
        self._events: defaultdict[str, list[OrderEvent]] = defaultdict(list)
        self._fill_keys: dict[tuple[str, Pair, str], BookedFill] = {}
        self._plans: dict[str, Plan] = {}
        self._plan_ends: dict[str, tuple[int, str]] = {}
        self._executions: dict[tuple[str, Pair], Execution] = {}
        self._pairs_of_plan: defaultdict[str, set[Pair]] = defaultdict(set)

    @property
    def place(self) -> str:
        """Where the books are."""
        return "memory"

    def insist(self) -> None:
        """Memory can always be written."""

    def close(self) -> None:
        """Nothing is open."""

    def together(self) -> AbstractContextManager[None]:
        """Nothing to commit: what is booked holds at once."""
        return nullcontext()

    def _writing(self) -> AbstractContextManager[Connection]:
        raise UsageError("books in memory do not keep this", "Open a ledger in a database")

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._writing()

    def _books(self, account: str) -> _Books:
        try:
            return self._accounts[account]
        except KeyError:
            raise HydraError(f"the ledger has no account {account!r}", "Open one first") from None

    # -- accounts ------------------------------------------------------------------------------------------------------

    def open_account(
        self, name: str, balance: Decimal, market_ms: int, kind: str = "paper", terms: str = ""
    ) -> Account:
        """Open a fresh account; raises HydraError for a balance that is not positive or a name that is taken."""
        if balance <= 0 or name in self._accounts:
            raise HydraError(f"account {name!r} with {balance} USDT", "Take a positive balance and a fresh name")
        day_ms = market_ms - market_ms % DAY_MS
        fresh = Account(
            name, kind, balance, balance, ZERO, ZERO, ZERO, balance, balance, balance, day_ms, market_ms, terms=terms
        )
        self._accounts[name] = _Books(fresh)
        return fresh

    def account(self, name: str) -> Account:
        """The account of that name."""
        return self._books(name).account

    def accounts(self) -> list[Account]:
        """Every account, the one opened last first."""
        return [books.account for books in reversed(self._accounts.values())]

    def portfolio(self, account: str, marks: Any, now_ms: int) -> Portfolio:
        """The account as a decision sees it at market time ``now_ms``, marked to ``marks`` (USDT)."""
        books = self._books(account)
        barred = [pair for pair, until_ms in books.barred.items() if until_ms > now_ms]
        return portfolio_of(books.account, books.positions, books.standing, barred, marks, now_ms)

    def record_equity(self, account: str, ts_ms: int, equity: Decimal, cash: Decimal, unrealised: Decimal) -> bool:
        """Book the account's worth at a market time; False when that moment was booked already."""
        books = self._books(account)
        if ts_ms in books.equity:
            return False
        books.equity[ts_ms] = EquityPoint(ts_ms, equity, cash, unrealised)
        books.account = replace(books.account, **worth_after(books.account, ts_ms, equity))
        return True

    def equity_curve(self, account: str, since_ms: int = 0, limit: int = 100_000) -> list[EquityPoint]:
        """Booked equity points from ``since_ms`` on, oldest first; the newest ``limit`` of them."""
        points = [point for ts_ms, point in sorted(self._books(account).equity.items()) if ts_ms >= since_ms]
        return points[-limit:]

    def latch(self, account: str, switch: str, reason: str, mode: Mode, ts_ms: int) -> bool:
        """Remember a tripped switch until it is released; False when it stands already (its first reason is kept)."""
        books = self._books(account)
        if switch in books.standing:
            return False
        made = Latch(switch, mode, reason, ts_ms)
        books.latches.append(made)
        books.standing = {**books.standing, switch: made}
        return True

    def latched(self, account: str) -> dict[str, Latch]:
        """Switches that stand, by name."""
        return self._books(account).standing

    def latches(self, account: str) -> list[Latch]:
        """Every latch ever, newest first."""
        return self._books(account).latches[::-1]

    def bar_pair(self, account: str, pair: Pair, until_ms: int, reason: str) -> None:
        """Bar a pair from new entries until a market time."""
        self._books(account).barred[pair] = until_ms

    # -- orders and fills ----------------------------------------------------------------------------------------------

    def record_order(self, order: OrderRecord) -> bool:
        """Book an order before it is sent; False when its id is known already (nothing changes then)."""
        if order.order_id in self._orders:
            return False
        self._of_plan[order.plan_id].append(order.order_id)
        self._note(order.order_id, "", order.state.value, order.reason, order.created_ms)
        self._keep(order)
        return True

    def move_order(
        self, order_id: str, state: OrderState, ts_ms: int, reason: str = "", *, venue_order_id: str | None = None
    ) -> OrderRecord:
        """Write down an order's new state; the same state again changes nothing."""
        order = self.order(order_id)
        changes = order_moved(order, state, ts_ms, reason, venue_order_id)
        if "state" in changes:
            self._note(order_id, order.state.value, state.value, reason, ts_ms)
        return self._keep(replace(order, **changes)) if changes else order

    def record_fill(
        self, fill: Fill, order_state: OrderState | None = None, *, realised: Decimal | None = None
    ) -> bool:
        """Book a fill: position, cash, and its order's filled quantity, average price and (if given) state.

        Returns False, and changes nothing, when (venue, pair, trade id) was booked already.

        Raises
        ------
        HydraError : no such account, a quantity or price that is not positive, or the same key with other numbers
        """
        books = self._books(fill.account)
        key = (fill.venue, fill.pair, fill.trade_id)
        earlier = self._fill_keys.get(key)
        if earlier is not None:
            known = earlier.fill
            if (known.account, known.side, known.quantity, known.price) != (
                fill.account, fill.side, fill.quantity, fill.price,
            ):  # fmt: skip
                raise HydraError(f"fill {fill.venue} {fill.pair} {fill.trade_id} was booked with other numbers")
            return False
        done = apply_fill(books.positions.get(fill.pair), fill, realised)
        booked = BookedFill(fill, done.realised, done.position.quantity if done.position is not None else ZERO)
        self._fill_keys[key] = booked
        self._of_order[fill.order_id].append(booked)
        at = bisect_left(books.fill_times, fill.event_ms + 1)
        books.fill_times.insert(at, fill.event_ms)
        books.fills.insert(at, booked)
        del books.turnover[at + 1 :]
        books.turnover += _sums(books.turnover[at], books.fills[at:])
        books.hold(fill.pair, done.position)
        with exact():
            account = books.account
            books.account = replace(
                account,
                cash=account.cash + done.cash_change,
                realised=account.realised + done.realised,
                fees=account.fees + fill.fee,
            )
        order = self._orders.get(fill.order_id)
        if order is not None:
            changes = order_filled(order, fill, order_state)
            if "state" in changes:
                moved = changes["state"].value
                self._note(order.order_id, order.state.value, moved, f"fill {fill.trade_id}", fill.event_ms)
            self._keep(replace(order, **changes))
        return True

    def record_funding(self, payment: FundingPayment) -> bool:
        """Book a settlement and move cash by its amount; False when (account, pair, settlement) was booked already."""
        books = self._books(payment.account)
        key = (payment.pair, payment.settlement_ms)
        if key in books.funding:
            return False
        books.funding[key] = payment
        with exact():
            account = books.account
            books.account = replace(
                account, cash=account.cash + payment.amount, funding=account.funding + payment.amount
            )
        return True

    def set_stop(self, account: str, pair: Pair, stop_price: Decimal | None) -> bool:
        """Set or clear the protective stop of an open position; False when there is no position."""
        books = self._books(account)
        held = books.positions.get(pair)
        if held is not None:
            books.positions = {**books.positions, pair: replace(held, stop_price=stop_price)}
        return held is not None

    def positions(self, account: str) -> dict[Pair, Position]:
        """Open positions by pair."""
        return self._books(account).positions

    def position(self, account: str, pair: Pair) -> Position | None:
        """The open position of a pair, None when there is none."""
        return self._books(account).positions.get(pair)

    def order(self, order_id: str) -> OrderRecord:
        """One order; raises HydraError when there is none of that id."""
        try:
            return self._orders[order_id]
        except KeyError:
            raise HydraError(f"the ledger has no order {order_id!r}") from None

    def order_or_none(self, order_id: str) -> OrderRecord | None:
        """One order by its id, None when it is not ours."""
        return self._orders.get(order_id)

    def orders(
        self,
        account: str,
        *,
        plan_id: str | None = None,
        states: Iterable[OrderState] | None = None,
        limit: int = 1_000,
    ) -> list[OrderRecord]:
        """Orders of an account, newest first."""
        ids = self._orders if plan_id is None else self._of_plan.get(plan_id, ())
        wanted = None if states is None else frozenset(states)
        found = [
            order
            for order in (self._orders[one] for one in ids)
            if order.account == account and (wanted is None or order.state in wanted)
        ]
        found.sort(key=lambda order: (order.created_ms, order.order_id), reverse=True)
        return found[:limit]

    def open_orders(self, account: str) -> list[OrderRecord]:
        """Orders that may still fill (UNKNOWN included), oldest first."""
        return sorted(self._books(account).open.values(), key=lambda order: (order.created_ms, order.order_id))

    def order_history(self, order_id: str) -> list[OrderEvent]:
        """The order's moves, oldest first."""
        return list(self._events.get(order_id, ()))

    def fills(
        self,
        account: str,
        *,
        since_ms: int = 0,
        order_id: str | None = None,
        pair: Pair | None = None,
        venue_trades: bool = False,
        limit: int = 1_000,
    ) -> list[BookedFill]:
        """Fills of an account from a market time on, newest first; ``venue_trades`` leaves adjustments out."""
        booked = self._books(account).fills if order_id is None else self._of_order.get(order_id, ())
        found = [
            one
            for one in booked
            if one.fill.account == account
            and one.fill.event_ms >= since_ms
            and (pair is None or one.fill.pair == pair)
            and (not venue_trades or one.fill.order_id)
        ]
        found.sort(key=lambda one: (one.fill.event_ms, one.fill.trade_id), reverse=True)
        return found[:limit]

    def turnover(self, account: str, since_ms: int) -> Decimal:
        """Notional (USDT) that an account traded from a market time on."""
        books = self._books(account)
        return books.turnover[-1] - books.turnover[bisect_left(books.fill_times, since_ms)]

    def quantity_at(self, account: str, pair: Pair, ts_ms: int) -> Decimal:
        """Signed position as it stood at a market time: today's less what was filled since."""
        books = self._books(account)
        held = books.positions.get(pair)
        later = (one.fill for one in books.fills[bisect_left(books.fill_times, ts_ms) :] if one.fill.pair == pair)
        return (held.quantity if held is not None else ZERO) - sum((fill.quantity * fill.side for fill in later), ZERO)

    def funding_payments(self, account: str, *, since_ms: int = 0, limit: int = 1_000) -> list[FundingPayment]:
        """Funding settlements of an account, newest first."""
        paid = [one for one in self._books(account).funding.values() if one.settlement_ms >= since_ms]
        return sorted(paid, key=lambda one: (-one.settlement_ms, one.pair))[:limit]

    def cash_entries(self, account: str, *, since_ms: int = 0) -> list[CashEntry]:
        """None: cash in memory moves by fills and funding alone."""
        return []

    def _keep(self, order: OrderRecord) -> OrderRecord:
        self._orders[order.order_id] = order
        standing = self._books(order.account).open
        if order.open:
            standing[order.order_id] = order
        else:
            standing.pop(order.order_id, None)
        return order

    def _note(self, order_id: str, from_state: str, to_state: str, reason: str, ts_ms: int) -> None:
        self._events[order_id].append(OrderEvent(order_id, from_state, to_state, reason, ts_ms))

    # -- plans and executions ------------------------------------------------------------------------------------------

    def record_plan(self, plan: Plan, account: str, strategy: str) -> bool:
        """Book a plan; False when its id is known already."""
        if plan.plan_id in self._plans:
            return False
        self._plans[plan.plan_id] = plan
        books = self._books(account)
        if books.plan is None or (plan.cycle_ms, plan.plan_id) > (books.plan.cycle_ms, books.plan.plan_id):
            books.plan = plan
        return True

    def plan(self, plan_id: str) -> Plan | None:
        """A plan by its id."""
        return self._plans.get(plan_id)

    def latest_plan(self, account: str) -> Plan | None:
        """The newest plan of an account, expired or not: it supersedes all others."""
        return self._books(account).plan

    def standing_plan(self, account: str, now_ms: int) -> Plan | None:
        """The newest plan if it is still to be worked: not expired at market time ``now_ms`` and not ended."""
        plan = self.latest_plan(account)
        stands = plan is not None and plan.expires_ms > now_ms and plan.plan_id not in self._plan_ends
        return plan if stands else None

    def end_plan(self, plan_id: str, ts_ms: int, reason: str) -> bool:
        """Note that a plan is worked no more; False when that was noted before."""
        if plan_id not in self._plans or plan_id in self._plan_ends:
            return False
        self._plan_ends[plan_id] = (ts_ms, reason)
        return True

    def record_executions(self, standing: Iterable[Execution], ended: Iterable[Execution] = ()) -> None:
        """Book what is being worked from now on, and what is not any more."""
        for one in standing:
            self._executions[one.plan_id, one.pair] = one
            self._pairs_of_plan[one.plan_id].add(one.pair)
        for one in ended:
            known = self._executions.get((one.plan_id, one.pair))
            if known is not None and known.ended_ms is None:
                self._executions[one.plan_id, one.pair] = replace(
                    known, ended_ms=one.ended_ms, end_price=one.end_price, end_reason=one.end_reason
                )

    def open_executions(self, account: str, now_ms: int) -> list[Execution]:
        """Executions that are neither ended nor expired at market time ``now_ms``, oldest first."""
        found = [
            one
            for one in self._executions.values()
            if one.account == account and one.ended_ms is None and one.expires_ms > now_ms
        ]
        return sorted(found, key=lambda one: (one.arrival_ms, one.plan_id, one.pair))

    def plan_executions(self, plan_id: str) -> dict[Pair, Execution]:
        """The executions that began with a plan, by pair."""
        return {pair: self._executions[plan_id, pair] for pair in sorted(self._pairs_of_plan.get(plan_id, ()))}

    def executions_until(self, account: str, expires_ms: int) -> dict[Pair, Execution]:
        """The newest execution of each pair that was to be worked until a market time: what a plan began or went on with."""
        found = [one for one in self._executions.values() if one.account == account and one.expires_ms == expires_ms]
        return {one.pair: one for one in sorted(found, key=lambda one: one.arrival_ms)}

    def execution(self, plan_id: str, pair: Pair) -> Execution | None:
        """The execution of one pair that began with a plan; None when there is none."""
        return self._executions.get((plan_id, pair))

    def executions(self, account: str, *, since_ms: int = 0, limit: int = 1_000) -> list[Execution]:
        """Executions of an account taken up from a market time on, newest first."""
        found = [one for one in self._executions.values() if one.account == account and one.arrival_ms >= since_ms]
        return sorted(found, key=lambda one: (-one.arrival_ms, one.plan_id, one.pair))[:limit]

    def executed(self, plan_id: str, pair: Pair) -> list[tuple[Decimal, Decimal, Decimal]]:
        """Fills of an execution's orders: signed quantity, price and fee, oldest first."""
        booked = [one.fill for order_id in self._of_plan.get(plan_id, ()) for one in self._of_order.get(order_id, ())]
        found = sorted((fill for fill in booked if fill.pair == pair), key=lambda fill: (fill.event_ms, fill.trade_id))
        return [(fill.quantity * fill.side, fill.price, fill.fee) for fill in found]

    # -- what only other processes write -------------------------------------------------------------------------------

    def decisions(
        self, account: str, *, since_ms: int = 0, until_ms: int | None = None, limit: int = 1_000
    ) -> list[DecisionLine]:
        """None: nobody decides into these books."""
        return []

    def pending_commands(self) -> list[Command]:
        """None: no other process can reach these books."""
        return []


def _sums(before: Decimal, fills: Iterable[BookedFill]) -> list[Decimal]:
    """Notional together after each of some fills, USDT."""
    found = []
    with exact():
        for one in fills:
            before = before + one.fill.quantity * one.fill.price
            found.append(before)
    return found
