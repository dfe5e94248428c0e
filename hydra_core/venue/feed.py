"""The market as the venue reads it: Decimal prices on the pair's grid, books that remember what was taken, settlements.

Everything that the engine and the streams know of the market comes through here, cut at the time they name. The
market's own arithmetic is in ``simulation``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import numpy as np

from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Series
from hydra_core.simulation.base import Depth, Market
from hydra_core.venue.account import Bracket, brackets
from hydra_core.venue.listings import Listing
from hydra_core.venue.overlay import Overlay

ENGINE_LEVELS: Final = 50
"""Levels of the book that orders are matched against."""
SETTLEMENT: Final = 0
TRADE: Final = 1
Step = tuple[int, int, Pair, float, float]
"""Time (epoch ms), what happens (:data:`SETTLEMENT` before :data:`TRADE`), pair, rate or price, quantity."""
_SETTLEMENT_SPAN_MS: Final = DAY_MS


@dataclass(frozen=True, slots=True)
class PairFormat:
    """How a pair's numbers are written: digits after the point of prices and quantities, as ``%`` templates."""

    price_digits: int
    quantity_digits: int
    price: str = field(init=False)
    """Template of a price."""
    quantity: str = field(init=False)
    """Template of a quantity."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "price", f"%.{self.price_digits}f")  # read for every number that is written
        object.__setattr__(self, "quantity", f"%.{self.quantity_digits}f")


def _digits(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


class Feed:
    """One market through the venue's eyes.

    Parameters
    ----------
    market : Market
    """

    def __init__(self, market: Market) -> None:
        self.market = Overlay(market)
        self._rules = {pair: market.rules(pair) for pair in market.pairs}
        self._tables = {pair: brackets(rules) for pair, rules in self._rules.items()}
        self._formats = {
            pair: PairFormat(_digits(rules.tick_size), _digits(rules.step_size)) for pair, rules in self._rules.items()
        }
        self.rules: Mapping[Pair, MarketRules] = MappingProxyType(self._rules)
        self.tables: Mapping[Pair, tuple[Bracket, ...]] = MappingProxyType(self._tables)
        self.formats: Mapping[Pair, PairFormat] = MappingProxyType(self._formats)
        self.listings: Mapping[Pair, Listing] = MappingProxyType({pair: Listing() for pair in market.pairs})
        self._settlements: dict[Pair, tuple[int, int, Series]] = {}
        self._taken: dict[tuple[Pair, int], tuple[int, dict[Decimal, Decimal]]] = {}

    def lists(self, pair: Pair) -> bool:
        """Whether the exchange knows a pair (still)."""
        return pair in self._rules and not self.listings[pair].vanished

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Pairs that the exchange knows."""
        return tuple(pair for pair in self._rules if self.lists(pair))

    def set_rules(self, rules: MarketRules) -> None:
        """Other filters for a pair from now on."""
        self._rules[rules.pair] = rules
        self._formats[rules.pair] = PairFormat(_digits(rules.tick_size), _digits(rules.step_size))

    def set_table(self, pair: Pair, table: tuple[Bracket, ...]) -> None:
        """Another leverage table for a pair from now on."""
        self._tables[pair] = table

    def forget_settlements(self) -> None:
        """Settlement times have changed."""
        self._settlements.clear()

    def mark(self, pair: Pair, ts_ms: int) -> Decimal:
        """Mark price in USDT, on the tick grid."""
        return Decimal(self.formats[pair].price % self.market.mark(pair, ts_ms).mark)

    def marks(self, ts_ms: int, pairs: tuple[Pair, ...]) -> dict[Pair, Decimal]:
        """Mark prices of several pairs, USDT."""
        return {pair: self.mark(pair, ts_ms) for pair in pairs}

    def price(self, pair: Pair, price: float) -> Decimal:
        """A float price on the tick grid."""
        return Decimal(self.formats[pair].price % price)

    def quantity(self, pair: Pair, quantity: float) -> Decimal:
        """A float quantity on the step grid."""
        return Decimal(self.formats[pair].quantity % quantity)

    def levels(self, pair: Pair, side: int, ts_ms: int) -> list[tuple[Decimal, Decimal]]:
        """What a taker of ``side`` (+1 buys) can still take at ``ts_ms``: price (USDT) and size (base), best first.

        What was taken before at the same instant is gone; the book is new at the next.
        """
        depth: Depth = self.market.depth(pair, ts_ms, ENGINE_LEVELS)
        rows = depth.asks if side > 0 else depth.bids
        taken = self._taken_at(pair, side, ts_ms)
        out: list[tuple[Decimal, Decimal]] = []
        for price, size in rows.tolist():
            at = self.price(pair, price)
            left = self.quantity(pair, size) - taken.get(at, Decimal(0))
            if left > 0:
                out.append((at, left))
        return out

    def take(self, pair: Pair, side: int, ts_ms: int, price: Decimal, quantity: Decimal) -> None:
        """Remember that a level was taken from."""
        taken = self._taken_at(pair, side, ts_ms)
        taken[price] = taken.get(price, Decimal(0)) + quantity

    def settlements(self, pair: Pair, after_ms: int, until_ms: int) -> list[tuple[int, float]]:
        """Funding settlements in (after, until]: time (epoch ms) and rate (fraction)."""
        first, last, series = self._settlements.get(pair, (0, 0, Series.empty()))
        if not first <= after_ms + 1 <= until_ms + 1 <= last:
            first, last = after_ms + 1, until_ms + 1 + _SETTLEMENT_SPAN_MS
            series = self.market.funding(pair, first, last)
            self._settlements[pair] = (first, last, series)
        low, high = np.searchsorted(series.ts, [after_ms, until_ms], side="right")
        return list(zip(series.ts[low:high].tolist(), series.value[low:high].tolist(), strict=True))

    def steps(self, pairs: Iterable[Pair], after_ms: int, until_ms: int) -> Iterator[Step]:
        """Everything in (after, until] that can move an account in these pairs, in market order."""
        sources: list[list[Step]] = []
        for pair in pairs:
            trades = self.market.trades(pair, after_ms + 1, until_ms + 1)
            columns = (trades.ts.tolist(), trades.price.tolist(), trades.quantity.tolist())
            sources.append([(ts, TRADE, pair, price, size) for ts, price, size in zip(*columns, strict=True)])
            sources.append(
                [(ts, SETTLEMENT, pair, rate, 0.0) for ts, rate in self.settlements(pair, after_ms, until_ms)]
            )
        return heapq.merge(*sources)

    def _taken_at(self, pair: Pair, side: int, ts_ms: int) -> dict[Decimal, Decimal]:
        stamp, taken = self._taken.get((pair, side), (-1, {}))
        if stamp != ts_ms:
            taken = {}
            self._taken[pair, side] = (ts_ms, taken)
        return taken
