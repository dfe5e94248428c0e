"""The crowd artifact: two logistic hazards in one JSON file, and how it is served.

``model.json`` holds the model and the volatility-only baseline that it was judged against. Nothing but numpy is needed
to serve it. Not here: the card (registry).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hydra_core.alpha.crowd import columns as crowd_columns
from hydra_core.alpha.crowd.habits import USUAL, Habits
from hydra_core.alpha.crowd.logistic import Logistic
from hydra_core.alpha.models import Hazard
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.domain.market import Floats, Panel

FILE: Final = "model.json"
FORMAT: Final = 3
"""Raised too when columns of one name take other values: a model must be served what it was trained on."""
LEVEL_COLUMN: Final = "log_sigma"
"""The one column whose usual value differs from pair to pair."""


@dataclass(frozen=True)
class CrowdArtifact:
    """A crowd model as trained and as served.

    Parameters
    ----------
    version : content hash of the artifact, empty before it is saved
    horizon_bars : bars within which a forced exit counts
    hazard_model, baseline_model : the model, and the hazard from volatility alone
    pair_levels : usual log volatility of each pair, from training rows; another pair gets their mean
    habits : what its map of waiting liquidations takes for granted
    """

    version: str
    horizon_bars: int
    hazard_model: Logistic
    baseline_model: Logistic
    pair_levels: Mapping[str, float]
    habits: Habits = USUAL

    @property
    def columns(self) -> tuple[crowd_columns.Column, ...]:
        """What the model sees."""
        return crowd_columns.named(self.hazard_model.names)

    @property
    def inputs(self) -> frozenset[str]:
        """Panel inputs it cannot do without."""
        return frozenset().union(*(column.inputs for column in self.columns))

    @property
    def lookback(self) -> int:
        """Rows it needs before and including the first one asked for."""
        return max(column.lookback for column in self.columns)

    def hazard(self, panel: Panel, last: int) -> Hazard:
        """Probability of a forced exit of longs and shorts for the newest ``last`` rows, shape (last, P).

        Raises
        ------
        InputMissing : a declared input is absent from the panel, or the panel is shorter than ``last``
        """
        return self._serve(self.hazard_model, panel, last)

    def baseline_hazard(self, panel: Panel, last: int) -> Hazard:
        """The same from volatility alone."""
        return self._serve(self.baseline_model, panel, last)

    def _serve(self, model: Logistic, panel: Panel, last: int) -> Hazard:
        chosen = crowd_columns.named(model.names)
        values = crowd_columns.compute(panel, chosen, last, self.habits)
        levelled(values, model.names, self.levels(panel))
        mirror = sides(chosen)
        return Hazard(model.probability(values), model.probability(values * mirror))

    def levels(self, panel: Panel) -> Floats:
        """Usual log volatility of the panel's pairs, shape (P,)."""
        usual = float(np.mean(list(self.pair_levels.values())))
        return np.array([self.pair_levels.get(pair, usual) for pair in panel.pairs])

    def save(self, folder: Path) -> Path:
        """Write ``model.json``; the card is the registry's. Returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = {
            "format": FORMAT,
            "horizon_bars": self.horizon_bars,
            "hazard": self.hazard_model.to_json(),
            "baseline": self.baseline_model.to_json(),
            "pair_levels": dict(sorted(self.pair_levels.items())),
            "habits": self.habits.to_json(),
        }
        file = folder / FILE
        file.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
        return file


def sides(chosen: tuple[crowd_columns.Column, ...]) -> Floats:
    """What turns the columns as longs see them into what shorts see, shape (C,)."""
    return np.array([-1.0 if column.odd else 1.0 for column in chosen])


def levelled(values: Floats, names: tuple[str, ...], levels: Floats) -> None:
    """Subtract each pair's usual log volatility in place; ``values`` has shape (..., P, C)."""
    if LEVEL_COLUMN in names:
        values[..., names.index(LEVEL_COLUMN)] -= levels


def load(folder: Path, version: str) -> CrowdArtifact:
    """The crowd model in an artifact folder; raises ArtifactInvalid when it does not hold one of this format."""
    file = folder / FILE
    try:
        plain = json.loads(file.read_text())
        if plain["format"] != FORMAT:
            raise ArtifactInvalid(f"{file} has format {plain['format']}, this version reads {FORMAT}", "Train it again")
        artifact = CrowdArtifact(
            version=version,
            horizon_bars=int(plain["horizon_bars"]),
            hazard_model=Logistic.from_json(plain["hazard"]),
            baseline_model=Logistic.from_json(plain["baseline"]),
            pair_levels={str(pair): float(level) for pair, level in plain["pair_levels"].items()},
            habits=Habits.from_json(plain["habits"]),
        )
        crowd_columns.named(artifact.hazard_model.names + artifact.baseline_model.names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputMissing) as error:
        raise ArtifactInvalid(f"{file} is no crowd model: {error}", "Train it again, or promote another") from error
    return artifact
