"""Replay: every recorded decision comes out again to the last bit, and what was altered is found."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hydra_core.alpha.analyst import AnalystDesk, AnalystFacts
from hydra_core.alpha.models import Forecast, Models
from hydra_core.domain.errors import ArtifactInvalid, HydraError, UsageError
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Liquidation, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Analysis, Mode
from hydra_core.ledger import codec
from hydra_core.ledger.livestate import LiveStateReader
from hydra_core.replay import decision as replay_decision
from hydra_core.replay import replay
from hydra_core.replay.decision import Remaker
from hydra_core.settings import RiskSettings, Settings
from hydra_core.window import CycleReport, WindowConfig, run_window
from hydra_core.window import run as window_run
from hydra_core.window.cycle import Frame

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")


@pytest.fixture
def recorded(session):
    """12 decisions over a bar close or more: prices move, readings are revised, an exit is planned, a switch trips."""
    session.hold(BTC, "0.5", session.prices[BTC])
    session.hold(ETH, "-0.4", session.prices[ETH] * 0.5)
    rng = np.random.default_rng(5)

    def live(report: CycleReport) -> None:
        at = report.cycle_ms
        session.feed(drift=float(rng.normal(0, 0.001)))
        session.writer.add_liquidation(Liquidation(BTC, at - 1, True, float(rng.uniform(1, 2)), 100.1), 0)
        session.writer.add_series("open_interest", ETH, at - at % Interval.M5.ms, float(rng.uniform(9e3, 1e4)), 0)
        session.writer.flush()
        if report.cycle_ms % 120_000 == 0:
            session.ledger.latch("paper", "manual", "by hand", Mode.REDUCING, at)
        session.beat()

    run_window(
        WindowConfig("paper", {}, "r1", cycles=12), session.home, session.settings, session.clock(600.0),
        session.ledger, live,
    )  # fmt: skip
    return session


def test_every_decision_of_a_session_replays_bit_for_bit(recorded) -> None:
    lines = recorded.ledger.decisions("paper")
    assert len(lines) == 12
    assert any(line.plan_id for line in lines), "the session must contain a plan to be worth replaying"
    assert len({line.mode for line in lines}) > 1
    hashes = set()
    for line in lines:
        result = replay(line.cycle_ms, recorded.home, recorded.ledger)
        assert result.identical, result.differences
        assert (result.differences, result.notes) == ((), ())
        assert codec.dumps(result.remade) == codec.dumps(result.stored)
        hashes.add(result.stored.data_hash)
    assert len(hashes) == 12, "each cycle saw other data"


def test_a_replay_uses_the_settings_of_then(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle = recorded.ledger.decisions("paper")[0].cycle_ms
    monkeypatch.setenv("HYDRA_RISK__KELLY_FRACTION", "0.9")
    assert replay(cycle, recorded.home, recorded.ledger).identical


def test_an_altered_candle_is_found(recorded) -> None:
    cycle = recorded.ledger.decisions("paper")[0].cycle_ms
    with sqlite3.connect(recorded.home.live_state) as connection:
        connection.execute(
            "UPDATE candle SET close = close * 1.0000001 WHERE pair = 'BTCUSDT' AND ts = ?",
            (Interval.M5.last_closed(cycle) - 10 * Interval.M5.ms,),
        )
    connection.close()
    result = replay(cycle, recorded.home, recorded.ledger)
    assert not result.identical
    assert {"inputs.panel_hash", "data_hash"} <= {found.path for found in result.differences}
    assert result.to_json()["identical"] is False


def test_a_lost_live_state_is_named(recorded, tmp_path: Path) -> None:
    from hydra_core.ledger.livestate import LiveStateWriter

    cycle = recorded.ledger.decisions("paper")[0].cycle_ms
    recorded.writer.close()
    for file in recorded.home.path.glob("live.db*"):
        file.unlink()
    recorded.writer = LiveStateWriter(recorded.home.live_state)
    with pytest.raises(HydraError, match="lost and rebuilt"):
        replay(cycle, recorded.home, recorded.ledger)


def test_a_cycle_that_was_not_decided_is_the_callers_mistake(recorded) -> None:
    with pytest.raises(UsageError, match="no decision at 1970"):
        replay(30_000, recorded.home, recorded.ledger)


def test_an_earlier_accounts_decision_is_found_without_naming_it(recorded) -> None:
    cycle = recorded.ledger.decisions("paper")[0].cycle_ms
    recorded.ledger.open_account("paper", Decimal(5), cycle)
    assert replay(cycle, recorded.home, recorded.ledger).account == "paper"
    with pytest.raises(UsageError):
        replay(cycle, recorded.home, recorded.ledger, account="paper-2")


def test_limits_survive_being_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_RISK__KELLY_FRACTION", "0.123456789")
    frame = Frame.of(Settings(pairs=(ETH, BTC)))
    kept = frame.kept()
    assert Frame.read(kept.text) == frame
    assert Frame.read(kept.text).kept() == kept
    monkeypatch.setenv("HYDRA_RISK__KELLY_FRACTION", "0.2")
    assert Frame.of(Settings(pairs=(ETH, BTC))).kept() != kept


class SteadyForecaster:
    """Expects the same of every pair, always."""

    version, lookback, horizon_bars, inputs = "steady", 1, 48, frozenset({CANDLES})

    def forecast(self, panel: Panel, last: int) -> Forecast:
        ones = np.ones((last, len(panel.pairs)))
        return Forecast(0.1 * ones, 0.95 * ones, 0.01 * ones, 0.014 * ones)


def test_decisions_of_before_and_after_a_change_of_the_margin_tables_replay(
    session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leverage binds: the table that was in force when a decision was made is the one that it is made again by."""
    for module in (window_run, replay_decision):
        monkeypatch.setattr(module, "load_models", lambda *_, **__: Models(forecaster=SteadyForecaster()))
    risk = RiskSettings(
        risk_per_trade=0.2, max_leverage=20, kelly_fraction=1, edge_observations=0, max_expected_shortfall=1,
    )  # fmt: skip
    session.settings = session.settings.model_copy(update={"risk": risk})
    with LiveStateReader(session.home.live_state, ()) as reader:
        reader.refresh()
        public = reader.readings().rules

    def live(report: CycleReport) -> None:
        steps = ((0.0, 0.1), (5_000.0, 0.2 if session.ledger.decisions("paper")[1:] else 0.1))
        session.writer.set_rules({**public, BTC: replace(public[BTC], margin_steps=steps)})
        session.feed()
        session.beat()

    run_window(
        WindowConfig("paper", {}, "r1", cycles=3, follow_champions=False), session.home, session.settings,
        session.clock(200.0), session.ledger, live,
    )  # fmt: skip
    records = sorted(session.ledger.decision_records("paper"), key=lambda record: record.cycle_ms)
    leverages = [record.decision.pairs[0].verdict.leverage for record in records]
    assert leverages[1:] == pytest.approx([1 / (0.056 + rate) for rate in (0.1, 0.2)])
    assert leverages[0] > 2 * leverages[1], "no table was known yet"
    assert len({record.decision.pairs[1].verdict.leverage for record in records}) == 1
    with Remaker(session.home, session.ledger) as remaker:
        assert all(remaker.remake(record).result.identical for record in (*records, records[0]))


def test_a_missing_model_is_noted(session) -> None:
    """The pinned artifact never existed: its seat was empty then and is empty now, and the replay says so."""
    wanted = WindowConfig("paper", {"crowd": "c" * 64}, "r1", cycles=1, follow_champions=False)
    run_window(wanted, session.home, session.settings, session.clock(200.0), session.ledger)
    result = replay(session.ledger.decisions("paper")[0].cycle_ms, session.home, session.ledger)
    assert result.identical
    assert any("pinned crowd does not load" in note for note in result.notes)
    assert issubclass(ArtifactInvalid, HydraError)


class CrowdedAnalyst:
    """Answers every question the same way."""

    available = True

    def analyse(self, facts: AnalystFacts) -> Analysis:
        zones = ((1.0, 2.0),)
        return Analysis(
            facts.pair,
            0.9,
            "long",
            "short",
            0.8,
            ("crowded",),
            zones,
            (),
            "double",
            facts.close_ms,
            facts.close_ms + 900_000,
        )


def test_analyses_from_beside_the_cycle_are_recorded_and_replayed(session) -> None:
    """The first cycle asks and decides without waiting; a later one finds the answers, and its replay needs no analyst."""

    def live(_report: CycleReport) -> None:
        session.feed()

    with AnalystDesk(CrowdedAnalyst()) as desk:
        run_window(
            WindowConfig("paper", {}, "r1", cycles=6), session.home, session.settings, session.clock(100.0),
            session.ledger, live, desk=desk,
        )  # fmt: skip
    records = session.ledger.decision_records("paper")
    assert records[-1].inputs["analyses"] == {}
    assert records[0].inputs["analyses"]["BTCUSDT"]["source"] == "double"
    for record in records:
        assert replay(record.cycle_ms, session.home, session.ledger).identical
