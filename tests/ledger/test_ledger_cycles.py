"""Leases, decisions and plans: no grid point is decided twice, and a window that was replaced commits nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from hydra_core.domain.errors import HydraError, LeaseLost
from hydra_core.domain.trading import Decision, Mode, Pins, Plan, Schedule
from hydra_core.ledger.records import DecisionRecord, LeaseClaim, lease_name
from hydra_core.ledger.store import Ledger

LEASE = lease_name("paper")
STEP = 30_000


def record(cycle_ms: int, run_id: str = "r1", *, planned: bool = False) -> DecisionRecord:
    plan = Plan(f"p-{cycle_ms}", cycle_ms, (), Schedule(), cycle_ms + 300_000) if planned else None
    decision = Decision(cycle_ms, Mode.ACTIVE, {}, (), plan, (), {}, "0" * 64)
    return DecisionRecord("paper", "hydra", decision, Pins({"crowd": "c1"}, "s", "0.1"), {"x": [1.5]}, run_id, 12, 99)


def claim_of(ledger: Ledger, run_id: str, wall_ms: int = 0) -> LeaseClaim:
    claim = ledger.acquire_lease(LEASE, run_id, wall_ms, ttl_ms=1_000)
    assert claim is not None
    return claim


def test_a_lease_has_one_holder_at_a_time(ledger: Ledger) -> None:
    first = claim_of(ledger, "r1")
    assert ledger.acquire_lease(LEASE, "r2", 999, 1_000) is None
    ledger.renew_lease(first, 900, 1_000)
    assert ledger.acquire_lease(LEASE, "r2", 1_500, 1_000) is None
    second = ledger.acquire_lease(LEASE, "r2", 1_900, 1_000)
    assert second is not None
    assert second.fence > first.fence
    with pytest.raises(LeaseLost, match="held by run r2"):
        ledger.renew_lease(first, 1_901, 1_000)
    assert not ledger.release_lease(first), "a lost lease is not given back over the new holder's head"
    assert ledger.release_lease(second)
    standing = ledger.lease(LEASE)
    assert standing is not None
    assert not standing.held(0)
    assert ledger.acquire_lease(LEASE, "r3", 1_902, 1_000) is not None


def test_a_decision_is_kept_once_with_its_plan(ledger: Ledger) -> None:
    claim = claim_of(ledger, "r1")
    made = record(STEP, planned=True)
    assert ledger.commit_decision(made, claim)
    assert not ledger.commit_decision(replace(made, latency_ms=7), claim)
    assert ledger.decision("paper", "hydra", STEP) == replace(made, fence=claim.fence)
    assert ledger.latest_plan("paper") == made.decision.plan
    assert ledger.count_decisions("paper") == 1
    assert ledger.last_cycle("paper", "hydra") == STEP
    (line,) = ledger.decisions("paper")
    assert (line.cycle_ms, line.mode, line.plan_id, line.latency_ms) == (STEP, Mode.ACTIVE, "p-30000", 12)


def test_a_replaced_window_commits_nothing(ledger: Ledger) -> None:
    """A window sleeps past its lease's end, another takes over; what the sleeper then writes is refused whole."""
    asleep = claim_of(ledger, "r1")
    awake = claim_of(ledger, "r2", wall_ms=5_000)
    with pytest.raises(LeaseLost):
        ledger.commit_decision(record(STEP, "r1", planned=True), asleep)
    with pytest.raises(LeaseLost):
        ledger.record_missed("paper", "hydra", 0, STEP, 2, "slept", asleep)
    assert ledger.count_decisions("paper") == 0
    assert ledger.plans("paper") == []
    assert ledger.commit_decision(record(STEP, "r2"), awake)


def test_a_lease_that_ran_out_but_was_not_taken_still_counts(ledger: Ledger) -> None:
    claim = claim_of(ledger, "r1")
    assert ledger.commit_decision(replace(record(STEP), committed_wall_ms=60_000), claim, ttl_ms=1_000)
    standing = ledger.lease(LEASE)
    assert standing is not None
    assert standing.held(60_999)


def test_two_windows_that_contend_never_decide_a_point_twice(ledger_url: str) -> None:
    """Both take the lease from each other in turn and commit the same grid; every point has one decision, of one run."""
    points = range(STEP, 21 * STEP, STEP)
    committed: dict[str, list[int]] = {"r1": [], "r2": []}
    with Ledger.open(ledger_url) as shared:
        shared.open_account("paper", Decimal(1000), 0)

    def window(run_id: str) -> None:
        with Ledger.open(ledger_url) as ledger:
            for point in points:
                claim = ledger.acquire_lease(LEASE, run_id, point, ttl_ms=1)
                if claim is None:
                    continue
                try:
                    if ledger.commit_decision(record(point, run_id), claim):
                        committed[run_id].append(point)
                except LeaseLost:
                    continue

    threads = [threading.Thread(target=window, args=(run_id,)) for run_id in committed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not set(committed["r1"]) & set(committed["r2"])
    with Ledger.open(ledger_url) as ledger:
        kept = {line.cycle_ms: line.run_id for line in ledger.decisions("paper")}
    assert kept == {point: run_id for run_id, made in committed.items() for point in made}


def test_missed_points_are_kept_as_spans(ledger: Ledger) -> None:
    claim = claim_of(ledger, "r1")
    assert ledger.last_cycle("paper", "hydra") is None
    ledger.commit_decision(record(STEP), claim)
    assert ledger.record_missed("paper", "hydra", 2 * STEP, 5 * STEP, 4, "no window was running", claim)
    assert not ledger.record_missed("paper", "hydra", 2 * STEP, 5 * STEP, 4, "again", claim)
    assert [(s.first_ms, s.last_ms, s.points) for s in ledger.missed("paper", "hydra")] == [(2 * STEP, 5 * STEP, 4)]
    assert ledger.last_cycle("paper", "hydra") == 5 * STEP


def test_a_plan_stands_until_it_expires_ends_or_is_superseded(ledger: Ledger) -> None:
    claim = claim_of(ledger, "r1")
    for point in (STEP, 2 * STEP):
        ledger.commit_decision(record(point, planned=True), claim)
    newest = ledger.plan("p-60000")
    assert newest is not None
    assert ledger.standing_plan("paper", 100_000) == newest
    assert ledger.standing_plan("paper", newest.expires_ms) is None
    assert [plan.plan_id for plan in ledger.plans_after("paper", STEP)] == ["p-60000"]
    assert ledger.end_plan("p-60000", 110_000, "flattened")
    assert not ledger.end_plan("p-60000", 120_000, "again")
    assert ledger.standing_plan("paper", 120_000) is None, "an ended plan does not bring back the one before"


def test_a_kept_text_is_found_by_its_hash(ledger: Ledger) -> None:
    assert ledger.keep_blob("h1", "limits", "{}")
    assert not ledger.keep_blob("h1", "limits", "{}")
    assert ledger.blob("h1") == "{}"
    with pytest.raises(HydraError, match="h2"):
        ledger.blob("h2")
