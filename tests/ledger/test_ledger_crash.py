"""A process is killed in the middle of its work: what was booked is whole, what was not is absent, and it can go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal

import pytest

from hydra_core.domain.trading import Fill
from hydra_core.ledger.store import Ledger

# Books fills, funding and decisions as fast as it can, telling each durable fill on standard output.
WORKER = """
import sys
from decimal import Decimal
from hydra_core.domain.trading import *
from hydra_core.ledger.records import *
from hydra_core.ledger.store import Ledger

ledger = Ledger.open(sys.argv[1])
claim = ledger.acquire_lease("window/paper/hydra", "r1", 0, 1000)
for n in range(int(sys.argv[2]), 100_000):
    order = OrderRecord(f"o{n}", "p", "paper", "BTCUSDT", Side(1 - 2 * (n % 2)), Decimal("0.3"), "market",
                        OrderState.NEW, n, n)
    ledger.record_order(order)
    fill = Fill("local", "BTCUSDT", str(n), order.order_id, "paper", order.side, Decimal(1 + n % 3) / 10,
                Decimal(60000 + n % 7), Decimal("0.01"), False, n)
    ledger.record_fill(fill, OrderState.FILLED)
    ledger.record_funding(FundingPayment("paper", "BTCUSDT", n, Decimal("0.0001"), Decimal(1), Decimal(1), Decimal("-0.1")))
    plan = Plan(f"p{n}", n, (), Schedule(), n + 1)
    decision = Decision(n, Mode.ACTIVE, {}, (), plan, (), {}, "0" * 64)
    ledger.commit_decision(DecisionRecord("paper", "hydra", decision, Pins({}, "", ""), {}, "r1", 0, 0), claim)
    print(n, flush=True)
"""


@pytest.mark.parametrize("after", [3, 11])
def test_a_killed_writer_leaves_whole_books(ledger_url: str, make_fill: Callable[..., Fill], after: int) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.open_account("paper", Decimal(1000), 0)
    told = _run_and_kill(ledger_url, first=1, lines=after)
    with Ledger.open(ledger_url) as ledger:
        assert ledger.check_balance("paper").faults == ()
        booked = {int(one.fill.trade_id) for one in ledger.fills("paper")}
        assert set(range(1, told + 1)) <= booked <= set(range(1, told + 200)), "nothing that was confirmed is gone"
        assert {line.plan_id for line in ledger.decisions("paper")} == {plan.plan_id for plan in ledger.plans("paper")}
        last = max(booked)
    told = _run_and_kill(ledger_url, first=1, lines=last + 5)
    with Ledger.open(ledger_url) as ledger:
        assert ledger.check_balance("paper").faults == ()
        assert told > last, "repeating every step from the start did no harm and it went on"


def _run_and_kill(url: str, first: int, lines: int) -> int:
    """Run the worker, kill it without warning after some lines; returns the last number it told."""
    told = 0
    with subprocess.Popen([sys.executable, "-c", WORKER, url, str(first)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            told = int(line)
            if told >= lines:
                break
        worker.send_signal(signal.SIGKILL)
        for line in worker.stdout:
            told = int(line)
    assert told >= lines, "the worker ended by itself"
    return told
