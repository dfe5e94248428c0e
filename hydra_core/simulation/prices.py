"""From hidden state to one-minute candles of the synthetic market.

A minute's return is diffusion (a shared and an own Student-t part), jumps, a cascade where one strikes, the planted drift, less
the mean of cascades and half the variance, so that without the planted drift the price is a martingale. On this
efficient price lies the displacement. Candles open where the last one closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.simulation import cascades as cs
from hydra_core.simulation import optimum as op
from hydra_core.simulation import processes as pr
from hydra_core.simulation.specs import SPECS, per_unit

FREEDOM: Final = 5.0
"""Degrees of freedom of a minute's shocks."""
RELATIVE_RANGE: Final = (0.2, 5.0)
SURPRISE_CAP: Final = 5.0
"""Standard deviations at which the displacement filter cuts a return: beyond, it is a jump and not displacement."""
VOLUME_NOISE: Final = pr.Autoregression(20, 0.45)

_SPECS: Final = tuple(SPECS.values())
TICKS: Final = np.array([per_unit(spec.tick) for spec in _SPECS])[:, None]
"""Ticks per USDT."""
STEPS: Final = np.array([per_unit(spec.step) for spec in _SPECS])[:, None]
"""Steps per base unit."""
SHARES: Final = np.array([spec.market_share for spec in _SPECS])[:, None]
MINUTE_VOLUME: Final = np.array([spec.minute_notional / spec.price for spec in _SPECS])[:, None]


@dataclass(frozen=True, slots=True)
class PriceState:
    """What prices carry from block to block, arrays (P,)."""

    efficient: Floats
    close: Floats
    displacement: Floats
    filtered: Floats
    aftershock: Floats
    volume: Floats


def first_price() -> PriceState:
    """The state at the origin: declared price levels, nothing displaced."""
    price = np.array([spec.price for spec in _SPECS])
    zero = np.zeros(pr.PAIRS)
    return PriceState(np.log(price), price, zero, zero, zero, zero)


@dataclass(frozen=True, slots=True)
class PriceBlock:
    """One day's candles, arrays (P, M), with what else follows from the prices."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    surprise: Floats
    """Return over its standard deviation."""
    filtered: Floats
    """The best causal estimate of the displacement after each minute."""
    state: PriceState


def relative_volatility(log_volatility: Floats) -> Floats:
    """Volatility over the pair's ordinary one at each minute's start, from the log-volatility there, shape (P, M)."""
    wave = pr.day_wave(np.arange(pr.MINUTES, dtype=np.float64))
    return np.asarray(np.clip(np.exp(wave + log_volatility - pr.VOL_VARIANCE), *RELATIVE_RANGE))


def _jumps(rng: np.random.Generator) -> Floats:
    """Jumps in minute standard deviations, own and the market's, (P, M); mean zero."""
    shape = (pr.PAIRS, pr.MINUTES)
    own = (rng.random(shape) < op.JUMPS_PER_DAY / pr.MINUTES) * rng.standard_normal(shape)
    shared = (rng.random((1, pr.MINUTES)) < op.MARKET_JUMPS_PER_DAY / pr.MINUTES) * rng.standard_normal((1, pr.MINUTES))
    return np.asarray(op.JUMP_SIZE * (own + shared))


def _extremes(rng: np.random.Generator, opens: Floats, closes: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """High and low of a Brownian bridge between the two log prices, drawn from their exact marginal laws.

    The maximum M of a bridge from 0 to x of variance s^2 has P(M > m) = exp(-2 m (m - x) / s^2).
    """
    move = closes - opens
    up = -2 * deviation**2 * np.log(1 - rng.random(move.shape))
    down = -2 * deviation**2 * np.log(1 - rng.random(move.shape))
    return opens + (move + np.sqrt(move**2 + up)) / 2, opens + (move - np.sqrt(move**2 + down)) / 2


def to_tick(price: Floats) -> Floats:
    """Prices (P, M) on each pair's tick grid, never below one tick."""
    return np.asarray(np.maximum(np.round(price * TICKS), 1.0) / TICKS)


def make_prices(
    rng: np.random.Generator,
    planted: op.Planted,
    hidden: pr.Hidden,
    relative: Floats,
    cascades: cs.Cascades,
    state: PriceState,
) -> PriceBlock:
    """A block of candles.

    Parameters
    ----------
    hidden : state at each minute's start, arrays (P, M)
    relative : (P, M), see :func:`relative_volatility`
    """
    shape = (pr.PAIRS, pr.MINUTES)
    ordinary = op.minute_volatility()[:, None]
    sigma = ordinary * relative
    struck = (cascades.drop > 0).astype(np.float64)
    aftershock = pr.recurse(op.AFTERSHOCK.phi, struck, state.aftershock)
    boost = 1 + op.AFTERSHOCK_BOOST * pr.before(aftershock, state.aftershock)
    raised = sigma * boost

    shared, own = pr.student(rng, FREEDOM, (1, pr.MINUTES)), pr.student(rng, FREEDOM, shape)
    diffusion = raised * (SHARES * shared + np.sqrt(1 - SHARES**2) * own)
    leap = sigma * (_jumps(rng) + np.sqrt(op.HORIZON) * (cascades.size - cascades.expected))
    alpha = op.FAST_WEIGHT * hidden.alpha_fast + op.SLOW_WEIGHT * hidden.alpha_slow
    drift = sigma * planted.drift[:, None] * alpha - sigma**2 * planted.noise[:, None] / 2
    efficient = state.efficient[:, None] + np.cumsum(diffusion + leap + drift, axis=1)

    jitter = planted.displacement_shock[:, None] * relative * boost
    displacement = pr.recurse(op.DISPLACEMENT.phi, jitter * rng.standard_normal(shape), state.displacement)
    close = to_tick(np.exp(efficient + displacement))
    opens = pr.before(close, state.close)
    log_open, log_close = np.log(opens), np.log(close)
    deviation = np.hypot(raised, jitter)
    high, low = _extremes(rng, log_open, log_close, deviation)
    surprise = (log_close - log_open) / deviation

    seen = np.clip(surprise, -SURPRISE_CAP, SURPRISE_CAP) * deviation
    keep = op.DISPLACEMENT.phi + planted.gain * (1 - op.DISPLACEMENT.phi)
    filtered = pr.recurse(keep, planted.gain[:, None] * seen, state.filtered)

    noise = pr.recurse(VOLUME_NOISE.phi, VOLUME_NOISE.shock * rng.standard_normal(shape), state.volume)
    activity = np.exp(1.1 * np.log(relative * boost) + noise + 0.35 * np.minimum(np.abs(surprise), 6.0) - 0.5)
    volume = np.maximum(np.round(MINUTE_VOLUME * activity * STEPS), 1.0) / STEPS
    return PriceBlock(
        open=opens,
        high=np.maximum(to_tick(np.exp(high)), np.maximum(opens, close)),
        low=np.minimum(to_tick(np.exp(low)), np.minimum(opens, close)),
        close=close,
        volume=volume,
        surprise=surprise,
        filtered=filtered,
        state=PriceState(
            efficient=efficient[:, -1].copy(),
            close=close[:, -1].copy(),
            displacement=displacement[:, -1].copy(),
            filtered=filtered[:, -1].copy(),
            aftershock=aftershock[:, -1].copy(),
            volume=noise[:, -1].copy(),
        ),
    )
