"""What the decision depends on, made to fail in turn: heartbeat, readings, candles, statistics. The real window decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hydra_core.decision import assessment as assessment_module
from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision, Mode, Plan, Schedule, Target
from hydra_core.home import Home
from hydra_core.ledger.records import TRADER
from hydra_core.replay.stage import Stage
from hydra_core.settings import Settings
from hydra_core.simulation import SyntheticMarket
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
