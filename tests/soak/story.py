"""What goes on around the trader during a soak, and what is judged at its end."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import look, open_live
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.domain.trading import Plan, Schedule, Target
from hydra_core.ledger.store import Ledger

from ..crash.session import ANSWERS, MESSAGES, ORDER_PATHS
from ..scenarios.rig import Rig, eventually
from ..scenarios.trading import BTC, ETH, agree, empty_ledger, explained
from .trader import PAIRS, settings_of

SIZES = {BTC: (0.0, 0.02, 0.05, 0.1, -0.03, -0.08), ETH: (0.0, 0.4, 1.0, -0.5, -1.5)}
PLAN_MS, FAULT_S = 180_000, (1.5, 6.0)
"""Market time between two plans, wall seconds between two faults."""
READS = "/fapi/v3/positionRisk|/fapi/v3/account|/fapi/v1/openOrders|/fapi/v1/userTrades|/fapi/v1/income"
GAP = Decimal("1e-8")


@dataclass(frozen=True)
class Soaked:
    """What a soak showed.

    Parameters
    ----------
    checks : int, comparisons after which both sides were held against each other
    worst : Decimal, largest distance of the two equities, USDT
    first_mb, last_mb, growth : resident memory (medians of the second and the last quarter), and their ratio
    """

    hours: float
    checks: int
    worst: Decimal
    orders: int
    fills: int
    faults: Counter[str]
    first_mb: float
    last_mb: float

    @property
    def growth(self) -> float:
        return self.last_mb / self.first_mb

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in self.faults.most_common())
        return (
            f"{self.hours:.1f} market hours, {self.checks} comparisons, equity at most {self.worst:f} USDT apart, "
            f"{self.orders} orders at the venue, none unexplained, {self.fills} fills; memory {self.first_mb:.0f} MB in the "
            f"second quarter, {self.last_mb:.0f} MB in the last ({self.growth - 1:+.1%}); faults: {faults}"
        )


class Soak:
    """A venue at speed, a trader, plans and faults."""

    def __init__(self, rig: Rig, hours: float, speed: float, say: Callable[[str], object]) -> None:
        self.rig = rig
        self.rng = rig.rng
        self.hours = hours
        self.speed = speed
        self.say = say
        self.faults: Counter[str] = Counter()
        self.folder = Path(rig.folder)

    async def run(self) -> Soaked:
        """From an open account to the judgement."""
        rig, folder = self.rig, self.folder
        settings = settings_of(folder, rig.url)
        (folder / "ledger.db").write_bytes(empty_ledger())
        async with open_gateway(rig.endpoint, rig.credentials, rig.clock, timeout_ms=10_000) as gateway:
            with Ledger.open(settings.database_url) as ledger:
                await rig.now_ms()
                opening = await look(gateway, settings)
                account = await open_live(gateway, ledger, PAIRS, opening, rig.clock.market_ms())
                await rig.run(self.speed)
                trader = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.soak.trader", str(folder), rig.url
                )
                try:
                    await self.go_on(ledger, account.name, trader)
                    await self.calm(ledger, account.name, trader)
                    orders = 0
                    for attempt in range(3):  # a stop may trigger while it is looked
                        try:
                            await rig.now_ms()
                            await agree(gateway, ledger, account.name)
                            orders = await explained(gateway, ledger, account.name, PAIRS)
                            break
                        except AssertionError:
                            if attempt == 2:
                                raise
                            await self.calm(ledger, account.name, trader)
                    trader.terminate()
                    assert await asyncio.wait_for(trader.wait(), 30) == 0, self.log_tail()
                finally:
                    if trader.returncode is None:
                        trader.kill()
                        await trader.wait()
                latched = ledger.latched(account.name)
                assert not latched, latched
                return self.judge(orders, len(ledger.fills(account.name, limit=1_000_000)))

    async def go_on(self, ledger: Ledger, account: str, trader: asyncio.subprocess.Process) -> None:
        """Plans and faults until the hours are over."""
        rig, loop = self.rig, asyncio.get_running_loop()

        def begun() -> bool:
            assert trader.returncode is None, self.log_tail()
            beat = ledger.heartbeats().get("trader")
            return beat is not None and beat.payload["broker"] == {"known": True, "block": ""}

        await eventually(begun, 300, "the trader trades")
        began = await rig.now_ms()
        end, due_ms, due_s, told, number = began + self.hours * HOUR_MS, began, loop.time() + 2.0, 0, 0
        while (now := rig.clock.market_ms()) < end:
            assert trader.returncode is None, self.log_tail()
            if now >= due_ms:
                number += 1
                self.plan(ledger, account, now, number)
                due_ms = now + PLAN_MS
            if loop.time() >= due_s:
                await self.fault()
                due_s = loop.time() + self.rng.uniform(*FAULT_S)
            if (now - began) // HOUR_MS > told:
                told += 1
                lines = self.checks()
                self.say(f"{told} h: {len(lines)} comparisons, {lines[-1]['mb'] if lines else 0} MB")
            await asyncio.sleep(0.1)

    def plan(self, ledger: Ledger, account: str, now: int, number: int) -> None:
        """A plan as a window would book it, a small one: costs must not trip a switch within a day."""
        pairs = self.rng.sample(PAIRS, self.rng.randint(1, 2))
        targets = tuple(Target(pair, self.rng.choice(SIZES[pair]), None, "soak") for pair in pairs)
        slices = self.rng.choice((1, 2, 4))
        schedule = Schedule("twap", slices, 30_000 * (slices - 1))
        ledger.record_plan(
            Plan(f"plan-{now:014d}-{number:05d}", now, targets, schedule, now + 2 * PLAN_MS), account, "hydra"
        )

    async def fault(self) -> None:
        """Something goes wrong for a while."""
        rng, pair = self.rng, self.rng.choice(PAIRS)
        kind = rng.choice(
            ("answers", "answers", "messages", "partial", "reads", "drop", "stall", "deny", "trigger", "wallet")
        )
        body: dict[str, Any] = {"kind": kind}
        if kind == "answers":
            paths = {"method": rng.choice(("POST", "POST", "DELETE")), "path": ORDER_PATHS}
            body = {**rng.choice(ANSWERS), **paths, "times": rng.randint(1, 3)}
        elif kind == "messages":
            body = {"kind": rng.choice(MESSAGES), "private": True, "times": rng.randint(1, 3)}
        elif kind == "partial":
            body |= {"symbol": pair, "parts": rng.randint(2, 3), "share": 0.5, "then": rng.choice(("rest", "EXPIRED"))}
        elif kind == "reads":
            body = {**rng.choice(({"kind": "status"}, {"kind": "reset"}, {"kind": "malformed"})), "method": "GET"}
            body |= {"path": READS, "times": rng.randint(1, 4)}
        elif kind == "drop":
            body |= {"private": rng.choice((True, None)), "abort": rng.random() < 0.5}
        elif kind in ("stall", "deny"):
            body |= {"private": True, "seconds": rng.uniform(0.5, 2.0)}
        elif kind == "trigger":
            body |= {"symbol": pair}
        elif kind == "wallet":
            body |= {"amount": rng.choice((-25, 40)), "reason": "DEPOSIT"}
        self.faults[kind] += 1
        async with self.rig.session.post(f"{self.rig.url}/_venue/faults", json=body) as answer:
            assert answer.status in (200, 400), await answer.text()

    async def calm(self, ledger: Ledger, account: str, trader: asyncio.subprocess.Process) -> None:
        """No more faults and slow time: wait until nothing is worked and the broker finds nothing amiss."""
        await self.rig.clear()
        await self.rig.run(1.0)
        now = await self.rig.now_ms()
        standing = ledger.positions(account)
        stay = tuple(Target(pair, float(held.quantity), None, "stay") for pair, held in standing.items())
        ledger.record_plan(Plan(f"plan-{now:014d}-z", now, stay, Schedule(), now + 1), account, "hydra")

        def quiet() -> bool:
            assert trader.returncode is None, self.log_tail()
            beat = ledger.heartbeats().get("trader")
            working = [order for order in ledger.open_orders(account) if order.kind != "stop"]
            return beat is not None and beat.payload["broker"] == {"known": True, "block": ""} and not working

        await eventually(quiet, 60, "nothing is worked any more")
        seen = len(self.checks())
        await eventually(lambda: len(self.checks()) > seen + 1, 60, "two more comparisons")

    def checks(self) -> list[dict[str, Any]]:
        """Lines of the trader's watch."""
        file = self.folder / "checks.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def log_tail(self) -> str:
        log = self.folder / "trader.log"
        return "\n".join(log.read_text().splitlines()[-15:]) if log.exists() else "no log"

    def judge(self, orders: int, fills: int) -> Soaked:
        """The figures; raises AssertionError where equity was apart or memory grew."""
        lines = self.checks()
        apart = [line for line in lines if line["gap"] is not None and abs(Decimal(line["gap"])) > GAP]
        assert not apart, f"{len(apart)} of {len(lines)} comparisons apart: {apart[:5]}"
        unread = sum(line["gap"] is None for line in lines)
        assert unread <= 0.2 * len(lines), f"{unread} of {len(lines)} comparisons without a figure"
        worst = max((abs(Decimal(line["gap"])) for line in lines if line["gap"] is not None), default=Decimal(0))
        sizes = [line["mb"] for line in lines]
        quarter = max(1, len(sizes) // 4)
        second, last = statistics.median(sizes[quarter : 2 * quarter]), statistics.median(sizes[-quarter:])
        told = Soaked(self.hours, len(lines), worst, orders, fills, self.faults, second, last)
        assert self.hours < 4 or told.growth < 1.1, str(told)
        return told


async def soak(
    seed: int, hours: float, speed: float, say: Callable[[str], object], folder: Path | None = None
) -> Soaked:
    """Soak a trader; raises AssertionError where something is amiss."""
    async with Rig(seed, folder, balance=Decimal(100_000)) as rig:
        await rig.control("POST", "wire", {"on": False})
        return await Soak(rig, hours, speed, say).run()
