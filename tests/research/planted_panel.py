"""A small planted market for research tests: correlated returns with a drift that funding, open interest and ratios show.

Deliberately apart from ``hydra_core.simulation``: a second, simpler market, so that a test does not share its assumptions.
"""

from __future__ import annotations

import numpy as np

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import INPUTS, LIQUIDATIONS, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS

START_MS = 1_717_200_000_000
BARS_A_DAY = 288


def _ou(rng: np.random.Generator, bars: int, pairs: int, half_life: float) -> Floats:
    decay = 0.5 ** (1 / half_life)
    shocks = rng.normal(size=(bars, pairs)) * np.sqrt(1 - decay**2)
    out = np.empty((bars, pairs))
    level = rng.normal(size=pairs)
    for row in range(bars):
        level = decay * level + shocks[row]
        out[row] = level
    return out


def planted_panel(
    seed: int, days: int, signal: float, *, pairs: int = 8, displacement_bp: float = 12.0, horizon: int = 48
) -> tuple[Panel, Floats]:
    """Panel and the best causal forecast (T, P) in standard deviations of the horizon; ``signal`` is its correlation."""
    rng = np.random.default_rng(seed)
    bars = days * BARS_A_DAY
    fast, slow = _ou(rng, bars, pairs, 72), _ou(rng, bars, pairs, 216)
    sigma = 0.0018 * np.exp(0.25 * _ou(rng, bars, 1, 288 * 3))
    common = rng.standard_t(5, size=(bars, 1)) / np.sqrt(5 / 3)
    own = rng.standard_t(5, size=(bars, pairs)) / np.sqrt(5 / 3)
    noise = np.sqrt(0.65) * common + np.sqrt(0.35) * own
    decays = [0.5 ** (1 / 72), 0.5 ** (1 / 216)]
    sums = [decay * (1 - decay**horizon) / (1 - decay) for decay in decays]
    raw = (fast * sums[0] + slow * sums[1]) / np.sqrt(horizon)
    beta = signal / np.sqrt(max(1e-12, 1 - signal**2)) / raw.std()
    drift = np.zeros((bars, pairs))
    drift[1:] = beta * (fast + slow)[:-1]
    efficient = np.cumsum(sigma * (noise + drift), axis=0)
    shown = efficient + (displacement_bp * 1e-4 * _ou(rng, bars, pairs, 3) if signal else 0.0)
    close = np.exp(shown) * (100.0 * (1 + np.arange(pairs)))
    opened = np.vstack([close[:1], close[:-1]])
    wiggle = np.abs(rng.normal(size=(2, bars, pairs))) * sigma * 0.4
    ratio = np.exp(-0.4 * fast + 0.01 * rng.normal(size=fast.shape))
    interest = 1e6 * np.exp(0.05 * slow + 0.001 * rng.normal(size=slow.shape))
    funding = np.repeat((1e-4 * _ou(rng, bars, pairs, 288 * 2))[::96], 96, axis=0)[:bars]
    none = np.full((bars, pairs), np.nan)
    panel = Panel(
        pairs=DEFAULT_PAIRS[:pairs],
        interval=Interval.M5,
        ts=START_MS + Interval.M5.ms * np.arange(bars, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) * np.exp(wiggle[0]),
        low=np.minimum(opened, close) * np.exp(-wiggle[1]),
        close=close,
        volume=1e4 * np.exp(0.3 * rng.normal(size=close.shape)),
        funding_rate=funding,
        open_interest=interest,
        long_short=ratio,
        liquidated_long=none,
        liquidated_short=none.copy(),
        inputs=frozenset(INPUTS) - {LIQUIDATIONS},
    )
    return panel, beta * raw
