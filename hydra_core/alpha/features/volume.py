"""How much was traded against the usual, and on which side of the bar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import standardised
from hydra_core.statistics.view import View


@feature("volume_ratio_12_288", lookback=288)
def volume_ratio_12_288(view: View) -> Floats:
    """Mean log notional volume of the hour less that of the day."""
    return view.mean("log_volume", 12) - view.mean("log_volume", 288)


def _signed_volume(bars: int) -> Callable[[View], Floats]:
    """Volume of rising bars less that of falling bars as a share of all, in [-1, 1]."""

    def compute(view: View) -> Floats:
        return view.mean("rising_volume", bars) / view.mean("volume", bars)

    return compute


feature("signed_volume_48", lookback=49)(_signed_volume(48))
for _bars in (12, 288):
    feature(f"signed_volume_{_bars}", lookback=_bars + 1, usual=False)(_signed_volume(_bars))


@feature("volume_ratio_48_2016", lookback=2016, usual=False)
def volume_ratio_48_2016(view: View) -> Floats:
    """Mean log notional volume of four hours less that of the week."""
    return view.mean("log_volume", 48) - view.mean("log_volume", 2016)


@feature("volume_z_288", lookback=288, usual=False)
def volume_z_288(view: View) -> Floats:
    """The bar's log notional volume against the day's, in standard deviations (of a twentieth at least)."""
    return standardised(view.log_volume, 288, 0.05, mean=view.mean("log_volume", 288))


@feature("volume_concentration_48", lookback=48, usual=False)
def volume_concentration_48(view: View) -> Floats:
    """Log of 48 times the sum of squared volume shares in four hours: 0 where every bar traded alike."""
    return np.log(view.mean("squared_volume", 48) / view.mean("volume", 48) ** 2)
