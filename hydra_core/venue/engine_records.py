"""The engine's memory: account, orders and fills as they change, written in one step and told only then.

Nothing is decided here; ``engine_matching.py``, ``engine_forced.py`` and ``engine.py`` build on it in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from hydra_core.domain.pairs import Pair
from hydra_core.venue.account import Account
from hydra_core.venue.book import OrderBook
from hydra_core.venue.events import (
    AccountEvent,
    AlgoEvent,
    OrderEvent,
    PositionLine,
    ShortTradeEvent,
    TriggerRejectEvent,
    UserEvent,
)
from hydra_core.venue.feed import Feed
from hydra_core.venue.margin import MarginState, MarginWatch, margin_state
from hydra_core.venue.orders import AlgoOrder, Income, Order, Trade
from hydra_core.venue.state import Changes, VenueStore


class Records:
    """One account's books; see :class:`engine.Engine` for the parameters."""

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

    def margin(self, extra: tuple[Pair, int, Decimal, Decimal] | None = None) -> MarginState:
        """The account now, optionally with one more order at rest."""
        orders = self.book.open_orders()
        pairs = {*self.account.open_pairs(), *(order.pair for order in orders)} | ({extra[0]} if extra else set())
        marks = self.feed.marks(self._now, tuple(pairs))
        return margin_state(self.account, orders, marks, self.feed.rules, self.feed.tables, extra)

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
        if status == "REJECTED":
            self._pending.append(TriggerRejectEvent(algo.pair, algo.algo_id, reason, ts))

    def _note_order(self, order: Order, execution: str, trade: Trade | None, ts: int) -> None:
        self.book.keep(order)
        self._changes.orders[order.order_id] = order
        if trade is not None:
            self._pending.append(ShortTradeEvent(replace(order), trade, ts))
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
