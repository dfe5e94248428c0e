"""The feature store as a person reads it: what each column of a dataset is, and what its values are like.

Not here: computing features (``alpha.features``), holding them against what they were (``drift``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha.features import FeatureSet

if TYPE_CHECKING:
    from hydra_core.research.dataset import Dataset

QUANTILES: Final = (0.01, 0.5, 0.99)
_MOST: Final = 200_000
"""Values that quantiles are read off, evenly spread: a hundredth of them still holds thousands."""


def described(names: Sequence[str]) -> dict[str, str]:
    """Name -> family, look-back, inputs and publication delay of registered features, in one line each."""
    return {
        member.name: (
            f"{member.family}; looks back {member.lookback} bars; "
            f"from {', '.join(sorted(member.inputs))}; known {member.delay_ms / 1000:g} s after its bar"
        )
        for member in FeatureSet(names).features
    }


def statistics_of(dataset: Dataset) -> list[dict[str, Any]]:
    """One row a feature over every row after the warm-up, all pairs together: share known, mean, spread, quantiles, range.

    Figures of a feature that is never known are NaN.
    """
    made = []
    for place, name in enumerate(dataset.feature_names):
        values = np.asarray(dataset.features[dataset.folds.warm_up :, :, place], np.float64)
        numbers = values[np.isfinite(values)]
        row: dict[str, Any] = {"feature": name, "known": numbers.size / max(values.size, 1)}
        some = numbers[:: -(-numbers.size // _MOST) or 1]
        none = not numbers.size
        row["mean"] = np.nan if none else float(numbers.mean())
        row["standard deviation"] = np.nan if none else float(numbers.std())
        row["least"] = np.nan if none else float(numbers.min())
        for share in QUANTILES:
            row[f"{share:.0%}"] = np.nan if none else float(np.quantile(some, share))
        row["most"] = np.nan if none else float(numbers.max())
        made.append(row)
    return made
