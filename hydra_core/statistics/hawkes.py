"""Self-exciting (Hawkes) intensity: of large moves in bars, and of event times such as liquidations.

Not here: reading the events (lake/, ledger/), thresholds that act on them (risk/).
Sources: Ozaki (1979) for the O(n) recursion; Hardiman and Bouchaud (2014, arXiv 1403.5227) for branching from counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics.jumps import SHOCK_LOOKBACK, view_shock
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import exponential_mean, rolling_mean, rolling_sum
from hydra_core.statistics.view import View

EVENT_SHOCK: Final = 3.75
"""A bar is an event when its return exceeds this many local units (3 standard deviations of a Gaussian)."""
KERNEL_HALF_LIFE: Final = 6.0
KERNEL_BARS: Final = 192
COUNT_BARS: Final = 48
RATE_BARS: Final = 1968
"""Bars over which the base rate and the variance of counts are taken; about a week."""
MAX_BRANCHING: Final = 0.98
_LOOKBACK: Final = SHOCK_LOOKBACK + COUNT_BARS + RATE_BARS - 1


def events(view: View) -> Floats:
    """1 in a bar with a large move, else 0, shape (T, P)."""
    shock = np.abs(view_shock(view))
    return np.where(np.isnan(shock), np.nan, (shock > EVENT_SHOCK).astype(np.float64))


def branching_from_counts(mean: Floats, variance: Floats) -> Floats:
    """Share of events caused by events: 1 - sqrt(mean / variance) of counts in long windows, at least 0."""
    ratio = np.where(variance > 0, mean / np.where(variance > 0, variance, 1.0), 1.0)
    return np.clip(1.0 - np.sqrt(np.where(mean > 0, ratio, 1.0)), 0.0, MAX_BRANCHING) + 0.0 * mean


def _branching(event: Floats) -> Floats:
    counts = rolling_sum(event, COUNT_BARS)
    mean = rolling_mean(counts, RATE_BARS)
    variance = rolling_mean(counts * counts, RATE_BARS) - mean * mean
    return branching_from_counts(mean, variance)


@statistic("hawkes_branching", lookback=_LOOKBACK)
def branching(view: View) -> Floats:
    """Branching ratio of large moves over the last week, in [0, 0.98], shape (T, P)."""
    return view.memo("branching", lambda: _branching(events(view)))


@statistic("hawkes_intensity", lookback=_LOOKBACK)
def intensity(view: View) -> Floats:
    """Expected large moves in the next bar, shape (T, P).

    With branching n and base rate m of the last week and an exponential kernel of half-life half an hour (5m bars):
    (1 - n) m + n times the kernel-weighted mean of recent events.
    """
    event = events(view)
    share = branching.compute(view)
    rate = rolling_mean(event, RATE_BARS)
    recent = exponential_mean(event, KERNEL_HALF_LIFE, KERNEL_BARS)
    return (1.0 - share) * rate + share * recent


@dataclass(frozen=True)
class Hawkes:
    """A univariate Hawkes process with kernel ``alpha * beta * exp(-beta * age)``.

    Parameters
    ----------
    mu : background events per unit of time
    alpha : branching ratio, events caused by one event; below 1 the process dies out
    beta : decay per unit of time
    log_likelihood : of the fit
    """

    mu: float
    alpha: float
    beta: float
    log_likelihood: float

    @property
    def mean_rate(self) -> float:
        """Long-run events per unit of time, mu / (1 - alpha); infinite at or above criticality."""
        return self.mu / (1.0 - self.alpha) if self.alpha < 1 else math.inf

    def compensator(self, times: Floats) -> Floats:
        """Integrated intensity at each event: for the true model its steps are unit exponentials (time rescaling)."""
        return np.asarray(_compensator(times, self.mu, self.alpha, self.beta))


@njit(cache=True)  # type: ignore[untyped-decorator]
def hawkes_log_likelihood(
    times: Floats, end: float, mu: float, alpha: float, beta: float
) -> tuple[float, float, float, float]:
    """Log-likelihood of event times in [0, end] and its gradient in (mu, alpha, beta), by Ozaki's recursion."""
    excitation, slope = 0.0, 0.0
    total = -mu * end
    by_mu, by_alpha, by_beta = -end, 0.0, 0.0
    for i in range(times.size):
        if i > 0:
            gap = times[i] - times[i - 1]
            decay = math.exp(-beta * gap)
            slope = decay * (slope - gap * (excitation + 1.0))
            excitation = decay * (excitation + 1.0)
        rate = mu + alpha * beta * excitation
        total += math.log(rate)
        by_mu += 1.0 / rate
        by_alpha += beta * excitation / rate
        by_beta += alpha * (excitation + beta * slope) / rate
        left = end - times[i]
        faded = math.exp(-beta * left)
        total -= alpha * (1.0 - faded)
        by_alpha -= 1.0 - faded
        by_beta -= alpha * left * faded
    return total, by_mu, by_alpha, by_beta


@njit(cache=True)  # type: ignore[untyped-decorator]
def _compensator(times: Floats, mu: float, alpha: float, beta: float) -> Floats:
    out = np.empty(times.size)
    excitation = 0.0
    for i in range(times.size):
        if i > 0:
            excitation = (excitation + 1.0) * math.exp(-beta * (times[i] - times[i - 1]))
        out[i] = mu * times[i] + alpha * (i - excitation)
    return out


def fit_hawkes(times: Floats, end: float) -> Hawkes:
    """Maximum likelihood of event times; times floored to a coarse clock make it degenerate, so hand in finer ones.

    Parameters
    ----------
    times : array (n,), ascending, any unit, within [0, end]
    end : end of the observed span

    Raises
    ------
    InputMissing : fewer than fifty events, or times that do not ascend within the span
    """
    from scipy.optimize import minimize

    if times.size < 50:
        raise InputMissing(f"Hawkes fit of {times.size} events", "Give it at least 50")
    if (np.diff(times) < 0).any() or times[0] < 0 or times[-1] > end:
        raise InputMissing("event times do not ascend within their span", "Sort them and subtract the start")
    rate = times.size / end

    def loss(log_parameters: Floats) -> tuple[float, Floats]:
        mu, alpha, beta = np.exp(log_parameters)
        total, *gradient = hawkes_log_likelihood(times, end, mu, alpha, beta)
        return -total, -np.array(gradient) * np.exp(log_parameters)

    start = np.log([0.5 * rate, 0.5, 2.0 * rate])
    bounds = [(math.log(1e-4 * rate), math.log(10 * rate)), (math.log(1e-6), math.log(2.0)), (None, None)]
    bounds[2] = (math.log(1e-3 * rate), math.log(1e5 * rate))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-8})
    mu, alpha, beta = (float(v) for v in np.exp(best.x))
    return Hawkes(mu, alpha, beta, -float(best.fun))
