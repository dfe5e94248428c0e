"""What every exchange's module offers: names of pairs, routes to its tables, rules for its orders. No request is made here.

A capability that an exchange lacks, or that is not read there, raises UnsupportedCapability: absent is not empty.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.domain.trading import OWN
from hydra_core.market.exchanges.capabilities import Capability, Support, UnsupportedCapability, support
from hydra_core.market.exchanges.routes import Ask, PerpReading, Route

DIGITS: Final = r"[0-9a-f]{28,33}"
"""What follows the beginning of a client order id of ours."""


class Price(StrEnum):
    """Which price a candle is of."""

    TRADED = "traded"
    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"


CANDLE_CAPABILITY: Final[Mapping[Price, Capability]] = {
    Price.TRADED: Capability.CANDLES,
    Price.MARK: Capability.MARK_CANDLES,
    Price.INDEX: Capability.INDEX_CANDLES,
    Price.PREMIUM: Capability.PREMIUM_CANDLES,
}
HISTORY_CAPABILITY: Final[Mapping[str, Capability]] = {
    FUNDING: Capability.FUNDING_HISTORY,
    OPEN_INTEREST: Capability.OPEN_INTEREST_HISTORY,
    LONG_SHORT: Capability.LONG_SHORT_HISTORY,
}
"""Lake table -> what an exchange must offer for it."""


PRESENT_CAPABILITIES: Final = (
    Capability.FUNDING_NOW,
    Capability.FUNDING_INTERVAL,
    Capability.OPEN_INTEREST,
    Capability.MARK_PRICE,
)
"""What a present reading carries."""


@dataclass(frozen=True, slots=True)
class OrderIdRule:
    """What an exchange accepts as a client order id.

    Parameters
    ----------
    field : str, its name on the wire
    pattern : str, a whole id matches it
    length : int, of an id derived where the given one does not fit
    prefix : str, that a derived id begins with
    source : str, where the rule is written down; empty: unverified, kept narrow on purpose
    ours : str, what stands there for the beginning of an id of ours, which can be read back
    """

    field: str
    pattern: str
    length: int
    prefix: str = ""
    source: str = ""
    ours: str = OWN

    def fit(self, order_id: str) -> str:
        """The id as the exchange takes it: one of ours with its beginning there, another as it is or, unfit, as a hash."""
        if order_id.startswith(OWN):
            order_id = self.ours + order_id.removeprefix(OWN)
        if re.fullmatch(self.pattern, order_id):
            return order_id
        return self.prefix + hashlib.sha256(order_id.encode()).hexdigest()[: self.length - len(self.prefix)]

    def own(self, told: str) -> str:
        """The id of ours behind one that the exchange tells; empty for another's."""
        digits = told.removeprefix(self.ours)
        return f"{OWN}{digits}" if digits != told and re.fullmatch(DIGITS, digits) else ""


class ExchangeAdapter(ABC):
    """One exchange's own ways; subclasses are one module each."""

    name: ClassVar[str]
    """ccxt's id."""
    quote: ClassVar[str] = "USDT"
    """Currency that its perpetuals are quoted and settled in."""
    market_types: ClassVar[tuple[str, ...]] = ("swap",)
    """What ccxt calls the kind of market that its linear perpetuals are listed under."""
    order_ids: ClassVar[OrderIdRule]
    counts_contracts: ClassVar[bool] = False
    """Whether its orders and books count contracts; ccxt's market has the size of one then. Else they count base units."""
    streams: ClassVar[Mapping[Capability, str]] = {}
    """What is followed on its streams -> the documented message that the reading was checked against; empty: unverified."""
    quirks: ClassVar[tuple[str, ...]] = ()
    """What a reader of its data should know, one sentence each."""

    def symbol(self, pair: Pair) -> str:
        """ccxt's unified symbol."""
        return ccxt_symbol(pair)

    def native(self, pair: Pair) -> str:
        """The pair's id in requests."""
        return pair

    def pair(self, native: str) -> Pair:
        """The inverse of :meth:`native`."""
        return Pair(native)

    def candles(self, interval: Interval, price: Price = Price.TRADED) -> Route:
        """The route to candles; raises UnsupportedCapability for an interval or price that there is none of."""
        capability = CANDLE_CAPABILITY[price]
        route = None if self.support(capability) is Support.ABSENT else self._candles(interval, price)
        if route is None:
            raise UnsupportedCapability(self.name, capability, f"of {interval}")
        return route

    def history(self, table: str) -> Route:
        """The route to a lake table of readings; raises UnsupportedCapability, or UsageError for an unknown table."""
        capability = HISTORY_CAPABILITY.get(table)
        if capability is None:
            raise UsageError(f"no exchange has a history of {table!r}", f"Known: {', '.join(HISTORY_CAPABILITY)}")
        route = None if self.support(capability) is Support.ABSENT else self._histories().get(table)
        if route is None:
            raise UnsupportedCapability(self.name, capability)
        return route

    @abstractmethod
    def present(self) -> tuple[Ask, ...]:
        """Requests that together make one :class:`PerpReading`."""

    def reading(self, pair: Pair, answers: Mapping[str, Any]) -> PerpReading:
        """One reading of the answers to :meth:`present`, by method; raises BadAnswer."""
        fields: dict[str, Any] = {}
        for ask in self.present():
            if ask.method in answers:
                fields |= ask.fields(answers[ask.method], pair)
        return PerpReading(pair, **fields)

    def top(self) -> Ask | None:
        """The request for best bid and ask and their sizes where no stream tells them; None where one does."""
        return None

    @abstractmethod
    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """Parameters of ccxt's ``create_order`` (type ``market``, the closing side) for a reduce-only protective stop.

        Parameters
        ----------
        trigger_price : float, on the mark price
        long : bool, side of the position that is protected
        """

    def stop_query(self) -> dict[str, Any]:
        """Parameters that make ccxt look for stops, not orders, when it fetches or cancels."""
        return {"trigger": True}

    def support(self, capability: Capability) -> Support:
        """How the exchange offers a capability."""
        return support(self.name, capability)

    def sources(self) -> dict[Capability, tuple[str, ...]]:
        """Capability that HYDRA reads -> the documented messages it was checked against; an empty one is unverified."""
        found: dict[Capability, tuple[str, ...]] = {}
        for price, capability in CANDLE_CAPABILITY.items():
            if self.support(capability) is not Support.ABSENT and (route := self._candles(Interval.H1, price)):
                found[capability] = (route.source,)
        for table, route in self._histories().items():
            found[HISTORY_CAPABILITY[table]] = (route.source,)
        asks = self.present()
        for capability in PRESENT_CAPABILITIES:
            found[capability] = tuple(ask.source for ask in asks)
        if (top := self.top()) is not None:
            found[Capability.ORDER_BOOK] = (top.source,)
        return found | {capability: (source,) for capability, source in self.streams.items()}

    def verified(self, capability: Capability) -> bool | None:
        """Whether a reading was checked against a documented message; None where HYDRA does not read it."""
        sources = self.sources().get(capability)
        return None if sources is None else all(sources)

    @abstractmethod
    def _candles(self, interval: Interval, price: Price) -> Route | None:
        """The route, None where the exchange has no such candles."""

    @abstractmethod
    def _histories(self) -> Mapping[str, Route]:
        """Routes by lake table."""
