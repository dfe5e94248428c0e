"""What happens to an account without its asking: funding, liquidation, deleveraging, settlement of a delisted pair.

Also the hand of others on the account (a manual order, a transfer), which ordered faults bring about.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.domain.pairs import Pair
from hydra_core.venue.account import ZERO, maintenance_margin, money
from hydra_core.venue.engine_matching import Matching
from hydra_core.venue.events import MarginCallEvent, MarginLine
from hydra_core.venue.orders import Order

MARGIN_CALL_SHARE: Final = Decimal("0.8")
"""Share of the balance that the maintenance margin takes when the owner is warned; the exchange names no figure."""


class Forced(Matching):
    """Moves the account as the exchange does."""

    _warned = False

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
        balance = self.account.wallet + self.account.unrealised(marks)
        needed = self.account.maintenance(marks, self.feed.tables)
        slack = balance - needed
        held = {one: float(self.account.positions[one].quantity) for one in pairs}
        self._watch.checked(float(slack), held, {one: float(mark) for one, mark in marks.items()}, ts)
        if slack > 0:
            self._warn(needed >= balance * MARGIN_CALL_SHARE, marks, ts)
            return
        self._liquidate_all(ts)

    def _warn(self, close: bool, marks: Mapping[Pair, Decimal], ts: int) -> None:
        """Tell the owner once, each time that the margin comes close to being used up."""
        if close and not self._warned:
            held = {pair: self.account.positions[pair] for pair in marks}
            lines = tuple(
                MarginLine(
                    pair,
                    one.quantity,
                    marks[pair],
                    one.unrealised(marks[pair]),
                    maintenance_margin(self.feed.tables[pair], abs(one.quantity) * marks[pair]),
                )
                for pair, one in held.items()
            )
            self._pending.append(MarginCallEvent(self.account.wallet, lines, ts))
        self._warned = close

    def _liquidate_all(self, ts: int) -> None:
        pairs = self.account.open_pairs()
        if not pairs:
            return
        logger.warning("account is liquidated at market time {}: {}", ts, ", ".join(pairs))
        for order in self.book.open_orders():
            self._close(order, "EXPIRED", ts)
        for one in pairs:
            self._liquidate(one, self.feed.mark(one, ts), ts)
        if self.account.wallet < 0:
            shortfall = -self.account.wallet
            self.account.wallet = ZERO
            self._enter_income(pairs[0], "INSURANCE_CLEAR", shortfall, ts)
            self._note_account("INSURANCE_CLEAR", shortfall, (), ts)

    def _liquidate(self, pair: Pair, mark: Decimal, ts: int) -> None:
        order = self._forced_order(pair, "autoclose-", "LIQUIDATION", abs(self.account.position(pair).quantity), ts)
        for price, size in self._crossing(pair, order.side, ZERO):
            quantity = min(size, order.remaining)
            if quantity > 0:
                self.feed.take(pair, order.side, ts, price, quantity)
                self._fill(order, price, quantity, maker=False, ts=ts)
        if order.remaining > 0:
            # The insurance fund takes what the book could not, at the mark.
            self._fill(order, mark, order.remaining, maker=False, ts=ts)

    def _forced_order(self, pair: Pair, prefix: str, kind: str, quantity: Decimal, ts: int) -> Order:
        """An order against the position that the exchange itself enters; its client id tells why."""
        held = self.account.position(pair).quantity
        order_id = self.book.next_id()
        order = Order(
            order_id=order_id,
            client_id=f"{prefix}{ts}{order_id}" if prefix.endswith("-") else prefix,
            pair=pair,
            side=-1 if held > 0 else 1,
            kind=kind,
            time_in_force="IOC",
            price=ZERO,
            quantity=quantity,
            reduce_only=True,
            created_ms=ts,
            updated_ms=ts,
            original_kind=kind,
        )
        self._note_order(order, "NEW", None, ts)
        return order

    # -- ordered from outside --------------------------------------------------------------------------------------

    def liquidate(self) -> None:
        """Liquidate the account as if its margin were used up."""
        self._liquidate_all(self._now)
        self._flush()

    def deleverage(self, pair: Pair, share: Decimal, price: Decimal | None = None) -> None:
        """Close a share of a position against a bankrupt counterparty (ADL), at ``price`` USDT or the mark."""
        held = abs(self.account.position(pair).quantity)
        step = self.feed.rules[pair].step_size
        quantity = max(step, held * share // step * step)
        if not held:
            return
        order = self._forced_order(pair, "adl_autoclose", "LIMIT", min(held, quantity), self._now)
        order.price = price or self.feed.mark(pair, self._now)
        self._fill(order, order.price, order.quantity, maker=False, ts=self._now)
        self._flush()

    def settle_delisted(self, pair: Pair) -> None:
        """Close what is left in a delisted pair at the mark; its orders expire."""
        for order in self.book.open_orders(pair):
            self._close(order, "EXPIRED", self._now)
        for algo in self.book.waiting(pair):
            self._end_algo(algo, "EXPIRED", "", self._now)
        held = abs(self.account.position(pair).quantity)
        if held:
            order = self._forced_order(pair, "settlement_autoclose-", "MARKET", held, self._now)
            self._fill(order, self.feed.mark(pair, self._now), held, maker=False, ts=self._now)
        self._flush()

    def fill_resting(self, order: Order, quantity: Decimal, parts: int) -> None:
        """Fill a resting order at its own price, in parts on the step grid."""
        step = self.feed.rules[order.pair].step_size
        steps = int(min(quantity, order.remaining) / step)
        parts = max(1, min(parts, steps))
        for place in range(parts):
            part = step * (steps * (place + 1) // parts - steps * place // parts)
            if part > 0 and order.is_open:
                self._fill(order, order.price, part, maker=True, ts=self._now)
        self._flush()

    def end_order(self, order: Order, status: str) -> None:
        """End a resting order with a status, as the exchange or another hand would."""
        self._close(order, status, self._now)
        self._flush()

    def trigger(self, algo_id: int) -> None:
        """Set a waiting conditional order off, wherever the price is."""
        algo = self.book.algos[algo_id]
        if algo.is_open:
            self._fire(algo, self._now)
            self._flush()

    def move_wallet(self, pair: Pair, amount: Decimal, reason: str) -> None:
        """Money comes or goes (USDT, signed) without a trade."""
        self.account.wallet += amount
        self._enter_income(pair, "TRANSFER" if reason in {"DEPOSIT", "WITHDRAW"} else reason, amount, self._now)
        self._note_account(reason, amount, (), self._now)
        self._flush()

    def set_position(self, pair: Pair, quantity: Decimal, entry: Decimal | None, *, tell: bool) -> None:
        """Put a position where it was not (signed base units, entry in USDT), with no order behind it."""
        held = self.account.position(pair)
        held.quantity, held.updated_ms = quantity, self._now
        held.entry = (entry or self.feed.mark(pair, self._now)) if quantity else ZERO
        pending = len(self._pending)
        self._note_account("ADJUSTMENT", ZERO, (pair,), self._now)
        if not tell:
            del self._pending[pending:]
        self._flush()
