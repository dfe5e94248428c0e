"""The learning chain as one run: what passes takes its seat, what does not leaves a run that succeeded and says why.

The stages' own work stands aside (its tests are under ``tests/research``); assets, checks, registry and job are real.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest
from dagster_moment import NOW_MS
from market_double import collecting, first_price_negative

from hydra_core.alpha.models import CROWD, FORECASTER, KINDS, POLICY
from hydra_core.alpha.registry import RENEWS, Card, write_card
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.research import featuretable, pipeline
from hydra_core.research.ancestry import DESCENT
from hydra_core.research.audit import suite
from hydra_core.research.audit.lines import BY_KIND, AuditLine
from hydra_core.research.bench import Candidate, Validation
from hydra_core.research.gates import GateVerdict
from hydra_core.research.information import FIGURES, PATHS, gathered, track_lines
from hydra_core.research.sweeps import StudyResult
from hydra_core.research.validation import committee_version
from hydra_dagster import keys
from hydra_dagster.assets import champions, validation
from hydra_dagster.build import build_research_defs
from hydra_dagster.partitions import range_tags
from hydra_dagster.schedules import collect_config
from hydra_dagster.versions import latest

SUMMARY = {
    "version": "d" * 64,
    "pairs": ["BTCUSDT", "ETHUSDT"],
    "rows": 1000,
    "start_ms": 0,
    "end_ms": 300_000_000,
    "inputs": ["candles"],
    "features": ["return_1", "hour_sin"],
    "folds": [{"train": 10, "valid": 5, "test": 5}],
    "lockbox_start_ms": 200_000_000,
}
SETTINGS = {
    DESCENT: {"ancestor": "a" * 64, "lineage": ["a" * 64, "b" * 64], "blocks": [], "why": ""},
    PATHS: {"paths": [0.2, 0.1], "splits": [0.05, 0.3]},
}
STUDY = StudyResult("forecaster-d", {"width": 16}, 0, np.float64(0.99), 3, (0, 1, 2))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, workshop, tmp_path: Path):
    """The pipeline's stages as quick stand-ins; ``passing`` and ``absent`` name kinds and can be changed by a test."""
    plan = SimpleNamespace(
        passing=set(KINDS), absent=set(), asked=[], content="first", leaks=(), leaky=FORECASTER, unrun=set()
    )
    data = SimpleNamespace(version=SUMMARY["version"], horizon=48, summary=lambda: SUMMARY)

    def prepare(bench, as_of_ms, start_ms=None):
        plan.asked.append((bench.pairs, bench.training.candles, as_of_ms))
        return data

    def candidate(kind: str) -> Candidate:
        if kind in plan.absent:
            return Candidate(kind, "", data.version, absent="open_interest is not recorded")
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        (folder / "model.txt").write_text(plan.content)
        write_card(folder, Card(kind=kind, inputs=("candles",), lookback=10, horizon_bars=48, settings=SETTINGS))
        version = workshop.registry.save(kind, folder)
        return Candidate(
            kind, version, data.version, {"slope": np.float64(0.5), "undefined": float("nan")}, ("a note",)
        )

    def validate(bench, dataset, made, *, study=None, forecaster=None):
        assert (study is not None) == (made.kind == FORECASTER)
        assert (forecaster is not None) == (made.kind == POLICY)
        if not made.version:
            return Validation.none(made)
        good = made.kind in plan.passing
        gates = (
            GateVerdict("trades", True, 300.0, 200.0, "300 round trips"),
            GateVerdict("dsr", good, np.float64(0.2), 0.95, "0.2 is not above 0.95"),
            GateVerdict("pbo", good, float("nan"), 0.2, "cannot be computed"),
        )
        return Validation(
            made.kind, made.version, dataset.version, gates, {"ic": np.float64(0.3)}, pictures={"gates": b"png"},
            tables={
                "walk-forward": [{"block": "1", "IC": np.float64(0.2)}, {"block": "lock-box", "IC": 0.1}],
                **gathered(track_lines(np.full(9, -0.01), np.zeros((9, 2)), 3), []).tables,
            },
        )  # fmt: skip

    def committee(bench, dataset, validations, trials):
        assert trials == 2 * STUDY.trials
        passed = {kind: seen.version for kind, seen in validations.items() if seen.passed}
        gate = GateVerdict("forecaster", FORECASTER in passed, None, None, "without a forecaster nothing is traded")
        return Validation("committee", committee_version(passed), dataset.version, (gate,))

    monkeypatch.setattr(pipeline, "prepare", prepare)
    monkeypatch.setattr(
        featuretable, "statistics_of", lambda data: [{"feature": "return_1", "known": 0.99, "mean": 0.1}]
    )
    monkeypatch.setattr(pipeline, "dataset_of", lambda bench, version: data)
    monkeypatch.setattr(pipeline, "sweep_forecaster", lambda bench, dataset: STUDY)
    monkeypatch.setattr(pipeline, "sweep_policy", lambda bench, dataset, forecaster: STUDY)
    monkeypatch.setattr(pipeline, "train_forecaster_candidate", lambda bench, dataset, study: candidate(FORECASTER))
    monkeypatch.setattr(pipeline, "train_crowd_candidate", lambda bench, dataset: candidate(CROWD))
    monkeypatch.setattr(pipeline, "train_policy_candidate", lambda bench, dataset, forecaster, study: candidate(POLICY))
    monkeypatch.setattr(pipeline, "validate_candidate", validate)

    def audited(bench, data, made):
        if not made.version:
            return ()
        clean = (
            AuditLine("all of it", True, "", check)
            for check in BY_KIND[made.kind]
            if (made.kind, check) not in plan.unrun
        )
        return (*clean, *(plan.leaks if made.kind == plan.leaky else ()))

    monkeypatch.setattr(suite, "audit_candidate", audited)
    monkeypatch.setattr(pipeline, "validate_committee", committee)
    return plan


def research(instance, resource, **config):
    defs = build_research_defs(resource, automation=False)
    config = {"as_of_ms": 300_000_000} | config
    return defs.resolve_job_def("research").execute_in_process(
        instance=instance, run_config={"ops": {keys.op_name(keys.DATASET): {"config": config}}}
    )


def told(instance, key: dg.AssetKey) -> dict:
    return dict(latest(instance, key).metadata)


def test_what_passes_its_gates_takes_its_seat(instance, resource, workshop, stages) -> None:
    assert research(instance, resource, pairs=["eth", "BTC"], candles=5000).success
    assert stages.asked == [(("ETHUSDT", "BTCUSDT"), 5000, 300_000_000)]
    assert set(workshop.registry.champions()) == set(KINDS)
    assert told(instance, keys.REPORT)["seats taken"] == 3
    assert told(instance, keys.champion(FORECASTER))["action"] == "promoted"
    again = research(instance, resource)
    assert again.success
    assert told(instance, keys.champion(FORECASTER))["action"] == "kept"


def test_on_noise_nothing_passes_and_the_run_succeeds_saying_why(instance, resource, workshop, stages) -> None:
    stages.passing = set()
    done = research(instance, resource)
    assert done.success
    assert workshop.registry.champions() == {}
    failed = {e.asset_key for e in done.get_asset_check_evaluations() if not e.passed}
    assert failed == {keys.validation(kind) for kind in KINDS} | {keys.COMMITTEE}
    seat = told(instance, keys.champion(FORECASTER))
    assert (seat["holder"], seat["action"]) == ("vacant", "refused")
    assert "dsr: 0.2 is not above 0.95" in seat["why"]


def test_a_leak_stops_the_run_before_the_candidate_is_judged(instance, resource, workshop, stages) -> None:
    stages.leaks = (AuditLine("return_1", False, "3 values changed", "L1"), AuditLine("skill", True, "", "L6"))
    defs = build_research_defs(resource, automation=False)
    done = defs.resolve_job_def("research").execute_in_process(
        instance=instance,
        run_config={"ops": {keys.op_name(keys.DATASET): {"config": {"as_of_ms": 300_000_000}}}},
        raise_on_error=False,
    )
    assert not done.success
    assert FORECASTER not in workshop.registry.champions()
    failed = {(e.asset_key, e.check_name) for e in done.get_asset_check_evaluations() if not e.passed}
    assert failed == {(keys.candidate(FORECASTER), "leaks_L1_prefix_invariance")}
    made = {event.asset_key for event in done.get_asset_materialization_events()}
    assert keys.validation(FORECASTER) not in made


def test_a_leak_found_in_one_run_keeps_the_candidate_from_its_seat_in_every_other(
    instance, resource, workshop, stages
) -> None:
    """The blocking check stopped its run; validation and champion are then made by themselves, as the web UI offers it."""
    stages.leaky, stages.leaks = CROWD, (AuditLine("hazard", False, "long at row 7 changed", "L1"),)
    defs = build_research_defs(resource, automation=False)
    config = {"ops": {keys.op_name(keys.DATASET): {"config": {"as_of_ms": 300_000_000}}}}
    job = defs.resolve_job_def("research")
    assert not job.execute_in_process(instance=instance, run_config=config, raise_on_error=False).success
    stages.leaks = ()  # whatever the suite would say now, it is not asked again
    late = [keys.validation(kind) for kind in KINDS] + [keys.COMMITTEE] + [keys.champion(kind) for kind in KINDS]
    assets = [each for each in [*validation.ASSETS, *champions.ASSETS] if each.key in late]
    assert dg.materialize(assets, instance=instance, resources={"workshop": resource}).success
    assert told(instance, keys.validation(CROWD))["passed"]
    seat = told(instance, keys.champion(CROWD))
    assert (seat["holder"], seat["action"]) == ("vacant", "refused")
    assert "found: L1 hazard: long at row 7 changed" in seat["why"]
    assert set(workshop.registry.champions()) == {FORECASTER, POLICY}


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_that_was_not_run_is_not_passed(instance, resource, workshop, stages, kind) -> None:
    stages.unrun = {(kind, "L9")}
    defs = build_research_defs(resource, automation=False)
    done = defs.resolve_job_def("research").execute_in_process(
        instance=instance,
        run_config={"ops": {keys.op_name(keys.DATASET): {"config": {"as_of_ms": 300_000_000}}}},
        raise_on_error=False,
    )
    assert not done.success
    failed = {(e.asset_key, e.check_name): e for e in done.get_asset_check_evaluations() if not e.passed}
    assert set(failed) == {(keys.candidate(kind), "leaks_L9_plausibility")}
    assert "was not run" in failed[keys.candidate(kind), "leaks_L9_plausibility"].description
    assert kind not in workshop.registry.champions()


def test_a_worse_candidate_leaves_the_champion_in_its_seat(instance, resource, workshop, stages) -> None:
    research(instance, resource)
    before = workshop.registry.champions()
    stages.passing, stages.content = {CROWD, POLICY}, "second"
    research(instance, resource)
    after = workshop.registry.champions()
    assert after[FORECASTER] == before[FORECASTER]
    assert after[CROWD] != before[CROWD]


def test_a_champion_whose_calibration_was_renewed_is_not_replaced_by_its_own_weights(
    instance, resource, workshop, stages, tmp_path
) -> None:
    research(instance, resource)
    registry = workshop.registry
    base = registry.champions()[FORECASTER]
    (tmp_path / "renewed").mkdir()
    card = registry.card(FORECASTER, base).model_copy(update={"version": "", "settings": {RENEWS: base}})
    write_card(tmp_path / "renewed", card)
    renewed = registry.save(FORECASTER, tmp_path / "renewed")
    registry.promote(FORECASTER, renewed, {}, at_ms=NOW_MS)
    research(instance, resource)
    assert registry.champions()[FORECASTER] == renewed
    seat = told(instance, keys.champion(FORECASTER))
    assert (seat["action"], seat["holder"]) == ("kept", renewed)
    assert "renewed since" in seat["why"]


def test_a_kind_whose_inputs_are_not_recorded_stays_absent_and_stops_nobody(
    instance, resource, workshop, stages
) -> None:
    stages.absent = {CROWD}
    assert research(instance, resource).success
    assert set(workshop.registry.champions()) == {FORECASTER, POLICY}
    assert told(instance, keys.candidate(CROWD))["absent"] == "open_interest is not recorded"
    assert "open_interest" in told(instance, keys.champion(CROWD))["why"]


def test_a_person_finds_figures_gates_and_pictures_in_the_metadata(instance, resource, stages) -> None:
    research(instance, resource)
    seen = told(instance, keys.validation(FORECASTER))
    assert seen["gates passed"] == 3
    assert seen["ic"] == pytest.approx(0.3)
    assert [row.data["name"] for row in seen["gates"].records] == ["trades", "dsr", "pbo"]
    assert [row.data["block"] for row in seen["walk-forward"].records] == ["1", "lock-box"]
    assert latest(instance, keys.validation(FORECASTER)).result["gates"][2]["value"] is None
    assert told(instance, keys.candidate(FORECASTER))["undefined"] == "nan"
    card = told(instance, keys.candidate(FORECASTER))["card"]
    assert json.loads(json.dumps(card))["kind"] == FORECASTER
    page = told(instance, keys.candidate(FORECASTER))["model card"]
    assert "| inputs | candles |" in page
    assert "| horizon | 48 bars of 5m |" in page
    assert f"| lineage | {'a' * 12}, {'b' * 12} |" in page
    assert "IC 0.100, 0.200 over 2 paths, 0.050 to 0.300 over 2 purged splits" in page
    figures = {row.data["figure"]: row.data["value"] for row in seen[FIGURES].records}
    assert figures["days of its track, out of sample"] == 9
    assert figures["days from which on its Sharpe ratio is above 0 at 95 %"] is None
    assert told(instance, keys.FORECASTER_SWEEP)["trials"] == 3
    store = told(instance, keys.DATASET)
    assert [column.name for column in store["dagster/column_schema"].columns] == ["return_1", "hour_sin"]
    assert "returns; looks back" in store["dagster/column_schema"].columns[0].description
    assert [row.data["feature"] for row in store["statistics"].records] == ["return_1"]


@pytest.mark.parametrize(("spoil", "succeeds"), [(lambda table, frame: frame, True), (first_price_negative, False)])
def test_the_weekly_run_trains_only_on_rows_that_passed_their_checks(
    instance, resource, workshop, stages, monkeypatch, spoil, succeeds
) -> None:
    """Collecting, checking and training are one run over a range of partitions: a broken row stops it before the dataset."""
    monkeypatch.setattr("hydra_core.lake.collect.collect", collecting(spoil))
    end = NOW_MS - 20 * DAY_MS
    done = (
        build_research_defs(resource, automation=False)
        .resolve_job_def("retrain")
        .execute_in_process(
            instance=instance,
            run_config=collect_config(NOW_MS, start_ms=end - 2 * DAY_MS, end_ms=end),
            tags=range_tags(["2024-09"], DEFAULT_PAIRS[:2]),
            raise_on_error=False,
        )
    )
    assert done.success is succeeds
    assert bool(stages.asked) is succeeds
    assert bool(workshop.registry.champions()) is succeeds


def test_without_any_candles_the_dataset_fails_in_one_line(instance, resource, stages) -> None:
    defs = build_research_defs(resource, automation=False)
    done = defs.resolve_job_def("research").execute_in_process(instance=instance, raise_on_error=False)
    assert not done.success
    (failure,) = [e for e in done.all_events if e.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert "holds no candles. Run the job `collect`" in said
