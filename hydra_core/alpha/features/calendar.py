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


def _on_circle(view: View, turn: np.ufunc, period_ms: int = DAY_MS) -> Floats:
    """Sine or cosine of the bar's place in a period, the same for every pair."""
    panel = view.panel
    angle = (panel.close_ms % period_ms) * (2.0 * math.pi / period_ms)
    return np.broadcast_to(turn(angle)[:, None], panel.close.shape)


@feature("hour_sin", lookback=1)
def hour_sin(view: View) -> Floats:
    """Sine of the UTC time of day at the bar's close."""
    return _on_circle(view, np.sin)


@feature("hour_cos", lookback=1)
def hour_cos(view: View) -> Floats:
    """Cosine of the UTC time of day at the bar's close."""
    return _on_circle(view, np.cos)


@feature("week_sin", lookback=1, usual=False)
def week_sin(view: View) -> Floats:
    """Sine of the place in the week at the bar's close, UTC."""
    return _on_circle(view, np.sin, _WEEK_MS)


@feature("week_cos", lookback=1, usual=False)
def week_cos(view: View) -> Floats:
    """Cosine of the place in the week at the bar's close, UTC."""
    return _on_circle(view, np.cos, _WEEK_MS)


@feature("settlement_sin", lookback=1, usual=False)
def settlement_sin(view: View) -> Floats:
    """Sine of the place between two eight-hourly settlements at the bar's close, UTC."""
    return _on_circle(view, np.sin, _SETTLEMENT_MS)


@feature("settlement_cos", lookback=1, usual=False)
def settlement_cos(view: View) -> Floats:
    """Cosine of the place between two eight-hourly settlements at the bar's close, UTC."""
    return _on_circle(view, np.cos, _SETTLEMENT_MS)
