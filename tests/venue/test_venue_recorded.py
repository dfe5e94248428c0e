"""A recorded market on the venue: what was recorded is served, what was not is absent."""

from __future__ import annotations

from pathlib import Path

import ccxt
import numpy as np
import polars as pl
import pytest
from venue_harness import eventually, served, synthetic

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.simulation import open_market

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
SYMBOL = ccxt_symbol(BTC)
COLUMNS = ("ts", "open", "high", "low", "close", "volume")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten days of 5m candles and funding of two pairs, in the recorded layout."""
    source, root = synthetic(), tmp_path / "recorded"
    for pair in (BTC, ETH):
        bars = source.candles(pair, Interval.M5, source.origin_ms, source.origin_ms + 10 * DAY_MS)
        path = root / "candles" / "5m" / f"{pair}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({name: getattr(bars, name) for name in COLUMNS}).write_parquet(path)
        settled = source.funding(pair, source.origin_ms, source.origin_ms + 10 * DAY_MS)
        path = root / "funding" / f"{pair}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"ts": settled.ts, "rate": settled.value}).write_parquet(path)
    return root


async def test_recorded_history_is_served_and_the_rest_is_absent(folder: Path, tmp_path: Path) -> None:
    market = open_market("recorded", folder)
    async with served(tmp_path / "state", market) as venue:
        exchange = await venue.exchange()
        assert set(exchange.symbols) == {SYMBOL, ccxt_symbol(ETH)}
        for interval in (Interval.M5, Interval.H1):
            rows = await exchange.fetch_ohlcv(SYMBOL, str(interval), since=market.origin_ms, limit=100)
            truth = market.candles(BTC, interval, market.origin_ms, market.origin_ms + 100 * interval.ms)
            np.testing.assert_allclose([row[4] for row in rows], truth.close)
        with pytest.raises(ccxt.BadRequest, match="-1120"):
            await exchange.fetch_ohlcv(SYMBOL, "1m")
        assert len(await exchange.fetch_funding_rate_history(SYMBOL, limit=20)) == 20
        [oldest] = await venue.raw("/fapi/v1/fundingRate", symbol=BTC, startTime=1, limit=1)
        assert (
            float(oldest["markPrice"]) == market.candles(BTC, Interval.H1, oldest["fundingTime"], market.end_ms).open[0]
        )
        assert await exchange.fetch_open_interest_history(SYMBOL, "5m") == []
        assert await exchange.fetch_long_short_ratio_history(SYMBOL, "5m") == []
        assert await exchange.fetch_ohlcv(SYMBOL, "5m", params={"price": "mark"}) == []
        with pytest.raises(ccxt.BaseError, match="-1099"):
            await exchange.fetch_open_interest(SYMBOL)


async def test_recorded_market_runs_into_maintenance_with_the_account_settled(folder: Path, tmp_path: Path) -> None:
    market = open_market("recorded", folder)
    assert market.end_ms is not None
    async with served(tmp_path / "state", market, start_ms=market.end_ms - 9 * HOUR_MS) as venue:
        exchange = await venue.exchange()
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        await venue.control("POST", "clock", {"speed": 60_000, "held": False})

        async def ended() -> bool:
            return bool((await venue.control("GET", "status"))["ended"])

        await eventually(ended)
        with pytest.raises(ccxt.OnMaintenance):
            await exchange.fetch_balance()
        status = await venue.control("GET", "status")
    assert status["positions"] == 1
    settled = market.funding(BTC, market.end_ms - 9 * HOUR_MS + 1, market.end_ms)
    assert len(settled) == 1
    fee = 0.01 * market.quote(BTC, market.end_ms - 9 * HOUR_MS).ask * 0.0005
    paid = 0.01 * market.mark(BTC, int(settled.ts[0])).mark * float(settled.value[0])
    assert float(status["wallet"]) == pytest.approx(10_000 - fee - paid, abs=1e-4)
