"""What a network's further heads say of each of their horizons: return, direction, volatility, quantiles.

They shape what the network's shared layers learn; sealed with it, their quantiles make the forecaster's intervals, and what
each is worth on rows it had not seen stands on the model's card. Everything is in standard deviations expected for its horizon.
Not here: the network (``network``), its training (``train``). Nothing here needs a learning library: the live plane runs it.
Source of corrected quantiles: Romano, Patterson and Candes (2019), conformalized quantile regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.statistics.conformal import conformal_width

QUANTILES: Final = (0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95)
HEAD_FIELDS: Final = ("value", "logit", "log_volatility", *(f"quantile_{level:g}" for level in QUANTILES))
"""What is said of each horizon, in order."""
LARGEST_LOG: Final = 3.0
"""Log volatilities are held within this of 0, as in training."""


@dataclass(frozen=True, eq=False)
class HeadsWord:
    """What the heads say of rows.

    Parameters
    ----------
    horizons : bars ahead, length H
    said : array (n, P, H, fields) in the order of :data:`HEAD_FIELDS`; NaN where nothing is said
    """

    horizons: tuple[int, ...]
    said: Floats

    def expected(self, horizon: int) -> Floats:
        """Expected return, (n, P)."""
        return self._of(horizon)[..., 0]

    def rise(self, horizon: int) -> Floats:
        """Probability of a rise, (n, P)."""
        out: Floats = 1.0 / (1.0 + np.exp(-self._of(horizon)[..., 1]))
        return out

    def volatility(self, horizon: int) -> Floats:
        """Standard deviation, as a multiple of the one that layer 2 expects, (n, P)."""
        return np.asarray(np.exp(np.clip(self._of(horizon)[..., 2], -LARGEST_LOG, LARGEST_LOG)))

    def span(self, horizon: int) -> tuple[Floats, Floats]:
        """Lowest and highest quantile, between which nine of ten are to fall, (n, P) each."""
        said = self._of(horizon)
        return said[..., 3], said[..., -1]

    def _of(self, horizon: int) -> Floats:
        out: Floats = self.said[:, :, self.horizons.index(horizon)]
        return out


def shift_of(word: HeadsWord, horizon: int, realised: Floats) -> float:
    """How far both quantiles must move apart (below 0: together) for nine of ten returns to fall between them.

    Parameters
    ----------
    word : of rows that the network had not seen
    realised : array (n, P), returns over the horizon in its standard deviations

    Raises
    ------
    InputMissing : too few returns
    """
    low, high = word.span(horizon)
    return conformal_width(np.maximum(low - realised, realised - high))


def worth(word: HeadsWord, horizon: int, realised: Floats) -> dict[str, float]:
    """What one horizon's heads are worth on rows that the network had not seen.

    Returns
    -------
    ``coverage`` : share of returns between the outer quantiles, 0.9 promised; ``direction_skill`` : 1 - log loss / ln 2;
    ``volatility_gain`` : nats a return by which the volatility's Gaussian score beats that of layer 2's forecast
    """
    low, high = word.span(horizon)
    known = np.isfinite(low) & np.isfinite(realised)
    z, up, sigma = realised[known], word.rise(horizon)[known], word.volatility(horizon)[known]
    moved = z != 0
    said = np.clip(np.where(z > 0, up, 1.0 - up)[moved], 1e-12, None)
    return {
        "coverage": float(((low[known] <= z) & (z <= high[known])).mean()),
        "direction_skill": 1.0 + float(np.log(said).mean()) / math.log(2),
        "volatility_gain": float((0.5 * z**2 - np.log(sigma) - 0.5 * (z / sigma) ** 2).mean()),
    }
