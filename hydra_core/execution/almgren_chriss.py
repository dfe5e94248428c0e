"""The optimal liquidation path under linear impact: what TWAP is measured against when risk is charged for.

Source: Almgren and Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2001), discrete form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import UsageError
from hydra_core.domain.market import Floats


@dataclass(frozen=True, slots=True)
class Impact:
    """Linear impact of an order on price.

    Parameters
    ----------
    volatility : sigma, price units per square root of time
    permanent : gamma, price units per unit traded
    temporary : eta, price units per unit traded per time
    fixed : epsilon, price units per unit (half spread and fee)
    """

    volatility: float
    permanent: float
    temporary: float
    fixed: float


def path(quantity: float, duration: float, steps: int, impact: Impact, risk_aversion: float) -> Floats:
    """Units still to be traded after each step, shape (steps + 1,), from ``quantity`` to 0.

    Parameters
    ----------
    duration : float, in the time unit of ``impact``
    risk_aversion : float, lambda of U = E + lambda V; 0 gives TWAP

    Raises
    ------
    UsageError : permanent impact is so large that no optimum exists (eta <= gamma tau / 2)
    """
    tau = duration / steps
    times = np.arange(steps + 1) * tau
    kappa = urgency(tau, impact, risk_aversion)
    if kappa * duration < 1e-6:  # sinh ratio equals the straight line to rounding
        return np.asarray(quantity * (1 - times / duration))
    left: Floats = np.array([math.sinh(kappa * (duration - t)) for t in times.tolist()])
    return quantity * left / math.sinh(kappa * duration)


def urgency(tau: float, impact: Impact, risk_aversion: float) -> float:
    """Kappa, the rate at which the optimal path decays, per time unit."""
    adjusted = impact.temporary - 0.5 * impact.permanent * tau
    if adjusted <= 0:
        raise UsageError(
            f"temporary impact {impact.temporary} is below half the permanent one over a step", "Use more steps"
        )
    squared = risk_aversion * impact.volatility**2 / adjusted
    return math.acosh(0.5 * squared * tau * tau + 1) / tau


def cost(left: Floats, duration: float, impact: Impact) -> tuple[float, float]:
    """Expected shortfall E and its variance V of a path, in price units times units traded (and squared).

    Parameters
    ----------
    left : array (steps + 1,), units still to be traded, as from :func:`path`
    """
    tau = duration / (left.size - 1)
    traded = -np.diff(left)
    adjusted = impact.temporary - 0.5 * impact.permanent * tau
    total = float(left[0])
    expected = 0.5 * impact.permanent * total**2 + impact.fixed * total + adjusted / tau * float((traded**2).sum())
    return expected, impact.volatility**2 * tau * float((left[1:] ** 2).sum())
