"""Public REST as unmodified ccxt reads it, held against the market itself."""

from __future__ import annotations

from typing import Any

import ccxt
import numpy as np
import pytest
from venue_harness import Served, served

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair, ccxt_symbol

BTC = Pair("BTCUSDT")
SYMBOL = ccxt_symbol(BTC)


async def test_markets_carry_the_filters(venue: Served, exchange: Any) -> None:
    assert {exchange.market(ccxt_symbol(pair))["id"] for pair in DEFAULT_PAIRS} == set(DEFAULT_PAIRS)
    for pair in DEFAULT_PAIRS:
        rules, market = venue.market.rules(pair), exchange.market(ccxt_symbol(pair))
        assert market["swap"]
        assert market["active"]
        assert market["precision"] == pytest.approx(
            {**market["precision"], "price": float(rules.tick_size), "amount": float(rules.step_size)}
        )
        assert market["limits"]["cost"]["min"] == float(rules.min_notional)
        assert market["limits"]["amount"]["min"] == float(rules.min_quantity)


@pytest.mark.parametrize("interval", list(Interval))
async def test_candles_are_the_markets_and_end_in_progress(venue: Served, exchange: Any, interval: Interval) -> None:
    now = await venue.now_ms()
    rows = await exchange.fetch_ohlcv(SYMBOL, str(interval), limit=10)
    assert [row[0] for row in rows] == [interval.floor(now) - k * interval.ms for k in reversed(range(10))][
        -len(rows) :
    ]
    closed = venue.market.candles(BTC, interval, rows[0][0], interval.floor(now))
    expected = np.column_stack([getattr(closed, n) for n in ("ts", "open", "high", "low", "close", "volume")])
    np.testing.assert_allclose(np.array(rows[:-1]), expected, rtol=1e-9)
    running = venue.market.running(BTC, interval, now)
    assert running is not None
    assert rows[-1][1:5] == [running.open[0], running.high[0], running.low[0], running.close[0]]


async def test_history_is_paged_without_holes_from_before_the_first_candle(venue: Served, exchange: Any) -> None:
    now = await venue.now_ms()
    rows: list[list[float]] = []
    since = venue.market.origin_ms - 3 * DAY_MS
    while since < now:
        page = await exchange.fetch_ohlcv(SYMBOL, "5m", since=since, limit=1000)
        assert page
        rows += page
        since = page[-1][0] + 1
    stamps = [row[0] for row in rows]
    assert stamps == list(range(venue.market.origin_ms, now + 1, Interval.M5.ms))


async def test_ccxt_paginates_by_itself(venue: Served, exchange: Any) -> None:
    rows = await exchange.fetch_ohlcv(
        SYMBOL, "1m", since=venue.market.start_ms - 2 * DAY_MS, limit=2_000, params={"paginate": True}
    )
    assert np.diff([row[0] for row in rows]).tolist() == [60_000] * (len(rows) - 1)
    assert len(rows) >= 2_000


async def test_nothing_beyond_now(venue: Served, exchange: Any) -> None:
    now = await venue.now_ms()
    late = now + DAY_MS
    assert await exchange.fetch_ohlcv(SYMBOL, "1m", since=now + 60_000, limit=5) == []
    window = await venue.raw("/fapi/v1/klines", symbol=BTC, interval="1h", startTime=now - 5 * HOUR_MS, endTime=late)
    assert window[-1][0] <= now
    assert all(r["timestamp"] <= now for r in await exchange.fetch_funding_rate_history(SYMBOL, limit=1000))
    for path in ("openInterestHist", "globalLongShortAccountRatio"):
        rows = await venue.raw(f"/futures/data/{path}", symbol=BTC, period="5m", limit=500, endTime=late)
        assert rows[-1]["timestamp"] <= now
    trades = await exchange.fetch_trades(SYMBOL, limit=1000)
    assert max(trade["timestamp"] for trade in trades) <= now


async def test_funding_history_and_premium(venue: Served, exchange: Any) -> None:
    now, since = await venue.now_ms(), venue.market.origin_ms
    rows = await exchange.fetch_funding_rate_history(SYMBOL, since=1, limit=1000)
    truth = venue.market.funding(BTC, since, now + 1)
    assert [row["timestamp"] for row in rows] == truth.ts.tolist()
    np.testing.assert_allclose([row["fundingRate"] for row in rows], truth.value, atol=5e-9)
    mark = venue.market.mark(BTC, now)
    rate = await exchange.fetch_funding_rate(SYMBOL)
    assert rate["markPrice"] == pytest.approx(mark.mark, rel=1e-4)
    assert rate["fundingTimestamp"] == mark.next_funding_ms
    assert rate["fundingRate"] == pytest.approx(mark.funding_rate, abs=1e-8)
    assert set(await exchange.fetch_funding_rates()) == {ccxt_symbol(pair) for pair in DEFAULT_PAIRS}


async def test_open_interest_and_ratio(venue: Served, exchange: Any) -> None:
    now = await venue.now_ms()
    since = now - 10 * DAY_MS
    held = await exchange.fetch_open_interest_history(SYMBOL, "5m", since=since, limit=500)
    truth = venue.market.open_interest(BTC, since, since + 500 * Interval.M5.ms)
    assert [row["timestamp"] for row in held] == truth.ts.tolist()
    np.testing.assert_allclose([row["openInterestAmount"] for row in held], truth.value, rtol=1e-6)
    prices = venue.market.candles(BTC, Interval.M5, since, since + 500 * Interval.M5.ms).open
    np.testing.assert_allclose([row["openInterestValue"] for row in held], truth.value * prices, rtol=1e-6)
    ratio = await exchange.fetch_long_short_ratio_history(SYMBOL, "1h", since=since, limit=100)
    stamped = venue.market.long_short(BTC, since, since + 100 * HOUR_MS)
    hourly = stamped.ts % HOUR_MS == 0
    assert [row["timestamp"] for row in ratio] == stamped.ts[hourly].tolist()
    np.testing.assert_allclose([row["longShortRatio"] for row in ratio], stamped.value[hourly], rtol=1e-12)
    first = await venue.raw("/futures/data/openInterestHist", symbol=BTC, period="5m", startTime=1, limit=3)
    assert first[0]["timestamp"] == venue.market.open_interest(BTC, 0, now).ts[0]
    latest = await exchange.fetch_open_interest(SYMBOL)
    assert now - Interval.M5.ms <= latest["timestamp"] <= now


async def test_book_and_trades(venue: Served, exchange: Any) -> None:
    now = await venue.now_ms()
    book, quote = await exchange.fetch_order_book(SYMBOL, limit=20), venue.market.quote(BTC, now)
    assert (book["bids"][0][0], book["asks"][0][0]) == (quote.bid, quote.ask)
    assert [row[0] for row in book["bids"]] == sorted((row[0] for row in book["bids"]), reverse=True)
    assert len(book["bids"]) == len(book["asks"]) == 20
    since = now - 10 * 60_000
    trades = await exchange.fetch_trades(SYMBOL, since=since, limit=1000)
    candles = venue.market.candles(BTC, Interval.M1, since, now)
    traded = np.array([[trade["timestamp"], trade["amount"]] for trade in trades])
    minute = traded[(traded[:, 0] >= candles.ts[3]) & (traded[:, 0] < candles.ts[4])]
    assert minute[:, 1].sum() == pytest.approx(candles.volume[3], rel=0.02)
    ids = [int(trade["id"]) for trade in trades]
    assert ids == sorted(set(ids))


async def test_weight_is_counted_and_refused_beyond_the_limit(tmp_path: Any) -> None:
    async with served(tmp_path / "tight", weight_limit=60) as venue:
        exchange = await venue.exchange()
        await exchange.fetch_ohlcv(SYMBOL, "1m", limit=1000)
        assert int(exchange.last_response_headers["X-MBX-USED-WEIGHT-1M"]) >= 6

        async def call_on(refused: str) -> None:
            """Call until an answer carries the status."""
            for _ in range(400):
                try:
                    await exchange.fetch_time()
                except ccxt.DDoSProtection as refusal:
                    if refused in str(refusal):
                        raise

        with pytest.raises(ccxt.DDoSProtection, match="429"):
            await call_on("429")
        assert int(exchange.last_response_headers["Retry-After"]) >= 1
        with pytest.raises(ccxt.DDoSProtection, match="418"):
            await call_on("418")


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("/fapi/v1/klines", {"symbol": "NOUSDT", "interval": "1m"}, -1121),
        ("/fapi/v1/klines", {"interval": "1m"}, -1102),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "x"}, -1130),
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "1m"}, -1130),
    ],
)
async def test_refusals_carry_the_exchanges_codes(venue: Served, path: str, params: dict[str, str], code: int) -> None:
    assert (await venue.raw(path, **params))["code"] == code


async def test_unknown_paths_are_404_and_logged(venue: Served) -> None:
    async with venue.session.get(venue.base + "/fapi/v1/nothing") as answer:
        assert answer.status == 404
    assert (await venue.control("GET", "status"))["unknown"] == ["GET /fapi/v1/nothing"]
