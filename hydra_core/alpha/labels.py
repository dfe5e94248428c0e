"""What the models are trained to predict: the future of each row, never part of what a model sees.

Every label of row t lies strictly after the close of bar t; the last rows, whose future is not complete, are NaN.
Not here: which rows to train on, purging (research/folds).
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import OPEN_INTEREST, Floats, Ints, Panel
from hydra_core.statistics.rolling import lag, rolling_max, rolling_min
from hydra_core.statistics.view import View

LEAST_SIGMA: Final = 3e-6
"""Standard deviation per square root of a bar below which a price stands still: the volatility forecast has a floor of a third
of this, and what is measured in units of it means nothing."""
EVENT_BARS: Final = 3
"""A forced exit happens within a quarter of an hour (5m bars)."""
EVENT_SIGMAS: Final = 3.0
"""It moves the price against its side by this many standard deviations of those bars."""
EVENT_OI_FALL: Final = 0.03
"""And it closes at least this share of open interest."""
Target = Literal["return", "barrier", "quintile"]
"""What a forecaster may be taught of a row's future; it is always judged by the return."""
RETURN: Final[Target] = "return"
BARRIER: Final[Target] = "barrier"
QUINTILE: Final[Target] = "quintile"
_SIGN_SCALE: Final = math.sqrt(math.pi / 2)
"""A sign's mean is this much smaller than the small mean of a normal that it is the sign of."""
_EDGES: Final = (-0.8416, -0.2533, 0.2533, 0.8416)
"""Quintiles of a standard normal."""
_FIFTHS: Final = (-1.3998, -0.5319, 0.0, 0.5319, 1.3998)
"""Mean of a standard normal in each of its fifths."""
_FIFTHS_SQUARE: Final = sum(value**2 for value in _FIFTHS) / 5


def forward_return(panel: Panel, horizon: int) -> Floats:
    """Log return from the next bar's open over ``horizon`` bars, ln open[t+1+H] / open[t+1], shape (T, P)."""
    log_open = np.log(panel.open)
    return _ahead(log_open, 1 + horizon) - _ahead(log_open, 1)


def volatility_scale(panel: Panel) -> Floats:
    """Standard deviation of log return per square root of a bar, as expected at each close, shape (T, P).

    Causal: it is :attr:`hydra_core.statistics.view.View.sigma`, the one volatility forecast of the platform. Divide a
    label over H bars by ``scale * sqrt(H)``.
    """
    return View(panel).sigma


def scaled_return(panel: Panel, horizon: int) -> Floats:
    """Forward return in standard deviations of the horizon, shape (T, P); NaN where the price stands still."""
    scale = volatility_scale(panel)
    return forward_return(panel, horizon) / (np.where(scale > LEAST_SIGMA, scale, np.nan) * math.sqrt(horizon))


def triple_barrier(panel: Panel, horizon: int, width: float) -> tuple[Floats, Floats]:
    """Which of two barriers about the next open the price touches first, and how many bars it takes.

    The barriers stand ``width`` standard deviations of the horizon away, as expected at the row's close. Where neither is
    touched within ``horizon`` bars, time is the third barrier and the side is the sign of the return. Where one bar touches
    both, their order is not known and the side is 0. Source: López de Prado (2018), ch. 3.

    Returns
    -------
    (side, bars) : arrays (T, P); side 1, -1 or 0, bars in [1, horizon]; NaN where the future is not complete or the price
        stands still
    """
    scale = volatility_scale(panel)
    reach = width * math.sqrt(horizon) * np.where(scale > LEAST_SIGMA, scale, np.nan)
    entry = _ahead(np.log(panel.open), 1)
    high, low = np.log(panel.high), np.log(panel.low)
    side, bars = np.full(entry.shape, np.nan), np.full(entry.shape, np.nan)
    running = np.isfinite(entry) & np.isfinite(reach)
    for bar in range(1, horizon + 1):
        above, below = _ahead(high, bar) - entry, entry - _ahead(low, bar)
        running &= np.isfinite(above) & np.isfinite(below)
        up, down = running & (above >= reach), running & (below >= reach)
        touched = up | down
        side[touched] = up[touched].astype(np.float64) - down[touched]
        bars[touched] = bar
        running &= ~touched
    timeout = forward_return(panel, horizon)
    running &= np.isfinite(timeout)
    side[running] = np.sign(timeout[running])
    bars[running] = horizon
    return side, bars


def training_target(panel: Panel, horizon: int, kind: Target, width: float) -> tuple[Floats, Floats]:
    """What a forecaster is taught, in standard deviations of the horizon, and the bars that each label runs over.

    A side or a fifth is scaled so that a small expected return of a normal comes out as itself; what is left of that is the
    calibration's.

    Parameters
    ----------
    kind : the scaled return; the side of :func:`triple_barrier`; or the mean of the fifth of a normal that the scaled return
        falls into, so that no outlier sets the weights
    width : of the barriers

    Returns
    -------
    (target, bars) : arrays (T, P), NaN where the future is not complete
    """
    if kind == BARRIER:
        side, bars = triple_barrier(panel, horizon, width)
        return _SIGN_SCALE * side, bars
    scaled = scaled_return(panel, horizon)
    bars = np.where(np.isfinite(scaled), float(horizon), np.nan)
    if kind == QUINTILE:
        fifths = np.array(_FIFTHS)[np.searchsorted(_EDGES, np.nan_to_num(scaled))] / _FIFTHS_SQUARE
        return np.where(np.isfinite(scaled), fifths, np.nan), bars
    return scaled, bars


def average_uniqueness(rows: Ints, bars: Floats) -> Floats:
    """How much of each label is its own: the mean, over the bars it runs over, of one over the labels that run there.

    Source: López de Prado (2018), ch. 4.

    Parameters
    ----------
    rows : array (n,), ascending rows that are trained on
    bars : array (n, P), bars that each one's label runs over from the next row on; NaN where there is none

    Returns
    -------
    array (n, P), in (0, 1]; NaN where there is no label
    """
    out = np.full(bars.shape, np.nan)
    for pair in range(bars.shape[1]):
        known = np.isfinite(bars[:, pair])
        if not known.any():
            continue
        first = rows[known] + 1
        end = first + bars[known, pair].astype(np.int64)
        size = int(end.max()) + 1
        running = np.cumsum(np.bincount(first, minlength=size) - np.bincount(end, minlength=size))
        shares = np.concatenate([[0.0], np.cumsum(1.0 / np.maximum(running, 1))])
        out[known, pair] = (shares[end] - shares[first]) / (end - first)
    return out


def adverse_excursion(panel: Panel, horizon: int) -> tuple[Floats, Floats]:
    """Worst move against a long and against a short entered at the next open, within ``horizon`` bars.

    Returns
    -------
    (against_long, against_short) : arrays (T, P), positive log distances
    """
    entry = _ahead(np.log(panel.open), 1)
    lowest = _ahead(np.log(rolling_min(panel.low, horizon)), horizon)
    highest = _ahead(np.log(rolling_max(panel.high, horizon)), horizon)
    return entry - lowest, highest - entry


def forced_exit_events(panel: Panel) -> tuple[Floats, Floats]:
    """Whether a forced exit of longs (of shorts) ran over the bars that end with row j, shape (T, P) each.

    A forced exit of longs: within :data:`EVENT_BARS` bars the price fell below its start by more than
    :data:`EVENT_SIGMAS` standard deviations, as expected at that start, while open interest fell by more than
    :data:`EVENT_OI_FALL`. Open interest is published a bar late, so row j looks at row j+1's reading: an event is a
    label, not an input.

    Returns
    -------
    (long, short) : 1.0, 0.0, or NaN where price, volatility or open interest is not known

    Raises
    ------
    InputMissing : the panel has no open interest
    """
    if OPEN_INTEREST not in panel.inputs:
        raise InputMissing("forced exits need open interest, the panel has none", "Collect it, or leave this label out")
    view = View(panel)
    start = lag(view.log_close, EVENT_BARS)
    limit = EVENT_SIGMAS * math.sqrt(EVENT_BARS) * lag(view.sigma, EVENT_BARS)
    fall = start - np.log(rolling_min(panel.low, EVENT_BARS))
    rise = np.log(rolling_max(panel.high, EVENT_BARS)) - start
    closed = lag(view.log_open_interest, EVENT_BARS) - _ahead(view.log_open_interest, 1)
    threshold = -math.log1p(-EVENT_OI_FALL)
    unknown = ~(np.isfinite(fall) & np.isfinite(rise) & np.isfinite(limit) & np.isfinite(closed))
    forced = closed > threshold
    long = np.where(unknown, np.nan, ((fall > limit) & forced).astype(np.float64))
    short = np.where(unknown, np.nan, ((rise > limit) & forced).astype(np.float64))
    return long, short


def forced_exit(panel: Panel, horizon: int) -> tuple[Floats, Floats]:
    """Whether longs (shorts) are forced out within the ``horizon`` bars after row t, shape (T, P) each.

    Only events that begin after the close of row t count. Values are 1.0, 0.0 or NaN (future not complete).
    """
    long, short = forced_exit_events(panel)
    span = horizon - EVENT_BARS + 1
    if span < 1:
        raise InputMissing(f"a horizon of {horizon} bars is shorter than an event", f"Use {EVENT_BARS} bars or more")
    return _any_ahead(long, span, horizon), _any_ahead(short, span, horizon)


def _any_ahead(event: Floats, span: int, horizon: int) -> Floats:
    """1 where any of the ``span`` rows ending at t+horizon is 1, 0 where all are 0, NaN where one is unknown."""
    found = _ahead(rolling_max(event, span), horizon)
    unknown = _ahead(rolling_max(np.isnan(event).astype(np.float64), span), horizon)
    return np.where((unknown == 0.0) | (found == 1.0), found, np.nan)


def _ahead(values: Floats, rows: int) -> Floats:
    """The value ``rows`` later; NaN at the end."""
    out = np.full(values.shape, np.nan)
    if rows < values.shape[0]:
        out[: values.shape[0] - rows] = values[rows:]
    return out
