"""Processes whose truth is known: what the estimators of this layer are scored on, in tests and in `hydra bench truth`.

Each is a pure function of a seed. Not here: prices of a whole market (simulation/), scores (truths.py).

Sources: Hawkes and Oakes (1974) for the cluster form; Corsi and others' two-factor log volatility.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hydra_core.domain.market import Floats, Ints


def hawkes_times(seed: int, mu: float, alpha: float, beta: float, end: float) -> Floats:
    """Event times in [0, end] as a cluster process: immigrants, each with Poisson children at exponential delays."""
    rng = np.random.default_rng(seed)
    generation = rng.uniform(0, end, rng.poisson(mu * end))
    found = [generation]
    while generation.size:
        children = rng.poisson(alpha, generation.size)
        generation = np.repeat(generation, children) + rng.exponential(1 / beta, children.sum())
        generation = generation[generation < end]
        found.append(generation)
    return np.sort(np.concatenate(found))


def multi_hawkes(
    seed: int, mu: Floats, branching: Floats, beta: float, end: float, gamma: float = 0.0, spread: float = 0.0
) -> tuple[Floats, Ints, Floats]:
    """Times, kinds and sizes of a process of D kinds; sizes are log-normal around 1 with ``spread``.

    An event of kind j and size s causes Poisson(branching[i, j] * s^gamma) events of kind i.
    """
    rng = np.random.default_rng(seed)
    count = mu.size
    kinds = np.repeat(np.arange(count), rng.poisson(mu * end))
    times = rng.uniform(0, end, kinds.size)
    all_times, all_kinds, all_sizes = [], [], []
    while times.size:
        sizes = np.exp(rng.normal(0.0, spread, times.size)) if spread else np.ones(times.size)
        all_times.append(times)
        all_kinds.append(kinds)
        all_sizes.append(sizes)
        next_times, next_kinds = [], []
        for i in range(count):
            children = rng.poisson(branching[i, kinds] * sizes**gamma)
            born = np.repeat(times, children) + rng.exponential(1 / beta, children.sum())
            next_times.append(born[born < end])
            next_kinds.append(np.full(next_times[-1].size, i))
        times, kinds = np.concatenate(next_times), np.concatenate(next_kinds)
    joined = np.concatenate(all_times)
    order = np.argsort(joined, kind="stable")
    return joined[order], np.concatenate(all_kinds)[order].astype(np.int64), np.concatenate(all_sizes)[order]


def cascading_events(
    seed: int,
    days: float,
    bursts: int,
    mu: float = 0.05,
    alpha: float = 0.5,
    beta: float = 0.5,
    burst_alpha: float = 1.1,
    burst_s: float = 60.0,
    kick: int = 10,
    gamma: float = 0.3,
    spread: float = 1.0,
) -> tuple[Floats, Floats, Floats]:
    """Liquidations with injected cascades: times (s), sizes (median 1), and the starts of the injected ones.

    A cascade begins with ``kick`` forced orders within a second, a large position closed in pieces; for ``burst_s``
    seconds every event then causes ``burst_alpha`` others on average, more than it takes to keep going.
    Sizes are log-normal and raise the number of children with power ``gamma``; ``alpha`` is the mean over sizes.
    """
    rng = np.random.default_rng(seed)
    end = days * 86_400.0
    gap = end / max(bursts, 1)
    starts = (np.arange(bursts) + rng.uniform(0.2, 0.8, bursts)) * gap
    times = np.concatenate([rng.uniform(0, end, rng.poisson(mu * end)), *(s + rng.uniform(0, 1, kick) for s in starts)])
    mean_weight = np.exp(0.5 * (gamma * spread) ** 2)
    all_times, all_sizes = [], []
    while times.size:
        sizes = np.exp(rng.normal(0.0, spread, times.size))
        all_times.append(times)
        all_sizes.append(sizes)
        weight = sizes**gamma / mean_weight
        # Children are drawn at the higher branching and those that fall outside a burst thinned to the lower one.
        high = max(burst_alpha, alpha)
        children = rng.poisson(high * weight)
        born = np.repeat(times, children) + rng.exponential(1 / beta, children.sum())
        behind = born - starts[np.maximum(np.searchsorted(starts, born) - 1, 0)] if bursts else np.full(born.size, -1.0)
        inside = (behind >= 0) & (behind < burst_s)
        kept = inside | (rng.random(born.size) < alpha / high)
        times = born[kept & (born < end)]
    joined = np.concatenate(all_times)
    order = np.argsort(joined)
    return joined[order], np.concatenate(all_sizes)[order], starts


def switching_returns(
    seed: int, n: int, scales: Floats, transition: Floats, degrees: float | None, drifts: Floats | None = None
) -> tuple[Ints, Floats]:
    """States and returns of a Markov chain of scales; Student-t noise with ``degrees``, Gaussian where None."""
    rng = np.random.default_rng(seed)
    states = _chain(rng.random(n), np.cumsum(transition, axis=1))
    noise = rng.standard_normal(n) if degrees is None else rng.standard_t(degrees, n)
    out = scales[states] * noise
    return states, out if drifts is None else out + drifts[states]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _chain(draws: Floats, cumulated: Floats) -> Ints:
    """States from 0 on by the cumulated rows of a transition matrix."""
    states = np.zeros(draws.size, np.int64)
    for i in range(1, draws.size):
        state = 0
        while state < cumulated.shape[1] - 1 and cumulated[states[i - 1], state] < draws[i]:
            state += 1
        states[i] = state
    return states


def volatile_returns(seed: int, days: int, per_day: int = 288) -> tuple[Floats, Floats]:
    """Returns and their true variances: two log-volatility factors, 25 days with sd .45 and one day with sd .35."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    n = days * per_day
    log_sigma = np.zeros(n)
    for dwell, spread in ((25.0, 0.45), (1.0, 0.35)):
        keep = np.exp(-1.0 / (dwell * per_day))
        noise = rng.normal(0.0, spread * np.sqrt(1.0 - keep**2), n)
        noise[0] = rng.normal(0.0, spread)
        log_sigma += lfilter([1.0], [1.0, -keep], noise)
    sigma = 0.02 / np.sqrt(per_day) * np.exp(log_sigma)
    return np.asarray(sigma * rng.standard_normal(n)), np.asarray(sigma**2)


def jump_returns(
    seed: int, n: int, sigma: float, rate: float, jump_mean: float, jump_sigma: float, drift: float = 0.0
) -> tuple[Floats, Ints]:
    """Log returns of a Merton jump diffusion and the number of jumps in each bar; all per bar."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate, n)
    noise = rng.normal(drift, sigma, n)
    return noise + count * jump_mean + np.sqrt(count) * rng.normal(0.0, jump_sigma, n), count


def walked_bars(
    seed: int, n: int, ticks: int, sigma: float, drift: float = 0.0, gap: float = 0.0
) -> tuple[Floats, Floats, Floats, Floats]:
    """Open, high, low, close of n bars, each a Gaussian walk of so many ticks; drift and gap in log return per bar."""
    rng = np.random.default_rng(seed)
    highest, lowest, closing = np.empty(n), np.empty(n), np.empty(n)
    for first in range(0, n, 2000):
        count = min(2000, n - first)
        steps = rng.standard_normal((count, ticks), dtype=np.float32) * np.float32(sigma / np.sqrt(ticks))
        steps += np.float32(drift / ticks)
        path = np.cumsum(steps, axis=1, dtype=np.float64)
        part = slice(first, first + count)
        highest[part] = np.maximum(path.max(axis=1), 0.0)
        lowest[part] = np.minimum(path.min(axis=1), 0.0)
        closing[part] = path[:, -1]
    between = rng.normal(0.0, gap, n) if gap else np.zeros(n)
    start = np.concatenate([[0.0], np.cumsum(closing + between)[:-1]]) + between
    return (
        100.0 * np.exp(start),
        100.0 * np.exp(start + highest),
        100.0 * np.exp(start + lowest),
        100.0 * np.exp(start + closing),
    )
