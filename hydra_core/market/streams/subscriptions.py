"""Which of ccxt's calls follows a stream, and over how many connections its pairs are spread.

Not here: connections (``line``), what then arrives (``messages``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.market.streams.readings import (
    BOOK_STREAM,
    CANDLE_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    TRADE_STREAM,
)
from hydra_core.market.streams.socket import Subscribe

STREAMS_A_LINE: Final = 200
"""Subscriptions that the exchange allows on one connection."""
ALL_MARKS_FROM: Final = 50
"""From so many pairs on the marks of all are one subscription."""


def subscriptions(
    name: str, pairs: Sequence[Pair], intervals: Collection[Interval]
) -> list[tuple[tuple[Pair, ...], Subscribe]]:
    """What each connection of a stream carries, and ccxt's call for it.

    Parameters
    ----------
    name : str, the stream
    pairs, intervals : what is followed; intervals matter to candles alone

    Returns
    -------
    list of (tuple of Pair, callable), one a connection
    """
    if name == MARK_STREAM and len(pairs) >= ALL_MARKS_FROM:
        return [(tuple(pairs), lambda exchange: exchange.watch_mark_prices())]
    count = max(1, STREAMS_A_LINE // (len(intervals) if name == CANDLE_STREAM else 1))
    chunks = [tuple(pairs[at : at + count]) for at in range(0, len(pairs), count)]
    return [(chunk, _call(name, chunk, intervals)) for chunk in chunks]


def _call(name: str, pairs: Sequence[Pair], intervals: Collection[Interval]) -> Subscribe:
    symbols = [ccxt_symbol(pair) for pair in pairs]
    series = [[symbol, str(interval)] for symbol in symbols for interval in sorted(intervals)]
    calls: dict[str, Subscribe] = {
        CANDLE_STREAM: lambda exchange: exchange.watch_ohlcv_for_symbols(series),
        # Aggregate trades are numbered without a gap, over the stream and REST alike: holes can be seen and filled.
        TRADE_STREAM: lambda exchange: exchange.watch_trades_for_symbols(symbols, params={"name": "aggTrade"}),
        QUOTE_STREAM: lambda exchange: exchange.watch_bids_asks(symbols),
        BOOK_STREAM: lambda exchange: exchange.watch_order_book_for_symbols(symbols),
        MARK_STREAM: lambda exchange: exchange.watch_mark_prices(symbols),
        LIQUIDATION_STREAM: lambda exchange: exchange.watch_liquidations_for_symbols(symbols),
    }
    return calls[name]
