"""Candles of mark, index and premium agree with the readings that the venue tells at the same moments."""

from __future__ import annotations

from typing import Any

import pytest
from venue_harness import Served

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.domain.series import Bars
from hydra_core.simulation import SyntheticMarket
from hydra_core.venue.mark_candles import MarkCandles, Which
from hydra_core.venue.overlay import FundingChange, Overlay, Shock

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


def test_every_candle_is_made_of_the_readings_told_inside_it_and_kept_days_follow_a_shock() -> None:
    """Held against the venue's own readings; a shock changes days that are kept too, other settlement times change none."""
    overlay = Overlay(SyntheticMarket(3, 0.3))
    candles, start, until = MarkCandles(overlay), overlay.origin_ms, overlay.origin_ms + 2 * DAY_MS + 3 * HOUR_MS + 777

    def told(which: Which, interval: Interval) -> Bars:
        return candles.candles(BTC, interval, which, start + HOUR_MS, until, until)

    for _ in range(2):
        for which, read in (
            (Which.MARK, lambda at: overlay.mark(BTC, at).mark),
            (Which.INDEX, lambda at: overlay.mark(BTC, at).index),
            (Which.PREMIUM, lambda at: overlay.mark(BTC, at).mark / overlay.mark(BTC, at).index - 1),
        ):
            bars = told(which, Interval.M5)
            assert bars.ts.tolist() == list(range(start + HOUR_MS, until, Interval.M5.ms))
            for row in (0, 300, len(bars) - 2):
                stamps = overlay.path(BTC, int(bars.ts[row]), int(bars.ts[row]) + Interval.M5.ms).ts
                values = [read(int(at)) for at in stamps]
                found = (bars.open[row], bars.high[row], bars.low[row], bars.close[row])
                assert found == pytest.approx((values[0], max(values), min(values), values[-1]), rel=1e-12, abs=1e-14)
            hours = told(which, Interval.H1)
            assert hours.high[1] == bars.high[12:24].max()
        overlay.shocks.append(Shock(BTC, start + DAY_MS, 1.5))
        overlay.funding_changes.append(FundingChange(BTC, start + DAY_MS, 2, 0))


async def test_an_end_inside_a_candle_cuts_nothing_off_it(venue: Served) -> None:
    start = venue.market.start_ms - 3 * HOUR_MS
    asked = {"symbol": BTC, "interval": "1h", "startTime": start}
    [cut] = await venue.raw("/fapi/v1/markPriceKlines", endTime=start + 60_000, **asked)
    assert cut == (await venue.raw("/fapi/v1/markPriceKlines", limit=1, **asked))[0]
    days = await venue.raw("/fapi/v1/markPriceKlines", symbol=BTC, interval="1d", limit=500)
    assert days[-1][0] == venue.market.start_ms - venue.market.start_ms % DAY_MS
