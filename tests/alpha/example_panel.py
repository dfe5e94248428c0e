"""A random panel with every input, cheap to make: fat-tailed returns, gaps where asked, readings that wander."""

from __future__ import annotations

import numpy as np

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, FUNDING, INPUTS, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS

ORIGIN_MS = 1_717_200_000_000


def example_panel(
    seed: int, bars: int, pairs: int = 3, gaps: float = 0.0, inputs: frozenset[str] = frozenset(INPUTS)
) -> Panel:
    """Panel of ``bars`` rows; a share ``gaps`` of its candles is missing."""
    rng = np.random.default_rng(seed)
    shape = (bars, pairs)
    level = np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0) * 0.2)
    returns = 0.001 * level * rng.standard_t(4, shape)
    close = 100 * np.exp(np.cumsum(returns, axis=0))
    open_ = np.vstack([np.full((1, pairs), 100.0), close[:-1]])
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 4e-4, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 4e-4, shape)))
    volume = np.exp(rng.normal(5, 1, shape))
    missing = rng.random(shape) < gaps
    candles = [np.where(missing, np.nan, v) for v in (open_, high, low, close, volume)]
    funding = np.repeat(rng.normal(1e-4, 1e-4, (bars // 96 + 1, pairs)), 96, axis=0)[:bars]
    interest = np.exp(10 + np.cumsum(rng.normal(0, 0.002, shape), axis=0))
    ratio = np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0) * 0.3)
    forced = np.abs(rng.standard_t(3, (2, *shape))) * 1e4
    slow = {FUNDING: funding, OPEN_INTEREST: interest, LONG_SHORT: ratio}
    none = np.full(shape, np.nan)
    kept = [slow[name] if name in inputs else none for name in (FUNDING, OPEN_INTEREST, LONG_SHORT)]
    liquidated = forced if LIQUIDATIONS in inputs else np.stack([none, none])
    return Panel(
        DEFAULT_PAIRS[:pairs], Interval.M5, ORIGIN_MS + 300_000 * np.arange(bars, dtype=np.int64), *candles, *kept,
        liquidated[0], liquidated[1], inputs | {CANDLES},
    )  # fmt: skip
