"""Which exchanges orders can be sent to, and what is missing at the others; opening the gateway of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from hydra_core.broker.binance import BinanceGateway
from hydra_core.broker.bybit import BybitGateway
from hydra_core.broker.gateway import Gateway
from hydra_core.broker.okx import OkxGateway
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import UsageError
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.exchanges import known_exchange
from hydra_core.market.exchanges.capabilities import NO_ORDERS

GATEWAYS: Final[Mapping[str, type[BinanceGateway] | type[BybitGateway] | type[OkxGateway]]] = {
    "binanceusdm": BinanceGateway,
    "bybit": BybitGateway,
    "okx": OkxGateway,
}
"""Gateway by exchange."""
PASSPHRASED: Final = frozenset({"okx"})
"""Exchanges whose keys have a passphrase."""


def insist_on_orders(exchange: str) -> None:
    """Raise UsageError, saying what is missing, where orders cannot be sent safely."""
    if known_exchange(exchange) not in GATEWAYS:
        raise UsageError(
            f"orders cannot be sent to {exchange}: {NO_ORDERS[exchange]}",
            f"Trade there on paper, or set HYDRA_EXCHANGE to one of {', '.join(sorted(GATEWAYS))}",
        )


@asynccontextmanager
async def open_gateway(
    endpoint: Endpoint,
    credentials: Credentials,
    clock: Clock,
    *,
    timeout_ms: int = 10_000,
    budget_folder: Path | None = None,
) -> AsyncIterator[Gateway]:
    """The gateway of an exchange, open until the block ends; see :class:`hydra_core.broker.wire.Wire` for the arguments.

    Raises
    ------
    UsageError : orders cannot be sent there
    """
    insist_on_orders(endpoint.exchange)
    kind = GATEWAYS[endpoint.exchange]
    async with kind(endpoint, credentials, clock, timeout_ms=timeout_ms, budget_folder=budget_folder) as gateway:
        yield gateway
