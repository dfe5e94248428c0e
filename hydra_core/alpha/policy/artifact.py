"""The policy's sealed folder: written after training, read by the live plane with onnxruntime alone.

``model.onnx`` takes canonical columns (n, 6) and gives the scores of waiting and moving (n, 2); ``policy.json`` holds the band
whose wishes it times. Not here: training (``train``), the card and the folder's hash (``alpha/registry``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha.models import PolicyObservation
from hydra_core.alpha.onnx_files import export, open_session
from hydra_core.alpha.policy.band import Band
from hydra_core.alpha.policy.timing import COLUMNS, timed_target
from hydra_core.domain.errors import ArtifactInvalid, HydraError
from hydra_core.domain.market import Floats

if TYPE_CHECKING:
    from hydra_core.alpha.policy.train import TrainedPolicy

MODEL: Final = "model.onnx"
SETTINGS: Final = "policy.json"


@dataclass(frozen=True, eq=False)
class OnnxPolicy:
    """A policy read from its folder; satisfies :class:`hydra_core.alpha.models.PolicyModel`."""

    version: str
    band: Band
    session: Any

    def target(self, observation: PolicyObservation) -> Floats:
        """Wanted position as a share of the largest permitted one, in [-1, 1], of the observation's shape.

        NaN where anything of the observation is unknown: it has no word there, which is not the wish to hold nothing.
        """
        known = np.isfinite(observation.matrix()).all(axis=-1)
        return np.where(known, timed_target(observation, self.band, self._scores), np.nan)

    def _scores(self, columns: Floats) -> Floats:
        scores = self.session.run(None, {"columns": columns.astype(np.float32)})[0]
        return np.asarray(scores, np.float64)


def write(folder: Path, policy: TrainedPolicy) -> None:
    """Export a trained policy into a folder (its card is the caller's)."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    export(policy.network, torch.zeros(2, COLUMNS), folder / MODEL, given="columns", returned="scores")
    (folder / SETTINGS).write_text(json.dumps({"band": asdict(policy.band)}, indent=1, sort_keys=True))


def load(folder: Path, version: str) -> OnnxPolicy:
    """The policy in a folder; raises ArtifactInvalid when a file is absent or does not make sense."""
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        return OnnxPolicy(version, Band(**settings["band"]), open_session(folder / MODEL))
    except (OSError, ValueError, KeyError, TypeError, HydraError) as error:
        raise ArtifactInvalid(f"policy in {folder} cannot be loaded: {error}", "Train it again") from error
