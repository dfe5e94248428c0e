"""Heterogeneous autoregressions of realised variance: HAR, HARQ and log-HAR, each fitted by least squares.

All variances are per bar in squared log return. Not here: the frozen forecast that decisions use (volatility.py), models
that pool pairs and calendar (pooled.py).

Sources: Corsi (2009) for HAR; Bollerslev, Patton and Quaedvlieg (2016) for HARQ; windows of a day, a week and a month
are 1, 7 and 30 days, for crypto never closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.volatility import VARIANCE_FLOOR as FLOOR


def log_mean_variance(squared_return: Floats, window: int) -> Floats:
    """Log of the mean of squared returns over ``window`` bars, floored so that a market that stands still is finite."""
    return np.asarray(np.log(np.maximum(rolling_mean(squared_return, window), FLOOR)))


def future_variance(squared_return: Floats, horizon: int) -> Floats:
    """Mean squared return of the ``horizon`` bars after each row; NaN where they are not complete. For fitting only."""
    out = np.full(squared_return.shape, np.nan)
    if 0 < horizon < squared_return.shape[0]:
        out[:-horizon] = rolling_mean(squared_return, horizon)[horizon:]
    return out


def least_squares(columns: Sequence[Floats], target: Floats, what: str) -> tuple[Floats, Floats]:
    """Coefficients (the intercept first) and residuals over the rows where everything is finite.

    Raises
    ------
    InputMissing : fewer than ten complete rows per coefficient
    """
    design = np.stack([np.ones(target.shape), *columns], axis=-1).reshape(-1, len(columns) + 1)
    flat = target.reshape(-1)
    good = np.isfinite(design).all(axis=1) & np.isfinite(flat)
    if good.sum() < 10 * design.shape[1]:
        raise InputMissing(f"{what} has {int(good.sum())} complete rows", "Give it a longer history")
    slopes, *_ = np.linalg.lstsq(design[good], flat[good], rcond=None)
    return np.asarray(slopes, np.float64), flat[good] - design[good] @ slopes


@dataclass(frozen=True)
class LogHar:
    """A fitted log-HAR: ln V over the next ``horizon`` bars on the logs of trailing means of realised variance.

    Parameters
    ----------
    windows : bars of the trailing means
    coefficients : intercept, then one slope a window
    residual_variance : of the log; half of it turns a log forecast into a mean
    """

    windows: tuple[int, ...]
    coefficients: tuple[float, ...]
    residual_variance: float

    def predict(self, squared_return: Floats) -> Floats:
        """Expected variance per bar over the horizon, of the input's shape."""
        out = np.full(squared_return.shape, self.coefficients[0] + 0.5 * self.residual_variance)
        for window, slope in zip(self.windows, self.coefficients[1:], strict=True):
            out = out + slope * log_mean_variance(squared_return, window)
        return np.asarray(np.exp(out))


def fit_log_har(squared_return: Floats, windows: tuple[int, ...], horizon: int) -> LogHar:
    """Least squares over all rows whose windows and future are complete, pooled over columns.

    Parameters
    ----------
    squared_return : array of shape (T,) or (T, P); hand in training rows only
    windows : bars, e.g. (288, 2016, 8640) for a day, a week, a month
    horizon : bars ahead

    Raises
    ------
    InputMissing : fewer than ten complete rows per coefficient
    """
    target = np.log(np.maximum(future_variance(squared_return, horizon), FLOOR))
    columns = [log_mean_variance(squared_return, window) for window in windows]
    slopes, residual = least_squares(columns, target, "log-HAR")
    return LogHar(windows, tuple(float(v) for v in slopes), float(residual.var()))


@dataclass(frozen=True)
class Har:
    """A fitted HAR in levels, with or without the correction for noise in the shortest variance.

    Parameters
    ----------
    windows : bars of the trailing means, the shortest first
    coefficients : intercept, one slope a window, and for HARQ the slope of RV sqrt(RQ)
    least : the smallest variance of training; a linear forecast below it is raised to it
    """

    windows: tuple[int, ...]
    coefficients: tuple[float, ...]
    least: float

    def predict(self, squared_return: Floats) -> Floats:
        """Expected variance per bar over the horizon, of the input's shape."""
        columns = _levels(squared_return, self.windows, quarticity=len(self.coefficients) > len(self.windows) + 1)
        out = np.full(squared_return.shape, self.coefficients[0])
        for column, slope in zip(columns, self.coefficients[1:], strict=True):
            out = out + slope * column
        return np.asarray(np.maximum(out, self.least))


def _levels(squared_return: Floats, windows: tuple[int, ...], quarticity: bool) -> list[Floats]:
    columns = [rolling_mean(squared_return, window) for window in windows]
    if quarticity:
        columns.append(columns[0] * np.sqrt(rolling_mean(squared_return**2, windows[0])))
    return columns


def fit_har(squared_return: Floats, windows: tuple[int, ...], horizon: int, quarticity: bool = False) -> Har:
    """HAR in levels, or HARQ with ``quarticity``; parameters and errors as for :func:`fit_log_har`.

    One crash in training bends a regression in levels for good: prefer the logs.
    """
    columns = _levels(squared_return, windows, quarticity)
    target = future_variance(squared_return, horizon)
    slopes, _ = least_squares(columns, target, "HARQ" if quarticity else "HAR")
    return Har(windows, tuple(float(v) for v in slopes), max(float(np.nanmin(target)), FLOOR))
