"""What exchanges say on their streams, as documented, and a loopback server that says it to unmodified ccxt.

Each message stands with its source; numbers are the source's, times are given. Exchanges that tell no quotes of contracts on a
stream are asked for them over REST. Listings are the documented rows that ccxt makes its markets of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web
from exchange_double import MINUTE
from exchange_servers import DocumentedExchange

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.pairs import Pair

CLOCK = SystemClock()
BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")

BYBIT_INSTRUMENT = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
    "launchTime": "1584230400000", "deliveryTime": "0", "deliveryFeeRate": "", "priceScale": "2",
    "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
    "priceFilter": {"minPrice": "0.10", "maxPrice": "199999.80", "tickSize": "0.10"},
    "lotSizeFilter": {
        "maxOrderQty": "1190.000", "minOrderQty": "0.001", "qtyStep": "0.001", "postOnlyMaxOrderQty": "1190.000",
        "maxMktOrderQty": "119.000", "minNotionalValue": "5",
    },
    "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": "USDT", "copyTrading": "normalOnly",
}  # fmt: skip
OKX_INSTRUMENT = {
    "alias": "", "baseCcy": "", "category": "1", "ctMult": "1", "ctType": "linear", "ctVal": "0.01", "ctValCcy": "BTC",
    "expTime": "", "instFamily": "BTC-USDT", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "lever": "125",
    "listTime": "1573557408000", "lotSz": "0.1", "maxLmtSz": "100000000", "maxMktSz": "85000", "minSz": "0.1",
    "optType": "", "quoteCcy": "", "settleCcy": "USDT", "state": "live", "stk": "", "tickSz": "0.1", "uly": "BTC-USDT",
}  # fmt: skip
BITGET_CONTRACT = {
    "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "buyLimitPriceRatio": "0.01",
    "sellLimitPriceRatio": "0.01", "feeRateUpRatio": "0.005", "makerFeeRate": "0.0002", "takerFeeRate": "0.0006",
    "openCostUpRatio": "0.01", "supportMarginCoins": ["USDT"], "minTradeNum": "0.001", "priceEndStep": "1",
    "volumePlace": "3", "pricePlace": "1", "sizeMultiplier": "0.001", "symbolType": "perpetual", "minTradeUSDT": "5",
    "maxSymbolOrderNum": "200", "maxProductOrderNum": "400", "maxPositionNum": "150", "symbolStatus": "normal",
    "offTime": "-1", "limitOpenTime": "-1", "deliveryTime": "", "deliveryStartTime": "", "deliveryPeriod": "",
    "launchTime": "", "fundInterval": "8", "minLever": "1", "maxLever": "125", "posLimit": "0.05", "maintainTime": "",
}  # fmt: skip
HYPERLIQUID_META = [
    {"universe": [{"maxLeverage": 50, "name": "BTC", "onlyIsolated": False, "szDecimals": 5}]},
    [{"dayNtlVlm": "9450588.2273", "funding": "0.0000198", "impactPxs": ["68674.0", "68675.0"], "markPx": "68674.5",
      "midPx": "68674.5", "openInterest": "10764.48", "oraclePx": "68670.0", "premium": "0.00055561",
      "prevDayPx": "68111.0"}],
]  # fmt: skip
WEEX_CONTRACT = {
    "symbol": "ETHUSDT", "baseAsset": "ETH", "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": "2",
    "quantityPrecision": "3", "baseAssetPrecision": "2", "quotePrecision": "8", "contractVal": "0.001",
    "delivery": ["00:00:00", "08:00:00", "16:00:00"], "forwardContractFlag": True, "minLeverage": "1",
    "maxLeverage": "400", "buyLimitPriceRatio": "0.01", "sellLimitPriceRatio": "0.01", "makerFeeRate": "0.0002",
    "takerFeeRate": "0.0008", "minOrderSize": "0.001", "maxOrderSize": "1000000", "maxPositionSize": "5000000",
    "marketOpenLimitSize": "2300",
}  # fmt: skip
LISTINGS: dict[str, dict[str, Any]] = {
    "bybit": {"instruments-info": {"retCode": 0, "retMsg": "OK", "time": 1, "result": {
        "category": "linear", "list": [BYBIT_INSTRUMENT], "nextPageCursor": ""}}},
    "okx": {"public/instruments": {"code": "0", "data": [OKX_INSTRUMENT], "msg": ""}},
    "bitget": {"mix/market/contracts": {"code": "00000", "msg": "success", "data": [BITGET_CONTRACT]}},
    "hyperliquid": {"info": HYPERLIQUID_META},
    "weex": {"capi/v3/market/exchangeInfo": {"symbols": [WEEX_CONTRACT]}, "api/v3/exchangeInfo": {"symbols": []}},
}  # fmt: skip
"""Exchange -> end of a path -> the documented list of contracts there."""


@dataclass(frozen=True)
class Candle:
    """A running candle: how it is told (open time, now), and what its row must become."""

    exchange: str
    source: str
    message: Callable[[int, int], Any]
    expected: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Top:
    """Best bid and ask: how they are told (now), and what they must become: bid, size, ask, size, in base units."""

    exchange: str
    source: str
    message: Callable[[int], Any]
    expected: tuple[float, float, float, float]
    crossed: tuple[str, str]
    """The ask as it is told, and one below the bid."""


CANDLES = (
    Candle(
        "bybit", "ccxt pro bybit.handle_ohlcv",
        lambda ts, now: {"topic": "kline.1.BTCUSDT", "data": [{
            "start": ts, "end": ts + MINUTE - 1, "interval": "1", "open": "16649.5", "close": "16677", "high": "16677",
            "low": "16608", "volume": "2.081", "turnover": "34666.4005", "confirm": False, "timestamp": now}],
            "ts": now, "type": "snapshot"},
        (16649.5, 16677.0, 16608.0, 16677.0, 2.081),
    ),
    Candle(
        "okx", "www.okx.com/docs-v5, WS candlesticks channel: volume in contracts, base and quote",
        lambda ts, now: {"arg": {"channel": "candle1m", "instId": "BTC-USDT-SWAP"}, "data": [[
            str(ts), "8533.02", "8553.74", "8527.17", "8548.26", "45247", "529.5858061", "5529.5858061", "0"]]},
        (8533.02, 8553.74, 8527.17, 8548.26, 529.5858061),
    ),
    Candle(
        "bitget", "ccxt pro bitget.handle_ohlcv: a snapshot of bars, then the running one",
        lambda ts, now: {"action": "snapshot", "ts": now,
                         "arg": {"instType": "USDT-FUTURES", "channel": "candle1m", "instId": "BTCUSDT"},
                         "data": [[str(ts - MINUTE), "44080.23", "44080.23", "44028.5", "44028.51", "9.9287",
                                   "437404.105512", "437404.105512"],
                                  [str(ts), "44028.51", "44108.11", "44028.5", "44108.11", "17.139", "755436.870643",
                                   "755436.870643"]]},
        (44028.51, 44108.11, 44028.5, 44108.11, 17.139),
    ),
    Candle(
        "hyperliquid", "ccxt pro hyperliquid.handle_ohlcv",
        lambda ts, now: {"channel": "candle", "data": {
            "t": ts, "T": ts + MINUTE - 1, "s": "BTC", "i": "1m", "o": "71400.0", "c": "71411.0", "h": "71422.0",
            "l": "71389.0", "v": "1.20407", "n": 20}},
        (71400.0, 71422.0, 71389.0, 71411.0, 1.20407),
    ),
    Candle(
        "weex", "ccxt pro weex.handle_ohlcv",
        lambda ts, now: {"e": "kline", "E": now, "s": "ETHUSDT", "p": "LAST_PRICE", "d": [{
            "t": ts, "T": ts + MINUTE, "s": "ETHUSDT", "i": "1m", "o": "2234.18", "c": "2205.15", "h": "2236.43",
            "l": "2199.53", "v": "12505.60574", "n": 3381, "q": "27682528.6655305", "V": "6420.47929",
            "Q": "14213680.1906424"}]},
        (2234.18, 2236.43, 2199.53, 2205.15, 12505.60574),
    ),
)  # fmt: skip

TOPS = (
    Top(
        "bybit", "ccxt pro bybit.handle_order_book, as channel orderbook.1",
        lambda now: {"topic": "orderbook.1.BTCUSDT", "type": "snapshot", "ts": now, "cts": now, "data": {
            "s": "BTCUSDT", "b": [["16493.50", "0.006"]], "a": [["16611.00", "0.029"]], "u": 18521288,
            "seq": 7961638724}},
        (16493.5, 0.006, 16611.0, 0.029), ("16611.00", "16493.00"),
    ),
    Top(
        "okx", "ccxt pro okx.handle_bid_ask (bbo-tbt): sizes in contracts of 0.01 BTC",
        lambda now: {"arg": {"channel": "bbo-tbt", "instId": "BTC-USDT-SWAP"}, "data": [{
            "asks": [["36232.2", "1.8826134", "0", "17"]], "bids": [["36232.1", "0.00572212", "0", "2"]],
            "ts": str(now)}]},
        (36232.1, 0.0000572212, 36232.2, 0.018826134), ("36232.2", "36232.0"),
    ),
    Top(
        "bitget", "ccxt pro bitget.parse_ws_ticker (contract)",
        lambda now: {"action": "snapshot", "ts": now + 1,
                     "arg": {"instType": "USDT-FUTURES", "channel": "ticker", "instId": "BTCUSDT"}, "data": [{
            "instId": "BTCUSDT", "lastPr": "43480.4", "bidPr": "43476.3", "askPr": "43476.8", "bidSz": "0.1",
            "askSz": "3.055", "open24h": "42252.3", "high24h": "44518.2", "low24h": "41387.0", "change24h": "0.03875",
            "fundingRate": "0.000096", "nextFundingTime": "1701849600000", "markPrice": "43476.4",
            "indexPrice": "43478.4", "holdingAmount": "50670.787", "baseVolume": "120187.104",
            "quoteVolume": "5167385048.693", "openUtc": "44071.4", "symbolType": "1", "symbol": "BTCUSDT",
            "deliveryPrice": "0", "ts": str(now)}]},
        (43476.3, 0.1, 43476.8, 3.055), ("43476.8", "43476.0"),
    ),
    Top(
        "hyperliquid", "ccxt pro hyperliquid.handle_order_book",
        lambda now: {"channel": "l2Book", "data": {"coin": "BTC", "time": now, "levels": [
            [{"px": "68674.0", "sz": "0.97139", "n": 4}], [{"px": "68675.0", "sz": "0.04396", "n": 1}]]}},
        (68674.0, 0.97139, 68675.0, 0.04396), ("68675.0", "68673.0"),
    ),
    Top(
        "weex", "www.weex.com/api-doc/contract/Market_API/GetDepthData: sizes in base currency",
        lambda now: {"bids": [["69350.1", "12.5"], ["69349.8", "1.2"]],
                     "asks": [["69351.0", "3.6"], ["69351.2", "0.8"]], "lastUpdateId": 1234567890123},
        (69350.1, 12.5, 69351.0, 3.6), ("69351.0", "69350.0"),
    ),
)  # fmt: skip


class StreamingExchange(DocumentedExchange):
    """The documented answers, and beside them what is subscribed to, told ten times a second as documented."""

    def __init__(self, exchange: str) -> None:
        super().__init__(exchange)
        self.pair = ETH if exchange == "weex" else BTC
        self.candle = next(one for one in CANDLES if one.exchange == exchange)
        self.top = next(one for one in TOPS if one.exchange == exchange)
        self.crossed = False
        self.ordered: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []

    async def _serve(self, request: web.Request) -> Any:
        if "Upgrade" in request.headers:
            return await self._stream(request)
        if request.path.endswith("capi/v3/market/depth"):
            return web.json_response(self._told(self.top.message(CLOCK.wall_ms())))
        for path, answer in LISTINGS[self.exchange].items():
            if request.path == f"/{path}" or (request.path.endswith(path) and self._lists(request)):
                return web.json_response(answer)
        return await super()._serve(request)

    def _lists(self, request: web.Request) -> bool:
        """Whether this is ccxt asking for the list of contracts rather than HYDRA for one of them."""
        return self.exchange != "bybit" or bool(request.query.get("limit"))

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        telling: list[asyncio.Task[None]] = []
        async for message in socket:
            if message.type is WSMsgType.TEXT and "subscri" in message.data.lower():
                self.ordered.append(message.data)
                words = json.dumps([part for name, part in json.loads(message.data).items() if name != "id"])
                for kind in ("candle", "quote"):
                    if ("candle" in words or "kline" in words) == (kind == "candle"):
                        telling.append(asyncio.create_task(self._tell(socket, kind)))
        for task in telling:
            task.cancel()
        return socket

    async def _tell(self, socket: web.WebSocketResponse, kind: str) -> None:
        while not socket.closed:
            now = CLOCK.wall_ms()
            candle = kind == "candle"
            message = self.candle.message(now - now % MINUTE, now) if candle else self._told(self.top.message(now))
            await socket.send_json(message)
            await asyncio.sleep(0.1)

    def _told(self, message: Any) -> Any:
        ask, low = self.top.crossed
        return json.loads(json.dumps(message).replace(ask, low)) if self.crossed else message
