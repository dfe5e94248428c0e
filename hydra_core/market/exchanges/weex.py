"""WEEX contracts, REST capi v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.market.exchanges.adapter import ExchangeAdapter, OrderIdRule, Price
from hydra_core.market.exchanges.capabilities import Capability
from hydra_core.market.exchanges.routes import CANDLE, Ask, Route, number, only

DOCS: Final = "www.weex.com/api-doc/contract; ccxt 4.5.90 weex"
PRICE_TYPES: Final[Mapping[Price, str]] = {Price.TRADED: "LAST", Price.MARK: "MARK", Price.INDEX: "INDEX"}
OLD_PREFIX: Final = "cmt_"
"""Ids of the interface before v3 began with it: ``cmt_btcusdt``."""


class Weex(ExchangeAdapter):
    """Adapter of ``weex``."""

    name: ClassVar[str] = "weex"
    order_ids: ClassVar[OrderIdRule] = OrderIdRule("newClientOrderId", r"[A-Za-z0-9_-]{1,32}", 32)
    quirks: ClassVar[tuple[str, ...]] = (
        "Ids of the older interface (cmt_btcusdt) are accepted when read, never sent.",
        "A page of history holds 100 candles.",
        "lastFundingRate is the settled rate; the coming one is forecastFundingRate.",
        "The funding interval is collectCycle, in minutes.",
        "The unit of open interest is not documented: taken as base units.",
        "Orders and books count base units, whatever contractVal says.",
        "Best bid and ask of contracts are on no stream that ccxt reads: the book's top is asked for over REST.",
    )
    streams: ClassVar[Mapping[Capability, str]] = dict.fromkeys(
        (Capability.WATCH_CANDLES, Capability.WATCH_CANDLES_OF_MANY),
        "ccxt 4.5.90 pro/weex.handle_ohlcv (quoted for a spot pair; one channel for both)",
    )

    def pair(self, native: str) -> Pair:
        """``BTCUSDT`` or ``cmt_btcusdt`` -> ``BTCUSDT``."""
        return Pair(native.removeprefix(OLD_PREFIX).upper())

    def _candles(self, interval: Interval, price: Price) -> Route | None:
        if price not in PRICE_TYPES:
            return None

        def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
            span = {"startTime": start, "endTime": end - 1, "limit": rows}
            return {"symbol": pair, "interval": str(interval), "priceType": PRICE_TYPES[price], **span}

        return Route(
            "contractGetCapiV3MarketHistoryKlines",
            query,
            lambda answer: answer,
            CANDLE,
            limit=100,
            step_ms=interval.ms,
            page_span_ms=100 * interval.ms,
            source="www.weex.com/api-doc/contract/Market_API/GetHistoryKlines",
        )

    def _histories(self) -> Mapping[str, Route]:
        return {
            FUNDING: Route(
                "contractGetCapiV3MarketFundingRate",
                lambda pair, start, end, rows: {"symbol": pair, "startTime": start, "endTime": end - 1, "limit": rows},
                lambda answer: answer,
                {"ts": "fundingTime", "rate": "fundingRate"},
                limit=1000,
                step_ms=1,
                page_span_ms=1000 * HOUR_MS,
                source=f"{DOCS}.parse_funding_rate_history",
            ),
        }

    def present(self) -> tuple[Ask, ...]:
        """Premium index and open interest."""
        return (
            Ask("contractGetCapiV3MarketPremiumIndex", _symbol, _premium, f"{DOCS}.fetch_funding_rates"),
            Ask(
                "contractGetCapiV3MarketOpenInterest",
                _symbol,
                lambda answer, pair: {"open_interest": answer["openInterest"]},
                f"{DOCS}.parse_open_interest",
            ),
        )

    def top(self) -> Ask:
        """The book of 15 levels, sizes in base units; it carries no time."""
        return Ask(
            "contractGetCapiV3MarketDepth",
            _symbol,
            _top,
            "www.weex.com/api-doc/contract/Market_API/GetDepthData; ccxt 4.5.90 weex.fetch_order_book",
        )

    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """An algo order on the mark price."""
        return {"stopLossPrice": trigger_price, "stopLossPriceType": "mark", "reduceOnly": True}


def _symbol(pair: Pair) -> dict[str, Any]:
    return {"symbol": pair}


def _top(answer: Any, pair: Pair) -> dict[str, Any]:
    (bid, bid_size), (ask, ask_size) = answer["bids"][0][:2], answer["asks"][0][:2]
    return {"bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size}


def _premium(answer: Any, pair: Pair) -> dict[str, Any]:
    row = only(answer, "symbol", pair)
    return {
        "mark": row["markPrice"],
        "index": row["indexPrice"],
        "funding_rate": row["forecastFundingRate"],
        "funding_hours": number(row["collectCycle"]) / 60,
        "next_funding_ms": row["nextFundingTime"],
        "event_ms": row["time"],
    }
