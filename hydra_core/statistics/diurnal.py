"""The time of day in volatility: a factor per slot of the day, learned from the past and divided out.

Crypto volatility has a daily cycle of about half its size; a jump test that ignores it finds jumps every afternoon.
Not here: jumps (jumps.py), forecasts (pooled.py).

Source: Boudt, Croux and Laurent (2011), with the trimmed scale in place of their weighted one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints

DAY_MS: Final = 86_400_000
TRIM: Final = 0.05
"""Share of the largest absolute standardised returns left out of each slot's scale: jumps are not the cycle."""
_FLOOR: Final = 1e-12


def slots(close_ms: Ints, per_day: int) -> Ints:
    """Slot of the day (UTC) of each bar, 0 to ``per_day`` - 1, by its close."""
    return np.asarray((close_ms % DAY_MS) * per_day // DAY_MS)


def periodicity(log_return: Floats, slot: Ints, per_day: int, smooth: int = 1) -> Floats:
    """Volatility of each slot of the day relative to the day's, with a root mean square of one.

    Each day's returns are first divided by that day's scale, so that a wild day counts no more than a quiet one; each
    slot's largest :data:`TRIM` is left out.

    Parameters
    ----------
    log_return : array (n,), training rows only
    slot : int64 array (n,), see :func:`slots`
    per_day : number of slots
    smooth : slots of a centred moving average round the clock, odd; it is of the day's cycle, not of time

    Returns
    -------
    array (per_day,)

    Raises
    ------
    InputMissing : a slot has fewer than five returns
    """
    day = np.concatenate([[0], np.cumsum(np.diff(slot) < 0)])
    square = np.where(np.isfinite(log_return), log_return, 0.0) ** 2
    counts = np.maximum(np.bincount(day), 1)
    daily = np.sqrt(np.maximum(np.bincount(day, square) / counts, _FLOOR))
    standard = np.abs(log_return) / daily[day]
    scale = np.empty(per_day)
    for index in range(per_day):
        values = np.sort(standard[(slot == index) & np.isfinite(standard)])
        if values.size < 5:
            raise InputMissing(f"slot {index} of the day has {values.size} returns", "Give it at least 5 days")
        scale[index] = np.sqrt((values[: values.size - int(TRIM * values.size)] ** 2).mean())
    if smooth > 1:
        half = smooth // 2
        square_scale = np.concatenate([scale[-half:], scale, scale[:half]]) ** 2
        scale = np.sqrt(np.convolve(square_scale, np.ones(smooth) / smooth, "valid"))
    return np.asarray(scale / np.sqrt((scale**2).mean()))


def coming_factor(squared_return: Floats, close_ms: Ints, horizon: int, rows: Ints, days: int = 20) -> Floats:
    """Log of the usual variance of the coming ``horizon`` 5m bars over that of the whole day, shape (n, P), causal.

    From the same stretch of the ``days`` days before: the market's mean log over days, less the mean log over all
    stretches of those days. All pairs share one cycle, which is steadier than eight.
    """
    del close_ms  # whole days are 288 bars of the grid
    per_day = 288
    total = np.nancumsum(np.vstack([np.zeros((1, squared_return.shape[1])), squared_return]), axis=0)
    stretch = np.full(squared_return.shape, np.nan)
    stretch[horizon - 1 :] = (total[horizon:] - total[:-horizon]) / horizon
    logs = np.log(np.maximum(stretch, 1e-10))
    known = np.isfinite(logs)
    log_stretch = np.where(known, logs, 0.0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    same = np.stack([_at(log_stretch, rows + horizon - day * per_day) for day in range(1, days + 1)])
    level_sum = np.concatenate([[0.0], np.nancumsum(log_stretch)])
    low = np.maximum(rows + 1 - days * per_day, 0)
    level = (level_sum[rows + 1] - level_sum[low]) / np.maximum(rows + 1 - low, 1)
    factor = np.where(rows - days * per_day >= horizon, same.mean(axis=0) - level, np.nan)
    return np.broadcast_to(factor[:, None], (rows.size, squared_return.shape[1]))


def _at(values: Floats, rows: Ints) -> Floats:
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)
