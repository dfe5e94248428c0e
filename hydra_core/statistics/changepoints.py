"""Change points online: the distribution of the time since the last change of mean or variance.

Not here: regimes that come back (regimes.py). Source: Adams and MacKay (2007) with a normal-inverse-gamma prior, whose
predictive is Student's t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats


@dataclass(frozen=True)
class ChangePrior:
    """What is believed before a stretch has been seen.

    Parameters
    ----------
    hazard : chance of a change at a bar
    mean, strength : prior mean and how many observations it is worth; a large strength holds the mean fixed
    shape, scale : of the inverse gamma of the variance: its mean is scale / (shape - 1)
    longest : run lengths beyond this are pooled into it
    """

    hazard: float
    mean: float = 0.0
    strength: float = 1.0
    shape: float = 1.0
    scale: float = 1.0
    longest: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.hazard < 1 or min(self.strength, self.shape, self.scale) <= 0 or self.longest < 1:
            raise InputMissing(f"change prior {self}", "The hazard lies between 0 and 1, the rest above 0")


@njit(cache=True)  # type: ignore[untyped-decorator]
def _change_step(x: float, prior: Floats, state: Floats, used: int) -> int:
    """Take one observation; rows of ``state``: log probability, mean, strength, shape, scale by run length."""
    hazard, longest = prior[0], state.shape[1] - 1
    if math.isnan(x):
        return used
    top = -math.inf
    for k in range(used):
        mean, strength, shape, scale = state[1, k], state[2, k], state[3, k], state[4, k]
        degrees = 2.0 * shape
        spread = scale * (strength + 1.0) / (shape * strength)
        density = (
            math.lgamma(shape + 0.5)
            - math.lgamma(shape)
            - 0.5 * math.log(degrees * math.pi * spread)
            - (shape + 0.5) * math.log1p((x - mean) ** 2 / (degrees * spread))
        )
        state[0, k] += density
        top = max(top, state[0, k])
    total = 0.0
    for k in range(used):
        total += math.exp(state[0, k] - top)
    evidence = top + math.log(total)
    fresh = min(used + 1, longest + 1)
    if used == longest + 1:
        # The two longest are pooled: the longer one's knowledge stands for both.
        a, b = state[0, longest - 1], state[0, longest]
        most = max(a, b)
        pooled = most + math.log(math.exp(a - most) + math.exp(b - most))
        for row in range(1, 5):
            state[row, longest - 1] = state[row, longest]
        state[0, longest - 1] = pooled
    for k in range(fresh - 1, 0, -1):
        mean, strength, shape, scale = state[1, k - 1], state[2, k - 1], state[3, k - 1], state[4, k - 1]
        state[0, k] = state[0, k - 1] - evidence + math.log1p(-hazard)
        state[1, k] = (strength * mean + x) / (strength + 1.0)
        state[2, k] = strength + 1.0
        state[3, k] = shape + 0.5
        state[4, k] = scale + 0.5 * strength * (x - mean) ** 2 / (strength + 1.0)
    state[0, 0] = math.log(hazard)
    for row in range(4):
        state[row + 1, 0] = prior[row + 1]
    return int(fresh)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _change_run(x: Floats, prior: Floats, state: Floats, used: int, recent: int) -> tuple[Floats, int]:
    out = np.empty((x.size, 2))
    for i in range(x.size):
        used = _change_step(x[i], prior, state, used)
        out[i, 0], out[i, 1] = _readings(state, used, recent)
    return out, used


@njit(cache=True)  # type: ignore[untyped-decorator]
def _readings(state: Floats, used: int, recent: int) -> tuple[float, float]:
    """Chance that the last change lies within ``recent`` bars, and the expected run length."""
    near, length = 0.0, 0.0
    for k in range(used):
        p = math.exp(state[0, k])
        length += k * p
        if k <= recent:
            near += p
    return near, length


class ChangePoints:
    """Online change points of one series.

    Parameters
    ----------
    prior : ChangePrior
    recent : a change counts as recent for so many bars
    """

    def __init__(self, prior: ChangePrior, recent: int = 12) -> None:
        self._prior = np.array([prior.hazard, prior.mean, prior.strength, prior.shape, prior.scale])
        self._state = np.zeros((5, prior.longest + 1))
        self._state[1:, 0] = self._prior[1:]
        self._used, self._recent = 1, recent

    def update(self, x: float) -> tuple[float, float]:
        """Chance of a recent change and expected bars since the last one, given ``x`` too; a NaN changes nothing."""
        self._used = int(_change_step(x, self._prior, self._state, self._used))
        near, length = _readings(self._state, self._used, self._recent)
        return float(near), float(length)

    def run(self, x: Floats) -> Floats:
        """Both readings for each of many observations, shape (n, 2)."""
        out, used = _change_run(x, self._prior, self._state, self._used, self._recent)
        self._used = int(used)
        return np.asarray(out)

    @property
    def run_length(self) -> Floats:
        """Probability of each run length, 0 meaning that the next observation begins a new stretch."""
        return np.exp(self._state[0, : self._used])
