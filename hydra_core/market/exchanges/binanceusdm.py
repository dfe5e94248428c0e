"""Binance USD-M futures: the exchange HYDRA trades on, and the protocol of the local venue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import READING_INTERVAL
from hydra_core.market.exchanges.adapter import ExchangeAdapter, OrderIdRule, Price
from hydra_core.market.exchanges.capabilities import Capability
from hydra_core.market.exchanges.routes import CANDLE, Ask, Query, Route

DOCS: Final = "developers.binance.com, USDⓈ-M futures market data; ccxt 4.5.90 binance"
PRO: Final = "ccxt 4.5.90 pro/binance"
USUAL_HOURS: Final = 8
"""Hours between settlements of a contract that fundingInfo does not list."""
KLINES: Final[Mapping[Price, tuple[str, str]]] = {
    Price.TRADED: ("fapiPublicGetKlines", "symbol"),
    Price.MARK: ("fapiPublicGetMarkPriceKlines", "symbol"),
    Price.INDEX: ("fapiPublicGetIndexPriceKlines", "pair"),
    Price.PREMIUM: ("fapiPublicGetPremiumIndexKlines", "symbol"),
}
"""Price -> endpoint, and what it calls the pair."""


class BinanceUsdm(ExchangeAdapter):
    """Adapter of ``binanceusdm``."""

    name: ClassVar[str] = "binanceusdm"
    market_types: ClassVar[tuple[str, ...]] = ("linear",)
    order_ids: ClassVar[OrderIdRule] = OrderIdRule(
        "newClientOrderId", r"[.A-Z:/a-z0-9_-]{1,36}", 36, source="developers.binance.com, USDⓈ-M futures, New Order"
    )
    streams: ClassVar[Mapping[Capability, str]] = {
        Capability.ORDER_BOOK: f"{DOCS}.fetch_order_book (future)",
        Capability.WATCH_CANDLES: f"{PRO}.handle_ohlcv",
        Capability.WATCH_CANDLES_OF_MANY: f"{PRO}.handle_ohlcv",
        Capability.WATCH_TRADES: f"{PRO}.parse_ws_trade (aggTrade)",
        Capability.WATCH_ORDER_BOOK: f"{PRO}.handle_order_book (futures)",
        Capability.WATCH_QUOTES: f"{PRO}.handle_bids_asks",
        Capability.WATCH_MARK_PRICES: f"{PRO}.parse_ws_ticker (markPrice)",
        Capability.WATCH_LIQUIDATIONS: f"{PRO}.handle_liquidation (future)",
        Capability.WATCH_LIQUIDATIONS_OF_MANY: f"{PRO}.handle_liquidation (future)",
        Capability.WATCH_ORDERS: f"{PRO}.handle_order_update (future)",
        Capability.WATCH_MY_TRADES: f"{PRO}.handle_order_update (future)",
        Capability.WATCH_POSITIONS: f"{PRO}.handle_positions (ACCOUNT_UPDATE)",
        Capability.WATCH_BALANCE: f"{PRO}.handle_positions (ACCOUNT_UPDATE)",
    }
    quirks: ClassVar[tuple[str, ...]] = (
        "The last candle of an answer is still running.",
        "Open interest is in base units; its history, like the long/short ratio's, reaches back about 30 days.",
        "Funding settles every 8 h unless fundingInfo names another interval; stamps may be some ms late.",
        "Stops are algo orders with ids of their own: open orders and open stops are two questions.",
    )

    def _candles(self, interval: Interval, price: Price) -> Route:
        method, key = KLINES[price]
        return Route(
            method,
            _spanned({"interval": str(interval)}, key),
            lambda answer: answer,
            CANDLE,
            limit=1500,
            cheap_limit=499,  # weighs 2; 1500 rows weigh 10
            step_ms=interval.ms,
            page_span_ms=1500 * interval.ms,
            source=f"{DOCS}.parse_ohlcv",
            bare=True,
        )

    def _histories(self) -> Mapping[str, Route]:
        grid, period = READING_INTERVAL.ms, {"period": str(READING_INTERVAL)}
        return {
            FUNDING: Route(
                "fapiPublicGetFundingRate",
                _spanned({}),
                lambda answer: answer,
                {"ts": "fundingTime", "rate": "fundingRate"},
                limit=1000,
                step_ms=1,
                page_span_ms=1000 * Interval.H1.ms,  # it settles hourly at most
                source=f"{DOCS}.fetch_funding_rate_history",
            ),
            OPEN_INTEREST: Route(
                "fapiDataGetOpenInterestHist",
                _spanned(period),
                lambda answer: answer,
                {"ts": "timestamp", "open_interest": "sumOpenInterest", "open_interest_value": "sumOpenInterestValue"},
                limit=500,
                step_ms=grid,
                page_span_ms=500 * grid,
                source=f"{DOCS}.parse_open_interest",
            ),
            LONG_SHORT: Route(
                "fapiDataGetGlobalLongShortAccountRatio",
                _spanned(period),
                lambda answer: answer,
                {"ts": "timestamp", "long_short_ratio": "longShortRatio"},
                limit=500,
                step_ms=grid,
                page_span_ms=500 * grid,
                source=f"{DOCS}.parse_long_short_ratio",
            ),
        }

    def present(self) -> tuple[Ask, ...]:
        """Premium index, open interest, funding interval."""
        return (
            Ask("fapiPublicGetPremiumIndex", _symbol, _premium, f"{DOCS}.parse_funding_rate"),
            Ask(
                "fapiPublicGetOpenInterest",
                _symbol,
                lambda answer, pair: {"open_interest": answer["openInterest"]},
                f"{DOCS}.parse_open_interest",
            ),
            Ask("fapiPublicGetFundingInfo", lambda pair: {}, _interval, f"{DOCS}.parse_funding_rate"),
        )

    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """An algo order of type STOP_MARKET on the mark price."""
        return {"stopLossPrice": trigger_price, "reduceOnly": True, "workingType": "MARK_PRICE"}


def _spanned(extra: Mapping[str, Any], key: str = "symbol") -> Query:
    def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
        return {key: pair, **extra, "startTime": start, "endTime": end - 1, "limit": rows}

    return query


def _symbol(pair: Pair) -> dict[str, Any]:
    return {"symbol": pair}


def _premium(answer: Any, pair: Pair) -> dict[str, Any]:
    return {
        "mark": answer["markPrice"],
        "index": answer["indexPrice"],
        "funding_rate": answer["lastFundingRate"],
        "next_funding_ms": answer["nextFundingTime"],
        "event_ms": answer["time"],
    }


def _interval(answer: Any, pair: Pair) -> dict[str, Any]:
    """Only contracts with an interval or cap of their own are listed."""
    listed = [row for row in answer if row["symbol"] == pair]
    return {"funding_hours": listed[0]["fundingIntervalHours"] if listed else USUAL_HOURS}
