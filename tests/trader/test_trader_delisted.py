"""A pair that the exchange trades no more: the desk leaves its target alone and works the others."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from hydra_core.broker.paper import PaperBroker
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Plan, Schedule, Target
from hydra_core.ledger.store import Ledger
from hydra_core.settings import CostSettings
from hydra_core.trader.desk import Desk
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
