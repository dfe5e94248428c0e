"""The forecaster put before a planted market: what the research pipeline would train, on rows without candles.

Not here: the forecaster itself (``alpha.forecaster``), how its share is scored (``measures``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.alpha.forecaster.families import (
    FOREST,
    LINEAR,
    POLYNOMIAL,
    STACKED,
    TREES,
    FamilyModel,
    Recipe,
    fit_family,
)
from hydra_core.domain.market import Floats
from hydra_core.research.truth.planted import Planted

VALID_SHARE: Final = 0.15
GAP: Final = 100
"""Rows left out between training, validation and test: further than any planted signal lasts."""
FAMILIES: Final = (LINEAR, POLYNOMIAL, TREES, FOREST)
"""What the stack weighs here. The network is left out: it takes minutes a market where the others take seconds, and the
observables of a planted market are all known in its newest row."""


def stack_on(market: Planted, train_rows: int, seed: int) -> FamilyModel:
    """The stack fitted on the first rows of a market."""
    features, label = market.observables[:, None, :], market.scaled[:, None]
    cut = int(train_rows * (1 - VALID_SHARE))
    train, valid = np.arange(GAP, cut - GAP), np.arange(cut, train_rows - GAP)
    return fit_family(STACKED, features, label, train, valid, Recipe(gap=GAP, families=FAMILIES), seed=seed)


def forecast_test_rows(market: Planted, train_rows: int, seed: int) -> Floats:
    """Train on the first rows of a market and forecast the scaled return of the others, shape (len(market) - train_rows,)."""
    made = stack_on(market, train_rows, seed)
    return made.predict(market.observables[:, None, :], np.arange(train_rows, len(market)))[:, 0]
