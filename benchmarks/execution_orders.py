"""From a committed plan to the wire, from the kill switch to flat, and orders at speed through random faults.

The venue is a process of its own; desk, guard, broker and the trader's loop are the real ones. Times are read from the venue's
wire log, which is in wall milliseconds of the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
from pydantic import SecretStr

from benchmarks.market_streams import child
from benchmarks.rows import AT_MOST, Report, Row
from hydra_core.broker.exchange import ExchangeBroker
from hydra_core.broker.gateway import Gateway
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import look, open_live
from hydra_core.domain.clock import AnchoredClock
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.trading import Mode, OrderState, Plan, Schedule, Side, Target
from hydra_core.execution.orders import DONE
from hydra_core.execution.rounding import floor_quantity
from hydra_core.home import Home
from hydra_core.ledger.doorbell import Doorbell, ring
from hydra_core.ledger.records import OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.venue_clock import follow_clock, keep_following
from hydra_core.settings import LiveSettings, Settings
from hydra_core.trader.service import Trader
from hydra_core.trader.sessions import Parts, Session, open_session
from hydra_core.trader.view import MarketView
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET

PLANS = 200
KILLS = 10
FLATS = 5
RATE, SECONDS = 100, 60
NOTIONAL = 400.0
LIMIT = "the peer is the limit; "
LIVE = LiveSettings(enabled=True, timeout_s=2.0, probe_window_s=1.0, reconcile_s=5.0)
ORDER_PATHS = "/fapi/v1/(order|algoOrder)"
NO_LIMITS = {"kind": "limits", "order_limit": 10**7, "weight_limit": 10**8}
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "reset"}, {"kind": "reset", "after": True}, {"kind": "hang", "seconds": 2.5, "after": True},
    {"kind": "status", "status": 503}, {"kind": "status", "after": True}, {"kind": "malformed"},
    {"kind": "refuse", "code": -1001, "status": 500, "after": True}, {"kind": "lose"}, {"kind": "duplicate"}, {"kind": "late"},
    {"kind": "drop"},
)  # fmt: skip


@dataclass
class Hands:
    """A trader's parts at a venue."""

    url: str
    home: Home
    ledger: Ledger
    account: str
    session: Session
    broker: ExchangeBroker
    view: MarketView
    clock: AnchoredClock
    rules: dict[Pair, MarketRules]
    gateway: Gateway
    web: aiohttp.ClientSession

    async def control(self, place: str, body: dict[str, Any] | None = None, **query: Any) -> Any:
        """A word to the venue's control plane; a question without a body."""
        verb = "GET" if body is None else "POST"
        async with self.web.request(verb, f"{self.url}/_venue/{place}", json=body, params=query) as answer:
            return await answer.json()

    async def wire(self, method: str) -> list[dict[str, Any]]:
        """Requests about orders since the log was begun anew."""
        told = await self.control("wire", channel="rest", method=method, path=ORDER_PATHS, limit=1_000_000)
        rows: list[dict[str, Any]] = told["rows"]
        return rows

    def order(
        self, order_id: str, pair: Pair, side: Side, quantity: Decimal, price: Decimal | None = None
    ) -> OrderRecord:
        """An order whose intent is booked."""
        now = self.clock.market_ms()
        record = OrderRecord(
            order_id, "bench", self.account, pair, side, quantity, "market" if price is None else "limit", OrderState.NEW,
            now, now, limit_price=price, reason="bench",
        )  # fmt: skip
        self.ledger.record_order(record)
        return record

    def size(self, pair: Pair, notional: float = NOTIONAL) -> Decimal:
        """Base units worth so much, on the pair's grid."""
        return floor_quantity(Decimal(repr(notional / self.view.quotes[pair].mid)), self.rules[pair])


async def until(check: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Wait for an outcome; TimeoutError says which one did not come."""
    try:
        async with asyncio.timeout(seconds):
            while not check():
                await asyncio.sleep(0.02)  # looking takes the trader's loop time too
    except TimeoutError as error:
        raise TimeoutError(f"not within {seconds:g} s: {what}") from error


async def prices(hands_url: str, clock: AnchoredClock, view: MarketView, web: aiohttp.ClientSession) -> None:
    """Keep the view fresh."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with web.get(f"{hands_url}/fapi/v1/ticker/bookTicker") as answer:
                books = await answer.json()
            async with web.get(f"{hands_url}/fapi/v1/premiumIndex") as answer:
                marks = await answer.json()
            now, wall = clock.market_ms(), clock.wall_ms()
            for row in books:
                sides = (float(row[name]) for name in ("bidPrice", "bidQty", "askPrice", "askQty"))
                view.on_quote(Quote(Pair(row["symbol"]), *sides, now, wall))
            for row in marks:
                mark = float(row["markPrice"])
                view.on_mark(MarkReading(Pair(row["symbol"]), mark, mark, 0.0, now + 1000, now, wall))
        await asyncio.sleep(0.25)


@asynccontextmanager
async def hands(url: str, folder: Path, ticking: bool) -> AsyncIterator[Hands]:
    """A trader at a venue with a fresh account, compared and found clean; ``ticking`` runs its loop."""
    home, endpoint = Home(folder, "home").create(), Endpoint(base_url=url)
    base = Settings(data_root=folder, market="home", venue_url=url)
    secrets = {"exchange_key": SecretStr(LOCAL_KEY), "exchange_secret": SecretStr(LOCAL_SECRET)}
    settings = base.model_copy(update={**secrets, "live": LIVE})
    credentials, clock = Credentials(LOCAL_KEY, LOCAL_SECRET), await asyncio.to_thread(follow_clock, url)
    async with (
        aiohttp.ClientSession() as web,
        open_gateway(endpoint, credentials, clock, budget_folder=home.limits) as gateway,
        ExchangeClient(endpoint, clock=clock, limits=home.limits, limiter=True) as client,
    ):
        with Ledger.open(home.ledger_url) as ledger:
            listed = await client.rules()
            rules = {pair: listed[pair] for pair in DEFAULT_PAIRS}
            opening = await look(gateway, settings)
            account = await open_live(gateway, ledger, DEFAULT_PAIRS, opening, clock.market_ms())
            view = MarketView(DEFAULT_PAIRS)
            service = Trader(home, settings, endpoint)
            service._clock = clock
            feeds: Any = SimpleNamespace(settled={}, health={})
            parts = Parts(home, settings, endpoint, clock, ledger, view, rules)
            async with open_session(parts, account) as session:
                assert isinstance(session.broker, ExchangeBroker)
                with Doorbell(home.run) as bell:
                    tasks = [
                        asyncio.create_task(prices(url, clock, view, web)),
                        asyncio.create_task(keep_following(clock, url)),
                    ]
                    if ticking:
                        tasks.append(asyncio.create_task(service._trade(session, ledger, feeds, bell)))
                    made = Hands(
                        url, home, ledger, account.name, session, session.broker, view, clock, rules, gateway, web
                    )
                    try:
                        await until(lambda: not session.broker.standing.block and len(view.quotes) == 8, "clean")
                        yield made
                    finally:
                        # A task that broke is told with its error; it is why nothing was worked.
                        broken = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
                        for task in tasks:
                            task.cancel()
                        await asyncio.gather(*tasks, return_exceptions=True)
                        for task in broken:
                            await task


def measure(report: Report, folder: Path) -> list[Row]:
    """Every row, on one venue."""
    with ExitStack() as stack:
        words = ("--market", "synthetic-7-0.3", "--days", "3", "--state-dir", str(folder / "venue"), "--port", "0")
        venue = stack.enter_context(
            child("-m", "hydra_core.venue", "--log-level", "ERROR", "--balance", "100000", *words)
        )
        url = f"http://127.0.0.1:{venue.hear(lambda line: line.get('event') == 'ready', 120)['port']}"
        return asyncio.run(_measure(report, folder, url))


async def _measure(report: Report, folder: Path, url: str) -> list[Row]:
    rows: list[Row] = []
    # Before anybody has read them: the trader keeps to what it was told.
    async with aiohttp.ClientSession() as web, web.post(f"{url}/_venue/faults", json=NO_LIMITS) as answer:
        answer.raise_for_status()
    async with hands(url, folder / "ticking", True) as one:
        report.say(f"{PLANS} plans of 8 pairs to the wire")
        rows.append(await to_the_wire(one))
        report.say(f"{KILLS} times the kill switch with 16 resting orders")
        rows.append(await to_the_last_cancel(one))
        report.say(f"{FLATS} times flat from 8 positions")
        rows.append(await to_flat(one))
    report.say(f"{RATE} orders a second for {SECONDS} s through faults")
    async with hands(url, folder / "speed", False) as one:
        return rows + await through_faults(one)


async def to_the_wire(one: Hands) -> Row:
    """Wall time from a plan's commit to its first order's arrival at the venue, all pairs changing at once."""
    taken = []
    sign = 1
    for number in range(PLANS):
        await one.control("wire", {"on": True, "limit": 1_000_000})
        now = one.clock.market_ms()
        targets = tuple(
            Target(pair, sign * float(one.size(pair)), None, "bench", urgent=True) for pair in DEFAULT_PAIRS
        )
        plan = Plan(f"wire-{now}-{number:04d}", now, targets, Schedule(), now + 60_000)
        one.ledger.record_plan(plan, one.account, "hydra")
        committed = one.clock.wall_ms()
        ring(one.home.run)
        await until(partial(_reached, one, sign), f"plan {number} is worked")
        sent = [row["asked_wall_ms"] for row in await one.wire("POST") if row["path"].endswith("/order")]
        taken.append(max(1.0, float(min(sent) - committed)))
        sign = -sign
    p99 = float(np.percentile(taken, 99))
    spread = (
        f"p50 {statistics.median(taken):.0f} ms, largest {max(taken):.0f} ms, {PLANS} plans that turn 8 pairs round"
    )
    return Row(
        "plan committed to its first order on the wire, p99",
        p99,
        50.0,
        1.0,
        "ms",
        AT_MOST,
        LIMIT + spread,
    )


def _reached(one: Hands, sign: int) -> bool:
    held = one.ledger.positions(one.account)
    return (
        len(held) == 8
        and all(position.quantity * sign > 0 for position in held.values())
        and not one.broker.working()
        and one.ledger.standing_plan(one.account, one.clock.market_ms()) is None  # worked to its end
    )


async def to_the_last_cancel(one: Hands) -> Row:
    """Wall time from the kill file to the arrival of the last cancel, sixteen orders resting."""
    taken = []
    for number in range(KILLS):
        orders = [(pair, away) for pair in DEFAULT_PAIRS for away in (0.04, 0.06)]
        for place, (pair, away) in enumerate(orders):
            tick, quote = one.rules[pair].tick_size, one.view.quotes[pair]
            price = Decimal(repr(quote.bid * (1 - away))) // tick * tick
            one.broker.submit(one.order(f"kill-{number}-{place}", pair, Side.LONG, one.size(pair), price))
        await until(partial(_resting, one, len(orders)), "resting")
        await one.control("wire", {"on": True, "limit": 1_000_000})
        began = one.clock.wall_ms()
        one.home.kill_file.write_text("halt\n")
        ring(one.home.run)
        await until(lambda: not one.broker.working(), "cancelled")
        sent = [row["asked_wall_ms"] for row in await one.wire("DELETE")]
        assert len(sent) >= len(orders), sent
        taken.append(max(1.0, float(max(sent) - began)))
        await released(one)
    spread = f"median {statistics.median(taken):.0f} ms; the slowest of {KILLS}, 16 orders resting on 8 pairs"
    return Row(
        "kill switch to the last cancel on the wire",
        max(taken),
        100.0,
        1.0,
        "ms",
        AT_MOST,
        LIMIT + spread,
    )


def _resting(one: Hands, count: int) -> bool:
    return sum(order.state is OrderState.OPEN for order in one.broker.working()) == count


async def released(one: Hands) -> None:
    """The switch is released and trading goes on."""
    one.home.kill_file.unlink()
    one.ledger.command("resume", {}, one.clock.wall_ms())
    ring(one.home.run)
    await until(lambda: one.session.guard.mode is Mode.ACTIVE, "released")


async def to_flat(one: Hands) -> Row:
    """Wall time from the kill file to the venue's own word that nothing is held."""
    taken = []
    for number in range(FLATS):
        now = one.clock.market_ms()
        targets = tuple(Target(pair, float(one.size(pair)), None, "bench", urgent=True) for pair in DEFAULT_PAIRS)
        plan = Plan(f"wire-{now}-flat-{number}", now, targets, Schedule(), now + 60_000)
        one.ledger.record_plan(plan, one.account, "hydra")
        await until(lambda: _reached(one, 1), "held")
        await until(lambda: all(one.broker.protected(pair) for pair in DEFAULT_PAIRS), "protected")
        began = one.clock.wall_ms()
        one.home.kill_file.write_text("flatten\n")
        ring(one.home.run)
        while await one.gateway.positions():
            await asyncio.sleep(0.01)
        taken.append(max(1.0, float(one.clock.wall_ms() - began)) / 1000)
        await until(lambda: not one.ledger.positions(one.account), "booked flat")
        await released(one)
    spread = f"median {statistics.median(taken):.2f} s; the slowest of {FLATS}, each position with its stop at rest"
    return Row(
        "kill switch to flat at the venue, 8 positions",
        max(taken),
        2.0,
        1.0,
        "s",
        AT_MOST,
        LIMIT + spread,
    )


async def through_faults(one: Hands) -> list[Row]:
    """Orders at a steady rate while answers and events are lost, doubled, late and spoilt."""
    rng = random.Random(4)
    struck: Counter[str] = Counter()

    async def strike() -> None:
        while True:
            await asyncio.sleep(rng.uniform(0.2, 0.6))
            body = dict(rng.choice(FAULTS))
            struck[body["kind"]] += 1
            if body["kind"] in ("lose", "duplicate", "late"):
                body |= {"private": True, "times": rng.randint(1, 5)}
            elif body["kind"] == "drop":
                body |= {"private": True, "abort": True}
            else:
                body |= {"method": "POST", "path": "/fapi/v1/order", "times": rng.randint(1, 3)}
            await one.control("faults", body)

    await one.control("wire", {"on": False})
    sizes = {pair: one.size(pair, 200.0) for pair in DEFAULT_PAIRS}
    striking = asyncio.create_task(strike())
    loop = asyncio.get_running_loop()
    count, began = RATE * SECONDS, loop.time()
    for first in range(0, count, len(DEFAULT_PAIRS)):
        with one.ledger.together():  # as the desk's round: every pair's order at once
            for number, pair in enumerate(DEFAULT_PAIRS[: count - first], first):
                side = Side.LONG if first // len(DEFAULT_PAIRS) % 2 == 0 else Side.SHORT
                one.broker.send_stop(one.order(f"speed-{number:05d}", pair, side, sizes[pair]))  # may go in every state
        await asyncio.sleep(max(0.0, began + (number + 1) / RATE - loop.time()))
    took = loop.time() - began
    striking.cancel()
    await asyncio.gather(striking, return_exceptions=True)
    await one.control("faults", NO_LIMITS)
    async with asyncio.timeout(120):
        while True:
            await one.broker.settled()
            report = await one.broker.reconcile("bench")
            if report.clean and not one.broker.working():
                break
            await asyncio.sleep(0.2)
    there: Counter[str] = Counter()
    for pair in DEFAULT_PAIRS:
        begin = 1
        while True:
            params = {"symbol": pair, "orderId": str(begin), "limit": "1000"}
            page: list[dict[str, Any]] = await one.gateway._read("fapiPrivateGetAllOrders", params, list)
            there.update(str(row["clientOrderId"]) for row in page if str(row["clientOrderId"]).startswith("speed-"))
            if len(page) < 1000:
                break
            begin = max(int(row["orderId"]) for row in page) + 1
    here = {f"speed-{number:05d}": one.ledger.order(f"speed-{number:05d}") for number in range(count)}
    states = Counter(order.state for order in here.values())
    sound = sum(
        order.state in DONE and there[name] == (0 if order.state is OrderState.REJECTED else 1)
        for name, order in here.items()
    )
    doubled = sum(times > 1 for times in there.values())
    cash, wallet = one.ledger.account(one.account).cash, await one.gateway.wallet()
    told = ", ".join(f"{times} {kind}" for kind, times in struck.most_common())
    ends = ", ".join(f"{times} {state.value}" for state, times in states.most_common())
    notes = f"{count} sent, {doubled} doubled, {count - sound} lost; {ends}; "
    notes += f"cash and wallet {abs(cash - wallet):f} apart; {told}"
    return [
        Row("orders a second through faults", count / took, RATE, 0.99, "orders/s", notes=f"the rate asked for; {took:.1f} s"),
        Row("orders neither lost nor doubled", sound - doubled or 0.5, count, 1.0, "orders", notes=notes),
    ]  # fmt: skip
