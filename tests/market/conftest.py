from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from exchange_double import ScriptedExchange

from hydra_core.domain.intervals import DAY_MS
from hydra_core.market.endpoint import Endpoint
from hydra_core.simulation import Market, SyntheticMarket
from hydra_core.venue import VenueConfig, serve


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedExchange]:
    exchange = ScriptedExchange()
    await exchange.start()
    yield exchange
    await exchange.stop()


@dataclass
class LocalVenue:
    """The real venue on an ephemeral port, and the market behind it."""

    market: Market
    url: str
    now_ms: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(base_url=self.url)


class _Host:
    """Runs a venue in a thread with a loop of its own, so that blocking clients can be tested too."""

    def __init__(self, config: VenueConfig) -> None:
        self._config = config
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self.port = 0

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def ready(host: str, port: int) -> None:
            self.port = port
            self._listening.set()

        await serve(self._config, stop=self._stop, ready=ready)

    def start(self) -> str:
        self._thread.start()
        assert self._listening.wait(60), "the venue did not start"
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the venue did not stop"


Serve = Callable[[Market, Path, int], LocalVenue]


@pytest.fixture(scope="session")
def serve_market() -> Iterator[Serve]:
    """Serve any market, its clock held at a time; everything served is stopped at the end."""
    hosts: list[_Host] = []

    def start(market: Market, folder: Path, now_ms: int) -> LocalVenue:
        host = _Host(VenueConfig(market, "127.0.0.1", 0, folder, held=True, start_ms=now_ms))
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
