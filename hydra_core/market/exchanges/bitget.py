"""Bitget USDT futures, REST v2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import READING_INTERVAL
from hydra_core.market.exchanges.adapter import ExchangeAdapter, OrderIdRule, Price
from hydra_core.market.exchanges.capabilities import Capability
from hydra_core.market.exchanges.routes import CANDLE, Ask, Paging, Route, number, only

DOCS: Final = "www.bitget.com/api-doc/contract/market; ccxt 4.5.90 bitget"
PRODUCT: Final = {"productType": "USDT-FUTURES"}
GRANULARITY: Final[Mapping[Interval, str]] = {
    Interval.M1: "1m",
    Interval.M5: "5m",
    Interval.M15: "15m",
    Interval.H1: "1H",
    Interval.H4: "4H",
    Interval.D1: "1Dutc",
}
KLINES: Final[Mapping[Price, str]] = {
    Price.TRADED: "publicMixGetV2MixMarketHistoryCandles",
    Price.MARK: "publicMixGetV2MixMarketHistoryMarkCandles",
    Price.INDEX: "publicMixGetV2MixMarketHistoryIndexCandles",
}


class Bitget(ExchangeAdapter):
    """Adapter of ``bitget``."""

    name: ClassVar[str] = "bitget"
    order_ids: ClassVar[OrderIdRule] = OrderIdRule("clientOid", r"[A-Za-z0-9_-]{1,36}", 36)
    streams: ClassVar[Mapping[Capability, str]] = {
        Capability.WATCH_CANDLES: "ccxt 4.5.90 pro/bitget.handle_ohlcv (quoted for a spot pair; one channel for both)",
        Capability.WATCH_QUOTES: "ccxt 4.5.90 pro/bitget.parse_ws_ticker (contract)",
    }
    quirks: ClassVar[tuple[str, ...]] = (
        "Funding history is only counted in pages back from now: an old span costs every page before it.",
        "The long/short endpoint knows its newest rows only, and its ratio field contradicts the shares beside it: "
        "the ratio is taken from the shares.",
        "Open interest is in base units and has no history.",
        "reduceOnly is not offered in every mode: a protective stop is a position stop (pos_loss).",
    )

    def _candles(self, interval: Interval, price: Price) -> Route | None:
        if price not in KLINES:
            return None

        def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
            span = {"startTime": start, "endTime": end, "limit": rows}
            return {**PRODUCT, "symbol": pair, "granularity": GRANULARITY[interval], **span}

        return Route(
            KLINES[price],
            query,
            lambda answer: answer["data"],
            CANDLE,
            limit=200,
            step_ms=interval.ms,
            page_span_ms=min(200 * interval.ms, 90 * 24 * HOUR_MS),
            source=f"{DOCS}.parse_ohlcv" if price is Price.TRADED else "",
        )

    def _histories(self) -> Mapping[str, Route]:
        return {
            FUNDING: Route(
                "publicMixGetV2MixMarketHistoryFundRate",
                lambda pair, page, _, rows: {**PRODUCT, "symbol": pair, "pageNo": page, "pageSize": rows},
                lambda answer: answer["data"],
                {"ts": "fundingTime", "rate": "fundingRate"},
                limit=100,
                step_ms=1,
                page_span_ms=100 * HOUR_MS,
                paging=Paging.NUMBERED,
                source=f"{DOCS}.fetch_funding_rate_history",
            ),
            LONG_SHORT: Route(
                "publicMixGetV2MixMarketAccountLongShort",
                lambda pair, *_: {"symbol": pair, "period": str(READING_INTERVAL)},
                lambda answer: answer["data"],
                {"ts": "ts", "long_short_ratio": _ratio},
                limit=500,
                step_ms=READING_INTERVAL.ms,
                page_span_ms=500 * READING_INTERVAL.ms,
                paging=Paging.RECENT,
                source=f"{DOCS}.fetch_long_short_ratio_history",
            ),
        }

    def present(self) -> tuple[Ask, ...]:
        """Prices, funding and open interest: three questions."""
        return (
            Ask("publicMixGetV2MixMarketSymbolPrice", _symbol, _prices, f"{DOCS}/Get-Symbol-Price"),
            Ask("publicMixGetV2MixMarketCurrentFundRate", _symbol, _funding, f"{DOCS}.parse_funding_rate"),
            Ask(
                "publicMixGetV2MixMarketOpenInterest",
                _symbol,
                lambda answer, pair: {
                    "open_interest": only(answer["data"]["openInterestList"], "symbol", pair)["size"]
                },
                f"{DOCS}.fetch_open_interest",
            ),
        )

    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """A position stop on the mark price: it closes what is open and can open nothing."""
        return {"stopLossPrice": trigger_price, "triggerType": "mark_price"}

    def stop_query(self) -> dict[str, Any]:
        """Position stops are plan orders of type profit_loss."""
        return {"trigger": True, "planType": "profit_loss"}


def _symbol(pair: Pair) -> dict[str, Any]:
    return {**PRODUCT, "symbol": pair}


def _ratio(row: Any) -> float:
    return number(row["longAccountRatio"]) / number(row["shortAccountRatio"])


def _prices(answer: Any, pair: Pair) -> dict[str, Any]:
    row = only(answer["data"], "symbol", pair)
    return {"mark": row["markPrice"], "index": row["indexPrice"], "event_ms": row["ts"]}


def _funding(answer: Any, pair: Pair) -> dict[str, Any]:
    row = only(answer["data"], "symbol", pair)
    return {
        "funding_rate": row["fundingRate"],
        "funding_hours": row["fundingRateInterval"],
        "next_funding_ms": row["nextUpdate"],
    }
