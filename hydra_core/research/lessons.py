"""What a forecaster is taught on a dataset, by the settings: labels, weights, further horizons; and what its heads made of it.

It is judged by the scaled return of the dataset's horizon, whatever it was taught. Not here: the labels themselves
(``alpha.labels``), how the horizon was chosen (``horizons``), training (``forecasters``).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from hydra_core.alpha.forecaster.heads import HeadsWord, shift_of, worth
from hydra_core.alpha.labels import BARRIER, RETURN, Target, average_uniqueness, scaled_return, training_target
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.dataset import Dataset
from hydra_core.settings import ForecasterSettings


def lesson(dataset: Dataset, chosen: ForecasterSettings, rows: Ints) -> tuple[Floats, Floats | None]:
    """What a forecaster is taught (T, P), and what each of the rows' labels counts (T, P); None: all the same.

    The weights' mean over the rows is 1, so that penalties and learning rates mean what they do without them.
    """
    if chosen.label == RETURN and chosen.weights == "equal":
        return dataset.label, None
    target, bars = _target(dataset, chosen.label, chosen.barrier_sigmas)
    if chosen.weights == "equal":
        return target, None
    unique = average_uniqueness(rows, bars[rows])
    weights = np.zeros(target.shape)
    weights[rows] = np.nan_to_num(unique / np.nanmean(unique))
    return target, weights


@lru_cache(maxsize=2)
def _target(dataset: Dataset, kind: Target, width: float) -> tuple[Floats, Floats]:
    """Barriers take seconds on a long history, and every fold and trial asks for the same ones."""
    return training_target(dataset.panel, dataset.horizon, kind, width)


def taught(dataset: Dataset, chosen: ForecasterSettings) -> dict[str, Any]:
    """What the card says of labels, weights and horizon."""
    label = (
        f"{chosen.label} at {chosen.barrier_sigmas:g} standard deviations" if chosen.label == BARRIER else chosen.label
    )
    tried = [line["horizon"] for line in dataset.horizons.get("tried", [])]
    horizon = (
        f"{dataset.horizon} bars, best after costs of {', '.join(map(str, tried))}" if tried else "by the settings"
    )
    return {"label": label, "weights": chosen.weights, "horizon": horizon}


def more_labels(dataset: Dataset, horizons: tuple[int, ...]) -> Floats | None:
    """Scaled returns over further horizons, (T, P, H); None without any."""
    if not horizons:
        return None
    return np.stack([scaled_return(dataset.panel, horizon) for horizon in horizons], axis=2)


def judged_heads(dataset: Dataset, word: HeadsWord | None) -> tuple[float, dict[str, float]]:
    """How far the quantiles of the dataset's horizon are moved (NaN: not said), and what each horizon's heads are worth."""
    shift = math.nan
    told: dict[str, float] = {}
    for horizon in () if word is None else word.horizons:
        assert word is not None
        realised = dataset.label if horizon == dataset.horizon else scaled_return(dataset.panel, horizon)
        told |= {f"heads_{horizon}_{name}": value for name, value in worth(word, horizon, realised).items()}
        if horizon == dataset.horizon:
            shift = shift_of(word, horizon, realised)
    return shift, told
