"""What the decision depends on, made to fail in turn: heartbeat, readings, candles, statistics. The real window decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hydra_core.decision import assessment as assessment_module
from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.market import MarkReading
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision, Mode, Plan, Schedule, Target
from hydra_core.home import Home
from hydra_core.ledger.records import TRADER
from hydra_core.market.endpoint import Endpoint
from hydra_core.replay.stage import Stage
from hydra_core.settings import Settings
from hydra_core.simulation import SyntheticMarket
from hydra_core.trader.sessions import Parts, Session, paper_session
from hydra_core.window import WindowConfig, run_window

PAIRS = (Pair("BTCUSDT"), Pair("ETHUSDT"))
BTC = PAIRS[0]
GRID = 30_000


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(3, 0.3, days=10)


@pytest.fixture
def stage(tmp_path: Path, market: SyntheticMarket) -> Iterator[Stage]:
    """A trader that holds BTC; from here on every test moves the clock and the readings itself."""
    settings = Settings(data_root=tmp_path, pairs=PAIRS)
    with Stage(market, Home(tmp_path, "synthetic-3-0.3"), settings, market.start_ms, Decimal(10_000)) as made:
        made.advance(market.start_ms + 5_000)
        made.force({BTC: 0.05}, {BTC: made.view.marks[BTC].mark * 0.5})
        made.advance(market.start_ms + GRID)
        assert made.ledger.positions(made.account)[BTC].quantity == Decimal("0.05")
        yield made


def decide(stage: Stage) -> Decision:
    """One cycle of the real window, at the next grid point."""
    now = stage.clock.market_ms()
    stage.clock.advance(GRID - now % GRID if now % GRID else 0)
    config = WindowConfig(stage.account, {}, "w", cycles=1, follow_champions=False, lease_wait_s=0.0)
    run_window(config, stage.home, stage.settings, stage.clock, stage.ledger)
    return stage.ledger.decision_records(stage.account, limit=1)[0].decision


def enters(decision: Decision) -> bool:
    """Whether a plan opens or enlarges anything."""
    return decision.plan is not None and any(abs(target.quantity) > 0.05 for target in decision.plan.targets)


def test_with_everything_well_it_is_active(stage: Stage) -> None:
    assert decide(stage).mode is Mode.ACTIVE


def test_a_stale_heartbeat_halts_the_next_cycle(stage: Stage) -> None:
    """The trader hangs: its readings and its sign of life grow old, and the decision does nothing."""
    stage.clock.advance(GRID)
    decision = decide(stage)
    assert (decision.mode, decision.plan) == (Mode.HALTED, None)
    assert "last heartbeat" in decision.trips["unreadable_input"]


def test_stamps_from_ahead_of_the_clock_are_no_sign_of_life(stage: Stage) -> None:
    """The machine's clock was set back under a trader that has died since: how old its words are cannot be told."""
    stage.clock.advance(0, wall_ms=-60_000)
    decision = decide(stage)
    assert (decision.mode, decision.plan) == (Mode.HALTED, None)
    assert "60.0 s ahead" in decision.trips["unreadable_input"]
    for pair in PAIRS:
        assert {f"{pair}: {what} is -60.0 s old, limit 15.0 s" for what in ("quote", "mark")} <= {
            *decision.input_faults
        }


@pytest.mark.parametrize("what", ["heartbeats", "portfolio", "statistics"])
def test_while_a_reading_hangs_nothing_is_decided(stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The window stands still in the reading: no decision, so no plan; once it is answered the window goes on."""
    owner, name = (assessment_module, "layer2") if what == "statistics" else (stage.ledger, what)
    whole = getattr(owner, name)
    reached, answer = threading.Event(), threading.Event()

    def hang(*words: object, **named: object) -> object:
        reached.set()
        assert answer.wait(30)
        return whole(*words, **named)

    monkeypatch.setattr(owner, name, hang)
    stuck = threading.Thread(target=decide, args=(stage,), daemon=True)
    stuck.start()
    assert reached.wait(30)
    assert stage.ledger.decisions(stage.account) == []
    assert stage.ledger.latest_plan(stage.account) is None
    answer.set()
    stuck.join(60)
    assert not stuck.is_alive()
    assert len(stage.ledger.decisions(stage.account)) == 1


def test_a_heartbeat_that_cannot_be_read_commits_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> object:
        raise VenueUnavailable("made to fail")

    monkeypatch.setattr(stage.ledger, "heartbeats", fail)
    with pytest.raises(VenueUnavailable):
        decide(stage)
    assert stage.ledger.decisions(stage.account) == []
    assert stage.ledger.lease(f"window/{stage.account}/hydra").run_id == "", "the lease is given back"  # type: ignore[union-attr]


def test_readings_that_grow_old_block_every_entry(stage: Stage) -> None:
    """The trader lives and its streams are silent: quotes and marks pass their age, each pair is blocked."""
    stage.clock.advance(GRID)
    stage.ledger.heartbeat(TRADER, stage.clock.wall_ms(), {})
    decision = decide(stage)
    assert not enters(decision)
    for pair in PAIRS:
        assert any(fault.startswith(f"{pair}: quote is") for fault in decision.input_faults)
        assert any(fault.startswith(f"{pair}: mark is") for fault in decision.input_faults)


def test_candles_that_stop_coming_reduce(stage: Stage) -> None:
    stage.clock.advance(15 * 60_000)
    stage._look(stage.clock.market_ms())
    stage._beat()
    stage.writer.flush()
    decision = decide(stage)
    assert decision.mode is Mode.REDUCING
    assert "bars ago" in decision.trips["unreadable_input"]
    assert not enters(decision)


@pytest.mark.parametrize("what", ["mean_correlation", "variance_ratio", "extreme"])
def test_a_statistic_that_is_no_number_reduces(stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    whole = assessment_module.layer2
    spoilt: dict[str, Callable[..., object]] = {
        "mean_correlation": lambda s: replace(s, mean_correlation=np.full_like(s.mean_correlation, np.nan)),
        "variance_ratio": lambda s: replace(s, variance_ratio=np.full_like(s.variance_ratio, np.nan)),
        "extreme": lambda s: replace(s, regimes=np.full_like(s.regimes, np.nan)),
    }
    monkeypatch.setattr(assessment_module, "layer2", lambda panel, last: spoilt[what](whole(panel, last)))
    decision = decide(stage)
    assert decision.mode is Mode.REDUCING
    assert "cannot be read" in decision.trips["unreadable_input"]
    assert not enters(decision)


def test_a_statistic_that_raises_commits_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise ArithmeticError("made to fail")

    monkeypatch.setattr(assessment_module, "layer2", fail)
    with pytest.raises(ArithmeticError):
        decide(stage)
    assert stage.ledger.decisions(stage.account) == []


def test_a_market_switch_that_a_decision_found_stands_at_the_guard_until_released(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision sees the extreme regime; the guard latches it, drops what it works, and a later calm changes nothing."""
    whole = assessment_module.layer2

    def extreme(panel: object, last: int) -> object:
        state = whole(panel, last)  # type: ignore[arg-type]
        regimes = np.zeros_like(state.regimes)
        regimes[..., 2] = 1.0
        return replace(state, regimes=regimes)

    monkeypatch.setattr(assessment_module, "layer2", extreme)
    decision = decide(stage)
    assert set(decision.trips) == {"extreme_regime"}
    assert stage.session.tick() is Mode.REDUCING
    monkeypatch.undo()
    now = stage.clock.market_ms()
    target = Target(PAIRS[1], 1.0, None, "test")
    plan = Plan("plan", now, (target,), Schedule(), now + 300_000)
    assert stage.ledger.record_plan(plan, stage.account, "hydra")
    stage.advance(stage.clock.market_ms() + 20_000)
    assert PAIRS[1] not in stage.ledger.positions(stage.account)
    assert set(stage.ledger.latched(stage.account)) == {"extreme_regime"}
    stage.ledger.command("resume", {}, stage.clock.wall_ms())
    assert stage.session.tick() is Mode.ACTIVE


def restarted(stage: Stage) -> Session:
    """The trader's next process on the same books."""
    rules = {pair: stage.market.rules(pair) for pair in PAIRS}
    parts = Parts(stage.home, stage.settings, Endpoint(), stage.clock, stage.ledger, stage.view, rules)
    return paper_session(parts, stage.ledger.account(stage.account))[0]


def step(stage: Stage) -> Decision:
    """Half a minute goes by with everything alive but the trader's own rounds, then the window decides."""
    stage.clock.advance(GRID)
    stage._look(stage.clock.market_ms())
    stage._beat()
    stage.writer.flush()
    return decide(stage)


def test_what_tripped_while_no_trader_looked_is_latched_and_what_was_released_stays_released(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One decision sees the extreme regime, the next is calm again, and only then does a trader look: the switch holds. A
    person releases it: no later start of a trader finds it in the old decision again."""
    whole = assessment_module.layer2

    def extreme(panel: object, last: int) -> object:
        state = whole(panel, last)  # type: ignore[arg-type]
        regimes = np.zeros_like(state.regimes)
        regimes[..., 2] = 1.0
        return replace(state, regimes=regimes)

    with monkeypatch.context() as patch:
        patch.setattr(assessment_module, "layer2", extreme)
        assert set(step(stage).trips) == {"extreme_regime"}
    assert step(stage).mode is Mode.ACTIVE
    assert restarted(stage).tick() is Mode.REDUCING
    assert set(stage.ledger.latched(stage.account)) == {"extreme_regime"}
    stage.ledger.command("resume", {}, stage.clock.wall_ms())
    assert stage.session.tick() is Mode.ACTIVE
    assert restarted(stage).tick() is Mode.ACTIVE
    assert stage.ledger.latched(stage.account) == {}


def test_a_release_given_while_the_trader_was_down_is_not_undone_by_what_was_decided_before(stage: Stage) -> None:
    """Halted by hand, decided so, everything ended, resumed, begun again: the first round is free, and so is the second."""
    stage.home.kill_file.write_text("halt\n")
    assert stage.session.tick() is Mode.HALTED
    assert "manual" in step(stage).trips
    stage.home.kill_file.unlink()
    stage.ledger.command("resume", {}, stage.clock.wall_ms())
    again = restarted(stage)
    assert again.tick() is Mode.ACTIVE
    assert again.tick() is Mode.ACTIVE
    assert stage.ledger.latched(stage.account) == {}
    assert step(stage).mode is Mode.ACTIVE


def contradicted(stage: Stage, monkeypatch: pytest.MonkeyPatch, *pairs: Pair) -> None:
    """From now on the marks of these pairs lie a tenth above their quotes."""
    whole = stage.market.mark

    def mark(pair: Pair, at: int) -> MarkReading:
        reading = whole(pair, at)
        return replace(reading, mark=reading.mark * 1.1) if pair in pairs else reading

    monkeypatch.setattr(stage.market, "mark", mark)


def test_a_plan_that_is_being_worked_waits_while_its_pair_has_a_fault(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ETH is entered and BTC made smaller in four slices when both marks begin to contradict their quotes. The decisions say
    so and keep the plan: ETH's slices wait, over a restart too, BTC's go on. Once a decision finds nothing, ETH goes on."""
    eth, now = PAIRS[1], stage.clock.market_ms()
    size = round(500 / stage.view.quotes[BTC].mid, 3), round(500 / stage.view.quotes[eth].mid, 2)
    targets = Target(BTC, 0.05 - size[0], None, "test"), Target(eth, size[1], None, "test")
    plan = Plan("plan", now, targets, Schedule("twap", 4, 120_000), now + 600_000)
    assert stage.ledger.record_plan(plan, stage.account, "hydra")

    def held() -> tuple[float, float]:
        positions = stage.ledger.positions(stage.account)
        return tuple(float(positions[pair].quantity) if pair in positions else 0.0 for pair in PAIRS)  # type: ignore[return-value]

    stage.advance(now + 20_000)
    begun = held()
    assert 0 < begun[1] < size[1]
    with monkeypatch.context() as patch:
        contradicted(stage, patch, *PAIRS)
        decision = step(stage)
        assert (decision.mode, decision.plan) == (Mode.ACTIVE, None)
        assert decision.faulty == set(PAIRS)
        stage.advance(now + 150_000)
        assert held()[1] == begun[1]
        assert held()[0] == pytest.approx(0.05 - size[0], abs=1e-3)
        assert restarted(stage).tick() is Mode.ACTIVE
        assert held()[1] == begun[1]
        assert stage.ledger.standing_plan(stage.account, stage.clock.market_ms()) == plan
        assert step(stage).plan is None, "the plan is neither cut nor proposed anew"
    stage._look(stage.clock.market_ms())
    assert step(stage).faulty == frozenset()
    stage.advance(stage.clock.market_ms() + 20_000)
    assert held()[1] == pytest.approx(size[1])


def test_a_fault_that_outlasts_the_plan_ends_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    eth, now = PAIRS[1], stage.clock.market_ms()
    contradicted(stage, monkeypatch, eth)
    assert step(stage).faulty == {eth}
    target = Target(eth, round(500 / stage.view.quotes[eth].mid, 2), None, "test")
    plan = Plan("plan", now + GRID, (target,), Schedule(), now + 3 * GRID)
    assert stage.ledger.record_plan(plan, stage.account, "hydra")
    stage.advance(now + 4 * GRID)
    assert eth not in stage.ledger.positions(stage.account)
    assert stage.ledger.executions(stage.account)[0].end_reason == "expired"
    monkeypatch.undo()
    stage._look(stage.clock.market_ms())
    assert step(stage).faulty == frozenset()
    stage.advance(stage.clock.market_ms() + 20_000)
    assert eth not in stage.ledger.positions(stage.account)
