"""The hidden state of the synthetic market: volatility, crowding and alpha, as autoregressions on a one-minute grid.

Blocks of one UTC day are drawn one after another; a block is a function of (seed, day) and of the state carried in.
How the state becomes prices is in :mod:`prices`, what is published of it in :mod:`published`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.simulation.specs import SPECS

MINUTES: Final = 1440
"""Minutes in a block (one UTC day)."""
PAIRS: Final = len(SPECS)


@dataclass(frozen=True, slots=True)
class Autoregression:
    """A stationary AR(1) on the minute grid, named by its half-life (minutes) and standard deviation."""

    half_life: float
    deviation: float = 1.0

    @property
    def phi(self) -> float:
        """Share of the state that is left after one minute."""
        return float(0.5 ** (1.0 / self.half_life))

    @property
    def shock(self) -> float:
        """Standard deviation of one minute's innovation."""
        return self.deviation * float(np.sqrt(1.0 - self.phi**2))


ALPHA_FAST: Final = Autoregression(6 * 60)
ALPHA_SLOW: Final = Autoregression(18 * 60)
CROWDING: Final = Autoregression(24 * 60)
VOL_MARKET_SLOW: Final = Autoregression(4 * 1440, 0.32)
VOL_MARKET_FAST: Final = Autoregression(180, 0.18)
VOL_OWN: Final = Autoregression(720, 0.20)
VOL_PARTS: Final = (VOL_MARKET_SLOW, VOL_MARKET_FAST, VOL_OWN)
VOL_VARIANCE: Final = sum(part.deviation**2 for part in VOL_PARTS)
"""Variance of the log of volatility."""
DAY_SHAPE: Final = 0.18
"""Amplitude of the log-volatility's daily wave; it peaks at 15:00 UTC."""


def recurse(phi: float | Floats, shocks: Floats, start: Floats) -> Floats:
    """``x[k] = phi x[k-1] + shocks[k]`` along the last axis with ``x[-1] = start``, without a loop.

    ``shocks`` is (P, M), ``start`` (P,), ``phi`` one number or (P,).

    Uses ``x[k] = phi**k (phi start + sum_j phi**-j shocks[j])``; over one block ``phi**-k`` stays below 1e300 for
    half-lives from 2 minutes on, and since the weights grow, cancellation cannot occur.
    """
    ratio = np.asarray(phi, np.float64)[..., None]
    powers = ratio ** np.arange(shocks.shape[-1])
    return np.asarray((np.cumsum(shocks / powers, axis=-1) + ratio * start[..., None]) * powers)


def before(path: Floats, start: Floats) -> Floats:
    """State at the *start* of each minute: the path shifted by one, led by the carried state."""
    return np.concatenate([start[..., None], path[..., :-1]], axis=-1)


def day_wave(minute: Floats) -> Floats:
    """Log-volatility's deterministic part at a minute (of any day)."""
    return np.asarray(DAY_SHAPE * np.cos(2 * np.pi * (minute / MINUTES - 15 / 24)))


def student(rng: np.random.Generator, freedom: float, shape: tuple[int, ...]) -> Floats:
    """Student-t draws of unit variance."""
    return np.asarray(rng.standard_t(freedom, shape) * np.sqrt((freedom - 2) / freedom))


@dataclass(frozen=True, slots=True)
class Hidden:
    """State of the autoregressions: arrays (P,) when carried, (P, M) over a block; alphas and crowding have unit variance."""

    alpha_fast: Floats
    alpha_slow: Floats
    crowding: Floats
    vol_market_slow: Floats
    vol_market_fast: Floats
    vol_own: Floats

    def last(self) -> Hidden:
        """The state at a block's end."""
        return Hidden(*(getattr(self, name)[:, -1].copy() for name in self.__slots__))

    @property
    def log_volatility(self) -> Floats:
        """Sum of the three log-volatility parts."""
        return self.vol_market_slow + self.vol_market_fast + self.vol_own


_MODELS: Final = (ALPHA_FAST, ALPHA_SLOW, CROWDING, *VOL_PARTS)
_SHARED: Final = (VOL_MARKET_SLOW, VOL_MARKET_FAST)


def _draw(rng: np.random.Generator, model: Autoregression, minutes: int) -> Floats:
    """Standard normal shocks (P, minutes); one row for all pairs where the process is the market's."""
    if model in _SHARED:
        return np.repeat(rng.standard_normal((1, minutes)), PAIRS, axis=0)
    return rng.standard_normal((PAIRS, minutes))


def begin(rng: np.random.Generator) -> Hidden:
    """A state from the stationary distribution."""
    return Hidden(*(model.deviation * _draw(rng, model, 1)[:, 0] for model in _MODELS))


def advance(rng: np.random.Generator, start: Hidden) -> Hidden:
    """One block of every process from the carried state."""
    paths = (
        recurse(model.phi, model.shock * _draw(rng, model, MINUTES), getattr(start, name))
        for model, name in zip(_MODELS, Hidden.__slots__, strict=True)
    )
    return Hidden(*paths)
