"""What working an order cost against the price at which it arrived: implementation shortfall, in parts that add up.

Source: Perold, "The implementation shortfall: paper versus reality", Journal of Portfolio Management 14 (1988): the
paper portfolio trades everything at the arrival price; the difference is what trading cost (price and fees) and what
was not traded cost (opportunity).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

ZERO: Final = Decimal(0)
BASIS_POINTS: Final = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Cost of one change of position; USDT, positive is a loss against trading everything at arrival.

    Parameters
    ----------
    arrival : Decimal, middle price when the order arrived, USDT
    wanted, filled : Decimal, signed base units
    average : Decimal or None, mean fill price, USDT
    price_cost : Decimal, of the fills, before fees
    fees : Decimal
    opportunity : Decimal, of what was not filled, at ``end``; 0 while no end price is known
    """

    arrival: Decimal
    wanted: Decimal
    filled: Decimal
    average: Decimal | None
    price_cost: Decimal
    fees: Decimal
    opportunity: Decimal

    @property
    def total(self) -> Decimal:
        """All of it, USDT."""
        return self.price_cost + self.fees + self.opportunity

    def bp(self, amount: Decimal) -> float:
        """An amount (USDT) in basis points of the change's notional at arrival; 0 where nothing was wanted."""
        notional = abs(self.wanted) * self.arrival
        return float(amount / notional * BASIS_POINTS) if notional else 0.0


def shortfall(
    arrival: Decimal,
    wanted: Decimal,
    fills: Iterable[tuple[Decimal, Decimal, Decimal]],
    end: Decimal | None = None,
) -> Shortfall:
    """Implementation shortfall of a change.

    Parameters
    ----------
    arrival : Decimal, USDT, positive
    wanted : Decimal, signed base units
    fills : (signed quantity, price, fee) of its orders
    end : Decimal, optional, price at which what is left unfilled is valued
    """
    filled = spent = fees = ZERO
    for quantity, price, fee in fills:
        filled += quantity
        spent += quantity * price
        fees += fee
    left = wanted - filled
    return Shortfall(
        arrival=arrival,
        wanted=wanted,
        filled=filled,
        average=spent / filled if filled else None,
        price_cost=spent - filled * arrival,
        fees=fees,
        opportunity=left * (end - arrival) if end is not None else ZERO,
    )
