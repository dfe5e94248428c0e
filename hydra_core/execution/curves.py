"""How a change of position is divided among its slices: evenly, along the day's volume, or against the risk of waiting.

Here: shares of a change as functions of what the market was. Not here: when a slice is due (``schedule``), the optimal
path itself (``almgren_chriss``).

Sources: for VWAP, the share of the slice's span in the volume that the same times of the day carried before. For the
optimal path, Almgren and Chriss (2001) with linear impact that costs as much at an even rate as the square-root law of
``slippage`` does, and the risk aversion of an investor who stakes a fraction c of Kelly's bet: 1 / (2 c W) for wealth W
(second order of a utility with constant relative risk aversion 1 / c).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.domain.trading import Schedule
from hydra_core.execution.almgren_chriss import Impact, path
from hydra_core.execution.slippage import AVERAGE_SHARE, peak_impact
from hydra_core.risk.limits import Limits

TWAP: Final = "twap"
VWAP: Final = "vwap"
ALMGREN_CHRISS: Final = "almgren-chriss"
DAY_S: Final = DAY_MS / 1000


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the optimal path needs to know.

    Parameters
    ----------
    day_notional : float, USDT traded in a day
    day_volatility : float, standard deviation of the daily log return
    coefficient : float, Y of the square-root law
    risk_aversion : float, lambda of U = E + lambda V, per USDT
    """

    day_notional: float
    day_volatility: float
    coefficient: float
    risk_aversion: float


def spread(
    schedule: Schedule,
    limits: Limits,
    panel: Panel,
    column: int,
    change: float,
    price: float,
    equity: float,
    start_ms: int,
) -> tuple[float, ...]:
    """Share of a pair's change done by the end of each slice, as the schedule's kind divides it.

    Parameters
    ----------
    panel, column : closed bars, and the pair's column in them
    change : float, signed base units to trade
    price, equity : float, USDT
    start_ms : int, market time of the first slice

    Returns
    -------
    tuple of one float a slice ascending to 1; empty: equal slices, also where the market is not known well enough
    """
    if schedule.kind == VWAP:
        return vwap_shares(
            panel.ts, panel.volume[:, column], panel.interval.ms, start_ms, schedule.duration_ms, schedule.slices
        )
    if schedule.kind == ALMGREN_CHRISS:
        aversion = kelly_aversion(equity, limits.risk.kelly_fraction, limits.decision.schedule_risk_aversion)
        market = conditions(panel, column, limits.costs.impact_coefficient, aversion)
        return optimal_shares(change, price, schedule.duration_ms, schedule.slices, market)
    return ()


def conditions(panel: Panel, column: int, coefficient: float, risk_aversion: float) -> Conditions:
    """A pair's turnover and volatility of the newest day of bars, scaled to a day; 0 where they are unknown."""
    bars = DAY_MS // panel.interval.ms
    close, volume = panel.close[-bars - 1 :, column], panel.volume[-bars:, column]
    turnover = close[-volume.size :] * volume
    moves = np.diff(np.log(close))
    known, moved = turnover[np.isfinite(turnover)], moves[np.isfinite(moves)]
    return Conditions(
        day_notional=float(known.mean() * bars) if known.size else 0.0,
        day_volatility=float(math.sqrt((moved**2).mean() * bars)) if moved.size else 0.0,
        coefficient=coefficient,
        risk_aversion=risk_aversion,
    )


def kelly_aversion(equity: float, kelly_fraction: float, multiple: float) -> float:
    """Risk aversion per USDT of an account that stakes a fraction of Kelly's bet, times ``multiple``; 0 without equity."""
    return multiple / (2 * kelly_fraction * equity) if equity > 0 else 0.0


def vwap_shares(
    ts: Ints, volume: Floats, bar_ms: int, start_ms: int, duration_ms: int, count: int
) -> tuple[float, ...]:
    """Share of a change done by the end of each slice, in step with the volume of the same times on earlier days.

    Parameters
    ----------
    ts : int64 (T,), open times of closed bars, on the grid of ``bar_ms``
    volume : float64 (T,), base units; NaN where unknown
    start_ms, duration_ms : int, market time of the first slice, and span
    count : int, slices

    Returns
    -------
    tuple of ``count`` floats ascending to 1; empty (equal slices) where no bar is known, or those times of the day
    saw no volume

    Notes
    -----
    A time of the day that was never seen counts at the mean of those that were. Inside a bar volume is taken as even.
    """
    if count <= 1 or duration_ms <= 0:
        return ()
    known = np.isfinite(volume) & (volume >= 0)
    slots = DAY_MS // bar_ms
    slot = (ts[known] % DAY_MS) // bar_ms
    total = np.bincount(slot, weights=volume[known], minlength=slots)
    seen = np.bincount(slot, minlength=slots)
    if not total.sum() > 0:
        return ()
    rate = np.where(seen > 0, total / np.maximum(seen, 1), total.sum() / seen.sum())
    first = start_ms // bar_ms * bar_ms
    edges = np.arange(first, start_ms + duration_ms + bar_ms, bar_ms)
    carried = np.concatenate(([0.0], np.cumsum(rate[(edges[:-1] % DAY_MS) // bar_ms])))
    gap = duration_ms // count
    ends = start_ms + np.append(np.arange(1, count) * gap, duration_ms)
    done = np.interp(ends, edges, carried) - np.interp(start_ms, edges, carried)
    return _ascending(done / done[-1]) if done[-1] > 0 else ()


def optimal_shares(
    quantity: float, price: float, duration_ms: int, count: int, market: Conditions
) -> tuple[float, ...]:
    """Share of a change done by the end of each slice on the path of least cost and risk.

    Parameters
    ----------
    quantity : float, base units of the change, of either sign
    price : float, USDT

    Returns
    -------
    tuple of ``count`` floats ascending to 1; empty (equal slices) where volume, volatility or price are unknown
    """
    size = abs(quantity)
    duration = duration_ms / 1000
    if count <= 1 or duration <= 0 or not (size > 0 and 0 < price < math.inf):
        return ()
    law = peak_impact(size * price, market.day_notional, market.day_volatility, market.coefficient)
    if not 0 < law < math.inf or not market.risk_aversion > 0:
        return ()
    impact = Impact(
        volatility=market.day_volatility * price / math.sqrt(DAY_S),
        permanent=0.0,
        temporary=AVERAGE_SHARE * law * price * duration / size,
        fixed=0.0,
    )
    left = path(size, duration, count, impact, market.risk_aversion)
    return _ascending(1 - left[1:] / size)


def _ascending(done: Floats) -> tuple[float, ...]:
    """Within [0, 1], never falling, the last exactly 1, whatever rounding did."""
    clean = np.maximum.accumulate(np.clip(done, 0.0, 1.0))
    return (*clean[:-1].tolist(), 1.0)
