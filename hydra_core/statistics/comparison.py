"""Which of several forecasts is better, with an error: Diebold-Mariano for two, the model confidence set for many.

Not here: the losses (volatility.qlike), decisions on models (research/).

Sources: Diebold and Mariano (1995); Harvey, Leybourne and Newbold (1997) for the small-sample form; Hansen, Lunde and
Nason (2011) for the set, through ``arch``, which is imported when it is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats


@dataclass(frozen=True)
class Comparison:
    """Outcome of a Diebold-Mariano test.

    Parameters
    ----------
    gain : mean loss of the second forecast less that of the first; above 0 the first is better
    statistic : the gain in standard errors
    p_value : chance of so large a statistic if the first were not better (one-sided)
    error : standard error of the gain, before the small-sample correction
    """

    gain: float
    statistic: float
    p_value: float
    error: float = 0.0

    @property
    def two_sided(self) -> float:
        """Chance of a statistic as far from 0 on either side if both were equally good."""
        return 2.0 * min(self.p_value, 1.0 - self.p_value)


def diebold_mariano(first: Floats, second: Floats, horizon: int = 1) -> Comparison:
    """Whether the first forecast's losses are lower than the second's.

    Lags are horizon - 1, with rectangular weights as in the original test where that gives a positive variance, else
    Bartlett's; the statistic carries the correction of Harvey, Leybourne and Newbold and is read off Student's t.

    Parameters
    ----------
    first, second : losses of the same rows, in order of time
    horizon : rows that one forecast looks ahead; losses of rows closer than that overlap (lag horizon - 1)

    Raises
    ------
    InputMissing : fewer than ten rows a horizon, or arrays of different length
    """
    from scipy.stats import t as student

    if first.shape != second.shape or first.size < 10 * horizon:
        raise InputMissing(
            f"comparison of {first.size} and {second.size} losses", "Give it the same rows, 10 a horizon"
        )
    d = second - first
    n, centred = d.size, d - d.mean()
    own = float(centred @ centred) / n
    lagged = [float(centred[lag:] @ centred[:-lag]) / n for lag in range(1, horizon)]
    variance = own + 2.0 * sum(lagged)
    if variance <= 0.0:
        variance = own + 2.0 * sum((1.0 - lag / horizon) * each for lag, each in enumerate(lagged, 1))
    if variance <= 0.0:
        return Comparison(float(d.mean()), 0.0, 0.5)
    error = math.sqrt(variance / n)
    small = math.sqrt(max(n + 1 - 2 * horizon + horizon * (horizon - 1) / n, 0.0) / n)
    value = float(d.mean()) / error * small
    return Comparison(float(d.mean()), value, float(student.sf(value, n - 1)), error)


def confidence_set(losses: dict[str, Floats], size: float = 0.1, block: int = 10, seed: int = 0) -> tuple[str, ...]:
    """Names of the forecasts that cannot be told from the best at level ``size``, in the order given.

    Parameters
    ----------
    losses : name -> losses of the same rows
    size : level
    block : rows of a bootstrap block, at least the horizon
    seed : of the bootstrap
    """
    from arch.bootstrap import MCS

    names = list(losses)
    table = np.column_stack([losses[name] for name in names])
    found = MCS(table, size=size, reps=500, block_size=block, seed=seed)
    found.compute()
    return tuple(name for index, name in enumerate(names) if index in found.included)
