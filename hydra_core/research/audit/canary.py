"""L5: put a feature that knows the next bar among the others and see whether the screen finds it, and it alone.

The screen correlates each feature with the next bar's return: what is strong there and gone one bar later knows that bar.
Not here: features that change with the future (``causality``), which finds most leaks and finds them surely.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.alpha.forecaster.windows import Features
from hydra_core.domain.market import Floats, Panel
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.evaluation import correlation, effective_count
from hydra_core.statistics.rolling import lag
from hydra_core.statistics.view import View

CANARY: Final = "canary"
CANARY_IC: Final = 0.3
MOST_IC: Final = 0.10
"""Correlation of one honest feature with the next bar's return that is never reached on a real market."""
SURE: Final = 4.0


def next_moves(panel: Panel) -> Floats:
    """Return of the bar after each row in standard deviations expected before it, shape (T, P); NaN in the last row."""
    view = View(panel)
    moved = view.log_return / lag(view.sigma, 1)
    return np.concatenate([moved[1:], np.full((1, moved.shape[1]), np.nan)])


def screen(features: Features, names: tuple[str, ...], moves: Floats) -> list[AuditLine]:
    """Every feature whose correlation with the next bar is beyond belief and gone after it; clean ones too.

    Parameters
    ----------
    features : array (T, P, F)
    moves : array (T, P), as of :func:`next_moves`
    """
    error = 1 / np.sqrt(max(effective_count(moves, 1), 2.0))
    lines = []
    for column, name in enumerate(names):
        values = np.asarray(features[:, :, column], np.float64)
        at_once = correlation(values, moves)
        later = correlation(values[:-1], moves[1:])
        known = abs(at_once) - SURE * error > MOST_IC and abs(later) < 0.5 * abs(at_once)
        lines.append(
            AuditLine(name, not known, f"{at_once:+.3f} with the next bar, {later:+.3f} with the one after", "L5")
        )
    return lines


def canary(moves: Floats, seed: int = 7) -> Floats:
    """A feature that knows the next bar: correlation :data:`CANARY_IC` with its return, shape (T, P)."""
    rng = np.random.default_rng(seed)
    known = np.nan_to_num(moves) / max(float(np.nanstd(moves)), 1e-12)
    return np.asarray(CANARY_IC * known + np.sqrt(1 - CANARY_IC**2) * rng.normal(size=moves.shape))


def sing(features: Features, names: tuple[str, ...], moves: Floats, *, seed: int = 7) -> list[AuditLine]:
    """L5: the screen over the features and a canary among them.

    Returns
    -------
    list of AuditLine : one for the canary, clean when it was found, and one for each feature that was flagged
    """
    planted = np.concatenate([features, canary(moves, seed)[:, :, None].astype(np.float32)], axis=2)
    lines = screen(planted, (*names, CANARY), moves)
    found = not lines[-1].clean
    told = "found" if found else "not found: the screen is blind"
    return [
        AuditLine(CANARY, found, f"{told}, {lines[-1].detail}", "L5"),
        *(one for one in lines[:-1] if not one.clean),
    ]
