"""A research run as plain functions, called one by one (by Dagster's assets, or :func:`run_research`).

Everything that a stage makes lies in the market home under a content key: a stage that was finished is found, not made
again; one that was killed leaves nothing. Progress is told through ``bench.progress(stage, done, total)``.

Not here: the work of a stage (``dataset``, ``forecasters``, ``crowds``, ``policies``, ``validation``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra_core.alpha.features.selection import asked_for
from hydra_core.alpha.models import CROWD, FORECASTER, KINDS, POLICY
from hydra_core.alpha.registry import write_atomically
from hydra_core.domain.errors import ArtifactInvalid, InputMissing, UsageError
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.tables import candle_table
from hydra_core.lake.panel import load_panel
from hydra_core.research import crowds, forecasters, horizons, policies, validation
from hydra_core.research.audit import record, suite
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.bench import Bench, Candidate, Validation
from hydra_core.research.dataset import SOURCES, Dataset, build_dataset, open_dataset, usable_span
from hydra_core.research.modelreport import write_report
from hydra_core.research.sweeps import StudyResult

TABLES = (candle_table(FORECAST_INTERVAL), FUNDING, OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS)


def newest_close(bench: Bench) -> int:
    """Close of the newest 5m candle of the lake, epoch ms: with it nothing has to be asked of an exchange.

    Raises
    ------
    InputMissing : the lake holds no candles
    """
    entries = bench.lake.entries(TABLES[0]).values()
    opens = [entry.last_ms for months in entries for entry in months.values() if entry.rows]
    if not opens:
        raise InputMissing(f"the lake {bench.lake.root} holds no candles", "Run the job `collect`, or `hydra backfill`")
    return max(opens) + FORECAST_INTERVAL.ms


def prepare(bench: Bench, as_of_ms: int, start_ms: int | None = None) -> Dataset:
    """Dataset of the lake's history that ends at ``as_of_ms`` (market time); found again when nothing changed.

    Where the settings name several horizons, it has the one that is worth the most after costs on training rows alone.

    Parameters
    ----------
    start_ms : first bar; default: as far back as ``training.candles`` bars reach

    Raises
    ------
    InputMissing : the lake has no candles there, too few for the folds, or not what a named feature needs
    UsageError : the settings name a feature that does not exist
    """
    bench.progress("dataset", 0, 2)
    asked_for(bench.training.features)  # a wrong name is told before the lake is read
    end = FORECAST_INTERVAL.floor(as_of_ms)
    start = usable_span(bench.training, end) if start_ms is None else start_ms
    lake = bench.lake
    panel = load_panel(lake, bench.pairs, start, end)
    panel = panel.rows(slice(_first_known(panel.close), len(panel)))
    bench.progress("dataset", 1, 2)
    dataset = horizons.at_best(bench, build_dataset(bench.datasets, panel, bench.training))
    hashes = lake.hashes(TABLES, bench.pairs, start, end)
    lake.pin(hashes, f"dataset {dataset.version}")
    sources = {"lake": lake.data_hash(TABLES, bench.pairs, start, end)}
    write_atomically(dataset.folder / SOURCES, json.dumps(sources).encode())
    bench.progress("dataset", 2, 2)
    return dataset


def dataset_of(bench: Bench, version: str) -> Dataset:
    """A dataset that was prepared before."""
    return open_dataset(bench.datasets, version)


def sweep_forecaster(bench: Bench, dataset: Dataset) -> StudyResult:
    """Compare a few forecaster configurations on the first fold."""
    return forecasters.sweep_forecaster(bench, dataset)


def sweep_policy(bench: Bench, dataset: Dataset, forecaster: Candidate) -> StudyResult:
    """Compare a few settings of the policy's learning on out-of-sample forecasts of development."""
    return policies.sweep_policy(bench, dataset, forecaster)


def train_forecaster_candidate(bench: Bench, dataset: Dataset, study: StudyResult) -> Candidate:
    """Walk the best configuration forward, calibrate, train on all of development, seal."""
    return forecasters.train_forecaster_candidate(bench, dataset, study)


def train_crowd_candidate(bench: Bench, dataset: Dataset) -> Candidate:
    """Fit the crowd model on development and seal it."""
    return crowds.train_crowd_candidate(bench, dataset)


def train_policy_candidate(bench: Bench, dataset: Dataset, forecaster: Candidate, study: StudyResult) -> Candidate:
    """Learn a policy on the forecaster's out-of-sample forecasts and seal it."""
    return policies.train_policy_candidate(bench, dataset, forecaster, study)


def audit_candidate(bench: Bench, dataset: Dataset, candidate: Candidate) -> tuple[AuditLine, ...]:
    """Put a candidate to the leak suite, on development alone; what it says is kept with the model, for whoever seats it."""
    lines = suite.audit_candidate(bench, dataset, candidate)
    if candidate.version:
        record.keep(bench.registry, candidate.kind, candidate.version, dataset.version, lines)
    return lines


def validate_candidate(
    bench: Bench,
    dataset: Dataset,
    candidate: Candidate,
    *,
    study: StudyResult | None = None,
    forecaster: Candidate | None = None,
) -> Validation:
    """Judge a candidate of any kind, after the leak suite; the verdict is attached to its artifact.

    Parameters
    ----------
    study : the sweep that chose it (forecaster)
    forecaster : whose forecasts it times (policy)

    Raises
    ------
    UsageError : what that kind needs was not given
    """
    if candidate.kind == FORECASTER and study is not None:
        made = validation.validate_forecaster(
            bench, dataset, candidate, study, audit_candidate(bench, dataset, candidate)
        )
    elif candidate.kind == CROWD:
        made = crowds.validate_crowd(bench, dataset, candidate, audit_candidate(bench, dataset, candidate))
    elif candidate.kind == POLICY and forecaster is not None:
        if candidate.version:
            policies.require_same_forecaster(bench, dataset, forecaster.version, candidate.version)
        made = policies.validate_policy(
            bench, dataset, forecaster, candidate, audit_candidate(bench, dataset, candidate)
        )
    else:
        raise UsageError(f"cannot judge a {candidate.kind!r} with what was given", "A forecaster needs its study, a "
                         "policy its forecaster")  # fmt: skip
    if made.version:
        registry = bench.registry
        registry.attach(made.kind, made.version, "validation.json", json.dumps(made.to_json(), indent=1).encode())
        registry.attach(
            made.kind, made.version, "report.html", write_report(registry.card(made.kind, made.version), made)
        )
    return made


def validate_committee(
    bench: Bench, dataset: Dataset, validations: Mapping[str, Validation], trials: int
) -> Validation:
    """Judge the models that passed, together with the rules analyst, on the lock-box.

    Parameters
    ----------
    validations : kind -> its validation
    trials : configurations tried for all of them
    """
    versions = {kind: seen.version for kind, seen in validations.items() if seen.passed}
    return validation.validate_committee(bench, dataset, versions, trials)


@dataclass(frozen=True)
class Promotion:
    """Whether a candidate got its seat, and why (not)."""

    kind: str
    version: str
    promoted: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {"kind": self.kind, "version": self.version, "promoted": self.promoted, "reason": self.reason}


def promote(bench: Bench, candidate: Candidate, seen: Validation, *, at_ms: int) -> Promotion:
    """Give a candidate its seat when exactly it passed its gates and its leak suite; a standing champion otherwise stays.

    Raises
    ------
    ArtifactInvalid : the validation is of another candidate
    """
    if seen.kind != candidate.kind or seen.version != candidate.version:
        raise ArtifactInvalid(
            f"the validation is of {seen.kind} {seen.version[:12]}, the candidate is {candidate.version[:12]}",
            "Validate this very candidate",
        )
    if not seen.passed:
        failed = [gate.name for gate in seen.gates if not gate.passed]
        return Promotion(seen.kind, seen.version, False, f"did not pass: {', '.join(failed)}")
    if refused := record.refusal(bench.registry, seen.kind, seen.version):
        return Promotion(seen.kind, seen.version, False, refused)
    verdict = {name: value for name, value in seen.to_json().items() if name not in {"curves", "calibration"}}
    bench.registry.promote(seen.kind, seen.version, verdict, at_ms=at_ms)
    return Promotion(seen.kind, seen.version, True, f"passed {len(seen.gates)} gates")


@dataclass(frozen=True)
class ResearchRun:
    """Everything that one whole run found."""

    dataset: str
    candidates: Mapping[str, Candidate]
    validations: Mapping[str, Validation]
    committee: Validation
    promotions: Mapping[str, Promotion]

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "dataset": self.dataset,
            "candidates": {kind: made.to_json() for kind, made in self.candidates.items()},
            "validations": {kind: seen.to_json() for kind, seen in self.validations.items()},
            "committee": self.committee.to_json(),
            "promotions": {kind: done.to_json() for kind, done in self.promotions.items()},
        }


def run_research(bench: Bench, dataset: Dataset, *, at_ms: int) -> ResearchRun:
    """All stages in order on a prepared dataset; ``at_ms`` is market time for the champions' history."""
    bench = bench.at_horizon(dataset.horizon)
    study = sweep_forecaster(bench, dataset)
    forecaster = train_forecaster_candidate(bench, dataset, study)
    crowd = train_crowd_candidate(bench, dataset)
    policy_study = sweep_policy(bench, dataset, forecaster)
    policy = train_policy_candidate(bench, dataset, forecaster, policy_study)
    candidates = {FORECASTER: forecaster, CROWD: crowd, POLICY: policy}
    seen = {
        kind: validate_candidate(bench, dataset, candidates[kind], study=study, forecaster=forecaster) for kind in KINDS
    }
    committee = validate_committee(bench, dataset, seen, study.trials + policy_study.trials)
    promotions = {
        kind: promote(bench, candidates[kind], seen[kind], at_ms=at_ms) for kind in KINDS if kind != FORECASTER
    }
    # Nothing is traded without a forecaster, so the word on the seats together is a word on its seat.
    together = (
        seen[FORECASTER]
        if committee.passed
        else replace(seen[FORECASTER], gates=(*seen[FORECASTER].gates, *committee.gates))
    )
    promotions[FORECASTER] = promote(bench, forecaster, together, at_ms=at_ms)
    return ResearchRun(dataset.version, candidates, seen, committee, promotions)


def _first_known(close: Any) -> int:
    """First row in which some pair has a price."""
    import numpy as np

    known = np.isfinite(close).any(axis=1)
    return int(known.argmax()) if known.any() else 0
