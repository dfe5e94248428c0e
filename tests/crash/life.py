"""One life of a trader in a process of its own, until it dies at a chosen step.

The desk, the guard, the broker, the user stream and the trader's own loop are the real ones, over real sockets; only the
market streams and the history, which no booking depends on, are replaced by asking the venue for prices. Steps are counted
where the ledger commits, or where an answer about an order has come and is not booked yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from loguru import logger
from pydantic import SecretStr
from sqlalchemy.engine import Connection, Engine

from hydra_core.broker.binance import BinanceGateway
from hydra_core.home import Home
from hydra_core.lake.spool import Spool
from hydra_core.ledger import engine as database
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.venue_clock import follow_clock, keep_following
from hydra_core.settings import Settings
from hydra_core.trader import service
from hydra_core.trader.lock import trader_lock
from hydra_core.trader.view import MarketView
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET

from ..scenarios.trading import BTC, ETH, LIVE, read_market

PAIRS = (BTC, ETH)
COMMIT, ANSWER = "commit", "answer"
LIVE_HERE = LIVE.model_copy(update={"reconcile_s": 1.0, "timeout_s": 2.5, "probe_window_s": 1.0, "stop_grace_s": 30.0})
PRICES_S = 0.25


@dataclass(frozen=True)
class Life:
    """What a life is told.

    Parameters
    ----------
    folder : str, of the session: ledger, home and log lie in it
    url : str, of the venue
    dies_at : int, the step after which the process is killed; 0: never
    counts : str, which steps are counted, :data:`COMMIT` or :data:`ANSWER`
    """

    folder: str
    url: str
    dies_at: int = 0
    counts: str = COMMIT

    def words(self) -> list[str]:
        """The life as arguments of a command line."""
        return [self.folder, self.url, str(self.dies_at), self.counts]

    @classmethod
    def of(cls, words: list[str]) -> Life:
        """A life from arguments of a command line."""
        folder, url, dies_at, counts = words
        return cls(folder, url, int(dies_at), counts)

    @property
    def database_url(self) -> str:
        """The ledger."""
        return f"sqlite:///{self.folder}/ledger.db"

    def home(self) -> Home:
        """The market home."""
        return Home(Path(self.folder), "home").create()

    def settings(self) -> Settings:
        """Settings of a trader at the venue, with its key."""
        base = Settings(pairs=PAIRS, data_root=Path(self.folder), market="home", venue_url=self.url)
        return base.model_copy(
            update={
                "exchange_key": SecretStr(LOCAL_KEY), "exchange_secret": SecretStr(LOCAL_SECRET), "live": LIVE_HERE,
                "database_url": self.database_url,
            }
        )  # fmt: skip


def run_life(life: Life) -> None:
    """Live until killed, or told to end."""
    logger.remove()
    logger.add(f"{life.folder}/trader.log", format="{time:HH:mm:ss.SSS} {process} {level} {message}")
    logger.info("begins; dies at {} {}", life.counts, life.dies_at or "never")
    die_at(life.counts, life.dies_at)
    asyncio.run(trade(life))


def die_at(counts: str, step: int) -> None:
    """Have this process killed right after so many commits, or right after so many answers about orders."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == step:
            logger.info("dies")
            os.kill(os.getpid(), signal.SIGKILL)

    if counts == COMMIT:
        database.writing = _counted(database.writing, count)
    else:
        ask = BinanceGateway._order

        async def order(self: BinanceGateway, *words: Any, **more: Any) -> Any:
            answer = await ask(self, *words, **more)
            count()
            return answer

        BinanceGateway._order = order  # type: ignore[method-assign]


def _counted(inner: Callable[[Engine], Any], count: Callable[[], None]) -> Callable[[Engine], Any]:
    @contextlib.contextmanager
    def writing(engine: Engine) -> Iterator[Connection]:
        with inner(engine) as connection:
            yield connection
        count()

    return writing


async def trade(life: Life) -> None:
    """The trader's work, with prices by request."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    service.HEARTBEAT_S = 0.25  # type: ignore[misc]
    home, settings, endpoint = life.home(), life.settings(), Endpoint(base_url=life.url)
    clock = await asyncio.to_thread(follow_clock, life.url)
    trader = service.Trader(home, settings, endpoint)
    trader._clock = clock
    feeds: Any = SimpleNamespace(settled={}, health={"prices": True})
    with trader_lock(home.run), Ledger.open(life.database_url) as ledger, Spool(home.spool) as spool:
        async with ExchangeClient(endpoint, clock=clock, limits=home.limits) as client, asyncio.TaskGroup() as tasks:
            rules = {pair: rule for pair, rule in (await client.rules()).items() if pair in PAIRS}
            view = MarketView(PAIRS)
            running = [
                tasks.create_task(prices(life.url, clock, view)),
                tasks.create_task(keep_following(clock, life.url, 0.25)),
                tasks.create_task(trader._work(ledger, view, feeds, rules, spool)),
            ]
            await stop.wait()
            for task in running:
                task.cancel()


async def prices(url: str, clock: Any, view: MarketView) -> None:
    """Keep the view fresh."""
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, KeyError):
                await read_market(session, url, clock, view, PAIRS)
            await asyncio.sleep(PRICES_S)


if __name__ == "__main__":
    run_life(Life.of(sys.argv[1:]))
