"""An order and a conditional (algo) order as the exchange keeps them, with their JSON for the state file.

No matching and no wire format here: ``engine.py`` moves them, ``formats.py`` spells them for clients.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Final, TypeVar

from hydra_core.domain.pairs import Pair

OPEN_STATUSES: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
PLAIN_TYPES: Final = ("LIMIT", "MARKET")
CONDITIONAL_TYPES: Final = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
TIMES_IN_FORCE: Final = ("GTC", "IOC", "FOK", "GTX")


@dataclass(slots=True)
class Order:
    """A market or limit order.

    Parameters
    ----------
    side : int, +1 to buy and -1 to sell
    quantity, filled : Decimal, base units
    quote : Decimal, USDT exchanged so far
    """

    order_id: int
    client_id: str
    pair: Pair
    side: int
    kind: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    reduce_only: bool
    created_ms: int
    updated_ms: int
    original_kind: str
    close_position: bool = False
    stop_price: Decimal = Decimal(0)
    filled: Decimal = Decimal(0)
    quote: Decimal = Decimal(0)
    status: str = "NEW"

    @property
    def is_open(self) -> bool:
        """Whether it can still be filled."""
        return self.status in OPEN_STATUSES

    @property
    def remaining(self) -> Decimal:
        """Base units not yet filled."""
        return self.quantity - self.filled

    @property
    def average(self) -> Decimal:
        """Average fill price in USDT, 0 before the first fill."""
        return self.quote / self.filled if self.filled else Decimal(0)


@dataclass(slots=True)
class AlgoOrder:
    """A conditional order: it rests outside the book until the price reaches its trigger, then becomes an order.

    Parameters
    ----------
    rising : bool
        Triggers when the price reaches the trigger from below (else from above).
    callback_rate : Decimal
        Trailing distance in percent; 0 for the other types.
    extreme : Decimal
        Best price seen since a trailing order became active; 0 before.
    """

    algo_id: int
    client_id: str
    pair: Pair
    side: int
    kind: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    trigger_price: Decimal
    rising: bool
    reduce_only: bool
    close_position: bool
    working_type: str
    created_ms: int
    updated_ms: int
    callback_rate: Decimal = Decimal(0)
    activation_price: Decimal = Decimal(0)
    extreme: Decimal = Decimal(0)
    trigger_ms: int = 0
    order_id: int = 0
    status: str = "NEW"
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its trigger."""
        return self.status == "NEW"

    @property
    def is_market(self) -> bool:
        """Whether it becomes a market order."""
        return self.kind.endswith("MARKET")

    def reached(self, price: Decimal) -> bool:
        """Whether a price sets it off; a trailing order follows the price meanwhile."""
        if self.kind != "TRAILING_STOP_MARKET":
            return price >= self.trigger_price if self.rising else price <= self.trigger_price
        if not self.extreme:
            started = not self.activation_price or (self.side * (self.activation_price - price) >= 0)
            if not started:
                return False
            self.extreme = price
        # A selling trail follows the highest price and fires below it; a buying one mirrors that.
        self.extreme = max(self.extreme, price) if self.side < 0 else min(self.extreme, price)
        self.trigger_price = self.extreme * (1 + self.side * self.callback_rate / 100)
        return price <= self.trigger_price if self.side < 0 else price >= self.trigger_price


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of the account."""

    trade_id: int
    order_id: int
    client_id: str
    pair: Pair
    side: int
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realised: Decimal
    maker: bool
    ts: int


@dataclass(frozen=True, slots=True)
class Income:
    """One entry of the wallet's history: ``kind`` is the exchange's incomeType, ``amount`` in USDT."""

    transaction_id: int
    pair: Pair
    kind: str
    amount: Decimal
    ts: int
    info: str = ""


def to_json(row: Order | AlgoOrder | Trade | Income) -> dict[str, Any]:
    """A row's fields with Decimals as text."""
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(row).items()}


def _decimals(kind: type[Any]) -> frozenset[str]:
    return frozenset(f.name for f in fields(kind) if f.type == "Decimal")


_DECIMALS: Final = {kind: _decimals(kind) for kind in (Order, AlgoOrder, Trade, Income)}


Row = TypeVar("Row", Order, AlgoOrder, Trade, Income)


def from_json(kind: type[Row], values: dict[str, Any]) -> Row:
    """The inverse of :func:`to_json`."""
    money = _DECIMALS[kind]
    read: dict[str, Any] = {name: Decimal(value) if name in money else value for name, value in values.items()}
    return kind(**read)
