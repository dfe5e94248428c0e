"""Hyperliquid perpetuals: one ``info`` endpoint, USDC as the quote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import QUOTE, Pair, base_of
from hydra_core.market.exchanges.adapter import ExchangeAdapter, OrderIdRule, Price
from hydra_core.market.exchanges.capabilities import Capability
from hydra_core.market.exchanges.routes import Ask, BadAnswer, Route

DOCS: Final = "hyperliquid.gitbook.io, info endpoint; ccxt 4.5.90 hyperliquid"
INFO: Final = "publicPostInfo"


class Hyperliquid(ExchangeAdapter):
    """Adapter of ``hyperliquid``."""

    name: ClassVar[str] = "hyperliquid"
    quote: ClassVar[str] = "USDC"
    order_ids: ClassVar[OrderIdRule] = OrderIdRule(
        "c", r"0x[0-9a-f]{32}", 34, prefix="0x", source=f"{DOCS}.create_order (128 bit hex)", ours="0x6879"
    )
    streams: ClassVar[Mapping[Capability, str]] = {
        Capability.WATCH_CANDLES: "hyperliquid.gitbook.io, websocket subscriptions; ccxt 4.5.90 pro/hyperliquid.handle_ohlcv",
        Capability.WATCH_ORDER_BOOK: "ccxt 4.5.90 pro/hyperliquid.handle_order_book",
    }
    quirks: ClassVar[tuple[str, ...]] = (
        "Perpetuals are quoted and settled in USDC: prices differ from USDT exchanges by that basis.",
        "Funding settles every hour; stamps are some ms late.",
        "Only the newest 5,000 candles of an interval are kept.",
        "The index is the exchange's oracle price; an answer carries no time of its own.",
        "A market order needs a price: ccxt turns it into an immediate limit order with slippage.",
    )

    def symbol(self, pair: Pair) -> str:
        """``BTC/USDC:USDC``."""
        return f"{base_of(pair)}/{self.quote}:{self.quote}"

    def native(self, pair: Pair) -> str:
        """The coin, e.g. ``BTC``."""
        return base_of(pair)

    def pair(self, native: str) -> Pair:
        """``BTC`` -> ``BTCUSDT``: the pair's name in HYDRA, whatever it is quoted in there."""
        return Pair(f"{native}{QUOTE}")

    def _candles(self, interval: Interval, price: Price) -> Route | None:
        if price is not Price.TRADED:
            return None

        def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
            span = {"startTime": start, "endTime": end - 1}
            return {"type": "candleSnapshot", "req": {"coin": base_of(pair), "interval": str(interval), **span}}

        return Route(
            INFO,
            query,
            lambda answer: answer,
            {"ts": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"},
            limit=5000,
            step_ms=interval.ms,
            page_span_ms=5000 * interval.ms,
            source=f"{DOCS}.fetch_ohlcv",
        )

    def _histories(self) -> Mapping[str, Route]:
        def query(pair: Pair, start: int, end: int, rows: int) -> dict[str, Any]:
            return {"type": "fundingHistory", "coin": base_of(pair), "startTime": start, "endTime": end - 1}

        return {
            FUNDING: Route(
                INFO,
                query,
                lambda answer: answer,
                {"ts": "time", "rate": "fundingRate"},
                limit=500,
                step_ms=1,
                page_span_ms=500 * HOUR_MS,
                source=f"{DOCS}.fetch_funding_rate_history",
            ),
        }

    def present(self) -> tuple[Ask, ...]:
        """Everything of every coin in one answer."""
        return (Ask(INFO, lambda pair: {"type": "metaAndAssetCtxs"}, _context, f"{DOCS}.fetch_funding_rates"),)

    def stop_params(self, trigger_price: float, *, long: bool) -> dict[str, Any]:
        """A reduce-only trigger order; the exchange triggers on its mark price. The caller adds the limit price."""
        return {"stopLossPrice": trigger_price, "reduceOnly": True}


def _context(answer: Any, pair: Pair) -> dict[str, Any]:
    names = [coin["name"] for coin in answer[0]["universe"]]
    if base_of(pair) not in names:
        raise BadAnswer(f"no coin {base_of(pair)} in the universe")
    row = answer[1][names.index(base_of(pair))]
    return {
        "mark": row["markPx"],
        "index": row["oraclePx"],
        "funding_rate": row["funding"],
        "funding_hours": 1,
        "open_interest": row["openInterest"],
    }
