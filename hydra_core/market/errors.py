"""What an exchange's refusals mean to HYDRA: one table from ccxt's error classes, one from the exchange's own codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hydra_core.domain.errors import OutcomeUnknown, Refused, Unsupported, VenueError, VenueUnavailable

READS: Final[Mapping[str, type[VenueError]]] = {
    "RequestTimeout": VenueUnavailable,
    "ExchangeNotAvailable": VenueUnavailable,
    "OnMaintenance": VenueUnavailable,
    "DDoSProtection": VenueUnavailable,
    "RateLimitExceeded": VenueUnavailable,
    "InvalidNonce": VenueUnavailable,
    "NetworkError": VenueUnavailable,
    "BadResponse": VenueUnavailable,
    "OperationFailed": VenueUnavailable,
    "NotSupported": Unsupported,
    "ExchangeError": Refused,
    "BaseError": Refused,
}
"""ccxt class -> what a read does about it; a class not listed counts as its nearest listed ancestor."""

ORDERS: Final[Mapping[str, type[VenueError]]] = {
    **READS,
    "RequestTimeout": OutcomeUnknown,
    "ExchangeNotAvailable": OutcomeUnknown,
    "OnMaintenance": OutcomeUnknown,
    "NetworkError": OutcomeUnknown,
    "BadResponse": OutcomeUnknown,
    "OperationFailed": OutcomeUnknown,
}
"""ccxt class -> what the sender of an order does: only limits and a bad timestamp are refused before execution."""

CODES: Final[Mapping[int, type[VenueError]]] = {
    -1120: Unsupported,  # invalid interval: this market has no such candles
    -5000: Unsupported,  # path does not exist
}
"""Exchange code -> decision, where the code says more than ccxt's class does."""

REMEDIES: Final[Mapping[str, str]] = {
    "DDoSProtection": "The exchange limits requests; HYDRA waits as long as it asks",
    "RateLimitExceeded": "The exchange limits requests; HYDRA waits as long as it asks",
    "InvalidNonce": "Check this machine's clock against UTC",
    "AuthenticationError": "Check the API key and secret in the environment",
    "PermissionDenied": "Give the API key futures permission, or change the key",
    "OnMaintenance": "The exchange is under maintenance; try again later",
    "ExchangeNotAvailable": "Check that the exchange (or the local venue, `hydra status`) is up",
    "RequestTimeout": "Check that the exchange (or the local venue, `hydra status`) is up",
    "BadSymbol": "Check the pair's spelling, and that the exchange lists it",
}

START_TOO_EARLY: Final = -1130
"""What statistics endpoints answer when asked for more than the month they keep."""

_CODE = re.compile(r'"code"\s*:\s*"?(-?\d+)')


def code_of(error: BaseException) -> int | None:
    """The exchange's own code inside an error's words, None where there is none."""
    match = _CODE.search(str(error))
    return int(match.group(1)) if match else None


def read_error(error: BaseException, doing: str, *, order: bool = False) -> VenueError:
    """HYDRA's error for one of ccxt's.

    Parameters
    ----------
    error : ccxt.BaseError
    doing : str, what was asked, for the message
    order : bool, whether an order was sent or cancelled, so that silence leaves its outcome unknown

    Returns
    -------
    VenueError : to be raised from ``error``
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    table = ORDERS if order else READS
    kind = next((table[name] for name in names if name in table), Refused)
    if kind is Refused:
        kind = CODES.get(code_of(error) or 0, kind)
    remedy = next((REMEDIES[name] for name in names if name in REMEDIES), "")
    return kind(f"{doing}: {_words(error)}", remedy)


def _words(error: BaseException) -> str:
    """The error's first line without the noise of its URL."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
