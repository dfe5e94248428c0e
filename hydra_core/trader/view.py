"""What the trader knows of the market right now, in memory: newest quotes, marks and trades, and each pair's last day of bars.

Not here: writing it down (``feeds``), judging it (``guard``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams import StreamHealth, Trade

DAY_BARS: Final = DAY_MS // FORECAST_INTERVAL.ms
LEAST_RETURNS: Final = 11
"""Fewer of them say nothing of a day's volatility."""


class MarketView:
    """Newest readings by pair; event times are market ms, received times wall ms."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.quotes: dict[Pair, Quote] = {}
        self.marks: dict[Pair, MarkReading] = {}
        self.trades: dict[Pair, Trade] = {}
        self.trade_hearers: list[Callable[[Trade], object]] = []
        """Called with every public trade: what fills resting orders on paper."""
        self.account_stream: Callable[[], StreamHealth] | None = None
        """How the stream of the own account is, where there is one."""
        self.delisted: dict[Pair, str] = {}
        """Pairs that the exchange trades no more, each with its word: nothing is opened in them."""
        self.settled: frozenset[Pair] = frozenset()
        """Those of them whose positions the exchange has closed."""
        self.deliveries: Mapping[Pair, int] = {}
        """When a pair is delivered, epoch ms."""
        self._traded: dict[Pair, float] = {}
        self._exact: dict[Pair, tuple[float, Decimal]] = {}
        self._days = {pair: _Day() for pair in pairs}

    def on_quote(self, quote: Quote) -> bool:
        """Take a quote; False for one that is crossed, not positive or older than the one held."""
        held = self.quotes.get(quote.pair)
        sane = 0 < quote.bid <= quote.ask < math.inf
        if not sane or (held is not None and quote.event_ms < held.event_ms):
            return False
        self.quotes[quote.pair] = quote
        return True

    def on_mark(self, mark: MarkReading) -> bool:
        """Take a mark; False for one that is not positive or older than the one held."""
        held = self.marks.get(mark.pair)
        if not 0 < mark.mark < math.inf or (held is not None and mark.event_ms < held.event_ms):
            return False
        self.marks[mark.pair] = mark
        return True

    def on_trade(self, trade: Trade) -> None:
        """Take a public trade; they come in order."""
        self.trades[trade.pair] = trade
        self._traded[trade.pair] = self.traded(trade.pair) + trade.quantity
        for hear in self.trade_hearers:
            hear(trade)

    def on_bar(self, pair: Pair, ts_ms: int, close: float, volume: float) -> bool:
        """Take a closed forecast bar, for the pair's turnover and volatility over a day; False if it was known."""
        return self._days[pair].add(ts_ms, close, volume)

    def traded(self, pair: Pair) -> float:
        """Base units of the pair that the market has traded since this process began to listen."""
        return self._traded.get(pair, 0.0)

    def mark_prices(self) -> dict[Pair, float]:
        """Newest mark by pair, USDT."""
        return {pair: reading.mark for pair, reading in self.marks.items()}

    def exact_mark(self, pair: Pair) -> Decimal | None:
        """Newest mark of a pair as Decimal, None where there is none."""
        reading = self.marks.get(pair)
        if reading is None:
            return None
        kept = self._exact.get(pair)
        if kept is None or kept[0] != reading.mark:
            kept = self._exact[pair] = (reading.mark, Decimal(repr(reading.mark)))
        return kept[1]

    def mark_age_ms(self, pair: Pair, wall_ms: int) -> float:
        """Wall time since the pair's newest mark was received; ``inf`` where there is none."""
        reading = self.marks.get(pair)
        return math.inf if reading is None else wall_ms - reading.received_wall_ms

    def day_notional(self, pair: Pair) -> float:
        """Turnover of the bars held (at most a day), scaled to a day, USDT; 0 when unknown."""
        traded = self._days[pair].traded
        return sum(traded) * DAY_BARS / len(traded) if traded else 0.0

    def day_volatility(self, pair: Pair) -> float:
        """Standard deviation of the daily log return from the bars held; 0 when unknown."""
        squares = self._days[pair].squares
        if len(squares) < LEAST_RETURNS:
            return 0.0
        return math.sqrt(sum(squares) / len(squares) * DAY_BARS)


class _Day:
    """A pair's last day of bars: what each traded (USDT), and the squared log return from each to the next."""

    def __init__(self) -> None:
        self.traded: deque[float] = deque(maxlen=DAY_BARS + 1)
        self.squares: deque[float] = deque(maxlen=DAY_BARS)
        self._newest: tuple[int, float] | None = None

    def add(self, ts_ms: int, close: float, volume: float) -> bool:
        """Take a closed bar, or return False: one that is not newer than the last is known already."""
        if self._newest is not None:
            newest_ms, before = self._newest
            if ts_ms <= newest_ms:
                return False
            self.squares.append(math.log(close / before) ** 2 if close > 0 and before > 0 else math.nan)
        self.traded.append(close * volume)
        self._newest = (ts_ms, close)
        return True
