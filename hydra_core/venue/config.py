"""What a venue is started with. No defaults of the platform live here: those are read at the edges and passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from hydra_core.domain.errors import UsageError
from hydra_core.simulation.base import Market
from hydra_core.venue.clock import checked_speed

LOCAL_KEY: Final = "hydra-local"
LOCAL_SECRET: Final = "hydra-local-secret"
"""Fixed credentials of the loopback venue: they open a simulated account and nothing else."""


@dataclass(frozen=True, slots=True)
class VenueConfig:
    """One local exchange.

    Parameters
    ----------
    market : Market
        What is traded.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    state_dir : Path
        Folder that holds the clock and the account; a state found there wins over ``start_ms``, ``speed``, ``held``
        and ``balance``.
    speed : float
        Market seconds a wall second.
    held : bool
        Start with market time standing still.
    start_ms : int
        Market time at the first start, epoch ms.
    balance : Decimal
        Wallet at the first start, USDT.
    api_key, secret : str
        Credentials of the one account.
    weight_limit : int
        Request weight allowed in a wall minute before 429. The real exchange allows 2 400; the local default is out
        of the way of a back-fill.
    order_limit : int
        Orders allowed in ten wall seconds before -1015 (the minute's limit is four times as much).
    seed : int
        Of every choice that an ordered fault leaves to the venue.
    """

    market: Market
    host: str
    port: int
    state_dir: Path
    speed: float = 1.0
    held: bool = False
    start_ms: int = 0
    balance: Decimal = Decimal(1_000)
    api_key: str = LOCAL_KEY
    secret: str = field(default=LOCAL_SECRET, repr=False)
    weight_limit: int = 1_000_000
    order_limit: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        checked_speed(self.speed)
        if self.balance < 0:
            raise UsageError(f"balance {self.balance} is negative", "Use 0 or more USDT")
        if self.start_ms < self.market.origin_ms:
            raise UsageError(
                f"start {self.start_ms} lies before the market's origin {self.market.origin_ms}",
                "Use a market time inside the market's span",
            )
