"""Which exchange is spoken to, and as whom. No connection is made here."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An exchange, or a local venue that speaks its protocol.

    Parameters
    ----------
    exchange : str, ccxt's id of the exchange
    base_url : str or None, ``http://host:port`` of a local venue; None is the real exchange
    """

    exchange: str = "binanceusdm"
    base_url: str | None = None

    @property
    def local(self) -> bool:
        """Whether this is a local venue."""
        return self.base_url is not None

    def __str__(self) -> str:
        return f"{self.exchange} at {self.base_url}" if self.base_url else self.exchange


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key and its secret, and a passphrase where the exchange asks for one; never printed."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)
