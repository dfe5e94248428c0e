"""What the crowd model sees: volatility, which forces out anybody, and crowding, which forces out one side.

A column is *even* when it means the same to longs and shorts, *odd* when it changes sign between them. One model serves
both sides: for shorts the odd columns are negated. Not here: labels (alpha/labels), fitting (logistic).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from hydra_core.alpha.crowd import liquidation_map
from hydra_core.alpha.crowd.habits import USUAL, Habits
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import CANDLES, FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, Floats, Panel
from hydra_core.statistics import har, volatility
from hydra_core.statistics.rolling import change, exponential_mean, rolling_mean
from hydra_core.statistics.view import SIGMA_LOOKBACK, View, tail_view

DAY: Final = 288
WEEK: Final = 2016
SHOCK_BARS: Final = 192
SIGMA_ROWS: Final = SIGMA_LOOKBACK + SHOCK_BARS
"""One look-back for every column that reads the volatility forecast, so that a live cycle computes it once."""
FUNDING_USUAL: Final = 1e-4
"""Interest part of a settlement: what longs pay when nobody is crowded."""


class Measure(Protocol):
    """How a column is computed."""

    def __call__(self, view: View, habits: Habits = USUAL, /) -> Floats:
        """Values (T, P)."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column of the crowd model.

    Parameters
    ----------
    name : str
    odd : bool, whether it changes sign for shorts
    lookback : int, rows
    inputs : panel inputs that it needs
    compute : (View, Habits) -> array (T, P); without the second, of a usual crowd
    """

    name: str
    odd: bool
    lookback: int
    inputs: frozenset[str]
    compute: Measure

    def __str__(self) -> str:
        return self.name


_COLUMNS: Final[dict[str, Column]] = {}


def _column(
    name: str, lookback: int, *, odd: bool, inputs: Iterable[str] = ()
) -> Callable[[Callable[[View], Floats]], Callable[[View], Floats]]:
    def register(compute: Callable[[View], Floats]) -> Callable[[View], Floats]:
        def whatever_its_habits(view: View, habits: Habits = USUAL, /) -> Floats:
            return compute(view)

        _COLUMNS[name] = Column(name, odd, lookback, frozenset({CANDLES, *inputs}), whatever_its_habits)
        return compute

    return register


def columns() -> tuple[Column, ...]:
    """Every column, in the model's order."""
    return tuple(_COLUMNS.values())


def named(names: Iterable[str]) -> tuple[Column, ...]:
    """Columns by name; raises InputMissing for one that this version does not have."""
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in _COLUMNS]
    if unknown:
        raise InputMissing(f"unknown crowd columns: {', '.join(unknown)}", "Train the model again")
    return tuple(_COLUMNS[name] for name in wanted)


VOLATILITY: Final = ("log_sigma", "log_sigma_squared", "vol_ratio_hour", "vol_ratio_4_hours", "recent_shocks")
"""The columns of the volatility-only baseline."""


@_column("log_sigma", SIGMA_ROWS, odd=False)
def _log_sigma(view: View) -> Floats:
    """Log of the expected standard deviation per bar."""
    return np.log(view.sigma)


@_column("log_sigma_squared", SIGMA_ROWS, odd=False)
def _log_sigma_squared(view: View) -> Floats:
    """Square of the log volatility about 15 bp a bar: the tails need not follow the middle."""
    return (np.log(view.sigma) - math.log(0.0015)) ** 2


def _vol_ratio(view: View, short: int, long: int) -> Floats:
    ratio = rolling_mean(view.range_variance, short) / np.maximum(rolling_mean(view.range_variance, long), 1e-12)
    return np.log(np.maximum(ratio, 1e-3))


@_column("vol_ratio_hour", DAY, odd=False)
def _vol_ratio_hour(view: View) -> Floats:
    return _vol_ratio(view, 12, DAY)


@_column("vol_ratio_4_hours", 1440, odd=False)
def _vol_ratio_4_hours(view: View) -> Floats:
    return _vol_ratio(view, 48, 1440)


@_column("recent_shocks", SIGMA_ROWS, odd=False)
def _recent_shocks(view: View) -> Floats:
    """Share of recent bars that moved more than three expected standard deviations, half-life two hours."""
    size = np.abs(view.log_return[1:]) / view.sigma[:-1]
    out = np.full(view.sigma.shape, np.nan)
    out[1:] = exponential_mean(np.where(np.isnan(size), np.nan, (size > 3.0).astype(np.float64)), 24.0, SHOCK_BARS)
    return out


@_column("return_hour", SIGMA_ROWS, odd=True)
def _return_hour(view: View) -> Floats:
    return view.scaled_return(12)


@_column("return_4_hours", SIGMA_ROWS, odd=True)
def _return_4_hours(view: View) -> Floats:
    return view.scaled_return(48)


def _funding_excess(view: View) -> Floats:
    """Last settled rate beyond the usual one, in basis points, at most ten either way."""
    return np.clip((view.panel.funding_rate - FUNDING_USUAL) / 1e-4, -10.0, 10.0)


@_column("funding", 1, odd=True, inputs=(FUNDING,))
def _funding(view: View) -> Floats:
    return _funding_excess(view)


@_column("funding_squared", 1, odd=False, inputs=(FUNDING,))
def _funding_squared(view: View) -> Floats:
    return _funding_excess(view) ** 2


@_column("funding_3_days", 3 * DAY, odd=True, inputs=(FUNDING,))
def _funding_3_days(view: View) -> Floats:
    return rolling_mean(_funding_excess(view), 3 * DAY)


@_column("funding_change", 97, odd=True, inputs=(FUNDING,))
def _funding_change(view: View) -> Floats:
    """Last settled rate less the one of eight hours before, basis points."""
    return change(_funding_excess(view), 96)


def _against_week(view: View, bars: int) -> Floats:
    """Log long/short ratio of the last bars against its week: pairs and eras differ in what is usual."""
    week = view.mean("log_long_short", WEEK)
    return (view.mean("log_long_short", bars) if bars > 1 else view.log_long_short) - week


@_column("long_short_now", WEEK, odd=True, inputs=(LONG_SHORT,))
def _long_short_now(view: View) -> Floats:
    return _against_week(view, 1)


@_column("long_short_8_hours", WEEK, odd=True, inputs=(LONG_SHORT,))
def _long_short_8_hours(view: View) -> Floats:
    return _against_week(view, 96)


@_column("long_short_day", WEEK, odd=True, inputs=(LONG_SHORT,))
def _long_short_day(view: View) -> Floats:
    return _against_week(view, DAY)


@_column("oi_growth_day", DAY + 1, odd=False, inputs=(OPEN_INTEREST,))
def _oi_growth_day(view: View) -> Floats:
    return change(view.log_open_interest, DAY)


@_column("oi_growth_3_days", 3 * DAY + 1, odd=False, inputs=(OPEN_INTEREST,))
def _oi_growth_3_days(view: View) -> Floats:
    return change(view.log_open_interest, 3 * DAY)


@_column("quadrant_day", SIGMA_ROWS, odd=True, inputs=(OPEN_INTEREST,))
def _quadrant_day(view: View) -> Floats:
    """Growth of open interest in a day times the scaled return: above 0 the new positions are longs in profit."""
    return np.asarray(change(view.log_open_interest, DAY) * np.tanh(view.scaled_return(DAY)))


@_column("funding_with_oi", 3 * DAY + 1, odd=True, inputs=(FUNDING, OPEN_INTEREST))
def _funding_with_oi(view: View) -> Floats:
    return np.asarray(_funding_excess(view) * change(view.log_open_interest, 3 * DAY))


MAP_ROWS: Final = max(SIGMA_ROWS, liquidation_map.MAP_BARS + liquidation_map.HOUR + 2)
"""One look-back for every column of the liquidation map, so that it is drawn once."""
MAPPED: Final = (OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS)
"""What the map is drawn from; without recorded liquidations a model does without it."""


def _both(
    name: str, lookback: int, inputs: Iterable[str], measure: Callable[[View, Habits], tuple[Floats, Floats]]
) -> None:
    """Register what is measured on each side as two columns: its sum, the same to both sides, and its difference.

    A linear model of the two is a linear model of the own and of the other side's measure.
    """

    def total(view: View, habits: Habits = USUAL, /) -> Floats:
        long, short = measure(view, habits)
        return np.asarray(long + short)

    def gap(view: View, habits: Habits = USUAL, /) -> Floats:
        long, short = measure(view, habits)
        return np.asarray(long - short)

    needs = frozenset({CANDLES, *inputs})
    _COLUMNS[f"{name}_sum"] = Column(f"{name}_sum", False, lookback, needs, total)
    _COLUMNS[f"{name}_gap"] = Column(f"{name}_gap", True, lookback, needs, gap)


def _forced(view: View, bars: int) -> tuple[Floats, Floats]:
    """Log share of open interest that was forced out in the last bars, longs and shorts."""
    worth = view.panel.open_interest * view.panel.close
    sides = (view.panel.liquidated_long, view.panel.liquidated_short)
    long, short = (np.log(bars * rolling_mean(forced, bars) / worth + 1e-4) for forced in sides)
    return np.asarray(long), np.asarray(short)


_both("forced_hour", 12, (OPEN_INTEREST, LIQUIDATIONS), lambda view, _: _forced(view, 12))
_both("forced_day", DAY, (OPEN_INTEREST, LIQUIDATIONS), lambda view, _: _forced(view, DAY))


def _waiting(view: View, habits: Habits) -> Floats:
    # Before its look-back a column has no value, and live only one row of the look-back's many is wanted.
    return view.memo(f"waiting {habits}", lambda: liquidation_map.waiting(view, habits, MAP_ROWS - 1))


def horizon_sigma(view: View, habits: Habits) -> Floats:
    """Standard deviation a bar over the coming horizon, as the habits have learned to foretell it."""
    if not habits.windows:
        return view.sigma
    variance = garman_klass_variance(view)
    log_variance = np.full(variance.shape, habits.volatility[0])
    for window, slope in zip(habits.windows, habits.volatility[1:], strict=True):
        log_variance = log_variance + slope * har.log_mean_variance(variance, window)
    return np.asarray(np.exp(0.5 * log_variance))


def garman_klass_variance(view: View) -> Floats:
    """Variance of each bar from its four prices, never below the floor."""
    panel = view.panel
    return np.maximum(
        volatility.garman_klass(panel.open, panel.high, panel.low, panel.close), volatility.VARIANCE_FLOOR
    )


def reach(waiting: Floats, map_sigma: Floats, sigma: Floats, pressure: float) -> Floats:
    """Log odds that a diffusion comes within an hour to where a side is forced out: 2 Phi(-d / s), the reflection principle.

    Parameters
    ----------
    waiting : (2, T, P, STEPS), of :func:`~hydra_core.alpha.crowd.liquidation_map.waiting`
    map_sigma, sigma : (T, P), standard deviation a bar that its steps are counted in, and as foretold
    pressure : of the habits

    Returns
    -------
    array (2, T, P)
    """
    from scipy.special import erfc

    pushed = pressure / (map_sigma * math.sqrt(liquidation_map.HOUR))
    distance = liquidation_map.trigger_distance(waiting, pushed) * (map_sigma / np.maximum(sigma, 1e-12))
    chance = np.clip(erfc(distance / math.sqrt(2.0)), 1e-6, 1.0 - 1e-4)
    return np.asarray(np.log(chance / (1.0 - chance)))


def _reach(view: View, habits: Habits) -> tuple[Floats, Floats]:
    def compute() -> Floats:
        return reach(_waiting(view, habits), view.sigma, horizon_sigma(view, habits), habits.pressure)

    long, short = view.memo(f"reach {habits}", compute)
    return long, short


def _near(view: View, deviations: float, habits: Habits) -> tuple[Floats, Floats]:
    """Log share of open interest that waits within so many standard deviations of an hour."""
    steps = round(deviations / liquidation_map.STEP)
    long, short = np.log(_waiting(view, habits)[..., :steps].sum(axis=-1) + 1e-3)
    return long, short


_both("map_reach", MAP_ROWS, MAPPED, _reach)
PHYSICAL: Final = ("map_reach_sum", "map_reach_gap")
"""The columns that are a hazard by themselves, were the map and the forecast of volatility true."""
_both("map_near", MAP_ROWS, MAPPED, lambda view, habits: _near(view, 1.0, habits))
_both("map_around", MAP_ROWS, MAPPED, lambda view, habits: _near(view, 3.0, habits))


def compute(panel: Panel, chosen: tuple[Column, ...], last: int | None = None, habits: Habits = USUAL) -> Floats:
    """Column values of every row, or of the newest ``last`` rows, as seen by longs; of a crowd with such habits.

    Returns
    -------
    float64 array (T or last, P, C); multiply the odd columns by -1 for shorts

    Raises
    ------
    InputMissing : the panel lacks an input of a chosen column
    """
    lacking = frozenset().union(*(column.inputs for column in chosen)) - panel.inputs
    if lacking:
        raise InputMissing(
            f"the crowd model needs {', '.join(sorted(lacking))}, the panel has none", "Collect it first"
        )
    view = tail_view(panel, max(column.lookback for column in chosen), last)
    rows = len(panel) if last is None else last
    out = np.empty((rows, len(panel.pairs), len(chosen)))
    for index, column in enumerate(chosen):
        values = column.compute(view.tail(column.lookback + rows - 1), habits)
        out[:, :, index] = values[values.shape[0] - rows :]
    return out
