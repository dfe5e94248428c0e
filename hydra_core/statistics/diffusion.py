"""Fits of plain and jumping diffusions to the returns of bars, and the choice between them.

Everything is per bar. Not here: the double-exponential jumps (kou.py), flags of single jumps (jumps.py).

Sources: Merton (1976) for the mixture of normals; Honoré (1998) on why its likelihood needs bounds; Schwarz (1978) for
the information criterion.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

TERMS: Final = 4
"""Jumps in one bar that are told apart, none included."""
MAX_RATE: Final = 0.1
LEAST_RETURNS: Final = 100
_REFINEMENTS: Final = 12


@dataclass(frozen=True)
class Gbm:
    """A geometric Brownian motion fitted to log returns; all per bar.

    Parameters
    ----------
    drift, sigma : mean and standard deviation of the log return
    drift_error, sigma_error : their standard errors; the drift's is usually larger than the drift
    log_likelihood : of the fit
    bic : information criterion; lower is better
    """

    drift: float
    sigma: float
    drift_error: float
    sigma_error: float
    log_likelihood: float
    bic: float


def fit_gbm(log_return: Floats) -> Gbm:
    """Maximum likelihood of a GBM; raises InputMissing for fewer than three finite returns or returns that never move."""
    r = log_return[np.isfinite(log_return)]
    if r.size < 3:
        raise InputMissing(f"GBM fit of {r.size} returns", "Give it at least 3")
    sigma = float(r.std())
    if sigma <= 0:
        raise InputMissing("GBM fit of returns that never move", "Leave out the halted market")
    likelihood = -0.5 * r.size * (math.log(2.0 * math.pi * sigma**2) + 1.0)
    errors = sigma / math.sqrt(r.size), sigma / math.sqrt(2.0 * r.size)
    return Gbm(float(r.mean()), sigma, *errors, likelihood, 2 * math.log(r.size) - 2 * likelihood)


@dataclass(frozen=True)
class Merton:
    """A jump diffusion fitted to log returns; all per bar.

    Parameters
    ----------
    drift, sigma : of the diffusion
    rate : expected jumps in a bar
    jump_mean, jump_sigma : of one jump's log return
    log_likelihood : of the fit
    bic, gbm_bic : information criteria with and without jumps; the lower one describes the data better
    """

    drift: float
    sigma: float
    rate: float
    jump_mean: float
    jump_sigma: float
    log_likelihood: float
    bic: float
    gbm_bic: float

    @property
    def jumps(self) -> bool:
        """Whether the information criterion wants jumps at all."""
        return self.bic < self.gbm_bic

    def standard_errors(self, log_return: Floats) -> tuple[float, float, float, float, float]:
        """Standard errors of drift, sigma, rate, jump_mean and jump_sigma from the curvature of the likelihood at the fit.

        All NaN where the likelihood does not bend downwards in every direction, as at a bound of the rate.

        Parameters
        ----------
        log_return : array (n,), what it was fitted to
        """
        r = np.ascontiguousarray(log_return[np.isfinite(log_return)], np.float64)
        at = np.array(
            [self.drift, math.log(self.sigma), math.log(self.rate), self.jump_mean, math.log(self.jump_sigma)]
        )
        expected = max(r.size * self.rate, 1.0)
        unit = np.array(
            [
                *(self.sigma / math.sqrt(r.size), 1.0 / math.sqrt(2.0 * r.size), 1.0 / math.sqrt(expected)),
                *(self.jump_sigma / math.sqrt(expected), 1.0 / math.sqrt(2.0 * expected)),
            ]
        )

        def slopes(x: Floats) -> tuple[float, Floats]:
            return merton_slopes(r, x[0], math.exp(x[1]), math.exp(x[2]), x[3], math.exp(x[4]))  # type: ignore[no-any-return]

        found = errors_at(slopes, at, unit) * np.array([1.0, self.sigma, self.rate, 1.0, self.jump_sigma])
        return float(found[0]), float(found[1]), float(found[2]), float(found[3]), float(found[4])


_CHUNK: Final = 512
"""Returns that are worked on at a time: their intermediate columns stay in the fastest cache."""
_LOG2_E: Final = 1.0 / math.log(2.0)
_LN2_HIGH: Final = float.fromhex("0x1.62e42fefa0000p-1")
_LN2_LOW: Final = float.fromhex("0x1.cf79abc9e3b3ap-40")
"""ln 2 in two parts, the first short enough for exact products with small whole numbers."""
_WHOLE: Final = 1.5 * 2.0**52
_WHOLE_BITS: Final = 0x4338000000000000
"""Added to a small number this leaves it rounded to a whole one, in the last bits; and its own bits."""
_LEAST_POWER: Final = -700.0


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _exp(x: float) -> float:
    """e to the power x <= 0, to the last bit or two, without a call or a branch: a loop of it takes several at a time.

    Below :data:`_LEAST_POWER` the value there stands for it. Cody and Waite's reduction by ln 2, then the Taylor series.
    """
    x = max(x, _LEAST_POWER)
    shifted = x * _LOG2_E + _WHOLE
    whole = shifted - _WHOLE
    y = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    power = 1.0 + y * (1.0 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * (1 / 720 + y * (1 / 5040 + y * (
        1 / 40320 + y * (1 / 362880 + y * (1 / 3628800 + y * (1 / 39916800 + y * (1 / 479001600 + y / 6227020800.0))))))
    ))))))  # fmt: skip
    bits = (np.float64(shifted).view(np.int64) - _WHOLE_BITS + 1023) << 52
    return power * np.int64(bits).view(np.float64)  # type: ignore[no-any-return]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _parts(away: Floats, mean: float, half: float, scale: float, out: Floats) -> None:
    """What one number of jumps adds to the density of each return."""
    for j in range(out.size):
        z = away[j] - mean
        out[j] = scale * _exp(-half * z * z)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _pulls(away: Floats, mean: float, steep: float, part: Floats, share: Floats) -> tuple[float, float, float]:
    """Slopes in mean and variance and the part itself, each over the density, summed in whatever order is quickest."""
    by_mean = by_variance = whole = 0.0
    for j in range(part.size):
        z = away[j] - mean
        weighted = part[j] * share[j]
        pull = weighted * steep * z
        by_mean += pull
        by_variance += pull * steep * z - weighted * steep
        whole += weighted
    return by_mean, by_variance, whole


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def merton_slopes(
    r: Floats, drift: float, sigma: float, rate: float, jump_mean: float, jump_sigma: float
) -> tuple[float, Floats]:
    """Log-likelihood of returns and its gradient in (drift, log sigma, log rate, jump mean, log jump sigma)."""
    away, density, share, parts = np.empty(_CHUNK), np.empty(_CHUNK), np.empty(_CHUNK), np.empty((TERMS, _CHUNK))
    half, scale, weight = np.empty(TERMS), np.empty(TERMS), math.exp(-rate)
    for k in range(TERMS):
        variance = sigma * sigma + k * jump_sigma * jump_sigma
        half[k], scale[k] = 0.5 / variance, weight / math.sqrt(2.0 * math.pi * variance)
        weight *= rate / (k + 1)
    slopes = np.zeros(5)
    total, product = 0.0, 1.0
    for first in range(0, r.size, _CHUNK):
        count = min(_CHUNK, r.size - first)
        for j in range(count):
            away[j] = r[first + j] - drift
        density[:] = 1e-280  # below every other number in here, so that its logarithm is one
        for k in range(TERMS):
            one = parts[k, :count]
            _parts(away, k * jump_mean, half[k], scale[k], one)
            for j in range(count):
                density[j] += one[j]
        for j in range(count):
            share[j] = 1.0 / density[j]
        for j in range(count):
            product *= density[j]
            if product > 1e200 or product < 1e-20:
                total += math.log(product)
                product = 1.0
        for k in range(TERMS):
            by_mean, by_variance, whole = _pulls(away, k * jump_mean, 2.0 * half[k], parts[k, :count], share)
            slopes[0] += by_mean
            slopes[1] += by_variance
            slopes[2] += k * whole
            slopes[3] += k * by_mean
            slopes[4] += k * by_variance
    total += math.log(product)
    slopes[1] *= sigma * sigma
    slopes[2] -= rate * r.size
    slopes[4] *= jump_sigma * jump_sigma
    return total, slopes


def merton_log_likelihood(
    r: Floats, drift: float, sigma: float, rate: float, jump_mean: float, jump_sigma: float
) -> float:
    """Sum of the log density of a Merton jump diffusion over the returns ``r``, up to three jumps a bar."""
    return float(merton_slopes(r, drift, sigma, rate, jump_mean, jump_sigma)[0])


def finite_returns(log_return: Floats, what: str) -> tuple[Floats, float, float]:
    """The finite returns, their median and their deviation by the median absolute one.

    Raises
    ------
    InputMissing : fewer than :data:`LEAST_RETURNS`, or most of them never move
    """
    r = np.ascontiguousarray(log_return[np.isfinite(log_return)], np.float64)
    if r.size < LEAST_RETURNS:
        raise InputMissing(f"{what} fit of {r.size} returns", f"Give it at least {LEAST_RETURNS}")
    # They only say where to start: of a long history every tenth or so tells enough.
    some = r[:: max(1, r.size // 10_000)]
    median = float(np.median(some))
    sigma = 1.4826 * float(np.median(np.abs(some - median)))
    if sigma <= 0:
        raise InputMissing(f"{what} fit of returns of which most never move", "Leave out the halted market")
    return r, median, sigma


def climb(
    slopes: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    unit: Floats,
    bounds: list[tuple[float, float]],
    close: float = 3e-3,
) -> tuple[Floats, float]:
    """Top of a log-likelihood: parameters and value.

    The sum is climbed, not the mean, and each parameter in units of its expected standard error: with rare jumps the
    mean is so flat that the usual tolerances stop far from the top.

    Parameters
    ----------
    slopes : parameters -> log-likelihood and gradient
    start, unit : first guess and expected standard errors
    bounds : of each parameter
    close : slope in these units at which the top is reached
    """
    from scipy.optimize import minimize

    def loss(x: Floats) -> tuple[float, Floats]:
        value, gradient = slopes(start + unit * x)
        return -value, -gradient * unit

    scaled = [((low - s) / u, (high - s) / u) for (low, high), s, u in zip(bounds, start, unit, strict=True)]
    settings = {"ftol": 1e-14, "gtol": close, "maxiter": 300}
    best = minimize(loss, np.zeros(start.size), jac=True, method="L-BFGS-B", bounds=scaled, options=settings)
    return start + unit * best.x, -float(best.fun)


def refine(
    slopes: Callable[[Floats], tuple[float, Floats]],
    near: Floats,
    curvature: Floats,
    unit: Floats,
    bounds: list[tuple[float, float]],
    close: float = 3e-3,
) -> tuple[Floats, float] | None:
    """The top from a point near it, by Newton steps that learn (BFGS); None where they leave the bounds or do not climb.

    Parameters
    ----------
    curvature : less the second derivatives there, about; positive definite, or None comes back
    slopes, unit, bounds, close : as in :func:`climb`
    """
    if not (np.isfinite(curvature).all() and (np.linalg.eigvalsh(curvature) > 0).all()):
        return None
    inverse, x = np.linalg.inv(curvature), near
    value, slope = slopes(x)
    for _ in range(_REFINEMENTS):
        if float(np.abs(slope * unit).max()) <= close:
            return x, value
        moved = inverse @ slope
        ahead = x + moved
        if any(not low < one < high for one, (low, high) in zip(ahead, bounds, strict=True)):
            return None
        higher, fresh = slopes(ahead)
        along = float(moved @ (slope - fresh))
        if not (higher >= value - 1e-6 and along > 0):
            return None
        left = np.eye(x.size) - np.outer(moved, slope - fresh) / along
        inverse = left @ inverse @ left.T + np.outer(moved, moved) / along
        x, value, slope = ahead, higher, fresh
    return None


def curvature_of(slopes: Callable[[Floats], tuple[float, Floats]], at: Floats, step: Floats) -> Floats:
    """Less the second derivatives of a log-likelihood by differences of its slopes, shape (k, k).

    Parameters
    ----------
    step : (k,), length of the differences
    """
    here = slopes(at)[1]
    found = np.empty((at.size, at.size))
    for i in range(at.size):
        ahead = at.copy()
        ahead[i] += step[i]
        found[i] = (here - slopes(ahead)[1]) / step[i]
    return np.asarray(0.5 * (found + found.T))


def errors_at(slopes: Callable[[Floats], tuple[float, Floats]], top: Floats, unit: Floats) -> Floats:
    """Standard errors of the parameters at the top of a log-likelihood, (k,); all NaN where it does not bend downwards.

    Parameters
    ----------
    slopes : parameters -> log-likelihood and gradient
    top, unit : the fit and the expected standard errors
    """
    curvature = curvature_of(slopes, top, 0.05 * unit)
    # In units of the expected errors: the parameters' own differ by many orders of magnitude.
    scaled = curvature * np.outer(unit, unit)
    if not (np.isfinite(scaled).all() and (np.linalg.eigvalsh(scaled) > 1e-9).all()):
        return np.full(top.size, np.nan)
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(scaled))) * unit)


def fit_merton(log_return: Floats) -> Merton:
    """Maximum likelihood of a Merton jump diffusion.

    The likelihood grows without bound when one component shrinks onto one return, so the rate is held below
    :data:`MAX_RATE` a bar and a jump's standard deviation above half the diffusion's. It starts from robust moments
    (median absolute deviation for sigma, returns beyond four of those for the jumps), and once more from frequent jumps
    where that finds no jumps worth their parameters or ends at the bound.

    Parameters
    ----------
    log_return : array (n,), NaN are left out

    Raises
    ------
    InputMissing : see :func:`finite_returns`
    """
    r, median, sigma = finite_returns(log_return, "Merton")
    far = np.abs(r - median) > 4.0 * sigma
    rate = min(max(float(far.mean()), 1.0 / r.size), MAX_RATE / 2)
    spread = max(float(r[far].std()) if far.sum() > 1 else 0.0, 2.0 * sigma)
    mean = float(r[far].mean()) if far.any() else 0.0
    drift = float(r[~far].mean())
    bounds = [
        (drift - sigma, drift + sigma),
        (math.log(0.2 * sigma), math.log(3.0 * sigma)),
        (math.log(1e-3 / r.size), math.log(MAX_RATE)),
        (-float(np.abs(r).max()) - sigma, float(np.abs(r).max()) + sigma),
        (math.log(0.5 * sigma), math.log(2.0 * float(np.abs(r - median).max()) + sigma)),
    ]

    # One return in eight lands within a few standard errors of the top at an eighth of the cost.
    sample = np.ascontiguousarray(r[::8]) if r.size > 50_000 else r

    def slopes(x: Floats) -> tuple[float, Floats]:
        return merton_slopes(used, x[0], math.exp(x[1]), math.exp(x[2]), x[3], math.exp(x[4]))  # type: ignore[no-any-return]

    used = r
    gbm = fit_gbm(r)
    best: tuple[Floats, float] | None = None
    for first_rate, first_spread in ((rate, spread), (0.5 * MAX_RATE, 2.0 * sigma)):
        start = np.array([drift, math.log(sigma), math.log(first_rate), mean, math.log(first_spread)])
        expected = max(r.size * first_rate, 1.0)
        unit = np.array(
            [
                *(sigma / math.sqrt(r.size), 1.0 / math.sqrt(2.0 * r.size), 1.0 / math.sqrt(expected)),
                *(first_spread / math.sqrt(expected), 1.0 / math.sqrt(2.0 * expected)),
            ]
        )
        found: tuple[Floats, float] | None = None
        if sample.size < r.size:
            used, apart = sample, r.size / sample.size
            start = climb(slopes, start, unit * math.sqrt(apart), bounds, close=1e-1)[0]
            bent = apart * curvature_of(slopes, start, 0.1 * unit)
            used = r
            found = refine(slopes, start, bent, unit, bounds)
        if found is None:
            found = climb(slopes, start, unit, bounds)
        if best is None or found[1] > best[1]:
            best = found
        if 5 * math.log(r.size) - 2 * best[1] < gbm.bic and best[0][2] < math.log(0.99 * MAX_RATE):
            break
        mean = 0.0
    assert best is not None
    x, likelihood = best
    bic = 5 * math.log(r.size) - 2 * likelihood
    return Merton(float(x[0]), math.exp(x[1]), math.exp(x[2]), float(x[3]), math.exp(x[4]), likelihood, bic, gbm.bic)
