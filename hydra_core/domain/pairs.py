"""Trading pairs: one canonical spelling inside, several accepted from people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NewType

from hydra_core.domain.errors import UsageError

Pair = NewType("Pair", str)
"""Canonical id of a USDT-margined perpetual, e.g. ``BTCUSDT``."""

QUOTE: Final = "USDT"
DEFAULT_PAIRS: Final[tuple[Pair, ...]] = tuple(
    Pair(f"{base}{QUOTE}") for base in ("BTC", "ETH", "SOL", "BNB", "DOGE", "XRP", "ADA", "LTC")
)

_SPELLING = re.compile(r"^(?:CMT_)?(?P<base>[A-Z0-9]{1,15}?)(?:[/_-]?USDT(?::USDT)?)?$")


def parse_pair(text: str, known: Iterable[Pair] = DEFAULT_PAIRS) -> Pair:
    """Canonical pair for ``BTCUSDT``, ``BTC/USDT:USDT``, ``BTC`` or ``cmt_btcusdt``.

    Raises
    ------
    UsageError : the text is no pair, or the pair is not among ``known``
    """
    allowed = tuple(known)
    match = _SPELLING.match(text.strip().upper())
    pair = Pair(f"{match['base']}{QUOTE}") if match else None
    if pair is None or pair not in allowed:
        raise UsageError(f"unknown pair {text!r}", f"Known pairs: {', '.join(allowed)}")
    return pair


def parse_pairs(text: str, known: Iterable[Pair] = DEFAULT_PAIRS) -> tuple[Pair, ...]:
    """Pairs from a comma-separated list, ``all`` meaning every known one; order kept, repeats dropped."""
    allowed = tuple(known)
    if text.strip().lower() == "all":
        return allowed
    return tuple(dict.fromkeys(parse_pair(part, allowed) for part in text.split(",") if part.strip()))


def base_of(pair: Pair) -> str:
    """Base asset, e.g. ``BTC`` for ``BTCUSDT``."""
    return pair.removesuffix(QUOTE)


def ccxt_symbol(pair: Pair) -> str:
    """The pair in ccxt's unified spelling, e.g. ``BTC/USDT:USDT``."""
    return f"{base_of(pair)}/{QUOTE}:{QUOTE}"


def from_ccxt_symbol(symbol: str) -> Pair:
    """The inverse of :func:`ccxt_symbol`."""
    return Pair(symbol.split(":", 1)[0].replace("/", ""))
