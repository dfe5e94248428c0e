"""The forecaster put before a planted market: what the research pipeline would train, on rows without candles.

Not here: the forecaster itself (``alpha.forecaster``), how its share is scored (``measures``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.domain.market import Floats
from hydra_core.research.truth.planted import Planted

VALID_SHARE: Final = 0.15
GAP: Final = 100
"""Rows left out between training, validation and test: the windows of the network reach so far back."""
BATCH_ROWS: Final = 512
EPOCHS: Final = 5


def forecast_test_rows(market: Planted, train_rows: int, seed: int) -> Floats:
    """Train on the first rows of a market and forecast the scaled return of the others, shape (len(market) - train_rows,).

    Rows that the network's window does not reach are NaN.
    """
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import train_forecaster

    features, label = market.observables[:, None, :], market.scaled[:, None]
    cut = int(train_rows * (1 - VALID_SHARE))
    trained = train_forecaster(
        features,
        label,
        np.arange(GAP, cut - GAP),
        np.arange(cut, train_rows - GAP),
        NetworkHyper(batch_rows=BATCH_ROWS, epochs=EPOCHS),
        seed=seed,
    )
    return trained.predict(features, np.arange(train_rows, len(market)))[:, 0]
