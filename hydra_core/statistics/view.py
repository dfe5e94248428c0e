"""A panel together with the arrays that many features and statistics share, each computed once and only when asked for.

Not here: anything that one feature or statistic alone needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Panel
from hydra_core.statistics import volatility
from hydra_core.statistics.rolling import change

SIGMA_LOOKBACK: Final = volatility.FORECAST_LOOKBACK
"""Rows that :attr:`View.sigma` looks back, itself included."""


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

    def memo(self, name: str, compute: Callable[[], Floats]) -> Floats:
        """An array that a few statistics of one family share on this very view; ``name`` is theirs alone."""
        if name not in self._memory:
            self._memory[name] = compute()
        return self._memory[name]

    def _shared(self, name: str, compute: Callable[[], Floats]) -> Floats:
        if self._whole is None:
            return compute()
        whole: Floats = getattr(self._whole, name)
        return whole[whole.shape[0] - len(self.panel) :]

    @cached_property
    def log_close(self) -> Floats:
        """Log of the close."""
        return self._shared("log_close", lambda: np.log(self.panel.close))

    @cached_property
    def log_return(self) -> Floats:
        """Log return close to close of each bar."""
        return self._shared("log_return", lambda: change(self.log_close, 1))

    @cached_property
    def squared_return(self) -> Floats:
        """Squared log return: each bar's realised variance from its close alone."""
        return self._shared("squared_return", lambda: self.log_return**2)

    @cached_property
    def range_variance(self) -> Floats:
        """Parkinson variance of each bar, from its high and low."""
        return self._shared("range_variance", lambda: volatility.parkinson(self.panel.high, self.panel.low))

    @cached_property
    def sigma(self) -> Floats:
        """Expected standard deviation of the log return per square root of a bar over the next hours.

        Computed on this view's own rows: its windows are the longest, so a short tail is cheaper than a cut.
        """
        return volatility.forecast_sigma(self.squared_return, self.range_variance)

    @cached_property
    def log_volume(self) -> Floats:
        """Log of the notional volume (USDT), floored at one dollar so that an exchange outage stays finite."""
        return self._shared("log_volume", lambda: np.log(np.maximum(self.panel.volume * self.panel.close, 1.0)))

    @cached_property
    def log_open_interest(self) -> Floats:
        """Log of open interest in base units."""
        return self._shared("log_open_interest", lambda: np.log(self.panel.open_interest))

    @cached_property
    def log_long_short(self) -> Floats:
        """Log of the ratio of accounts long to accounts short."""
        return self._shared("log_long_short", lambda: np.log(self.panel.long_short))


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
