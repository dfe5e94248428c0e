"""What the engine tells the account's owner: snapshots taken at the moment of the event.

They carry values, not live objects, so that a later change cannot rewrite a message that waits to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hydra_core.domain.pairs import Pair
from hydra_core.venue.orders import AlgoOrder, Order, Trade


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """An order moved; ``execution`` is the exchange's word (NEW, TRADE, CANCELED, EXPIRED, CALCULATED)."""

    order: Order
    execution: str
    trade: Trade | None
    ts: int


@dataclass(frozen=True, slots=True)
class ShortTradeEvent:
    """A trade in few fields, told ahead of the :class:`OrderEvent` that tells it in full."""

    order: Order
    trade: Trade
    ts: int


@dataclass(frozen=True, slots=True)
class AlgoEvent:
    """A conditional order moved."""

    algo: AlgoOrder
    ts: int


@dataclass(frozen=True, slots=True)
class PositionLine:
    """A position inside an :class:`AccountEvent`: signed base units, USDT."""

    pair: Pair
    quantity: Decimal
    entry: Decimal
    unrealised: Decimal


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Wallet or positions changed; ``change`` is the wallet's change that is neither profit nor commission, USDT."""

    reason: str
    wallet: Decimal
    change: Decimal
    positions: tuple[PositionLine, ...]
    ts: int


@dataclass(frozen=True, slots=True)
class MarginLine:
    """A position inside a :class:`MarginCallEvent`: signed base units, USDT."""

    pair: Pair
    quantity: Decimal
    mark: Decimal
    unrealised: Decimal
    maintenance: Decimal


@dataclass(frozen=True, slots=True)
class MarginCallEvent:
    """The maintenance margin has used up most of the balance; ``wallet`` is USDT."""

    wallet: Decimal
    positions: tuple[MarginLine, ...]
    ts: int


@dataclass(frozen=True, slots=True)
class LeverageEvent:
    """A pair's leverage was set."""

    pair: Pair
    leverage: int
    ts: int


@dataclass(frozen=True, slots=True)
class TriggerRejectEvent:
    """A conditional order was set off and its order refused."""

    pair: Pair
    order_id: int
    reason: str
    ts: int


UserEvent = (
    OrderEvent | ShortTradeEvent | AlgoEvent | AccountEvent | MarginCallEvent | LeverageEvent | TriggerRejectEvent
)
