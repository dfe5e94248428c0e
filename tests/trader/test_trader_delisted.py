"""A pair that the exchange trades no more: the desk leaves its target alone and works the others."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from hydra_core.broker.paper import PaperBroker
from hydra_core.broker.protocol import IncidentKind
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import LedgerUnusable
from hydra_core.domain.intervals import HOUR_MS, next_day_ms
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, OrderState, Plan, Schedule, Side, Target
from hydra_core.ledger.records import DELISTING, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.listings import NEVER_MS, Listing
from hydra_core.settings import CostSettings
from hydra_core.trader.desk import Desk
from hydra_core.trader.outlook import Outlook
from hydra_core.trader.view import MarketView

PAIRS = (Pair("BTCUSDT"), Pair("ETHUSDT"))
BTC, ETH = PAIRS
START = 1_720_000_020_000
RULES = {pair: MarketRules(pair, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5)) for pair in PAIRS}


def test_nothing_is_sent_for_a_delisted_pair(tmp_path: Path) -> None:
    """Two targets, one pair delisted: one order, and the other target is given up with its reason, plan after plan."""
    clock, view = ManualClock(START), MarketView(PAIRS)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        account = ledger.open_account("paper", Decimal(10_000), START).name
        desk = Desk(
            ledger, account, PaperBroker(ledger, account, view, clock, RULES, CostSettings()), view, clock, RULES
        )
        for pair in PAIRS:
            view.on_quote(Quote(pair, 99.9, 5.0, 100.1, 5.0, START, START))
            view.on_mark(MarkReading(pair, 100.0, 100.0, 0.0, START + 1_000, START, START))
        view.delisted = {ETH: "SETTLING"}
        for number in range(2):
            targets = tuple(Target(pair, 1.0 + number, None, "test") for pair in PAIRS)
            now = clock.market_ms()
            plan = Plan(f"plan-{number}", now, targets, Schedule("twap", 1, 0), now + 60_000)
            ledger.record_plan(plan, account, "hydra")
            desk.tick(Mode.ACTIVE, ledger.positions(account))
            assert set(desk.work) <= {BTC}
            clock.advance(1_000)
        assert {order.pair for order in ledger.orders(account)} == {BTC}
        over = ledger.execution("plan-0", ETH)
        assert over is not None
        assert over.end_reason == "ETHUSDT is traded no more"


class Exchange:
    """What an exchange lists, look by look."""

    def __init__(self, *listed: dict[Pair, Listing]) -> None:
        self._listed = list(listed)

    async def listings(self) -> dict[Pair, Listing]:
        return self._listed.pop(0)

    async def server_time(self) -> int:
        return START


async def test_a_pair_is_settled_once_delivered_or_gone_twice(tmp_path: Path) -> None:
    """One list without a pair may be a slip of the exchange; a delivery date in the future means that it is held yet."""

    def listed(status: str, delivery_ms: int) -> dict[Pair, Listing]:
        return {
            BTC: Listing(BTC, "TRADING", 0, NEVER_MS, RULES[BTC]),
            ETH: Listing(ETH, status, 0, delivery_ms, RULES[ETH]),
        }

    only = {BTC: listed("TRADING", NEVER_MS)[BTC]}
    looks = (
        listed("SETTLING", START + HOUR_MS),
        listed("SETTLING", START),
        only,
        listed("TRADING", NEVER_MS),
        only,
        only,
    )
    outlook = Outlook(Exchange(*looks), PAIRS, ManualClock(START))  # type: ignore[arg-type]
    found = []
    for _ in looks:
        await outlook.look()
        found.append((set(outlook.delisted), set(outlook.settled)))
    assert found == [
        ({ETH}, set()), ({ETH}, {ETH}), ({ETH}, set()), (set(), set()), ({ETH}, set()), ({ETH}, {ETH}),
    ]  # fmt: skip
    assert outlook.deliveries == {BTC: NEVER_MS}


class Paper:
    """A paper account that holds one ETH, bought at 100.1."""

    def __init__(self, ledger: Ledger) -> None:
        self.clock, self.view, self.ledger = ManualClock(START), MarketView(PAIRS), ledger
        self.account = ledger.open_account("paper", Decimal(10_000), START).name
        self.broker = PaperBroker(
            ledger, self.account, self.view, self.clock, RULES, CostSettings(), close_before_delivery_h=24
        )
        self.view.on_mark(MarkReading(ETH, 100.0, 100.0, 0.0, START + 1_000, START, START))
        self.order("open", Side.LONG)
        self.quote(START + 1_000)
        self.broker.tick()
        assert self.held == 1

    def order(self, name: str, side: Side, *, limit: str = "", reduce_only: bool = False) -> OrderState:
        now = self.clock.market_ms()
        price = Decimal(limit) if limit else None
        record = OrderRecord(
            name, "plan", self.account, ETH, side, Decimal(1), "limit" if limit else "market", OrderState.NEW, now, now,
            limit_price=price, reduce_only=reduce_only,
        )  # fmt: skip
        self.ledger.record_order(record)
        self.broker.submit(record)
        return self.ledger.order(name).state

    def quote(self, at: int) -> None:
        self.clock.advance(at - self.clock.market_ms())
        self.view.on_quote(Quote(ETH, 99.9, 500.0, 100.1, 500.0, at, at))

    @property
    def held(self) -> Decimal | int:
        position = self.ledger.positions(self.account).get(ETH)
        return 0 if position is None else position.quantity


def test_a_position_in_a_settled_pair_is_closed_at_the_last_mark(tmp_path: Path) -> None:
    """No quote comes any more, so the exchange's own close is followed: orders end, the reason and the incident say why."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        paper = Paper(ledger)
        assert paper.order("rest", Side.SHORT, limit="150", reduce_only=True) is OrderState.OPEN
        paper.view.on_mark(MarkReading(ETH, 90.0, 90.0, 0.0, START, START + 2_000, START))
        paper.view.delisted = {ETH: "SETTLING"}
        paper.clock.advance(60_000)
        paper.broker.tick()
        assert paper.held == 1, "traded no more is not settled yet"
        paper.view.settled = frozenset({ETH})
        assert paper.broker.tick() == 1
        assert paper.broker.tick() == 0
        assert paper.held == 0
        assert ledger.order("rest").state is OrderState.CANCELED
        [fill] = [one.fill for one in ledger.fills(paper.account) if one.fill.reason == DELISTING]
        assert (fill.price, fill.quantity, fill.side) == (Decimal("90.0"), Decimal(1), Side.SHORT)
        assert ledger.order(fill.order_id).plan_id == DELISTING
        assert fill.order_id.startswith("settlement_autoclose-"), "as the exchange names it"
        [incident] = paper.broker.incidents()
        assert (incident.kind, incident.pair) == (IncidentKind.DELISTING, ETH)
        assert "delisting of 1 ETHUSDT at 90" in incident.reason


def test_what_an_incident_forbids_is_known_before_its_fill_is_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books fail between the exchange's close and its fill, and the process ends: the next one finds the pair barred, and
    its desk enters nothing there, whatever plan stood."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        paper = Paper(ledger)
        now = paper.clock.market_ms()
        plan = Plan("plan", now, (Target(ETH, 3.0, None, "test"),), Schedule("twap", 1, 0), now + 3_600_000)
        ledger.record_plan(plan, paper.account, "hydra")
        paper.view.settled = frozenset({ETH})

        def unusable(*_: object, **__: object) -> bool:
            raise LedgerUnusable("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(ledger, "record_fill", unusable)
            with pytest.raises(LedgerUnusable):
                paper.broker.tick()
        paper.view.settled = frozenset()  # the exchange takes it back, so that only the bar speaks against the plan
        reborn = PaperBroker(ledger, paper.account, paper.view, paper.clock, RULES, CostSettings())
        desk = Desk(ledger, paper.account, reborn, paper.view, paper.clock, RULES)
        assert ledger.portfolio(paper.account, {}, now).barred == {ETH}
        assert desk.tick(Mode.ACTIVE, ledger.positions(paper.account)) == 0
        tomorrow = next_day_ms(now)
        assert ledger.portfolio(paper.account, {}, tomorrow).barred == frozenset()


def test_a_pair_that_is_delivered_soon_is_left_before(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        paper = Paper(ledger)
        paper.view.deliveries = {ETH: paper.clock.market_ms() + 25 * HOUR_MS}
        assert paper.broker.must_close() == {}
        paper.clock.advance(2 * HOUR_MS)
        assert "delivered at" in paper.broker.must_close()[ETH]
        assert paper.order("more", Side.LONG) is OrderState.CANCELED
        assert "delivered at" in ledger.order("more").reason
        assert paper.order("out", Side.SHORT, reduce_only=True) is OrderState.OPEN
        paper.quote(paper.clock.market_ms() + 1_000)
        paper.broker.tick()
        assert paper.held == 0
        assert paper.broker.must_close() == {}
