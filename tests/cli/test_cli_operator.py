"""What the operator is shown: positions with their liquidation, orders, refusals, switches, signs of life, costs, and why."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hydra_core.cli.main import app
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.market import MarketRules, MarkReading
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import (
    Choice,
    Decision,
    Fill,
    Mode,
    OrderState,
    PairDecision,
    Pins,
    Plan,
    Schedule,
    Side,
    Signal,
    Target,
    Verdict,
    Vote,
)
from hydra_core.home import Home, home_named, use_home
from hydra_core.ledger.livestate import LiveStateWriter
from hydra_core.ledger.records import DecisionRecord, Execution, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.report.dashboard import dashboard
from hydra_core.report.execution import execution_sections
from hydra_core.settings import Settings

START = 1_730_160_000_000
BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
D = Decimal
PLAN = Plan("plan-1", START, (Target(BTC, 0.1, 58_000.0, "approved"),), Schedule("vwap", 4, 120_000), START + 300_000)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A day in the life: long BTC and short ETH, an order at work, one refused, a switch latched, a plan half done."""
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    made = use_home(home_named(tmp_path, "synthetic-7-0.3"))
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=30, start_ms=START))
    rules = {pair: MarketRules(pair, D("0.1"), D("0.001"), D("0.001"), D(5), D("0.01")) for pair in (BTC, ETH)}
    with LiveStateWriter(made.live_state) as writer:
        writer.set_rules(rules)
        writer.add_mark(MarkReading(BTC, 61_000.0, 61_000.0, 0.0001, START, START, 1))
        writer.add_mark(MarkReading(ETH, 3_000.0, 3_000.0, 0.0001, START, START, 1))
    with Ledger.open(made.ledger_url) as ledger:
        ledger.open_account("paper", D(10_000), START)
        _decide(ledger)
        _trade(ledger)
        ledger.latch("paper", "extreme_regime", "probability 0.95 is over 0.9", Mode.REDUCING, START + 5)
        beat = {"account": "paper", "trips": {"unreadable_input": "mark is stale"}, "streams": {"klines": True}}
        ledger.heartbeat("trader", SystemClock().wall_ms(), beat)
    return made


def _decide(ledger: Ledger) -> None:
    signal = Signal(BTC, 0.01, 0.7, 0.01, 0.02, 14_400_000, START)
    votes = (Vote("forecaster", Choice.APPROVE, "confidence 0.70"), Vote("crowd", Choice.ABSTAIN, "no champion"))
    pairs = (
        PairDecision(
            BTC, signal, Verdict(BTC, Side.LONG, True, 6000.0, 1.5, 58_000.0, "sized"), votes, "enter", "approved"
        ),
        PairDecision(ETH, None, None, votes, "outvoted", "too few approvals: crowd abstains"),
    )
    claim = ledger.acquire_lease("window/paper/hydra", "run", 1, 60_000)
    assert claim is not None
    for cycle_ms, plan in ((START, PLAN), (START + 30_000, None)):
        decision = Decision(cycle_ms, Mode.ACTIVE, {}, pairs, plan, (), {}, "d" * 64)
        pins = Pins({"forecaster": "f" * 64}, "s" * 64, "0.1.0")
        ledger.commit_decision(DecisionRecord("paper", "hydra", decision, pins, {}, "run", 12, 1), claim)


def _trade(ledger: Ledger) -> None:
    ledger.record_executions(
        [Execution("plan-1", "paper", PLAN.targets[0], PLAN.schedule, START, START + 300_000, D(0), START, D(60_000))]
    )
    for number, (pair, side, size, state, why) in enumerate(
        (
            (BTC, Side.LONG, "0.1", OrderState.NEW, "approved"),
            (ETH, Side.SHORT, "1", OrderState.NEW, "approved"),
            (BTC, Side.LONG, "0.05", OrderState.UNKNOWN, "approved"),
            (BTC, Side.LONG, "0.05", OrderState.REJECTED, "notional 3.00 is below 5"),
        )
    ):
        plan_id = "plan-1" if pair == BTC else "stop-7"
        ledger.record_order(
            OrderRecord(
                f"hy-{number}", plan_id, "paper", pair, side, D(size), "market", state, START, START, reason=why
            )
        )
    ledger.record_fill(
        Fill("local", BTC, "1", "hy-0", "paper", Side.LONG, D("0.1"), D(60_030), D("3"), False, START + 1),
        OrderState.FILLED,
    )
    ledger.record_fill(
        Fill("local", ETH, "2", "hy-1", "paper", Side.SHORT, D(1), D(3_000), D("1.5"), False, START + 2),
        OrderState.FILLED,
    )


def said(*words: str) -> Any:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_positions_show_where_the_account_would_be_liquidated_and_how_far_that_is(home: Home) -> None:
    """At the price that is shown, with the other position standing still, equity is just the maintenance margin of both."""
    view = said("portfolio", "show")
    cash = 10_000 - 3 - 1.5
    assert view["equity"] == pytest.approx(cash + 0.1 * (61_000 - 60_030))
    assert view["maintenance"] == pytest.approx(0.01 * (6_100 + 3_000))
    lines = {line["pair"]: line for line in view["positions"]}
    short = lines["ETHUSDT"]
    at = short["liquidation"]
    assert cash + 0.1 * (61_000 - 60_030) - (at - 3_000) == pytest.approx(0.01 * (6_100 + at))
    assert short["distance"] == pytest.approx(at / 3_000 - 1)
    assert lines["BTCUSDT"]["liquidation"] is None, "the account is worth more than the long's whole notional"
    assert [order["order_id"] for order in view["working_orders"]] == ["hy-2"]
    assert view["heartbeats"][0]["who"] == "trader"


def test_positions_are_liquidated_by_the_exchanges_margin_tables_where_they_are_known(home: Home) -> None:
    """The short's price rises through three steps: at the price shown equity is what its table asks, and the long's rate."""
    steps = ((0.0, 0.01), (5_000.0, 0.02), (10_000.0, 0.1))
    rules = {pair: MarketRules(pair, D("0.1"), D("0.001"), D("0.001"), D(5), D("0.01")) for pair in (BTC, ETH)}
    with LiveStateWriter(home.live_state) as writer:
        writer.set_rules({**rules, ETH: replace(rules[ETH], margin_steps=steps)})
    cash = 10_000 - 3 - 1.5
    short = {line["pair"]: line for line in said("portfolio", "show")["positions"]}["ETHUSDT"]
    at = short["liquidation"]
    assert at > 10_000, "beyond the last step's floor for one unit"
    asked = 0.1 * at - (5_000 * 0.01 + 10_000 * 0.08)
    assert cash + 0.1 * (61_000 - 60_030) - (at - 3_000) == pytest.approx(0.01 * 6_100 + asked)


def test_orders_refusals_and_switches_say_why(home: Home) -> None:
    assert [order["state"] for order in said("portfolio", "orders")["orders"]] == ["unknown"]
    told = {(line["pair"], line["outcome"]): line for line in said("portfolio", "refusals")["refusals"]}
    assert told["ETHUSDT", "outvoted"]["times"] == 2
    assert told["ETHUSDT", "outvoted"]["reason"] == "too few approvals: crowd abstains"
    assert told["BTCUSDT", "order hy-3"]["reason"] == "notional 3.00 is below 5"
    lines = {line["name"]: line for line in said("portfolio", "switches")["switches"]}
    assert (lines["extreme_regime"]["state"], lines["extreme_regime"]["since_ms"]) == ("latched", START + 5)
    assert (lines["unreadable_input"]["state"], lines["unreadable_input"]["reason"]) == ("tripped", "mark is stale")
    assert lines["day_loss"]["state"] == "clear"
    home.kill_file.write_text("halt\n")
    with Ledger.open(home.ledger_url) as ledger:
        ledger.heartbeat("trader", 1)
    lines = {line["name"]: line for line in said("portfolio", "switches")["switches"]}
    assert (lines["manual"]["state"], lines["day_loss"]["state"]) == ("tripped", "not judged")
    assert lines["manual_flatten"]["state"] == "clear"
    home.kill_file.write_text("flatten\n")
    lines = {line["name"]: line for line in said("portfolio", "switches")["switches"]}
    assert (lines["manual"]["state"], lines["manual_flatten"]["state"]) == ("clear", "tripped")
    assert said("portfolio", "show")["mode"] == "flatten"


def test_an_order_that_was_held_back_here_is_told_with_its_reason(home: Home) -> None:
    """What the filters cannot express, or a block forbids, never reaches the exchange: it is a refusal all the same."""
    with Ledger.open(home.ledger_url) as ledger:
        for name, filled in (("hy-held", False), ("hy-part", True)):
            ledger.record_order(
                OrderRecord(name, "plan-1", "paper", BTC, Side.LONG, D("0.1"), "market", OrderState.NEW, START, START)
            )
            if filled:
                ledger.move_order(name, OrderState.OPEN, START + 1, venue_order_id="77")
            ledger.move_order(name, OrderState.CANCELED, START + 2, "a position of 9 is over the bracket's 5")
    told = {line["outcome"]: line for line in said("portfolio", "refusals")["refusals"]}
    assert told["order hy-held"]["reason"] == "a position of 9 is over the bracket's 5"
    assert "order hy-part" not in told


def test_executions_show_their_cost_against_arrival(home: Home) -> None:
    told = said("portfolio", "executions")
    (one,) = told["executions"]
    assert one["shortfall"]["price_cost"] == "3.0"
    assert one["shortfall"]["price_bp"] == pytest.approx(5.0)
    (mean,) = told["means"]
    assert (mean["kind"], mean["executions"]) == ("vwap", 1)
    assert mean["total_bp"] == pytest.approx(10.0), "5 bp of price, 5 bp of fees"


def test_an_audit_of_an_order_goes_back_to_the_votes_and_versions(home: Home) -> None:
    told = said("audit", "hy-0")
    assert told["plan"]["plan_id"] == "plan-1"
    assert told["decision"]["votes"][0]["reason"] == "confidence 0.70"
    assert told["pins"]["models"] == {"forecaster": "f" * 64}
    assert told["fills"][0]["fill"]["trade_id"] == "1"
    assert told["shortfall"]["price_cost"] == "3.0"
    text = shown("audit", "hy-0")
    for words in ("forecaster: approve (confidence 0.70)", "risk: 6000.00 USDT", "settings ssss", "against arrival"):
        assert words in text
    assert "a protective exit of the guard (stop-7)" in said("audit", "hy-1")["origin"]


def test_an_audit_of_a_cycle_says_everything_that_was_said(home: Home) -> None:
    told = said("audit", str(START))
    assert [pair["outcome"] for pair in told["decision"]["pairs"]] == ["enter", "outvoted"]
    assert {order["order_id"] for order in told["orders"]} == {"hy-0", "hy-2", "hy-3"}
    assert "no plan: nothing was to be changed" in shown("audit", str(START + 30_000))
    assert "hold +0.1 BTCUSDT: approved" in shown("audit", "2024-10-29T00:00:00")
    for words, says in (
        (("audit", "nonsense"), "no order 'nonsense'"),
        (("audit", "1730160000001"), "decided nothing"),
    ):
        result = CliRunner().invoke(app, list(words))
        assert (result.exit_code, says in result.stderr) == (1, True)


def test_the_dashboard_shows_all_of_it(home: Home) -> None:
    console = Console(file=io.StringIO(), width=180)
    with Ledger.open(home.ledger_url) as ledger:
        console.print(dashboard(home, ledger, "paper", Settings(data_root=home.root), SystemClock().wall_ms()))
    text = console.file.getvalue()
    for words in (
        "extreme_regime: latched", "probability 0.95 is over 0.9", "clear:", "day_loss", "liquidation", "distance",
        "working orders", "unknown", "refusals", "too few approvals: crowd abstains", "notional 3.00 is below 5", "trader",
        "s ago", "vwap",
    ):  # fmt: skip
        assert words in text, words


def test_the_report_has_a_page_on_execution(home: Home) -> None:
    with Ledger.open(home.ledger_url) as ledger:
        (section,) = execution_sections(ledger, "paper")
        assert section.tables[0].rows == [("vwap", 1, 5.0, 5.0, 0.0, 10.0)]
        assert section.tables[1].rows[0][1:5] == ("BTCUSDT", "vwap", 0.1, 0.1)
        assert execution_sections(ledger, "nobody") == []
