"""The policy's shape: the no-trade band says what to hold, a network says whether now is the bar to move there.

So the policy differs from the band in timing alone, which keeps the comparison of the two sharp. Not here: the band
(``band``), how the network learns (``env``, ``train``), its file (``artifact``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from hydra_core.alpha.models import PolicyObservation
from hydra_core.alpha.policy.band import Band, silent, worth
from hydra_core.domain.market import Floats

COLUMNS: Final = 6
_CLIP: Final = 3.0
Scores = Callable[[Floats], Floats]
"""Canonical columns (n, 6) to scores (n, 2) of waiting and moving."""


def canonical(observation: PolicyObservation, move: Floats) -> Floats:
    """The observation seen from the side of the wished move, as the network reads it.

    Buying in a rising forecast and selling in a falling one are the same question: everything signed is taken times the
    move's sign, so each half of the experience teaches the other.

    Parameters
    ----------
    observation : arrays of any one shape
    move : array of that shape, wished change of position, -2 to 2

    Returns
    -------
    array (..., 6), each column of order one; NaN where anything is unknown
    """
    side = np.sign(move)
    return np.stack(
        [
            np.clip(side * worth(observation) / 2 - 1.0, -_CLIP, _CLIP),
            4.0 * (observation.confidence - 0.5),
            np.abs(move) - 1.5,
            np.clip(4.0 * side * observation.displacement_z, -_CLIP, _CLIP),
            np.clip(observation.volatility_ratio, -_CLIP, _CLIP),
            np.clip(5.0 * observation.cost_bp_over_sigma, 0.0, _CLIP) - 1.0,
        ],
        axis=-1,
    )


def timed_target(observation: PolicyObservation, band: Band, scores: Scores) -> Floats:
    """Wanted positions of the observation's shape, in [-1, 1]: the band's wish where the network says now, else what is held.

    Where anything but the band's own inputs is unknown the position is kept; where those are, the band says 0.
    """
    wish = band.target(observation)
    held = np.sign(observation.position)
    move = wish - held
    columns = canonical(observation, move)
    pending = (move != 0) & np.isfinite(columns).all(axis=-1)
    target = silent(observation)
    if pending.any():
        said = scores(columns[pending])
        target[pending] = np.where(said[:, 1] > said[:, 0], wish[pending], held[pending])
    return target
