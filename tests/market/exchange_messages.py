"""One documented message for each thing that an adapter reads, its source, and what it must be read as.

The numbers are those of the documentation or of ccxt's comments on real answers (ccxt 4.5.90, module and function named);
the messages are cut down to the fields that matter. A market that the source shows for another coin is asked for as that coin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair
from hydra_core.market.exchanges import Price, adapter_for
from hydra_core.market.exchanges.routes import Route

BTC, ETH, SOL = Pair("BTCUSDT"), Pair("ETHUSDT"), Pair("SOLUSDT")


@dataclass(frozen=True)
class Page:
    """An answer with rows: what is asked for, what comes, and the columns it must become."""

    exchange: str
    what: str
    source: str
    answer: Any
    expected: dict[str, list[float | int]]
    price: Price = Price.TRADED

    @property
    def route(self) -> Route:
        adapter = adapter_for(self.exchange)
        return adapter.candles(Interval.H1, self.price) if self.what == "candles" else adapter.history(self.what)


@dataclass(frozen=True)
class Present:
    """Answers to the questions that make a present reading."""

    exchange: str
    pair: Pair
    answers: dict[str, tuple[str, Any]]
    expected: dict[str, float | int | None]


def candle(ts: int, open_: float, high: float, low: float, close: float, volume: float) -> dict[str, list[float | int]]:
    named = zip(("ts", "open", "high", "low", "close", "volume"), (ts, open_, high, low, close, volume), strict=True)
    return {name: [value] for name, value in named}


PAGES = (
    Page(
        "binanceusdm", "candles", "ccxt binance.parse_ohlcv",
        [[1591478520000, "0.02501300", "0.02501800", "0.02500000", "0.02500000", "22.19000000", 1591478579999,
          "0.55490906", 40, "10.92900000", "0.27336462", "0"]],
        candle(1591478520000, 0.025013, 0.025018, 0.025, 0.025, 22.19),
    ),
    Page(
        "binanceusdm", "candles", "ccxt binance.parse_ohlcv (mark price klines)",
        [[1591256460000, "9653.29201333", "9654.56401333", "9653.07367333", "9653.07367333", "0", 1591256519999,
          "0", 60, "0", "0", "0"]],
        candle(1591256460000, 9653.29201333, 9654.56401333, 9653.07367333, 9653.07367333, 0),
        Price.MARK,
    ),
    Page(
        "binanceusdm", "funding", "ccxt binance.fetch_funding_rate_history",
        [{"symbol": "BTCUSDT", "fundingRate": "0.00063521", "fundingTime": "1621267200000"}],
        {"ts": [1621267200000], "rate": [0.00063521]},
    ),
    Page(
        "binanceusdm", "open_interest", "hexdocs.pm/binance_futures, open_interest_hist",
        [{"symbol": "BTCUSDT", "sumOpenInterest": "34085.00000000", "sumOpenInterestValue": "1927265695.27131325",
          "timestamp": 1616438700000}],
        {"ts": [1616438700000], "open_interest": [34085.0], "open_interest_value": [1927265695.27131325]},
    ),
    Page(
        "binanceusdm", "long_short", "ccxt binance.parse_long_short_ratio",
        [{"symbol": "BTCUSDT", "longAccount": "0.4558", "longShortRatio": "0.8376", "shortAccount": "0.5442",
          "timestamp": 1726790400000}],
        {"ts": [1726790400000], "long_short_ratio": [0.8376]},
    ),
    Page(
        "bybit", "candles", "ccxt bybit.fetch_ohlcv: newest first",
        {"retCode": 0, "retMsg": "OK", "result": {"symbol": "BTCUSDT", "category": "linear", "list": [
            ["1670608800000", "17071", "17073", "17027", "17055.5", "268611", "15.74462667"],
            ["1670605200000", "17071.5", "17071.5", "17061", "17071", "4177", "0.24469757"]]},
         "retExtInfo": {}, "time": 1672025956592},
        {"ts": [1670605200000, 1670608800000], "open": [17071.5, 17071], "high": [17071.5, 17073],
         "low": [17061, 17027], "close": [17071, 17055.5], "volume": [4177, 268611]},
    ),
    Page(
        "bybit", "funding", "ccxt bybit.fetch_funding_rate_history",
        {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [
            {"symbol": "ETHPERP", "fundingRate": "0.0001", "fundingRateTimestamp": "1672041600000"}]},
         "retExtInfo": {}, "time": 1672051897447},
        {"ts": [1672041600000], "rate": [0.0001]},
    ),
    Page(
        "bybit", "open_interest", "ccxt bybit.fetch_open_interest",
        {"retCode": 0, "retMsg": "OK", "result": {"symbol": "BTCUSDT", "category": "linear", "list": [
            {"openInterest": "461134384.00000000", "timestamp": "1669571400000"},
            {"openInterest": "461134292.00000000", "timestamp": "1669571100000"}], "nextPageCursor": ""},
         "retExtInfo": {}, "time": 1672053548579},
        {"ts": [1669571100000, 1669571400000], "open_interest": [461134292.0, 461134384.0]},
    ),
    Page(
        "bybit", "long_short", "ccxt bybit.fetch_long_short_ratio_history",
        {"retCode": 0, "retMsg": "OK", "result": {"list": [
            {"symbol": "BTCUSDT", "buyRatio": "0.5707", "sellRatio": "0.4293", "timestamp": "1729123200000"}]},
         "retExtInfo": {}, "time": 1729147842516},
        {"ts": [1729123200000], "long_short_ratio": [0.5707 / 0.4293]},
    ),
    Page(
        "okx", "candles", "ccxt okx.fetch_ohlcv: newest first, volume in contracts, base and quote",
        {"code": "0", "msg": "", "data": [
            ["1678928760000", "24341.4", "24344", "24313.2", "24323", "628", "2.5819", "62800", "0"],
            ["1678928700000", "24324.1", "24347.6", "24321.7", "24341.4", "2565", "10.5401", "256500", "1"]]},
        {"ts": [1678928700000, 1678928760000], "open": [24324.1, 24341.4], "high": [24347.6, 24344],
         "low": [24321.7, 24313.2], "close": [24341.4, 24323], "volume": [10.5401, 2.5819]},
    ),
    Page(
        "okx", "funding", "ccxt okx.fetch_funding_rate_history: realizedRate is what was paid",
        {"code": "0", "msg": "", "data": [{"instType": "SWAP", "instId": "BTC-USDT-SWAP", "fundingRate": "0.018",
                                           "realizedRate": "0.017", "fundingTime": "1597026383085"}]},
        {"ts": [1597026383085], "rate": [0.017]},
    ),
    Page(
        "okx", "open_interest", "ccxt okx.fetch_open_interest_history: contracts, base, USD",
        {"code": "0", "msg": "", "data": [["1790550000000", "2800476.45", "28006.5419", "2360916466.88"]]},
        {"ts": [1790550000000], "open_interest": [28006.5419], "open_interest_value": [2360916466.88]},
    ),
    Page(
        "okx", "long_short", "ccxt okx.fetch_long_short_ratio_history",
        {"code": "0", "msg": "", "data": [["1729323600000", "0.9398602814619824"],
                                          ["1729323300000", "0.9398602814619824"]]},
        {"ts": [1729323300000, 1729323600000], "long_short_ratio": [0.9398602814619824, 0.9398602814619824]},
    ),
    Page(
        "bitget", "candles", "ccxt bitget.parse_ohlcv",
        {"code": "00000", "msg": "success", "data": [
            ["1645911960000", "39406", "39407", "39374.5", "39379", "35.526", "1399132.341"]]},
        candle(1645911960000, 39406, 39407, 39374.5, 39379, 35.526),
    ),
    Page(
        "bitget", "funding", "ccxt bitget.fetch_funding_rate_history",
        {"code": "00000", "msg": "success", "requestTime": 1652406728393, "data": [
            {"symbol": "BTCUSDT", "fundingRate": "-0.0003", "fundingTime": "1652396400000"}]},
        {"ts": [1652396400000], "rate": [-0.0003]},
    ),
    Page(
        "bitget", "long_short", "ccxt bitget.fetch_long_short_ratio_history: the ratio field contradicts the shares",
        {"code": "00000", "msg": "success", "requestTime": 1729321233281, "data": [
            {"longAccountRatio": "0.58", "shortAccountRatio": "0.42", "longShortAccountRatio": "0.0138",
             "ts": "1729312200000"}]},
        {"ts": [1729312200000], "long_short_ratio": [0.58 / 0.42]},
    ),
    Page(
        "hyperliquid", "candles", "ccxt hyperliquid.fetch_ohlcv",
        [{"T": 1704287699999, "c": "2226.4", "h": "2247.9", "i": "15m", "l": "2224.6", "n": 46, "o": "2247.9",
          "s": "ETH", "t": 1704286800000, "v": "591.6427"}],
        candle(1704286800000, 2247.9, 2247.9, 2224.6, 2226.4, 591.6427),
    ),
    Page(
        "hyperliquid", "funding", "ccxt hyperliquid.fetch_funding_rate_history",
        [{"coin": "ETH", "fundingRate": "0.0000125", "premium": "0.00057962", "time": 1704290400031}],
        {"ts": [1704290400031], "rate": [0.0000125]},
    ),
    Page(
        "weex", "candles", "www.weex.com/api-doc/contract/Market_API/GetHistoryKlines",
        [[1763894400000, "68000.0", "68550.0", "67810.0", "68220.0", "320.456", 1763908800000, "21874563.70", 982,
          "180.120", "12345678.90"]],
        candle(1763894400000, 68000, 68550, 67810, 68220, 320.456),
    ),
    Page(
        "weex", "funding", "ccxt weex.parse_funding_rate_history",
        [{"symbol": "ETHUSDT", "fundingRate": "0.00001031", "fundingTime": 1775577600000, "markPrice": "2079.26"}],
        {"ts": [1775577600000], "rate": [0.00001031]},
    ),
)  # fmt: skip

PRESENT = (
    Present(
        "binanceusdm", BTC,
        {
            "fapiPublicGetPremiumIndex": ("ccxt binance.parse_funding_rate", {
                "symbol": "BTCUSDT", "markPrice": "45802.81129892", "indexPrice": "45745.47701915",
                "estimatedSettlePrice": "45133.91753671", "lastFundingRate": "0.00063521",
                "interestRate": "0.00010000", "nextFundingTime": "1621267200000", "time": "1621252344001"}),
            "fapiPublicGetOpenInterest": ("developers.binance.com, USD-M futures, Open Interest", {
                "openInterest": "10659.509", "symbol": "BTCUSDT", "time": 1589437530011}),
            "fapiPublicGetFundingInfo": ("ccxt binance.parse_funding_rate (interval)", [{
                "symbol": "BLZUSDT", "adjustedFundingRateCap": "0.03000000",
                "adjustedFundingRateFloor": "-0.03000000", "fundingIntervalHours": 4, "disclaimer": False}]),
        },
        {"mark": 45802.81129892, "index": 45745.47701915, "funding_rate": 0.00063521, "funding_hours": 8,
         "next_funding_ms": 1621267200000, "open_interest": 10659.509, "event_ms": 1621252344001},
    ),
    Present(
        "bybit", BTC,
        {
            "publicGetV5MarketTickers": ("ccxt bybit.parse_funding_rate, fetch_ticker", {
                "retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [{
                    "symbol": "BTCUSDT", "lastPrice": "19255.50", "markPrice": "19255.00", "indexPrice": "19260.68",
                    "openInterest": "48069.549", "fundingRate": "0.0001", "nextFundingTime": "1663689600000"}]},
                "retExtInfo": {}, "time": 1672376496682}),
            "publicGetV5MarketInstrumentsInfo": ("ccxt bybit.fetch_future_markets", {
                "retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [{
                    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "fundingInterval": 480}]},
                "retExtInfo": {}, "time": 1672712495660}),
        },
        {"mark": 19255.0, "index": 19260.68, "funding_rate": 0.0001, "funding_hours": 8,
         "next_funding_ms": 1663689600000, "open_interest": 48069.549, "event_ms": 1672376496682},
    ),
    Present(
        "okx", BTC,
        {
            "publicGetPublicFundingRate": ("ccxt okx.parse_funding_rate", {"code": "0", "msg": "", "data": [{
                "fundingRate": "0.00027815", "fundingTime": "1634256000000", "instId": "BTC-USDT-SWAP",
                "instType": "SWAP", "nextFundingRate": "0.00017", "nextFundingTime": "1634284800000"}]}),
            "publicGetPublicMarkPrice": ("ccxt okx.fetch_mark_price", {"code": "0", "msg": "", "data": [{
                "instId": "BTC-USDT-SWAP", "instType": "SWAP", "markPx": "2403.98", "ts": "1728578500703"}]}),
            "publicGetMarketIndexTickers": ("ccxt okx.parse_ticker", {"code": "0", "msg": "", "data": [{
                "instId": "BTC-USDT", "idxPx": "65.74", "open24h": "65.37", "high24h": "66.15", "low24h": "64.97",
                "sodUtc0": "65.68", "sodUtc8": "65.54", "ts": "1728467346900"}]}),
            "publicGetPublicOpenInterest": ("ccxt okx.fetch_open_interests", {"code": "0", "msg": "", "data": [{
                "instId": "BTC-USDT-SWAP", "instType": "SWAP", "oi": "2125419", "oiCcy": "21254.19",
                "ts": "1664005108969"}]}),
        },
        {"mark": 2403.98, "index": 65.74, "funding_rate": 0.00027815, "funding_hours": 8,
         "next_funding_ms": 1634256000000, "open_interest": 21254.19, "event_ms": 1728578500703},
    ),
    Present(
        "bitget", BTC,
        {
            "publicMixGetV2MixMarketSymbolPrice": ("www.bitget.com/api-doc/contract/market/Get-Symbol-Price", {
                "code": "00000", "msg": "success", "requestTime": 1695793384294, "data": [{
                    "symbol": "BTCUSDT", "price": "26242", "indexPrice": "34867", "markPrice": "25555",
                    "ts": "1695793390482"}]}),
            "publicMixGetV2MixMarketCurrentFundRate": ("ccxt bitget.parse_funding_rate", {
                "code": "00000", "msg": "success", "requestTime": 1745500709429, "data": [{
                    "symbol": "BTCUSDT", "fundingRate": "-0.000013", "fundingRateInterval": "8",
                    "nextUpdate": "1745510400000", "minFundingRate": "-0.003", "maxFundingRate": "0.003"}]}),
            "publicMixGetV2MixMarketOpenInterest": ("ccxt bitget.fetch_open_interest", {
                "code": "00000", "msg": "success", "requestTime": 1700866041022, "data": {
                    "openInterestList": [{"symbol": "BTCUSDT", "size": "52234.134"}], "ts": "1700866041023"}}),
        },
        {"mark": 25555, "index": 34867, "funding_rate": -0.000013, "funding_hours": 8,
         "next_funding_ms": 1745510400000, "open_interest": 52234.134, "event_ms": 1695793390482},
    ),
    Present(
        "hyperliquid", SOL,
        {
            "publicPostInfo": ("ccxt hyperliquid.fetch_funding_rates", [
                {"universe": [{"maxLeverage": 50, "name": "SOL", "onlyIsolated": False, "szDecimals": 2}]},
                [{"dayNtlVlm": "9450588.2273", "funding": "0.0000198", "impactPxs": ["108.04", "108.06"],
                  "markPx": "108.04", "midPx": "108.05", "openInterest": "10764.48", "oraclePx": "107.99",
                  "premium": "0.00055561", "prevDayPx": "111.81"}]]),
        },
        {"mark": 108.04, "index": 107.99, "funding_rate": 0.0000198, "funding_hours": 1, "next_funding_ms": None,
         "open_interest": 10764.48, "event_ms": None},
    ),
    Present(
        "weex", ETH,
        {
            "contractGetCapiV3MarketPremiumIndex": ("ccxt weex.fetch_funding_rates", [{
                "symbol": "ETHUSDT", "markPrice": "2133.71", "indexPrice": "2134.44",
                "forecastFundingRate": "0.00005618", "lastFundingRate": "0.00001031", "interestRate": "0.001",
                "nextFundingTime": 1775606400000, "time": 1775597594265, "collectCycle": 480}]),
            "contractGetCapiV3MarketOpenInterest": ("ccxt weex.parse_open_interest", {
                "symbol": "ETHUSDT", "openInterest": "1772356.352", "time": 1775595582598}),
        },
        {"mark": 2133.71, "index": 2134.44, "funding_rate": 0.00005618, "funding_hours": 8,
         "next_funding_ms": 1775606400000, "open_interest": 1772356.352, "event_ms": 1775597594265},
    ),
)  # fmt: skip
