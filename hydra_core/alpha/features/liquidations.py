"""Forced exits: how much was liquidated, on which side, and whether it comes in a burst."""

from __future__ import annotations

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import CANDLES, LIQUIDATIONS, Floats
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.view import View

_INPUTS = (CANDLES, LIQUIDATIONS)
_LEAST = 1.0
"""USDT a bar: what less than that was forced out is nothing."""


def _total(view: View) -> Floats:
    return view.panel.liquidated_long + view.panel.liquidated_short


@feature("liquidated_imbalance_48", lookback=48, inputs=_INPUTS, usual=False)
def liquidated_imbalance_48(view: View) -> Floats:
    """Longs less shorts forced out as a share of both over four hours, in [-1, 1]."""
    difference = view.panel.liquidated_long - view.panel.liquidated_short
    return rolling_mean(difference, 48) / np.maximum(rolling_mean(_total(view), 48), _LEAST)


@feature("liquidated_share_48", lookback=48, inputs=_INPUTS, usual=False)
def liquidated_share_48(view: View) -> Floats:
    """Share of four hours' volume that was forced, per mille, through log(1 + x)."""
    notional = rolling_mean(view.panel.volume * view.panel.close, 48)
    return np.asarray(np.log1p(1e3 * rolling_mean(_total(view), 48) / np.maximum(notional, _LEAST)))


@feature("liquidated_burst_12_288", lookback=288, inputs=_INPUTS, usual=False)
def liquidated_burst_12_288(view: View) -> Floats:
    """Log of the hour's mean liquidation over the day's."""
    total = _total(view)
    return np.asarray(
        np.log(np.maximum(rolling_mean(total, 12), _LEAST) / np.maximum(rolling_mean(total, 288), _LEAST))
    )
