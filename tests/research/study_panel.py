"""A simulated market for the market study, whose jumps, time of day, change of level and clustering are planted."""

from __future__ import annotations

import numpy as np

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import INPUTS, LIQUIDATIONS, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS

START_MS = 1_717_200_000_000
"""2024-06-01T00:00 UTC."""
DAY = 288
SIGMA = 0.001


def panel_of(log_return: Floats, spread: float = 0.6) -> Panel:
    """Panel of 5m bars whose closes have these returns, (T, P); ranges are of Gaussian walks between the closes."""
    rng = np.random.default_rng(3)
    bars, pairs = log_return.shape
    close = 100.0 * np.exp(np.cumsum(log_return, axis=0))
    opened = np.vstack([np.full((1, pairs), 100.0), close[:-1]])
    wiggle = np.abs(rng.normal(0.0, spread * SIGMA, (2, bars, pairs))) * (log_return != 0)
    none = np.full((bars, pairs), np.nan)
    return Panel(
        pairs=DEFAULT_PAIRS[:pairs],
        interval=Interval.M5,
        ts=START_MS + Interval.M5.ms * np.arange(bars, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) * np.exp(wiggle[0]),
        low=np.minimum(opened, close) * np.exp(-wiggle[1]),
        close=close,
        volume=1e4 * np.exp(0.3 * rng.normal(size=close.shape)),
        funding_rate=none,
        open_interest=none.copy(),
        long_short=none.copy(),
        liquidated_long=none.copy(),
        liquidated_short=none.copy(),
        inputs=frozenset(INPUTS) - {LIQUIDATIONS},
    )


def daily_cycle(bars: int, depth: float = 0.5) -> Floats:
    """Factor of each bar, (T,): a cosine that is largest at 15:00 UTC, 1 + depth there and 1 - depth at 03:00."""
    hour = (np.arange(bars) % DAY) / 12.0
    return np.asarray(1.0 + depth * np.cos((hour - 15.0) * np.pi / 12.0))
