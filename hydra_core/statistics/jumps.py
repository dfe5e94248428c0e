"""Jumps: flags for bars that local volatility cannot explain, and fits of plain and jumping diffusions.

Not here: clustering of jumps (hawkes.py), what to do about one (risk/).

Sources: Lee and Mykland (2008) for the flag; Barndorff-Nielsen and Shephard (2004) in the form of Huang and Tauchen
(2005) for the daily test; Merton (1976) for the mixture of normals; Honoré (1998) on why its likelihood needs bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import lag, rolling_mean, rolling_sum
from hydra_core.statistics.view import View

LOCAL_BARS: Final = 270
"""Bars of the local bipower variance at 5m, Lee and Mykland's choice."""
MONTH_BARS: Final = 30 * 288
FALSE_ALARM: Final = 0.01
"""Probability of one false flag in a month of bars without jumps."""
RATE_BARS: Final = 2016
_LEAST_SIGMA: Final = 1e-6


def lee_mykland_threshold(n: int, alpha: float) -> float:
    """Local standard deviations that a bar must exceed to be a jump, when ``n`` bars share a false alarm ``alpha``."""
    c = math.sqrt(2.0 / math.pi)
    root = math.sqrt(2.0 * math.log(n))
    centre = root / c - (math.log(math.pi) + math.log(math.log(n))) / (2.0 * c * root)
    return centre - math.log(-math.log(1.0 - alpha)) / (c * root)


def local_shock(log_return: Floats, bars: int = LOCAL_BARS) -> Floats:
    """Each return over the square root of the mean ``|r_i||r_i-1|`` of the bars before it, Lee and Mykland's L.

    For a Gaussian return its standard deviation is sqrt(pi/2) = 1.25, for which the threshold allows.
    """
    size = np.abs(log_return)
    products = size * lag(size, 1)
    local = np.sqrt(lag(rolling_mean(products, bars - 2), 1))
    return np.asarray(log_return / np.maximum(local, _LEAST_SIGMA))


def view_shock(view: View) -> Floats:
    """:func:`local_shock` of a view's returns, computed once for jumps and Hawkes events."""
    return view.memo("local_shock", lambda: local_shock(view.log_return))


THRESHOLD: Final = lee_mykland_threshold(MONTH_BARS, FALSE_ALARM)
SHOCK_LOOKBACK: Final = LOCAL_BARS + 1


@statistic("jump", lookback=SHOCK_LOOKBACK)
def jump(view: View) -> Floats:
    """1 where a bar's return is a jump (signed), 0 where volatility explains it, shape (T, P)."""
    shock = view_shock(view)
    return np.where(np.isnan(shock), np.nan, np.sign(shock) * (np.abs(shock) > THRESHOLD))


@statistic("jump_rate", lookback=SHOCK_LOOKBACK + RATE_BARS - 1)
def jump_rate(view: View) -> Floats:
    """Jumps per day over the last week, shape (T, P)."""
    return rolling_mean(np.abs(jump.compute(view)), RATE_BARS) * 288.0


def bns_z(log_return: Floats, bars: int) -> Floats:
    """Ratio test for jumps within ``bars`` bars: standard normal without jumps, large with one.

    Z = ((RV - BV) / RV) / sqrt(((pi/2)^2 + pi - 5) / M * max(1, TP / BV^2)), TP the tripower quarticity.
    """
    size = np.abs(log_return)
    rv = rolling_sum(size**2, bars)
    bv = (math.pi / 2.0) * rolling_sum(size * lag(size, 1), bars) * bars / (bars - 1)
    power = (size * lag(size, 1) * lag(size, 2)) ** (4.0 / 3.0)
    mu = 2.0 ** (2.0 / 3.0) * math.gamma(7.0 / 6.0) / math.gamma(0.5)
    tp = bars * mu**-3 * rolling_sum(power, bars) * bars / (bars - 2)
    spread = ((math.pi / 2.0) ** 2 + math.pi - 5.0) / bars * np.maximum(1.0, tp / bv**2)
    return np.asarray((1.0 - bv / rv) / np.sqrt(spread))


@dataclass(frozen=True)
class Gbm:
    """A geometric Brownian motion fitted to log returns; all per bar.

    Parameters
    ----------
    drift, sigma : mean and standard deviation of the log return
    drift_error, sigma_error : their standard errors; the drift's is usually larger than the drift
    """

    drift: float
    sigma: float
    drift_error: float
    sigma_error: float


def fit_gbm(log_return: Floats) -> Gbm:
    """Maximum likelihood of a GBM; raises InputMissing for fewer than three finite returns."""
    r = log_return[np.isfinite(log_return)]
    if r.size < 3:
        raise InputMissing(f"GBM fit of {r.size} returns", "Give it at least 3")
    sigma = float(r.std())
    return Gbm(float(r.mean()), sigma, sigma / math.sqrt(r.size), sigma / math.sqrt(2.0 * r.size))


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


_TERMS: Final = 4
_MAX_RATE: Final = 0.1


def _mixture(r: Floats, drift: float, sigma: float, rate: float, jump_mean: float, jump_sigma: float) -> Floats:
    """Weighted normal densities of 0, 1, … jumps in a bar, shape (terms, n)."""
    out = np.empty((_TERMS, r.size))
    for k in range(_TERMS):
        variance = sigma**2 + k * jump_sigma**2
        weight = math.exp(-rate) * rate**k / math.factorial(k) / math.sqrt(2.0 * math.pi * variance)
        out[k] = weight * np.exp(-0.5 * (r - drift - k * jump_mean) ** 2 / variance)
    return out


def merton_log_likelihood(
    r: Floats, drift: float, sigma: float, rate: float, jump_mean: float, jump_sigma: float
) -> float:
    """Sum of the log density of a Merton jump diffusion over the returns ``r``, up to three jumps a bar."""
    return float(np.log(_mixture(r, drift, sigma, rate, jump_mean, jump_sigma).sum(axis=0)).sum())


def fit_merton(log_return: Floats, tolerance: float = 1e-9, rounds: int = 500) -> Merton:
    """Maximum likelihood of a Merton jump diffusion by expectation maximisation.

    The likelihood grows without bound when one component shrinks onto one return, so the rate is held below 0.1 a bar
    and a jump's standard deviation above half the diffusion's. It starts from robust moments: median absolute
    deviation for sigma, returns beyond four of those for the jumps.

    Parameters
    ----------
    log_return : array (n,), NaN are left out
    tolerance : relative change of the log-likelihood at which to stop
    rounds : at most this many

    Raises
    ------
    InputMissing : fewer than a hundred finite returns
    """
    r = log_return[np.isfinite(log_return)]
    if r.size < 100:
        raise InputMissing(f"Merton fit of {r.size} returns", "Give it at least 100")
    median = float(np.median(r))
    sigma = 1.4826 * float(np.median(np.abs(r - median)))
    far = np.abs(r - median) > 4.0 * sigma
    drift, rate = float(r[~far].mean()), min(max(float(far.mean()), 1.0 / r.size), _MAX_RATE / 2)
    jump_mean = float(r[far].mean()) if far.any() else 0.0
    jump_sigma = max(float(r[far].std()) if far.sum() > 1 else 0.0, 3.0 * sigma)

    # Only returns far enough out to be worth a jump change from round to round; the others carry no jump weight.
    before = -math.inf
    counts = np.arange(_TERMS)[:, None]
    for _ in range(rounds):
        density = _mixture(r, drift, sigma, rate, jump_mean, jump_sigma)
        total = density.sum(axis=0)
        now = float(np.log(total).sum())
        if now - before <= tolerance * abs(now):
            break
        before = now
        share = density / total
        # Expected jump sum and its second moment, given the return and the number of jumps in it.
        variance = sigma**2 + counts * jump_sigma**2
        gain = counts * jump_sigma**2 / variance
        centred = r - drift - counts * jump_mean
        jump_sum = counts * jump_mean + gain * centred
        left = counts * jump_sigma**2 * sigma**2 / variance
        expected = float((share * counts).sum())
        rate = min(expected / r.size, _MAX_RATE)
        diffusion = r - jump_sum
        drift = float((share * diffusion).sum() / r.size)
        sigma = math.sqrt(float((share * ((diffusion - drift) ** 2 + left)).sum() / r.size))
        fresh_mean = float((share * jump_sum).sum() / expected)
        within = np.where(counts > 0, ((jump_sum - counts * fresh_mean) ** 2 + left) / np.maximum(counts, 1), 0.0)
        jumping = share[1:].sum()
        jump_sigma = math.sqrt(
            float((share * (within + np.maximum(counts - 1, 0) * jump_sigma**2)).sum()) / max(expected, float(jumping))
        )
        jump_mean, jump_sigma = fresh_mean, max(jump_sigma, 0.5 * sigma)
    gbm = fit_gbm(r)
    plain = float(-0.5 * r.size * (math.log(2.0 * math.pi * gbm.sigma**2) + 1.0))
    return Merton(
        drift, sigma, rate, jump_mean, jump_sigma, now, 5 * math.log(r.size) - 2 * now, 2 * math.log(r.size) - 2 * plain
    )
