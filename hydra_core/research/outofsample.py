"""Forecasts that a model made on rows it had not seen, calibrated on other rows than those: what policy and gates may use.

Not here: the training of one network (``alpha.forecaster.train``), trading on the forecasts (``books``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hydra_core.alpha.forecaster.artifact import to_forecast
from hydra_core.alpha.forecaster.calibration import Calibration, fit_calibration
from hydra_core.alpha.models import Forecast
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.dataset import Dataset
from hydra_core.research.folds import Span

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def quiet(stage: str, done: int, total: int) -> None:
    """A progress callback that tells nobody."""


def calibrate(dataset: Dataset, raw: Floats, rows: Ints, round_trip: float) -> Calibration:
    """Calibration of raw forecasts (T, P) on some rows; ``round_trip`` is a fraction of notional."""
    long, short = dataset.adverse
    sigma = dataset.sigma[rows] * math.sqrt(dataset.horizon)
    return fit_calibration(
        raw[rows], dataset.label[rows], long[rows], short[rows], sigma, dataset.days[rows], round_trip
    )


def calibrated(
    dataset: Dataset, raw: Floats, round_trip: float, tests: tuple[Span, ...] | None = None
) -> tuple[Forecast, Calibration]:
    """Forecasts for every row that has a raw one.

    Each test block of the walk-forward is calibrated on the other blocks, so that no row tells of itself; every other row,
    the lock-box above all, on all of them.

    Parameters
    ----------
    raw : array (T, P), NaN where there is none
    round_trip : cost of entering and leaving, fraction of notional
    tests : blocks; the dataset's own by default

    Returns
    -------
    (forecast, calibration) : Forecast of shape (T, P); the calibration on all blocks, which goes into an artifact
    """
    blocks = tests or tuple(fold.test for fold in dataset.folds.folds)
    rows = [block.rows() for block in blocks]
    whole = calibrate(dataset, raw, np.concatenate(rows), round_trip)
    out = to_forecast(raw, dataset.sigma, whole, dataset.horizon)
    for index, block in enumerate(blocks):
        others = [part for other, part in enumerate(rows) if other != index]
        part = calibrate(dataset, raw, np.concatenate(others), round_trip)
        span = slice(block.start, block.end)
        made = to_forecast(raw[span], dataset.sigma[span], part, dataset.horizon)
        for name in ("expected_return", "confidence", "adverse_excursion", "volatility"):
            getattr(out, name)[span] = getattr(made, name)
    return out, whole


def baseline_raw(dataset: Dataset, name: str) -> Floats:
    """A rule's raw forecast (T, P): ``momentum`` (the day's return goes on) or ``reversal`` (the hour's is taken back)."""
    column, sign = {"momentum": ("return_288", 1.0), "reversal": ("return_12", -1.0)}[name]
    values = np.asarray(dataset.features[:, :, dataset.feature_names.index(column)], np.float64)
    return sign * values / math.sqrt(dataset.horizon)


def spread_out(values: Floats, rows: Ints, total: int) -> Floats:
    """Values (n, P) made at some ascending rows, held until the next: an array (total, P), NaN before the first.

    A value is held for as long as the usual distance between rows, not beyond.
    """
    out = np.full((total, values.shape[1]), np.nan)
    if not rows.size:
        return out
    stride = int(np.diff(rows).min()) if rows.size > 1 else 1
    for ahead in range(stride):
        at = rows + ahead
        inside = at < total
        out[at[inside]] = values[inside]
    return out


def forecast_arrays(forecast: Forecast, raw: Floats) -> dict[str, Any]:
    """A forecast as named arrays, for a file."""
    return {
        "raw": raw,
        "expected_return": forecast.expected_return,
        "confidence": forecast.confidence,
        "adverse_excursion": forecast.adverse_excursion,
        "volatility": forecast.volatility,
    }


def forecast_of(arrays: dict[str, Any]) -> Forecast:
    """The inverse of :func:`forecast_arrays`."""
    return Forecast(**{name: values for name, values in arrays.items() if name != "raw"})
