"""A seeded walk through each candle's open, high, low and close, and the trades on it.

The recorded truth is the candle; the walk is *derived*: it never leaves the candle, touches its high and its low, opens and
closes where it does, and its trades add up to the candle's volume. Books and marks on top of it are in :mod:`derived`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Bools, Floats, Ints
from hydra_core.domain.series import Bars

RAGGEDNESS: Final = 0.10
"""Noise between the four fixed points, as a share of the candle's range."""
LOW_FIRST_WHEN_UP: Final = 0.7
"""Probability that a rising candle makes its low before its high (and a falling one its high first)."""


@dataclass(frozen=True, eq=False, slots=True)
class Walk:
    """Prints of n consecutive candles, K each, flattened to (n * K,): a print's price holds until the next print.

    ``at`` ms after the first candle's open, ascending; ``price`` on the tick grid; ``quantity`` base units (0 where the
    candle's volume is too small for a trade at every print); ``buy`` True where the buyer was the aggressor.
    """

    at: Ints
    price: Floats
    quantity: Floats
    buy: Bools


def _shape(bars: Bars, prints: int, rng: np.random.Generator) -> Floats:
    """Unrounded walk (n, K) through open, the two extremes in either order, and close."""
    count = len(bars)
    turns = np.sort(rng.permuted(np.tile(np.arange(1, prints - 1), (count, 1)), axis=1)[:, :2], axis=1)
    low_first = rng.random(count) < np.where(bars.close >= bars.open, LOW_FIRST_WHEN_UP, 1 - LOW_FIRST_WHEN_UP)
    one = np.where(low_first, bars.low, bars.high)[:, None]
    two = np.where(low_first, bars.high, bars.low)[:, None]
    step = np.arange(prints)[None, :]
    a, b = turns[:, :1], turns[:, 1:]
    start, end = bars.open[:, None], bars.close[:, None]
    lines = np.where(
        step <= a,
        start + (one - start) * step / a,
        np.where(
            step <= b, one + (two - one) * (step - a) / (b - a), two + (end - two) * (step - b) / (prints - 1 - b)
        ),
    )
    noise = rng.standard_normal((count, prints)) * RAGGEDNESS * (bars.high - bars.low)[:, None]
    noise[(step == a) | (step == b) | (step == 0) | (step == prints - 1)] = 0.0
    return np.asarray(np.clip(lines + noise, bars.low[:, None], bars.high[:, None]))


def walk(bars: Bars, interval_ms: int, prints: int, ticks: float, steps: float, rng: np.random.Generator) -> Walk:
    """Walk through consecutive candles.

    Parameters
    ----------
    bars : candles on the grid without holes
    prints : prints per candle, at least 4
    ticks, steps : ticks per USDT and steps per base unit
    """
    price = np.round(_shape(bars, prints, rng) * ticks) / ticks
    slot = interval_ms // prints
    at = np.arange(prints) * slot + rng.integers(0, slot, (len(bars), prints))
    at[:, 0] = 0
    at += (bars.ts - bars.ts[:1])[:, None] if len(bars) else 0

    share = rng.standard_exponential((len(bars), prints))
    whole = np.round(bars.volume * steps)
    floor = np.where(whole >= prints, 1.0, 0.0)[:, None]
    pieces = floor + np.floor(share / share.sum(axis=1, keepdims=True) * (whole[:, None] - floor * prints))
    pieces[:, -1] += whole - pieces.sum(axis=1)

    flat = price.ravel()
    move = np.diff(flat, prepend=flat[:1])
    turned = np.maximum.accumulate(np.where(move != 0, np.arange(flat.size), 0))
    buy = move[turned] >= 0
    return Walk(at=at.ravel().astype(np.int64), price=flat, quantity=(pieces / steps).ravel(), buy=buy)
