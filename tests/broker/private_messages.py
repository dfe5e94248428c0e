"""Documented private messages, as they stand in their source, and what they must be read as.

Numbers are those of the documentation or of ccxt 4.5.90's comments on real answers (module and function named); what a comment
leaves out and the page has is added. Where a contract's size matters it is the one that the instrument had.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra_core.broker.facts import FillFact, IncomeFact, OrderFact, PositionFact
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.execution.orders import Word

D = Decimal


@dataclass(frozen=True)
class Message:
    """A row, its source, the gateway's reader of it and what it says."""

    exchange: str
    source: str
    reader: str
    row: dict[str, Any]
    says: Any


MESSAGES = (
    Message(
        "bybit", "ccxt bybit.parse_order (v5); bybit-exchange.github.io/docs/v5/order/order-list", "_order_fact",
        {"symbol": "BTCUSDT", "orderType": "Market", "orderLinkId": "", "slLimitPrice": "0",
         "orderId": "f5f2d355-9a11-4af3-9b83-aa1d6ab6ddfe", "cancelType": "UNKNOWN", "avgPrice": "122529.9",
         "stopOrderType": "", "lastPriceOnCreated": "123747.9", "orderStatus": "Filled", "createType": "CreateByUser",
         "takeProfit": "", "cumExecValue": "122.5299", "tpslMode": "", "smpType": "None", "triggerDirection": 0,
         "blockTradeId": "", "cumFeeDetail": {"USDT": "0.06739145"}, "rejectReason": "EC_NoError", "isLeverage": "",
         "price": "120518", "orderIv": "", "createdTime": "1757837618905", "tpTriggerBy": "", "positionIdx": 0,
         "timeInForce": "IOC", "leavesValue": "0", "updatedTime": "1757837618909", "side": "Sell", "smpGroup": 0,
         "triggerPrice": "", "tpLimitPrice": "0", "cumExecFee": "0.06739145", "slTriggerBy": "", "leavesQty": "0",
         "closeOnTrigger": False, "placeType": "", "cumExecQty": "0.001", "reduceOnly": True, "qty": "0.001",
         "stopLoss": "", "smpOrderId": "", "triggerBy": ""},
        OrderFact("at-f5f2d355-9a11-4af3-9b83-aa1d6ab6ddfe", "f5f2d355-9a11-4af3-9b83-aa1d6ab6ddfe", Pair("BTCUSDT"),
                  Side.SHORT, "market", Word.FILLED, D("0.001"), D("0.001"), True, 1757837618909),
    ),
    Message(
        "bybit", "bybit-exchange.github.io/docs/v5/order/open-order: a conditional order before its trigger", "_order_fact",
        {"orderId": "fd4300ae-7847-404e-b947-b46980a4d140", "orderLinkId": "hy-0123456789abcdef0123456789ab",
         "symbol": "ETHUSDT", "price": "1600.00", "qty": "0.10", "side": "Buy", "positionIdx": 0,
         "orderStatus": "Untriggered", "createType": "CreateByUser", "cancelType": "UNKNOWN",
         "rejectReason": "EC_NoError", "avgPrice": "", "leavesQty": "0.10", "cumExecQty": "0.00",
         "timeInForce": "GTC", "orderType": "Limit", "stopOrderType": "Stop", "triggerPrice": "1550.00",
         "triggerDirection": 2, "triggerBy": "MarkPrice", "reduceOnly": False, "closeOnTrigger": False,
         "createdTime": "1684738540559", "updatedTime": "1684738540561"},
        OrderFact("hy-0123456789abcdef0123456789ab", "fd4300ae-7847-404e-b947-b46980a4d140", Pair("ETHUSDT"), Side.LONG,
                  "stop", Word.WORKING, D("0.10"), D("0.00"), False, 1684738540561, D("1600.00"), D("1550.00"), True),
    ),
    Message(
        "bybit", "bybit-exchange.github.io/docs/v5/order/execution; ccxt bybit.fetch_my_trades", "_fill",
        {"symbol": "ETHPERP", "orderType": "Market", "underlyingPrice": "", "orderLinkId": "", "side": "Buy",
         "indexPrice": "", "orderId": "8c065341-7b52-4ca9-ac2c-37e31ac55c94", "stopOrderType": "UNKNOWN",
         "leavesQty": "0", "execTime": "1672282722429", "isMaker": False, "execFee": "0.071409", "feeRate": "0.0006",
         "execId": "e0cbe81d-0f18-5866-9415-cf319b5dab3b", "tradeIv": "", "blockTradeId": "", "markPrice": "1183.54",
         "execPrice": "1190.15", "markIv": "", "orderQty": "0.1", "orderPrice": "1236.9", "execValue": "119.015",
         "execType": "Trade", "execQty": "0.1"},
        FillFact(Pair("ETHPERP"), "e0cbe81d-0f18-5866-9415-cf319b5dab3b", "8c065341-7b52-4ca9-ac2c-37e31ac55c94",
                 Side.LONG, D("0.1"), D("1190.15"), D("0.071409"), "", None, False, 1672282722429),
    ),
    Message(
        "bybit", "ccxt bybit.parse_position (unified account)", "_position",
        {"symbol": "XRPUSDT", "leverage": "10", "avgPrice": "0.3615", "liqPrice": "0.0001", "riskLimitValue": "200000",
         "takeProfit": "", "positionValue": "36.15", "tpslMode": "Full", "riskId": 41, "trailingStop": "0",
         "unrealisedPnl": "-1.83", "markPrice": "0.3432", "cumRealisedPnl": "0.48805876", "positionMM": "0.381021",
         "createdTime": "1672121182216", "positionIdx": 0, "positionIM": "3.634521", "updatedTime": "1672279322668",
         "side": "Buy", "bustPrice": "", "size": "100", "positionStatus": "Normal", "stopLoss": "", "tradeMode": 0},
        PositionFact(Pair("XRPUSDT"), D(100), D("0.3615"), D("0.0001"), 1672279322668),
    ),
    Message(
        "bybit", "ccxt bybit.fetch_ledger (v5 transaction log)", "_entry",
        {"symbol": "XRPUSDT", "side": "Buy", "funding": "-0.003676", "orderLinkId": "",
         "orderId": "1672128000-8-592324-1-2", "fee": "0.00000000", "change": "-0.003676", "cashFlow": "0",
         "transactionTime": "1672128000000", "type": "SETTLEMENT", "feeRate": "0.0001", "size": "100", "qty": "100",
         "cashBalance": "5086.55825002", "currency": "USDT", "category": "linear", "tradePrice": "0.3676",
         "tradeId": "534c0003-4bf7-486f-aa02-78cee36825e4"},
        IncomeFact("SETTLEMENT-534c0003-4bf7-486f-aa02-78cee36825e4-1672128000000", Pair("XRPUSDT"), "FUNDING_FEE",
                   D("-0.003676"), 1672128000000, "", (D("0.0001"), D("0.3676"))),
    ),
    Message(
        "okx", "ccxt okx.parse_order (fetchClosedOrders); a contract of LINK-USDT-SWAP is 1 LINK", "_order_fact",
        {"algoClOrdId": "", "algoId": "", "attachAlgoClOrdId": "", "attachAlgoOrds": [], "cancelSource": "",
         "cancelSourceReason": "", "category": "normal", "ccy": "", "clOrdId": "", "cTime": "1751705801423",
         "feeCcy": "USDT", "instId": "LINK-USDT-SWAP", "instType": "SWAP", "isTpLimit": "false", "lever": "3",
         "linkedAlgoOrd": {"algoId": ""}, "ordId": "2657625147249614848", "ordType": "limit", "posSide": "net",
         "px": "13.142", "pxType": "", "rebate": "0", "rebateCcy": "USDT", "reduceOnly": "true", "side": "sell",
         "slOrdPx": "", "slTriggerPx": "", "source": "", "stpMode": "cancel_maker", "sz": "0.1", "tag": "",
         "tdMode": "isolated", "tgtCcy": "", "uTime": "1751705807467", "pnl": "-0.0001", "accFillSz": "0.1",
         "avgPx": "13.142", "state": "filled", "fee": "-0.00026284", "fillPx": "13.142", "tradeId": "293429690",
         "fillSz": "0.1", "fillTime": "1751705807467"},
        OrderFact("at-2657625147249614848", "2657625147249614848", Pair("LINKUSDT"), Side.SHORT, "limit", Word.FILLED,
                  D("0.1"), D("0.1"), True, 1751705807467, D("13.142")),
    ),
    Message(
        "okx", "ccxt okx.parse_order (algo order); docs-v5, Algo order list: reduceOnly, uTime", "_algo",
        {"activePx": "", "actualPx": "", "actualSide": "buy", "actualSz": "0", "algoId": "431375349042380800",
         "cTime": "1649119897778", "ctVal": "0.01", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "last": "46538.9",
         "lever": "125", "notionalUsd": "467.059", "ordId": "", "ordPx": "50000", "ordType": "trigger",
         "posSide": "long", "side": "buy", "slOrdPx": "", "slTriggerPx": "", "slTriggerPxType": "", "state": "live",
         "sz": "1", "tag": "", "tdMode": "isolated", "tpOrdPx": "", "tpTriggerPx": "", "triggerPx": "50000",
         "triggerPxType": "last", "triggerTime": "", "uly": "BTC-USDT"},
        OrderFact("at-431375349042380800", "431375349042380800", Pair("BTCUSDT"), Side.LONG, "stop", Word.WORKING,
                  D("0.01"), D(0), False, 1649119897778, None, D(50_000), True),
    ),
    Message(
        "okx", "ccxt okx.parse_trade (private fetchMyTrades), as of BTC-USDT-SWAP", "_fill",
        {"side": "buy", "fillSz": "3", "fillPx": "2654.98", "fee": "-0.000007533", "ordId": "317321390244397056",
         "instType": "SWAP", "instId": "BTC-USDT-SWAP", "clOrdId": "", "posSide": "net", "billId": "317321390265368576",
         "tag": "0", "execType": "T", "tradeId": "107601752", "feeCcy": "USDT", "ts": "1621927314985"},
        FillFact(Pair("BTCUSDT"), "317321390265368576", "317321390244397056", Side.LONG, D("0.03"), D("2654.98"),
                 D("0.000007533"), "USDT", None, False, 1621927314985, 317321390265368576),
    ),
    Message(
        "okx", "ccxt okx.parse_position, in net mode: posSide net, pos signed", "_position",
        {"adl": "3", "availPos": "1", "avgPx": "34131.1", "cTime": "1627227626502", "ccy": "USDT", "imr": "170.66093041794787",
         "instId": "BTC-USDT-SWAP", "instType": "SWAP", "interest": "0", "last": "34134.4", "lever": "2",
         "liqPx": "12608.959083877446", "markPx": "4786.459271773621", "margin": "", "mgnMode": "cross", "pos": "-1",
         "posCcy": "", "posId": "339552508062380036", "posSide": "net", "tradeId": "98617799", "uTime": "1627227626502",
         "upl": "0.0108608358957281"},
        PositionFact(Pair("BTCUSDT"), D("-0.01"), D("34131.1"), D("12608.959083877446"), 1627227626502),
    ),
    Message(
        "okx", "ccxt okx.parse_ledger_entry", "_entry",
        {"bal": "0.0000819307998198", "balChg": "-664.2679586599999802", "billId": "310394313544966151", "ccy": "USDT",
         "fee": "0", "from": "", "instId": "LTC-USDT", "instType": "SPOT", "mgnMode": "cross", "notes": "",
         "ordId": "310394313519800320", "pnl": "0", "posBal": "0", "posBalChg": "0", "subType": "2",
         "sz": "664.26795866", "to": "", "ts": "1620275771196", "type": "2"},
        IncomeFact("bill-310394313544966151", None, "BILL-2", D("-664.2679586599999802"), 1620275771196, "2"),
    ),
)  # fmt: skip
