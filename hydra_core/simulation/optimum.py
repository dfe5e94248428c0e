"""What is planted in the synthetic market and the best that can be made of it: closed forms, no simulation.

The market plants three things, all scaled by the signal and all absent at zero: a drift that follows two hidden alphas,
a hazard of liquidation cascades that follows crowding, and a transient displacement of the price. This module holds their
sizes, solves for the drift that makes the best causal forecast correlate with the 4 h return as asked, and states
that forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.simulation import processes as pr
from hydra_core.simulation.specs import SPECS

HORIZON: Final = 240
"""Minutes that a forecast looks ahead."""
READING_AGE: Final = 5
"""Minutes: at a bar's close the newest published reading is one 5m stamp old."""
NODES: Final = np.arange(15, HORIZON, 30, dtype=np.float64)
"""Minutes ahead at which expectations over the horizon are evaluated (midpoint rule)."""

FAST_WEIGHT: Final = 0.82
SLOW_WEIGHT: Final = 0.572
"""Weights of the two alphas in the drift; their squares add up to one."""
DISPLACEMENT: Final = pr.Autoregression(15, 0.20)
"""The displacement at full strength, in ordinary horizon standard deviations: 18 bp for BTC, 34 bp for DOGE."""
FULL_STRENGTH: Final = 0.3
"""Signal from which on displacement and crowding have their full strength."""

CASCADES_PER_HORIZON: Final = 0.055
"""Expected cascades per side and horizon at ordinary volatility."""
HAZARD_SLOPE: Final = 1.6
"""Log hazard per standard deviation of crowding, at full strength."""
CROWDING_CAP: Final = 2.5
HAZARD_VOL_POWER: Final = 0.7
CASCADE_FLOOR: Final = 1.25
CASCADE_EXCESS: Final = 0.3
"""A cascade moves the price by floor + Exponential(excess) horizon standard deviations in one minute."""
CASCADE_MEAN: Final = CASCADE_FLOOR + CASCADE_EXCESS
CASCADE_SQUARE: Final = CASCADE_MEAN**2 + CASCADE_EXCESS**2
AFTERSHOCK: Final = pr.Autoregression(8)
AFTERSHOCK_BOOST: Final = 1.5
"""Volatility is 1 + boost times its level right after a cascade."""
JUMPS_PER_DAY: Final = 0.4
MARKET_JUMPS_PER_DAY: Final = 0.25
JUMP_SIZE: Final = 10.0
"""Standard deviation of a jump in one-minute standard deviations."""


def minute_volatility() -> Floats:
    """Ordinary diffusive standard deviation per minute, shape (P,)."""
    return np.asarray(np.array([spec.volatility for spec in SPECS.values()]) / np.sqrt(365 * pr.MINUTES))


@dataclass(frozen=True, slots=True)
class Filter:
    """Steady-state Kalman filter of the displacement from one-minute returns; arrays (P,), variances per ordinary minute.

    State ``u' = phi u + q n``, observation ``r = (phi - 1) u + q n + s e``: noise of state and observation correlate.
    """

    gain: Floats
    explained: Floats
    """Variance of the filtered displacement."""


def displacement_filter(shock: Floats, noise: Floats) -> Filter:
    """The filter for innovations ``shock`` in the displacement and ``noise`` in the efficient price (both (P,))."""
    phi = DISPLACEMENT.phi
    total = shock**2 / (1 - phi**2)
    variance = total.copy()
    gain = np.zeros_like(shock)
    for _ in range(2_000):
        spread = (phi - 1) ** 2 * variance + shock**2 + noise**2
        gain = (phi * (phi - 1) * variance + shock**2) / spread
        variance = phi**2 * variance + shock**2 - gain**2 * spread
    return Filter(gain=gain, explained=total - variance)


@dataclass(frozen=True, eq=False, slots=True)
class Planted:
    """Everything that depends on the signal; arrays (P,).

    Parameters
    ----------
    signal : float, correlation of the best causal forecast with the volatility-scaled 4 h return
    drift : drift per minute, in minute standard deviations, of a unit of weighted alpha
    hazard_slope : log hazard of a long cascade per unit of crowding (minus that for a short one)
    displacement_shock : innovation of the displacement per ordinary minute, log price
    gain : of the displacement filter
    noise : variance of the 4 h return in units of its diffusive variance, before drift
    """

    signal: float
    drift: Floats
    hazard_slope: float
    displacement_shock: Floats
    gain: Floats
    noise: Floats

    @property
    def hazard_norm(self) -> float:
        """Mean of exp(slope x crowding) over capped standard normal crowding: keeps the base rate at every slope."""
        grid = np.linspace(-8, 8, 4001)
        weight = np.exp(-(grid**2) / 2)
        tilt = np.exp(self.hazard_slope * np.clip(grid, -CROWDING_CAP, CROWDING_CAP))
        return float((weight * tilt).sum() / weight.sum())


def plant(signal: float) -> Planted:
    """Solve the market's parameters for a signal.

    With R the 4 h return over its diffusive standard deviation, N its variance without drift, b the drift, b D the
    standard deviation that the drift adds to R, b G that of the forecastable part and U that of the forecastable
    displacement, the best forecast's correlation squared is (b^2 G^2 + U^2) / (N + b^2 D^2); this is solved for b.
    """
    strength = min(1.0, signal / FULL_STRENGTH)
    sigma = minute_volatility()
    per_horizon = HORIZON * sigma**2
    shock = DISPLACEMENT.shock * strength * np.sqrt(per_horizon)
    tracker = displacement_filter(shock, sigma)
    cascades = 2 * CASCADES_PER_HORIZON * CASCADE_SQUARE
    decay = AFTERSHOCK.phi
    aftershock = 2 * AFTERSHOCK_BOOST / (1 - decay) + AFTERSHOCK_BOOST**2 / (1 - decay**2)
    jumps = (JUMPS_PER_DAY + MARKET_JUMPS_PER_DAY) * JUMP_SIZE**2 / pr.MINUTES
    settled = 2 * (DISPLACEMENT.deviation * strength) ** 2 * np.ones_like(sigma)
    noise = 1 + cascades + 2 * CASCADES_PER_HORIZON * aftershock / HORIZON + jumps + settled
    if signal == 0:
        zero = np.zeros_like(sigma)
        return Planted(0.0, zero, 0.0, zero, zero, noise)
    ahead = np.arange(HORIZON)
    known = drifted = 0.0
    for weight, model in ((FAST_WEIGHT, pr.ALPHA_FAST), (SLOW_WEIGHT, pr.ALPHA_SLOW)):
        known += weight**2 * float((model.phi ** (ahead + READING_AGE)).sum()) ** 2 / HORIZON
        drifted += weight**2 * float((model.phi ** np.abs(ahead[:, None] - ahead[None, :])).sum()) / HORIZON
    spread_ahead = sum(part.deviation**2 * (1 - part.phi ** (2 * NODES)) for part in pr.VOL_PARTS)
    known *= float(np.exp(-spread_ahead).mean())
    forecastable = tracker.explained * (1 - DISPLACEMENT.phi**HORIZON) ** 2 / per_horizon
    square = (signal**2 * noise - forecastable) / (known - signal**2 * drifted)
    return Planted(signal, np.sqrt(square), HAZARD_SLOPE * strength, shock, tracker.gain, noise)


def _ahead(log_volatility: tuple[Floats, ...], minute: Floats, power: int) -> Floats:
    """E[(sigma(t+k) / ordinary sigma)**power | state at t] at every node, shape (n, nodes)."""
    mean = np.asarray(pr.day_wave(minute[:, None] + NODES) - pr.VOL_VARIANCE)
    spread = np.zeros_like(NODES)
    for part, value in zip(pr.VOL_PARTS, log_volatility, strict=True):
        mean = mean + value[:, None] * part.phi**NODES
        spread = spread + part.deviation**2 * (1 - part.phi ** (2 * NODES))
    return np.asarray(np.exp(power * mean + power**2 * spread / 2))


def diffusive_volatility(sigma: float, log_volatility: tuple[Floats, ...], minute: Floats) -> Floats:
    """Expected diffusive standard deviation of the log return over the horizon, shape (n,)."""
    return np.asarray(sigma * np.sqrt(_ahead(log_volatility, minute, 2).sum(axis=1) * 30))


def drift_ahead(
    planted: Planted,
    pair: int,
    sigma: float,
    alphas: tuple[Floats, Floats],
    log_volatility: tuple[Floats, ...],
    minute: Floats,
) -> Floats:
    """Expected log return over the horizon from the drift, given alphas one reading old, shape (n,)."""
    level = _ahead(log_volatility, minute, 1)
    fast, slow = alphas
    alpha = FAST_WEIGHT * fast[:, None] * pr.ALPHA_FAST.phi ** (NODES + READING_AGE) + SLOW_WEIGHT * slow[
        :, None
    ] * pr.ALPHA_SLOW.phi ** (NODES + READING_AGE)
    return np.asarray(planted.drift[pair] * sigma * 30 * (level * alpha).sum(axis=1))


def cascades_ahead(
    planted: Planted, crowding: Floats, log_volatility: tuple[Floats, ...], minute: Floats
) -> tuple[Floats, Floats]:
    """Expected cascades against longs and against shorts over the horizon, given the hidden state; two arrays (n,)."""
    level = vol_factor(_ahead(log_volatility, minute, 1))
    fade = pr.CROWDING.phi**NODES
    slope = planted.hazard_slope
    widened = np.exp(slope**2 * (1 - fade**2) / 2) / planted.hazard_norm * CASCADES_PER_HORIZON / NODES.size
    capped = np.clip(crowding, -CROWDING_CAP, CROWDING_CAP)[:, None]
    return (
        np.asarray((level * widened * np.exp(slope * capped * fade)).sum(axis=1)),
        np.asarray((level * widened * np.exp(-slope * capped * fade)).sum(axis=1)),
    )


def vol_factor(relative: Floats) -> Floats:
    """How the cascade hazard follows volatility (relative to the pair's ordinary one); about one on average."""
    return np.asarray(np.minimum(relative, 4.0) ** HAZARD_VOL_POWER)
