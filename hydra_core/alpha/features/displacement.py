"""Short-term displacement: how far the price stands above what was just paid on average."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.view import SIGMA_LOOKBACK, View


def _displacement(bars: int) -> Callable[[View], Floats]:
    """Log of close over the volume-weighted mean price of the last bars, in standard deviations of that span."""

    def compute(view: View) -> Floats:
        paid = view.mean("typical_notional", bars) / view.mean("volume", bars)
        return np.log(view.panel.close / paid) / (view.sigma * math.sqrt(bars))

    return compute


for _bars in (6, 12):
    feature(f"displacement_{_bars}", lookback=SIGMA_LOOKBACK, reach=_bars)(_displacement(_bars))
for _bars in (48, 288):
    feature(f"displacement_{_bars}", lookback=SIGMA_LOOKBACK, usual=False, reach=_bars)(_displacement(_bars))
