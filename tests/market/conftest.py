from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from exchange_double import ScriptedExchange
from served_venue import Host, LocalVenue, Serve

from hydra_core.domain.intervals import DAY_MS
from hydra_core.simulation import Market, SyntheticMarket
from hydra_core.venue import VenueConfig


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedExchange]:
    exchange = ScriptedExchange()
    await exchange.start()
    yield exchange
    await exchange.stop()


@pytest.fixture(scope="session")
def serve_market() -> Iterator[Serve]:
    """Serve any market, its clock held at a time; everything served is stopped at the end."""
    hosts: list[Host] = []

    def start(market: Market, folder: Path, now_ms: int) -> LocalVenue:
        host = Host(VenueConfig(market, "127.0.0.1", 0, folder, held=True, start_ms=now_ms))
        hosts.append(host)
        return LocalVenue(market, host.start(), now_ms)

    yield start
    for host in hosts:
        host.stop()


@pytest.fixture(scope="session")
def venue(serve_market: Serve, tmp_path_factory: pytest.TempPathFactory) -> LocalVenue:
    """A synthetic market 34 days after its origin: one whole month and a part of the next; its clock stands still."""
    market = SyntheticMarket(7, 0.3)
    return serve_market(market, tmp_path_factory.mktemp("venue"), market.origin_ms + 34 * DAY_MS + 12_345)


@pytest.fixture
def running_venue(serve_market: Serve, tmp_path: Path) -> LocalVenue:
    """A venue of its own, for a test that lets time run; starts held, a week after its market's origin."""
    market = SyntheticMarket(7, 0.3)
    return serve_market(market, tmp_path / "venue", market.origin_ms + 7 * DAY_MS)
