"""Recorded history on the hour grid: what is known at each close, and the return that follows.

Here: the panel of a folder (and of a later folder after it), causal features of it, standardised labels. Not here: learners
and baselines (``rivals``), the row of the table (``realdata``). Five-minute features are the platform's (``alpha.features``);
recorded history is long on the hour alone, and what is asked here is the protocol of the baseline, hour by hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.forecaster.windows import Features
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.market import FIELD_NAMES, Floats, Ints, Panel
from hydra_core.domain.panel import build_panel
from hydra_core.statistics.rolling import (
    change,
    exponential_mean,
    lag,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
)

WEEK: Final = 168
LONGEST: Final = 2160
"""Rows that a feature looks back at most: ninety days."""
RETURNS: Final = (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672)
SHORT_HALF_LIFE: Final = 48.0
LONG_HALF_LIFE: Final = 720.0
FLOOR: Final = 0.2
"""Volatility is never taken to be smaller than this share of its long mean."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """T hours of P pairs.

    Parameters
    ----------
    panel : Panel of 1h bars
    features : float32 (T, P, F), known at each close
    sigma : (T, P), standard deviation of an hour's log return as expected at its close
    sealed_from : first row of the later folder; T where none was given
    """

    panel: Panel
    names: tuple[str, ...]
    features: Features
    sigma: Floats
    sealed_from: int

    def label(self, horizon: int) -> Floats:
        """Log return from the next open over so many hours, in its standard deviations, (T, P)."""
        return labels.forward_return(self.panel, horizon) / (self.sigma * math.sqrt(horizon))

    @property
    def days(self) -> Ints:
        """UTC day number of each close."""
        return np.asarray((self.panel.close_ms - 1) // DAY_MS, np.int64)


def read(folder: Path, later: Path | None = None) -> Recorded:
    """The hours that all pairs of a folder know, and those of a later folder after them.

    Raises
    ------
    InputMissing : no common hours, or the later folder does not begin where the first one ends
    """
    panel = hours(folder)
    sealed_from = len(panel)
    if later is not None:
        after = hours(later)
        gap = int(after.ts[0]) - int(panel.close_ms[-1])
        if gap > 0:
            raise InputMissing(
                f"{later} begins {gap / HOUR_MS:.0f} hours after {folder} ends", "Give the folder that follows it"
            )
        panel = joined(panel, after)
    features, names, sigma = describe(panel)
    return Recorded(panel, names, features, sigma, sealed_from)


def joined(first: Panel, after: Panel) -> Panel:
    """Two panels of the same pairs as one; where both have a row, the first one's counts.

    Raises
    ------
    InputMissing : they are not of the same pairs, or nothing of the second is new
    """
    fresh = after.ts > first.ts[-1]
    if first.pairs != after.pairs or not fresh.any():
        raise InputMissing(
            "the later history has other pairs, or nothing that is later", "Give the folder that follows"
        )
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(after, name)[fresh]]) for name in FIELD_NAMES
    }
    ts = np.concatenate([first.ts, after.ts[fresh]])
    return replace(first, ts=ts, inputs=first.inputs & after.inputs, **columns)


def hours(folder: Path, interval: Interval = Interval.H1) -> Panel:
    """The bars of a folder that all its pairs know, candles and funding; raises InputMissing where there are none."""
    from hydra_core.simulation import open_market

    # Cut short, the finest candles leave the hours before them to the files of hours; they themselves are wanted whole.
    market = open_market("recorded", folder, 20 if interval == Interval.H1 else None)
    end = market.end_ms or 0
    bars = {pair: market.candles(pair, interval, 0, end) for pair in market.pairs}
    first = max(int(one.ts[0]) for one in bars.values()) if all(map(len, bars.values())) else end
    if first >= end:
        raise InputMissing(f"{folder} has no {interval} candles of every pair", "Give a folder with candles/<interval>")
    funding = {pair: market.funding(pair, first - 30 * DAY_MS, end) for pair in market.pairs}
    return build_panel(market.pairs, interval, first, end, bars, funding, {}, {}, None)


def describe(panel: Panel) -> tuple[Features, tuple[str, ...], Floats]:
    """Features float32 (T, P, F), their names, and the volatility (T, P) that they and the labels are scaled by."""
    path = np.log(panel.close)
    moves = change(path, 1)
    sigma = volatility(moves)
    made: dict[str, Floats] = {}
    for bars in RETURNS:
        made[f"return_{bars}"] = change(path, bars) / (sigma * math.sqrt(bars))
    made |= _sizes(panel, moves, sigma) | _flows(panel, moves) | _shapes(panel, moves, sigma) | _rates(panel)
    made |= _others(panel, made) | _clock(panel)
    names = tuple(made)
    stacked = np.stack([np.clip(np.broadcast_to(made[name], path.shape), -20.0, 20.0) for name in names], axis=2)
    return stacked.astype(np.float32), names, sigma


def volatility(moves: Floats) -> Floats:
    """Exponential standard deviation of the hour, floored at a fifth of its long one; shape of ``moves``."""
    short = exponential_mean(moves**2, SHORT_HALF_LIFE, 480)
    long = exponential_mean(moves**2, LONG_HALF_LIFE, LONGEST)
    return np.asarray(np.sqrt(np.maximum(short, FLOOR**2 * np.where(np.isfinite(long), long, short))))


def _sizes(panel: Panel, moves: Floats, sigma: Floats) -> dict[str, Floats]:
    means = {bars: exponential_mean(moves**2, bars, 6 * bars) for bars in (6, 24, 48, 168)}
    ranges = np.log(panel.high / panel.low) ** 2 / (4 * math.log(2))
    return {
        "log_sigma": np.log(sigma) + 5.0,
        "vol_6_48": 0.5 * np.log(means[6] / means[48]),
        "vol_24_168": 0.5 * np.log(means[24] / means[168]),
        "range_close_24": np.log(rolling_mean(ranges, 24) / rolling_mean(moves**2, 24)),
        "range": np.log(panel.high / panel.low) / sigma,
        "downside_24": rolling_mean(np.where(moves < 0, moves**2, 0.0), 24) / rolling_mean(moves**2, 24),
        "downside_168": rolling_mean(np.where(moves < 0, moves**2, 0.0), WEEK) / rolling_mean(moves**2, WEEK),
    }


def _flows(panel: Panel, moves: Floats) -> dict[str, Floats]:
    worth = np.maximum(panel.volume * panel.close, 1.0)
    size = np.log(worth)
    signed = np.sign(moves) * worth
    return {
        "volume_1_24": size - rolling_mean(size, 24),
        "volume_24_168": rolling_mean(size, 24) - rolling_mean(size, WEEK),
        "imbalance_6": rolling_mean(signed, 6) / rolling_mean(worth, 6),
        "imbalance_24": rolling_mean(signed, 24) / rolling_mean(worth, 24),
    }


def _shapes(panel: Panel, moves: Floats, sigma: Floats) -> dict[str, Floats]:
    body = np.log(panel.close / panel.open)
    spread = np.maximum(panel.high - panel.low, 1e-12)
    out = {
        "body": body / sigma,
        "close_location": (panel.close - panel.low) / spread - 0.5,
        "autocorrelation_24": rolling_mean(moves * lag(moves, 1), 24) / rolling_mean(moves**2, 24),
        "autocorrelation_168": rolling_mean(moves * lag(moves, 1), WEEK) / rolling_mean(moves**2, WEEK),
        "skew_168": rolling_mean(moves**3, WEEK) / np.maximum(rolling_mean(moves**2, WEEK), 1e-12) ** 1.5,
    }
    for bars in (24, WEEK, 672):
        low, high = rolling_min(panel.low, bars), rolling_max(panel.high, bars)
        out[f"channel_{bars}"] = (panel.close - low) / np.maximum(high - low, 1e-12) - 0.5
    return out


def _rates(panel: Panel) -> dict[str, Floats]:
    """Funding in basis points, 0 where nothing was recorded: a hole of weeks must not cost every other feature its rows."""
    rate = np.clip(np.nan_to_num(panel.funding_rate) * 1e4, -20.0, 20.0)
    week, season = rolling_mean(rate, WEEK), rolling_mean(rate, LONGEST)
    return {
        "funding": rate,
        "funding_7d": week,
        "funding_z": (week - season) / np.maximum(rolling_std(rate, LONGEST), 0.05),
    }


def _others(panel: Panel, made: dict[str, Floats]) -> dict[str, Floats]:
    out: dict[str, Floats] = {}
    first = next((k for k, pair in enumerate(panel.pairs) if pair.startswith("BTC")), 0)
    for bars in (1, 6, 24, WEEK):
        own = made[f"return_{bars}"]
        market = own.mean(axis=1, keepdims=True)
        out[f"market_{bars}"] = np.broadcast_to(market, own.shape)
        out[f"relative_{bars}"] = own - market
    for bars in (1, 24):
        own = made[f"return_{bars}"]
        out[f"first_{bars}"] = np.broadcast_to(own[:, first : first + 1], own.shape)
    out["relative_funding"] = made["funding_7d"] - made["funding_7d"].mean(axis=1, keepdims=True)
    return out


def _clock(panel: Panel) -> dict[str, Floats]:
    hours = panel.close_ms // HOUR_MS
    angle = 2 * np.pi * (hours % 24) / 24
    weekday = (hours // 24 + 3) % 7

    def wide(values: Floats) -> Floats:
        return np.asarray(values, np.float64)[:, None]

    return {
        "hour_sin": wide(np.sin(angle)),
        "hour_cos": wide(np.cos(angle)),
        "weekend": wide((weekday >= 5).astype(np.float64)),
    }
