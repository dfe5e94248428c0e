"""The policy's way from recorded forecasts to a candidate to its evidence.

It learns on out-of-sample forecasts of development only. What it is worth is seen on days that its own training had not: one
learnt on the earlier test blocks is judged on the newest, the candidate (learnt on all of them) on the lock-box, both paired
with the no-trade band on the same forecasts. Not here: the learning itself (``alpha.policy.train``), limits (``gates``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hydra_core.alpha.models import POLICY
from hydra_core.alpha.policy.band import Band, Lanes, Target, lanes, trade
from hydra_core.alpha.policy.observation import LOOKBACK, policy_inputs
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import CANDLES, Floats, Ints
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
from hydra_core.research.books import Book
from hydra_core.research.bootstrap import mean_interval
from hydra_core.research.dataset import Dataset, content_key, load_arrays, remembered_arrays
from hydra_core.research.evaluation import correlation, effective_count
from hydra_core.research.folds import Span
from hydra_core.research.forecasters import recorded_forecasts
from hydra_core.research.gates import PolicyEvidence, leak_gate, plausible_caps, policy_gates
from hydra_core.research.hac import sharpe_error
from hydra_core.research.metrics import DAYS_A_YEAR, annual_sharpe
from hydra_core.research.sweeps import StudyResult, sweep
from hydra_core.research.trials import read_lockbox

LEVEL = 0.9
"""Of the paired interval: its lower end is a one-sided test at 5 %."""
UNSEEN = 2
"""Format of what is kept of the newest block: what was kept in an earlier one is made again."""
LAGS = (0, 1, 2)


def sweep_policy(bench: Bench, dataset: Dataset, forecaster: Candidate) -> StudyResult:
    """Compare a few settings of the learning before the newest test block: learnt on one half, judged on the rest."""
    from hydra_core.alpha.policy.train import PolicyHyper, train_policy

    training = bench.training
    first = PolicyHyper(steps=training.policy_steps)
    key = content_key(forecaster.version, training.policy_steps, training.seed, *_settled(bench, dataset))
    name = f"policy-{dataset.version[:12]}-{key[:8]}"
    nothing = StudyResult(name, {}, -1, 0.0, 0, ())
    if not forecaster.version:
        return nothing
    book = recorded_lanes(bench, dataset, forecaster.version)
    end = _newest_block(dataset).start - dataset.folds.gap
    early, late = book.rows(slice(0, end // 2)), book.rows(slice(end // 2 + dataset.folds.gap, end))

    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 4e-3, log=True),
            "gamma": trial.suggest_float("gamma", 0.9, 0.99),
            "entropy": trial.suggest_float("entropy", 0.003, 0.05, log=True),
        }

    def objective(number: int, parameters: dict[str, Any], report: Any) -> float:
        policy = train_policy(early, replace(first, **parameters), seed=training.seed + number)
        return -float((_quiet(late, policy.target) - _quiet(late, policy.band.target)).mean()) * 1e4

    defaults = {key: getattr(first, key) for key in ("learning_rate", "gamma", "entropy")}
    try:
        return sweep(
            bench.home.studies,
            name,
            defaults,
            suggest,
            objective,
            training.policy_trials,
            seed=training.seed,
            progress=bench.progress,
            shared=bench.studies_url,
        )
    except InputMissing:
        return nothing


def train_policy_candidate(bench: Bench, dataset: Dataset, forecaster: Candidate, study: StudyResult) -> Candidate:
    """Learn on all out-of-sample forecasts of development and seal; without usable forecasts there is no candidate."""
    if not forecaster.version:
        return Candidate(POLICY, "", dataset.version, absent=f"no forecaster to time: {forecaster.absent}")
    key = (forecaster.version, study.best, study.trials, bench.training.policy_steps, bench.training.seed, UNSEEN)
    return remembered_candidate(
        bench,
        dataset.stage(POLICY, *key, *_settled(bench, dataset)),
        lambda: _make_candidate(bench, dataset, forecaster, study),
    )


def validate_policy(
    bench: Bench, dataset: Dataset, forecaster: Candidate, candidate: Candidate, audit: Sequence[AuditLine]
) -> Validation:
    """Judge a policy on the lock-box, day by day beside the band on the same forecasts, and by what the leak suite said."""
    from hydra_core.alpha.policy.artifact import load

    if not candidate.version:
        return Validation.none(candidate)
    require_same_forecaster(bench, dataset, forecaster.version, candidate.version)
    read_lockbox(bench.home.studies, span_ms=dataset.lockbox_ms, kind=POLICY, version=candidate.version)
    policy = load(bench.registry.path(POLICY, candidate.version), candidate.version)
    book = recorded_lanes(bench, dataset, forecaster.version)
    unseen = book.rows(slice(dataset.folds.lockbox.start - dataset.folds.out_of_sample.start, len(book)))
    bench.progress("judging the policy", 0, 1)
    days, daily, beside, moves = paired(unseen, policy.target, policy.band)
    earlier = unseen_block(dataset, candidate.version)
    days = np.concatenate([earlier["days"], days])
    daily, beside = np.concatenate([earlier["policy"], daily]), np.concatenate([earlier["band"], beside])
    bench.progress("judging the policy", 1, 1)
    gain = mean_interval(daily - beside, mean_block=2.0, level=LEVEL)
    caps = plausible_caps(bench.home.market, dataset.horizon * dataset.panel.interval.ms)
    evidence = PolicyEvidence(
        gain=gain.value,
        gain_low=gain.low,
        net=float(daily.mean()),
        moves=moves + int(earlier["moves"]),
        days=daily.size,
        sharpe=annual_sharpe(daily),
        sharpe_cap=caps.sharpe,
    )
    gates = (*policy_gates(evidence), leak_gate(tuple(str(line) for line in leaks(audit))))
    ts = days * DAY_MS
    curves = {name: 1 + np.cumsum(values) for name, values in (("policy", daily), ("no-trade band", beside))}
    drawn = {name: Book(ts, values, ts, np.diff(values, prepend=1.0), ts[:0]) for name, values in curves.items()}
    return Validation(
        kind=POLICY,
        version=candidate.version,
        dataset=dataset.version,
        gates=gates,
        metrics={
            "gain_bp_a_day": gain.value * 1e4,
            "gain_bp_a_day_low": gain.low * 1e4,
            "gain_bp_a_day_high": gain.high * 1e4,
            "band_bp_a_day": float(beside.mean()) * 1e4,
            "policy_bp_a_day": float(daily.mean()) * 1e4,
            "band_enter": policy.band.enter,
            "band_leave": policy.band.leave,
            "sharpe": evidence.sharpe,
            "sharpe_error": sharpe_error(daily, 1) * math.sqrt(DAYS_A_YEAR),
        },
        curves={
            name: {"ts": [float(t) for t in ts], "value": [float(v) for v in values]} for name, values in curves.items()
        },
        pictures={
            "equity": plots.equity_picture(drawn, dataset.lockbox_ms[0]),
            "gates": plots.gates_picture(gates),
        },
    )


def _make_candidate(bench: Bench, dataset: Dataset, forecaster: Candidate, study: StudyResult) -> Candidate:
    from hydra_core.alpha.policy import artifact
    from hydra_core.alpha.policy.train import PolicyHyper, TrainedPolicy, train_policy

    training = bench.training
    hyper = replace(PolicyHyper(steps=training.policy_steps), **study.best)
    book = recorded_lanes(bench, dataset, forecaster.version).rows(slice(0, len(dataset.folds.out_of_sample)))
    newest = _newest_block(dataset)

    def learn(part: Lanes, stage: str) -> TrainedPolicy:
        return train_policy(
            part, hyper, seed=training.seed, progress=lambda done, total, _: bench.progress(stage, done, total)
        )

    try:
        before = learn(book.rows(slice(0, newest.start - dataset.folds.gap)), "policy, walk-forward")
        policy = learn(book, "policy")
    except InputMissing as error:
        return Candidate(POLICY, "", dataset.version, absent=str(error))
    block = book.rows(slice(newest.start, newest.end))
    traded = trade(block, before.target)
    days, daily, beside, moves = _beside(block, traded, before.band)
    settings = {"learning": hyper.to_dict(), "forecaster": forecaster.version}
    card = card_of(bench, dataset, POLICY, (CANDLES,), LOOKBACK, settings, study.trials).model_copy(
        update={
            "notes": (
                f"times the moves of a band that enters at {policy.band.enter} and leaves at {policy.band.leave} round trips",
            )
        }
    )
    version = seal(bench, card, lambda folder: artifact.write(folder, policy))
    remembered_arrays(
        dataset.stage("policy-unseen", version, UNSEEN),
        lambda: {
            "days": days,
            "policy": daily,
            "band": beside,
            "moves": np.array(moves),
            "by_lag": held_by_lag(block, traded[1]),
            "error": np.array(1 / math.sqrt(max(effective_count(block.returns, 1), 2.0))),
        },
    )
    gain = float((daily - beside).mean()) * 1e4
    metrics = {"walk_forward_gain_bp_a_day": gain, "band_enter": policy.band.enter, "band_leave": policy.band.leave}
    return Candidate(POLICY, version, dataset.version, metrics, card.notes)


def require_same_forecaster(bench: Bench, dataset: Dataset, forecaster: str, version: str) -> None:
    """Raise ArtifactInvalid unless a policy's card names this dataset and this forecaster's forecasts."""
    require_same_data(bench, dataset, POLICY, version)
    learnt_on = str(bench.registry.card(POLICY, version).settings.get("forecaster", ""))
    if learnt_on != forecaster:
        raise ArtifactInvalid(
            f"policy {version[:12]} learnt on the forecasts of {learnt_on[:12] or 'nobody'}, judged on {forecaster[:12]}'s",
            "Judge it on the forecaster that it times, or train it on this one's forecasts",
        )


def recorded_lanes(bench: Bench, dataset: Dataset, forecaster: str) -> Lanes:
    """Recorded forecasts from the first test block to the end of the lock-box."""
    forecast, _, _ = recorded_forecasts(bench, dataset, forecaster)
    start = dataset.folds.out_of_sample.start
    part = forecast.rows(slice(start, len(dataset.panel)))
    seen = policy_inputs(dataset.panel, part, bench.limits.round_trip * 1e4, len(dataset.panel) - start)
    return lanes(dataset.panel, seen, bench.limits.side_cost, bench.conditions(dataset.panel).paid)


def _settled(bench: Bench, dataset: Dataset) -> tuple[str, ...]:
    """Part of a key: the settlements that a policy learns to pay at, nothing where they are the usual grid."""
    key = bench.conditions(dataset.panel).settled_key
    return (key,) if key else ()


def _quiet(book: Lanes, target: Any) -> Floats:
    """Net returns (n, P) with the cross-section's mean return taken off, which is noise to a comparison of timings."""
    net, held = trade(book, target)
    gross = book.returns - book.funding
    quiet: Floats = net - held * gross.mean(axis=1, keepdims=True)
    return quiet


def _newest_block(dataset: Dataset) -> Span:
    """The newest test block, counted from the first row of the first."""
    newest, start = dataset.folds.folds[-1].test, dataset.folds.out_of_sample.start
    return Span(newest.start - start, newest.end - start)


def paired(book: Lanes, target: Target, band: Band) -> tuple[Ints, Floats, Floats, int]:
    """UTC days, daily net returns of a policy and of the band (sum over bars, mean over pairs), and the policy's moves."""
    return _beside(book, trade(book, target), band)


def held_by_lag(book: Lanes, held: Floats) -> Floats:
    """Correlation of the positions held with what a bar earned, were each taken 0, 1 or 2 bars later, shape (3,).

    Parameters
    ----------
    held : array (n, P), as :func:`~hydra_core.alpha.policy.band.trade` gives it
    """
    earned, rows = book.returns - book.funding, len(book)
    return np.array([correlation(held[: rows - late], earned[late:]) for late in LAGS])


def unseen_block(dataset: Dataset, version: str) -> dict[str, Any]:
    """What is kept of a candidate's walk-forward: the newest block, traded by a policy that had not learnt on it.

    Returns
    -------
    dict : ``days`` (n,), ``policy`` and ``band`` (n,) net return of each, ``moves``, ``by_lag`` (3,) and its ``error``
    """
    return load_arrays(dataset.stage("policy-unseen", version, UNSEEN).with_suffix(".npz"))


def _beside(book: Lanes, traded: tuple[Floats, Floats], band: Band) -> tuple[Ints, Floats, Floats, int]:
    own, held = traded
    beside, _ = trade(book, band.target)
    days, group = np.unique(book.days.astype(np.int64), return_inverse=True)
    daily, reference = (np.bincount(group, net.mean(axis=1)).astype(np.float64) for net in (own, beside))
    return days, daily, reference, int((np.diff(held, axis=0) != 0).sum())
