"""Layer 2 in one call: the state of the market at the newest rows, from the registered statistics.

Importing this module registers every statistic. The same call serves a backtest (all rows) and a live cycle (the last).
Not here: what the state permits (risk/).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from hydra_core.domain.market import Bools, Floats, Panel
from hydra_core.statistics import correlation as correlation_module
from hydra_core.statistics import correlation_spike, hawkes, jumps, regimes
from hydra_core.statistics.correlation import correlations
from hydra_core.statistics.registry import Statistic, statistic
from hydra_core.statistics.rolling import change, exponential_mean, lag, rolling_mean
from hydra_core.statistics.view import SIGMA_LOOKBACK, View, tail_view

VARIANCE_HALF_LIFE: Final = 24.0
VARIANCE_BARS: Final = 288
BASE_BARS: Final = 1440


_SIGMA_ROWS: Final = SIGMA_LOOKBACK + 12
"""One look-back for all that reads the volatility forecast, so that a live cycle computes it once."""


@statistic("volatility", lookback=_SIGMA_ROWS, reach=1)
def volatility(view: View) -> Floats:
    """Standard deviation of log return per square root of a bar expected over the next hours, shape (T, P)."""
    return view.sigma


@statistic("variance_ratio", lookback=BASE_BARS + 1)
def variance_ratio(view: View) -> Floats:
    """Variance with a half-life of two hours over that of five days (5m bars), shape (T, P); 1 is usual."""
    recent = exponential_mean(view.squared_return, VARIANCE_HALF_LIFE, VARIANCE_BARS)
    return recent / np.maximum(rolling_mean(view.squared_return, BASE_BARS), 1e-12)


def _move(bars: int) -> Callable[[View], Floats]:
    def compute(view: View) -> Floats:
        """Log return of the last bars in standard deviations expected before them, shape (T, P)."""
        return change(view.log_close, bars) / (lag(view.sigma, bars) * math.sqrt(bars))

    return compute


move_15m: Final = statistic("move_15m", lookback=_SIGMA_ROWS, reach=4)(_move(3))
move_60m: Final = statistic("move_60m", lookback=_SIGMA_ROWS, reach=13)(_move(12))


@dataclass(frozen=True, eq=False)
class MarketState:
    """Layer 2 at the newest n rows of P pairs; float64, NaN where not known.

    Parameters
    ----------
    volatility : (n, P), expected standard deviation of log return per square root of a bar
    variance_ratio : (n, P), two-hour over five-day variance
    move_15m, move_60m : (n, P), latest moves in standard deviations expected before them (5m bars)
    jump : (n, P), +1 or -1 in a bar that volatility cannot explain, else 0
    jump_rate : (n, P), jumps per day over the last week
    hawkes_intensity : (n, P), expected large moves in the next bar
    branching : (n, P), share of large moves caused by large moves
    regimes : (n, P, 3), probability of calm, turbulent, extreme
    mean_correlation : (n,), fast mean pairwise correlation
    correlation : (P, P), shrunk matrix in force at the last row
    """

    volatility: Floats
    variance_ratio: Floats
    move_15m: Floats
    move_60m: Floats
    jump: Floats
    jump_rate: Floats
    hawkes_intensity: Floats
    branching: Floats
    regimes: Floats
    mean_correlation: Floats
    correlation: Floats

    def __len__(self) -> int:
        return int(self.volatility.shape[0])

    def horizon_volatility(self, bars: int) -> Floats:
        """Expected standard deviation of the log return over ``bars`` bars, shape (n, P)."""
        return self.volatility * math.sqrt(bars)

    @property
    def extreme(self) -> Floats:
        """Probability of the extreme regime, shape (n, P)."""
        return self.regimes[..., regimes.EXTREME]

    @property
    def known(self) -> Bools:
        """Whether every number of a pair is finite, shape (n, P)."""
        finite = np.isfinite(self.mean_correlation)[:, None] & np.isfinite(self.regimes).all(axis=-1)
        for name in _BY_PAIR:
            finite = finite & np.isfinite(getattr(self, name))
        return np.asarray(finite)


MEMBERS: Final[dict[str, Statistic]] = {
    "volatility": volatility,
    "variance_ratio": variance_ratio,
    "move_15m": move_15m,
    "move_60m": move_60m,
    "jump": jumps.jump,
    "jump_rate": jumps.jump_rate,
    "hawkes_intensity": hawkes.intensity,
    "branching": hawkes.branching,
    "regimes": regimes.regimes,
    "mean_correlation": correlation_module.mean_correlation,
}
"""Field of :class:`MarketState` -> the statistic that fills it."""
FURTHER: Final[tuple[Statistic, ...]] = (correlation_spike.correlation_spike,)
"""Registered statistics that no decision reads yet."""
_BY_PAIR: Final = tuple(
    f.name for f in fields(MarketState) if f.name not in {"regimes", "mean_correlation", "correlation"}
)
LOOKBACK: Final = max(correlation_module.MATRIX_LOOKBACK, *(member.lookback for member in MEMBERS.values()))
"""Rows before and including the first one asked for."""


def layer2(panel: Panel, last: int | None = None) -> MarketState:
    """State of the market at every row, or at the newest ``last`` rows.

    Parameters
    ----------
    panel : Panel; with fewer than :data:`LOOKBACK` rows before the first one asked for, its early values are NaN
    last : int, optional

    Raises
    ------
    InputMissing : the panel is empty or shorter than ``last``
    """
    rows = len(panel) if last is None else last
    view = tail_view(panel, LOOKBACK, last)
    values = {name: member.of(view, rows) for name, member in MEMBERS.items()}
    matrix = correlations(view.panel, np.array([len(view.panel) - 1]))[0]
    return MarketState(**values, correlation=matrix)
