"""Ordered faults of the account: fills, ends and orders by other hands, forced closings, filters, brackets, modes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from hydra_core.domain.pairs import Pair
from hydra_core.venue.account import brackets
from hydra_core.venue.admission import OrderRequest
from hydra_core.venue.engine_matching import FillPlan
from hydra_core.venue.faults import Fault
from hydra_core.venue.listings import PRICE_BAND, STATUSES, Listing
from hydra_core.venue.orders import AlgoOrder, Order
from hydra_core.venue.refusals import VenueRefusal, bad_symbol
from hydra_core.venue.service import Venue

_SIDES = {"BUY": 1, "SELL": -1}
_ENDS = ("CANCELED", "EXPIRED", "EXPIRED_IN_MATCH")


class AccountMischief:
    """Faults that move the account or what it may do.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._feed = venue.feed
        self._engine = venue.engine

    def acts(self) -> dict[str, Callable[[Fault], None]]:
        """What happens once, by kind."""
        return {
            "fill": self._fill,
            "end_order": self._end_order,
            "trigger": self._trigger,
            "liquidate": lambda _: self._engine.liquidate(),
            "adl": self._adl,
            "settle": lambda fault: self._engine.settle_delisted(self.pair(fault)),
            "foreign_order": self._foreign_order,
            "position": self._position,
            "wallet": self._wallet,
        }

    def rules(self) -> dict[str, tuple[Callable[[Fault], None], Callable[[], None]]]:
        """What holds until withdrawn, by kind, with what restores it."""
        return {
            "filters": (self._filters, self._usual_filters),
            "brackets": (self._brackets, self._usual_brackets),
            "listing": (self._listing, self._usual_listings),
            "position_mode": (self._position_mode, lambda: setattr(self._engine, "hedged", False)),
            "strict_reduce_only": (
                lambda _: setattr(self._engine, "strict_reduce_only", True),
                lambda: setattr(self._engine, "strict_reduce_only", False),
            ),
            "partial": (self._check_partial, lambda: None),
        }

    def pair(self, fault: Fault) -> Pair:
        """The pair that a fault names; refuses with -1121 what is none."""
        pair = Pair(fault["symbol"])
        if pair not in self._feed.rules:
            raise bad_symbol()
        return pair

    # -- fills and ends ------------------------------------------------------------------------------------------------

    def plan(self, order: Order) -> FillPlan | None:
        """How an incoming order is to be filled, when that was ordered."""
        for fault in self._venue.faults.in_force("partial"):
            if _is_meant(fault, order):
                fault.use()
                self._venue.faults.note(fault, client_id=order.client_id)
                return FillPlan(Decimal(str(fault["share"])), fault["parts"], fault["then"])
        return None

    def _check_partial(self, fault: Fault) -> None:
        if fault["then"] not in {"rest", *_ENDS} or not 0 <= fault["share"] <= 1 or fault["parts"] < 1:
            ends = ", ".join(("rest", *_ENDS))
            raise VenueRefusal(-1100, f"fault partial: share lies in 0..1, parts above 0, then is one of {ends}.")

    def _fill(self, fault: Fault) -> None:
        quantity = _number(fault, "quantity")
        for order in self._resting(fault):
            self._engine.fill_resting(order, order.remaining if quantity is None else quantity, fault["parts"])

    def _end_order(self, fault: Fault) -> None:
        if fault["status"] not in _ENDS:
            raise VenueRefusal(-1100, f"fault end_order: status is one of {', '.join(_ENDS)}.")
        for order in self._resting(fault):
            self._engine.end_order(order, fault["status"])

    def _trigger(self, fault: Fault) -> None:
        for algo in self._engine.book.waiting():
            if _is_meant(fault, algo):
                self._engine.trigger(algo.algo_id)

    def _resting(self, fault: Fault) -> list[Order]:
        return [order for order in self._engine.book.open_orders() if _is_meant(fault, order)]

    # -- other hands ---------------------------------------------------------------------------------------------------

    def _adl(self, fault: Fault) -> None:
        self._engine.deleverage(self.pair(fault), Decimal(str(fault["share"])), _number(fault, "price"))

    def _foreign_order(self, fault: Fault) -> None:
        quantity, price = _number(fault, "quantity"), _number(fault, "price")
        side = _SIDES.get(fault["side"])
        if quantity is None or side is None:
            raise VenueRefusal(-1100, "fault foreign_order: it takes a quantity and a side, BUY or SELL.")
        kind = "MARKET" if price is None else "LIMIT"
        client_id = fault["client_id"]
        if self._engine.book.knows_client_id(client_id):
            client_id = f"{client_id}_{fault.number}"
        request = OrderRequest(
            self.pair(fault), side, kind, "GTC", quantity, price or Decimal(0), fault["reduce_only"], client_id
        )
        self._engine.place(request)

    def _position(self, fault: Fault) -> None:
        quantity = _number(fault, "quantity") or Decimal(0)
        self._engine.set_position(self.pair(fault), quantity, _number(fault, "entry"), tell=fault["tell"])

    def _wallet(self, fault: Fault) -> None:
        pair = self.pair(fault) if fault["symbol"] else self._feed.pairs[0]
        self._engine.move_wallet(pair, _number(fault, "amount") or Decimal(0), fault["reason"])

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _filters(self, fault: Fault) -> None:
        pair = self.pair(fault)
        names = ("tick_size", "step_size", "min_quantity", "min_notional")
        given: dict[str, Any] = {name: value for name in names if (value := _number(fault, name)) is not None}
        self._feed.set_rules(replace(self._feed.rules[pair], **given))
        listing = self._feed.listings[pair]
        low, high = _number(fault, "band_low"), _number(fault, "band_high")
        listing.band = (low or listing.band[0], high or listing.band[1])

    def _usual_filters(self) -> None:
        for pair, listing in self._feed.listings.items():
            usual, now = self._feed.market.rules(pair), self._feed.rules[pair]
            leverage: dict[str, Any] = {"max_leverage": now.max_leverage, "maintenance_margin": now.maintenance_margin}
            self._feed.set_rules(replace(usual, **leverage))
            listing.band = PRICE_BAND

    def _brackets(self, fault: Fault) -> None:
        pair = self.pair(fault)
        rules = self._feed.rules[pair]
        rules = replace(
            rules,
            max_leverage=fault["max_leverage"] or rules.max_leverage,
            maintenance_margin=_number(fault, "maintenance") or rules.maintenance_margin,
        )
        self._feed.set_rules(rules)
        table = brackets(rules)
        if fault["cap"]:
            cap = Decimal(fault["cap"])
            kept = [step for step in table if step.floor < cap]
            table = (*kept[:-1], replace(kept[-1], cap=cap))
        self._feed.set_table(pair, table)

    def _usual_brackets(self) -> None:
        for pair in self._feed.listings:
            usual, now = self._feed.market.rules(pair), self._feed.rules[pair]
            leverage: dict[str, Any] = {
                "max_leverage": usual.max_leverage,
                "maintenance_margin": usual.maintenance_margin,
            }
            self._feed.set_rules(replace(now, **leverage))
            self._feed.set_table(pair, brackets(usual))

    def _listing(self, fault: Fault) -> None:
        listing = self._feed.listings[self.pair(fault)]
        if fault["status"] not in STATUSES:
            raise VenueRefusal(-1100, f"fault listing: status is one of {', '.join(STATUSES)}.")
        listing.status, listing.delivery_ms = fault["status"], fault["delivery_ms"]
        listing.vanished = fault["vanish"]

    def _usual_listings(self) -> None:
        for listing in self._feed.listings.values():
            usual = Listing()
            listing.status, listing.delivery_ms, listing.vanished = usual.status, usual.delivery_ms, usual.vanished

    def _position_mode(self, fault: Fault) -> None:
        self._engine.hedged = fault["dual"]


def _is_meant(fault: Fault, order: Order | AlgoOrder) -> bool:
    return fault["symbol"] in {"", order.pair} and (
        not fault["client_id"] or re.fullmatch(fault["client_id"], order.client_id) is not None
    )


def _number(fault: Fault, name: str) -> Decimal | None:
    """A field's finite number, None when it is empty."""
    if not fault[name]:
        return None
    try:
        value = Decimal(fault[name])
    except InvalidOperation:
        raise VenueRefusal(-1100, f"fault {fault.kind}: {name} is {fault[name]!r}, not a number.") from None
    if not value.is_finite():
        raise VenueRefusal(-1100, f"fault {fault.kind}: {name} is {fault[name]!r}, not a number.")
    return value
