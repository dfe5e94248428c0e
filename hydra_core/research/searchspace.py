"""What a sweep of forecasters varies, family by family.

Not here: the sweep (``sweeps``), what a trial is worth (``forecasters``).
"""

from __future__ import annotations

from typing import Any, Final

from hydra_core.alpha.forecaster.families import STACKED, TRANSFORMER, TREES
from hydra_core.alpha.forecaster.trees import TreesHyper
from hydra_core.settings import TrainingSettings

_NETWORK_SWEPT: Final = ("width", "layers", "dropout", "learning_rate", "weight_decay")
_TREES_SWEPT: Final = ("leaves", "learning_rate", "least_share", "rounds")


def swept_family(family: str) -> str:
    """The family that a sweep varies: the network of a stack, else the family itself."""
    return TRANSFORMER if family == STACKED else family


def first_parameters(training: TrainingSettings, family: str) -> dict[str, Any]:
    """The defaults that a sweep begins with; empty where a family has nothing to vary."""
    if family == TRANSFORMER:
        from hydra_core.alpha.forecaster.network import NetworkHyper

        first = NetworkHyper(epochs=training.epochs)
        return {key: getattr(first, key) for key in _NETWORK_SWEPT}
    return {key: getattr(TreesHyper(), key) for key in _TREES_SWEPT} if family == TREES else {}


def suggested(trial: Any, family: str) -> dict[str, Any]:
    """Parameters of one trial as the sampler draws them; ``trial`` is Optuna's."""
    if family == TRANSFORMER:
        return {
            "width": trial.suggest_categorical("width", [16, 32]),
            "layers": trial.suggest_int("layers", 1, 2),
            "dropout": trial.suggest_float("dropout", 0.0, 0.3),
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 0.01, 0.5, log=True),
        }
    if family == TREES:
        return {
            "leaves": trial.suggest_int("leaves", 4, 16),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.2, log=True),
            "least_share": trial.suggest_float("least_share", 0.003, 0.03, log=True),
            "rounds": trial.suggest_int("rounds", 8, 64),
        }
    return {}
