"""The paper broker's assumptions as tables: queue, partial fills, fees by turnover, margin and liquidation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_core.broker.paper import PaperBroker
from hydra_core.broker.protocol import IncidentKind
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Side
from hydra_core.ledger.records import LIQUIDATION, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.settings import CostSettings
from hydra_core.trader.view import MarketView

BTC = Pair("BTCUSDT")
START = 1_720_000_020_000
STEPS = ((0.0, 0.01), (50_000.0, 0.02), (250_000.0, 0.05))
RULES = {BTC: MarketRules(BTC, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5), margin_steps=STEPS)}
D = Decimal


class Paper:
    """A paper broker on a book that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}")
        self.clock = ManualClock(START)
        self.view = MarketView((BTC,))
        self.account = self.ledger.open_account("paper", D(10_000), START).name
        self.broker = PaperBroker(
            self.ledger, self.account, self.view, self.clock, RULES, CostSettings(latency_ms=100),
        )  # fmt: skip
        self._orders = 0

    def quote(self, bid: float, bid_size: float, ask: float, ask_size: float) -> int:
        self.clock.advance(200)
        now, wall = self.clock.market_ms(), self.clock.wall_ms()
        self.view.on_quote(Quote(BTC, bid, bid_size, ask, ask_size, now, wall))
        self.view.on_mark(MarkReading(BTC, (bid + ask) / 2, bid, 0.0, now + 1000, now, wall))
        return self.broker.tick()

    def trade(self, price: str, quantity: str) -> int:
        self.clock.advance(1)
        return self.broker.on_trade(BTC, D(price), D(quantity), self.clock.market_ms())

    def send(self, quantity: str, side: Side = Side.LONG, price: str | None = None, **fields: object) -> str:
        self._orders += 1
        now = self.clock.market_ms()
        order = OrderRecord(
            f"o{self._orders}", "plan", self.account, BTC, side, D(quantity), "limit" if price else "market", OrderState.NEW,
            now, now, limit_price=D(price) if price else None,
        )  # fmt: skip
        order = replace(order, **fields)  # type: ignore[arg-type]
        self.ledger.record_order(order)
        self.broker.submit(order)
        return order.order_id

    def state(self, order_id: str) -> tuple[OrderState, Decimal]:
        order = self.ledger.order(order_id)
        return order.state, order.filled


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    made = Paper(tmp_path)
    yield made
    made.ledger.close()


def test_a_resting_order_waits_for_the_queue_before_it(paper: Paper) -> None:
    """Two units stand before us at our price: trades of one and a half bring us forward, the next fills what is beyond."""
    order = paper.send("1", price="99.9")
    paper.quote(99.9, 2.0, 100.1, 5.0)
    assert paper.trade("99.9", "1.5") == 0
    assert paper.trade("99.9", "0.9") == 1
    assert paper.state(order) == (OrderState.PARTIAL, D("0.4"))
    assert paper.trade("99.9", "5") == 1
    assert paper.state(order) == (OrderState.FILLED, D(1))
    fills = paper.ledger.fills(paper.account)
    assert all(one.fill.maker and one.fill.price == D("99.9") for one in fills)
    assert [one.fill.trade_id for one in reversed(fills)] == ["o1-1", "o1-2"]


def test_a_queue_that_shrinks_brings_us_forward_and_one_that_grows_does_not_set_us_back(paper: Paper) -> None:
    paper.send("1", price="99.9")
    paper.quote(99.9, 5.0, 100.1, 5.0)
    paper.quote(99.9, 1.0, 100.1, 5.0)
    paper.quote(99.9, 9.0, 100.1, 5.0)
    assert paper.trade("99.9", "1.5") == 1
    assert paper.ledger.fills(paper.account)[0].fill.quantity == D("0.5")


def test_a_trade_through_our_price_fills_all_of_it(paper: Paper) -> None:
    order = paper.send("3", price="99.9")
    paper.quote(99.9, 50.0, 100.1, 5.0)
    assert paper.trade("99.8", "0.001") == 1
    assert paper.state(order) == (OrderState.FILLED, D(3))


def test_a_crossing_limit_takes_what_the_best_price_holds(paper: Paper) -> None:
    """It takes the displayed size as a taker, at the book's price; the rest stays."""
    order = paper.send("3", price="100.2")
    assert paper.quote(99.9, 5.0, 100.1, 1.0) == 1
    assert paper.state(order) == (OrderState.PARTIAL, D(1))
    fill = paper.ledger.fills(paper.account)[0].fill
    assert (fill.price, fill.maker) == (D("100.1"), False)


def test_what_an_immediate_order_cannot_take_expires(paper: Paper) -> None:
    order = paper.send("1", price="100.0", time_in_force="IOC")
    paper.quote(99.9, 5.0, 100.1, 1.0)
    assert paper.state(order) == (OrderState.EXPIRED, D(0))
    assert paper.broker.working() == []


def test_nothing_fills_before_its_latency(paper: Paper) -> None:
    order = paper.send("1", price="99.9")
    assert paper.broker.on_trade(BTC, D("99.0"), D(9), paper.clock.market_ms() + 99) == 0
    assert paper.broker.on_trade(BTC, D("99.0"), D(9), paper.clock.market_ms() + 100) == 1
    assert paper.state(order)[0] is OrderState.FILLED


@pytest.mark.parametrize(
    ("turnover", "share"), [("0", "1"), ("14999999", "1"), ("15000000", "0.8"), ("100000000", "0.64")]
)
def test_fees_fall_with_a_months_turnover(paper: Paper, turnover: str, share: str) -> None:
    if D(turnover):
        half = D(turnover) / 2
        for number, side in enumerate((Side.LONG, Side.SHORT)):
            paper.ledger.record_fill(
                Fill("paper", Pair("ETHUSDT"), f"t{number}", "", paper.account, side, half, D(1), D(0), False, START)
            )
    paper.send("0.01")
    paper.quote(99.9, 5.0, 100.1, 5.0)
    fill = paper.ledger.fills(paper.account, pair=BTC)[0].fill
    assert fill.fee == fill.quantity * fill.price * RULES[BTC].taker_fee * D(share)


def test_an_account_is_liquidated_by_its_tiers_and_not_before(paper: Paper) -> None:
    """1 000 units at 100: the margin of 100 000 is 0.02 x 100 000 - 500; the last mark above it keeps, the first below ends."""
    paper.send("1000")
    paper.quote(99.9, 5_000.0, 100.0, 5_000.0)
    cash = paper.ledger.account(paper.account).cash

    def spare(mark: float) -> Decimal:
        held = paper.ledger.positions(paper.account)
        marks = {BTC: D(repr(mark))}
        return cash + (marks[BTC] - held[BTC].entry_price) * held[BTC].quantity - paper.broker.maintenance(held, marks)

    assert paper.broker.maintenance(paper.ledger.positions(paper.account), {BTC: D(100)}) == D(1500)
    low = next(mark / 100 for mark in range(9_995, 8_000, -1) if spare(mark / 100) <= 0)
    paper.quote(low - 0.09, 5_000.0, low + 0.11, 5_000.0)
    assert paper.ledger.positions(paper.account) != {}
    paper.quote(low - 0.1, 5_000.0, low + 0.1, 5_000.0)
    assert paper.ledger.positions(paper.account) == {}
    assert set(paper.ledger.latched(paper.account)) == {"liquidation"}, "known before the guard's next round"
    [incident] = paper.broker.incidents()
    assert incident.kind is IncidentKind.LIQUIDATION
    assert paper.ledger.orders(paper.account)[0].plan_id == LIQUIDATION
    assert paper.ledger.account(paper.account).cash > 0
    assert paper.ledger.check_balance(paper.account).faults == ()
