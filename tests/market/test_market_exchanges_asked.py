"""Every exchange asked through the same client and unmodified ccxt, on loopback, by its own addresses and parameters."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from exchange_messages import PAGES, PRESENT, Page, Present
from exchange_servers import DocumentedExchange

from hydra_core.domain.errors import UsageError, VenueError, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.market import LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import Pair
from hydra_core.domain.settlements import settled_at
from hydra_core.domain.tables import candle_table, reference_table
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges import EXCHANGES, Capability, Price, UnsupportedCapability
from hydra_core.market.rest import ExchangeClient

BTC = Pair("BTCUSDT")
LATER = 2_000_000_000_000


@pytest.fixture(params=EXCHANGES)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[DocumentedExchange]:
    exchange = DocumentedExchange(request.param)
    await exchange.start()
    yield exchange
    await exchange.stop()


def client(server: DocumentedExchange, **options: int) -> ExchangeClient:
    return ExchangeClient(Endpoint(server.exchange, server.url), **options)


def pages(exchange: str, *what: str) -> list[Page]:
    return [page for page in PAGES if page.exchange == exchange and page.what in what]


async def test_candles_come_as_documented(server: DocumentedExchange) -> None:
    for page in pages(server.exchange, "candles"):
        table = candle_table(Interval.H1) if page.price is Price.TRADED else reference_table(page.price, Interval.M5)
        first, last = min(page.expected["ts"]), max(page.expected["ts"])
        async with client(server) as exchange:
            frame = await exchange.bars(table, BTC, int(first), int(last) + 1, LATER)
        assert frame["ts"].dt.epoch("ms").to_list() == page.expected["ts"]
        for column in frame.columns[1:]:
            assert frame[column].to_list() == page.expected[column], column


async def test_funding_comes_as_settled(server: DocumentedExchange) -> None:
    (page,) = pages(server.exchange, "funding")
    at = int(page.expected["ts"][0])
    async with client(server) as exchange:
        frame = await exchange.funding(BTC, at - HOUR_MS, at + HOUR_MS, LATER)
    assert frame["ts"].dt.epoch("ms").to_list() == settled_at(np.array([at])).tolist()
    assert frame["rate"].to_list() == page.expected["rate"]
    assert frame["interval_hours"].to_list() == [8.0], "one settlement alone says nothing of its interval: the usual"


async def test_readings_come_as_documented_or_as_an_error(server: DocumentedExchange) -> None:
    for table, capability in (
        (OPEN_INTEREST, Capability.OPEN_INTEREST_HISTORY),
        (LONG_SHORT, Capability.LONG_SHORT_HISTORY),
    ):
        known = pages(server.exchange, table)
        async with client(server) as exchange:
            assert exchange.has(table)
            if not known:
                with pytest.raises(UnsupportedCapability, match=capability):
                    await exchange.history(table, BTC, 0, DAY_MS, LATER)
                assert not exchange.has(table)
                continue
            first, last = min(known[0].expected["ts"]), max(known[0].expected["ts"])
            frame = await exchange.history(table, BTC, int(first), int(last) + 1, LATER)
        assert frame["ts"].dt.epoch("ms").to_list() == known[0].expected["ts"]
        for column in frame.columns[1:]:
            if column in known[0].expected:
                assert frame[column].to_list() == known[0].expected[column]
            else:
                assert all(math.isnan(value) for value in frame[column].to_list()), "what is not said is NaN"


async def test_the_present_comes_as_documented(server: DocumentedExchange) -> None:
    now: Present = next(each for each in PRESENT if each.exchange == server.exchange)
    async with client(server) as exchange:
        reading = await exchange.present(now.pair)
    assert {name: getattr(reading, name) for name in now.expected} == now.expected


async def test_all_processes_of_a_home_draw_from_one_budget(server: DocumentedExchange, tmp_path: Path) -> None:
    """What one has drawn weighs on the other, and a 429 that one is told holds both back for as long as it says."""
    now: Present = next(each for each in PRESENT if each.exchange == server.exchange)

    def another(**options: int) -> ExchangeClient:
        return ExchangeClient(Endpoint(server.exchange, server.url), limiter=True, limits=tmp_path, **options)

    async with another(attempts=1) as one, another() as other:
        assert other.budget.status().used == 0
        await one.present(now.pair)
        status = other.budget.status()
        assert 0 < status.used <= status.limit
        server.refuse_with = (429, {"Retry-After": "7"})
        with pytest.raises(VenueError):
            await one.present(now.pair)
        assert 5 < other.budget.wait_s <= 7


async def test_a_pair_that_is_not_in_the_answer_is_an_error(server: DocumentedExchange) -> None:
    async with client(server, attempts=1) as exchange:
        if server.exchange == "binanceusdm":  # its answer is for the one pair that was asked for
            assert (await exchange.present(Pair("NOSUCHUSDT"))).mark
            return
        with pytest.raises(VenueUnavailable, match=r"malformed.*no (row|coin)"):
            await exchange.present(Pair("NOSUCHUSDT"))


async def test_no_address_of_an_exchange_leads_off_this_machine(server: DocumentedExchange) -> None:
    exchange = open_exchange(Endpoint(server.exchange, server.url))
    try:
        host = server.url.removeprefix("http://")
        for url in _urls(exchange.urls["api"]):
            assert url.startswith((f"http://{host}", f"ws://{host}")), url
    finally:
        await exchange.close()


def test_an_unknown_exchange_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="mtgox"):
        ExchangeClient(Endpoint("mtgox"))


def _urls(part: object) -> list[str]:
    if isinstance(part, dict):
        return [url for inner in part.values() for url in _urls(inner)]
    return [str(part)] if part else []
