"""The desk works plans of every kind by the market's volume and the plan's life, and a restart goes on with the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_core.broker.paper import PaperBroker
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, OrderState, Plan, Schedule, Target
from hydra_core.execution.shortfall import shortfall
from hydra_core.ledger.store import Ledger
from hydra_core.market.streams import Trade
from hydra_core.settings import CostSettings
from hydra_core.trader.desk import Desk
from hydra_core.trader.view import MarketView

BTC = Pair("BTCUSDT")
START = 1_720_000_020_000
RULES = {BTC: MarketRules(BTC, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5))}
OPTIMAL = (0.5, 0.8, 0.95, 1.0)


class Rig:
    """A desk with a paper broker on a clock moved by hand; a new one on the same ledger is a restart."""

    def __init__(self, ledger: Ledger, clock: ManualClock) -> None:
        self.ledger, self.clock = ledger, clock
        self.view = MarketView((BTC,))
        account = ledger.current_account() or ledger.open_account("paper", Decimal(100_000), clock.market_ms())
        self.account = account.name
        self.broker = PaperBroker(ledger, self.account, self.view, clock, RULES, CostSettings(latency_ms=250))
        self.broker.restore()
        self.desk = Desk(ledger, self.account, self.broker, self.view, clock, RULES)
        self.price(60_000)

    def price(self, mid: float) -> None:
        now, wall = self.clock.market_ms(), self.clock.wall_ms()
        self.view.on_quote(Quote(BTC, mid - 0.5, 100.0, mid + 0.5, 100.0, now, wall))
        self.view.on_mark(MarkReading(BTC, mid, mid, 0.0001, now + 1000, now, wall))

    def round(self, ms: int = 5_000, traded: float = 0.0) -> Decimal:
        """One tick, then time goes on and the market trades; returns what is held."""
        self.broker.tick()
        self.desk.tick(Mode.ACTIVE, self.ledger.positions(self.account))
        self.clock.advance(ms)
        now = self.clock.market_ms()
        self.price(self.view.quotes[BTC].mid)
        if traded:
            self.view.on_trade(Trade(BTC, now, 60_000.0, traded, False, now, self.clock.wall_ms()))
        held = self.ledger.positions(self.account).get(BTC)
        return held.quantity if held else Decimal(0)

    def plan(
        self, quantity: float, *, shares: Sequence[float] = (), participation: float = 0.0, life_ms: int = 300_000
    ) -> Plan:
        now = self.clock.market_ms()
        target = Target(BTC, quantity, None, "test", shares=tuple(shares))
        kind = "almgren-chriss" if shares else "twap"
        plan = Plan(f"plan-{now}", now, (target,), Schedule(kind, 4, 120_000, participation), now + life_ms)
        self.ledger.record_plan(plan, self.account, "hydra")
        return plan


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def rig(ledger: Ledger) -> Rig:
    return Rig(ledger, ManualClock(START))


def test_shares_of_the_plan_decide_the_sizes(rig: Rig) -> None:
    rig.plan(0.1, shares=OPTIMAL)
    seen = {rig.round() for _ in range(30)}
    assert sorted(seen) == [Decimal(held) for held in ("0", "0.05", "0.08", "0.095", "0.1")]
    assert rig.ledger.check_balance(rig.account).faults == ()


def test_a_restart_goes_on_with_the_schedule_of_the_plan_it_began_with(rig: Rig, ledger: Ledger) -> None:
    """The process dies after two slices of a plan that a second one has repeated: the same slices, times and start."""
    first = rig.plan(0.1, shares=OPTIMAL)
    for _ in range(8):
        rig.round()
    second = rig.plan(0.1)  # the same target decided again: it keeps the first one's shares and start
    held = rig.round()
    assert held == Decimal("0.08")
    before = dict(rig.desk.work)
    reborn = Rig(ledger, rig.clock)
    reborn.round()
    assert dict(reborn.desk.work) == before
    work = reborn.desk.work[BTC]
    assert (work.plan_id, work.target.shares, work.expires_ms) == (first.plan_id, OPTIMAL, second.expires_ms)
    sizes = [reborn.round() for _ in range(20)]
    assert sizes[-1] == Decimal("0.1")
    assert sorted(set(sizes)) == [Decimal("0.08"), Decimal("0.095"), Decimal("0.1")]
    assert {order.plan_id for order in ledger.orders(reborn.account)} == {first.plan_id}
    assert len(ledger.orders(reborn.account)) == 4


def test_a_death_between_the_plan_and_its_first_order_changes_nothing(rig: Rig, ledger: Ledger) -> None:
    """A plan is taken up, then repeated by one that nobody has taken up when the process dies."""
    first = rig.plan(0.1, shares=OPTIMAL)
    rig.round()
    rig.clock.advance(1_000)
    rig.plan(0.1)
    reborn = Rig(ledger, rig.clock)
    reborn.round()
    assert reborn.desk.work[BTC].plan_id == first.plan_id
    assert reborn.desk.work[BTC].start_ms == first.cycle_ms


def test_what_was_given_up_is_not_taken_up_again(rig: Rig, ledger: Ledger) -> None:
    rig.plan(0.1)
    for _ in range(4):
        rig.round()
    rig.desk.drop("kill switch")
    held = rig.round()
    reborn = Rig(ledger, rig.clock)
    assert {reborn.round() for _ in range(20)} == {held}
    assert reborn.ledger.executions(reborn.account)[0].end_reason == "kill switch"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_the_volume_is_kept_over_a_restart(rig: Rig, ledger: Ledger, share: float) -> None:
    """The market trades a little every few seconds; at no moment is our part of it above the limit."""
    rig.plan(0.1, participation=share)
    traded, now = Decimal(0), rig
    for number in range(50):
        held = now.round(traded=0.02)
        assert held <= Decimal(repr(share)) * traded
        traded += Decimal("0.02")
        if number == 25:
            now = Rig(ledger, rig.clock)
    held = now.round()
    if share == 0.5:
        assert held == Decimal("0.1"), "there was volume enough"
    else:
        assert Decimal("0.05") <= held < Decimal("0.1")
    assert all(order.filled for order in ledger.orders(rig.account))


def test_a_market_that_does_not_trade_is_not_traded_in(rig: Rig) -> None:
    rig.plan(0.1, participation=0.2)
    assert {rig.round() for _ in range(70)} == {Decimal(0)}
    assert rig.ledger.orders(rig.account) == []
    assert rig.ledger.executions(rig.account)[0].end_reason == "expired"


def test_an_urgent_target_waits_for_no_volume(rig: Rig) -> None:
    rig.plan(0.1)
    for _ in range(30):
        rig.round()
    now = rig.clock.market_ms()
    target = Target(BTC, 0.0, None, "stop", urgent=True)
    rig.ledger.record_plan(
        Plan("out", now, (target,), Schedule("twap", 4, 120_000, 0.1), now + 300_000), rig.account, "hydra"
    )
    rig.round()
    assert rig.round() == 0


def test_nothing_is_sent_once_the_plan_has_expired(rig: Rig) -> None:
    plan = rig.plan(0.1, life_ms=40_000)
    for _ in range(60):
        rig.round()
    assert all(order.created_ms < plan.expires_ms for order in rig.ledger.orders(rig.account))
    assert rig.round() == Decimal("0.05")
    ended = rig.ledger.executions(rig.account)[0]
    assert (ended.end_reason, ended.end_price) == ("expired", Decimal("60000.0"))


def test_an_entry_that_waits_is_called_back_when_its_plan_expires(rig: Rig) -> None:
    """The market falls silent with an order on its way; when it speaks again the plan is over: nothing is opened by it."""
    plan = rig.plan(0.1, life_ms=40_000)
    rig.desk.tick(Mode.ACTIVE, {})
    assert len(rig.broker.working()) == 1
    rig.clock.advance(40_000)
    rig.broker.tick()
    rig.desk.tick(Mode.ACTIVE, {})
    assert rig.broker.working() == []
    rig.price(60_000)
    assert rig.round() == 0
    (order,) = rig.ledger.orders(rig.account, plan_id=plan.plan_id)
    assert (order.state, order.reason) == (OrderState.CANCELED, "expired")


def test_the_cost_against_the_price_at_arrival_is_known_afterwards(rig: Rig) -> None:
    """The price runs away by 10 a slice: the fills cost more than the arrival price, and the report says how much."""
    plan = rig.plan(0.1)
    for number in range(30):
        rig.price(60_000 + 2 * number)
        rig.round()
    done = rig.ledger.execution(plan.plan_id, BTC)
    assert done is not None
    assert (done.end_reason, done.arrival_price, done.change) == ("done", Decimal("60000.0"), Decimal("0.1"))
    fills = rig.ledger.executed(plan.plan_id, BTC)
    booked = rig.ledger.fills(rig.account)
    cost = shortfall(done.arrival_price, done.change, fills, done.end_price)
    assert cost.filled == Decimal("0.1")
    assert cost.opportunity == 0
    assert cost.price_cost == sum((one.fill.price - 60_000) * one.fill.quantity for one in booked)
    assert cost.price_cost > 0
    assert cost.fees == sum(one.fill.fee for one in booked)
