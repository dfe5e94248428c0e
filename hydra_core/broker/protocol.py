"""What a broker promises to the desk and the guard, and what it may read of the market; no broker stands here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from hydra_core.domain.market import MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Position
from hydra_core.ledger.records import FundingPayment, OrderRecord
from hydra_core.risk import switches


class MarketBook(Protocol):
    """The newest readings of the market, as brokers see them."""

    quotes: dict[Pair, Quote]
    marks: dict[Pair, MarkReading]
    settled: frozenset[Pair]
    """Pairs whose positions the exchange has closed: traded no more, and delivered or gone."""
    deliveries: Mapping[Pair, int]
    """When a pair is delivered, epoch ms."""

    def exact_mark(self, pair: Pair) -> Decimal | None:
        """Newest mark, USDT; None where there is none."""
        ...

    def day_notional(self, pair: Pair) -> float:
        """Turnover of a day, USDT; 0 when unknown."""
        ...

    def day_volatility(self, pair: Pair) -> float:
        """Standard deviation of the daily log return; 0 when unknown."""
        ...


class IncidentKind(StrEnum):
    """What can happen to an account without our doing."""

    LIQUIDATION = switches.LIQUIDATION
    ADL = "adl"
    DELISTING = "delisting"
    EXTERNAL = "external"
    """Another hand traded on the account."""
    FOREIGN = switches.FOREIGN_PROCESS
    """So many unknown orders that another program must be trading here."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that was done to the account; the guard decides what follows from it."""

    kind: IncidentKind
    pair: Pair
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a broker knows its account.

    Parameters
    ----------
    known : bool, False where positions cannot be read: nothing but cancels and protective stops may go
    block : str, why no position may be opened or enlarged now; empty: nothing speaks against it
    """

    known: bool = True
    block: str = ""


class Broker(Protocol):
    """Who takes orders to a market: on paper, or an exchange."""

    @property
    def standing(self) -> Standing:
        """How far the account is known now."""
        ...

    def restore(self) -> int:
        """Take up the orders that were open when the last process ended; returns how many."""
        ...

    def submit(self, order: OrderRecord) -> None:
        """Take an order whose intent is booked (state NEW)."""
        ...

    def cancel(self, order_id: str, reason: str) -> bool:
        """Cancel a working order; False when it works no more."""
        ...

    def working(self, pair: Pair | None = None) -> list[OrderRecord]:
        """Orders that may still fill, protective stops left out."""
        ...

    def ready(self, pair: Pair) -> bool:
        """Whether another order of the pair may be tried now; not while a refusal is looked into."""
        ...

    def bounded(self, pair: Pair) -> bool:
        """Whether market orders of the pair are refused for its price band, so that limits must do."""
        ...

    def protect(self, positions: Mapping[Pair, Position]) -> None:
        """Keep every position's protective stop at rest, and none where nothing is held."""
        ...

    def protected(self, pair: Pair) -> bool:
        """Whether a protective stop of the pair rests at the exchange, so that ours only follows behind it."""
        ...

    def must_close(self) -> Mapping[Pair, str]:
        """Positions that have to be closed at once because they cannot be protected, each with its reason."""
        ...

    def tick(self) -> int:
        """Let happen what is due; returns the number of fills booked."""
        ...

    def settle(self, pair: Pair, settlement_ms: int, rate: Decimal) -> FundingPayment | None:
        """A funding settlement became known; None where nothing is to be booked for it here."""
        ...

    def flat(self) -> bool:
        """Whether the exchange itself says that nothing is held."""
        ...

    def incidents(self) -> list[Incident]:
        """What was done to the account since the last call."""
        ...

    async def run(self) -> None:
        """Work beside the ticks until cancelled."""
        ...
