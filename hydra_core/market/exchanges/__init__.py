"""The exchanges that HYDRA knows: one module each behind one adapter, and the table of what each can do.

Requests are made by ``market.rest``; which exchange is spoken to is an ``Endpoint``'s business.
"""

from collections.abc import Mapping
from typing import Final

from hydra_core.market.exchanges.adapter import ExchangeAdapter, Price
from hydra_core.market.exchanges.binanceusdm import BinanceUsdm
from hydra_core.market.exchanges.bitget import Bitget
from hydra_core.market.exchanges.bybit import Bybit
from hydra_core.market.exchanges.capabilities import (
    EXCHANGES,
    Capability,
    Support,
    UnsupportedCapability,
    known_exchange,
    require,
    support,
)
from hydra_core.market.exchanges.hyperliquid import Hyperliquid
from hydra_core.market.exchanges.okx import Okx
from hydra_core.market.exchanges.routes import Ask, BadAnswer, PerpReading, Route
from hydra_core.market.exchanges.weex import Weex

ADAPTERS: Final[Mapping[str, ExchangeAdapter]] = {
    adapter.name: adapter for adapter in (BinanceUsdm(), Bybit(), Okx(), Bitget(), Hyperliquid(), Weex())
}
"""Adapter by ccxt's id."""


def adapter_for(exchange: str) -> ExchangeAdapter:
    """The adapter of an exchange; raises UsageError naming the known ones."""
    return ADAPTERS[known_exchange(exchange)]


__all__ = [
    "ADAPTERS",
    "EXCHANGES",
    "Ask",
    "BadAnswer",
    "Capability",
    "ExchangeAdapter",
    "PerpReading",
    "Price",
    "Route",
    "Support",
    "UnsupportedCapability",
    "adapter_for",
    "known_exchange",
    "require",
    "support",
]
