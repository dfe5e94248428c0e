"""What a simulated market answers: the `Market` protocol and the two records that only a venue needs.

No market lives here, and nothing about orders or accounts: a market is not moved by who trades on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Bools, Floats, Ints, Liquidation, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series


@dataclass(frozen=True, eq=False, slots=True)
class Trades:
    """Public trades of one pair, derived from its bars: arrays of shape (n,), ascending in time and id.

    ``ts`` epoch ms, ``price`` USDT on the tick grid, ``quantity`` base units on the step grid (a bar's trades add up to
    its volume but for rounding), ``buyer_maker`` True where the seller was the aggressor, ``trade_id`` unique per pair.
    """

    trade_id: Ints
    ts: Ints
    price: Floats
    quantity: Floats
    buyer_maker: Bools

    def __len__(self) -> int:
        return int(self.ts.size)


@dataclass(frozen=True, eq=False, slots=True)
class Depth:
    """An order book: ``bids`` and ``asks`` of shape (levels, 2), best first, columns price (USDT) and size (base units)."""

    pair: Pair
    bids: Floats
    asks: Floats
    event_ms: int


class Market(Protocol):
    """A market as a pure function of time: whatever is asked, in whatever order, the answers are the same.

    Times are epoch ms UTC, spans are half-open [start, end). A market knows its whole future: **the venue must cut what
    it tells at its own now** (ask ``candles`` only for bars that are closed, ``running`` for the one that is not).
    """

    @property
    def name(self) -> str:
        """Market name, also the name of its home: ``synthetic-7-0.3``, ``recorded-1a2b3c4d``."""
        ...

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair that is traded."""
        ...

    @property
    def base_interval(self) -> Interval:
        """The finest interval that candles are offered in."""
        ...

    @property
    def origin_ms(self) -> int:
        """Open time of the first base candle."""
        ...

    @property
    def start_ms(self) -> int:
        """Where a venue's clock stands the first time it opens this market: history lies before, paper trading after."""
        ...

    @property
    def end_ms(self) -> int | None:
        """Close of the last candle; None for a market without an end."""
        ...

    @property
    def inputs(self) -> frozenset[str]:
        """Which of ``domain.market.INPUTS`` the market offers; the others are absent, and their queries answer empty."""
        ...

    @property
    def has_marks(self) -> bool:
        """Whether past marks and indices are told as history; False where they are only derived from recorded candles."""
        ...

    def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Bars:
        """Every whole candle whose open lies in the span (read-only arrays).

        Raises
        ------
        Unsupported : the interval is finer than the base interval
        """
        ...

    def running(self, pair: Pair, interval: Interval, ts_ms: int) -> Bars | None:
        """The candle in progress at ``ts_ms`` as known just then (one row), None where nothing has traded in it yet."""
        ...

    def funding(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Settled funding rates (fraction per settlement) by settlement time."""
        ...

    def open_interest(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Open interest in base units by its 5m stamp: the state at the stamp, published some seconds later."""
        ...

    def long_short(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Ratio of accounts long to accounts short by its 5m stamp."""
        ...

    def liquidations(self, pair: Pair, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Forced orders in order of time."""
        ...

    def trades(self, pair: Pair, start_ms: int, end_ms: int) -> Trades:
        """Public trades on the seeded path through the base candles."""
        ...

    def path(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Times and prices of those trades: the last price holds until the next one."""
        ...

    def price(self, pair: Pair, ts_ms: int) -> float:
        """Last traded price at ``ts_ms``, USDT. Cheap: the venue asks many times a second."""
        ...

    def quote(self, pair: Pair, ts_ms: int) -> Quote:
        """Best bid and ask at ``ts_ms``; ``received_wall_ms`` equals ``event_ms`` (the venue has no receiver)."""
        ...

    def depth(self, pair: Pair, ts_ms: int, levels: int = 20) -> Depth:
        """The book at ``ts_ms``; its first level is :meth:`quote`'s."""
        ...

    def mark(self, pair: Pair, ts_ms: int) -> MarkReading:
        """Mark, index, predicted funding rate and next settlement at ``ts_ms``; ``received_wall_ms`` equals ``event_ms``."""
        ...

    def coming_rates(self, pair: Pair, stamps: Ints) -> Floats:
        """The predicted funding rate of :meth:`mark` at many times at once: epoch ms ascending (n,) to fractions (n,)."""
        ...

    def rules(self, pair: Pair) -> MarketRules:
        """The exchange's filters for the pair."""
        ...
