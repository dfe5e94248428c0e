"""The crowd model on the market of agents: how much of what can be foretold it foretells from what is published.

Two references: the observer, from whom only the scatter of liquidation prices is hidden, so that nobody who sees what is
published does better; and the oracle, who knows that, too. The goal is a share of the observer's average precision.

Not here: the market and its oracle (``agents``), the observer, the model (``alpha.crowd``), the table (``rows``, ``bench``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hydra_core.alpha.crowd import CrowdArtifact, train_crowd
from hydra_core.alpha.crowd import columns as crowd_columns
from hydra_core.alpha.crowd.model import levelled, sides
from hydra_core.alpha.crowd.score import average_precision
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.research.bootstrap import stationary_indices
from hydra_core.research.truth.agents import HOUR, agent_market
from hydra_core.research.truth.measures import Reading
from hydra_core.research.truth.observer import DRAWS, observed_hazard

PAIRS: Final = 4
DAY_ROWS: Final = 24
"""Foretold hours of a day."""


def crowd_found(seed: int, size: int) -> Reading:
    """Average precision of the crowd model over the best observer's on the same hours, longs and shorts together.

    The size is the days of training; as many follow as test. The notes hold the oracle, the base rate and volatility alone,
    and what the observer's precision may lack because its hazards are means of draws: half of them lose about as much again.
    """
    market = agent_market(2 * size * DAY_ROWS, seed, PAIRS)
    rows = market.decided[market.decided >= MAX_LOOKBACK_BARS][:-1]
    cut = int(np.searchsorted(rows, size * DAY_ROWS * HOUR))
    labels = (market.forced[0], market.forced[1])
    made = train_crowd(market.panel, rows[:cut], rows[cut:], seed, horizon=HOUR, stride=1, labels=labels)
    test = rows[cut:]
    said, alone = _hazards(made.artifact, market.panel, test)
    oracle, happened = market.hazard[:, test], market.forced[:, test]
    halves = [observed_hazard(market, test, 2 * seed + half, DRAWS // 2) for half in range(2)]
    observed = np.mean(halves, axis=0)
    known = np.isfinite(said) & np.isfinite(alone) & np.isfinite(happened)
    day = np.broadcast_to((np.arange(test.size) // DAY_ROWS)[None, :, None], known.shape)[known]
    label = happened[known]
    ours, best, all_known, volatility = (
        average_precision(each[known], label) for each in (said, observed, oracle, alone)
    )
    notes = {
        "base rate": float(label.mean()),
        "events": int(label.sum()),
        "oracle": all_known,
        "of the oracle": ours / all_known,
        "of the oracle, its error": _quotient_error(said[known], oracle[known], label, day, seed),
        "observer of the oracle": best / all_known,
        "observer of the oracle, its error": _quotient_error(observed[known], oracle[known], label, day, seed),
        "observer lost by drawing": best - float(np.mean([average_precision(half[known], label) for half in halves])),
        "volatility alone": volatility,
        "over volatility": ours / volatility,
        "Brier skill": made.metrics.brier_skill,
        "calibration slope": made.metrics.calibration_slope,
        "direction": direction_accuracy(said, happened),
        "direction by the observer": direction_accuracy(observed, happened),
        "direction by the oracle": direction_accuracy(oracle, happened),
    }
    return Reading(ours, best, ours / best, _quotient_error(said[known], observed[known], label, day, seed), notes)


def direction_accuracy(hazard: Floats, happened: Floats) -> float:
    """How often the side with the larger hazard is the one forced out, over the rows where exactly one was; the mean of both
    sides' shares, so that a market that mostly falls is no help.

    Parameters
    ----------
    hazard, happened : (2, ...), longs first; happened 1 or 0, rows with a NaN are left out
    """
    known = np.isfinite(hazard).all(axis=0) & (np.nansum(happened, axis=0) == 1)
    longs, told = happened[0][known] == 1, hazard[0][known] > hazard[1][known]
    return float((told[longs].mean() + (~told[~longs]).mean()) / 2)


def _hazards(artifact: CrowdArtifact, panel: Panel, rows: Ints) -> tuple[Floats, Floats]:
    """Hazards of longs and shorts (2, n, P) by the model and by volatility alone, its columns computed once."""
    model, baseline = artifact.hazard_model, artifact.baseline_model
    values = crowd_columns.compute(panel, artifact.columns, len(panel) - int(rows[0]), artifact.habits)[rows - rows[0]]
    levelled(values, model.names, artifact.levels(panel))
    both = np.stack([values, values * sides(artifact.columns)])
    narrow = [model.names.index(name) for name in baseline.names]
    return model.probability(both), baseline.probability(both[..., narrow])


def _quotient_error(said: Floats, best: Floats, label: Floats, day: Ints, seed: int, draws: int = 100) -> float:
    """Standard error of the quotient of two average precisions, days of all pairs drawn in blocks."""
    count = int(day.max()) + 1
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw, drawn in enumerate(stationary_indices(count, 3.0, draws, rng)):
        weight = np.bincount(drawn, minlength=count)[day].astype(np.float64)
        found[draw] = average_precision(said, label, weight) / average_precision(best, label, weight)
    return float(np.nanstd(found))
