"""Forecasters that follow a market that changes: refitted every so many rows, their calibration renewed as they go.

Each refit sees the newest rows of a fixed span that ended a gap earlier; a network starts from the one before at a fifth of
its learning rate. Renewed calibration asks what the forecasts of the last weeks were worth: where a signal has died or turned,
its slope is gone within weeks, long before a refit has forgotten the old rows. For study of a rhythm over a history: the weekly
job makes one refit a run (``research.ancestry`` says from what). Not here: one fit (``families``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydra_core.alpha.forecaster.calibration import shrunk_slope
from hydra_core.alpha.forecaster.families import VALID_SHARE, FamilyModel, Recipe, fit_family
from hydra_core.alpha.forecaster.windows import Features
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When to refit and on what.

    Parameters
    ----------
    every : rows between two refits (a week of 5m bars is 2016)
    span : newest rows that a refit trains and chooses on
    gap : rows left out between what a model saw and what it tells
    stride : rows between two training rows
    warm : start networks from the ones before
    """

    every: int = 2_016
    span: int = 24_192
    gap: int = 100
    stride: int = 1
    warm: bool = True


def refitted(
    family: str, features: Features, labels: Floats, first: int, rhythm: Rhythm, recipe: Recipe, *, seed: int
) -> Floats:
    """Raw forecasts (T, P) of every row from ``first`` on, each by the newest model that had not seen it.

    Parameters
    ----------
    features : float32 array (T, P, F)
    labels : array (T, P), standardised forward returns

    Raises
    ------
    InputMissing : fewer than half a span of rows before ``first``
    """
    if first - rhythm.gap < rhythm.span // 2:
        raise InputMissing(f"{first} rows before the first forecast, half of {rhythm.span} needed", "Begin later")
    raw = np.full(labels.shape, np.nan)
    state: Mapping[str, Any] | None = None
    for start in range(first, len(labels), rhythm.every):
        model = _fit(family, features, labels, start, rhythm, recipe, seed, state if rhythm.warm else None)
        if model.network is not None:
            state = model.network.state()
        rows = np.arange(start, min(start + rhythm.every, len(labels)))
        raw[rows] = model.predict(features, rows)
    return raw


def _fit(
    family: str,
    features: Features,
    labels: Floats,
    start: int,
    rhythm: Rhythm,
    recipe: Recipe,
    seed: int,
    state: Mapping[str, Any] | None,
) -> FamilyModel:
    end = start - rhythm.gap
    rows = np.arange(max(recipe.shape.reach, end - rhythm.span), end, rhythm.stride)
    valid = rows[int(rows.size * (1 - VALID_SHARE)) :]
    train = rows[rows < valid[0] - rhythm.gap]
    return fit_family(family, features, labels, train, valid, recipe, seed=seed, start=state)


def renewed_slopes(raw: Floats, labels: Floats, blocks: Ints, rhythm: Rhythm, weeks: int = 4) -> Floats:
    """What is left of each row's raw forecast, judged by the forecasts of the last weeks alone, shape (T,).

    Parameters
    ----------
    raw, labels : arrays (T, P), NaN where unknown
    blocks : array (T,), day of each row: the blocks of the slope's standard error
    weeks : rhythms looked back over

    Returns
    -------
    array (T,), in [0, 1]; 0 until there is a week of forecasts
    """
    out = np.zeros(len(labels))
    known = np.flatnonzero(np.isfinite(raw).any(axis=1))
    if not known.size:
        return out
    for start in range(int(known[0]), len(labels), rhythm.every):
        seen = np.arange(max(int(known[0]), start - rhythm.gap - weeks * rhythm.every), max(0, start - rhythm.gap))
        if seen.size >= rhythm.every // 2:
            out[start : start + rhythm.every] = shrunk_slope(raw[seen], labels[seen], blocks[seen])[0]
    return out
