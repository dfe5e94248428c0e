"""Sweeps: a few configurations compared inside development, every one written down before it starts.

Studies live in one Optuna journal file of the home, resumable and safe for several processes; the trial ledger beside it
counts every trial, pruned and aborted ones included, for the deflated Sharpe ratio.

Not here: what a trial computes (``forecasters``, ``policies``). A study is named after its data and settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import InputMissing
from hydra_core.research.outofsample import Progress, quiet
from hydra_core.research.trials import trial_ledger, trials_of

JOURNAL: Final = "optuna.journal"
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
) -> StudyResult:
    """Run a study up to ``count`` trials; those that are there already count.

    Parameters
    ----------
    studies : folder of the journal and the trial ledger
    first : parameters of the first trial (the defaults)
    suggest : Optuna trial -> parameters of a later one
    objective : (number, parameters, report) -> value, smaller is better; ``report(step, value)`` may raise TrialPruned, which
        the objective lets through

    Raises
    ------
    InputMissing : no trial came to a result; says why each did not
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(studies / JOURNAL))),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(1, count)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        direction="minimize",
        load_if_exists=True,
    )
    ledger = trial_ledger(studies)
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(first)
    while len(done := study.get_trials(deepcopy=False, states=ended)) < count:
        progress("sweep", len(done), count)
        trial = study.ask()
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
