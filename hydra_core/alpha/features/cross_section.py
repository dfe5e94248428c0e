"""The pair among its peers: the market's move and the pair's move against it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import change
from hydra_core.statistics.view import SIGMA_LOOKBACK, View


def _scaled(view: View, bars: int) -> Floats:
    return change(view.log_close, bars) / (view.sigma * math.sqrt(bars))


def _mean_of_pairs(values: Floats) -> Floats:
    """Mean over the pairs with a value, shape (T, 1); NaN where none has one."""
    known = np.isfinite(values)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, values, 0.0).sum(axis=1, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _market(bars: int) -> Callable[[View], Floats]:
    def compute(view: View) -> Floats:
        scaled = _scaled(view, bars)
        return np.broadcast_to(_mean_of_pairs(scaled), scaled.shape)

    return compute


def _relative(bars: int) -> Callable[[View], Floats]:
    def compute(view: View) -> Floats:
        scaled = _scaled(view, bars)
        return scaled - _mean_of_pairs(scaled)

    return compute


for _bars in (12, 48):
    feature(f"market_return_{_bars}", lookback=SIGMA_LOOKBACK)(_market(_bars))
    feature(f"relative_return_{_bars}", lookback=SIGMA_LOOKBACK)(_relative(_bars))
