"""How much each family's word is worth beside the others': weights fitted on forecasts of rows that no family had seen.

Weights are not negative and are drawn to equal ones, so that a family that says nothing is left out and families that say
the same share. Not here: the families, the walk-forward that makes their forecasts (``families``).
Source: Breiman (1996), stacked regressions; non-negative least squares, Lawson and Hanson (1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hydra_core.alpha.forecaster.linear import LABEL_CLIP
from hydra_core.alpha.forecaster.windows import whiten
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

TOWARDS_EQUAL: Final = 0.1
"""Squared distance from equal weights counts this much of the voices' mean square."""
LEAST_VALUES: Final = 100


def stack_weights(
    voices: Sequence[Floats], labels: Floats, weight: float, towards_equal: float = TOWARDS_EQUAL
) -> tuple[float, ...]:
    """Weights of forecasts that were made out of fold.

    Parameters
    ----------
    voices : K arrays (n, P), standardised forecasts, NaN where unknown
    labels : array (n, P), standardised realised returns
    weight : of the cross-section's mean, as :func:`~hydra_core.alpha.forecaster.windows.common_weight` gives it
    towards_equal : strength of the pull to equal weights 1 / K

    Returns
    -------
    tuple of K floats, none negative

    Raises
    ------
    InputMissing : fewer than 100 values that all voices and the label know
    """
    from scipy.optimize import nnls

    said = np.stack(list(voices), axis=2)
    known = np.isfinite(said).all(axis=2) & np.isfinite(labels)
    if int(known.sum()) < LEAST_VALUES:
        raise InputMissing(f"{int(known.sum())} out-of-fold forecasts to weigh families by", "Collect more history")
    x = whiten(said, known, weight)[known]
    y = whiten(np.clip(labels, -LABEL_CLIP, LABEL_CLIP), known, weight)[known]
    count = x.shape[1]
    gram, moment = x.T @ x / len(x), x.T @ y / len(x)
    pull = towards_equal * float(np.trace(gram)) / count
    # Least squares of the Cholesky factor is the same problem with K rows instead of n.
    factor = np.linalg.cholesky(gram + (pull + 1e-12) * np.eye(count))
    target = np.linalg.solve(factor, moment + pull / count)
    found, _ = nnls(factor.T, target)
    return tuple(float(each) for each in found)
