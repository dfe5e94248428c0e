"""Hawkes processes of several kinds of event, with sizes and several decays; their branching matrix with an interval.

Intensity of kind i: mu_i + sum over earlier events k of alpha[i, kind_k, m] * w_k * beta_m * exp(-beta_m * age), summed
over the decays m, with w_k = (size_k / median size)^gamma. Not here: one kind without sizes (point_process.py, faster).

Sources: Ozaki (1979); Hardiman, Bercot and Bouchaud (2013, arXiv 1302.1405) for sums of exponentials as a power law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.point_process import check_times

MOST_ALPHA: Final = 5.0


@dataclass(frozen=True, eq=False)
class MultiHawkes:
    """A fitted process of D kinds and M decays.

    Parameters
    ----------
    mu : (D,), background events per unit of time
    alpha : (D, D, M), events of kind i caused by one event of kind j and median size through decay m
    beta : (M,), decays per unit of time
    gamma : power of the size; 0 without sizes
    mean_weight : (D,), mean of w over the events of each kind
    log_likelihood : of the fit
    covariance : of (mu, alpha, log beta, gamma) as far as they were fitted; None when it was not asked for
    evaluations : likelihoods with gradient that the fit took
    """

    mu: Floats
    alpha: Floats
    beta: Floats
    gamma: float
    mean_weight: Floats
    log_likelihood: float
    covariance: Floats | None
    evaluations: int

    @property
    def branching(self) -> Floats:
        """Branching matrix (D, D): events of kind i caused by the average event of kind j."""
        return np.asarray(self.alpha.sum(axis=2) * self.mean_weight)

    @property
    def radius(self) -> float:
        """Spectral radius of the branching matrix; the process is stationary below 1."""
        return float(np.abs(np.linalg.eigvals(self.branching)).max())

    @property
    def mean_rates(self) -> Floats:
        """Long-run events per unit of time of each kind, (I - A)^-1 mu; infinite at or above criticality."""
        if self.radius >= 1.0:
            return np.full(self.mu.size, np.inf)
        return np.asarray(np.linalg.solve(np.eye(self.mu.size) - self.branching, self.mu))

    def radius_error(self) -> float:
        """Standard error of :attr:`radius` by the delta method; sizes are taken as given. NaN without a covariance."""
        if self.covariance is None:
            return math.nan
        size, alphas = self.mu.size, self.alpha.size
        slopes = np.zeros(self.covariance.shape[0])
        flat = self.alpha.reshape(-1)
        for index in range(alphas):
            step = 1e-6
            moved = flat.copy()
            moved[index] += step
            matrix = moved.reshape(self.alpha.shape).sum(axis=2) * self.mean_weight
            slopes[size + index] = (np.abs(np.linalg.eigvals(matrix)).max() - self.radius) / step
        return float(math.sqrt(max(float(slopes @ self.covariance @ slopes), 0.0)))


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def multi_log_likelihood(
    times: Floats,
    kinds: Ints,
    log_size: Floats,
    end: float,
    mu: Floats,
    alpha: Floats,
    beta: Floats,
    gamma: float,
) -> tuple[float, Floats, Floats, Floats, float]:
    """Log-likelihood and its gradient in mu, alpha, beta and gamma; O(n D M) for n events.

    Parameters
    ----------
    times, kinds, log_size : (n,), ascending times in [0, end], kinds 0 to D - 1, log of size over median
    mu : (D,)
    alpha : (D, D, M)
    beta : (M,)
    """
    size, decays = mu.size, beta.size
    level, by_beta_level = np.zeros((size, decays)), np.zeros((size, decays))
    by_gamma_level = np.zeros((size, decays))
    weight_sum, by_gamma_sum = np.zeros(size), np.zeros(size)
    d_mu, d_alpha, d_beta, d_gamma = np.zeros(size), np.zeros(alpha.shape), np.zeros(decays), 0.0
    total = 0.0
    last = times[0]
    for k in range(times.size + 1):
        now = times[k] if k < times.size else end
        gap = now - last
        last = now
        for m in range(decays):
            decay = math.exp(-beta[m] * gap)
            for j in range(size):
                by_beta_level[j, m] = decay * (by_beta_level[j, m] - gap * level[j, m])
                level[j, m] *= decay
                by_gamma_level[j, m] *= decay
        if k == times.size:
            break
        i = kinds[k]
        rate = mu[i]
        for m in range(decays):
            for j in range(size):
                rate += alpha[i, j, m] * beta[m] * level[j, m]
        total += math.log(rate)
        share = 1.0 / rate
        d_mu[i] += share
        for m in range(decays):
            for j in range(size):
                d_alpha[i, j, m] += share * beta[m] * level[j, m]
                d_beta[m] += share * alpha[i, j, m] * (level[j, m] + beta[m] * by_beta_level[j, m])
                d_gamma += share * alpha[i, j, m] * beta[m] * by_gamma_level[j, m]
        weight = math.exp(gamma * log_size[k])
        weight_sum[i] += weight
        by_gamma_sum[i] += weight * log_size[k]
        for m in range(decays):
            level[i, m] += weight
            by_gamma_level[i, m] += weight * log_size[k]
    for i in range(size):
        total -= mu[i] * end
        d_mu[i] -= end
        for j in range(size):
            for m in range(decays):
                spent = weight_sum[j] - level[j, m]
                total -= alpha[i, j, m] * spent
                d_alpha[i, j, m] -= spent
                d_beta[m] += alpha[i, j, m] * by_beta_level[j, m]
                d_gamma -= alpha[i, j, m] * (by_gamma_sum[j] - by_gamma_level[j, m])
    return total, d_mu, d_alpha, d_beta, d_gamma


def log_spaced(slowest: float, fastest: float, count: int = 3) -> Floats:
    """Decays evenly spaced in logs: their sum with free weights bends like a power law over that range."""
    return np.geomspace(slowest, fastest, count)


def fit_multi_hawkes(
    times: Floats,
    kinds: Ints,
    end: float,
    sizes: Floats | None = None,
    beta: Floats | None = None,
    errors: bool = True,
) -> MultiHawkes:
    """Maximum likelihood of events of several kinds.

    Parameters
    ----------
    times : float64 array (n,), ascending, within [0, end]
    kinds : int64 array (n,), 0 to D - 1, each at least ten times
    end : end of the observed span
    sizes : float64 array (n,), above zero; the power of size over its median is then fitted
    beta : fixed decays, e.g. of :func:`log_spaced`; without them one decay is fitted
    errors : also compute the covariance

    Raises
    ------
    InputMissing : times as for :func:`~hydra_core.statistics.point_process.check_times`, a kind that hardly occurs, a
        size that is not above zero
    """
    from scipy.optimize import minimize

    check_times(times, end)
    count = int(kinds.max()) + 1
    seen = np.bincount(kinds, minlength=count)
    if kinds.min() < 0 or seen.min() < 10:
        raise InputMissing(f"events by kind: {seen.tolist()}", "Number the kinds from 0, at least 10 events each")
    if sizes is not None and not (sizes > 0).all():
        raise InputMissing("a size of an event is not above zero", "Leave such events out")
    log_size = np.zeros(times.size) if sizes is None else np.log(sizes / np.median(sizes))
    rate = seen / end
    decays = np.array([2.0 * rate.sum()]) if beta is None else np.asarray(beta, np.float64)
    free_beta, free_gamma = beta is None, sizes is not None
    alphas = count * count * decays.size

    def unpack(x: Floats) -> tuple[Floats, Floats, Floats, float]:
        used = count + alphas
        found = np.exp(x[used : used + 1]) if free_beta else decays
        return x[:count] * rate, x[count:used].reshape(count, count, -1), found, float(x[-1]) if free_gamma else 0.0

    def slopes(x: Floats) -> tuple[float, Floats]:
        mu, alpha, betas, gamma = unpack(x)
        total, *by = multi_log_likelihood(times, kinds, log_size, end, mu, alpha, betas, gamma)
        parts: list[Any] = [by[0] * rate, by[1].reshape(-1)]
        parts += [by[2] * betas] if free_beta else []
        parts += [[by[3]]] if free_gamma else []
        return -total, -np.concatenate(parts)

    start = np.concatenate([np.full(count, 0.5), np.full(alphas, 0.5 / count / decays.size)])
    bounds: list[tuple[float, float]] = [(1e-4, 10.0)] * count + [(0.0, MOST_ALPHA)] * alphas
    if free_beta:
        start = np.append(start, math.log(decays[0]))
        bounds.append((math.log(1e-3 * rate.sum()), math.log(1e5 * rate.sum())))
    if free_gamma:
        start = np.append(start, 0.3)
        bounds.append((-1.0, 3.0))
    settings = {"ftol": 1e-12, "gtol": 1e-6, "maxiter": 500, "maxcor": 20}
    best = minimize(slopes, start, jac=True, method="L-BFGS-B", bounds=bounds, options=settings)
    mu, alpha, betas, gamma = unpack(best.x)
    weight = np.bincount(kinds, np.exp(gamma * log_size), minlength=count) / seen
    covariance = _covariance(slopes, best.x, np.concatenate([rate, np.ones(start.size - count)])) if errors else None
    return MultiHawkes(mu, alpha, betas, gamma, weight, -float(best.fun), covariance, int(best.nfev))


def _covariance(slopes: Any, x: Floats, unit: Floats) -> Floats:
    """Inverse of the numeric curvature at the fit; parameters on a bound are taken as known."""
    inner = np.flatnonzero(np.abs(x) > 1e-9)
    curvature = np.empty((inner.size, inner.size))
    for row, index in enumerate(inner):
        step = np.zeros(x.size)
        step[index] = 1e-4 * max(abs(x[index]), 0.05)
        curvature[row] = ((slopes(x + step)[1] - slopes(x - step)[1]) / (2.0 * step[index]))[inner]
    out = np.zeros((x.size, x.size))
    out[np.ix_(inner, inner)] = np.linalg.pinv(0.5 * (curvature + curvature.T))
    return np.asarray(out * np.outer(unit, unit))
