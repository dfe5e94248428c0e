"""What the best forecaster of a planted return can reach: closed forms in the planted correlation.

The next standardised return is z = rho s + sqrt(1 - rho^2) e with e standard normal and s known, mean 0, variance 1.
Not here: the markets (``planted``). Source: elementary; log scores by Gauss-Hermite quadrature where s is normal.
"""

from __future__ import annotations

import math

import numpy as np

from hydra_core.domain.market import Floats

LN2 = math.log(2.0)


def rise_probability(signal: Floats, rho: Floats | float) -> Floats:
    """P(z > 0 | s) = Phi(rho s / sqrt(1 - rho^2)), the shape of ``signal``."""
    from scipy.special import ndtr

    return np.asarray(ndtr(rho * signal / np.sqrt(1 - np.square(rho))))


def best_accuracy(rho: float) -> float:
    """Share of right signs with a normal signal: 1/2 + asin(rho) / pi."""
    return 0.5 + math.asin(rho) / math.pi


def correlation_of_accuracy(accuracy: float) -> float:
    """Correlation that an accuracy amounts to for normal signals and returns: sin(pi (p - 1/2))."""
    return math.sin(math.pi * (accuracy - 0.5))


def information(rho: float) -> float:
    """Mutual information of signal and return in nats: -ln(1 - rho^2) / 2."""
    return -0.5 * math.log1p(-(rho**2))


def best_log_loss(rho: float, nodes: int = 64) -> float:
    """Mean log loss of the true rise probability with a normal signal, nats."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    chance = rise_probability(points, rho)
    entropy = -(chance * np.log(chance) + (1 - chance) * np.log1p(-chance))
    return float(weights @ entropy / weights.sum())


def expected_share(rho: float, parameters: float, rows: int) -> float:
    """Share of the best correlation that least squares with so many parameters keeps on new rows.

    sqrt(rho^2 / (rho^2 + p (1 - rho^2) / n)).
    """
    return math.sqrt(rho**2 / (rho**2 + parameters * (1 - rho**2) / rows))


def log_share(loss: float, best: float) -> float:
    """Share of the attainable log score: (ln 2 - loss) / (ln 2 - best)."""
    return (LN2 - loss) / (LN2 - best)


def breakeven_correlation(cost_bp: float, horizon_sigma_bp: float, mean_size: float) -> float:
    """Correlation at which trading pays its costs.

    Parameters
    ----------
    cost_bp : round trip
    horizon_sigma_bp : standard deviation of the return over the holding time
    mean_size : mean of |s| over what is traded; sqrt(2 / pi) for all of a normal signal, 1.755 for its largest tenth
    """
    return cost_bp / (horizon_sigma_bp * mean_size)
