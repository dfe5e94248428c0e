"""The crowd model's way to a candidate and its evidence; the learning itself is ``alpha.crowd``."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_core.alpha.crowd import evaluate_crowd, load, train_crowd
from hydra_core.alpha.models import CROWD
from hydra_core.alpha.registry import Estimate
from hydra_core.domain.errors import InputMissing
from hydra_core.research import plots
from hydra_core.research.audit.lines import AuditLine, leaks
from hydra_core.research.bench import (
    Bench,
    Candidate,
    Validation,
    card_of,
    remembered_candidate,
    require_same_data,
    seal,
)
from hydra_core.research.dataset import Dataset
from hydra_core.research.gates import MIN_EVENTS, GateVerdict, crowd_gates, leak_gate, plausible_pr_ratio
from hydra_core.research.trials import read_lockbox


def train_crowd_candidate(bench: Bench, dataset: Dataset) -> Candidate:
    """Fit on development and seal; without open interest or forced exits to learn from there is no candidate."""
    return remembered_candidate(
        bench, dataset.stage(CROWD, bench.training.seed), lambda: _make_candidate(bench, dataset)
    )


def validate_crowd(bench: Bench, dataset: Dataset, candidate: Candidate, audit: Sequence[AuditLine]) -> Validation:
    """Judge a crowd model on the lock-box against volatility alone, and by what the leak suite said."""
    if not candidate.version:
        return Validation.none(candidate)
    version = candidate.version
    require_same_data(bench, dataset, CROWD, version)
    read_lockbox(bench.home.studies, span_ms=dataset.lockbox_ms, kind=CROWD, version=version)
    artifact = load(bench.registry.path(CROWD, version), version)
    usual = float(bench.registry.card(CROWD, version).settings["base_rate"])
    clean = leak_gate(tuple(str(line) for line in leaks(audit)))
    bench.progress("judging the crowd model", 0, 1)
    try:
        seen = evaluate_crowd(artifact, dataset.panel, dataset.folds.lockbox.rows(), usual, bench.training.seed)
    except InputMissing as error:
        gate = GateVerdict("events", False, None, float(MIN_EVENTS), str(error))
        return Validation(CROWD, version, dataset.version, (gate, clean))
    gates = (*crowd_gates(seen, plausible_pr_ratio(bench.home.market)), clean)
    bench.progress("judging the crowd model", 1, 1)
    return Validation(
        kind=CROWD,
        version=version,
        dataset=dataset.version,
        gates=gates,
        metrics=seen.to_json(),
        pictures={"gates": plots.gates_picture(gates)},
    )


def _make_candidate(bench: Bench, dataset: Dataset) -> Candidate:
    bench.progress("crowd model", 0, 1)
    final = dataset.folds.final
    try:
        made = train_crowd(
            dataset.panel, final.train.rows(), final.valid.rows(), bench.training.seed, horizon=dataset.horizon
        )
    except InputMissing as error:
        return Candidate(CROWD, "", dataset.version, absent=str(error))
    seen = made.metrics
    card = card_of(
        bench,
        dataset,
        CROWD,
        sorted(made.artifact.inputs),
        made.artifact.lookback,
        {"base_rate": made.train_base_rate},
        trials=1,
    ).model_copy(
        update={"metrics": {"pr_auc_ratio": Estimate(value=seen.ratio, low=seen.ratio_low, high=seen.ratio_high)}}
    )
    version = seal(bench, card, made.save)
    bench.progress("crowd model", 1, 1)
    return Candidate(CROWD, version, dataset.version, seen.to_json())
