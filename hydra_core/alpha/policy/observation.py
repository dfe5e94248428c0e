"""What the policy sees of the market in each bar: everything of its observation that does not depend on the position.

Not here: the position (the caller knows it), the network (``artifact``), the training lanes (``env``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import Forecast, PolicyObservation
from hydra_core.domain.market import Floats, Panel

_FEATURES: Final = FeatureSet(("displacement_6", "vol_ratio_12_288"))
LOOKBACK: Final = _FEATURES.lookback
"""Rows that :func:`policy_inputs` needs before and including the first one asked for."""
_CLIP: Final = 8.0


def policy_inputs(panel: Panel, forecast: Forecast, round_trip_bp: float, last: int) -> PolicyObservation:
    """Observations of the newest ``last`` rows, positions left out.

    Parameters
    ----------
    panel : Panel with at least ``last + LOOKBACK - 1`` rows; with fewer, the first rows asked for are NaN
    forecast : Forecast of the newest ``last`` rows
    round_trip_bp : cost of entering and leaving, basis points of notional

    Returns
    -------
    PolicyObservation with arrays of shape (last, P) and positions of zero; NaN where a bar is missing or too early
    """
    columns = _FEATURES.compute(panel, last).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return PolicyObservation(
            forecast_z=np.clip(forecast.z, -_CLIP, _CLIP),
            confidence=forecast.confidence,
            position=np.zeros_like(forecast.confidence),
            displacement_z=np.clip(_own_part(columns[:, :, 0]), -_CLIP, _CLIP),
            volatility_ratio=np.clip(columns[:, :, 1], -_CLIP, _CLIP),
            cost_bp_over_sigma=round_trip_bp / (forecast.volatility * 1e4),
        )


def _own_part(displacement: Floats) -> Floats:
    """Displacement less the mean over pairs.

    A displacement that is one pair's own reverts; a move that all pairs made together is news. With one pair there is
    no mean to take off.
    """
    if displacement.shape[1] < 2:
        return displacement
    known = np.isfinite(displacement)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    own: Floats = displacement - np.where(known, displacement, 0.0).sum(axis=1, keepdims=True) / count
    return own
