"""Time as points on circles: of the day, the week, the funding interval; sessions and volatility follow it."""

from __future__ import annotations

import math

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.domain.market import Floats
from hydra_core.statistics.view import View

_WEEK_MS = 7 * DAY_MS
_SETTLEMENT_MS = 8 * HOUR_MS


def _angle(view: View, period_ms: int = DAY_MS) -> Floats:
    panel = view.panel
    angle = (panel.close_ms % period_ms) * (2.0 * math.pi / period_ms)
    return np.repeat(angle[:, None], len(panel.pairs), axis=1)


@feature("hour_sin", lookback=1)
def hour_sin(view: View) -> Floats:
    """Sine of the UTC time of day at the bar's close."""
    return np.sin(_angle(view))


@feature("hour_cos", lookback=1)
def hour_cos(view: View) -> Floats:
    """Cosine of the UTC time of day at the bar's close."""
    return np.cos(_angle(view))


@feature("week_sin", lookback=1, usual=False)
def week_sin(view: View) -> Floats:
    """Sine of the place in the week at the bar's close, UTC."""
    return np.sin(_angle(view, _WEEK_MS))


@feature("week_cos", lookback=1, usual=False)
def week_cos(view: View) -> Floats:
    """Cosine of the place in the week at the bar's close, UTC."""
    return np.cos(_angle(view, _WEEK_MS))


@feature("settlement_sin", lookback=1, usual=False)
def settlement_sin(view: View) -> Floats:
    """Sine of the place between two eight-hourly settlements at the bar's close, UTC."""
    return np.sin(_angle(view, _SETTLEMENT_MS))


@feature("settlement_cos", lookback=1, usual=False)
def settlement_cos(view: View) -> Floats:
    """Cosine of the place between two eight-hourly settlements at the bar's close, UTC."""
    return np.cos(_angle(view, _SETTLEMENT_MS))
