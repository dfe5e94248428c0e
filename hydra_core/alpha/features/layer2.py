"""What layer 2 says of the market, as features: regimes, clustering of large moves, jumps, roughness, correlation.

Not here: the statistics themselves (statistics/); each feature is one of them under its own look-back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import Floats
from hydra_core.statistics.correlation import FAST_BARS, FAST_HALF_LIFE
from hydra_core.statistics.regimes import EXTREME, TURBULENT
from hydra_core.statistics.registry import Statistic
from hydra_core.statistics.rolling import exponential_mean
from hydra_core.statistics.state import MEMBERS
from hydra_core.statistics.view import View


def _regime(which: int) -> Callable[[View], Floats]:
    """Probability that the pair is in one regime."""

    def compute(view: View) -> Floats:
        probabilities = view.memo("regimes", lambda: MEMBERS["regimes"].compute(view))
        return np.asarray(probabilities[..., which])

    return compute


def _log_of(member: Statistic, least: float) -> Callable[[View], Floats]:
    """Log of a positive statistic."""

    def compute(view: View) -> Floats:
        return np.asarray(np.log(np.maximum(member.compute(view), least)))

    return compute


def _itself(member: Statistic) -> Callable[[View], Floats]:
    """A statistic by pair as it stands; one of the whole market is repeated for each pair."""

    def compute(view: View) -> Floats:
        values = member.compute(view)
        by_pair = values if values.ndim == 2 else values[:, None]
        return np.broadcast_to(by_pair, view.panel.close.shape)

    return compute


for _name, _which in (("regime_turbulent", TURBULENT), ("regime_extreme", EXTREME)):
    feature(_name, lookback=MEMBERS["regimes"].lookback, reach=MEMBERS["regimes"].reach, usual=False, steady=False)(
        _regime(_which)
    )
for _name, _member, _least in (
    ("log_variance_ratio", "variance_ratio", 1e-3),
    ("log_intensity", "hawkes_intensity", 1e-4),
):
    feature(_name, lookback=MEMBERS[_member].lookback, reach=MEMBERS[_member].reach, usual=False)(
        _log_of(MEMBERS[_member], _least)
    )
for _name in ("branching", "jump_rate", "move_60m"):
    feature(_name, lookback=MEMBERS[_name].lookback, reach=MEMBERS[_name].reach, usual=False)(_itself(MEMBERS[_name]))


@feature(
    "mean_correlation",
    lookback=MEMBERS["mean_correlation"].lookback,
    reach=MEMBERS["mean_correlation"].reach,
    usual=False,
)
def _mean_correlation(view: View) -> Floats:
    """The market's mean correlation; 0 while a single pair is known, as in a market of one pair."""
    values = MEMBERS["mean_correlation"].compute(view)
    known = np.isfinite(exponential_mean(view.log_return**2, FAST_HALF_LIFE, FAST_BARS)).sum(axis=1)
    values = np.where(np.isnan(values) & (known == 1), 0.0, values)
    return np.broadcast_to(values[:, None], view.panel.close.shape)
