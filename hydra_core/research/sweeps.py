"""Sweeps: a few configurations compared inside development, every one written down before it starts.

Studies are resumable and safe for several processes, and for several hosts where they share a database; the home's trial
ledger counts every trial, those of other hosts, pruned and aborted ones included, for the deflated Sharpe ratio.

Not here: where a study lives (``studies``), what a trial computes (``forecasters``, ``policies``). A study is named after its
data and settings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from hydra_core.domain.errors import InputMissing
from hydra_core.research.outofsample import Progress, quiet
from hydra_core.research.studies import open_study, plain_errors, sampler
from hydra_core.research.trials import trial_ledger, trials_of

Parameters = dict[str, Any]


class TrialPruned(Exception):
    """Raised by a trial's report: it lies behind the others and need not go on."""


class TrialFailed(Exception):
    """Raised by an objective that came to no result; the study goes on with the next trial, this one counts."""


@dataclass(frozen=True)
class StudyResult:
    """What a sweep came to.

    Parameters
    ----------
    study : its name
    best : parameters of the best trial; ``best_trial`` its number
    value : its objective (smaller is better)
    trials : trials made so far, pruned and aborted ones included
    finished : numbers of the trials that ran to their end
    failed : number -> reason, of the trials that came to no result
    """

    study: str
    best: Parameters
    best_trial: int
    value: float
    trials: int
    finished: tuple[int, ...]
    failed: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "study": self.study,
            "best": self.best,
            "best_trial": self.best_trial,
            "value": self.value,
            "trials": self.trials,
            "finished": list(self.finished),
            "failed": self.failed,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> StudyResult:
        """The inverse of :meth:`to_json`."""
        return cls(**{**values, "finished": tuple(values["finished"])})


def sweep(
    studies: Path,
    name: str,
    first: Parameters,
    suggest: Callable[[Any], Parameters],
    objective: Callable[[int, Parameters, Callable[[int, float], None]], float],
    count: int,
    *,
    seed: int,
    progress: Progress = quiet,
    shared: SecretStr | None = None,
) -> StudyResult:
    """Run a study up to ``count`` trials; those that are there already count.

    Hosts that share a study each add trials until so many have ended; what others still run then is not waited for.

    Parameters
    ----------
    studies : folder of the trial ledger, and of the journal
    first : parameters of the first trial (the defaults)
    suggest : Optuna trial -> parameters of a later one
    objective : (number, parameters, report) -> value, smaller is better; ``report(step, value)`` may raise TrialPruned, which
        the objective lets through
    shared : address of the database of a study that hosts share; None: the home's journal

    Raises
    ------
    InputMissing : no trial came to a result; says why each did not
    HydraError : the shared database cannot be used, or is not one for studies
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(studies, name, first, seed, count, shared)
    with nullcontext() if shared is None else plain_errors():
        _run(study, studies, suggest, objective, count, seed=seed, progress=progress, shared=shared is not None)
        return _result(study, studies)


def _run(
    study: Any,
    studies: Path,
    suggest: Callable[[Any], Parameters],
    objective: Callable[[int, Parameters, Callable[[int, float], None]], float],
    count: int,
    *,
    seed: int,
    progress: Progress,
    shared: bool,
) -> None:
    """Add trials until ``count`` have ended, each written down before it starts."""
    import optuna

    name, ledger = study.study_name, trial_ledger(studies)
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
    while len(done := study.get_trials(deepcopy=False, states=ended)) < count:
        progress("sweep", len(done), count)
        trial = study.ask()
        if shared:
            study.sampler = sampler(seed + trial.number, count)
        parameters = suggest(trial)
        ledger.add(f"{name}/{trial.number}", {"study": name, "number": trial.number, "parameters": parameters})

        def report(step: int, value: float, trial: Any = trial) -> None:
            trial.report(value, step)
            if trial.should_prune():
                raise TrialPruned

        try:
            value = objective(trial.number, parameters, report)
        except TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except TrialFailed as reason:
            trial.set_user_attr("failed", str(reason))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
    progress("sweep", count, count)
    if shared:
        for other in study.get_trials(deepcopy=False):
            if other.state != optuna.trial.TrialState.WAITING:
                record = {"study": name, "number": other.number, "parameters": dict(other.params)}
                ledger.add(f"{name}/{other.number}", record)


def _result(study: Any, studies: Path) -> StudyResult:
    """What the study came to so far; raises InputMissing when no trial came to a result."""
    import optuna

    name = study.study_name
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    lost = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.FAIL,))
    failed = {str(trial.number): str(trial.user_attrs.get("failed", "it was cut off")) for trial in lost}
    if not complete:
        why = "; ".join(f"trial {number}: {reason}" for number, reason in failed.items()) or "all were pruned"
        raise InputMissing(f"no trial of study {name} came to a result: {why}", "Look at the data, or lower the rates")
    best = study.best_trial
    return StudyResult(
        study=name,
        best=dict(best.params),
        best_trial=best.number,
        value=float(best.value or 0.0),
        trials=len(trials_of(studies, name)),
        finished=tuple(trial.number for trial in complete),
        failed=failed,
    )
