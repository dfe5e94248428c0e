"""What an exchange says of its contracts: which it lists, since when, until when, and by which filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import QUOTE, Pair

TRADING: Final = "TRADING"
PERPETUAL: Final = "PERPETUAL"


@dataclass(frozen=True, slots=True)
class Listing:
    """One USDT perpetual as the exchange lists it.

    Parameters
    ----------
    pair : Pair
    status : str, the exchange's own word: TRADING, SETTLING, CLOSE, …
    listed_ms : int, epoch ms of its first day; 0 where the exchange does not say
    delivery_ms : int, epoch ms of its settlement; far in the future for one that has none
    rules : MarketRules
    """

    pair: Pair
    status: str
    listed_ms: int
    delivery_ms: int
    rules: MarketRules

    @property
    def trading(self) -> bool:
        """Whether orders that open are taken."""
        return self.status == TRADING


def read_listings(answer: Mapping[str, Any]) -> dict[Pair, Listing]:
    """USDT perpetuals of an exchangeInfo answer, whatever their status; exact filters.

    Raises
    ------
    KeyError, ValueError : the answer is not an exchangeInfo
    """
    found: dict[Pair, Listing] = {}
    for market in answer["symbols"]:
        if market.get("quoteAsset") != QUOTE or market.get("contractType") != PERPETUAL:
            continue
        filters = {entry["filterType"]: entry for entry in market["filters"]}
        pair = Pair(market["symbol"])
        try:
            rules = MarketRules(
                pair=pair,
                tick_size=Decimal(filters["PRICE_FILTER"]["tickSize"]),
                step_size=Decimal(filters["LOT_SIZE"]["stepSize"]),
                min_quantity=Decimal(filters["LOT_SIZE"]["minQty"]),
                min_notional=Decimal(filters["MIN_NOTIONAL"]["notional"]),
            )
        except InvalidOperation as error:
            raise ValueError(f"{pair}: a filter is not a number") from error
        listed, delivery = int(market.get("onboardDate") or 0), int(market.get("deliveryDate") or 0)
        found[pair] = Listing(pair, str(market.get("status", "")), listed, delivery, rules)
    return found
