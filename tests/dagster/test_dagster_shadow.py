"""What a person sees of a seat that is watched: live skill beside its promise, the challenger, the check, the demotion."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_core.alpha.registry import Card, write_card
from hydra_core.research import pipeline, recalibration, shadow
from hydra_core.research.bootstrap import Interval
from hydra_core.research.gates import GateVerdict
from hydra_core.research.recalibration import Recalibration
from hydra_core.research.shadow import Watch
from hydra_dagster import keys
from hydra_dagster.build import build_research_defs
from hydra_dagster.versions import latest, word_of

FALLEN = Watch(
    kind=FORECASTER,
    champion="c" * 64,
    challenger="d" * 64,
    from_ms=1_700_000_000_000,
    until_ms=1_700_864_000_000,
    measure="correlation",
    live=Interval(0.02, -0.03, 0.07),
    promised=Interval(0.28, 0.22, 0.34),
    word=shadow.DEMOTED,
    why="live correlation 0.020 lies below the promised 0.280",
    shadow=Interval(0.25, 0.2, 0.3),
    lead=Interval(0.002, 0.001, 0.003),
    daily={"champion": -0.001, "challenger": 0.001},
)


def watched(instance, resource, **config):
    job = build_research_defs(resource, automation=False).resolve_job_def("watch")
    ops = {keys.op_name(keys.shadow(FORECASTER)): {"config": config}}
    return job.execute_in_process(instance=instance, run_config={"ops": ops})


@pytest.mark.parametrize("demote", [True, False])
def test_a_fallen_champion_is_seen_beside_its_promise_and_its_challenger(
    instance, resource, monkeypatch, demote
) -> None:
    asked: list[tuple[str, int, bool]] = []

    def look(bench, kind, until_ms, *, act):
        asked.append((kind, until_ms, act))
        return FALLEN if kind == FORECASTER else None

    monkeypatch.setattr(shadow, "watch", look)
    monkeypatch.setattr(pipeline, "newest_close", lambda bench: 77)
    assert watched(instance, resource, demote=demote).success
    assert sorted(asked) == [(CROWD, 77, True), (FORECASTER, 77, demote), (POLICY, 77, True)]
    told = latest(instance, keys.shadow(FORECASTER)).metadata
    assert (told["word"], told["live"]) == (shadow.DEMOTED, 0.02)
    rows = [record.data for record in told["correlation"].records]
    assert [row["who"].split()[0] for row in rows] == ["promised", "champion", "challenger", "lead"]
    assert rows[2]["bp a day"] == "10.00"
    word = word_of(instance, keys.shadow(FORECASTER), keys.LIVE_SKILL)
    assert word is not None
    assert (word.passed, word.description) == (False, FALLEN.why)
    vacant = word_of(instance, keys.shadow(CROWD), keys.LIVE_SKILL)
    assert vacant is not None
    assert vacant.passed


def test_without_candles_the_look_says_what_to_run(instance, resource) -> None:
    job = build_research_defs(resource, automation=False).resolve_job_def("watch")
    done = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not done.success
    said = [e.step_failure_data.user_failure_data.description for e in done.all_events if e.is_step_failure]
    assert all("holds no candles" in line for line in said)


def test_a_renewed_calibration_is_told_on_the_champions_page(
    instance, resource, workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a champion nothing is tried; with one the job records who holds the seat after it, and which gates it passed."""
    job = build_research_defs(resource, automation=False).resolve_job_def("recalibrate")
    assert job.execute_in_process(instance=instance).success
    assert not instance.fetch_materializations(keys.champion(FORECASTER), limit=1).records
    versions, folder = [], tmp_path / "made"
    for bars in (48, 96):
        write_card(folder, Card(kind=FORECASTER, inputs=("candles",), lookback=9, horizon_bars=bars))
        versions.append(workshop.registry.save(FORECASTER, folder))
    workshop.registry.promote(FORECASTER, versions[0], {}, at_ms=1)
    asked: list[tuple[int, bool, float]] = []

    def renew(bench, until_ms, *, act, max_age_days):
        asked.append((until_ms, act, max_age_days))
        bench.registry.promote(FORECASTER, versions[1], {}, at_ms=2)
        gate = GateVerdict("better", True, 0.1, 0.0, "won")
        return Recalibration(versions[0], versions[1], "renewed: slope 0.90 -> 0.10", (gate,))

    monkeypatch.setattr(recalibration, "recalibrate", renew)
    config = {"ops": {"renew_calibration": {"config": {"as_of_ms": 77}}}}
    assert job.execute_in_process(instance=instance, run_config=config).success
    assert asked == [(77, True, workshop.settings.decision.max_champion_age_days)]
    told = latest(instance, keys.champion(FORECASTER)).metadata
    assert (told["holder"], told["action"]) == (versions[1], "recalibrated")
    assert [row.data["name"] for row in told["gates"].records] == ["better"]
