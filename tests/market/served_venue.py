"""The real venue in a thread of its own, for tests that ask it over sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra_core.market.endpoint import Endpoint
from hydra_core.simulation import Market
from hydra_core.venue import VenueConfig, serve


@dataclass
class LocalVenue:
    """The real venue on an ephemeral port, and the market behind it."""

    market: Market
    url: str
    now_ms: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(base_url=self.url)


class Host:
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
