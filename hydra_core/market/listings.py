"""What an exchange says of its contracts: which it lists, since when, until when, and by which filters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import QUOTE, Pair

TRADING: Final = "TRADING"
CLOSED: Final = "CLOSE"
PERPETUAL: Final = "PERPETUAL"
NEVER_MS: Final = 4_133_404_800_000
"""Delivery of a contract that has none, as Binance writes it: the year 2100."""


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

    def settled(self, now_ms: int) -> bool:
        """Whether the exchange has closed every position in it by now (epoch ms): it is delivered and traded no more."""
        return not self.trading and self.delivery_ms <= now_ms


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


def read_markets(markets: Iterable[Mapping[str, Any]], quote: str, *, counts_contracts: bool) -> dict[Pair, Listing]:
    """Linear perpetuals of one quote currency among ccxt's unified markets, under HYDRA's names; filters in base units.

    Parameters
    ----------
    markets : ccxt's market structures, precisions as tick sizes
    quote : str, currency that the exchange's perpetuals are quoted and settled in
    counts_contracts : bool, whether the exchange counts sizes in contracts rather than base units

    Raises
    ------
    KeyError, ValueError : a market is not of ccxt's structure
    """
    found: dict[Pair, Listing] = {}
    for market in markets:
        if not (market["swap"] and market["linear"] and market["quote"] == market["settle"] == quote):
            continue
        pair, least = Pair(f"{market['base']}{QUOTE}"), market["limits"]
        contract = _exact((market["contractSize"] if counts_contracts else None) or 1)
        step = _exact(market["precision"]["amount"]) * contract
        rules = MarketRules(
            pair=pair,
            tick_size=_exact(market["precision"]["price"]),
            step_size=step,
            min_quantity=max(step, _exact(least["amount"]["min"] or 0) * contract),
            min_notional=_exact(least["cost"]["min"] or 0),
        )
        status = CLOSED if market["active"] is False else TRADING
        found[pair] = Listing(pair, status, int(market["created"] or 0), int(market["expiry"] or NEVER_MS), rules)
    return found


def _exact(value: Any) -> Decimal:
    """A number as it is written; raises ValueError for anything else."""
    try:
        return Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a number") from error
