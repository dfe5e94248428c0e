"""HYDRA's side of a scenario about money: a ledger, a broker at the rig's venue, the desk and the guard, ticked by hand."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import sqlalchemy as sa

from hydra_core.broker.books import MAKERS
from hydra_core.broker.exchange import ExchangeBroker
from hydra_core.broker.gateway import Gateway
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import look, open_live
from hydra_core.broker.reconcile import Report
from hydra_core.domain.clock import Clock
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, OrderState, Plan, Position, Schedule, Side, Target
from hydra_core.home import Home
from hydra_core.ledger import schema
from hydra_core.ledger.records import EXTERNAL, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import UserEvent, UserStream
from hydra_core.settings import LiveSettings, RiskSettings, Settings
from hydra_core.trader.desk import Desk
from hydra_core.trader.guard import Guard
from hydra_core.trader.sessions import UserEvents
from hydra_core.trader.view import MarketView

from .rig import Rig, eventually

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
LIVE = LiveSettings(enabled=True, timeout_s=0.4, probe_window_s=0.25, stop_grace_s=5.0, reconcile_s=60.0)
PATIENT = LIVE.model_copy(update={"timeout_s": 5.0})
"""Where no answer is late on purpose: on a busy machine an honest one may take longer than the others wait."""


class Trading:
    """A trader's parts on the rig's venue; nothing happens but by :meth:`round`, events and answers."""

    def __init__(self, rig: Rig, gateway: Gateway, client: ExchangeClient, ledger: Ledger, account: str, live: LiveSettings,
                 rules: dict[Pair, MarketRules]) -> None:  # fmt: skip
        self.rig = rig
        self.gateway = gateway
        self.client = client
        self.ledger = ledger
        self.account = account
        self.rules = rules
        self.live = live
        self.view = MarketView(tuple(rules))
        self.home = Home(rig.folder, "home").create()
        self.broker = ExchangeBroker(gateway, ledger, account, self.view, rig.clock, rules, live, client.listings)
        self.restored = self.broker.restore()
        self.desk = Desk(ledger, account, self.broker, self.view, rig.clock, rules)
        self.guard = Guard(self.home, ledger, account, self.desk, self.view, rig.clock, rules, RiskSettings(),
                           broker=self.broker, live=live)  # fmt: skip
        self.heard: list[UserEvent] = []
        self._plans = 0
        self._stream: asyncio.Task[None] | None = None

    # -- market --------------------------------------------------------------------------------------------------------

    async def look(self, *pairs: Pair) -> None:
        """Take in the venue's quotes and marks as the streams would."""
        await read_market(self.rig.session, self.rig.url, self.rig.clock, self.view, pairs or (BTC, ETH))

    def set_mark(self, pair: Pair, price: float) -> None:
        """Have HYDRA see another mark than the venue's."""
        show_mark(self.view, self.rig.clock, pair, price)

    # -- trading -------------------------------------------------------------------------------------------------------

    async def round(self, *, settle: bool = True) -> Mode:
        """One tick of the trader; by default every answer is waited for."""
        await self.look()
        self.broker.tick()
        mode = self.guard.tick()
        positions = self.positions
        self.desk.tick(mode, positions)
        self.desk.protect(positions)
        self.broker.protect(self.positions)
        if settle:
            await self.broker.settled()
        else:
            await asyncio.sleep(0)
        return mode

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            await self.round()

    async def reconcile(self, reason: str = "test") -> Report:
        report = await self.broker.reconcile(reason)
        await self.broker.settled()
        return report

    def plan(self, quantity: float, pair: Pair = BTC, *, stop: float | None = None, slices: int = 1) -> Plan:
        """Book a plan as a window would."""
        self._plans += 1
        now = self.rig.clock.market_ms()
        targets = (Target(pair, quantity, stop, "test"),)
        plan = Plan(
            f"plan-{self.account}-{now}-{self._plans:03}",
            now,
            targets,
            Schedule("twap", slices, 0),
            now + 10**7,
        )
        self.ledger.record_plan(plan, self.account, "hydra")
        return plan

    async def enter(self, quantity: float, pair: Pair = BTC, *, stop: float | None = None) -> Decimal:
        """Reach a position in an undisturbed market."""
        self.plan(quantity, pair, stop=stop)
        for _ in range(4):
            await self.round()
        held = self.held(pair)
        assert held == Decimal(repr(quantity)), f"position {held}, wanted {quantity}"
        return held

    def order(self, order_id: str, *, pair: Pair = BTC, side: Side = Side.LONG, quantity: str = "0.01", kind: Any = "market",
              reduce_only: bool = False, price: str | None = None, stop: str | None = None) -> OrderRecord:  # fmt: skip
        """Book an order's intent."""
        now = self.rig.clock.market_ms()
        record = OrderRecord(
            order_id, "plan", self.account, pair, side, Decimal(quantity), kind, OrderState.NEW, now, now,
            reduce_only=reduce_only, limit_price=Decimal(price) if price else None, stop_price=Decimal(stop) if stop else None,
            reason="test",
        )  # fmt: skip
        assert self.ledger.record_order(record)
        return record

    async def send(self, order_id: str, **fields: Any) -> OrderRecord:
        """Book an order and send it; returns it as it stands once the answer was dealt with."""
        self.broker.submit(self.order(order_id, **fields))
        await self.broker.settled()
        return self.ledger.order(order_id)

    async def resting_price(self, pair: Pair = BTC, away: float = 0.05) -> str:
        """A buying limit price that far below the market, on the tick grid."""
        await self.look(pair)
        tick = self.rules[pair].tick_size
        return f"{Decimal(repr(self.view.quotes[pair].bid * (1 - away))) // tick * tick:f}"

    async def saw(self, what: str, count: int = 1) -> None:
        """Wait until the user stream brought so many events of a kind (and everything before them)."""
        await until(lambda: sum(event.kind == what for event in self.heard) >= count, f"{count} {what}")
        await self.broker.settled()

    @property
    def positions(self) -> dict[Pair, Position]:
        return self.ledger.positions(self.account)

    def held(self, pair: Pair = BTC) -> Decimal:
        position = self.positions.get(pair)
        return position.quantity if position else Decimal(0)

    def entries(self) -> tuple[int, ...]:
        """How many entries of every kind the ledger holds: what a restart must not change."""
        return entries(self.ledger, self.account)

    # -- the venue's truth ---------------------------------------------------------------------------------------------

    async def agrees(self) -> None:
        """Positions, entry prices, cash and open orders equal the venue's, and the books add up."""
        await agree(self.gateway, self.ledger, self.account)

    async def arrived(self, client_id: str = "", pair: Pair = BTC) -> int:
        """How many orders the venue has ever taken in (whose client id begins so), whoever sent them."""
        rows = await self.gateway._read("fapiPrivateGetAllOrders", {"symbol": pair, "limit": "1000"}, list)
        return sum(str(row["clientOrderId"]).startswith(client_id) for row in rows)

    async def listen(self) -> None:
        """Follow the user stream as the trader does, until the end of the scenario."""
        events = UserEvents(self.broker)
        self.heard = []
        inner = events.on_user

        def on_user(event: UserEvent) -> None:
            self.heard.append(event)
            inner(event)

        events.on_user = on_user  # type: ignore[method-assign]
        stream = UserStream(
            self.rig.endpoint,
            self.client,
            events,
            self.rig.clock,
            events.compare,
            told=events.on_health,
            unread=self.broker.on_unread,
            seed=self.rig.seed,
        )
        self._stream = asyncio.create_task(stream.run())
        await until(lambda: stream.health().ok, "the user stream is up")

    async def close(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stream
        await self.broker.aclose()


async def read_market(
    session: aiohttp.ClientSession, url: str, clock: Clock, view: MarketView, pairs: Iterable[Pair]
) -> None:
    """Ask a venue for the best prices and marks of pairs and take them in as the streams would."""
    async with session.get(f"{url}/fapi/v1/ticker/bookTicker") as answer:
        books = {row["symbol"]: row for row in await answer.json()}
    async with session.get(f"{url}/fapi/v1/premiumIndex") as answer:
        marks = {row["symbol"]: row for row in await answer.json()}
    now, wall = clock.market_ms(), clock.wall_ms()
    for pair in pairs:
        if pair not in books or pair not in marks:
            continue  # the venue lists it no more
        sides = (float(books[pair][name]) for name in ("bidPrice", "bidQty", "askPrice", "askQty"))
        view.on_quote(Quote(pair, *sides, now, wall))
        show_mark(view, clock, pair, float(marks[pair]["markPrice"]))


def show_mark(view: MarketView, clock: Clock, pair: Pair, price: float) -> None:
    """Have HYDRA see a mark, whatever it saw before."""
    now, wall = clock.market_ms(), clock.wall_ms()
    view.marks.pop(pair, None)
    view.on_mark(MarkReading(pair, price, price, 0.0001, now + 1000, now, wall))


def entries(ledger: Ledger, account: str) -> tuple[int, ...]:
    """How many entries of every kind the ledger holds for an account: what a restart must not change."""
    moved, own = schema.order_event, schema.trade_order
    of_ours = sa.select(own.c.order_id).where(own.c.account == account)
    counts = [
        sa.select(sa.func.count()).select_from(table).where(table.c.account == account).scalar_subquery()
        for table in (own, schema.fill, schema.funding_payment, schema.cash_entry)
    ]
    counts.append(sa.select(sa.func.count()).select_from(moved).where(moved.c.order_id.in_(of_ours)).scalar_subquery())
    [row] = ledger._rows(sa.select(*(count.label(f"n{place}") for place, count in enumerate(counts))))
    return tuple(row.values())


async def agree(gateway: Gateway, ledger: Ledger, account: str) -> None:
    """Positions, entry prices, cash and open orders equal the venue's, and the books add up."""
    theirs, ours = await gateway.positions(), ledger.positions(account)
    assert {p: h.quantity for p, h in ours.items()} == {p: f.quantity for p, f in theirs.items()}, (ours, theirs)
    for pair, fact in theirs.items():
        entry = ours[pair].entry_price
        assert abs(entry - fact.entry) <= Decimal("1e-8"), (pair, entry, fact.entry)
    cash, wallet = ledger.account(account).cash, await gateway.wallet()
    assert abs(cash - wallet) <= Decimal("1e-8"), f"cash {cash}, wallet {wallet}"
    open_there = {f.client_id for f in (*await gateway.open_orders(), *await gateway.open_stops())}
    open_here = {order.order_id for order in ledger.open_orders(account)}
    assert open_here == open_there, f"open here alone {open_here - open_there}, there alone {open_there - open_here}"
    assert ledger.check_balance(account).faults == ()


async def taken_in(gateway: Gateway, pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Every order that the venue ever took in, whoever sent it."""
    found: dict[tuple[Pair, int], dict[str, Any]] = {}
    for pair in pairs:
        begin = 1
        while True:
            params = {"symbol": pair, "orderId": str(begin), "limit": "1000"}
            page: list[dict[str, Any]] = await gateway._read("fapiPrivateGetAllOrders", params, list)
            found |= {(pair, int(row["orderId"])): row for row in page}
            if len(page) < 1000:
                break
            begin = max(int(row["orderId"]) for row in page) + 1
    return list(found.values())


async def explained(
    gateway: Gateway, ledger: Ledger, account: str, pairs: Iterable[Pair], known_before: Iterable[str] = ()
) -> int:
    """Every order at the venue is booked and was taken in once, every position has its one stop, and no stop stands alone.

    Returns how many orders the venue has taken in.
    """
    orders = {order.order_id: order for order in ledger.orders(account, limit=1_000_000)}
    ids = {*orders, *known_before}
    venue_ids = {order.venue_order_id for order in orders.values()}
    rows = await taken_in(gateway, pairs)
    counted = Counter(str(row["clientOrderId"]) for row in rows)
    theirs = tuple(beginning for beginning, _, _ in MAKERS)  # every deleveraging has the same name
    twice = [name for name, count in counted.items() if count > 1 and not name.startswith(theirs)]
    assert not twice, f"taken in more than once: {counted}"
    strange = [row for row in rows if str(row["clientOrderId"]) not in ids and str(row["orderId"]) not in venue_ids]
    assert not strange, f"nobody knows of {strange}"
    stops, held = await gateway.open_stops(), await gateway.positions()
    for pair, fact in held.items():
        mine = [
            stop for stop in stops
            if stop.pair == pair and stop.client_id in orders and orders[stop.client_id].plan_id != EXTERNAL
        ]  # fmt: skip
        assert [stop.quantity for stop in mine] == [abs(fact.quantity)], f"{pair}: {fact.quantity} has stops {mine}"
    assert {stop.pair for stop in stops} <= held.keys(), f"stops without a position: {stops}"
    return len(rows)


@cache
def empty_ledger() -> bytes:
    """An empty ledger's file: running the migrations for every run of every scenario would cost more than the scenarios."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        Ledger.open(f"sqlite:///{file}").close()
        return file.read_bytes()


@contextlib.asynccontextmanager
async def trading(rig: Rig, live: LiveSettings = LIVE, *, fresh: bool = True, stream: bool = False,
                  folder: Path | None = None) -> AsyncIterator[Trading]:  # fmt: skip
    """A trader on the rig's venue, reconciled and clean; ``fresh=False`` is a restart on the same ledger."""
    file = (folder or rig.folder) / "ledger.db"
    if not file.exists():
        file.write_bytes(empty_ledger())
    url = f"sqlite:///{file}"
    await rig.now_ms()
    async with (
        open_gateway(rig.endpoint, rig.credentials, rig.clock, timeout_ms=int(live.timeout_s * 1000)) as gateway,
        ExchangeClient(rig.endpoint, credentials=rig.credentials, clock=rig.clock, attempts=1) as client,
    ):
        with Ledger.open(url) as ledger:
            all_rules = await client.rules()
            rules = {pair: all_rules[pair] for pair in (BTC, ETH)}
            if fresh:
                settings = Settings(live=live)
                opening = await look(gateway, settings)
                await open_live(gateway, ledger, rules, opening, rig.clock.market_ms())
            account = ledger.current_account()
            assert account is not None
            made = Trading(rig, gateway, client, ledger, account.name, live, rules)
            await made.look()
            try:
                if stream:
                    await made.listen()
                if fresh:
                    report = await made.reconcile("start")
                    assert report.clean, report
                yield made
            finally:
                await made.close()


async def until(check: Any, what: str = "", seconds: float = 10.0) -> Any:
    """Wait for an outcome."""
    return await eventually(check, seconds, what)
