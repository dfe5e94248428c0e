"""Every kind of fault does what docs/venue.md says, does it again when ordered again, and is taken back when withdrawn."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any

import ccxt
import pytest
from venue_harness import Served, eventually, served

from hydra_core.domain.intervals import HOUR_MS, MINUTE_MS
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.venue.fault_kinds import KINDS

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
SYMBOL = ccxt_symbol(BTC)
DOCS = Path(__file__).parents[2] / "docs" / "venue.md"


async def order(venue: Served, kind: str, **fields: Any) -> int:
    return int((await venue.control("POST", "faults", {"kind": kind, **fields}))["id"])


async def advance(venue: Served, ms: int) -> None:
    now = (await venue.control("POST", "clock", {"advance_ms": ms}))["market_ms"]
    for exchange in venue.exchanges:
        exchange.milliseconds = lambda: now


async def rest(exchange: Any, side: str = "buy", away: float = 0.05, amount: float = 0.01, **params: Any) -> Any:
    best = (await exchange.fetch_order_book(SYMBOL, 5))["bids"][0][0]
    price = float(exchange.price_to_precision(SYMBOL, best * (1 - away if side == "buy" else 1 + away)))
    return await exchange.create_order(SYMBOL, "limit", side, amount, price, params)


async def drain(socket: Any) -> list[Any]:
    """Messages that have come or are on their way."""
    found = []
    while True:
        try:
            message = await socket.receive(timeout=0.15)
        except TimeoutError:
            return found
        if message.type.name != "TEXT":
            return found
        found.append(message.data)


async def user_socket(venue: Served, exchange: Any) -> Any:
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    return venue.session.ws_connect(f"{venue.base}/private/ws?listenKey={key}")


# -- orders of faults ----------------------------------------------------------------------------------------------------


def test_the_documentation_lists_every_kind_with_its_fields() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCS.read_text(), re.MULTILINE))
    assert set(told) == set(KINDS)
    shared = {"method", "path", "symbol", "client_id", "times", "skip", "chance", "after", "on"}
    for name, kind in KINDS.items():
        own = set(kind.fields) - shared - {"private", "streams", "event", "execution"}
        assert own <= set(re.findall(r"`(\w+)`", told[name])), name


@pytest.mark.parametrize(
    "body",
    [{}, {"kind": "nothing"}, {"kind": 5}, {"kind": "reset", "speed": 1}, {"kind": "reset", "times": "two"},
     {"kind": "reset", "path": "("}, {"kind": "fill", "on": {"verb": "GET"}}, {"kind": "filters", "symbol": "XXXUSDT"},
     {"kind": "filters", "symbol": "BTCUSDT", "tick_size": "wide"}, {"kind": "listing", "symbol": "BTCUSDT", "status": "GONE"},
     {"kind": "shock", "symbol": "BTCUSDT", "factor": 0}, {"kind": "stall", "private": 1}, {"kind": "partial", "then": "stay"}],
)  # fmt: skip
async def test_orders_that_cannot_be_read_change_nothing(venue: Served, body: dict[str, Any]) -> None:
    async with venue.session.post(f"{venue.base}/_venue/faults", json=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["msg"]
    assert (await venue.control("GET", "faults"))["armed"] == []


async def test_the_same_orders_do_the_same_again(tmp_path: Path) -> None:
    async def run(folder: Path, seed: int) -> list[int]:
        async with served(folder, seed=seed) as venue:
            await order(venue, "status", path="/fapi/v1/time", chance=0.5, times=-1)
            await order(venue, "malformed", path="/fapi/v1/depth", how="nulls", times=-1)
            out = []
            for _ in range(12):
                async with venue.session.get(f"{venue.base}/fapi/v1/time") as answer:
                    out.append(answer.status)
            return [*out, (await venue.raw("/fapi/v1/depth", symbol=BTC, limit=20))["bids"]]

    first, again, other = [await run(tmp_path / str(place), seed) for place, seed in enumerate((3, 3, 4))]
    assert first == again != other
    assert {200, 503} <= set(first[:12])


# -- answers -------------------------------------------------------------------------------------------------------------


async def test_before_or_after_the_effect_looks_alike(venue: Served, exchange: Any) -> None:
    await venue.control("POST", "wire", {"on": True})
    losses: list[tuple[str, dict[str, Any], type[Exception]]] = [
        ("reset", {}, ccxt.NetworkError),
        ("status", {"status": 503}, ccxt.ExchangeNotAvailable),
        ("refuse", {"code": -1007, "status": 408}, ccxt.RequestTimeout),
    ]
    for place, (kind, fields, error) in enumerate(losses):
        for after in (False, True):
            name = f"lost-{place}-{after}"
            await order(venue, kind, method="POST", path=".*/order", client_id=name, after=after, **fields)
            with pytest.raises(error):
                await exchange.create_order(SYMBOL, "market", "buy", 0.01, params={"clientOrderId": name})
    taken = {one["clientOrderId"] for one in await exchange.fetch_orders(SYMBOL)}
    assert taken == {"lost-0-True", "lost-1-True", "lost-2-True"}
    rows = (await venue.control("GET", "wire?channel=rest&path=/fapi/v1/order&method=POST"))["rows"]
    assert [row["executed"] for row in rows] == [False, True] * 3
    assert all("signature" not in row["body"].replace("signature=…", "") for row in rows)


async def test_an_order_that_is_not_to_be_seen_yet(venue: Served, exchange: Any) -> None:
    number = await order(venue, "invisible", client_id="young.*")
    placed = await rest(exchange, clientOrderId="young-1")
    seen = await rest(exchange, clientOrderId="old-1")
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await exchange.fetch_order(placed["id"], SYMBOL)
    assert [one["id"] for one in await exchange.fetch_open_orders(SYMBOL)] == [seen["id"]]
    await venue.control("DELETE", f"faults?id={number}")
    assert len(await exchange.fetch_open_orders(SYMBOL)) == 2
    await order(venue, "invisible", client_id="young.*", times=2)
    for _ in range(2):
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.fetch_order(placed["id"], SYMBOL)
    assert (await exchange.fetch_order(placed["id"], SYMBOL))["id"] == placed["id"]


# -- rules ---------------------------------------------------------------------------------------------------------------


async def test_filters_brackets_and_listings_change_while_running(venue: Served, exchange: Any) -> None:
    async def refused(code: int, amount: str = "0.01", **params: Any) -> None:
        with pytest.raises(ccxt.BaseError, match=str(code)):
            await exchange.fapiPrivatePostOrder(
                {"symbol": BTC, "side": "BUY", "type": "MARKET", "quantity": amount, **params}
            )

    await order(venue, "filters", symbol=BTC, step_size="0.1", min_quantity="0.1")
    await refused(-1111)
    info = await venue.raw("/fapi/v1/exchangeInfo")
    lot = next(one for one in info["symbols"][0]["filters"] if one["filterType"] == "LOT_SIZE")
    assert (info["symbols"][0]["symbol"], lot["stepSize"]) == (BTC, "0.1")
    await venue.control("DELETE", "faults")
    await order(venue, "filters", symbol=BTC, min_notional="100000")
    await refused(-4164)
    await order(venue, "brackets", symbol=BTC, max_leverage=3, cap=60_000)
    with pytest.raises(ccxt.BaseError, match="-4028"):
        await exchange.set_leverage(10, SYMBOL)
    await venue.control("DELETE", "faults")
    await exchange.set_leverage(10, SYMBOL)
    await order(venue, "brackets", symbol=BTC, cap=1_000)
    await refused(-2027, "0.05")
    await order(venue, "position_mode")
    await refused(-4061)
    assert (await exchange.fetch_position_mode())["hedged"] is True
    await venue.control("DELETE", "faults")
    await order(venue, "listing", symbol=BTC, status="SETTLING", delivery_ms=venue.market.start_ms + HOUR_MS)
    await refused(-4140)
    info = await venue.raw("/fapi/v1/exchangeInfo")
    assert info["symbols"][0]["status"] == "SETTLING"
    assert info["symbols"][0]["deliveryDate"] == venue.market.start_ms + HOUR_MS
    await order(venue, "listing", symbol=BTC, vanish=True)
    await refused(-1121)
    assert BTC not in {row["symbol"] for row in (await venue.raw("/fapi/v1/exchangeInfo"))["symbols"]}
    await venue.control("DELETE", "faults")
    await order(venue, "book_shape", symbol=BTC, widen=0.3)
    await refused(-4131)
    await venue.control("DELETE", "faults")
    assert (await exchange.create_order(SYMBOL, "market", "buy", 0.01))["status"] == "closed"


async def test_a_shock_moves_everything_that_tells_a_price(venue: Served, exchange: Any) -> None:
    await advance(venue, 20_000)
    before = float((await venue.raw("/fapi/v1/ticker/price", symbol=BTC))["price"])
    await exchange.set_leverage(25, SYMBOL)
    await exchange.create_order(SYMBOL, "market", "buy", 2.5)
    await order(venue, "shock", symbol=BTC, factor=0.8)
    await advance(venue, 2 * MINUTE_MS)
    book = await venue.raw("/fapi/v1/depth", symbol=BTC, limit=5)
    candles = await venue.raw("/fapi/v1/klines", symbol=BTC, interval="1m", limit=4)
    mark = await venue.raw("/fapi/v1/premiumIndex", symbol=BTC)
    trades = await venue.raw("/fapi/v1/aggTrades", symbol=BTC, limit=5)
    readings = [book["bids"][0][0], candles[-1][4], mark["markPrice"], mark["indexPrice"], trades[-1]["p"]]
    assert all(float(one) == pytest.approx(0.8 * before, rel=0.03) for one in readings)
    struck = next(row for row in candles if float(row[2]) / float(row[3]) > 1.15)
    assert float(struck[3]) <= float(struck[4]) <= float(struck[2])
    assert await exchange.fetch_positions([SYMBOL]) == [], "the account was not liquidated"
    assert (await exchange.fetch_orders(SYMBOL))[-1]["clientOrderId"].startswith("autoclose-")


async def test_partial_fills_in_parts_with_every_end(venue: Served, exchange: Any) -> None:
    await order(venue, "partial", parts=3, share=0.5, then="EXPIRED_IN_MATCH")
    placed = await exchange.create_order(SYMBOL, "market", "buy", 0.06)
    assert (placed["filled"], placed["info"]["status"]) == (0.03, "EXPIRED_IN_MATCH")
    assert [fill["amount"] for fill in await exchange.fetch_my_trades(SYMBOL)] == [0.01, 0.01, 0.01]
    whole = await exchange.create_order(SYMBOL, "market", "buy", 0.06)
    assert whole["filled"] == 0.06
    resting = await rest(exchange, amount=0.04, clientOrderId="slow")
    await order(venue, "fill", client_id="slow", quantity="0.01", parts=2)
    assert (await exchange.fetch_order(resting["id"], SYMBOL))["info"]["status"] == "PARTIALLY_FILLED"
    await order(venue, "end_order", client_id="slow")
    ended = await exchange.fetch_order(resting["id"], SYMBOL)
    assert (ended["status"], ended["filled"]) == ("canceled", 0.01)


async def test_reduce_only_orders_use_up_the_position(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.02)
    await rest(exchange, "sell", amount=0.02, reduceOnly=True)
    await order(venue, "strict_reduce_only")
    with pytest.raises(ccxt.BaseError, match="-4118"):
        await exchange.create_order(SYMBOL, "market", "sell", 0.01, params={"reduceOnly": True})
    await venue.control("DELETE", "faults")
    assert (await exchange.create_order(SYMBOL, "market", "sell", 0.01, params={"reduceOnly": True}))["filled"] == 0.01


async def test_other_funding_times(venue: Served) -> None:
    start = venue.market.start_ms
    since = start - 20 * HOUR_MS
    since -= since % (8 * HOUR_MS)
    await order(venue, "funding_interval", symbol=BTC, hours=2, from_ms=since, jitter_ms=900)
    rows = await venue.raw("/fapi/v1/fundingRate", symbol=BTC, startTime=since, limit=100)
    stamps = [row["fundingTime"] for row in rows]
    assert [stamp - stamp % (2 * HOUR_MS) for stamp in stamps] == list(range(since, start + 1, 2 * HOUR_MS))[
        : len(stamps)
    ]
    assert any(stamp % 1000 for stamp in stamps)
    assert all(stamp % (2 * HOUR_MS) < 900 for stamp in stamps)
    assert [row["fundingIntervalHours"] for row in await venue.raw("/fapi/v1/fundingInfo")] == [2]
    mark = await venue.raw("/fapi/v1/premiumIndex", symbol=BTC)
    assert start < mark["nextFundingTime"] <= start + 2 * HOUR_MS


async def test_holes_and_corrections_in_candles(venue: Served) -> None:
    start = venue.market.start_ms
    await order(
        venue, "candle_gap", symbol=BTC, interval="1m", from_ms=start - 5 * MINUTE_MS, to_ms=start - 3 * MINUTE_MS
    )
    rows = await venue.raw(
        "/fapi/v1/klines", symbol=BTC, interval="1m", startTime=start - 8 * MINUTE_MS, endTime=start - 1
    )
    assert [(row[0] - start) // MINUTE_MS for row in rows] == [-8, -7, -6, -3, -2, -1]
    async with venue.session.ws_connect(f"{venue.base}/market/ws/btcusdt@kline_1m") as socket:
        await drain(socket)
        await order(venue, "candle_corrected", symbol=BTC, close_factor=1.01)
        told = [json.loads(one)["k"] for one in await drain(socket)]
    again = [row for row in told if row["x"]]
    now = await venue.raw("/fapi/v1/klines", symbol=BTC, interval="1m", startTime=start - MINUTE_MS, endTime=start - 1)
    assert [row["c"] for row in again] == [now[0][4]]
    assert float(now[0][4]) == pytest.approx(1.01 * float(rows[-1][4]), rel=1e-5)


# -- streams -------------------------------------------------------------------------------------------------------------


async def test_silence_loss_doubles_delay_and_spoilt_messages(venue: Served) -> None:
    async with venue.session.ws_connect(
        f"{venue.base}/market/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade"
    ) as socket:

        async def minute() -> dict[str, list[Any]]:
            await advance(venue, MINUTE_MS)
            found: dict[str, list[Any]] = {"btcusdt@aggTrade": [], "ethusdt@aggTrade": [], "spoilt": []}
            for text in await drain(socket):
                try:
                    message = json.loads(text)
                    found[message["stream"]].append(message["data"]["a"])
                except ValueError:
                    found["spoilt"].append(text)
            return found

        usual = await minute()
        assert usual["btcusdt@aggTrade"] == sorted(usual["btcusdt@aggTrade"])
        number = await order(venue, "stall", streams="btcusdt@.*")
        assert (await minute())["btcusdt@aggTrade"] == []
        await venue.control("DELETE", f"faults?id={number}")
        for kind in ("lose", "duplicate", "late", "spoilt"):
            await order(venue, kind, streams="btcusdt@aggTrade", skip=2)
            found = await minute()
            ids = found["btcusdt@aggTrade"]
            whole = set(range(min(ids), max(ids) + 1))
            if kind == "lose":
                assert len(whole - set(ids)) == 1
            elif kind == "duplicate":
                assert (ids[2], len(ids)) == (ids[3], len(whole) + 1)
            elif kind == "late":
                assert (ids[2], ids[3], set(ids)) == (ids[1] + 2, ids[1] + 1, whole)
            else:
                assert (len(found["spoilt"]), len(whole - set(ids))) == (1, 1)
            assert found["ethusdt@aggTrade"] == sorted(found["ethusdt@aggTrade"])


async def test_the_books_sequence_breaks(venue: Served) -> None:
    async with venue.session.ws_connect(f"{venue.base}/market/ws/btcusdt@depth@100ms") as socket:

        async def books(count: int = 4) -> list[Any]:
            found: list[Any] = []
            while len(found) < count:
                await advance(venue, 1_000)
                found.append(json.loads(await socket.receive_str(timeout=5)))
            return found

        async def links() -> list[bool]:
            found = await books()
            return [after["pu"] == before["u"] for before, after in itertools.pairwise(found)]

        assert all(await links())
        for how in ("skip", "wrong_pu"):
            found = await books(2)
            await order(venue, "book_gap", symbol=BTC, how=how, times=1)
            async with asyncio.timeout(20):
                while all(after["pu"] == before["u"] for before, after in itertools.pairwise(found)):
                    found += await books(1)
            found += await books(3)
            assert sum(after["pu"] != before["u"] for before, after in itertools.pairwise(found)) == 1, how
            struck = (await venue.control("GET", "faults"))["struck"]
            assert struck[-1]["symbol"] == BTC
        good = (await venue.raw("/fapi/v1/depth", symbol=BTC))["lastUpdateId"]
        await order(venue, "book_gap", symbol=BTC, how="stale_snapshot")
        assert (await venue.raw("/fapi/v1/depth", symbol=BTC))["lastUpdateId"] < good
        await order(venue, "book_gap", symbol=BTC, how="crossed")

        async def crossed() -> bool:
            await advance(venue, 200)
            book = await venue.raw("/fapi/v1/depth", symbol=BTC)
            return float(book["bids"][0][0]) >= float(book["asks"][0][0])

        await eventually(crossed, what="a crossed book")


async def test_candles_that_do_not_close_or_close_late(venue: Served) -> None:
    async with venue.session.ws_connect(f"{venue.base}/market/ws/btcusdt@kline_1m") as socket:

        async def closed(ms: int) -> list[int]:
            await advance(venue, ms)
            rows = [json.loads(one)["k"] for one in await drain(socket)]
            return [(row["t"] - venue.market.start_ms) // MINUTE_MS for row in rows if row["x"]]

        await order(venue, "candle_unclosed", symbol=BTC, interval="1m")
        assert await closed(2 * MINUTE_MS) == [1]
        await order(venue, "candle_late", symbol=BTC, interval="1m", ms=20_000)
        assert await closed(MINUTE_MS + 1_000) == []
        assert await closed(30_000) == [2]


async def test_connections_are_dropped_denied_and_outlived(venue: Served) -> None:
    url = f"{venue.base}/market/ws/btcusdt@kline_1m"
    async with (
        venue.session.ws_connect(url) as first,
        venue.session.ws_connect(f"{venue.base}/market/ws/btcusdt@aggTrade") as other,
    ):
        await order(venue, "drop", streams=".*kline.*", code=1008)
        await drain(first)
        assert (first.close_code, other.closed) == (1008, False)
        await order(venue, "drop", abort=True)
        await drain(other)
        assert other.close_code == 1006
    number = await order(venue, "deny", status=429, retry_after=7, private=False)
    async with venue.session.get(url) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    await venue.control("DELETE", f"faults?id={number}")
    await order(venue, "connection_life", seconds=0.2)
    async with venue.session.ws_connect(url) as third:
        await eventually(lambda: outlived(third), what="the connection is outlived")
        assert third.close_code == 1001


async def outlived(socket: Any) -> bool:
    await drain(socket)
    return bool(socket.closed)


async def test_pings_are_answered_unless_ordered_otherwise(venue: Served) -> None:
    async with venue.session.ws_connect(f"{venue.base}/market/ws/btcusdt@kline_1m", autoping=False) as socket:
        for mute, answered in ((False, True), (True, False)):
            if mute:
                await order(venue, "no_pong")
            await socket.ping(b"there?")
            # Running candles come several times a second: four of them later, a pong would be there.
            seen = [(await socket.receive(timeout=5)).type.name for _ in range(4)]
            assert ("PONG" in seen) is answered


async def test_a_flood_is_as_wide_as_ordered(venue: Served) -> None:
    await venue.control("POST", "wire", {"on": True, "limit": 100})
    async with venue.session.ws_connect(f"{venue.base}/public/ws/btcusdt@bookTicker") as socket:
        await order(venue, "flood", rate=2_000, seconds=0.5)
        ids = []

        async def flooded() -> bool:
            ids.extend(json.loads(text)["u"] for text in await drain(socket))
            return len(ids) >= 800

        await eventually(flooded, what="800 messages")
    assert ids == sorted(set(ids))
    log = await venue.control("GET", "wire")
    assert log["counts"]["btcusdt@bookTicker"] >= len(ids)
    assert len(log["rows"]) == 100
    assert log["left_out"] > 0


async def test_user_events_are_told_again_and_a_key_ends_quietly(venue: Served, exchange: Any) -> None:
    async with await user_socket(venue, exchange) as socket:
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        first = await drain(socket)
        await order(venue, "replay", count=1, event="ORDER_TRADE_UPDATE")
        assert await drain(socket) == first[-1:]
        await order(venue, "duplicate", private=True, execution="TRADE")
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        executions = [json.loads(one)["o"]["x"] for one in await drain(socket) if "ORDER_TRADE" in one]
        assert executions == ["NEW", "TRADE", "TRADE"]
        await order(venue, "expire_listen_key", event=False, close=False)
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        assert await drain(socket) == []
        assert not socket.closed
    async with await user_socket(venue, exchange) as socket:
        await order(venue, "key_life", seconds=0.1)
        told: list[str] = []

        async def ended() -> bool:
            told.extend(await drain(socket))
            return bool(socket.closed)

        await eventually(ended, what="the key's end")
        assert json.loads(told[-1])["e"] == "listenKeyExpired"


# -- acts ----------------------------------------------------------------------------------------------------------------


async def test_an_act_comes_between_decision_and_request(venue: Served, exchange: Any) -> None:
    resting = await rest(exchange, clientOrderId="race")
    await order(venue, "fill", client_id="race", on={"method": "DELETE", "path": ".*/order", "client_id": ""})
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await exchange.cancel_order(resting["id"], SYMBOL)
    assert (await exchange.fetch_order(resting["id"], SYMBOL))["status"] == "closed"
    await order(venue, "wallet", amount="-9990", on={"method": "POST", "path": ".*/order"})
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order(SYMBOL, "market", "buy", 0.05)
    low = (await exchange.fetch_order_book(SYMBOL, 5))["bids"][0][0] * 0.99
    await order(venue, "shock", symbol=BTC, factor=0.95, on={"method": "POST", "path": ".*/algoOrder"})
    await order(venue, "wallet", amount="9990", reason="DEPOSIT")
    await exchange.create_order(SYMBOL, "market", "buy", 0.05)
    with pytest.raises(ccxt.BaseError, match="-2021"):
        await exchange.create_order(SYMBOL, "market", "sell", 0.05, params={"stopLossPrice": round(low, 1)})


async def test_other_hands_on_the_account(venue: Served, exchange: Any) -> None:
    async with await user_socket(venue, exchange) as socket:
        await order(venue, "foreign_order", symbol=BTC, side="SELL", quantity="0.03")
        await order(venue, "position", symbol=ETH, quantity="1.5")
        await order(venue, "position", symbol=ETH, quantity="2.5", tell=False)
        events = [json.loads(one) for one in await drain(socket)]
    assert {one["o"]["c"] for one in events if one["e"] == "ORDER_TRADE_UPDATE"} == {"web_manual"}
    adjusted = [one["a"] for one in events if one["e"] == "ACCOUNT_UPDATE" and one["a"]["m"] == "ADJUSTMENT"]
    assert [line["pa"] for one in adjusted for line in one["P"]] == ["1.5"]
    held = {
        row["symbol"]: row["contracts"] * (1 if row["side"] == "long" else -1)
        for row in await exchange.fetch_positions()
    }
    assert held == {SYMBOL: -0.03, ccxt_symbol(ETH): 2.5}


async def test_a_stop_is_set_off_and_refused_where_nothing_is_left(venue: Served, exchange: Any) -> None:
    await exchange.create_order(SYMBOL, "market", "buy", 0.02)
    low = round((await exchange.fetch_order_book(SYMBOL, 5))["bids"][0][0] * 0.9, 1)
    params = {"stopLossPrice": low, "reduceOnly": True}
    await exchange.create_order(SYMBOL, "market", "sell", 0.02, params={**params, "clientOrderId": "one"})
    await exchange.create_order(SYMBOL, "market", "sell", 0.02, params={**params, "clientOrderId": "two"})
    async with await user_socket(venue, exchange) as socket:
        await order(venue, "trigger", client_id="one")
        assert await exchange.fetch_positions([SYMBOL]) == []
        await order(venue, "trigger", client_id="two")
        events = [json.loads(one) for one in await drain(socket)]
    reject = next(one for one in events if one["e"] == "CONDITIONAL_ORDER_TRIGGER_REJECT")
    assert (reject["or"]["s"], reject["or"]["r"]) == (BTC, "ReduceOnly reject")


async def test_silence_cancels_what_rests(venue: Served, exchange: Any) -> None:
    await rest(exchange)
    await exchange.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 60_000})
    assert len(await exchange.fetch_open_orders(SYMBOL)) == 1
    await exchange.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 50})

    async def gone() -> bool:
        return not await exchange.fetch_open_orders(SYMBOL)

    await eventually(gone, what="the countdown cancelled")
