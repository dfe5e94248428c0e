"""HYDRA's client reads the documented messages as their documentation, and ccxt as a second reader, say: no venue takes part.

Field names, kinds and meanings are those of ``venue_documented.py``, whose sources stand beside them; the values are ours, no
two alike, so that one field taken for another shows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import ccxt.pro
import pytest
import venue_documented as documented
from venue_documented import differences

from hydra_core.broker import facts
from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.market.streams import messages

T = 1_718_236_800_000
BTC = Pair("BTCUSDT")

KLINE = {
    "e": "kline",
    "E": T + 61_500,
    "s": "BTCUSDT",
    "k": {
        "t": T,
        "T": T + 59_999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 11,
        "L": 12,
        "o": "100.10",
        "c": "103.40",
        "h": "105.50",
        "l": "99.60",
        "v": "7.100",
        "n": 16,
        "x": True,
        "q": "728.80000",
        "V": "3.300",
        "Q": "338.10000",
        "B": "0",
    },
}
AGG_TRADE = {
    "e": "aggTrade",
    "E": T + 9,
    "s": "BTCUSDT",
    "a": 26_129,
    "p": "101.20",
    "q": "0.470",
    "f": 100,
    "l": 105,
    "T": T + 5,
    "m": True,
}
DEPTH = {
    "e": "depthUpdate",
    "E": T + 9,
    "T": T + 5,
    "s": "BTCUSDT",
    "U": 157,
    "u": 160,
    "pu": 149,
    "b": [["100.10", "10.000"]],
    "a": [["100.30", "0"]],
}
MARK = {
    "e": "markPriceUpdate",
    "E": T + 9,
    "s": "BTCUSDT",
    "p": "117.94",
    "i": "117.84",
    "P": "117.80",
    "r": "0.00038167",
    "T": T + 28_800_000,
}
QUOTE = {
    "e": "bookTicker",
    "u": 400_900_217,
    "s": "BTCUSDT",
    "b": "253.51",
    "B": "31.210",
    "a": "253.65",
    "A": "40.660",
    "T": T + 5,
    "E": T + 9,
}
FORCED = {
    "e": "forceOrder",
    "E": T + 9,
    "o": {
        "s": "BTCUSDT",
        "S": "BUY",
        "o": "LIMIT",
        "f": "IOC",
        "q": "1.437",
        "p": "351.81",
        "ap": "349.70",
        "X": "FILLED",
        "l": "1.400",
        "z": "1.437",
        "T": T + 5,
    },
}
ORDER_EVENT = {
    "e": "ORDER_TRADE_UPDATE",
    "E": T + 9,
    "T": T + 5,
    "o": {
        "s": "BTCUSDT",
        "c": "hydra-1",
        "S": "SELL",
        "o": "LIMIT",
        "f": "GTC",
        "q": "0.009",
        "p": "334.00",
        "ap": "334.46",
        "sp": "0",
        "x": "TRADE",
        "X": "PARTIALLY_FILLED",
        "i": 13_351_197,
        "l": "0.002",
        "z": "0.005",
        "L": "334.50",
        "n": "0.00027086",
        "N": "USDT",
        "T": T + 5,
        "t": 458_032,
        "b": "0",
        "a": "0",
        "m": True,
        "R": True,
        "wt": "CONTRACT_PRICE",
        "ot": "LIMIT",
        "ps": "BOTH",
        "cp": False,
        "rp": "0.00335000",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "NONE",
        "pm": "NONE",
        "gtd": 0,
    },
}
ALGO_EVENT = {
    "e": "ALGO_UPDATE",
    "E": T + 9,
    "T": T + 5,
    "o": {
        "caid": "hydra-2",
        "aid": 2_148_719,
        "at": "CONDITIONAL",
        "o": "STOP_MARKET",
        "s": "BTCUSDT",
        "S": "SELL",
        "ps": "BOTH",
        "f": "GTC",
        "q": "0.010",
        "X": "TRIGGERED",
        "ai": "771",
        "ap": "0.00000",
        "aq": "0.00000",
        "act": "0",
        "tp": "750.10",
        "p": "0",
        "R": True,
        "cp": False,
    },
}
ORDER = {
    "orderId": 151_007_482,
    "symbol": "BTCUSDT",
    "status": "PARTIALLY_FILLED",
    "clientOrderId": "hydra-3",
    "price": "250.10",
    "avgPrice": "250.05",
    "origQty": "0.008",
    "executedQty": "0.003",
    "cumQty": "0.003",
    "cumQuote": "0.75015",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "reduceOnly": False,
    "closePosition": False,
    "side": "BUY",
    "positionSide": "BOTH",
    "stopPrice": "0",
    "workingType": "CONTRACT_PRICE",
    "priceProtect": False,
    "origType": "LIMIT",
    "updateTime": T + 5,
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("KLINE", KLINE["k"]),
        ("AGG_TRADE", AGG_TRADE),
        ("DEPTH", DEPTH),
        ("MARK", MARK),
        ("QUOTE", QUOTE),
        ("FORCED", FORCED["o"]),
        ("ORDER_EVENT", ORDER_EVENT["o"]),
        ("ALGO_EVENT", ALGO_EVENT["o"]),
        ("ORDER", ORDER),
    ],
)
def test_the_messages_are_the_documented_ones(name: str, message: dict[str, Any]) -> None:
    assert differences(getattr(documented, name), message) == []
    assert getattr(documented, f"{name}_SOURCE")


@pytest.fixture(scope="module")
def second_reader() -> Any:
    """ccxt with one market, never connected."""
    exchange = ccxt.pro.binanceusdm()
    market = exchange.safe_market_structure(
        {
            "id": "BTCUSDT",
            "symbol": "BTC/USDT:USDT",
            "base": "BTC",
            "quote": "USDT",
            "settle": "USDT",
            "type": "swap",
            "swap": True,
            "contract": True,
            "linear": True,
            "inverse": False,
            "spot": False,
            "contractSize": 1.0,
        }
    )
    exchange.markets = {"BTC/USDT:USDT": market}
    exchange.markets_by_id = {"BTCUSDT": [market]}
    return exchange


def test_candles() -> None:
    row = messages.candle(KLINE, 1)
    assert (row.pair, row.interval, row.ts, row.closed, row.event_ms) == (BTC, Interval.M1, T, True, T + 61_500)
    assert (row.open, row.high, row.low, row.close, row.volume) == (100.1, 105.5, 99.6, 103.4, 7.1)


def test_trades(second_reader: Any) -> None:
    row, other = messages.trade(AGG_TRADE, 1), second_reader.parse_ws_trade(AGG_TRADE)
    assert (row.trade_id, row.price, row.quantity, row.event_ms) == (26_129, 101.2, 0.47, T + 5)
    assert (str(row.trade_id), row.price, row.quantity) == (other["id"], other["price"], other["amount"])
    assert row.buyer_maker == (other["side"] == "sell"), "where the buyer was the maker, somebody sold"


def test_book_quotes_and_marks() -> None:
    book = messages.book_diff(DEPTH, 1)
    assert (book.first_id, book.final_id, book.previous_id, book.event_ms) == (157, 160, 149, T + 5)
    assert (book.bids, book.asks) == (((100.1, 10.0),), ((100.3, 0.0),))
    quote, update_id = messages.quote(QUOTE, 1)
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size, update_id) == (
        253.51,
        31.21,
        253.65,
        40.66,
        400_900_217,
    )
    mark = messages.mark(MARK, 1)
    assert (mark.mark, mark.index, mark.funding_rate, mark.next_funding_ms) == (
        117.94,
        117.84,
        0.00038167,
        T + 28_800_000,
    )


def test_forced_orders(second_reader: Any) -> None:
    row, other = messages.liquidation(FORCED, 1), second_reader.parse_ws_liquidation(FORCED["o"])
    assert (row.event_ms, row.quantity, row.price, row.long_side) == (T + 5, 1.4, 349.7, False)
    assert (row.quantity, row.price, other["side"]) == (other["contracts"], other["price"], "buy")


def test_orders_and_their_fills(second_reader: Any) -> None:
    order, fill = facts.read_order_event(ORDER_EVENT)
    assert fill is not None
    other, traded = second_reader.parse_ws_order(ORDER_EVENT["o"]), second_reader.parse_ws_trade(ORDER_EVENT["o"])
    assert (order.client_id, order.venue_id, order.side, order.reduce_only) == ("hydra-1", "13351197", Side.SHORT, True)
    assert (order.quantity, order.filled, order.limit_price) == (Decimal("0.009"), Decimal("0.005"), Decimal("334.00"))
    assert (float(order.filled), order.client_id) == (other["filled"], other["clientOrderId"])
    assert (fill.trade_id, fill.quantity, fill.price, fill.fee) == (
        "458032",
        Decimal("0.002"),
        Decimal("334.50"),
        Decimal("0.00027086"),
    )
    assert (fill.realised, fill.maker, fill.fee_asset) == (Decimal("0.00335000"), True, "USDT")
    assert (fill.trade_id, float(fill.quantity), float(fill.price)) == (
        traded["id"],
        traded["amount"],
        traded["price"],
    )
    assert (traded["takerOrMaker"], traded["fee"]["cost"]) == ("maker", 0.00027086)
    row, other = facts.read_order(ORDER), second_reader.parse_order(ORDER)
    assert (row.client_id, row.quantity, row.filled, row.side) == (
        "hydra-3",
        Decimal("0.008"),
        Decimal("0.003"),
        Side.LONG,
    )
    assert (float(row.filled), row.venue_id, row.client_id) == (other["filled"], other["id"], other["clientOrderId"])


def test_conditional_orders(second_reader: Any) -> None:
    row, other = facts.read_algo_event(ALGO_EVENT), second_reader.parse_ws_order(ALGO_EVENT["o"])
    assert (row.client_id, row.venue_id, row.stop_price, row.algo) == ("hydra-2", "2148719", Decimal("750.10"), True)
    assert (row.actual_id, row.reduce_only, row.side) == ("771", True, Side.SHORT)
    assert (row.client_id, float(row.quantity)) == (other["clientOrderId"], other["amount"])
