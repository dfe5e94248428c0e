"""Layer 2: fits beside what they cannot do without, and a live update beside summing its windows anew.

Not here: how good the estimates are (`hydra bench truth`, tests/statistics).
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.rows import AT_MOST, Disagreement, Report, Row, side_by_side
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.statistics.diffusion import TERMS, fit_merton, merton_log_likelihood
from hydra_core.statistics.live import LiveLayer2
from hydra_core.statistics.point_process import fit_hawkes, hawkes_log_likelihood
from hydra_core.statistics.processes import hawkes_times, jump_returns
from hydra_core.statistics.state import LOOKBACK, layer2

HAWKES_EVENTS = 1_000_000
MERTON_BARS = 100_000
LIVE_BARS = 480
"""Bars a turn of the live update: ten renewals of the correlation matrix are among them."""


def hawkes(report: Report) -> list[Row]:
    """One row: seconds of a fit beside its evaluations."""
    report.say("Hawkes fit beside its evaluations")
    mu, alpha, beta = 0.5, 0.5, 1.0
    end = (HAWKES_EVENTS // 50 if report.quick else HAWKES_EVENTS) * (1.0 - alpha) / mu
    times = hawkes_times(1, mu, alpha, beta, end)
    fit = fit_hawkes(times, end)

    def evaluations() -> None:
        for _ in range(fit.evaluations):
            hawkes_log_likelihood(times, end, fit.mu, fit.alpha, fit.beta)

    turns = side_by_side(lambda: fit_hawkes(times, end), evaluations)
    notes = (
        f"peer: its {fit.evaluations} likelihoods with gradient alone; {times.size:,} events; branching "
        f"{fit.alpha:.4f} for {alpha}; {turns}"
    )
    return [Row("Hawkes fit", turns.ours, turns.peer, 2.0, "s", AT_MOST, notes)]


def merton(report: Report) -> list[Row]:
    """One row: fits a second beside scipy with numeric gradients."""
    report.say("Merton fit beside scipy")
    bars = MERTON_BARS // 5 if report.quick else MERTON_BARS
    a_year = 365 * 288
    truth = (0.6 / math.sqrt(a_year), 365 / a_year, -0.002, 0.008)
    r, _ = jump_returns(1, bars, *truth)
    found: dict[str, float] = {}

    def ours() -> None:
        found["ours"] = fit_merton(r).log_likelihood

    def peer() -> None:
        found["peer"] = _scipy_merton(r)

    turns = side_by_side(ours, peer, repeats=1 if report.quick else 5)
    if found["ours"] < found["peer"] - 1e-3:
        raise Disagreement(f"the Merton fit ends at {found['ours']}, below scipy's {found['peer']}")
    notes = (
        f"peer: scipy L-BFGS-B on the same log-likelihood in numpy, numeric gradient, same start; "
        f"{bars:,} bars; ends {found['ours'] - found['peer']:.2g} nats above it; {turns}"
    )
    return [Row("Merton fit", 1.0 / turns.ours, 1.0 / turns.peer, 10.0, "fits/s", notes=notes)]


def _scipy_merton(r: Floats) -> float:
    """What one writes first: the sum of normals in numpy, handed to scipy; the log-likelihood it ends at."""
    from scipy.optimize import minimize

    median = float(np.median(r))
    sigma = 1.4826 * float(np.median(np.abs(r - median)))
    far = np.abs(r - median) > 4.0 * sigma

    def loss(x: Floats) -> float:
        drift, s, rate, mean, spread = (
            x[0] * sigma,
            sigma * math.exp(x[1]),
            math.exp(x[2]),
            x[3] * sigma,
            math.exp(x[4]),
        )
        density = np.zeros(r.size)
        for k in range(TERMS):
            variance = s * s + k * (spread * sigma) ** 2
            weight = math.exp(-rate) * rate**k / math.factorial(k) / math.sqrt(2.0 * math.pi * variance)
            density += weight * np.exp(-0.5 * (r - drift - k * mean) ** 2 / variance)
        return -float(np.log(density).sum())

    start = [median / sigma, 0.0, math.log(far.mean()), r[far].mean() / sigma, math.log(r[far].std() / sigma)]
    bounds = [(-1.0, 1.0), (-1.6, 1.1), (math.log(1e-3 / r.size), math.log(0.1)), (-100.0, 100.0), (-0.7, 5.0)]
    best = minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "maxfun": 3_000})
    x = best.x
    return merton_log_likelihood(
        r, x[0] * sigma, sigma * math.exp(x[1]), math.exp(x[2]), x[3] * sigma, sigma * math.exp(x[4])
    )


def live(report: Report) -> list[Row]:
    """One row: updates a second of all statistics beside recomputing their windows."""
    report.say("live update of layer 2 beside its windows")
    rng = np.random.default_rng(1)
    rows, pairs = LOOKBACK + LIVE_BARS * 8, len(DEFAULT_PAIRS)
    r = 0.001 * rng.standard_t(4, (rows, pairs)) + 0.001 * rng.standard_t(4, (rows, 1))
    close = 100.0 * np.exp(np.cumsum(r, axis=0))
    high, low = (close * np.exp(s * 0.0005 * np.abs(rng.normal(size=close.shape))) for s in (1, -1))
    none = np.full(close.shape, np.nan)
    ts = 1_717_200_000_000 + 300_000 * np.arange(rows, dtype=np.int64)
    panel = Panel(DEFAULT_PAIRS, Interval.M5, ts, close, high, low, close, none, *[none] * 5, frozenset({CANDLES}))
    moving, window = LiveLayer2(panel.pairs, panel.interval), panel.last(LOOKBACK)
    moving.warm_up(panel.last(rows).last(LOOKBACK))
    at = {"close_ms": int(panel.close_ms[-1])}

    def moved_on() -> None:
        for k in range(LIVE_BARS):
            at["close_ms"] += panel.interval.ms
            moving.update(at["close_ms"], high[k], low[k], close[k])

    turns = side_by_side(moved_on, lambda: layer2(window, 1), repeats=1 if report.quick else 5)
    notes = (
        f"peer: layer2 of the last row from its {LOOKBACK} rows; {pairs} pairs, all statistics; mean of "
        f"{LIVE_BARS} updates a turn, matrix renewals included; {len(turns.taken)} turns"
    )
    return [Row("live update of layer 2", LIVE_BARS / turns.ours, 1.0 / turns.peer, 100.0, "updates/s", notes=notes)]
