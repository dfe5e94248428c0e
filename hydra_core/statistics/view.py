"""A panel together with the arrays that many features and statistics share, each computed once and only when asked for.

Not here: anything that one feature or statistic alone needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Panel
from hydra_core.domain.rowmemory import RowMemory, bar_of, memory_of
from hydra_core.statistics import volatility
from hydra_core.statistics.rolling import change, rolling_max, rolling_mean, rolling_min

SIGMA_LOOKBACK: Final = volatility.FORECAST_LOOKBACK
"""Rows that :attr:`View.sigma` looks back, itself included."""
LEAST_VOLUME: Final = 1e-12
"""Base units a bar: what an exchange's outage leaves stays a number to divide by."""


class View:
    """Shared arrays over one panel; all float64 of shape (T, P) unless said, NaN where not yet known.

    Parameters
    ----------
    panel : Panel
    whole : View, optional
        A view that ends with the same row and begins earlier: shared arrays are cut from its own, not computed again.
    """

    def __init__(self, panel: Panel, whole: View | None = None) -> None:
        self.panel = panel
        self._whole = whole
        self._tails: dict[int, View] = {}
        self._memory: dict[str, Floats] = {}

    def tail(self, rows: int) -> View:
        """The newest rows as a view of their own: a short look-back then costs a short computation."""
        if rows >= len(self.panel):
            return self
        if rows not in self._tails:
            self._tails[rows] = View(self.panel.last(rows), self)
        return self._tails[rows]

    def kept(self, name: str, lookback: int, compute: Callable[[View], Floats]) -> Floats:
        """An array of this view's rows, of which a panel that has grown by a bar computes the new row alone.

        Parameters
        ----------
        name : names the array among all that are kept
        lookback : rows before and including its own that a value is made of, bit for bit; a row that has fewer before it
            in the view may hold anything that nobody reads
        compute : the array over a view's rows
        """
        if self._whole is None or self._row_memory is None:
            return self.memo(name, lambda: self._recalled(name, lookback, compute))
        whole = self._whole.kept(name, lookback, compute)
        return whole[whole.shape[0] - len(self.panel) :]

    def reaching(self, lookback: int, reach: int, rows: int) -> View:
        """The part of the view that the newest ``rows`` values of something need.

        Parameters
        ----------
        lookback : rows before and including its own that a value is made of
        reach : the same beside what is kept (:meth:`kept`): where rows are remembered, no more are looked at

        The whole view where most of it is needed anyway: what several statistics share is then computed once for all.
        """
        needed = (lookback if self._row_memory is None else reach) + rows - 1
        return self if 2 * rows > len(self.panel) else self.tail(needed)

    def memo(self, name: str, compute: Callable[[], Floats]) -> Floats:
        """An array that a few statistics of one family share on this very view; ``name`` is theirs alone."""
        if name not in self._memory:
            self._memory[name] = compute()
        return self._memory[name]

    def mean(self, name: str, n: int) -> Floats:
        """:func:`~hydra_core.statistics.rolling.rolling_mean` over ``n`` rows of the view's array of that name."""
        return self.memo(f"mean {name} {n}", lambda: rolling_mean(getattr(self, name), n))

    def highest(self, n: int) -> Floats:
        """Highest high of the last ``n`` rows."""
        return self.memo(f"highest {n}", lambda: rolling_max(self.panel.high, n))

    def lowest(self, n: int) -> Floats:
        """Lowest low of the last ``n`` rows."""
        return self.memo(f"lowest {n}", lambda: rolling_min(self.panel.low, n))

    def scaled_return(self, bars: int) -> Floats:
        """Log return over the last ``bars`` rows in units of the standard deviation that was to be expected of it."""
        return self.memo(f"scaled return {bars}", lambda: change(self.log_close, bars) / (self.sigma * math.sqrt(bars)))

    def _recalled(self, name: str, lookback: int, compute: Callable[[View], Floats]) -> Floats:
        if self._row_memory is None:
            return compute(self)
        rows, first = len(self.panel), bar_of(self.panel, 0)

        def newest(wanted: int) -> Floats | None:
            needed = wanted + lookback - 1
            if wanted == rows:
                return compute(self)
            return None if needed > rows else compute(self.tail(needed))[needed - wanted :]

        values = self._row_memory.recall(("view", name), first, first + rows, newest)
        return compute(self) if values is None else values

    @cached_property
    def _row_memory(self) -> RowMemory | None:
        return memory_of(self.panel) if self._whole is None else self._whole._row_memory

    def _shared(self, name: str, lookback: int, compute: Callable[[View], Floats]) -> Floats:
        if self._whole is None:
            return self.kept(name, lookback, compute)
        whole: Floats = getattr(self._whole, name)
        return whole[whole.shape[0] - len(self.panel) :]

    @cached_property
    def log_close(self) -> Floats:
        """Log of the close."""
        return self._shared("log_close", 1, lambda view: np.log(view.panel.close))

    @cached_property
    def log_return(self) -> Floats:
        """Log return close to close of each bar."""
        return self._shared("log_return", 2, lambda view: change(view.log_close, 1))

    @cached_property
    def squared_return(self) -> Floats:
        """Squared log return: each bar's realised variance from its close alone."""
        return self._shared("squared_return", 2, lambda view: view.log_return**2)

    @cached_property
    def absolute_return(self) -> Floats:
        """Size of the log return of each bar."""
        return np.abs(self.log_return)

    @cached_property
    def range_variance(self) -> Floats:
        """Parkinson variance of each bar, from its high and low."""
        return self._shared("range_variance", 1, lambda view: volatility.parkinson(view.panel.high, view.panel.low))

    @cached_property
    def sigma(self) -> Floats:
        """Expected standard deviation of the log return per square root of a bar over the next hours.

        Computed on this view's own rows where none are remembered: its windows are the longest, so a short tail is cheaper
        than a cut.
        """
        return self.kept(
            "sigma", SIGMA_LOOKBACK, lambda view: volatility.forecast_sigma(view.squared_return, view.range_variance)
        )

    @cached_property
    def volume(self) -> Floats:
        """Volume in base units, above nothing by :data:`LEAST_VOLUME`."""
        return np.maximum(self.panel.volume, LEAST_VOLUME)

    @cached_property
    def squared_volume(self) -> Floats:
        """Square of :attr:`volume`."""
        return self.volume**2

    @cached_property
    def typical_notional(self) -> Floats:
        """Volume at the bar's typical price (the mean of high, low and close), USDT."""
        return (self.panel.high + self.panel.low + self.panel.close) / 3.0 * self.volume

    @cached_property
    def rising_volume(self) -> Floats:
        """Volume with the sign of its bar's return, base units."""
        return np.sign(self.log_return) * self.volume

    @cached_property
    def candle_width(self) -> Floats:
        """High less low, floored far below a tick so that a still candle has shape 0."""
        return np.maximum(self.panel.high - self.panel.low, 1e-9 * self.panel.close)

    @cached_property
    def log_volume(self) -> Floats:
        """Log of the notional volume (USDT), floored at one dollar so that an exchange outage stays finite."""
        return self._shared("log_volume", 1, lambda view: np.log(np.maximum(view.panel.volume * view.panel.close, 1.0)))

    @cached_property
    def log_open_interest(self) -> Floats:
        """Log of open interest in base units."""
        return self._shared("log_open_interest", 1, lambda view: np.log(view.panel.open_interest))

    @cached_property
    def log_long_short(self) -> Floats:
        """Log of the ratio of accounts long to accounts short."""
        return self._shared("log_long_short", 1, lambda view: np.log(view.panel.long_short))


def tail_view(panel: Panel, lookback: int, last: int | None) -> View:
    """View on just the rows that the newest ``last`` values need; the whole panel where ``last`` is None.

    Raises
    ------
    InputMissing : ``last`` is below one or beyond the panel's length
    """
    if last is None:
        return View(panel)
    if not 1 <= last <= len(panel):
        raise InputMissing(f"asked for the last {last} rows of a panel of {len(panel)}", "Ask for 1 up to its length")
    return View(panel.last(lookback + last - 1))
