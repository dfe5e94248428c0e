"""Completed bars of longer intervals (15m, 1h, 4h, on the UTC grid), made of the panel's own bars.

A row reads the newest longer bar that is closed at the row's own close: in the middle of an hour that is the hour before, never
the one under way. A longer bar of which a bar is missing is unknown; nothing is made of what is left of it.
Not here: candles of longer intervals that an exchange publishes (the lake derives its own, ``lake.derive``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import FORECAST_INTERVAL, Interval
from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.rolling import change, rolling_mean, rolling_std
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

INTERVALS: Final = (Interval.M15, Interval.H1, Interval.H4)
RUN_BARS: Final = 8
"""A run of bars of one sign is counted up to so many."""
STRENGTH_BARS: Final = 14
MEAN_BARS: Final = 20
EXPECTED_RANGE: Final = math.sqrt(8.0 / math.pi)
"""Mean range of a Brownian motion over the standard deviation of its end (Feller, 1951)."""

_OPEN, _HIGH, _LOW, _CLOSE = range(4)
_LEAST_SIGMA = 1e-9
_LEAST_RANGE = 1e-9
_LEAST_DEVIATION = 1e-5
_LEAST_PATH = 1e-9


def _rows_a_bar(interval: Interval, step_ms: int = FORECAST_INTERVAL.ms) -> int:
    return interval.ms // step_ms


def _lookback(interval: Interval, bars: int, before: int = 0) -> int:
    """Rows that the newest ``bars`` completed bars lie in, ``before`` rows ahead of them, and those of the bar under way."""
    rows = _rows_a_bar(interval)
    return bars * rows + rows - 1 + before


def _first_row(view: View, interval: Interval) -> int:
    """Row that opens the first longer bar of the view."""
    panel = view.panel
    if interval.ms % panel.interval.ms:
        raise InputMissing(f"bars of {interval} cannot be made of a panel of {panel.interval}", "Use a 5m panel")
    return int(-panel.ts[0] % interval.ms) // panel.interval.ms if len(panel) else 0


def longer_bars(view: View, interval: Interval) -> Floats:
    """Open, high, low and close of the completed bars of an interval that lie in a view.

    Returns
    -------
    array (4, K, P), oldest first, USDT; NaN where one of a bar's own bars is missing
    """

    def made() -> Floats:
        panel, first = view.panel, _first_row(view, interval)
        rows = _rows_a_bar(interval, panel.interval.ms)
        count = max(0, len(panel) - first) // rows
        shape = (count, rows, len(panel.pairs))
        opened, high, low, closed = (
            values[first : first + count * rows].reshape(shape)
            for values in (panel.open, panel.high, panel.low, panel.close)
        )
        broken = np.isnan(opened + high + low + closed).any(axis=1)
        bars = np.stack([opened[:, 0], high.max(axis=1), low.min(axis=1), closed[:, -1]])
        return np.where(broken, np.nan, bars)

    return view.memo(f"bars {interval}", made)


def _of_rows(view: View, interval: Interval, values: Floats) -> Floats:
    """For every row the value (K, P) of the newest bar that is closed at the row's close, (T, P); NaN before the first one."""
    panel = view.panel
    out = np.full(panel.close.shape, np.nan)
    if not values.shape[0]:
        return out
    first_open = int(panel.ts[_first_row(view, interval)])
    newest: Ints = (panel.close_ms - first_open) // interval.ms - 1
    known = newest >= 0
    out[known] = values[newest[known]]
    return out


def _sigma_before(view: View, interval: Interval) -> Floats:
    """Standard deviation of a bar's log return as it was expected when the bar opened, (K, P)."""
    first, rows = _first_row(view, interval), _rows_a_bar(interval, view.panel.interval.ms)
    count = longer_bars(view, interval).shape[1]
    before = first - 1 + rows * np.arange(count)
    sigma = np.full((count, len(view.panel.pairs)), np.nan)
    known = before >= 0
    sigma[known] = view.sigma[before[known]]
    return np.asarray(np.maximum(sigma, _LEAST_SIGMA) * math.sqrt(rows))


def _bar_return(interval: Interval) -> Callable[[View], Floats]:
    """Log return of the last completed bar, open to close, in standard deviations that were expected of it."""

    def compute(view: View) -> Floats:
        bars = longer_bars(view, interval)
        scaled = np.log(bars[_CLOSE] / bars[_OPEN]) / _sigma_before(view, interval)
        return _of_rows(view, interval, scaled)

    return compute


def _bar_range(interval: Interval) -> Callable[[View], Floats]:
    """Log of the last completed bar's range over the range that was expected of it."""

    def compute(view: View) -> Floats:
        bars = longer_bars(view, interval)
        width = np.maximum(np.log(bars[_HIGH] / bars[_LOW]), _LEAST_RANGE)
        return _of_rows(view, interval, np.log(width / (EXPECTED_RANGE * _sigma_before(view, interval))))

    return compute


def _bar_position(interval: Interval) -> Callable[[View], Floats]:
    """Where the last completed bar closed between its low (-0.5) and its high (0.5); 0 where it did not move."""

    def compute(view: View) -> Floats:
        bars = longer_bars(view, interval)
        width = bars[_HIGH] - bars[_LOW]
        still = width <= _LEAST_RANGE * bars[_HIGH]
        place = (bars[_CLOSE] - bars[_LOW]) / np.where(still, 1.0, width) - 0.5
        return _of_rows(view, interval, np.where(still, 0.0, place))

    return compute


def _bar_run(interval: Interval) -> Callable[[View], Floats]:
    """How many bars in a row rose (above 0) or fell, the last completed one among them, as a share of :data:`RUN_BARS`.

    A bar that did not move, and one that is unknown, ends the run before it.
    """

    def compute(view: View) -> Floats:
        bars = longer_bars(view, interval)
        sign = np.sign(bars[_CLOSE] - bars[_OPEN])
        alike = np.isfinite(sign)
        count = np.zeros(sign.shape)
        for back in range(RUN_BARS):
            earlier = np.full(sign.shape, np.nan)
            earlier[back:] = sign[: max(0, sign.shape[0] - back)]
            alike = alike & (earlier == sign)
            count += alike
        return _of_rows(view, interval, sign * count / RUN_BARS)

    return compute


def _strength(interval: Interval) -> Callable[[View], Floats]:
    """Rises less falls of the last closes over both, in [-1, 1]: the relative strength index (Wilder, 1978) on plain means,
    2 RSI / 100 - 1."""

    def compute(view: View) -> Floats:
        moves = change(np.log(longer_bars(view, interval)[_CLOSE]), 1)
        path = rolling_mean(np.abs(moves), STRENGTH_BARS)
        return _of_rows(view, interval, rolling_mean(moves, STRENGTH_BARS) / np.maximum(path, _LEAST_PATH))

    return compute


def _mean_distance(interval: Interval) -> Callable[[View], Floats]:
    """Log of the row's own close over the mean of the last completed closes, in standard deviations of these (Bollinger)."""

    def compute(view: View) -> Floats:
        closes = np.log(longer_bars(view, interval)[_CLOSE])
        mean = rolling_mean(closes, MEAN_BARS)
        deviation = np.maximum(rolling_std(closes, MEAN_BARS, mean=mean), _LEAST_DEVIATION)
        return (view.log_close - _of_rows(view, interval, mean)) / _of_rows(view, interval, deviation)

    return compute


for _interval in INTERVALS:
    _reach = _lookback(_interval, 1, before=1)
    for _name, _made in (("bar_return", _bar_return), ("bar_range", _bar_range)):
        feature(
            f"{_name}_{_interval}", lookback=SIGMA_LOOKBACK - 1 + _reach, reach=_reach, usual=False
        )(_made(_interval))  # fmt: skip
    feature(f"bar_position_{_interval}", lookback=_lookback(_interval, 1), usual=False)(_bar_position(_interval))
for _interval in (Interval.H1, Interval.H4):
    feature(f"bar_run_{_interval}", lookback=_lookback(_interval, RUN_BARS), usual=False)(_bar_run(_interval))
    feature(f"mean_distance_{_interval}", lookback=_lookback(_interval, MEAN_BARS), usual=False)(
        _mean_distance(_interval)
    )
feature("strength_1h", lookback=_lookback(Interval.H1, STRENGTH_BARS + 1), usual=False)(_strength(Interval.H1))
