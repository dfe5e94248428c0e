"""The trader's desk, paper broker and guard on a real ledger and a clock moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_core.broker.paper import PaperBroker
from hydra_core.broker.protocol import Standing
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import LockHeld
from hydra_core.domain.market import Liquidation, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, OrderState, Plan, Schedule, Side, Target
from hydra_core.home import Home
from hydra_core.lake.spool import Spool, read_spool, spool_file
from hydra_core.ledger.records import OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.settings import CostSettings, RiskSettings
from hydra_core.trader.desk import Desk
from hydra_core.trader.guard import Guard
from hydra_core.trader.lock import trader_lock
from hydra_core.trader.view import MarketView

BTC = Pair("BTCUSDT")
ETH = Pair("ETHUSDT")
START = 1_720_000_020_000
RULES = {pair: MarketRules(pair, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5)) for pair in (BTC, ETH)}


class Rig:
    """A trader's parts on one account, without sockets."""

    def __init__(self, folder: Path, ledger: Ledger, clock: ManualClock) -> None:
        self.home = Home(folder, "test").create()
        self.ledger = ledger
        self.clock = clock
        self.view = MarketView((BTC, ETH))
        account = ledger.current_account() or ledger.open_account("paper", Decimal(10_000), clock.market_ms())
        self.account = account.name
        self.broker = PaperBroker(ledger, self.account, self.view, clock, RULES, CostSettings(latency_ms=250))
        self.restored = self.broker.restore()
        self.desk = Desk(ledger, self.account, self.broker, self.view, clock, RULES)
        self.guard = Guard(
            self.home, ledger, self.account, self.desk, self.view, clock, RULES, RiskSettings(), broker=self.broker
        )

    def price(self, mid: float, pair: Pair = BTC, size: float = 100.0) -> None:
        now, wall = self.clock.market_ms(), self.clock.wall_ms()
        self.view.on_quote(Quote(pair, mid - 0.5, size, mid + 0.5, size, now, wall))
        self.view.on_mark(MarkReading(pair, mid, mid, 0.0001, now + 1000, now, wall))

    def round(self, ms: int = 1000) -> Mode:
        """One tick of the trader, then time goes on with the same prices."""
        self.broker.tick()
        mode = self.guard.tick()
        positions = self.ledger.positions(self.account)
        self.desk.tick(mode, positions)
        self.desk.protect(positions)
        self.clock.advance(ms)
        for pair, quote in list(self.view.quotes.items()):
            self.price(quote.mid, pair)
        return mode

    def plan(self, quantity: float, *, stop: float | None = None, slices: int = 4, pair: Pair = BTC) -> Plan:
        now = self.clock.market_ms()
        target = Target(pair, quantity, stop, "test")
        plan = Plan(f"plan-{now}-{pair}", now, (target,), Schedule("twap", slices, 120_000), now + 300_000)
        self.ledger.record_plan(plan, self.account, "default")
        return plan

    def held(self, pair: Pair = BTC) -> Decimal:
        position = self.ledger.positions(self.account).get(pair)
        return position.quantity if position else Decimal(0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def rig(tmp_path: Path, ledger: Ledger) -> Rig:
    made = Rig(tmp_path, ledger, ManualClock(START))
    made.price(60_000)
    made.price(3_000, ETH)
    return made


def test_a_target_is_reached_in_slices_and_never_passed(rig: Rig) -> None:
    """Four slices over two minutes: a quarter at a time, then exactly the target, then nothing more."""
    rig.plan(0.1)
    sizes = []
    for _ in range(200):
        rig.round()
        sizes.append(rig.held())
    assert sizes[3] == Decimal("0.025")
    assert sorted(set(sizes)) == [Decimal(q) for q in ("0", "0.025", "0.05", "0.075", "0.1")]
    assert len(rig.ledger.orders(rig.account)) == 4
    assert not rig.ledger.check_balance(rig.account).faults


def test_a_block_that_passes_keeps_entries_waiting_and_the_targets_alive(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun before, blocked for a while, over a restart: nothing is sent during the block, and nothing is given up."""
    rig.plan(0.1)
    for _ in range(5):
        rig.round()
    assert rig.held() == Decimal("0.025")
    with monkeypatch.context() as blocked:
        blocked.setattr(PaperBroker, "standing", property(lambda broker: Standing(block="not compared yet")))
        again = Rig(rig.home.root, rig.ledger, rig.clock)
        assert again.round() is Mode.REDUCING  # without any price yet
        again.price(60_000)
        for _ in range(70):
            assert again.round() is Mode.REDUCING
        assert again.held() == Decimal("0.025")
    assert {one.end_reason for one in rig.ledger.open_executions(rig.account, rig.clock.market_ms())} == {""}
    for _ in range(120):
        assert again.round() is Mode.ACTIVE
    assert again.held() == Decimal("0.1")
    assert len(rig.ledger.orders(rig.account)) == 3  # two slices fell due meanwhile and went as one


def test_a_target_that_was_reached_is_over_after_a_restart(rig: Rig) -> None:
    """What another hand does with the position from then on is not undone."""
    rig.plan(0.1, slices=1)
    for _ in range(5):
        rig.round()
    assert rig.held() == Decimal("0.1")
    again = Rig(rig.home.root, rig.ledger, rig.clock)
    again.price(60_000)
    now = rig.clock.market_ms()
    more = OrderRecord(
        "by-hand",
        "",
        rig.account,
        BTC,
        Side.LONG,
        Decimal("0.05"),
        "market",
        OrderState.NEW,
        now,
        now,
        reason="by hand",
    )
    assert rig.ledger.record_order(more)
    again.broker.submit(more)
    for _ in range(20):
        again.round()
    assert again.held() == Decimal("0.15")


def test_a_repeated_target_that_was_given_up_stays_so_after_a_restart(rig: Rig) -> None:
    """The plan that repeats it did not begin it: it is booked under the earlier one."""
    rig.plan(0.1, slices=4)
    rig.round()
    rig.plan(0.1, slices=4)
    rig.round()
    assert rig.desk.release(BTC, "another hand")
    held = rig.held()
    again = Rig(rig.home.root, rig.ledger, rig.clock)
    again.price(60_000)
    for _ in range(120):
        again.round()
    assert again.held() == held


def test_a_switch_that_trips_ends_the_targets(rig: Rig) -> None:
    rig.plan(0.1)
    rig.round()
    rig.home.kill_file.write_text("reduce")
    for _ in range(5):
        rig.round()
    assert rig.ledger.open_executions(rig.account, rig.clock.market_ms()) == []
    rig.home.kill_file.unlink()
    before = rig.held()
    for _ in range(30):
        rig.round()
    assert rig.held() == before


def test_a_repeated_target_keeps_its_schedule(rig: Rig) -> None:
    """A new plan with the same target every 30 s does not start the slices over."""
    for second in range(150):
        if second % 30 == 0:
            rig.plan(0.1)
        rig.round()
    assert rig.held() == Decimal("0.1")


def test_a_restart_in_the_middle_goes_on_where_it_was(rig: Rig, tmp_path: Path, ledger: Ledger) -> None:
    """The process dies after two slices: the next one knows the plan, its orders and its position, and finishes."""
    rig.plan(0.1)
    for _ in range(45):
        rig.round()
    before = (rig.held(), ledger.account(rig.account).cash, len(ledger.open_orders(rig.account)))
    reborn = Rig(tmp_path, ledger, rig.clock)
    assert (reborn.held(), ledger.account(reborn.account).cash, reborn.restored) == before
    reborn.price(60_000)
    for _ in range(120):
        reborn.round()
    assert reborn.held() == Decimal("0.1")
    assert len(ledger.orders(reborn.account)) == 4


def test_an_order_sent_before_the_crash_fills_after_it_once(rig: Rig, tmp_path: Path, ledger: Ledger) -> None:
    """The crash comes between sending and filling: the order is taken up, filled once, and not sent again."""
    rig.plan(0.1, slices=1)
    rig.round(ms=10)
    assert len(ledger.open_orders(rig.account)) == 1
    reborn = Rig(tmp_path, ledger, rig.clock)
    for _ in range(5):
        reborn.price(60_000)
        reborn.round()
    assert reborn.held() == Decimal("0.1")
    assert len(ledger.fills(reborn.account)) == 1


def test_an_expired_plan_changes_nothing(rig: Rig) -> None:
    rig.plan(0.1)
    rig.clock.advance(400_000)
    rig.price(60_000)
    for _ in range(5):
        rig.round()
    assert rig.held() == 0
    assert rig.ledger.orders(rig.account) == []


def test_turning_round_closes_first(rig: Rig) -> None:
    """From long to short: a reduce-only close, then an entry; no single order crosses zero."""
    rig.plan(0.1, slices=1)
    for _ in range(5):
        rig.round()
    rig.plan(-0.1, slices=1)
    for _ in range(10):
        rig.round()
    assert rig.held() == Decimal("-0.1")
    assert [order.reduce_only for order in reversed(rig.ledger.orders(rig.account))] == [False, True, False]


def test_a_stop_closes_the_position_at_once(rig: Rig) -> None:
    rig.plan(0.1, stop=59_000, slices=1)
    for _ in range(5):
        rig.round()
    rig.price(58_990)
    for _ in range(4):
        rig.round()
    assert rig.held() == 0
    assert "stop 59000" in rig.ledger.fills(rig.account)[0].fill.reason


def test_the_day_loss_flattens_latches_and_holds_until_released(rig: Rig) -> None:
    """Equity 5 % under the day's start: everything is closed, entries stay shut after the market is back."""
    rig.plan(0.3, slices=1)
    for _ in range(5):
        rig.round()
    rig.price(58_300)
    assert rig.round() is Mode.FLATTEN
    for _ in range(4):
        rig.round()
    assert rig.held() == 0
    rig.price(60_000)
    rig.plan(0.1, slices=1)
    for _ in range(4):
        assert rig.round() is Mode.FLATTEN
    assert rig.held() == 0
    rig.ledger.command("resume", {}, rig.clock.wall_ms())
    assert rig.round() is Mode.ACTIVE


def test_one_position_that_loses_three_percent_is_closed_and_barred(rig: Rig) -> None:
    rig.plan(0.1, slices=1)
    rig.round()
    rig.round()
    rig.price(56_900)
    for _ in range(4):
        rig.round()
    assert rig.held() == 0
    portfolio = rig.ledger.portfolio(rig.account, {}, rig.clock.market_ms())
    assert portfolio.barred == {BTC}


def test_the_kill_file_halts_and_flattens(rig: Rig) -> None:
    rig.plan(0.1, slices=1)
    for _ in range(4):
        rig.round()
    rig.home.kill_file.write_text("halt\n")
    rig.plan(0.2, slices=1)
    for _ in range(4):
        assert rig.round() is Mode.HALTED
    assert rig.held() == Decimal("0.1")
    rig.home.kill_file.write_text("flatten\n")
    for _ in range(4):
        rig.round()
    assert rig.held() == 0


def test_an_old_mark_of_a_held_pair_allows_only_smaller_positions(rig: Rig) -> None:
    """Marks stop coming while a position is open: no entry, but the position may be reduced."""
    rig.plan(0.1, slices=1)
    for _ in range(4):
        rig.round()
    rig.clock.advance(0, wall_ms=60_000)
    assert rig.guard.tick() is Mode.REDUCING
    assert "unreadable_input" in rig.guard.trips


def test_funding_is_charged_on_what_was_held_and_once(rig: Rig) -> None:
    rig.plan(0.1, slices=1)
    for _ in range(4):
        rig.round()
    settled = rig.clock.market_ms()
    cash = rig.ledger.account(rig.account).cash
    payment = rig.broker.settle(BTC, settled, Decimal("0.0001"))
    assert payment is not None
    assert payment.amount == -Decimal("0.1") * Decimal("60000.0") * Decimal("0.0001")
    assert rig.broker.settle(BTC, settled, Decimal("0.0001")) is None
    assert rig.ledger.account(rig.account).cash == cash + payment.amount
    assert rig.broker.settle(BTC, START - 1000, Decimal("0.0001")) is None, "nothing was held then"


@pytest.mark.parametrize(("apart_ms", "held"), [(-1, "0"), (1, "0.1")])
def test_who_closes_a_millisecond_before_a_settlement_pays_nothing_and_one_after_it_pays_all(
    rig: Rig, apart_ms: int, held: str
) -> None:
    """The settlement is booked a second later; quantity x mark x rate is of what was held at its stamp, to the last digit."""
    rig.plan(0.1, slices=1)
    for _ in range(4):
        rig.round()
    now = rig.clock.market_ms()
    settled = now + 60_000
    close = OrderRecord(
        "by-hand", "", rig.account, BTC, Side.SHORT, Decimal("0.1"), "market", OrderState.NEW, now, now,
        reduce_only=True, reason="by hand",
    )  # fmt: skip
    assert rig.ledger.record_order(close)
    rig.broker.submit(close)
    rig.clock.advance(settled + apart_ms - now)
    rig.price(60_000)
    assert rig.broker.tick() == 1
    assert rig.held() == 0
    assert rig.ledger.fills(rig.account)[0].fill.event_ms == settled + apart_ms
    rig.clock.advance(1_000)
    rig.price(60_000)
    cash = rig.ledger.account(rig.account).cash
    payment = rig.broker.settle(BTC, settled, Decimal("0.0001"))
    due = -Decimal(held) * Decimal("60000.0") * Decimal("0.0001")
    assert (payment.amount if payment else Decimal(0)) == due
    assert rig.ledger.account(rig.account).cash == cash + due
    assert len(rig.ledger.funding_payments(rig.account)) == (1 if due else 0)


def test_a_large_order_pays_more_than_the_best_price(rig: Rig) -> None:
    for step in range(24):
        rig.view.on_bar(BTC, START - (24 - step) * 300_000, 60_000 + 60 * (step % 2), 50)
    rig.price(60_000, size=0.01)
    rig.plan(0.3, slices=1)
    rig.round()
    rig.price(60_000, size=0.01)
    rig.broker.tick()
    assert rig.ledger.fills(rig.account)[0].fill.price > Decimal("60000.5")


def test_crossed_and_older_quotes_are_not_taken(rig: Rig) -> None:
    now = rig.clock.market_ms()
    assert not rig.view.on_quote(Quote(BTC, 61_000, 1, 60_000, 1, now + 1, now))
    assert not rig.view.on_quote(Quote(BTC, 59_000, 1, 59_001, 1, now - 1, now))
    assert rig.view.quotes[BTC].mid == 60_000


def test_only_one_trader_holds_a_home(tmp_path: Path) -> None:
    import subprocess
    import sys

    with trader_lock(tmp_path):
        code = (
            "import pathlib, sys; from hydra_core.trader.lock import trader_lock\n"
            "with trader_lock(pathlib.Path(sys.argv[1])): pass"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert "LockHeld" in done.stderr
        assert "in use by another trader" in done.stderr
    with trader_lock(tmp_path):
        pass
    with pytest.raises(LockHeld), trader_lock(tmp_path), trader_lock(tmp_path):
        pass


def test_the_spool_keeps_forced_orders_whole_and_once(tmp_path: Path) -> None:
    """A line cut off by a crash is skipped; the same event written twice counts once."""
    event = Liquidation(BTC, START, True, 0.5, 60_000.0)
    with Spool(tmp_path) as spool:
        spool.add(event)
        spool.add(event)
    with spool_file(tmp_path, BTC, START).open("a") as file:
        file.write('{"ts": 17')
    with Spool(tmp_path) as spool:
        spool.add(Liquidation(BTC, START + 5, False, 0.25, 60_010.0))
    frame = read_spool(tmp_path, BTC, START, START + 10)
    assert frame["side"].to_list() == ["long", "short"]
    assert frame["quantity"].to_list() == [0.5, 0.25]


def test_sides_are_signed() -> None:
    assert int(Side.LONG) == 1
    assert int(Side.SHORT) == -1
