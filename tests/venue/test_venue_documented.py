"""The venue speaks the exchange's documented formats: every field, of the documented kind, with the documented meaning."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import venue_documented as documented
from venue_documented import differences
from venue_harness import Served

from hydra_core.domain.intervals import DAY_MS, MINUTE_MS, Interval
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.venue.overlay import USUAL_FUNDING_H

BTC = Pair("BTCUSDT")
SYMBOL = ccxt_symbol(BTC)
STREAMS = ("kline_1m", "trade", "aggTrade", "depth@100ms", "markPrice@1s", "bookTicker")


async def told(
    venue: Served, streams: tuple[str, ...], wanted: dict[str, int], step: int = 5_000
) -> dict[str, list[Any]]:
    """Messages of market streams by their event, market time moved on until there are enough of each wanted one."""
    found: dict[str, list[Any]] = {}
    names = "/".join(f"btcusdt@{stream}" for stream in streams)
    async with venue.session.ws_connect(f"{venue.base}/market/stream?streams={names}") as socket:
        async with asyncio.timeout(20):
            while any(len(found.get(event, ())) < count for event, count in wanted.items()):
                await venue.control("POST", "clock", {"advance_ms": step})
                while True:
                    try:
                        message = json.loads(await socket.receive_str(timeout=0.1))["data"]
                    except TimeoutError:
                        break
                    found.setdefault(message["e"], []).append(message)
    return found


async def test_market_streams(venue: Served) -> None:
    wanted = {"kline": 14, "trade": 3, "aggTrade": 3, "depthUpdate": 3, "markPriceUpdate": 1, "bookTicker": 1}
    found = await told(venue, STREAMS, wanted)
    formats = {
        "kline": documented.KLINE, "trade": documented.TRADE, "aggTrade": documented.AGG_TRADE,
        "depthUpdate": documented.DEPTH, "markPriceUpdate": documented.MARK, "bookTicker": documented.QUOTE,
    }  # fmt: skip
    for event, messages in found.items():
        for message in messages:
            assert differences(formats[event], message["k"] if event == "kline" else message) == [], event
    [bar] = [message["k"] for message in found["kline"] if message["k"]["x"]][:1]
    candle = venue.market.candles(BTC, Interval.M1, bar["t"], bar["t"] + MINUTE_MS)
    assert [float(bar[name]) for name in "ohlc"] == [candle.open[0], candle.high[0], candle.low[0], candle.close[0]]
    assert (float(bar["v"]), bar["T"]) == (candle.volume[0], bar["t"] + MINUTE_MS - 1)
    trade = found["trade"][0]
    truth = venue.market.trades(BTC, trade["T"], trade["T"] + 1)
    assert (trade["t"], float(trade["p"]), trade["m"]) == (
        truth.trade_id[0],
        truth.price[0],
        bool(truth.buyer_maker[0]),
    )
    books = found["depthUpdate"]
    assert [book["pu"] for book in books[1:]] == [book["u"] for book in books[:-1]]
    assert all(book["pu"] < book["U"] <= book["u"] for book in books)
    mark = found["markPriceUpdate"][-1]
    reading = venue.market.mark(BTC, mark["E"])
    assert float(mark["p"]) == pytest.approx(reading.mark, abs=0.06)
    assert float(mark["i"]) == pytest.approx(reading.index, abs=0.06)
    assert (float(mark["r"]), mark["T"]) == (pytest.approx(reading.funding_rate, abs=1e-8), reading.next_funding_ms)


async def test_forced_orders(venue: Served) -> None:
    async with venue.session.ws_connect(f"{venue.base}/market/ws/!forceOrder@arr") as socket:
        await venue.control("POST", "clock", {"advance_ms": DAY_MS})
        message = json.loads(await socket.receive_str(timeout=5))
    order = message["o"]
    assert differences(documented.FORCED, order) == []
    truth = venue.market.liquidations(order["s"], order["T"], order["T"] + 1)
    assert order["S"] == ("SELL" if truth[0].long_side else "BUY"), "a liquidated long is a forced sell"


async def test_public_answers(venue: Served) -> None:
    assert differences(documented.DEPTH_SNAPSHOT, await venue.raw("/fapi/v1/depth", symbol=BTC, limit=5)) == []
    assert differences(documented.PREMIUM, await venue.raw("/fapi/v1/premiumIndex", symbol=BTC)) == []
    for row in await venue.raw("/fapi/v1/fundingRate", symbol=BTC):
        assert differences(documented.FUNDING, row) == []
    for row in await venue.raw("/futures/data/globalLongShortAccountRatio", symbol=BTC, period="5m"):
        assert differences(documented.RATIO, row) == []
        assert float(row["longShortRatio"]) == pytest.approx(
            float(row["longAccount"]) / float(row["shortAccount"]), rel=1e-3
        )
    await venue.control("POST", "faults", {"kind": "funding_interval", "symbol": BTC, "hours": USUAL_FUNDING_H // 2})
    [row] = await venue.raw("/fapi/v1/fundingInfo")
    assert differences(documented.FUNDING_INFO, row) == []
    assert row["fundingIntervalHours"] == 4


async def test_the_account_over_rest(venue: Served, exchange: Any) -> None:
    order = await exchange.create_order(SYMBOL, "market", "buy", 0.05)
    assert differences(documented.ORDER, order["info"]) == []
    assert float(order["info"]["cumQuote"]) == pytest.approx(0.05 * float(order["info"]["avgPrice"]))
    [position] = await exchange.fapiPrivateV3GetPositionRisk()
    assert differences(documented.POSITION, position) == []
    assert (position["positionAmt"], position["notional"][0] != "-") == ("0.05", True)
    for row in await exchange.fapiPrivateGetIncome():
        assert differences(documented.INCOME, row) == []
    tiers = await exchange.fapiPrivateGetLeverageBracket({"symbol": BTC})
    for step in tiers[0]["brackets"]:
        assert differences(documented.BRACKET, step) == []


async def test_the_user_stream(venue: Served, exchange: Any) -> None:
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    async with venue.session.ws_connect(f"{venue.base}/private/ws?listenKey={key}") as socket:
        bought = await exchange.create_order(SYMBOL, "market", "buy", 0.05)
        low = round(bought["average"] * 0.9, 1)
        await exchange.create_order(SYMBOL, "market", "sell", 0.05, params={"stopLossPrice": low})
        await exchange.create_order(SYMBOL, "market", "sell", 0.05, params={"reduceOnly": True})
        events: dict[str, list[Any]] = {}
        while len(events.get("ORDER_TRADE_UPDATE", ())) < 4 or "ALGO_UPDATE" not in events:
            message = json.loads(await socket.receive_str(timeout=5))
            events.setdefault(message["e"], []).append(message)
    for message in events["ORDER_TRADE_UPDATE"]:
        assert differences(documented.ORDER_EVENT, message["o"]) == []
    for message in events["TRADE_LITE"]:
        assert differences(documented.SHORT_TRADE_EVENT, message) == []
    trades = [one["o"] for one in events["ORDER_TRADE_UPDATE"] if one["o"]["x"] == "TRADE"]
    assert [[one[name] for name in "siStlL"] for one in events["TRADE_LITE"]] == [
        [one[name] for name in "siStlL"] for one in trades
    ], "each trade once in short and once in full"
    assert [(one["o"]["x"], one["o"]["X"]) for one in events["ORDER_TRADE_UPDATE"]] == [
        ("NEW", "NEW"),
        ("TRADE", "FILLED"),
    ] * 2
    fill = events["ORDER_TRADE_UPDATE"][1]["o"]
    assert (fill["l"], fill["z"], fill["L"], fill["N"]) == ("0.05", "0.05", fill["ap"], "USDT")
    assert float(fill["n"]) == pytest.approx(0.05 * float(fill["L"]) * 0.0005, abs=1e-7)
    out = events["ORDER_TRADE_UPDATE"][3]["o"]
    assert float(out["rp"]) == pytest.approx(0.05 * (float(out["L"]) - float(fill["L"])), abs=1e-7)
    assert differences(documented.ALGO_EVENT, events["ALGO_UPDATE"][0]["o"]) == []
    account = events["ACCOUNT_UPDATE"][0]["a"]
    assert account["m"] == "ORDER"
    assert differences(documented.BALANCE_EVENT, account["B"][0]) == []
    assert differences(documented.POSITION_EVENT, account["P"][0]) == []
    assert (account["P"][0]["pa"], account["P"][0]["ep"]) == ("0.05", fill["L"])


async def test_a_margin_call_is_told_once_before_the_liquidation(venue: Served, exchange: Any) -> None:
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    async with venue.session.ws_connect(f"{venue.base}/private/ws?listenKey={key}") as socket:
        await exchange.create_order(SYMBOL, "market", "buy", 0.05)
        info = (await exchange.fetch_balance())["info"]
        spare = float(info["totalMarginBalance"]) - float(info["totalMaintMargin"]) / 0.85
        await venue.control("POST", "faults", {"kind": "wallet", "symbol": BTC, "amount": f"{-spare:.4f}"})
        for _ in range(3):
            await venue.control("POST", "clock", {"advance_ms": 2_000})
        await venue.control("POST", "faults", {"kind": "liquidate"})
        told: list[Any] = []
        async with asyncio.timeout(10):
            while not told or not told[-1].get("o", {}).get("c", "").startswith("autoclose-"):
                told.append(json.loads(await socket.receive_str()))
    [call] = [one for one in told if one["e"] == "MARGIN_CALL"]
    assert differences(documented.MARGIN_CALL, call) == []
    [line] = call["p"]
    assert differences(documented.MARGIN_CALL_LINE, line) == []
    assert (line["s"], line["pa"], line["mt"]) == (BTC, "0.05", "CROSSED")
    assert float(line["mm"]) >= 0.8 * (float(call["cw"]) + float(line["up"]))


@pytest.mark.parametrize(
    ("order", "prefix", "kind"),
    [({"kind": "liquidate"}, "autoclose-", "LIQUIDATION"), ({"kind": "adl", "symbol": BTC}, "adl_autoclose", "LIMIT"),
     ({"kind": "settle", "symbol": BTC}, "settlement_autoclose-", "MARKET")],
)  # fmt: skip
async def test_forced_closings_carry_their_documented_ids(
    venue: Served, exchange: Any, order: dict[str, Any], prefix: str, kind: str
) -> None:
    """Source: ccxt 4.5.90, pro/binance.py, handle_my_liquidation: what special client order ids mean."""
    await exchange.create_order(SYMBOL, "market", "buy", 0.05)
    await venue.control("POST", "faults", order)
    assert await exchange.fetch_positions([SYMBOL]) == []
    closed = (await exchange.fetch_orders(SYMBOL))[-1]["info"]
    assert closed["clientOrderId"].startswith(prefix)
    assert (closed["type"], closed["side"], closed["status"], closed["reduceOnly"]) == (kind, "SELL", "FILLED", True)
