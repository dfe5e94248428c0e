"""The time of day, as a point on a circle; funding, sessions and volatility follow it."""

from __future__ import annotations

import math

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats
from hydra_core.statistics.view import View


def _angle(view: View) -> Floats:
    panel = view.panel
    angle = (panel.close_ms % DAY_MS) * (2.0 * math.pi / DAY_MS)
    return np.repeat(angle[:, None], len(panel.pairs), axis=1)


@feature("hour_sin", lookback=1)
def hour_sin(view: View) -> Floats:
    """Sine of the UTC time of day at the bar's close."""
    return np.sin(_angle(view))


@feature("hour_cos", lookback=1)
def hour_cos(view: View) -> Floats:
    """Cosine of the UTC time of day at the bar's close."""
    return np.cos(_angle(view))
