"""What the synthetic exchange publishes of its hidden state: open interest, long/short ratio and funding.

The long/short ratio leans against the fast alpha, open interest with the slow one, funding with crowding; each has its noise.
At signal zero they are published just the same and mean nothing for prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.simulation import processes as pr
from hydra_core.simulation.specs import SPECS, per_unit

STAMP: Final = 5
"""Minutes between two readings; a reading is the state at its stamp."""
STAMPS: Final = pr.MINUTES // STAMP
SETTLEMENT: Final = 480
"""Minutes between two funding settlements (00, 08, 16 UTC)."""

RATIO_ON_ALPHA: Final = -0.25
RATIO_ON_CROWDING: Final = 0.06
RATIO_NOISE: Final = 0.008
OI_ON_ALPHA: Final = 0.032
OI_NOISE: Final = 4e-4
OI_LEVEL: Final = pr.Autoregression(40 * 1440, 0.03)
OI_TREND: Final = 36 * 60
"""Minutes in which open interest's own mean follows it: its deviation from a 3-day mean (of mean age 36 h) is then
proportional to the slow alpha, while its level wanders over months."""
OI_GROWTH: Final = 1.7e-5
"""Growth of log open interest per minute and unit of crowding beyond the usual."""
CROWDING_USUAL: Final = 0.8
OI_FALL: Final = pr.Autoregression(3)
"""How fast open interest falls in a cascade."""
OI_REBUILD: Final = pr.Autoregression(150)
"""How fast it is rebuilt."""
FUNDING_BASE: Final = 1e-4
FUNDING_ON_CROWDING: Final = 1.5e-4
FUNDING_NOISE: Final = 1e-5
FUNDING_CAP: Final = 3e-3

_SPECS: Final = tuple(SPECS.values())
_LOG_OI: Final = np.log([spec.open_interest_notional / spec.price for spec in _SPECS])[:, None]
_RATIO: Final = np.array([spec.log_long_short for spec in _SPECS])[:, None]
_STEPS: Final = np.array([per_unit(spec.step) for spec in _SPECS])[:, None]


@dataclass(frozen=True, slots=True)
class PublishedState:
    """What the readings carry from block to block, arrays (P,)."""

    level: Floats
    fallen: Floats
    rebuilt: Floats
    coming_rate: Floats
    """The rate of the settlement at the next block's start."""


def first_state(hidden: pr.Hidden) -> PublishedState:
    """The state at the origin."""
    zero = np.zeros(pr.PAIRS)
    return PublishedState(zero, zero, zero, np.round(_rate(hidden.crowding), 8))


@dataclass(frozen=True, slots=True)
class PublishedBlock:
    """One day's readings: 5m stamps (P, 288) and settlements (P, 3)."""

    open_interest: Floats
    long_short: Floats
    predicted_rate: Floats
    settled_rate: Floats
    state: PublishedState


def _rate(mean_crowding: Floats) -> Floats:
    return np.asarray(np.clip(FUNDING_BASE + FUNDING_ON_CROWDING * mean_crowding, -FUNDING_CAP, FUNDING_CAP))


def publish(rng: np.random.Generator, hidden: pr.Hidden, drop: Floats, state: PublishedState) -> PublishedBlock:
    """A block of readings.

    Parameters
    ----------
    hidden : state at each minute's start, arrays (P, M)
    drop : (P, M), share of open interest lost in a cascade that strikes in the minute
    """
    shape = (pr.PAIRS, STAMPS)
    growth = OI_GROWTH * (np.abs(hidden.crowding) - CROWDING_USUAL)
    shocks = OI_LEVEL.shock * rng.standard_normal(drop.shape) + growth + OI_ON_ALPHA / OI_TREND * hidden.alpha_slow
    level = pr.recurse(OI_LEVEL.phi, shocks, state.level)
    rebuilt = pr.recurse(OI_REBUILD.phi, drop, state.rebuilt)
    fallen = pr.recurse(OI_FALL.phi, drop, state.fallen)
    missing = pr.before(rebuilt - fallen, state.rebuilt - state.fallen)
    log_oi = _LOG_OI + OI_ON_ALPHA * hidden.alpha_slow + pr.before(level, state.level) - missing
    log_oi = log_oi[:, ::STAMP] + OI_NOISE * rng.standard_normal(shape)

    log_ratio = _RATIO + RATIO_ON_ALPHA * hidden.alpha_fast + RATIO_ON_CROWDING * hidden.crowding
    log_ratio = log_ratio[:, ::STAMP] + RATIO_NOISE * rng.standard_normal(shape)

    windows = hidden.crowding.reshape(pr.PAIRS, -1, SETTLEMENT)
    running = np.cumsum(windows, axis=2) / np.arange(1, SETTLEMENT + 1)
    settled = np.round(_rate(running[:, :, -1]) + FUNDING_NOISE * rng.standard_normal(running.shape[:2]), 8)
    return PublishedBlock(
        open_interest=np.round(np.exp(log_oi) * _STEPS) / _STEPS,
        long_short=np.asarray(np.round(np.exp(log_ratio), 4), np.float64),
        predicted_rate=np.round(_rate(running.reshape(pr.PAIRS, -1)[:, ::STAMP]), 8),
        settled_rate=np.column_stack([state.coming_rate, settled[:, :-1]]),
        state=PublishedState(
            level=level[:, -1].copy(),
            fallen=fallen[:, -1].copy(),
            rebuilt=rebuilt[:, -1].copy(),
            coming_rate=settled[:, -1].copy(),
        ),
    )
