"""A panel of random walks with candles only."""

from __future__ import annotations

import numpy as np

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS


def walk(seed: int, bars: int, pairs: int = 3) -> Panel:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.002 * rng.normal(size=(bars, pairs)), axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    none = np.full(close.shape, np.nan)
    return Panel(
        DEFAULT_PAIRS[:pairs], Interval.M5, 1_717_200_000_000 + 300_000 * np.arange(bars, dtype=np.int64), opened,
        np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999, close,
        rng.lognormal(3, 0.3, close.shape), none, none, none, none, none, frozenset({CANDLES}),
    )  # fmt: skip
