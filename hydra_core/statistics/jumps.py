"""Jumps: flags for bars that local volatility cannot explain, and the daily ratio test.

Not here: fits of jumping diffusions (diffusion.py, kou.py), clustering of jumps (hawkes.py), what to do about one (risk/).

Sources: Lee and Mykland (2008) for the flag; Barndorff-Nielsen and Shephard (2004) in the form of Huang and Tauchen
(2005) for the daily test. Divide out the time of day first (diurnal.py) where it matters.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import lag, rolling_mean, rolling_sum
from hydra_core.statistics.view import View

LOCAL_BARS: Final = 270
"""Bars of the local bipower variance at 5m, Lee and Mykland's choice."""
MONTH_BARS: Final = 30 * 288
FALSE_ALARM: Final = 0.01
"""Probability of one false flag in a month of bars without jumps."""
RATE_BARS: Final = 2016
LEAST_SIGMA: Final = 1e-6


def lee_mykland_threshold(n: int, alpha: float) -> float:
    """Local standard deviations that a bar must exceed to be a jump, when ``n`` bars share a false alarm ``alpha``."""
    c = math.sqrt(2.0 / math.pi)
    root = math.sqrt(2.0 * math.log(n))
    centre = root / c - (math.log(math.pi) + math.log(math.log(n))) / (2.0 * c * root)
    return centre - math.log(-math.log(1.0 - alpha)) / (c * root)


def local_shock(log_return: Floats, bars: int = LOCAL_BARS) -> Floats:
    """Each return over the square root of the mean ``|r_i||r_i-1|`` of the bars before it, Lee and Mykland's L.

    For a Gaussian return its standard deviation is sqrt(pi/2) = 1.25, for which the threshold allows.
    """
    size = np.abs(log_return)
    products = size * lag(size, 1)
    local = np.sqrt(lag(rolling_mean(products, bars - 2), 1))
    return np.asarray(log_return / np.maximum(local, LEAST_SIGMA))


def view_shock(view: View) -> Floats:
    """:func:`local_shock` of a view's returns, computed once for jumps and Hawkes events."""
    return view.kept("local_shock", SHOCK_LOOKBACK, lambda part: local_shock(part.log_return))


THRESHOLD: Final = lee_mykland_threshold(MONTH_BARS, FALSE_ALARM)
SHOCK_LOOKBACK: Final = LOCAL_BARS + 1


@statistic("jump", lookback=SHOCK_LOOKBACK, reach=1)
def jump(view: View) -> Floats:
    """1 where a bar's return is a jump (signed), 0 where volatility explains it, shape (T, P)."""
    return view.kept("jump", SHOCK_LOOKBACK, _flags)


def _flags(view: View) -> Floats:
    shock = view_shock(view)
    return np.where(np.isnan(shock), np.nan, np.sign(shock) * (np.abs(shock) > THRESHOLD))


@statistic("jump_rate", lookback=SHOCK_LOOKBACK + RATE_BARS - 1, reach=RATE_BARS)
def jump_rate(view: View) -> Floats:
    """Jumps per day over the last week, shape (T, P)."""
    return rolling_mean(np.abs(jump.compute(view)), RATE_BARS) * 288.0


def bns_z(log_return: Floats, bars: int) -> Floats:
    """Ratio test for jumps within ``bars`` bars: standard normal without jumps, large with one.

    Z = ((RV - BV) / RV) / sqrt(((pi/2)^2 + pi - 5) / M * max(1, TP / BV^2)), TP the tripower quarticity.
    """
    size = np.abs(log_return)
    rv = rolling_sum(size**2, bars)
    bv = (math.pi / 2.0) * rolling_sum(size * lag(size, 1), bars) * bars / (bars - 1)
    power = (size * lag(size, 1) * lag(size, 2)) ** (4.0 / 3.0)
    mu = 2.0 ** (2.0 / 3.0) * math.gamma(7.0 / 6.0) / math.gamma(0.5)
    tp = bars * mu**-3 * rolling_sum(power, bars) * bars / (bars - 2)
    spread = ((math.pi / 2.0) ** 2 + math.pi - 5.0) / bars * np.maximum(1.0, tp / bv**2)
    return np.asarray((1.0 - bv / rv) / np.sqrt(spread))
