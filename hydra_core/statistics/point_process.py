"""A Hawkes process of one kind of event: likelihood with its gradient, fit, standard errors, time rescaling.

Not here: several kinds, sizes and several decays (point_process_multi.py), cascades (cascades.py), large moves of bars
(hawkes.py). Sources: Ozaki (1979) for the O(n) recursion; Ogata (1988) for time rescaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

MOST_TIES: Final = 0.01
"""Share of events that may coincide with another: more of them, and the likelihood grows without bound in the decay."""

MOST_ALPHA: Final = 2.0
"""Largest branching ratio that is fitted."""
_LEAST_ALPHA: Final = 1e-6
_CHI2_95: Final = 3.841458820694124


@dataclass(frozen=True)
class Hawkes:
    """A univariate Hawkes process with kernel ``alpha * beta * exp(-beta * age)``.

    Parameters
    ----------
    mu : background events per unit of time
    alpha : branching ratio, events caused by one event; below 1 the process dies out
    beta : decay per unit of time
    log_likelihood : of the fit
    evaluations : likelihoods with gradient that the fit took
    """

    mu: float
    alpha: float
    beta: float
    log_likelihood: float
    evaluations: int = 0

    @property
    def mean_rate(self) -> float:
        """Long-run events per unit of time, mu / (1 - alpha); infinite at or above criticality."""
        return self.mu / (1.0 - self.alpha) if self.alpha < 1 else math.inf

    def compensator(self, times: Floats) -> Floats:
        """Integrated intensity at each event: for the true model its steps are unit exponentials (time rescaling)."""
        return np.asarray(_compensator(times, self.mu, self.alpha, self.beta))

    def standard_errors(self, times: Floats, end: float) -> tuple[float, float, float]:
        """Standard errors of mu, alpha and beta from the curvature of the likelihood at the fit.

        NaN where the likelihood is flat or bends upwards, as it does at a bound.
        """
        point = np.array([self.mu, self.alpha, self.beta])
        curvature = np.empty((3, 3))
        for i in range(3):
            step = np.zeros(3)
            step[i] = 1e-4 * point[i]
            up = hawkes_log_likelihood(times, end, *(point + step))[1:]
            down = hawkes_log_likelihood(times, end, *(point - step))[1:]
            curvature[i] = (np.array(up) - np.array(down)) / (2.0 * step[i])
        with np.errstate(invalid="ignore"):
            errors = np.sqrt(np.diag(np.linalg.inv(-0.5 * (curvature + curvature.T))))
        return float(errors[0]), float(errors[1]), float(errors[2])

    def branching_interval(
        self, times: Floats, end: float, decays: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """95 % interval of alpha by its profile likelihood: right at the bound of no clustering, where errors are not.

        Parameters
        ----------
        times, end : what it was fitted to
        decays : bounds of beta, as in :func:`fit_hawkes`; without them a kernel as long as the span tells nothing of alpha

        Returns
        -------
        tuple of float : 0 where the data do not exclude that nothing is caused, :data:`MOST_ALPHA` where nothing is excluded
        """
        floor = self.log_likelihood - 0.5 * _CHI2_95
        at = np.log([self.mu, self.beta])
        rate = times.size / end

        def below(alpha: float) -> bool:
            return _profile(times, end, rate, alpha, at, decays) < floor

        def edge(inside: float, outside: float) -> float:
            if not below(outside):
                return outside
            for _ in range(12):
                middle = 0.5 * (inside + outside)
                inside, outside = (inside, middle) if below(middle) else (middle, outside)
            return 0.5 * (inside + outside)

        low = edge(self.alpha, _LEAST_ALPHA)
        return (0.0 if low <= _LEAST_ALPHA else low), edge(self.alpha, MOST_ALPHA)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def hawkes_log_likelihood(
    times: Floats, end: float, mu: float, alpha: float, beta: float
) -> tuple[float, float, float, float]:
    """Log-likelihood of event times in [0, end] and its gradient in (mu, alpha, beta), by Ozaki's recursion.

    The compensator of the kernels needs no exponential of its own: what is left of them at the end is the recursion
    carried on to the end. Rates are multiplied up and their logarithm taken once for many events.
    """
    excitation, slope = 0.0, 0.0
    total, product = -mu * end, 1.0
    inverse, by_rate, by_decay = 0.0, 0.0, 0.0
    jump = alpha * beta
    last = times[0]
    for i in range(times.size):
        gap = times[i] - last
        last = times[i]
        if i > 0:
            decay = math.exp(-beta * gap)
            slope = decay * (slope - gap * (excitation + 1.0))
            excitation = decay * (excitation + 1.0)
        rate = mu + jump * excitation
        product *= rate
        if product > 1e200 or product < 1e-200:
            total += math.log(product)
            product = 1.0
        share = 1.0 / rate
        inverse += share
        by_rate += excitation * share
        by_decay += slope * share
    total += math.log(product)
    gap = end - last
    decay = math.exp(-beta * gap)
    slope = decay * (slope - gap * (excitation + 1.0))
    excitation = decay * (excitation + 1.0)
    spent = times.size - excitation
    return (
        total - alpha * spent,
        inverse - end,
        beta * by_rate - spent,
        alpha * (by_rate + beta * by_decay + slope),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _compensator(times: Floats, mu: float, alpha: float, beta: float) -> Floats:
    out = np.empty(times.size)
    excitation = 0.0
    for i in range(times.size):
        if i > 0:
            excitation = (excitation + 1.0) * math.exp(-beta * (times[i] - times[i - 1]))
        out[i] = mu * times[i] + alpha * (i - excitation)
    return out


def check_times(times: Floats, end: float, least: int = 50) -> None:
    """Refuse event times that a likelihood cannot be taken of.

    Raises
    ------
    InputMissing : fewer than ``least`` events, times that do not ascend within [0, end], or too many that coincide
    """
    if times.size < least:
        raise InputMissing(f"Hawkes fit of {times.size} events", f"Give it at least {least}")
    gaps = np.diff(times)
    if not np.isfinite(times[-1]) or not (gaps >= 0).all() or times[0] < 0 or times[-1] > end:
        raise InputMissing("event times do not ascend within their span", "Sort them and subtract the start")
    tied = float((gaps == 0).mean())
    if tied > MOST_TIES:
        raise InputMissing(
            f"{tied:.0%} of the events coincide: their clock is too coarse for a likelihood",
            "Record finer times, or spread them within the clock's step with spread_ties",
        )


def spread_ties(times: Floats, step: float, seed: int) -> Floats:
    """Times floored to ``step``, spread evenly at random within it and sorted.

    The branching ratio survives this, the decay does not: a step of one kernel length slows it by a fifth.
    """
    return np.sort(times + np.random.default_rng(seed).uniform(0.0, step, times.size))


_SAMPLE: Final = 20_000
"""Events of the first, cheap climb of a long fit."""


def fit_hawkes(times: Floats, end: float, decays: tuple[float, float] | None = None) -> Hawkes:
    """Maximum likelihood of event times.

    Parameters
    ----------
    times : float64 array (n,), ascending, any unit, within [0, end]
    end : end of the observed span
    decays : bounds of beta; without them a thousandth to a hundred thousand times the rate of events

    Raises
    ------
    InputMissing : see :func:`check_times`
    """
    check_times(times, end)
    rate = times.size / end
    start = np.log([0.5 * rate, 0.5, 2.0 * rate if decays is None else math.sqrt(decays[0] * decays[1])])
    if times.size > 4 * _SAMPLE:
        # The first events alone land within a few standard errors of the whole, at a fiftieth of its cost.
        start = _climb(times[:_SAMPLE], float(times[_SAMPLE]), rate, start, decays)[0]
    best, total, evaluations = _climb(times, end, rate, start, decays)
    mu, alpha, beta = (float(v) for v in np.exp(best))
    return Hawkes(mu, alpha, beta, total, evaluations)


def _bounds(rate: float, decays: tuple[float, float] | None) -> list[tuple[float, float]]:
    """Bounds of log mu, log alpha and log beta."""
    slowest, fastest = decays or (1e-3 * rate, 1e5 * rate)
    return [
        (math.log(1e-4 * rate), math.log(10 * rate)),
        (math.log(_LEAST_ALPHA), math.log(MOST_ALPHA)),
        (math.log(slowest), math.log(fastest)),
    ]


def _profile(
    times: Floats, end: float, rate: float, alpha: float, start: Floats, decays: tuple[float, float] | None
) -> float:
    """Largest log-likelihood with a given alpha."""
    from scipy.optimize import minimize

    def loss(rest: Floats) -> tuple[float, Floats]:
        mu, beta = np.exp(rest)
        total, by_mu, _, by_beta = hawkes_log_likelihood(times, end, mu, alpha, beta)
        return -total, -np.array([by_mu * mu, by_beta * beta])

    bounds = [_bounds(rate, decays)[k] for k in (0, 2)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    return -float(found.fun)


def _climb(
    times: Floats, end: float, rate: float, start: Floats, decays: tuple[float, float] | None = None
) -> tuple[Floats, float, int]:
    """Log parameters at the top, the log-likelihood there, and the evaluations it took."""
    from scipy.optimize import minimize

    def loss(log_parameters: Floats) -> tuple[float, Floats]:
        mu, alpha, beta = np.exp(log_parameters)
        total, *gradient = hawkes_log_likelihood(times, end, mu, alpha, beta)
        return -total, -np.array(gradient) * np.exp(log_parameters)

    bounds = _bounds(rate, decays)
    # The curvature is of the order of n: a slope of a thousandth of its root is a thousandth of a standard error.
    settings = {"ftol": 1e-15, "gtol": 1e-3 * math.sqrt(times.size)}
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=settings)
    return np.asarray(best.x), -float(best.fun), int(best.nfev)
