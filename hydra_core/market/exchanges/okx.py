"""OKX USDT swaps, REST v5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import QUOTE, Pair, base_of
from hydra_core.domain.tables import READING_INTERVAL
from hydra_core.market.exchanges.adapter import ExchangeAdapter, OrderIdRule, Price
from hydra_core.market.exchanges.capabilities import Capability
from hydra_core.market.exchanges.routes import CANDLE, Ask, Query, Route, only, whole

DOCS: Final = "www.okx.com/docs-v5; ccxt 4.5.90 okx"
BARS: Final[Mapping[Interval, str]] = {
    Interval.M1: "1m",
    Interval.M5: "5m",
    Interval.M15: "15m",
    Interval.H1: "1H",
    Interval.H4: "4H",
    Interval.D1: "1Dutc",
}
"""A plain 1D opens at 16:00 UTC."""
KLINES: Final[Mapping[Price, tuple[str, int]]] = {
    Price.TRADED: ("publicGetMarketHistoryCandles", 300),
    Price.MARK: ("publicGetMarketHistoryMarkPriceCandles", 100),
    Price.INDEX: ("publicGetMarketHistoryIndexCandles", 100),
}
PRICES_ONLY: Final = {name: place for name, place in CANDLE.items() if name != "volume"}

CANDLE_STREAM: Final = "www.okx.com/docs-v5, WS candlesticks channel; ccxt 4.5.90 pro/okx.handle_ohlcv"


class Okx(ExchangeAdapter):
    """Adapter of ``okx``."""

    name: ClassVar[str] = "okx"
    order_ids: ClassVar[OrderIdRule] = OrderIdRule(
        "clOrdId",
        r"[A-Za-z0-9]{1,32}",
        32,
        prefix="h",
        source=f"{DOCS}.create_order_request (32 characters)",
        ours="hy",
    )
    counts_contracts: ClassVar[bool] = True
    streams: ClassVar[Mapping[Capability, str]] = {
        Capability.WATCH_CANDLES: CANDLE_STREAM,
        Capability.WATCH_CANDLES_OF_MANY: CANDLE_STREAM,
        Capability.WATCH_QUOTES: "ccxt 4.5.90 pro/okx.handle_bid_ask (bbo-tbt)",
    }
    quirks: ClassVar[tuple[str, ...]] = (
        "Sizes are in contracts; candles and open interest are read in base units (volCcy, oiCcy).",
        "Days of candles are asked for in UTC (1Dutc); OKX's own day begins at 16:00 UTC.",
        "Spans are exclusive at both ends and answers come newest first.",
        "A settled rate is realizedRate; fundingRate in the same row is the prediction.",
        "The funding interval is the distance of the next two settlements: it is in no field of its own.",
        "There is no cancel-all; stops are algo orders, asked for apart.",
    )

    def native(self, pair: Pair) -> str:
        """``BTC-USDT-SWAP``."""
        return f"{base_of(pair)}-{QUOTE}-SWAP"

    def pair(self, native: str) -> Pair:
        """``BTC-USDT-SWAP`` -> ``BTCUSDT``."""
        return Pair(native.removesuffix("-SWAP").replace("-", ""))

    def _candles(self, interval: Interval, price: Price) -> Route | None:
        if price not in KLINES:
            return None
        method, limit = KLINES[price]
        index = price is Price.INDEX
        return Route(
            method,
            self._spanned({"bar": BARS[interval]}, "before", "after", index=index),
            _data,
            {**CANDLE, "volume": 6} if price is Price.TRADED else {**PRICES_ONLY, "volume": lambda row: 0.0},
            limit=limit,
            step_ms=interval.ms,
            page_span_ms=limit * interval.ms,
            source=f"{DOCS}.parse_ohlcv" if price is Price.TRADED else "",
        )

    def _histories(self) -> Mapping[str, Route]:
        grid, period = READING_INTERVAL.ms, {"period": str(READING_INTERVAL)}
        return {
            FUNDING: Route(
                "publicGetPublicFundingRateHistory",
                self._spanned({}, "before", "after"),
                _data,
                {"ts": "fundingTime", "rate": "realizedRate"},
                limit=100,
                step_ms=1,
                page_span_ms=100 * HOUR_MS,
                source=f"{DOCS}.fetch_funding_rate_history",
            ),
            OPEN_INTEREST: Route(
                "publicGetRubikStatContractsOpenInterestHistory",
                self._spanned(period, "begin", "end"),
                _data,
                {"ts": 0, "open_interest": 2, "open_interest_value": 3},
                limit=100,
                step_ms=grid,
                page_span_ms=100 * grid,
                source=f"{DOCS}.fetch_open_interest_history",
            ),
            LONG_SHORT: Route(
                "publicGetRubikStatContractsLongShortAccountRatioContract",
                self._spanned(period, "begin", "end"),
                _data,
                {"ts": 0, "long_short_ratio": 1},
                limit=100,
                step_ms=grid,
                page_span_ms=100 * grid,
                source=f"{DOCS}.fetch_long_short_ratio_history",
            ),
        }

    def present(self) -> tuple[Ask, ...]:
        """Funding, mark, index and open interest: four questions."""
        swap = {"instType": "SWAP"}
        return (
            Ask("publicGetPublicFundingRate", self._instrument, self._funding, f"{DOCS}.parse_funding_rate"),
            Ask(
                "publicGetPublicMarkPrice",
                lambda pair: {**swap, **self._instrument(pair)},
                lambda answer, pair: _named(answer, self.native(pair), {"mark": "markPx", "event_ms": "ts"}),
                f"{DOCS}.fetch_mark_price",
            ),
            Ask(
                "publicGetMarketIndexTickers",
                lambda pair: {"instId": _index(pair)},
                lambda answer, pair: _named(answer, _index(pair), {"index": "idxPx"}),
                f"{DOCS}.parse_ticker",
            ),
            Ask(
                "publicGetPublicOpenInterest",
                lambda pair: {**swap, **self._instrument(pair)},
                lambda answer, pair: _named(answer, self.native(pair), {"open_interest": "oiCcy"}),
                f"{DOCS}.fetch_open_interests",
            ),
        )

    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """A conditional algo order on the mark price."""
        return {"stopLossPrice": trigger_price, "slTriggerPxType": "mark", "reduceOnly": True}

    def stop_query(self) -> dict[str, Any]:
        """Stops are conditional algo orders."""
        return {"trigger": True, "ordType": "conditional"}

    def _instrument(self, pair: Pair) -> dict[str, Any]:
        return {"instId": self.native(pair)}

    def _funding(self, answer: Any, pair: Pair) -> dict[str, Any]:
        row = only(_data(answer), "instId", self.native(pair))
        coming = whole(row["fundingTime"])
        return {
            "funding_rate": row["fundingRate"],
            "next_funding_ms": coming,
            "funding_hours": (whole(row["nextFundingTime"]) - coming) / HOUR_MS,
        }

    def _spanned(self, extra: Mapping[str, Any], after: str, before: str, *, index: bool = False) -> Query:
        def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
            name = _index(pair) if index else self.native(pair)
            return {"instId": name, **extra, after: max(start - 1, 0), before: end, "limit": rows}

        return query


def _index(pair: Pair) -> str:
    return f"{base_of(pair)}-{QUOTE}"


def _data(answer: Any) -> Any:
    return answer["data"]


def _named(answer: Any, name: str, fields: Mapping[str, str]) -> dict[str, Any]:
    row = only(_data(answer), "instId", name)
    return {ours: row[theirs] for ours, theirs in fields.items()}
