"""The pair among its peers: the market's move and the pair's move against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import change, rolling_mean
from hydra_core.statistics.view import SIGMA_LOOKBACK, View


def mean_of_pairs(values: Floats) -> Floats:
    """Mean over the pairs with a finite value, shape (T, 1); NaN where none has one."""
    means: Floats = _mean_of_row(values)
    return means[:, None]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _mean_of_row(values: Floats) -> Floats:
    out = np.empty(values.shape[0])
    for t in range(values.shape[0]):
        total, count = 0.0, 0
        for c in range(values.shape[1]):
            value = values[t, c]
            if np.isfinite(value):
                total += value
                count += 1
        out[t] = total / count if count else np.nan
    return out


def _market(bars: int) -> Callable[[View], Floats]:
    def compute(view: View) -> Floats:
        scaled = view.scaled_return(bars)
        return np.broadcast_to(mean_of_pairs(scaled), scaled.shape)

    return compute


def _relative(bars: int) -> Callable[[View], Floats]:
    def compute(view: View) -> Floats:
        scaled = view.scaled_return(bars)
        return scaled - mean_of_pairs(scaled)

    return compute


for _bars in (12, 48):
    feature(f"market_return_{_bars}", lookback=SIGMA_LOOKBACK, reach=_bars + 1)(_market(_bars))
    feature(f"relative_return_{_bars}", lookback=SIGMA_LOOKBACK, reach=_bars + 1)(_relative(_bars))


@feature("breadth_48", lookback=49, usual=False)
def breadth_48(view: View) -> Floats:
    """Share of the pairs that rose in four hours less the share that fell."""
    return np.broadcast_to(mean_of_pairs(np.sign(change(view.log_close, 48))), view.log_close.shape)


@feature("dispersion_48", lookback=SIGMA_LOOKBACK, usual=False, reach=49)
def dispersion_48(view: View) -> Floats:
    """Standard deviation over the pairs of their scaled four-hour returns."""
    scaled = view.scaled_return(48)
    mean = mean_of_pairs(scaled)
    return np.broadcast_to(np.sqrt(mean_of_pairs((scaled - mean) ** 2)), scaled.shape)


@feature("rank_return_288", lookback=SIGMA_LOOKBACK, usual=False, reach=289)
def rank_return_288(view: View) -> Floats:
    """Place of the pair's scaled day return among the pairs, from -0.5 (the least) to 0.5."""
    scaled = view.scaled_return(288)
    above = np.zeros(scaled.shape)
    others = np.isfinite(scaled).sum(axis=1, keepdims=True) - 1
    for column in range(scaled.shape[1]):
        other = scaled[:, column : column + 1]
        above += (scaled > other) + 0.5 * (scaled == other)
    place = (above - 0.5) / np.maximum(others, 1) - 0.5  # every pair ties with itself
    return np.where(np.isfinite(scaled), np.where(others > 0, place, 0.0), np.nan)


@feature("beta_288", lookback=289, usual=False)
def beta_288(view: View) -> Floats:
    """Slope of the pair's bar returns on the pairs' mean return over the day, about zero."""
    r = view.log_return
    market = mean_of_pairs(r)
    return rolling_mean(r * market, 288) / np.maximum(rolling_mean(market * market, 288), 1e-16)


@feature("relative_volume_12_288", lookback=288, usual=False)
def relative_volume_12_288(view: View) -> Floats:
    """The pair's hour-over-day volume less the mean over the pairs."""
    ratio = view.mean("log_volume", 12) - view.mean("log_volume", 288)
    return ratio - mean_of_pairs(ratio)
