"""How a pair stands at the exchange: traded, settling or gone, until when, and how far from the mark prices may lie."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

PERPETUAL_DELIVERY_MS: Final = 4_133_404_800_000
TRADING: Final = "TRADING"
STATUSES: Final = ("TRADING", "PENDING_TRADING", "SETTLING", "PRE_SETTLE", "CLOSE", "BREAK")
PRICE_BAND: Final = (Decimal("0.85"), Decimal("1.15"))
"""A limit price, and the best price that a market order meets, must lie between these multiples of the mark price."""


@dataclass(slots=True)
class Listing:
    """One pair's standing.

    Parameters
    ----------
    status : one of :data:`STATUSES`
    delivery_ms : int
        When its contracts are settled, epoch ms; far away for a perpetual one.
    vanished : bool
        Whether the exchange knows it no more.
    band : low and high multiple of the mark price (PERCENT_PRICE)
    """

    status: str = TRADING
    delivery_ms: int = PERPETUAL_DELIVERY_MS
    vanished: bool = False
    band: tuple[Decimal, Decimal] = PRICE_BAND
