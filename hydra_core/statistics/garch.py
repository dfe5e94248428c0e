"""GARCH and GJR of returns through the ``arch`` library, and their variance carried on bar by bar.

``arch`` is imported when a model is fitted, never with this module. Where 5m bars exist a daily GARCH is the wrong
default (half the skill of a log-HAR); it is here as a baseline and for what has daily returns only.
Sources: Bollerslev (1986); Glosten, Jagannathan and Runkle (1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats


@dataclass(frozen=True)
class Garch:
    """A fitted model: v' = omega + (alpha + gamma 1(e < 0)) e^2 + beta v with e = r - mean; returns as they came.

    Parameters
    ----------
    mean, omega, alpha, gamma, beta : per bar; gamma is 0 for a plain GARCH
    degrees : of Student-t shocks; infinite for Gaussian ones
    log_likelihood : of the returns as they came
    errors : standard errors of mean, omega, alpha, gamma, beta and degrees, robust to a wrong density; None where not asked
        for, NaN for what was not fitted
    """

    mean: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    degrees: float
    log_likelihood: float
    errors: tuple[float, ...] | None = None

    @property
    def persistence(self) -> float:
        """Share of a variance shock that is left after a bar; below 1 there is a long-run variance."""
        return self.alpha + 0.5 * self.gamma + self.beta

    @property
    def long_run(self) -> float:
        """Long-run variance per bar; infinite at or above a persistence of 1."""
        return self.omega / (1.0 - self.persistence) if self.persistence < 1.0 else math.inf

    def predictive_log_likelihood(self, log_return: Floats, start: float | None = None) -> Floats:
        """Log density of each return given those before it, shape (T,); NaN where it is missing. ``start`` as below."""
        ahead = self.next_variance(log_return, start)
        variance = np.concatenate([[self.long_run if start is None else start], ahead[:-1]])
        square = (log_return - self.mean) ** 2 / variance
        if math.isinf(self.degrees):
            return np.asarray(-0.5 * (np.log(2.0 * math.pi * variance) + square))
        half = 0.5 * (self.degrees + 1.0)
        constant = math.lgamma(half) - math.lgamma(0.5 * self.degrees) - 0.5 * math.log(math.pi * (self.degrees - 2.0))
        return np.asarray(constant - 0.5 * np.log(variance) - half * np.log1p(square / (self.degrees - 2.0)))

    def next_variance(self, log_return: Floats, start: float | None = None) -> Floats:
        """Variance expected for the bar after each row, shape (T,); a missing return leaves it to revert.

        Parameters
        ----------
        log_return : array (T,)
        start : variance expected for the first row; the long-run one where None
        """
        first = self.long_run if start is None else start
        if not math.isfinite(first):
            raise InputMissing("a GARCH without a long-run variance has no start", "Hand in a starting variance")
        return np.asarray(_variances(log_return, self.mean, self.omega, self.alpha, self.gamma, self.beta, first))

    def horizon_mean(self, next_variance: Floats, bars: int) -> Floats:
        """Mean variance per bar expected over the next ``bars`` bars, from that of the next one."""
        if self.persistence >= 1.0:
            return np.asarray(next_variance + self.omega * (bars - 1) / 2.0)
        fade = (1.0 - self.persistence**bars) / (bars * (1.0 - self.persistence))
        return np.asarray(self.long_run + fade * (next_variance - self.long_run))


@njit(cache=True)  # type: ignore[untyped-decorator]
def garch_step(r: float, v: float, mean: float, omega: float, alpha: float, gamma: float, beta: float) -> float:
    """Variance of the bar after a return ``r`` whose own variance was ``v``."""
    if math.isnan(r):
        return omega + (alpha + 0.5 * gamma + beta) * v
    e = r - mean
    return omega + (alpha + (gamma if e < 0 else 0.0)) * e * e + beta * v


@njit(cache=True)  # type: ignore[untyped-decorator]
def _variances(r: Floats, mean: float, omega: float, alpha: float, gamma: float, beta: float, first: float) -> Floats:
    out = np.empty(r.size)
    v = first
    for t in range(r.size):
        v = garch_step(r[t], v, mean, omega, alpha, gamma, beta)
        out[t] = v
    return out


class GarchStream:
    """The variance of one series, moved on by one return a call."""

    def __init__(self, model: Garch, start: float | None = None) -> None:
        self._model = model
        self._v = model.long_run if start is None else start

    def update(self, log_return: float) -> float:
        """Variance expected for the next bar."""
        m = self._model
        self._v = float(garch_step(log_return, self._v, m.mean, m.omega, m.alpha, m.gamma, m.beta))
        return self._v


def fit_garch(log_return: Floats, asymmetric: bool = False, fat_tails: bool = True, errors: bool = False) -> Garch:
    """Maximum likelihood with a constant mean.

    Parameters
    ----------
    log_return : array (T,), training rows only; missing ones are left out
    asymmetric : falls may count more than rises (GJR)
    fat_tails : Student-t shocks, else Gaussian
    errors : also compute the standard errors (Bollerslev and Wooldridge, 1992)

    Raises
    ------
    InputMissing : fewer than 250 finite returns, returns that never move, or a fit that does not converge
    """
    from arch import arch_model

    r = log_return[np.isfinite(log_return)]
    if r.size < 250:
        raise InputMissing(f"GARCH fit of {r.size} returns", "Give it at least 250")
    unit = float(r.std())
    if unit <= 0:
        raise InputMissing("GARCH fit of returns that never move", "Leave out the halted market")
    # The library's optimiser wants returns of about one: it is handed them in standard deviations.
    model = arch_model(
        r / unit,
        mean="Constant",
        vol="GARCH",
        p=1,
        o=int(asymmetric),
        q=1,
        dist="t" if fat_tails else "normal",
        rescale=False,
    )
    fit = model.fit(disp="off", show_warning=False)
    if fit.convergence_flag != 0:
        raise InputMissing(f"GARCH fit did not converge (flag {fit.convergence_flag})", "Give it a longer history")
    found = {str(name): float(value) for name, value in fit.params.items()}
    known: tuple[float, ...] | None = None
    if errors:
        told = {str(name): float(value) for name, value in fit.std_err.items()}
        names = (("mu", unit), ("omega", unit**2), ("alpha[1]", 1.0), ("gamma[1]", 1.0), ("beta[1]", 1.0), ("nu", 1.0))
        known = tuple(told.get(name, math.nan) * scale for name, scale in names)
    return Garch(
        mean=found["mu"] * unit,
        omega=found["omega"] * unit**2,
        alpha=found["alpha[1]"],
        gamma=found.get("gamma[1]", 0.0),
        beta=found["beta[1]"],
        degrees=found.get("nu", math.inf),
        log_likelihood=float(fit.loglikelihood) - r.size * math.log(unit),
        errors=known,
    )
