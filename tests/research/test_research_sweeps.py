"""Sweeps: failed and pruned trials count, a killed study goes on, and nothing that failed is ever called the best."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.research.sweeps import StudyResult, TrialFailed, TrialPruned, sweep
from hydra_core.research.trials import trials_of


def suggested(trial) -> dict[str, float]:
    return {"x": trial.suggest_float("x", -1.0, 1.0)}


def run(folder: Path, objective, count: int) -> StudyResult:
    return sweep(folder, "study", {"x": 0.5}, suggested, objective, count, seed=1)


def test_trials_that_fail_or_are_pruned_count_and_are_never_the_best(tmp_path: Path) -> None:
    def objective(number: int, parameters: dict[str, float], report) -> float:
        if number == 1:
            raise TrialFailed("the loss was no number after epoch 2")
        if number == 2:
            raise TrialPruned
        return parameters["x"] ** 2

    made = run(tmp_path, objective, 5)
    assert made.trials == 5
    assert made.finished == (0, 3, 4)
    assert made.failed == {"1": "the loss was no number after epoch 2"}
    assert made.best_trial in made.finished
    assert len(trials_of(tmp_path, "study")) == 5
    assert StudyResult.from_json(made.to_json()) == made
    older = {name: value for name, value in made.to_json().items() if name != "failed"}
    assert StudyResult.from_json(older).failed == {}


def test_a_study_without_a_result_says_why_each_trial_had_none(tmp_path: Path) -> None:
    def objective(number: int, parameters: dict[str, float], report) -> float:
        raise TrialFailed(f"exploded at {number}")

    with pytest.raises(InputMissing, match="trial 0: exploded at 0; trial 1: exploded at 1"):
        run(tmp_path, objective, 2)


KILLED = """
import sys, test_research_sweeps as t
from pathlib import Path
def objective(number, parameters, report):
    if number == 1:
        print("in the second trial", flush=True)
        sys.stdin.read()
    return parameters["x"] ** 2
t.run(Path(sys.argv[1]), objective, 3)
"""


def test_a_study_killed_in_a_trial_goes_on_and_counts_that_trial(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert child.stdout is not None
    assert "second trial" in child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    asked: list[int] = []

    def objective(number: int, parameters: dict[str, float], report) -> float:
        asked.append(number)
        return parameters["x"] ** 2

    made = run(tmp_path, objective, 3)
    assert asked == [2, 3]
    assert made.finished == (0, 2, 3)
    assert made.trials == 4
