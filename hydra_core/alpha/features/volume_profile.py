"""At which prices was traded: the day's volume by price, seen from the last one."""

from __future__ import annotations

import numpy as np
from numba import njit

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import MIN_SHARE
from hydra_core.statistics.view import View

DAY = 288


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _share_above(typical: Floats, volume: Floats, close: Floats, n: int, least: float, out: Floats) -> None:
    rows, pairs = close.shape
    for c in range(pairs):
        for t in range(n - 1, rows):
            level = close[t, c]
            above = total = known = 0.0
            for k in range(t - n + 1, t + 1):
                price, traded = typical[k, c], volume[k, c]
                there = (price == price) & (traded == traded)
                total += traded if there else 0.0
                above += traded if there & (price > level) else 0.0
                known += 1.0 if there else 0.0
            if known >= least and total > 0.0 and level == level:
                out[t, c] = above / total - 0.5


@feature("volume_above_day", lookback=DAY, usual=False)
def volume_above_day(view: View) -> Floats:
    """Share of the day's volume that was traded above the close, less a half: above 0 most of it is under water if long."""
    panel = view.panel
    typical = (panel.high + panel.low + panel.close) / 3.0
    out = np.full(panel.close.shape, np.nan)
    _share_above(typical, view.volume, np.ascontiguousarray(panel.close), DAY, MIN_SHARE * DAY, out)
    return out
