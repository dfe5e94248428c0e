"""What a scenario plays on: a real venue on a free loopback port, its control plane, a seeded generator and a folder.

Clients are the scenario's own to open (``rig.endpoint``, ``rig.credentials`` and ``rig.clock`` are what they need).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from hydra_core.domain.clock import AnchoredClock, ClockAnchor
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.simulation.base import Market
from hydra_core.simulation.synthetic import SyntheticMarket
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET, VenueConfig, serve

MARKET_SEEDS = (7, 11, 23)
DAYS = 12
_MARKETS: dict[int, SyntheticMarket] = {}


def market_of(seed: int) -> SyntheticMarket:
    """One of a few synthetic markets: they are pure functions, and making their days costs time."""
    market_seed = MARKET_SEEDS[seed % len(MARKET_SEEDS)]
    if market_seed not in _MARKETS:
        _MARKETS[market_seed] = SyntheticMarket(market_seed, 0.3, DAYS)
    return _MARKETS[market_seed]


async def eventually(check: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """The first truthy answer of a check (plain or async), polled; fails with ``what`` when there is none in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer, pause = check(), 0.005
        if inspect.isawaitable(answer):
            answer, pause = await answer, 0.02  # it asked the venue, which costs more than a look
        if answer:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or inspect.getsource(check).strip()}")
        await asyncio.sleep(pause)


class Rig:
    """A venue for one run of one scenario; use it as an async context manager.

    Parameters
    ----------
    seed : int
        Chooses the market, the venue's own choices and ``rng``.
    folder : Path, optional
        Where the run keeps its files; a temporary one by default.
    options
        Fields of VenueConfig that differ from a held venue with 10 000 USDT, the wire log on.

    Attributes
    ----------
    url : str, the venue's address
    clock : AnchoredClock, the venue's market time, right after every call of this class
    market : Market, what the venue trades: a pure function of time, to know what will happen
    rng : random.Random of the seed
    """

    def __init__(self, seed: int, folder: Path | None = None, **options: Any) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.market: Market = options.pop("market", None) or market_of(seed)
        self._options = options
        self._stack = contextlib.AsyncExitStack()
        self.folder = folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rig-")))
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    # -- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Rig:
        await self.start()
        self.session = await self._stack.enter_async_context(aiohttp.ClientSession())
        await self.log_wire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await self.stop()

    async def start(self) -> None:
        """Start the venue (again: on the port and the state that it had)."""
        settings: dict[str, Any] = {
            "held": True, "start_ms": self.market.start_ms, "balance": Decimal(10_000), "seed": self.seed, **self._options,
        }  # fmt: skip
        state = self.folder / "venue"
        config = VenueConfig(market=self.market, host="127.0.0.1", port=self.port, state_dir=state, **settings)
        self._stop = asyncio.Event()
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(
            serve(config, stop=self._stop, ready=lambda _, number: port.set_result(number))
        )
        await asyncio.wait({self._serving, port}, return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            await self._serving
        self.port = port.result()
        start = self.market.start_ms
        self.clock = AnchoredClock(ClockAnchor(start, 0, 1.0, True))

    async def stop(self) -> None:
        """Stop the venue; its sockets close, its state stays."""
        if self._serving is not None:
            self._stop.set()
            await self._serving
            self._serving = None

    @property
    def venue(self) -> Rig:
        """The venue's handle: this very object."""
        return self

    @property
    def url(self) -> str:
        """Where the venue answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        """What HYDRA's clients are opened with."""
        return Endpoint(base_url=self.url)

    @property
    def credentials(self) -> Credentials:
        """The venue's one account."""
        return Credentials(LOCAL_KEY, LOCAL_SECRET)

    # -- control plane ---------------------------------------------------------------------------------------------

    async def control(
        self, verb: str, place: str, body: dict[str, Any] | None = None, /, **query: Any
    ) -> dict[str, Any]:
        """A request to the control plane; fails on anything but 200."""
        url = f"{self.url}/_venue/{place}"
        async with self.session.request(verb, url, json=body, params=query) as answer:
            assert answer.status == 200, f"{verb} {place} {body}: {answer.status} {await answer.text()}"
            told: dict[str, Any] = await answer.json()
        if "market_ms" in told:
            self.clock.set_anchor(ClockAnchor(told["market_ms"], told["wall_ms"], told["speed"], told["held"]))
        return told

    async def fault(self, kind: str, **fields: Any) -> int:
        """Order a fault (see docs/venue.md); returns its number."""
        return int((await self.control("POST", "faults", {"kind": kind, **fields}))["id"])

    async def clear(self, number: int | None = None) -> None:
        """Withdraw one fault, or all: what it still would have done does not happen."""
        await self.control("DELETE", "faults", **({} if number is None else {"id": number}))

    async def struck(self) -> list[dict[str, Any]]:
        """What the faults have done so far."""
        rows: list[dict[str, Any]] = (await self.control("GET", "faults"))["struck"]
        return rows

    async def advance(self, ms: int) -> int:
        """Move the held market clock on; returns market time. Everything up to then has happened and is on its way."""
        return int((await self.control("POST", "clock", {"advance_ms": ms}))["market_ms"])

    async def run(self, speed: float = 1.0) -> None:
        """Let market time run."""
        await self.control("POST", "clock", {"speed": speed, "held": False})

    async def hold(self) -> int:
        """Hold market time; returns it."""
        return int((await self.control("POST", "clock", {"held": True}))["market_ms"])

    async def now_ms(self) -> int:
        """Market time."""
        return int((await self.control("GET", "clock"))["market_ms"])

    async def status(self) -> dict[str, Any]:
        """The venue's word on itself."""
        return await self.control("GET", "status")

    async def log_wire(self, **fields: Any) -> None:
        """Start the wire log anew."""
        await self.control("POST", "wire", {"on": True, **fields})

    async def wire_log(self, **wanted: Any) -> list[dict[str, Any]]:
        """Rows of the wire log; ``wanted`` filters: channel, method, path, stream (regular expressions), since (a number)."""
        rows: list[dict[str, Any]] = (await self.control("GET", "wire", **wanted))["rows"]
        return rows

    async def requests(self, path: str = ".*", method: str = ".*", since: int = 0) -> list[dict[str, Any]]:
        """REST requests that reached the venue, in order."""
        return await self.wire_log(channel="rest", path=path, method=method, since=since)
