"""A diffusion with double-exponential jumps: density, fit, and the choice between no jumps, Merton's and Kou's.

Everything is per bar; at most one jump a bar. Not here: normal jumps (diffusion.py), flags of single jumps (jumps.py).

Source: Kou (2002); the density of a normal plus an exponential variable is the exponentially modified Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats
from hydra_core.statistics.diffusion import (
    MAX_RATE,
    Gbm,
    Merton,
    climb,
    errors_at,
    finite_returns,
    fit_gbm,
    fit_merton,
)

_ROOT_2PI: Final = math.sqrt(2.0 * math.pi)
_ROOT2: Final = math.sqrt(2.0)


@dataclass(frozen=True)
class Kou:
    """A fitted double-exponential jump diffusion; all per bar.

    Parameters
    ----------
    drift, sigma : of the diffusion
    rate : chance of a jump in a bar
    up : share of the jumps that go up
    up_decay, down_decay : inverse mean sizes of the jumps up and down
    log_likelihood, bic : of the fit; a lower criterion is better
    """

    drift: float
    sigma: float
    rate: float
    up: float
    up_decay: float
    down_decay: float
    log_likelihood: float
    bic: float

    def density(self, returns: Floats) -> Floats:
        """Probability density at each return."""
        out = kou_densities(
            np.asarray(returns, np.float64).reshape(-1),
            *(self.drift, self.sigma, self.rate, self.up, self.up_decay, self.down_decay),
        )
        return np.asarray(out).reshape(np.shape(returns))

    def standard_errors(self, log_return: Floats) -> tuple[float, float, float, float, float, float]:
        """Standard errors of drift, sigma, rate, up, up_decay and down_decay; as for :meth:`Merton.standard_errors`."""
        r = np.ascontiguousarray(log_return[np.isfinite(log_return)], np.float64)
        odds = min(max(self.up, 1e-12), 1.0 - 1e-12)
        at = np.array(
            [
                *(self.drift, math.log(self.sigma), math.log(self.rate), math.log(odds / (1.0 - odds))),
                *(math.log(self.up_decay), math.log(self.down_decay)),
            ]
        )
        unit = _units(r.size, self.sigma, self.rate)
        found = errors_at(_slopes_of(r), at, unit)
        found = found * [1.0, self.sigma, self.rate, self.up * (1.0 - self.up), self.up_decay, self.down_decay]
        return float(found[0]), float(found[1]), float(found[2]), float(found[3]), float(found[4]), float(found[5])


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _one_side(y: float, s: float, decay: float) -> float:
    """Density at y of a centred normal of deviation s plus an exponential of mean 1 / decay."""
    u = y / s - s * decay
    if u > -5.0:
        return decay * math.exp(0.5 * s * s * decay * decay - y * decay) * 0.5 * math.erfc(-u / _ROOT2)  # type: ignore[no-any-return]
    # Far on the other side both factors run away; what is left of them is the normal density times Mills' ratio.
    x, fraction = -u, 0.0
    for k in range(60, 0, -1):
        fraction = k / (x + fraction)
    return decay * math.exp(-0.5 * y * y / (s * s)) / _ROOT_2PI / (x + fraction)  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator]
def kou_densities(
    r: Floats, drift: float, sigma: float, rate: float, up: float, up_decay: float, down_decay: float
) -> Floats:
    """Density at each return."""
    out = np.empty(r.size)
    for i in range(r.size):
        y = r[i] - drift
        plain = math.exp(-0.5 * y * y / (sigma * sigma)) / (sigma * _ROOT_2PI)
        jump = up * _one_side(y, sigma, up_decay) + (1.0 - up) * _one_side(-y, sigma, down_decay)
        out[i] = (1.0 - rate) * plain + rate * jump
    return out


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def kou_slopes(
    r: Floats, drift: float, sigma: float, rate: float, up: float, up_decay: float, down_decay: float
) -> tuple[float, Floats]:
    """Log-likelihood and gradient in (drift, log sigma, log rate, logit up, log up_decay, log down_decay)."""
    total = 0.0
    slopes = np.zeros(6)
    s = sigma
    for i in range(r.size):
        y = r[i] - drift
        normal = math.exp(-0.5 * y * y / (s * s)) / _ROOT_2PI
        plain = normal / s
        g1, g2 = _one_side(y, s, up_decay), _one_side(-y, s, down_decay)
        jump = up * g1 + (1.0 - up) * g2
        density = max((1.0 - rate) * plain + rate * jump, 1e-280)
        total += math.log(density)
        share = 1.0 / density
        d1 = -up_decay * g1 + up_decay * normal / s
        d2 = -down_decay * g2 + down_decay * normal / s
        by_y = -(1.0 - rate) * plain * y / (s * s) + rate * (up * d1 - (1.0 - up) * d2)
        s1 = s * up_decay * up_decay * g1 - up_decay * normal * (y / (s * s) + up_decay)
        s2 = s * down_decay * down_decay * g2 - down_decay * normal * (-y / (s * s) + down_decay)
        by_s = (1.0 - rate) * plain * (y * y / (s * s) - 1.0) / s + rate * (up * s1 + (1.0 - up) * s2)
        slopes[0] -= by_y * share
        slopes[1] += by_s * s * share
        slopes[2] += rate * (jump - plain) * share
        slopes[3] += rate * (g1 - g2) * up * (1.0 - up) * share
        e1 = g1 * (1.0 / up_decay + s * s * up_decay - y) - up_decay * s * normal
        e2 = g2 * (1.0 / down_decay + s * s * down_decay + y) - down_decay * s * normal
        slopes[4] += rate * up * e1 * up_decay * share
        slopes[5] += rate * (1.0 - up) * e2 * down_decay * share
    return total, slopes


def _slopes_of(r: Floats) -> Callable[[Floats], tuple[float, Floats]]:
    def slopes(x: Floats) -> tuple[float, Floats]:
        up = 1.0 / (1.0 + math.exp(-x[3]))
        return kou_slopes(r, x[0], math.exp(x[1]), math.exp(x[2]), up, math.exp(x[4]), math.exp(x[5]))  # type: ignore[no-any-return]

    return slopes


def _units(count: int, sigma: float, rate: float) -> Floats:
    """Expected standard errors of the climbed parameters."""
    root = math.sqrt(max(count * rate, 1.0))
    return np.array(
        [sigma / math.sqrt(count), 1.0 / math.sqrt(2.0 * count), 1 / root, 2 / root, 1.5 / root, 1.5 / root]
    )


def fit_kou(log_return: Floats) -> Kou:
    """Maximum likelihood; bounds and starts as for :func:`~hydra_core.statistics.diffusion.fit_merton`.

    A mean jump is held above half the diffusion's deviation: shorter ones are the diffusion itself.

    Raises
    ------
    InputMissing : see :func:`~hydra_core.statistics.diffusion.finite_returns`
    """
    r, median, sigma = finite_returns(log_return, "Kou")
    far = np.abs(r - median) > 4.0 * sigma
    rate = min(max(float(far.mean()), 1.0 / r.size), MAX_RATE / 2)
    drift = float(r[~far].mean())
    size = max(float(np.abs(r[far] - median).mean()) if far.any() else 0.0, 2.0 * sigma)
    most = 2.0 * float(np.abs(r - median).max()) + sigma
    bounds = [
        (drift - sigma, drift + sigma),
        (math.log(0.2 * sigma), math.log(3.0 * sigma)),
        (math.log(1e-3 / r.size), math.log(MAX_RATE)),
        (-8.0, 8.0),
        (-math.log(most), -math.log(0.5 * sigma)),
        (-math.log(most), -math.log(0.5 * sigma)),
    ]

    start = np.array([drift, math.log(sigma), math.log(rate), 0.0, -math.log(size), -math.log(size)])
    x, likelihood = climb(_slopes_of(r), start, _units(r.size, sigma, rate), bounds)
    up = 1.0 / (1.0 + math.exp(-x[3]))
    bic = 6 * math.log(r.size) - 2 * likelihood
    return Kou(float(x[0]), math.exp(x[1]), math.exp(x[2]), up, math.exp(x[4]), math.exp(x[5]), likelihood, bic)


def best_diffusion(log_return: Floats) -> Gbm | Merton | Kou:
    """The fit with the lowest information criterion of no jumps, normal jumps and double-exponential ones.

    Raises
    ------
    InputMissing : see :func:`~hydra_core.statistics.diffusion.finite_returns`
    """
    fits: tuple[Gbm | Merton | Kou, ...] = (fit_gbm(log_return), fit_merton(log_return), fit_kou(log_return))
    return min(fits, key=lambda fit: fit.bic)
