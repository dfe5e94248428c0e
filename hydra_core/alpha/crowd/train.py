"""Making a crowd model: rows without leakage, a model and its baseline fitted alike, calibrated on later rows.

Rows are every half hour; a row whose side was already being forced out is left out, so that an event has one beginning;
training rows within two horizons of a validation row are purged. Not here: which rows to give (research/folds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from hydra_core.alpha.crowd import columns as crowd_columns
from hydra_core.alpha.crowd import liquidation_map
from hydra_core.alpha.crowd.habits import PRESSURES, USUAL, Habits, learned
from hydra_core.alpha.crowd.logistic import Logistic, deviance, fit, newton, recalibration
from hydra_core.alpha.crowd.model import LEVEL_COLUMN, CrowdArtifact, levelled, sides
from hydra_core.alpha.crowd.score import CrowdMetrics, score_hazard
from hydra_core.alpha.labels import forced_exit, forced_exit_events
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import LIQUIDATIONS, Bools, Floats, Ints, Panel
from hydra_core.statistics import har
from hydra_core.statistics.rolling import rolling_max
from hydra_core.statistics.view import View

STRIDE: Final = 6
"""Bars between two rows: half an hour at 5m."""
RIDGE: Final = 20.0
PHYSICAL_RIDGE: Final = 0.5
"""Of the columns that are a hazard already: they are to be corrected by the others, not drawn to nothing."""
HAR_WINDOWS: Final = (12, 24, 48, 96, 288, 1440)
"""Bars of the means that the volatility of the horizon is foretold from, an hour to five days."""
CALIBRATION_SHARE: Final = 0.2
CALIBRATION_STRENGTH: Final = 30.0
MIN_COVERAGE: Final = 0.9
"""Share of the training rows on which what is read from liquidations must be known, or the model does without it: the
stream has no history, so it begins when HYDRA first listened."""
Labels = tuple[Floats, Floats]
"""Whether longs, and whether shorts, are forced out within the horizon, (T, P) each; NaN where a row is not to be used."""


@dataclass(frozen=True)
class CrowdCandidate:
    """A trained crowd model with what it reached on its validation rows.

    Parameters
    ----------
    artifact : what is saved and served
    metrics : on the validation rows
    train_rows, train_base_rate : rows of both sides that it was fitted on, and their share of events
    seed : of the bootstrap draws
    """

    artifact: CrowdArtifact
    metrics: CrowdMetrics
    train_rows: int
    train_base_rate: float
    seed: int

    def save(self, folder: Path) -> Path:
        """Write the model's file into a folder; the caller adds the card. Returns the file."""
        return self.artifact.save(folder)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Rows of both sides, longs first: columns (n, C), label (n,), row number (n,)."""

    values: Floats
    label: Floats
    row: Ints

    def where(self, chosen: Bools) -> _Samples:
        return _Samples(self.values[chosen], self.label[chosen], self.row[chosen])


def train_crowd(
    panel: Panel,
    train_rows: Ints,
    valid_rows: Ints,
    seed: int,
    *,
    horizon: int = 48,
    stride: int = STRIDE,
    labels: Labels | None = None,
) -> CrowdCandidate:
    """Fit, calibrate and score a crowd model.

    Parameters
    ----------
    panel : Panel with open interest; funding and the long/short ratio are used where it has them
    train_rows, valid_rows : int64 arrays of row numbers; train rows near validation rows are dropped here
    seed : of the bootstrap (the fit itself has no chance in it)
    horizon : bars within which a forced exit counts
    stride : bars between two rows that are used
    labels : what is to be foretold; by default :func:`hydra_core.alpha.labels.forced_exit` less rows inside an exit

    Raises
    ------
    InputMissing : no open interest, or too few forced exits to learn from
    """
    train = _thinned(np.asarray(train_rows, np.int64), stride)
    valid = _thinned(np.asarray(valid_rows, np.int64), stride)
    train = train[~_near(train, valid, 2 * horizon)]
    labels = exit_labels(panel, horizon) if labels is None else labels
    habits = _habits(panel, train, labels, horizon)
    chosen, values = _known_enough(panel, train, habits)
    names = tuple(column.name for column in chosen)
    levels = _pair_levels(values[train, :, names.index(LEVEL_COLUMN)], panel)
    levelled(values, names, levels)

    seen = _samples(values, labels, chosen, train)
    later = _samples(values, labels, chosen, valid)
    if not seen.label.size or not later.label.size:
        raise InputMissing("no usable rows for the crowd model", "Its columns need 8 days before the first row")
    narrow = [names.index(name) for name in crowd_columns.VOLATILITY]
    model = _fit_calibrated(names, seen, horizon)
    baseline = _fit_calibrated(
        crowd_columns.VOLATILITY, _Samples(seen.values[:, narrow], seen.label, seen.row), horizon
    )
    artifact = CrowdArtifact(
        version="",
        horizon_bars=horizon,
        hazard_model=model,
        baseline_model=baseline,
        pair_levels={str(pair): float(level) for pair, level in zip(panel.pairs, levels, strict=True)},
        habits=habits,
    )
    base_rate = float(seen.label.mean())
    metrics = _score(panel, later, model, baseline, narrow, base_rate, seed)
    return CrowdCandidate(artifact, metrics, int(seen.label.size), base_rate, seed)


def evaluate_crowd(
    artifact: CrowdArtifact,
    panel: Panel,
    rows: Ints,
    base_rate: float,
    seed: int,
    *,
    stride: int = STRIDE,
    labels: Labels | None = None,
) -> CrowdMetrics:
    """Figures of a saved model on other rows, e.g. the lock-box.

    Parameters
    ----------
    base_rate : share of events in the model's training rows (``CrowdCandidate.train_base_rate``)
    labels : as in :func:`train_crowd`
    """
    chosen = artifact.columns
    values = crowd_columns.compute(panel, chosen, habits=artifact.habits)
    names = artifact.hazard_model.names
    levelled(values, names, artifact.levels(panel))
    labels = exit_labels(panel, artifact.horizon_bars) if labels is None else labels
    later = _samples(values, labels, chosen, _thinned(np.asarray(rows, np.int64), stride))
    narrow = [names.index(name) for name in artifact.baseline_model.names]
    return _score(panel, later, artifact.hazard_model, artifact.baseline_model, narrow, base_rate, seed)


def _thinned(rows: Ints, stride: int) -> Ints:
    """Rows on the stride's grid; all of them where the caller has already thinned out."""
    on_grid = rows[rows % stride == 0]
    return on_grid if on_grid.size * stride > rows.size // 2 else rows


def _near(rows: Ints, others: Ints, distance: int) -> Bools:
    """Whether a row lies within ``distance`` of any of the others."""
    if not others.size:
        return np.zeros(rows.size, np.bool_)
    ordered = np.sort(others)
    after = np.minimum(np.searchsorted(ordered, rows), ordered.size - 1)
    before = np.maximum(after - 1, 0)
    return np.asarray(np.minimum(np.abs(ordered[after] - rows), np.abs(ordered[before] - rows)) <= distance)


def _known_enough(panel: Panel, train: Ints, habits: Habits) -> tuple[tuple[crowd_columns.Column, ...], Floats]:
    """The columns that the panel's inputs allow, and their values (T, P, C).

    Those read from liquidations are left out unless they are known on nearly all the training rows where the others are.
    """
    allowed = tuple(column for column in crowd_columns.columns() if column.inputs <= panel.inputs)
    values = crowd_columns.compute(panel, allowed, habits=habits)
    optional = np.array([LIQUIDATIONS in column.inputs for column in allowed])
    known = np.isfinite(values[train])
    usual = known[..., ~optional].all(axis=-1)
    covered = known[usual].mean(axis=0) if usual.any() else np.zeros(len(allowed))
    kept = np.flatnonzero(~optional | (covered >= MIN_COVERAGE))
    if kept.size == len(allowed):
        return allowed, values
    return tuple(allowed[k] for k in kept), np.ascontiguousarray(values[..., kept])


def _habits(panel: Panel, train: Ints, labels: Labels, horizon: int) -> Habits:
    """What the training rows tell of the crowd's habits; a usual crowd's where no liquidations are published.

    Distances and holding time are those that explain the reported liquidations; the pressure is the one under which the map
    explains the labels best.
    """
    if not train.size or not panel.inputs.issuperset(crowd_columns.MAPPED):
        return USUAL
    rows = slice(0, int(train[-1]) + 1)
    view = View(panel)
    longs, shorts = liquidation_map.published(view, rows)
    found = learned([*longs, *shorts], liquidation_map.MAP_BARS)
    forecast = har.fit_log_har(crowd_columns.garman_klass_variance(view)[rows], HAR_WINDOWS, horizon)
    found = replace(found, windows=forecast.windows, volatility=forecast.coefficients)
    waiting = liquidation_map.waiting(view, found)[:, train]
    sigmas = view.sigma[train], crowd_columns.horizon_sigma(view, found)[train]
    label = np.stack([side[train] for side in labels])
    best, least = found, math.inf
    for pressure in PRESSURES:
        odds = crowd_columns.reach(waiting, *sigmas, pressure)
        known = np.isfinite(odds) & np.isfinite(label)
        if not known.any():
            return found
        loss = deviance(odds[known], label[known])
        if loss < least:
            best, least = replace(found, pressure=pressure), loss
    return best


def exit_labels(panel: Panel, horizon: int) -> Labels:
    """Labels of longs and shorts, NaN also where the side was forced out within the last horizon."""
    out = []
    for event, label in zip(forced_exit_events(panel), forced_exit(panel, horizon), strict=True):
        running = rolling_max(event, horizon)
        out.append(np.where(running == 0.0, label, np.nan))
    return out[0], out[1]


def _pair_levels(log_sigma: Floats, panel: Panel) -> Floats:
    known = np.isfinite(log_sigma)
    seen = np.asarray(known.any(axis=0))
    if not seen.all():
        lacking = [pair for pair, any_known in zip(panel.pairs, seen, strict=True) if not any_known]
        raise InputMissing(f"no volatility for {', '.join(lacking)} in the training rows", "Train on a longer history")
    return np.asarray(np.where(known, log_sigma, 0.0).sum(axis=0) / known.sum(axis=0))


def _samples(values: Floats, labels: Labels, chosen: tuple[crowd_columns.Column, ...], rows: Ints) -> _Samples:
    mirror = sides(chosen)
    parts = []
    for label, sign in zip(labels, (np.ones(len(chosen)), mirror), strict=True):
        seen = values[rows] * sign
        good = np.isfinite(seen).all(axis=-1) & np.isfinite(label[rows])
        numbers = np.broadcast_to(rows[:, None], good.shape)
        parts.append((seen[good], label[rows][good], numbers[good]))
    return _Samples(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _fit_calibrated(names: tuple[str, ...], seen: _Samples, horizon: int) -> Logistic:
    """Fit on the earlier rows to see how far off the log odds are on the later ones, then fit on all and correct it."""
    cut = np.quantile(seen.row, 1.0 - CALIBRATION_SHARE)
    early, late = seen.where(seen.row < cut - 2 * horizon), seen.where(seen.row >= cut)
    ridge = np.array([PHYSICAL_RIDGE if name in crowd_columns.PHYSICAL else RIDGE for name in names])
    slope, shift = 1.0, 0.0
    if early.label.sum() >= 20 and late.label.sum() >= 20:
        trial = fit(names, early.values, early.label, ridge)
        slope, shift = recalibration(_log_odds(trial.probability(late.values)), late.label, CALIBRATION_STRENGTH)
    return fit(names, seen.values, seen.label, ridge).recalibrated(slope, shift)


def _log_odds(probability: Floats) -> Floats:
    return np.asarray(np.log(probability / (1.0 - probability)))


def _score(
    panel: Panel, later: _Samples, model: Logistic, baseline: Logistic, narrow: list[int], base_rate: float, seed: int
) -> CrowdMetrics:
    if later.label.sum() < 10:
        raise InputMissing(f"{int(later.label.sum())} forced exits to validate on", "Validate on a longer history")
    hazard = model.probability(later.values)
    odds = _log_odds(hazard)
    design = np.stack([np.ones(odds.size), odds], axis=1)
    _, slope = newton(design, later.label, np.full(2, 1e-6), np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    day = (panel.close_ms[later.row] // DAY_MS).astype(np.int64)
    return score_hazard(
        hazard, baseline.probability(later.values[:, narrow]), later.label, day, base_rate, float(slope), seed
    )
