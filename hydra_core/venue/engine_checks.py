"""What an account is allowed: margin, leverage brackets, the listing's state, times in force that can be kept.

Filters that need no account are in ``admission.py``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from hydra_core.domain.pairs import Pair
from hydra_core.venue import refusals
from hydra_core.venue.account import ZERO, notional_cap
from hydra_core.venue.admission import OrderRequest
from hydra_core.venue.engine_records import Records
from hydra_core.venue.listings import TRADING
from hydra_core.venue.orders import Order

MAX_OPEN_ORDERS: Final = 200
MAX_OPEN_ALGOS: Final = 10
"""Resting and conditional orders allowed a pair."""


class Checks(Records):
    """Refuses what the account may not do."""

    strict_reduce_only = False
    """Whether resting reduce-only orders use up the position that a further one could reduce."""

    def _check_listing(self, pair: Pair, reduce_only: bool) -> None:
        status = self.feed.listings[pair].status
        if status != TRADING and not (reduce_only and status == "PENDING_TRADING"):
            raise refusals.not_trading()

    def _check_position(self, request: OrderRequest) -> None:
        """Reduce-only orders need a position against them."""
        if not request.reduce_only:
            return
        held = self.account.position(request.pair).quantity
        if held * request.side >= 0:
            raise refusals.reduce_only_rejected()
        if self.strict_reduce_only:
            resting = sum((one.remaining for one in self._reducing(request.pair, request.side)), ZERO)
            if resting + request.quantity > abs(held):
                raise refusals.reduce_only_used_up()

    def _reducing(self, pair: Pair, side: int) -> list[Order]:
        return [one for one in self.book.open_orders(pair) if one.reduce_only and one.side == side]

    def _check_counterparty(self, request: OrderRequest) -> None:
        """A market order needs a best price inside the band around the mark (PERCENT_PRICE)."""
        if request.kind != "MARKET":
            return
        mark, band = self.feed.mark(request.pair, self._now), self.feed.listings[request.pair].band
        levels = self.feed.levels(request.pair, request.side, self._now)
        if not levels or not mark * band[0] <= levels[0][0] <= mark * band[1]:
            raise refusals.counterparty_too_far()

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

    def _crossing(self, pair: Pair, side: int, limit: Decimal) -> list[tuple[Decimal, Decimal]]:
        levels = self.feed.levels(pair, side, self._now)
        return [level for level in levels if not limit or (limit - level[0]) * side >= 0]
