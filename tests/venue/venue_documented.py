"""Formats that the exchange documents, field by field, each with where it is written down; nothing comes from our own code.

A format maps a field's name to the kind of its JSON value: ``n`` number written as a string, ``i`` whole number, ``f`` number,
``b`` true or false, ``s`` text, ``?`` text or nothing. Fields that are sent only sometimes are left out. ccxt's comments quote
messages as they came from the exchange: that makes them a second reader's reading.
"""

from __future__ import annotations

import re
from typing import Any

PRO, REST, NOTE = "ccxt 4.5.90, pro/binance.py", "ccxt 4.5.90, binance.py", "notes/venue.md"


def fields(text: str) -> dict[str, str]:
    """``"e:s E:i"`` as a mapping."""
    return dict(word.split(":") for word in text.split())


KLINE = fields("t:i T:i s:s i:s f:i L:i o:n c:n h:n l:n v:n n:i x:b q:n V:n Q:n B:n")
KLINE_SOURCE = f"{PRO}, handle_ohlcv"
TRADE = fields("e:s E:i s:s t:i p:n q:n T:i m:b")
TRADE_SOURCE = f"{PRO}, parse_ws_trade (trade); futures omit b, a and M: {NOTE} section 3"
AGG_TRADE = fields("e:s E:i s:s a:i p:n q:n f:i l:i T:i m:b")
AGG_TRADE_SOURCE = f"{PRO}, parse_ws_trade (aggTrade)"
DEPTH = fields("e:s E:i T:i s:s U:i u:i pu:i")
DEPTH_SOURCE = f"{PRO}, handle_order_book (futures: pu is the u of the message before)"
MARK = fields("e:s E:i s:s p:n i:n P:n r:n T:i")
MARK_SOURCE = f"{PRO}, parse_ws_ticker (markPrice)"
QUOTE = fields("u:i s:s b:n B:n a:n A:n")
QUOTE_SOURCE = f"{PRO}, handle_bids_asks"
FORCED = fields("s:s S:s o:s f:s q:n p:n ap:n X:s l:n z:n T:i")
FORCED_SOURCE = f"{PRO}, handle_liquidation (future)"
ORDER_EVENT = fields(
    "s:s c:s S:s o:s f:s q:n p:n ap:n sp:n x:s X:s i:i l:n z:n L:n T:i t:i b:n a:n m:b R:b wt:s ot:s ps:s cp:b rp:n pP:b si:i"
    " ss:i V:s pm:s gtd:i"
)
ORDER_EVENT_SOURCE = f"{PRO}, handle_order_update and handle_my_liquidation (future)"
SHORT_TRADE_EVENT = fields("e:s E:i T:i s:s q:n p:n m:b c:s S:s L:n l:n t:i i:i")
SHORT_TRADE_EVENT_SOURCE = "developers.binance.com, USDS-margined futures, user data streams, Event Trade Lite"
MARGIN_CALL = fields("e:s E:i cw:n")
MARGIN_CALL_LINE = fields("s:s ps:s pa:n mt:s iw:n mp:n up:n mm:n")
MARGIN_CALL_SOURCE = "developers.binance.com, USDS-margined futures, user data streams, Event Margin Call"
ALGO_EVENT = fields("caid:s aid:i at:s o:s s:s S:s ps:s f:s q:n X:s ai:s ap:n aq:n")
ALGO_EVENT_SOURCE = f"{PRO}, handle_order_update (linear swap trigger order)"
BALANCE_EVENT = fields("a:s wb:n cw:n bc:n")
POSITION_EVENT = fields("s:s pa:n ep:n cr:n up:n mt:s iw:n ps:s")
ACCOUNT_EVENT_SOURCE = f"{PRO}, handle_positions (ACCOUNT_UPDATE)"

ORDER = fields(
    "orderId:i symbol:s status:s clientOrderId:s price:n avgPrice:n origQty:n executedQty:n cumQty:n cumQuote:n timeInForce:s"
    " type:s reduceOnly:b closePosition:b side:s positionSide:s stopPrice:n workingType:s priceProtect:b origType:s"
    " updateTime:i"
)
ORDER_SOURCE = f"{REST}, parse_order (swap and future: editOrder)"
DEPTH_SNAPSHOT = fields("lastUpdateId:i E:i T:i")
DEPTH_SNAPSHOT_SOURCE = f"{REST}, fetch_order_book (future)"
PREMIUM = fields(
    "symbol:s markPrice:n indexPrice:n estimatedSettlePrice:n lastFundingRate:n interestRate:n nextFundingTime:i time:i"
)
PREMIUM_SOURCE = f"{REST}, parse_funding_rate"
FUNDING_INFO = fields(
    "symbol:s adjustedFundingRateCap:n adjustedFundingRateFloor:n fundingIntervalHours:i disclaimer:b"
)
FUNDING_INFO_SOURCE = f"{REST}, parse_funding_rate (fetchFundingIntervals)"
FUNDING = fields("symbol:s fundingRate:n fundingTime:i")
FUNDING_SOURCE = f"{REST}, parse_funding_rate_history"
RATIO = fields("symbol:s longAccount:n longShortRatio:n shortAccount:n timestamp:i")
RATIO_SOURCE = f"{REST}, parse_long_short_ratio (linear)"
INCOME = fields("symbol:s incomeType:s income:n asset:s time:i info:s tranId:i tradeId:s")
INCOME_SOURCE = f"{REST}, parse_income"
BRACKET = fields("bracket:i initialLeverage:i notionalCap:i notionalFloor:i maintMarginRatio:f cum:f")
BRACKET_SOURCE = f"{REST}, fetch_leverage_tiers (usdm)"
POSITION = fields(
    "symbol:s positionSide:s positionAmt:n unrealizedProfit:n notional:n isolatedMargin:n isolatedWallet:n initialMargin:n"
    " maintMargin:n updateTime:i"
)
POSITION_SOURCE = f"{REST}, parse_account_position (usdm v3)"

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def kind_fits(kind: str, value: Any) -> bool:
    """Whether a JSON value is of a kind."""
    if kind == "n":
        return isinstance(value, str) and _NUMBER.fullmatch(value) is not None
    if kind == "b":
        return isinstance(value, bool)
    if kind == "i":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "f":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str) or (kind == "?" and value is None)


def differences(documented: dict[str, str], told: dict[str, Any]) -> list[str]:
    """Documented fields that are absent from a message or of another kind there."""
    return [
        f"{name}: {told.get(name, 'absent')!r} is not {kind}"
        for name, kind in documented.items()
        if name not in told or not kind_fits(kind, told[name])
    ]
