"""The leak suite over a history (``hydra audit-leaks``) and over a candidate (asset checks, the gate ``leak_suite``).

Not here: the checks themselves; L3, L4 and L7, which need markets of known optimum (``research.truth``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_core.alpha.registry import write_atomically
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Panel
from hydra_core.domain.pairs import Pair
from hydra_core.research.audit.canary import next_moves, sing
from hydra_core.research.audit.causality import (
    audit_features,
    audit_statistics,
    forecast_ignores_the_future,
    late_listing,
    with_drawn_inputs,
)
from hydra_core.research.audit.crowd import audit_crowd
from hydra_core.research.audit.learning import Problem, extra_lag, permuted_labels, ridge
from hydra_core.research.audit.lines import BY_KIND, AuditLine, leaks
from hydra_core.research.audit.plausibility import plausible
from hydra_core.research.audit.policy import audit_policy
from hydra_core.research.audit.sources import (
    Sources,
    buildable_then,
    features_then,
    sources_of_lake,
    traded_in,
    universe_as_of,
)
from hydra_core.research.bench import Bench, Candidate, require_same_data
from hydra_core.research.dataset import Dataset, load_arrays
from hydra_core.research.evaluation import correlation, effective_count, skill
from hydra_core.research.forecasters import load_forecaster
from hydra_core.research.gates import plausible_caps
from hydra_core.research.outofsample import Progress, quiet

HISTORY_ROWS: Final = 200
CANDIDATE_ROWS: Final = 12
MOST_BARS: Final = 12_000
"""Bars of a history that the learners of the suite see."""
LEARNER_COLUMNS: Final = 40
"""Features that one of them sees at most."""
HORIZON: Final = 48
TRAIN_SHARE: Final = 0.65


def audit_history(
    panel: Panel,
    sources: Sources | None = None,
    traded: dict[Pair, tuple[int, int]] | None = None,
    *,
    rows: int = HISTORY_ROWS,
    seed: int = 7,
    progress: Progress = quiet,
) -> list[AuditLine]:
    """The suite over the features and statistics of a history, with plain learners in a candidate's place.

    Parameters
    ----------
    panel : Panel; an input that it lacks is drawn at random for L1, so that every registered feature is judged
    sources : what the panel was joined from; without it L8 is left out
    traded : span of every pair that was ever collected; without it the universe is not judged
    rows : random rows after which the future is replaced by noise
    """
    whole, drawn = with_drawn_inputs(panel, seed)
    needs = {member.name: member.inputs for member in FeatureSet.every().features}
    made: list[AuditLine] = []
    steps: list[tuple[str, Callable[[], list[AuditLine]]]] = [
        ("features", lambda: audit_features(whole, rows=rows, seed=seed)),
        ("statistics", lambda: audit_statistics(whole, rows=rows, seed=seed)),
        ("learners", lambda: _learners(panel, seed)),
        ("sources", lambda: [] if sources is None else _published(panel, sources, FeatureSet.every(), seed)),
        ("universe", lambda: [*late_listing(panel, seed=seed), *_universe(panel, traded)]),
    ]
    for number, (name, step) in enumerate(steps):
        progress(name, number, len(steps))
        for line in step():
            invented = needs.get(line.name, frozenset()) & drawn
            note = f", {', '.join(sorted(invented))} drawn at random" if invented else ""
            made.append(
                AuditLine(
                    line.name, line.clean, (line.detail or f"{rows} rows bit for bit the same") + note, line.check
                )
            )
    progress("done", len(steps), len(steps))
    return made


def audit_candidate(bench: Bench, dataset: Dataset, candidate: Candidate) -> tuple[AuditLine, ...]:
    """The suite over one candidate; development only, so no lock-box is read. A clean look is kept: asking again costs nothing.

    Returns
    -------
    tuple of AuditLine : empty where there is no candidate

    Raises
    ------
    ArtifactInvalid : it was trained on other data
    """
    if not candidate.version:
        return ()
    require_same_data(bench, dataset, candidate.kind, candidate.version)
    # What an earlier version of the suite left out is not taken for having been run.
    key = (candidate.kind, candidate.version, bench.home.market, BY_KIND[candidate.kind])
    return tuple(_clean_once(dataset.stage("audit", *key), lambda: _audit_candidate(bench, dataset, candidate)))


def _clean_once(stage: Path, judge: Callable[[], list[AuditLine]]) -> list[AuditLine]:
    """The lines of a look, kept where they are clean; a finding is looked at anew, as its cause may have been mended since."""
    file = stage.with_suffix(".json")
    if file.exists():
        kept = [AuditLine(**line) for line in json.loads(file.read_bytes())["lines"]]
        if not leaks(kept):
            return kept
    made = judge()
    if not leaks(made):
        write_atomically(file, json.dumps({"lines": [line.to_json() for line in made]}, indent=1).encode())
    return made


def _audit_candidate(bench: Bench, dataset: Dataset, candidate: Candidate) -> list[AuditLine]:
    bench.progress(f"leak audit of the {candidate.kind}", 0, 3)
    judge = {FORECASTER: _audit_forecaster, CROWD: audit_crowd, POLICY: audit_policy}[candidate.kind]
    made = judge(bench, dataset, candidate.version)
    bench.progress(f"leak audit of the {candidate.kind}", 1, 3)
    made += _inputs(dataset)
    bench.progress(f"leak audit of the {candidate.kind}", 2, 3)
    made += _joins(bench, dataset)
    bench.progress(f"leak audit of the {candidate.kind}", 3, 3)
    return made


def _joins(bench: Bench, dataset: Dataset) -> list[AuditLine]:
    """L8 and L10 of the panel against the lake that it was joined from."""
    panel, lake = dataset.panel, bench.lake
    traded = traded_in(lake)
    if not dataset.sources and not traded:
        return [
            AuditLine("joins", True, "the panel was handed over whole: there is no lake that it was joined from", "L8")
        ]
    sources = sources_of_lake(lake, panel.pairs, int(panel.ts[0]), int(panel.close_ms[-1]))
    published = _published(panel, sources, FeatureSet(dataset.feature_names))
    return [*published, universe_as_of(panel, traded)]


def _audit_forecaster(bench: Bench, dataset: Dataset, version: str) -> list[AuditLine]:
    """L1, L2, L5, L6 and L9 of a sealed forecaster."""
    said = forecast_ignores_the_future(load_forecaster(bench, version), dataset.panel)
    return [said, *_forecaster_skill(bench, dataset, version)]


def _inputs(dataset: Dataset) -> list[AuditLine]:
    """L1 and L10 of what every candidate of a dataset reads: they depend on the dataset alone and are judged once."""

    def judged() -> list[AuditLine]:
        recent, chosen = dataset.panel.last(min(len(dataset.panel), 3 * MOST_BARS)), FeatureSet(dataset.feature_names)
        return [
            *audit_features(recent, chosen, rows=CANDIDATE_ROWS),
            *audit_statistics(recent, rows=CANDIDATE_ROWS),
            *late_listing(recent, chosen),
        ]

    return _clean_once(dataset.stage("audit-inputs"), judged)


def _forecaster_skill(bench: Bench, dataset: Dataset, version: str) -> list[AuditLine]:
    """L2, L5, L6 and L9 on the walk-forward part of development."""
    made = load_arrays(dataset.stage("oos", version).with_suffix(".npz"))
    span = dataset.folds.out_of_sample
    rows = slice(span.start, span.end)
    sigma = dataset.sigma[rows] * math.sqrt(dataset.horizon)
    label, days = dataset.label[rows], dataset.days[rows]
    seen = skill(made["raw"][rows], label, sigma, days, dataset.horizon)
    error = 1 / math.sqrt(max(seen.effective_count, 2.0))
    fold = dataset.folds.folds[-1]
    train = np.arange(max(fold.train.start, fold.valid.end - MOST_BARS), fold.valid.end)
    test = fold.test.rows()[-MOST_BARS:]
    problem = Problem(dataset.features, dataset.label, dataset.horizon, train, test)
    caps = plausible_caps(bench.home.market, dataset.horizon * dataset.panel.interval.ms)
    return [
        permuted_labels(problem),
        *sing(dataset.features[rows], dataset.feature_names, next_moves(dataset.panel)[rows]),
        extra_lag(seen.by_lag, error),
        plausible(seen, caps),
    ]


def _learners(panel: Panel, seed: int) -> list[AuditLine]:
    """L2, L5 and L6 with ridge and trees on the registered features of the newest bars, some columns at a time: a learner
    of all at once would ask for more history than an audit needs."""
    every = FeatureSet.every().available(panel.inputs).names
    groups = -(-len(every) // LEARNER_COLUMNS)
    made = [line for first in range(groups) for line in _learned(panel, FeatureSet(every[first::groups]), seed)]
    found = [line for line in made if not line.clean]
    sound = {(line.name, line.check): line for line in made if line.clean}
    return [*found, *(line for key, line in sound.items() if key not in {(one.name, one.check) for one in found})]


def _learned(panel: Panel, chosen: FeatureSet, seed: int) -> list[AuditLine]:
    part = panel.last(MOST_BARS)
    features = chosen.compute(part)
    label = labels.scaled_return(part, HORIZON)
    rows = np.arange(chosen.lookback, len(part) - HORIZON - 1)
    cut = int(rows.size * TRAIN_SHARE)
    train, test = rows[:cut], rows[cut + HORIZON + 1 :]
    if test.size < 2 * HORIZON:
        raise InputMissing(f"an audit of {len(part)} bars", f"Needs {chosen.lookback + 8 * HORIZON} at least")
    made = ridge(features, label, train, test)
    told = label[test]
    error = 1 / math.sqrt(max(effective_count(told, HORIZON), 2.0))
    by_lag = {lag: correlation(made[: len(made) - lag], told[lag:]) for lag in (0, 1, 2)}
    return [
        permuted_labels(Problem(features, label, HORIZON, train, test), seed=seed),
        *sing(features[:-1], chosen.names, next_moves(part)[:-1], seed=seed),
        extra_lag(by_lag, error, "ridge"),
    ]


def _published(panel: Panel, sources: Sources, chosen: FeatureSet, seed: int = 7) -> list[AuditLine]:
    """L8 of the panel's rows and of their features."""
    return [*buildable_then(panel, sources, seed=seed), *features_then(panel, sources, chosen, seed=seed)]


def _universe(panel: Panel, traded: dict[Pair, tuple[int, int]] | None) -> list[AuditLine]:
    return [] if traded is None else [universe_as_of(panel, traded)]
