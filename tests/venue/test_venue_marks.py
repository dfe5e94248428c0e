"""Candles of mark, index and premium agree with the readings that the venue tells at the same moments."""

from __future__ import annotations

from typing import Any

import pytest
from venue_harness import Served

from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.domain.pairs import Pair, ccxt_symbol

BTC = Pair("BTCUSDT")


async def test_the_last_close_is_the_mark_of_now(venue: Served, exchange: Any) -> None:
    await venue.control("POST", "clock", {"advance_ms": 90_000})
    [told] = [row for row in await venue.raw("/fapi/v1/premiumIndex") if row["symbol"] == BTC]
    for kind, name in (("markPriceKlines", "markPrice"), ("indexPriceKlines", "indexPrice")):
        word = "pair" if kind.startswith("index") else "symbol"
        rows = await venue.raw(f"/fapi/v1/{kind}", interval="5m", limit=3, **{word: BTC})
        assert len(rows) == 3
        assert rows[-1][4] == told[name]
        assert all(float(row[3]) <= min(float(row[1]), float(row[4])) for row in rows)
        assert all(float(row[2]) >= max(float(row[1]), float(row[4])) for row in rows)
    premium = await venue.raw("/fapi/v1/premiumIndexKlines", interval="5m", limit=1, symbol=BTC)
    assert premium[-1][4] == told["lastFundingRate"]


async def test_a_span_is_answered_from_its_start_without_holes(venue: Served, exchange: Any) -> None:
    start = venue.market.start_ms - 3 * 3_600_000
    candles = await exchange.fetch_ohlcv(ccxt_symbol(BTC), "1m", start, 120, {"price": "mark"})
    assert [row[0] for row in candles] == [start + place * MINUTE_MS for place in range(120)]
    for opened in (start, start + 77 * MINUTE_MS):
        close = venue.market.mark(BTC, opened + MINUTE_MS - 1).mark
        assert candles[(opened - start) // MINUTE_MS][4] == pytest.approx(close, abs=0.06)
    whole = await venue.raw("/fapi/v1/markPriceKlines", symbol=BTC, interval="1h", startTime=start, limit=1500)
    assert len(whole) == 4
    assert whole[-1][0] == venue.market.start_ms
