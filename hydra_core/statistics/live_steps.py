"""One bar's step of each statistic of layer 2, compiled: what live.py's objects call.

Each step takes a bar of P pairs into its windows and writes the statistic's newest values, by the same formulas as the
batch functions it names. Not here: the objects that hold the windows (live.py), the batch (volatility.py and so on).
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from hydra_core.domain.market import Floats
from hydra_core.statistics import hawkes, jumps, regimes, volatility
from hydra_core.statistics.regimes import filter_step
from hydra_core.statistics.sliding import Sliding, exponential, mean, push, total

_FLOOR: Final = volatility.VARIANCE_FLOOR
_LEVEL: Final = volatility.FORECAST_LEVEL
_WEIGHTS: Final = volatility.FORECAST_WEIGHTS
_FOUR_LN2: Final = 4.0 * math.log(2.0)
_LEAST_SIGMA: Final = jumps.LEAST_SIGMA
_THRESHOLD: Final = jumps.THRESHOLD
_EVENT: Final = hawkes.EVENT_SHOCK
_MOST_BRANCHING: Final = hawkes.MAX_BRANCHING
_LEAST_VARIANCE: Final = regimes.LEAST_VARIANCE


@njit(cache=True)  # type: ignore[untyped-decorator]
def _raised(value: float, least: float) -> float:
    """The larger of the two; NaN stays NaN."""
    return value if math.isnan(value) or value > least else least


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_forecast(
    high: Floats, low: Floats, log_return: Floats, ranges: Sliding, squares: Sliding, out: Floats
) -> None:
    """:func:`~hydra_core.statistics.volatility.forecast_sigma` of the newest bar; ranges over its four windows."""
    pairs = log_return.size
    row = out  # used as scratch until the values are written
    for p in range(pairs):
        row[p] = math.log(high[p] / low[p]) ** 2 / _FOUR_LN2
    push(ranges, row)
    for p in range(pairs):
        row[p] = log_return[p] * log_return[p]
    push(squares, row)
    for p in range(pairs):
        longest = _raised(mean(ranges, 3, p), _FLOOR)
        level = _raised(mean(squares, 0, p), _FLOOR) / longest
        log_variance = _LEVEL + math.log(level) + _WEIGHTS[3] * math.log(longest)
        for k in range(3):
            log_variance += _WEIGHTS[k] * math.log(_raised(mean(ranges, k, p), _FLOOR))
        out[p] = math.exp(0.5 * log_variance)


@njit(cache=True)  # type: ignore[untyped-decorator]
def step_moves(log_close: Floats, sigma: Floats, closes: Floats, sigmas: Floats, seen: int, out: Floats) -> None:
    """Moves of 3 and 12 bars in deviations expected before them; rings of 12 rows, ``out`` (2, P)."""
    size = closes.shape[0]
    for p in range(log_close.size):
        for k in range(2):
            bars = 3 if k == 0 else 12
            out[k, p] = math.nan
            if seen >= bars:
                before = (seen - bars) % size
                out[k, p] = (log_close[p] - closes[before, p]) / (sigmas[before, p] * math.sqrt(bars))
        closes[seen % size, p] = log_close[p]
        sigmas[seen % size, p] = sigma[p]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_variance_ratio(log_return: Floats, squares: Sliding, out: Floats) -> None:
    """Two-hour over five-day variance of the newest bar."""
    for p in range(log_return.size):
        out[p] = log_return[p] * log_return[p]
    push(squares, out)
    for p in range(log_return.size):
        out[p] = exponential(squares, 0, p) / _raised(mean(squares, 0, p), 1e-12)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_shock(log_return: Floats, before: Floats, products: Sliding, out: Floats) -> None:
    """:func:`~hydra_core.statistics.jumps.local_shock` of the newest bar; ``before`` is (2, P): last return, scale."""
    for p in range(log_return.size):
        scale = before[1, p]
        out[p] = log_return[p] / _raised(scale, _LEAST_SIGMA)
        before[1, p] = abs(log_return[p]) * abs(before[0, p])
        before[0, p] = log_return[p]
    push(products, before[1])
    for p in range(log_return.size):
        before[1, p] = math.sqrt(mean(products, 0, p))


@njit(cache=True)  # type: ignore[untyped-decorator]
def step_jumps(shock: Floats, flags: Sliding, scratch: Floats, out: Floats) -> None:
    """Signed flag and jumps a day of the newest bar, ``out`` (2, P)."""
    for p in range(shock.size):
        flag = math.nan
        if not math.isnan(shock[p]):
            flag = 0.0
            if abs(shock[p]) > _THRESHOLD:
                flag = 1.0 if shock[p] > 0 else -1.0
        out[0, p] = flag
        scratch[p] = abs(flag)
    push(flags, scratch)
    for p in range(shock.size):
        out[1, p] = mean(flags, 0, p) * 288.0


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_hawkes(shock: Floats, events: Sliding, counts: Sliding, scratch: Floats, out: Floats) -> None:
    """Intensity and branching of the newest bar, ``out`` (2, P); ``counts`` holds counts and their squares (2P)."""
    pairs = shock.size
    for p in range(pairs):
        scratch[p] = math.nan if math.isnan(shock[p]) else (1.0 if abs(shock[p]) > _EVENT else 0.0)
    push(events, scratch[:pairs])
    for p in range(pairs):
        count = total(events, 0, p)
        scratch[p], scratch[pairs + p] = count, count * count
    push(counts, scratch)
    for p in range(pairs):
        level = mean(counts, 0, p)
        variance = mean(counts, 0, pairs + p) - level * level
        ratio = level / variance if variance > 0 else 1.0
        share = 1.0 - math.sqrt(ratio if level > 0 else 1.0)
        share = math.nan if math.isnan(level) else min(max(share, 0.0), _MOST_BRANCHING)
        out[0, p] = (1.0 - share) * mean(events, 1, p) + share * exponential(events, 0, p)
        out[1, p] = share


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_base(high: Floats, low: Floats, logs: Sliding, out: Floats) -> None:
    """:func:`~hydra_core.statistics.regimes.base_sigma` of the newest bar."""
    for p in range(high.size):
        out[p] = math.log(_raised(math.log(high[p] / low[p]) ** 2 / _FOUR_LN2, _LEAST_VARIANCE))
    push(logs, out)
    for p in range(high.size):
        out[p] = math.exp(0.5 * mean(logs, 0, p))


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_volatility(
    high: Floats, low: Floats, log_return: Floats, log_close: Floats, seen: int, ranges: Sliding, squares: Sliding,
    closes: Floats, sigmas: Floats, sigma: Floats, moves: Floats,
) -> None:  # fmt: skip
    """:func:`step_forecast`, then :func:`step_moves`: one call costs what its arrays cost to hand over, once."""
    step_forecast(high, low, log_return, ranges, squares, sigma)
    step_moves(log_close, sigma, closes, sigmas, seen, moves)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_shocks(
    log_return: Floats, before: Floats, products: Sliding, flags: Sliding, events: Sliding, counts: Sliding,
    scratch: Floats, shock: Floats, jump: Floats, excited: Floats,
) -> None:  # fmt: skip
    """:func:`step_shock`, then what reads it: :func:`step_jumps` and :func:`step_hawkes`."""
    step_shock(log_return, before, products, shock)
    step_jumps(shock, flags, scratch[: shock.size], jump)
    step_hawkes(shock, events, counts, scratch, excited)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_regimes(
    high: Floats, low: Floats, log_return: Floats, logs: Sliding, base: Floats, now: Floats, ahead: Floats,
    scales: Floats, transition: Floats, degrees: float, out: Floats,
) -> None:  # fmt: skip
    """:func:`step_base`, then the filter of the returns over it, ``now`` and ``out`` (P, S); NaN without a base."""
    step_base(high, low, logs, base)
    for p in range(base.size):
        filter_step(log_return[p] / base[p], now[p], ahead, scales, transition, degrees)
        for state in range(scales.size):
            out[p, state] = math.nan if math.isnan(base[p]) else now[p, state]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def step_correlation(log_return: Floats, products: Sliding, scratch: Floats) -> float:
    """Mean pairwise correlation of the newest bar; ``products`` holds P squares, then the products of pairs."""
    pairs = log_return.size
    at = pairs
    for i in range(pairs):
        scratch[i] = log_return[i] * log_return[i]
        for j in range(i + 1, pairs):
            scratch[at] = log_return[i] * log_return[j]
            at += 1
    push(products, scratch)
    summed, known, at = 0.0, 0, pairs
    for i in range(pairs):
        for j in range(i + 1, pairs):
            variance = exponential(products, 0, i) * exponential(products, 0, j)
            value = exponential(products, 0, at) / math.sqrt(_raised(variance, 1e-24))
            if not math.isnan(value):
                summed += value
                known += 1
            at += 1
    return summed / known if known else math.nan
