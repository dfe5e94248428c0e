"""Bybit linear perpetuals, REST v5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import READING_INTERVAL
from hydra_core.market.exchanges.adapter import ExchangeAdapter, OrderIdRule, Price
from hydra_core.market.exchanges.capabilities import Capability
from hydra_core.market.exchanges.routes import CANDLE, Ask, Query, Route, number, only

DOCS: Final = "bybit-exchange.github.io/docs/v5; ccxt 4.5.90 bybit"
LINEAR: Final = {"category": "linear"}
INTERVALS: Final[Mapping[Interval, str]] = {
    Interval.M1: "1",
    Interval.M5: "5",
    Interval.M15: "15",
    Interval.H1: "60",
    Interval.H4: "240",
    Interval.D1: "D",
}
KLINES: Final[Mapping[Price, str]] = {
    Price.TRADED: "publicGetV5MarketKline",
    Price.MARK: "publicGetV5MarketMarkPriceKline",
    Price.INDEX: "publicGetV5MarketIndexPriceKline",
    Price.PREMIUM: "publicGetV5MarketPremiumIndexPriceKline",
}
PRICES_ONLY: Final = {name: place for name, place in CANDLE.items() if name != "volume"}

KLINE_STREAM: Final = "bybit-exchange.github.io/docs/v5, kline; ccxt 4.5.90 pro/bybit.handle_ohlcv"


class Bybit(ExchangeAdapter):
    """Adapter of ``bybit``."""

    name: ClassVar[str] = "bybit"
    market_types: ClassVar[tuple[str, ...]] = ("linear",)
    order_ids: ClassVar[OrderIdRule] = OrderIdRule(
        "orderLinkId", r"[A-Za-z0-9_-]{1,36}", 36, source=f"{DOCS}.create_order_request (36 characters)"
    )
    streams: ClassVar[Mapping[Capability, str]] = {
        Capability.WATCH_CANDLES: KLINE_STREAM,
        Capability.WATCH_CANDLES_OF_MANY: KLINE_STREAM,
        Capability.WATCH_QUOTES: "bybit-exchange.github.io/docs/v5, orderbook; ccxt 4.5.90 pro/bybit.handle_order_book",
    }
    quirks: ClassVar[tuple[str, ...]] = (
        "Answers come newest first; the newest candle is still running.",
        "Mark, index and premium candles have no volume: it is stored as 0.",
        "Open interest is in base units for linear contracts.",
        "The long/short answer gives shares of accounts; the ratio is the long share over the short share.",
        "A plain trigger order must name its direction; a stop loss names it by itself.",
    )

    def _candles(self, interval: Interval, price: Price) -> Route:
        return Route(
            KLINES[price],
            _spanned({"interval": INTERVALS[interval]}, "start", "end"),
            _list,
            CANDLE if price is Price.TRADED else {**PRICES_ONLY, "volume": lambda row: 0.0},
            limit=1000,
            step_ms=interval.ms,
            page_span_ms=1000 * interval.ms,
            source=f"{DOCS}.fetch_ohlcv" if price is Price.TRADED else "",
        )

    def _histories(self) -> Mapping[str, Route]:
        grid = READING_INTERVAL.ms
        return {
            FUNDING: Route(
                "publicGetV5MarketFundingHistory",
                _spanned({}, "startTime", "endTime"),
                _list,
                {"ts": "fundingRateTimestamp", "rate": "fundingRate"},
                limit=200,
                step_ms=1,
                page_span_ms=200 * HOUR_MS,
                source=f"{DOCS}.fetch_funding_rate_history",
            ),
            OPEN_INTEREST: Route(
                "publicGetV5MarketOpenInterest",
                _spanned({"intervalTime": "5min"}, "startTime", "endTime"),
                _list,
                {"ts": "timestamp", "open_interest": "openInterest"},
                limit=200,
                step_ms=grid,
                page_span_ms=200 * grid,
                source=f"{DOCS}.fetch_open_interest",
            ),
            LONG_SHORT: Route(
                "publicGetV5MarketAccountRatio",
                _spanned({"period": "5min"}, "startTime", "endTime"),
                _list,
                {"ts": "timestamp", "long_short_ratio": lambda row: number(row["buyRatio"]) / number(row["sellRatio"])},
                limit=500,
                step_ms=grid,
                page_span_ms=500 * grid,
                source=f"{DOCS}.fetch_long_short_ratio_history",
            ),
        }

    def present(self) -> tuple[Ask, ...]:
        """The ticker, and the contract's rules for its funding interval."""
        return (
            Ask("publicGetV5MarketTickers", _symbol, _ticker, f"{DOCS}.fetch_ticker"),
            Ask(
                "publicGetV5MarketInstrumentsInfo",
                _symbol,
                lambda answer, pair: {
                    "funding_hours": number(only(_list(answer), "symbol", pair)["fundingInterval"]) / 60
                },
                f"{DOCS}.fetch_future_markets",
            ),
        )

    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """A conditional order triggered by the mark price; ccxt adds direction and reduceOnly."""
        return {"stopLossPrice": trigger_price, "triggerBy": "MarkPrice"}


def _spanned(extra: Mapping[str, Any], first: str, last: str) -> Query:
    def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
        return {**LINEAR, "symbol": pair, **extra, first: start, last: end - 1, "limit": rows}

    return query


def _symbol(pair: Pair) -> dict[str, Any]:
    return {**LINEAR, "symbol": pair}


def _list(answer: Any) -> Any:
    return answer["result"]["list"]


def _ticker(answer: Any, pair: Pair) -> dict[str, Any]:
    row = only(_list(answer), "symbol", pair)
    return {
        "mark": row["markPrice"],
        "index": row["indexPrice"],
        "funding_rate": row["fundingRate"],
        "next_funding_ms": row["nextFundingTime"],
        "open_interest": row["openInterest"],
        "event_ms": answer["time"],
    }
