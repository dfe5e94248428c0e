"""One measurement each: an organ on one draw of a world whose answer is known, beside the best that can be done there.

A measure is a pure function of a seed and a size and gives a :class:`Reading`. Not here: worlds (``planted``, ``histories``,
``statistics.processes``), the scores of layer 2 (``statistics.truths``), goals and how readings are put together (``rows``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from hydra_core.alpha.crowd import logistic
from hydra_core.alpha.crowd.score import average_precision
from hydra_core.alpha.crowd.train import RIDGE
from hydra_core.domain.market import Floats
from hydra_core.research.audit.learning import Problem, embargo_sweep, reversed_time
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.bootstrap import stationary_indices
from hydra_core.research.evaluation import correlation
from hydra_core.research.truth.histories import NULLS, PLANTED, history
from hydra_core.research.truth.learners import forecast_test_rows
from hydra_core.research.truth.planted import plant
from hydra_core.research.truth.runs import bars_needed, research_run
from hydra_core.statistics import truths
from hydra_core.statistics.conformal import LEVEL

BLOCK: Final = 500.0
"""Rows of a block of the bootstrap: longer than any planted signal lasts."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement.

    Parameters
    ----------
    ours, reference : what was reached, and the best that could be (or what it is held against)
    value : what is judged, usually their quotient
    error : standard error of ``value`` within this draw; 0 where only draws tell
    notes : further figures by name
    """

    ours: float
    reference: float
    value: float
    error: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return asdict(self)


Measure = Callable[[int, int], Reading]
"""(seed, size) -> reading."""


def share_found(kind: str, rho: float) -> Measure:
    """Share of the Bayes score's realised correlation that the forecaster reaches on the same test rows.

    The size is the number of training rows, and of test rows.
    """

    def measure(seed: int, size: int) -> Reading:
        market = plant(kind, rho, 2 * size, seed)
        said = forecast_test_rows(market, size, seed)
        best, came = market.signal[size:], market.scaled[size:]
        known = np.isfinite(said)
        said, best, came = said[known], best[known], came[known]
        ours, reference = correlation(said, came), correlation(best, came)
        return Reading(ours, reference, ours / reference, _quotient_error(said, best, came, seed))

    return measure


def _quotient_error(said: Floats, best: Floats, came: Floats, seed: int, draws: int = 200) -> float:
    """Standard error of the quotient of two correlations with one outcome, by blocks of rows."""
    group = np.arange(said.size) // int(BLOCK)
    count = int(group[-1]) + 1
    terms = (np.ones(said.size), said, best, came, said**2, best**2, came**2, said * came, best * came)
    sums = np.stack([np.bincount(group, term, count) for term in terms], axis=1)
    drawn = sums[stationary_indices(count, 1.0, draws, np.random.default_rng(seed))].sum(axis=1)
    n, s, b, c, ss, bb, _, sc, bc = drawn.T
    ours = (sc - s * c / n) / np.sqrt(ss - s**2 / n)
    other = (bc - b * c / n) / np.sqrt(bb - b**2 / n)
    return float(np.std(ours / other))


def null_run(seed: int, size: int) -> Reading:
    """L3: a research run on a null history of the kind that the seed's turn gives; 1 when it promotes.

    The size is the years of test blocks; the lock-box is two fifths of them.
    """
    kinds = NULLS[:2]
    return _run(kinds[seed % len(kinds)], seed, size, 0.0)


def null_run_on(recorded: Floats) -> Measure:
    """The same over all null histories, recorded returns with random signs among them; (n, Q) hourly log returns."""

    def measure(seed: int, size: int) -> Reading:
        return _run(NULLS[seed % len(NULLS)], seed, size, 0.0, recorded)

    return measure


PLANTED_RHO: Final = 0.16
"""Correlation over the horizon at which the best forecast, traded by the same rules, nets a Sharpe ratio of about 4."""


def planted_run(seed: int, size: int) -> Reading:
    """A research run on a planted history; 1 when it promotes. The reference is the best forecast's own Sharpe ratio."""
    return _run(PLANTED, seed, size, PLANTED_RHO)


def _run(kind: str, seed: int, years: int, rho: float, recorded: Floats | None = None) -> Reading:
    bars, lockbox = bars_needed(float(years), 0.4 * years)
    made = research_run(history(kind, bars, seed, rho=rho, recorded=recorded), lockbox)
    value = float(made.promoted)
    return Reading(value, made.best, value, notes={"kind": kind, **made.to_json()})


def regimes_found(seed: int, size: int) -> Reading:
    """Balanced accuracy of the fitted online filter over the Bayes filter's, on Student's t noise with a ratio of 2.

    Fitted on the first rows (the size), judged on five times as many that follow; the filter sees nothing but the past.
    """
    made = truths.regime_score(seed, train=size, test=5 * size)
    notes = {
        "delay": made.delay,
        "best delay": made.best_delay,
        "switches": made.switches,
        "best switches": made.best_switches,
    }
    return Reading(made.accuracy, made.best_accuracy, made.accuracy / made.best_accuracy, notes=notes)


def regime_delay(seed: int, size: int) -> Reading:
    """Median bars until a switch is told, less the Bayes filter's, on the same rows."""
    made = truths.regime_score(seed, train=size, test=5 * size)
    return Reading(made.delay, made.best_delay, made.delay - made.best_delay)


HAWKES_ALPHA: Final = 0.8


def branching_found(seed: int, size: int) -> Reading:
    """Distance of the fitted branching ratio from the true one at about so many events."""
    fitted = truths.hawkes_score(seed, alpha=HAWKES_ALPHA, events=size)
    return Reading(fitted.alpha, HAWKES_ALPHA, abs(fitted.alpha - HAWKES_ALPHA))


CASCADES_A_DAY: Final = 3


def cascade_recall(seed: int, size: int) -> Reading:
    """Share of planted cascades that the detector finds within a minute, over so many days."""
    made = truths.cascade_score(seed, float(size), CASCADES_A_DAY * size)
    notes = {"false alarms a day": made.false_per_day, "median delay s": made.delay_s}
    return Reading(made.recall, 1.0, made.recall, notes=notes)


def cascade_alarms(seed: int, size: int) -> Reading:
    """False alarms of the detector a day, over so many days, with the same rule."""
    made = truths.cascade_score(seed, float(size), CASCADES_A_DAY * size)
    return Reading(made.false_per_day, 0.0, made.false_per_day, notes={"recall": made.recall})


def volatility_loss(seed: int, size: int) -> Reading:
    """Next-day QLIKE of HYDRA's log-HAR over that of the random walk, on two-factor stochastic volatility.

    HYDRA's reads the newest hours beside day, week and month; the textbook's, without them, stands in the notes with the
    others. The size is the days of training; two thirds as many follow as test.
    """
    made = truths.volatility_score(seed, size + 2 * size // 3, size)
    ours, walk = made["log-HAR with hours"], made["random walk"]
    return Reading(ours, walk, ours / walk, notes=made)


def intervals_held(seed: int, size: int) -> Reading:
    """How far from nine in ten the share of next days within their 90 % intervals is, on the same market.

    That of the next hours stands in the notes. The size is the days of training, as above.
    """
    made = truths.interval_score(seed, size + 2 * size // 3, size)
    day = made["day"]
    return Reading(day.share, LEVEL, abs(day.share - LEVEL), notes={name: asdict(one) for name, one in made.items()})


HAZARD_COLUMNS: Final = 12
HAZARD_BASE: Final = -4.0
"""Log odds of an event where every column is 0: a base rate of about one in thirty."""


def hazard_found(seed: int, size: int) -> Reading:
    """Share of the Bayes average precision that the crowd's fit reaches on a hazard sigma(w x) of known weights.

    The size is the number of training rows, and of test rows.
    """
    rng = np.random.default_rng((seed, 5))
    values = rng.standard_normal((2 * size, HAZARD_COLUMNS))
    weights = rng.normal(0.0, 0.35, HAZARD_COLUMNS)
    hazard = 1 / (1 + np.exp(-(HAZARD_BASE + values @ weights)))
    happened = (rng.random(2 * size) < hazard).astype(np.float64)
    names = tuple(f"column_{k}" for k in range(HAZARD_COLUMNS))
    said = logistic.fit(names, values[:size], happened[:size], RIDGE).probability(values[size:])
    ours, best = average_precision(said, happened[size:]), average_precision(hazard[size:], happened[size:])
    return Reading(ours, best, ours / best, notes={"base rate": float(happened.mean())})


def reversed_share(seed: int, size: int) -> Reading:
    """L4: 1 when a signal from outside is not found in reversed time, and a centred filter is.

    The signal is drawn anew at every bar: one that lasts, or that is made of the returns themselves, is there both ways.
    """
    rng = np.random.default_rng((seed, 4))
    shown = rng.standard_normal((2 * size, 3))
    moves = 0.1 * np.append(0.0, shown[:-1, 0]) + rng.standard_normal(2 * size)
    smooth = np.convolve(moves, np.ones(3) / 3, "same")
    rows = np.arange(10, size), np.arange(size + 10, 2 * size - 10)

    def lines(features: Floats) -> AuditLine:
        columns = features.reshape(2 * size, 1, -1).astype(np.float32)
        after = np.append(moves[1:], np.nan)[:, None]
        ahead = Problem(columns, after, 1, *rows)
        return reversed_time(ahead, Problem(columns[::-1], moves[::-1][:, None], 1, *rows))

    honest, centred = lines(shown), lines(smooth)
    value = float(honest.clean and not centred.clean)
    return Reading(value, 1.0, value, notes={"outside": honest.detail, "centred": centred.detail})


def embargo_flat(seed: int, size: int) -> Reading:
    """L7: whether skill right after a border is the same at embargoes of nothing, one and two horizons."""
    market, horizon = plant("linear", 0.05, size, seed), 12
    path = np.concatenate([[0.0], np.cumsum(market.scaled)])
    label = np.full((size, 1), np.nan)
    label[: size - horizon, 0] = (path[horizon:size] - path[: size - horizon]) / math.sqrt(horizon)
    level = np.stack([path[:size], np.roll(path, 12)[:size]], axis=1)
    features = np.concatenate([market.observables, level], axis=1)[:, None, :].astype(np.float32)
    line = embargo_sweep(features, label, horizon, seed=seed)
    return Reading(float(line.clean), 1.0, float(line.clean), notes={"said": line.detail})
