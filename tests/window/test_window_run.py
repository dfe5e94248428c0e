"""The window run: every grid point of market time decided once or booked as missed, and nothing after it was replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hydra_core.alpha.registry import Card, ModelRegistry, write_card
from hydra_core.domain.errors import HydraError, InputMissing, LockHeld
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.trading import Mode
from hydra_core.home import Home
from hydra_core.ledger.records import lease_name
from hydra_core.ledger.store import Ledger
from hydra_core.window import CycleReport, WindowConfig, WindowSummary, run_window

BTC = Pair("BTCUSDT")
GRID = 30_000
LEASE = lease_name("paper")


def config(**changes: object) -> WindowConfig:
    values = {"account": "paper", "pins": {}, "run_id": "r1", "lease_wait_s": 0.0} | changes
    return WindowConfig(**values)


def window(
    session, wanted: WindowConfig, speed: float = 150.0, *, market_ms: int | None = None, **options
) -> WindowSummary:
    clock = session.clock(speed) if market_ms is None else session.clock(speed, market_ms)
    return run_window(wanted, session.home, session.settings, clock, session.ledger, **options)


def covered(ledger: Ledger) -> list[int]:
    """Every grid point that is answered for, decided or missed."""
    points = [line.cycle_ms for line in ledger.decisions("paper")]
    for span in ledger.missed("paper", "hydra"):
        made = range(span.first_ms, span.last_ms + 1, GRID)
        assert len(made) == span.points
        points.extend(made)
    return sorted(points)


def test_every_grid_point_is_decided_once_or_booked_as_missed(session) -> None:
    reports: list[CycleReport] = []
    summary = window(session, config(cycles=8), on_cycle=reports.append)
    assert (summary.ended, summary.decided) == ("cycles done", 8)
    points = covered(session.ledger)
    assert points == list(range(points[0], points[0] + summary.cycles * GRID, GRID))
    assert [report.cycle_ms for report in reports] == sorted(
        line.cycle_ms for line in session.ledger.decisions("paper")
    )
    assert summary.modes == {"active": 8}
    assert summary.outcomes == {"no-signal": 8 * len(DEFAULT_PAIRS)}
    json.dumps(summary.to_json())
    lease = session.ledger.lease(LEASE)
    assert lease is not None
    assert not lease.held(0), "the lease is given back"


def test_the_current_grid_point_is_decided_at_once(session) -> None:
    """A window that starts between two grid points does not wait for the next one when this one is undecided."""
    clock = session.clock(speed=0.001)
    wanted = clock.market_ms() // GRID * GRID
    assert window(session, config(cycles=1), speed=0.001, market_ms=wanted + 17_000).first_cycle_ms == wanted
    again = window(session, config(window_s=0.1), speed=0.001, market_ms=wanted + 18_000)
    assert (again.decided, again.ended) == (0, "window over"), "it is decided now; the next lies beyond the window"


def test_the_next_window_books_the_gap_and_goes_on(session) -> None:
    first = window(session, config(cycles=1))
    assert first.last_cycle_ms is not None
    resumed = first.last_cycle_ms + 10 * GRID
    second = window(session, config(cycles=1, run_id="r2"), speed=0.001, market_ms=resumed)
    assert (second.first_cycle_ms, second.missed) == (resumed, 9)
    spans = session.ledger.missed("paper", "hydra")
    assert (spans[0].points, spans[0].reason) == (9, "no window was running")


def test_a_decision_names_what_made_it(session) -> None:
    window(session, config(cycles=1, pins={"forecaster": "f" * 64}, follow_champions=False))
    record = session.ledger.decision_records("paper")[0]
    assert record.pins.models == {"forecaster": "f" * 64}
    assert record.pins.settings_hash == session.settings.decision_hash
    assert set(record.inputs["quotes"]) == set(DEFAULT_PAIRS)
    assert record.inputs["watermarks"]["candle"] > 0
    assert all("no forecaster" in pair.reason or "forecast" in pair.reason for pair in record.decision.pairs)


def test_a_losing_position_makes_a_plan_that_the_trader_finds(session) -> None:
    session.hold(BTC, "0.5", session.prices[BTC] * 2)
    summary = window(session, config(cycles=1))
    plan = session.ledger.latest_plan("paper")
    assert (summary.plans, plan is not None) == (1, True)
    (target,) = [target for target in plan.targets if target.pair == BTC]
    assert target.quantity == 0.0
    assert session.ledger.standing_plan("paper", plan.cycle_ms + 1) == plan


def test_a_silent_trader_means_a_recorded_decision_to_do_nothing(session) -> None:
    """The position cries for its exit, but nobody would carry it out: the cycle is recorded, no plan is made."""
    session.hold(BTC, "0.5", session.prices[BTC] * 2)
    session.beat(age_ms=60_000)
    summary = window(session, config(cycles=1))
    record = session.ledger.decision_records("paper")[0]
    assert (summary.plans, record.decision.plan, record.decision.mode) == (0, None, Mode.HALTED)
    assert any("last heartbeat" in reason for reason in record.decision.trips.values())


def test_a_position_without_a_mark_is_a_fault(session) -> None:
    session.hold(Pair("DOGEUSDT"), "3", 500.0)
    with session.writer._connection as connection:
        connection.execute("DELETE FROM mark WHERE pair = 'DOGEUSDT'")
    window(session, config(cycles=1))
    assert any("has no mark" in fault for fault in session.ledger.decision_records("paper")[0].decision.input_faults)


def test_before_the_first_candle_points_are_missed_with_the_reason(session, tmp_path: Path) -> None:
    from hydra_core.ledger.livestate import LiveStateWriter

    home = Home(tmp_path, "empty").create()
    LiveStateWriter(home.live_state).close()
    summary = run_window(config(window_market_s=60), home, session.settings, session.clock(600.0), session.ledger)
    assert (summary.decided, summary.missed > 0) == (0, True)
    assert "no 5m candle" in session.ledger.missed("paper", "hydra")[0].reason


def test_without_a_trader_ever_the_window_says_so(session, tmp_path: Path) -> None:
    home = Home(tmp_path, "absent").create()
    with pytest.raises(InputMissing, match="no live state"):
        run_window(config(cycles=1), home, session.settings, session.clock(), session.ledger)


def test_a_new_champion_ends_the_window(session, tmp_path: Path) -> None:
    registry = ModelRegistry(session.home.models)
    folder = tmp_path / "artifact"
    folder.mkdir()
    write_card(folder, Card(kind="crowd", inputs=("candles",), lookback=1, horizon_bars=48))
    version = registry.save("crowd", folder)

    def promote(report: CycleReport) -> None:
        registry.promote("crowd", version, {}, at_ms=report.cycle_ms)

    summary = window(session, config(window_s=30), on_cycle=promote)
    assert (summary.ended, summary.decided) == ("champions changed", 1)
    assert window(session, config(window_s=30)).decided == 0, "pins that are not the champions end it before it decides"
    pinned = config(cycles=1, pins={"crowd": version})
    assert window(session, pinned).ended == "cycles done"


@pytest.mark.parametrize(
    ("fault", "why"), [("altered", "was altered"), ("old", "has held its seat for 30 days, limit 28")]
)
def test_a_champion_that_cannot_be_trusted_abstains_with_its_reason(
    session, tmp_path: Path, fault: str, why: str
) -> None:
    """Its pin stays in the decision, its seat says nothing, and both the decision and the window's summary say why."""
    registry = ModelRegistry(session.home.models)
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.bin").write_text("weights")
    write_card(folder, Card(kind="forecaster", inputs=("candles",), lookback=1, horizon_bars=48))
    version = registry.save("forecaster", folder)
    age_ms = 30 * 86_400_000 if fault == "old" else 0
    registry.promote("forecaster", version, {}, at_ms=session.clock().market_ms() - age_ms)
    if fault == "altered":
        (registry.root / "forecaster" / version / "model.bin").write_text("others")
    reports: list[CycleReport] = []
    summary = window(session, config(cycles=1, pins={"forecaster": version}), on_cycle=reports.append)
    assert why in summary.absent["forecaster"]
    assert summary.absent["crowd"] == "no crowd champion"
    assert why in summary.to_json()["absent"]["forecaster"]
    decision = reports[0].decision
    assert decision.plan is None
    assert {said.outcome for said in decision.pairs} == {"no-signal"}
    assert all(why in said.reason for said in decision.pairs)


def test_a_market_second_limit_and_a_stop_flag_end_it(session) -> None:
    summary = window(session, config(window_market_s=120), speed=30.0)
    assert summary.ended == "window over"
    assert 2 <= summary.cycles <= 6, "four or five points lie in two minutes; one more may pass while a cycle works"
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    assert window(session, config(), speed=0.001, should_stop=stop).ended == "stopped"


def test_a_held_market_is_waited_out(session) -> None:
    wanted = config(window_s=0.3)
    held = run_window(wanted, session.home, session.settings, session.clock(held=True), session.ledger)
    assert (held.decided, held.ended) == (1, "window over"), "the current point is decided, no other comes"


def test_a_window_finds_the_lease_held(session) -> None:
    session.ledger.acquire_lease(LEASE, "other", session.wall.wall_ms(), 60_000)
    with pytest.raises(LockHeld, match="held by run other"):
        window(session, config(cycles=1))
    assert session.ledger.count_decisions("paper") == 0


def test_an_interrupt_gives_the_lease_back(session) -> None:
    def interrupt(_report: CycleReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        window(session, config(cycles=5), on_cycle=interrupt)
    assert session.ledger.acquire_lease(LEASE, "r2", session.wall.wall_ms(), 1_000) is not None
    assert session.ledger.count_decisions("paper") == 1, "what was committed stays"


def test_a_window_that_lost_its_lease_commits_nothing_more(session) -> None:
    """While the window works, another run takes its lease (as after a long sleep): it ends by itself."""

    def usurp(_report: CycleReport) -> None:
        session.ledger.acquire_lease(LEASE, "r2", session.wall.wall_ms() + 3_600_000, 1_000)

    summary = window(session, config(cycles=5), on_cycle=usurp)
    assert (summary.ended, summary.decided) == ("lease lost", 1)
    lease = session.ledger.lease(LEASE)
    assert lease is not None
    assert lease.run_id == "r2", "and it does not take the lease from the new holder on its way out"


def test_two_windows_side_by_side_share_the_grid(session) -> None:
    """Two runs are started by mistake: one waits for the other, and no point is decided twice."""
    summaries: list[WindowSummary] = []

    def run(run_id: str) -> None:
        with Ledger.open(session.home.ledger_url) as own:
            wanted = config(run_id=run_id, cycles=4, lease_wait_s=30.0)
            summaries.append(run_window(wanted, session.home, session.settings, clock, own))

    clock = session.clock(150.0)
    threads = [threading.Thread(target=run, args=(run_id,)) for run_id in ("r1", "r2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [summary.decided for summary in summaries] == [4, 4]
    lines = session.ledger.decisions("paper")
    assert len({line.cycle_ms for line in lines}) == len(lines) == 8
    points = covered(session.ledger)
    assert points == list(range(points[0], points[-1] + 1, GRID))


def test_another_markets_clock_is_refused(session) -> None:
    window(session, config(cycles=1))
    with pytest.raises(HydraError, match="the last decision was made at"):
        window(session, config(cycles=1), market_ms=0)


RUN = """
import sys
from pathlib import Path
from hydra_core.home import Home
from hydra_core.ledger.store import Ledger
from hydra_core.settings import Settings
from hydra_core.window import WindowConfig, run_window

home = Home(Path(sys.argv[1]), sys.argv[2])
with Ledger.open(home.ledger_url) as ledger:
    print(run_window(WindowConfig("paper", {}, "sub", window_s=60), home, Settings(data_root=home.root), None, ledger,
                     lambda report: print(report.cycle_ms, flush=True)).ended)
"""


@pytest.mark.parametrize(("word", "ending"), [(signal.SIGTERM, "stopped"), (signal.SIGKILL, "")], ids=lambda x: str(x))
def test_a_window_process_that_is_ended_leaves_whole_books(session, word: signal.Signals, ending: str) -> None:
    """It follows the trader's clock from the live state; told to end it gives the lease back, killed it cannot."""
    arguments = [sys.executable, "-c", RUN, str(session.home.root), session.home.market]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        cycles = [int(child.stdout.readline()) for _ in range(2)]
        child.send_signal(word)
        rest = child.stdout.read().split()
    assert (rest[-1] if ending else "") == ending
    decided = {line.cycle_ms for line in session.ledger.decisions("paper")}
    assert set(cycles) <= decided
    lease = session.ledger.lease(LEASE)
    assert lease is not None
    assert lease.held(session.wall.wall_ms()) == (word is signal.SIGKILL)
    follow_up: Callable[..., WindowSummary] = window
    taken_over = lease.expires_wall_ms + 1
    if word is signal.SIGKILL:
        assert session.ledger.acquire_lease(LEASE, "r9", taken_over, 1) is not None, "free once it has run out"
        return
    assert follow_up(session, config(cycles=1), speed=0.001, market_ms=max(decided) + GRID).decided == 1
