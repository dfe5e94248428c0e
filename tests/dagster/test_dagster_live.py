"""The asset of a window: what it hands to the window, what it tells of it, and how it ends when asked to."""

from __future__ import annotations

import os
import signal
from decimal import Decimal

import dagster as dg
import pytest
from dagster_moment import NOW_MS

from hydra_core.domain.trading import Decision, Mode
from hydra_core.window import CycleReport, WindowConfig, WindowSummary
from hydra_dagster import keys
from hydra_dagster.assets import live
from hydra_dagster.reporting import PICTURE_LIMIT

OP = keys.op_name(keys.DECISIONS)


@pytest.fixture
def account(workshop) -> str:
    with workshop.ledger() as ledger:
        ledger.open_account("paper", Decimal(1000), market_ms=NOW_MS)
        for step in range(100):
            equity = Decimal(1000 + step)
            ledger.record_equity("paper", NOW_MS + step * 60_000, equity, Decimal(1000), equity - 1000)
    return "paper"


def window_double(seen: list[WindowConfig], cycles: int = 3, meanwhile=lambda: None):
    """Stands for ``run_window``: decides without a market, stops when asked."""

    def run_window(config, home, settings, clock, ledger, on_cycle, should_stop):
        seen.append(config)
        done = 0
        for number in range(cycles):
            decision = Decision(NOW_MS + number * 30_000, Mode.ACTIVE, {}, (), None, (), {}, f"hash-{number}")
            on_cycle(CycleReport(decision.cycle_ms, decision, latency_ms=20, work_ms=15.0))
            done += 1
            meanwhile()
            if should_stop():
                break
        ended = "stopped" if should_stop() else "cycles done"
        absent = {"crowd": "no crowd champion", "forecaster": "forecaster abab was altered"}
        last_ms = NOW_MS + done * 30_000
        return WindowSummary("run", ended, done, 0, 1, NOW_MS, last_ms, latency_ms=(20,) * done, absent=absent)

    return run_window


def materialise(instance, resource, **config):
    return dg.materialize(
        live.ASSETS, instance=instance, resources={"workshop": resource}, run_config={"ops": {OP: {"config": config}}}
    )


def newest(instance) -> dict:
    event = instance.get_latest_materialization_event(keys.DECISIONS)
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_window_is_given_its_pins_and_limits_and_told_of(instance, resource, account, monkeypatch) -> None:
    seen: list[WindowConfig] = []
    monkeypatch.setattr("hydra_core.window.run_window", window_double(seen, cycles=5))
    pins = {"forecaster": "ab" * 32}
    done = materialise(instance, resource, pins=pins, cycles=5, observe_every=2)
    assert done.success
    (config,) = seen
    assert (config.account, config.pins, config.cycles) == (account, pins, 5)
    assert (config.run_id, config.window_s) == (done.run_id, None)
    told = newest(instance)
    assert (told["decided"], told["missed"], told["ended"]) == (5, 0, "cycles done")
    assert told["champions"] == pins
    empty = [record.data for record in told["seats nobody sat in"].records]
    assert [(row["seat"], row["pinned"]) for row in empty] == [("crowd", ""), ("forecaster", "ab" * 6)]
    assert empty[1]["why"] == "forecaster abab was altered"
    assert told["profit"] > 0
    picture = told["equity_curve"]
    assert picture.startswith("![Equity")
    assert len(picture) < PICTURE_LIMIT * 4 / 3
    observations = instance.fetch_observations(keys.DECISIONS, limit=10).records
    assert [record.asset_observation.metadata["number"].value for record in observations] == [5, 3, 1]


def test_without_pins_the_champions_of_the_moment_are_used_and_the_setting_is_the_length(
    instance, resource, workshop, account, monkeypatch
) -> None:
    seen: list[WindowConfig] = []
    monkeypatch.setattr("hydra_core.window.run_window", window_double(seen))
    assert materialise(instance, resource).success
    assert seen[0].pins == workshop.registry.champions() == {}
    assert seen[0].window_s == workshop.settings.platform.window_s


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGINT])
def test_a_termination_ends_the_window_after_its_cycle_and_not_in_the_middle(
    instance, resource, account, monkeypatch, word
) -> None:
    """`hydra down` in the middle of a window: what was decided is told, the run is no failure."""
    double = window_double([], cycles=100, meanwhile=lambda: os.kill(os.getpid(), word))
    monkeypatch.setattr("hydra_core.window.run_window", double)
    before = signal.getsignal(word)
    assert materialise(instance, resource).success
    assert (newest(instance)["decided"], newest(instance)["ended"]) == (1, "stopped")
    assert signal.getsignal(word) is before


def test_without_an_account_it_fails_in_one_line(instance, resource, monkeypatch) -> None:
    monkeypatch.setattr("hydra_core.window.run_window", window_double([]))
    with pytest.raises(dg.Failure, match="no account to decide for"):
        materialise(instance, resource)
