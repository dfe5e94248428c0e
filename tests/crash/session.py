"""One session of the crash fuzz: a trader that is killed and started again while plans, fills, faults and other hands go on.

A seed decides everything but timing: what is planned, what the venue does, at which step each life ends, whether the
next one is a warm process on the old books, a cold one, or one that has lost its books and opens the account anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from loguru import logger

from hydra_core.broker.gateway import Gateway
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import look, open_live
from hydra_core.domain.trading import Plan, Schedule, Target
from hydra_core.ledger import schema
from hydra_core.ledger.store import Ledger
from hydra_core.market.rest import ExchangeClient
from hydra_core.risk.switches import FOREIGN_PROCESS, LIQUIDATION, MANUAL_FLATTEN

from ..scenarios.rig import Rig, eventually
from ..scenarios.trading import BTC, ETH, agree, empty_ledger, entries, explained, taken_in
from .life import ANSWER, COMMIT, LIVE_HERE, PAIRS, Life, run_life

WARM, COLD, BARE = "warm", "cold", "bare"
"""A forked process, a new interpreter, a forked one on an empty ledger."""
SIZES = {BTC: (0.0, 0.01, 0.03, -0.02, -0.04, 0.05), ETH: (0.0, 0.2, 0.5, -0.3, -0.6)}
ANSWERS = (
    {"kind": "reset"}, {"kind": "reset", "after": True}, {"kind": "hang", "seconds": 3.0},
    {"kind": "hang", "seconds": 3.0, "after": True}, {"kind": "status", "status": 503}, {"kind": "status", "after": True},
    {"kind": "refuse", "code": -1001, "status": 500, "after": True}, {"kind": "malformed"},
)  # fmt: skip
EXPLAINED = {MANUAL_FLATTEN, LIQUIDATION, FOREIGN_PROCESS}
"""Switches that the acts may latch."""
MESSAGES = ("lose", "duplicate", "late")
ORDER_PATHS = "/fapi/v1/(order|algoOrder)"
BEGIN_S, LIFE_S = 120.0, 2.5
"""Longest wait for a life to begin to trade, and how long it is then left to."""
SETTLE_S = 240.0
QUIET_S = 0.6
LIMIT_S = 1800.0

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.crash.life", "ccxt.async_support.binanceusdm", "hydra_core.trader.service"])


@dataclass
class Told:
    """What a session did, for the summary."""

    lives: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    fills: int = 0


class Running:
    """A life in its process."""

    def __init__(self, life: Life, start: str) -> None:
        self._fork: Any = None
        self._new: subprocess.Popen[bytes] | None = None
        if start == COLD:
            self._new = subprocess.Popen([sys.executable, "-m", "tests.crash.life", *life.words()])
        else:
            self._fork = _PROCESSES.Process(target=run_life, args=(life,), daemon=True)
            self._fork.start()

    @property
    def pid(self) -> int:
        return int(self._new.pid if self._new is not None else self._fork.pid)

    @property
    def code(self) -> int | None:
        """How it ended; None while it lives. -9: killed."""
        code: int | None = self._new.poll() if self._new is not None else self._fork.exitcode
        return code

    def kill(self) -> None:
        """End it without warning."""
        (self._new or self._fork).kill()
        if self._new is not None:
            self._new.wait()
        else:
            self._fork.join()


class Session:
    """A venue, the books beside it, and one trader after another."""

    def __init__(self, rig: Rig, gateway: Gateway) -> None:
        self.rig = rig
        self.rng = rig.rng
        self.gateway = gateway
        self.ledger: Ledger
        self.account = ""
        self.told = Told()
        self.planned = 0
        self.known_before: set[str] = set()
        self.foreign = 0

    def life(self, dies_at: int = 0, counts: str = COMMIT) -> Life:
        return Life(str(self.rig.folder), self.rig.url, dies_at, counts)

    async def open_books(self) -> None:
        """A fresh ledger, and the account as the venue holds it."""
        life = self.life()
        file = Path(self.rig.folder) / "ledger.db"
        file.write_bytes(empty_ledger())
        self.ledger = Ledger.open(life.database_url)
        await self.rig.now_ms()
        opening = await look(self.gateway, life.settings())
        self.known_before = {str(row["clientOrderId"]) for row in await taken_in(self.gateway, PAIRS)}
        account = await open_live(self.gateway, self.ledger, PAIRS, opening, self.rig.clock.market_ms())
        self.account = account.name

    async def lose_books(self) -> None:
        """The ledger is gone, and with it every plan."""
        self.ledger.close()
        self.remove_books()
        await self.open_books()

    def remove_books(self) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self.rig.folder}/ledger.db{end}").unlink(missing_ok=True)

    # -- what goes on ----------------------------------------------------------------------------------------------------

    def plan(self) -> None:
        """A plan as a window would book it."""
        self.planned += 1
        now = self.rig.clock.market_ms()
        pairs = self.rng.sample(PAIRS, self.rng.randint(1, 2))
        targets = []
        for pair in pairs:
            size = self.rng.choice(SIZES[pair])
            targets.append(Target(pair, size, None, "fuzz", urgent=self.rng.random() < 0.2))
        slices = self.rng.choice((1, 1, 2, 3))
        made = Plan(
            f"plan-{now:014d}-{self.planned:04d}",
            now,
            tuple(targets),
            Schedule("twap", slices, 300 * (slices - 1)),
            now + self.rng.choice((4_000, 60_000, 600_000)),
        )
        self.ledger.record_plan(made, self.account, "hydra")

    async def act(self) -> None:
        """Something happens: a plan, a fault, another hand."""
        kind = self.rng.choices(
            ("plan", "answers", "messages", "partial", "trigger", "foreign", "adl", "wallet", "drop", "time", "kill"),
            (40, 18, 12, 8, 8, 3, 3, 3, 5, 3, 1),
        )[0]
        self.told.acts[kind] += 1
        pair = self.rng.choice(PAIRS)
        if kind == "plan":
            self.plan()
        elif kind == "answers":
            method = self.rng.choice(("POST", "POST", "DELETE"))
            await self.ask(
                **self.rng.choice(ANSWERS), method=method, path=ORDER_PATHS, times=self.rng.randint(1, 2),
                skip=self.rng.randint(0, 2),
            )  # fmt: skip
        elif kind == "messages":
            await self.ask(kind=self.rng.choice(MESSAGES), private=True, times=self.rng.randint(1, 3))
        elif kind == "partial":
            then = self.rng.choice(("rest", "CANCELED", "EXPIRED"))
            await self.ask(kind="partial", symbol=pair, parts=2, share=0.5, then=then)
        elif kind == "trigger":
            await self.ask(kind="trigger", symbol=pair)
        elif kind == "foreign" and self.foreign < 2:
            self.foreign += 1
            await self.ask(kind="foreign_order", symbol=pair, quantity="0.02", client_id=f"web-{self.foreign}")
        elif kind == "adl":
            await self.ask(kind="adl", symbol=pair, share=0.5)
        elif kind == "wallet":
            await self.ask(kind="wallet", amount=self.rng.choice((-25, 40)), reason="DEPOSIT")
        elif kind == "drop":
            await self.ask(kind="drop", private=True, abort=self.rng.random() < 0.5)
        elif kind == "time":
            await self.rig.advance(self.rng.choice((60_000, 3_600_000)))
        elif kind == "kill":
            self.life().home().kill_file.write_text("flatten\n")

    async def ask(self, **fault: Any) -> None:
        """Order a fault; one that has nothing to act on is no failure."""
        url = f"{self.rig.url}/_venue/faults"
        async with self.rig.session.post(url, json=fault) as answer:
            assert answer.status in (200, 400), await answer.text()

    # -- lives -----------------------------------------------------------------------------------------------------------

    async def live(self, start: str, dies_at: int, counts: str) -> None:
        """A trader lives until its step, or until its time is over; things go on meanwhile."""
        self.told.lives[start] += 1
        running = Running(self.life(dies_at, counts), start)
        loop = asyncio.get_running_loop()
        over, due = loop.time() + BEGIN_S, 0.0
        met = False
        try:
            while running.code is None and loop.time() < over:
                if not met and self.met(running):
                    met, over = True, loop.time() + LIFE_S
                if met and loop.time() >= due:
                    await self.act()
                    due = loop.time() + self.rng.uniform(0.02, 0.3)
                await asyncio.sleep(0.02)
        finally:
            code = running.code
            running.kill()
        assert code in (None, -9), f"the trader ended by itself with {code}: {self.log_tail()}"
        self.told.ends[f"{counts} {'step' if code is not None else 'outlived'}"] += 1

    def met(self, running: Running) -> bool:
        """Whether that process has begun to trade."""
        beat = self.ledger.heartbeats().get("trader")
        return beat is not None and beat.payload["pid"] == running.pid

    async def settle(self, start: str) -> Running:
        """A trader that may live: returns it once it has nothing left to do."""
        self.told.lives[start] += 1
        running = Running(self.life(), start)
        loop = asyncio.get_running_loop()
        seen: tuple[int, ...] = ()
        since = loop.time()

        def settled() -> bool:
            nonlocal seen, since
            assert running.code is None, f"the trader ended by itself with {running.code}: {self.log_tail()}"
            now = entries(self.ledger, self.account)
            beat = self.ledger.heartbeats().get("trader")
            sound = beat is not None and beat.payload["pid"] == running.pid
            sound = sound and beat is not None and beat.payload["broker"] == {"known": True, "block": ""}
            if now != seen or not sound:
                seen, since = now, loop.time()
            return loop.time() - since > QUIET_S

        try:
            await eventually(_slowly(settled), SETTLE_S, "the trader has nothing left to do")
        except BaseException:
            running.kill()
            raise
        return running

    async def one_stop_each(self, running: Running) -> None:
        """Wait until each position has one stop of its size: a request of a life before may arrive after all else is quiet."""
        seen: dict[str, Any] = {}

        async def in_line() -> bool:
            assert running.code is None, f"the trader ended by itself with {running.code}"
            stops, held = await self.gateway.open_stops(), await self.gateway.positions()
            seen["stops"] = sorted((stop.pair, stop.quantity, stop.client_id) for stop in stops)
            seen["positions"] = sorted((pair, abs(fact.quantity)) for pair, fact in held.items())
            return [stop[:2] for stop in seen["stops"]] == seen["positions"]

        try:
            await eventually(in_line, SETTLE_S, "each position has one stop")
        except AssertionError as error:
            booked = [(one.order_id, one.state.value, one.reason) for one in self.ledger.orders(self.account, limit=8)]
            raise AssertionError(f"{error}; {seen}; newest in the books: {booked}; {self.log_tail()}") from error

    def newest(self) -> str:
        """The newest events of orders, in the order they were booked, for who has to find out what happened."""
        moved = schema.order_event
        rows = self.ledger._rows(sa.select(moved).order_by(moved.c.id.desc()).limit(8))
        return "\n".join(str(dict(row)) for row in reversed(rows))

    def log_tail(self) -> str:
        log = Path(self.rig.folder) / "trader.log"
        return "\n".join(log.read_text().splitlines()[-12:]) if log.exists() else "no log"

    async def verify(self) -> None:
        """Both sides agree, and everything at the venue is explained."""
        await agree(self.gateway, self.ledger, self.account)
        await explained(self.gateway, self.ledger, self.account, PAIRS, self.known_before)


def _slowly(check: Any) -> Any:
    """The check, asked ten times a second."""

    async def ask() -> bool:
        await asyncio.sleep(0.1)
        return bool(check())

    return ask


@contextlib.asynccontextmanager
async def session(rig: Rig) -> AsyncIterator[Session]:
    """A session's parts on a venue whose clock runs."""
    timeout_ms = int(LIVE_HERE.timeout_s * 8000)
    async with (
        open_gateway(rig.endpoint, rig.credentials, rig.clock, timeout_ms=timeout_ms) as gateway,
        ExchangeClient(rig.endpoint, credentials=rig.credentials, clock=rig.clock, attempts=1),
    ):
        made = Session(rig, gateway)
        await rig.run(1.0)
        await made.open_books()
        try:
            yield made
        finally:
            made.ledger.close()


async def play(seed: int, folder: Path | None = None) -> Told:
    """Live and die by a seed, then see that nothing is amiss; raises AssertionError where something is."""
    async with Rig(seed, folder) as rig, session(rig) as made:
        rng = rig.rng
        made.plan()
        start = COLD if rng.random() < 0.06 else WARM
        for _ in range(rng.randint(1, 3)):
            counts = ANSWER if rng.random() < 0.25 else COMMIT
            dies_at = rng.randint(1, 6) if counts == ANSWER else rng.randint(1, rng.choice((12, 60)))
            await made.live(start, dies_at, counts)
            for _ in range(rng.randint(0, 2)):
                await made.act()
            start = rng.choices((WARM, COLD, BARE), (84, 6, 10))[0]
            if start == BARE:
                await made.lose_books()
        await rig.clear()
        first = await made.settle(start)
        try:
            await made.one_stop_each(first)
            await rig.now_ms()
            await made.verify()
        finally:
            first.kill()
        before = entries(made.ledger, made.account)
        taken = len(await taken_in(made.gateway, PAIRS))
        stops = sorted(stop.client_id for stop in await made.gateway.open_stops())
        second = await made.settle(WARM)
        try:
            await rig.now_ms()
            await made.verify()
        finally:
            second.kill()
        after = entries(made.ledger, made.account)
        assert after == before, (
            f"the second restart changed the books: {before}, {after}; {made.newest()}; {made.log_tail()}"
        )
        assert len(await taken_in(made.gateway, PAIRS)) == taken, "the second restart sent orders"
        assert sorted(stop.client_id for stop in await made.gateway.open_stops()) == stops
        latched = made.ledger.latched(made.account).keys()
        assert latched <= EXPLAINED, f"latched: {latched}"
        made.told.orders, made.told.fills = before[0], before[1]
        return made.told


def run_once(seed: int, kept: str = "") -> tuple[int, Told | None, str]:
    """Play a seed; returns it with what was done, or with what went wrong."""
    logger.remove()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)

    folder = Path(kept) / str(seed) if kept else None
    if folder is not None:
        folder.mkdir(parents=True)

    async def limited() -> Told:
        async with asyncio.timeout(LIMIT_S):
            return await play(seed, folder)

    try:
        return seed, asyncio.run(limited()), ""
    except Exception as error:
        places = " < ".join(
            f"{one.filename.rpartition('/')[2]}:{one.lineno}"
            for one in reversed(traceback.extract_tb(error.__traceback__)[-3:])
        )
        return seed, None, f"{type(error).__name__}: {error or 'no words'} ({places})"
