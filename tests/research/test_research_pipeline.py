"""A research run end to end: on a small planted history, resumed, interrupted; on the synthetic markets (long)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha.crowd import CrowdArtifact
from hydra_core.alpha.models import CROWD, FORECASTER, KINDS, POLICY, Hazard, load_models
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import Panel
from hydra_core.domain.panel import build_panel
from hydra_core.home import Home
from hydra_core.research import pipeline, validation
from hydra_core.research.audit import crowd as crowd_audit
from hydra_core.research.audit import record
from hydra_core.research.audit.lines import BY_KIND
from hydra_core.research.bench import Bench, Candidate, Validation
from hydra_core.research.books import buy_and_hold
from hydra_core.research.conditions import ASSUMED
from hydra_core.research.dataset import build_dataset
from hydra_core.research.gates import GateVerdict
from hydra_core.research.information import FURTHER, PATHS
from hydra_core.research.trials import COMPARISON, lockbox_ledger
from hydra_core.risk.limits import Limits
from hydra_core.settings import TrainingSettings

SMALL = TrainingSettings(
    candles=13_000, folds=2, forecaster_trials=1, policy_trials=1, policy_steps=8_192, epochs=1, stride_bars=12
)


Run = tuple[Bench, Any, pipeline.ResearchRun, list[str]]


def bench_in(root: Path, panel: Panel, training: TrainingSettings, market: str, told: list[str] | None = None) -> Bench:
    home = Home(root, market).create()
    heard = told if told is not None else []
    return Bench(home, "binanceusdm", panel.pairs, training, Limits(), lambda stage, done, total: heard.append(stage))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    panel, _ = planted_panel(11, 45, 0.3, pairs=4)
    told: list[str] = []
    bench = bench_in(tmp_path_factory.mktemp("home"), panel, SMALL, "synthetic-11-0.3", told)
    dataset = build_dataset(bench.datasets, panel, SMALL)
    return bench, dataset, pipeline.run_research(bench, dataset, at_ms=int(panel.close_ms[-1])), told


def test_a_run_ends_with_sealed_candidates_and_their_verdicts(
    run: Run,
) -> None:
    bench, dataset, result, told = run
    json.dumps(result.to_json())
    seen = result.validations[FORECASTER]
    assert seen.metrics["correlation"] > 0.15
    assert {"trades", "dsr", "pbo", "plausible", "calibration"} <= {gate.name for gate in seen.gates}
    assert next(gate for gate in seen.gates if gate.name == "causal").passed
    version = result.candidates[FORECASTER].version
    folder = bench.registry.path(FORECASTER, version)
    assert json.loads((folder / "validation.json").read_text())["version"] == version
    page = (folder / "report.html").read_bytes()
    assert b"Gates" in page
    assert all(name.encode() in page for name in FURTHER)
    assert {"rank_ic", "calibration_error", "brier_skill", "track_days", "effective_trials"} <= set(seen.metrics)
    assert seen.metrics["qlike_candidate"] < seen.metrics["qlike_random_walk"]
    assert not {"rank_ic", "track_days", "effective_trials"} & {gate.name for gate in seen.gates}
    card = bench.registry.card(FORECASTER, version)
    assert card.trials == 1
    assert len(card.settings[PATHS]["paths"]) == 5
    assert card.data_hashes["dataset"] == dataset.version
    assert card.trained_until_ms <= dataset.lockbox_ms[0]
    assert all(0 < len(png) <= 50_000 for png in seen.pictures.values())
    assert {"sweep", "walk-forward", "trading the rules"} <= set(told)
    assert {"stress_as_assumed", "stress_fees_x1.5", "stress_slippage_x2", "stress_one_bar_later"} <= set(seen.metrics)
    assert [line["what"] for line in seen.tables[validation.CONDITIONS]] == ["funding", "contracts", "fees"]
    assert b"cost stress" in (folder / "report.html").read_bytes()
    assert {row["kind"] for row in lockbox_ledger(bench.home.studies).records()} >= {FORECASTER}


def test_the_sealed_models_load_and_forecast(run: Run) -> None:
    bench, dataset, result, _ = run
    made = {kind: candidate.version for kind, candidate in result.candidates.items() if candidate.version}
    models = load_models(bench.registry, made)
    assert models.versions == made
    assert models.forecaster is not None
    said = models.forecaster.forecast(dataset.panel.last(models.forecaster.lookback), 1)
    assert np.isfinite(said.expected_return).all()


def test_running_again_finds_everything_and_trains_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_core.alpha.forecaster import train
    from hydra_core.alpha.policy import train as policy_train

    bench, dataset, result, _ = run

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "train_forecaster", never)
    monkeypatch.setattr(policy_train, "train_policy", never)
    again = pipeline.run_research(bench, dataset, at_ms=1)
    assert {k: v.version for k, v in again.candidates.items()} == {k: v.version for k, v in result.candidates.items()}
    assert again.validations[FORECASTER].gates == result.validations[FORECASTER].gates


def test_a_lost_artifact_is_made_again(run: Run) -> None:
    bench, dataset, result, _ = run
    version = result.candidates[CROWD].version
    if version:
        file = next((bench.registry.root / CROWD / version).glob("*.json"))
        for each in file.parent.iterdir():
            each.unlink()
        file.parent.rmdir()
        assert pipeline.train_crowd_candidate(bench, dataset).version == version


def test_a_validation_of_another_candidate_promotes_nobody(
    run: Run,
) -> None:
    bench, _, result, _ = run
    other = Candidate(FORECASTER, "0" * 64, "d")
    with pytest.raises(ArtifactInvalid, match="this very candidate"):
        pipeline.promote(bench, other, result.validations[FORECASTER], at_ms=1)


def test_a_champion_that_a_candidate_is_compared_with_reads_the_lock_box(run: Run) -> None:
    bench, dataset, result, _ = run
    version = result.candidates[FORECASTER].version
    stood = bench.registry.champion(FORECASTER)
    if stood is None:
        bench.registry.promote(FORECASTER, version, {}, at_ms=1)
    span = validation._lockbox(dataset)
    other = buy_and_hold(dataset.panel, span, 0.0)
    for _ in range(2):
        both = validation._against_champion(bench, dataset, ASSUMED, "0" * 64, other)
    if stood is None:
        bench.registry.demote(FORECASTER, "it sat for a test", at_ms=2)
    assert both is not None
    assert both[0] == pytest.approx(float(other.daily.mean()))
    compared = [row for row in lockbox_ledger(bench.home.studies).records() if row["reason"] == COMPARISON]
    assert [(row["kind"], row["version"]) for row in compared] == 2 * [(FORECASTER, version)]
    assert {(row["start_ms"], row["end_ms"]) for row in compared} == {dataset.lockbox_ms}


@pytest.mark.parametrize("kind", [FORECASTER, POLICY])
def test_a_seat_needs_the_leak_suite_of_its_very_version(run: Run, kind: str) -> None:
    """Whatever its gates say: the suite's record is read again, and a version without one stays where it is."""
    bench, dataset, result, _ = run
    candidate = result.candidates[kind]
    assert candidate.version, candidate.absent
    assert next(gate for gate in result.validations[kind].gates if gate.name == "leak_suite").passed
    file = bench.registry.path(kind, candidate.version) / record.FILE
    kept = file.read_bytes()
    lines = json.loads(kept)["lines"]
    assert {line["check"] for line in lines} == set(BY_KIND[kind])
    assert all(line["clean"] for line in lines)
    passed = Validation(kind, candidate.version, dataset.version, (GateVerdict("all", True, 1.0, 0.0, ""),))
    leaky = [line if line["check"] != "L9" else {**line, "clean": False} for line in lines]
    try:
        file.unlink()
        assert "was never run" in pipeline.promote(bench, candidate, passed, at_ms=1).reason
        file.write_text(json.dumps({**json.loads(kept), "lines": leaky}))
        refused = pipeline.promote(bench, candidate, passed, at_ms=1)
        assert not refused.promoted
        assert "found: L9" in refused.reason
    finally:
        file.write_bytes(kept)
    assert not record.refusal(bench.registry, kind, candidate.version)


def test_a_crowd_model_that_peeks_is_refused_by_its_leak_suite_and_an_honest_one_seated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = synthetic_panel(7, 0.3, 60, pairs=6)
    bench = bench_in(tmp_path, panel, SMALL, "synthetic-7-0.3")
    dataset = build_dataset(bench.datasets, panel, SMALL)
    candidate = pipeline.train_crowd_candidate(bench, dataset)
    assert candidate.version, candidate.absent
    honest = CrowdArtifact.hazard

    def early(self: CrowdArtifact, panel: Panel, last: int) -> Hazard:
        said = honest(self, panel, last)
        return Hazard(*(np.roll(side, -1, axis=0) for side in (said.long, said.short)))

    with monkeypatch.context() as peeking:
        peeking.setattr(CrowdArtifact, "hazard", early)
        peeking.setattr(crowd_audit, "shuffled_exits", lambda *_: [])  # the slow part, which knows nothing of this peek
        seen = pipeline.validate_candidate(bench, dataset, candidate)
    refused = next(gate for gate in seen.gates if gate.name == "leak_suite")
    assert not refused.passed
    assert "L1 hazard: long at row" in refused.note
    sure = Validation(CROWD, candidate.version, dataset.version, (GateVerdict("all", True, 1.0, 0.0, ""),))
    assert "found: L1 hazard" in pipeline.promote(bench, candidate, sure, at_ms=1).reason
    seen = pipeline.validate_candidate(bench, dataset, candidate)
    assert next(gate for gate in seen.gates if gate.name == "leak_suite").passed
    lines = pipeline.audit_candidate(bench, dataset, candidate)
    assert {line.check for line in lines} == set(BY_KIND[CROWD])
    assert pipeline.promote(bench, candidate, sure, at_ms=1).promoted


def test_a_killed_stage_leaves_nothing_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """The run dies when the second fold of the walk-forward is under way: the first fold is found, nothing is half there."""
    panel, _ = planted_panel(12, 45, 0.3, pairs=3)
    bench = bench_in(tmp_path, panel, SMALL, "synthetic-12-0.3")
    dataset = build_dataset(bench.datasets, panel, SMALL)
    study = pipeline.sweep_forecaster(bench, dataset)

    def dying(stage: str, done: int, total: int) -> None:
        if stage == "walk-forward" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.train_forecaster_candidate(Bench(**{**bench.__dict__, "progress": dying}), dataset, study)
    folds = sorted(path.name for path in (dataset.folder / "stages").glob("fold-*"))
    assert len(folds) == 1
    assert not list(dataset.folder.rglob(".*-*"))
    kept = (dataset.folder / "stages" / folds[0]).stat().st_mtime_ns
    made = pipeline.train_forecaster_candidate(bench, dataset, study)
    assert made.version
    assert (dataset.folder / "stages" / folds[0]).stat().st_mtime_ns == kept


def test_without_a_forecaster_there_is_no_policy_and_no_committee(tmp_path: Path) -> None:
    panel, _ = planted_panel(13, 45, 0.0, pairs=2)
    bench = bench_in(tmp_path, panel, SMALL, "synthetic-13-0")
    dataset = build_dataset(bench.datasets, panel, SMALL)
    nobody = Candidate(FORECASTER, "", dataset.version, absent="too little history")
    study = pipeline.sweep_policy(bench, dataset, nobody)
    policy = pipeline.train_policy_candidate(bench, dataset, nobody, study)
    seen = pipeline.validate_candidate(bench, dataset, policy, forecaster=nobody)
    assert not seen.passed
    assert "too little history" in seen.gates[0].note
    assert not pipeline.promote(bench, policy, seen, at_ms=1).promoted
    committee = pipeline.validate_committee(bench, dataset, {FORECASTER: Validation.none(nobody)}, 0)
    assert not committee.passed


def test_a_short_history_is_refused_in_words(tmp_path: Path) -> None:
    panel, _ = planted_panel(14, 12, 0.3, pairs=2)
    with pytest.raises(InputMissing, match="Collect a longer history"):
        build_dataset(tmp_path, panel, SMALL)


def synthetic_panel(seed: int, signal: float, days: int, *, pairs: int | None = None) -> Panel:
    from hydra_core.simulation.synthetic import SyntheticMarket

    market = SyntheticMarket(seed, signal)
    start, end = market.origin_ms, market.origin_ms + days * DAY_MS
    chosen = market.pairs[:pairs]
    return build_panel(
        chosen, Interval.M5, start, end,
        {pair: market.candles(pair, Interval.M5, start, end) for pair in chosen},
        {pair: market.funding(pair, start, end) for pair in chosen},
        {pair: market.open_interest(pair, start, end) for pair in chosen},
        {pair: market.long_short(pair, start, end) for pair in chosen},
        None,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize(
    ("seed", "signal", "expected"), [(7, 0.3, {FORECASTER, CROWD, POLICY}), (7, 0.0, set()), (31, 0.0, set())]
)
def test_the_synthetic_markets(tmp_path: Path, seed: int, signal: float, expected: set[str]) -> None:
    """A planted market fills the seats; on a market without anything to find nobody gets one."""
    panel = synthetic_panel(seed, signal, 120)
    bench = bench_in(tmp_path, panel, TrainingSettings(), f"synthetic-{seed}-{signal:g}")
    began = time.process_time()
    dataset = build_dataset(bench.datasets, panel, bench.training)
    result = pipeline.run_research(bench, dataset, at_ms=int(panel.close_ms[-1]))
    said = {kind: [gate for gate in result.validations[kind].gates if not gate.passed] for kind in KINDS}
    assert {kind for kind, done in result.promotions.items() if done.promoted} == expected, said
    assert set(bench.registry.champions()) == expected
    assert result.committee.passed == bool(expected)
    print(f"{time.process_time() - began:.0f} CPU seconds")
