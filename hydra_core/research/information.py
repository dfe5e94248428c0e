"""What else is known of a forecaster candidate: figures that inform whoever reads its page, and decide nothing.

Calibration with the errors that overlapping labels leave, rank correlation, how long a track record its Sharpe ratio needs, how
many different trials there were, its volatility beside two plain forecasts, and the same ridge regression over combinatorial
paths of development. Not here: the gates (``gates``), the scores themselves (``scores``, ``metrics``).

Sources: Bailey and Lopez de Prado (2012) for the least track record; Lopez de Prado (2018), ch. 12, for combinatorial purged
cross-validation; Patton (2011) for QLIKE; Hansen, Lunde and Nason (2011) for the model confidence set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.models import Forecast
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.research.audit.learning import ridge
from hydra_core.research.bootstrap import Interval
from hydra_core.research.dataset import EMBARGO_BARS, Dataset
from hydra_core.research.evaluation import UNKNOWN, correlation, rank_correlation, rise_skill
from hydra_core.research.folds import combinatorial, paths
from hydra_core.research.metrics import (
    DAYS_A_YEAR,
    effective_trials,
    kurtosis,
    min_backtest_years,
    min_track_record,
    sharpe,
    skewness,
)
from hydra_core.research.scores import calibration_intervals, probabilities
from hydra_core.statistics.comparison import confidence_set, diebold_mariano

FIGURES: Final = "further figures (no gates)"
VOLATILITY: Final = "volatility (no gate)"
FURTHER: Final = (FIGURES, VOLATILITY)
"""The tables, in the order that they are shown in."""
ROWS_A_HORIZON: Final = 8
"""Rows of one horizon that calibration is measured on: those between say nearly the same, and each costs a draw."""
LEAST_OUTCOMES: Final = 100
"""Of either outcome; with fewer a draw of days may hold one alone, and no slope."""
MOST_LOSS: Final = 10.0
"""Losses are drawn in here: one bar of a crash would else decide alone."""
GROUPS: Final = 6
TESTED: Final = 2
MOST_ROWS: Final = 4_000
"""Rows of development that the combinatorial splits are cut from: fifteen fits are to take seconds."""
OWN: Final = "the candidate's"
PATHS: Final = "combinatorial_paths"
"""Setting on a forecaster's card: see :meth:`Paths.to_json`."""
HEADS: Final = "its volatility head's"

_LINE: Final = ("figure", "value", "low", "high", "note")
_FIGURES: Final = (
    "rank_ic",
    "rise_skill",
    "calibration_error",
    "calibration_slope",
    "brier_skill",
    "track_days",
    "min_track_days",
    "effective_trials",
    "min_backtest_years",
)
_VOLATILITY: Final = (
    "forecast",
    "QLIKE",
    "DM t against random walk",
    "p against random walk",
    "DM t against log-HAR",
    "p against log-HAR",
    "among the best",
)
"""Columns: a DM t above 0 says that the row's loss is lower; among the best: in the model confidence set at 90 %."""

Line = dict[str, Any]
"""``figure``, ``value`` (None: there is none), ``low`` and ``high`` of its 95 % interval (None: none), ``note``."""


@dataclass(frozen=True)
class Information:
    """Figures as numbers, and as tables that people read."""

    metrics: dict[str, float]
    tables: dict[str, list[Line]]


def gathered(lines: Mapping[str, Line], volatility: list[Line]) -> Information:
    """All that could be measured.

    Parameters
    ----------
    lines : key -> line; a value becomes the metric of that name, the interval's lower end ``<name>_low``
    volatility : rows of :func:`volatility_lines`
    """
    # What was kept in a file comes back in the alphabet's order.
    lines = {name: {column: lines[name][column] for column in _LINE} for name in _FIGURES if name in lines}
    volatility = [{column: row[column] for column in _VOLATILITY} for row in volatility]
    metrics = {name: float(line["value"]) for name, line in lines.items() if line["value"] is not None}
    metrics |= {f"{name}_low": float(line["low"]) for name, line in lines.items() if line["low"] is not None}
    metrics |= {f"qlike_{_key(row['forecast'])}": float(row["QLIKE"]) for row in volatility}
    tables = {FIGURES: list(lines.values()), VOLATILITY: volatility}
    return Information(metrics, {name: rows for name, rows in tables.items() if rows})


def calibration_lines(
    forecast: Forecast, realised_return: Floats, round_trip: float, days: Ints, horizon: int, first: int
) -> dict[str, Line]:
    """Whether the lock-box confidences are what happens; empty where there are too few, or one outcome alone.

    Where no return is expected, as on noise, there is no side that could win and nothing is judged.

    Parameters
    ----------
    forecast : Forecast (n, P) of consecutive rows
    realised_return : array (n, P), log return over the horizon
    round_trip : cost of entering and leaving, fraction of notional
    days : array (n,)
    first : row from which on is judged; the rows before say how often the event usually comes
    """
    known = np.isfinite(forecast.confidence) & np.isfinite(realised_return) & (forecast.expected_return != 0)
    won = np.sign(forecast.expected_return) * realised_return > round_trip
    rows = np.arange(first, len(days), max(1, horizon // ROWS_A_HORIZON))
    mask = known[rows]
    said, happened = forecast.confidence[rows][mask], won[rows][mask].astype(np.float64)
    by_day = np.broadcast_to(days[rows][:, None], mask.shape)[mask]
    before = won[:first][known[:first]]
    if min(happened.sum(), (1 - happened).sum()) < LEAST_OUTCOMES or not before.any() or before.all():
        return {}
    try:
        seen = probabilities(said, happened, by_day, float(before.mean()))
        error, slope = calibration_intervals(said, happened, by_day)
    except InputMissing:
        return {}
    return {
        "calibration_error": _of(
            "calibration error (ECE) of the confidence", error, f"perfect words show {seen.usual_error:.4f} by chance"
        ),
        "calibration_slope": _of("slope of the log odds", slope, "1: words spread as they should, below: too sure"),
        "brier_skill": _of("Brier skill of the confidence", seen.brier_skill, "against the rate in the walk-forward"),
    }


def rank_lines(raw: Floats, realised: Floats, horizon: int) -> dict[str, Line]:
    """Spearman correlation of forecasts (n, P) of consecutive rows with its Newey-West error over the labels' overlap."""
    found, error = rank_correlation(raw, realised, horizon)
    interval = Interval(found, found - 1.96 * error, found + 1.96 * error)
    return {"rank_ic": _of("rank IC, out of sample", interval, f"Newey-West error {error:.4f} over {horizon} bars")}


def rise_lines(chance: Floats, realised: Floats, days: Ints) -> dict[str, Line]:
    """Log-loss skill of the chance of a rise (n, P) of consecutive rows; empty where none was told."""
    if not np.isfinite(chance).any():
        return {}
    seen = rise_skill(chance, realised, days)
    if seen is UNKNOWN:
        return {}
    return {"rise_skill": _of("log-loss skill of the chance of a rise", seen, "over even odds; no decision reads it")}


def track_lines(daily: Floats, trials: Floats, counted: int) -> dict[str, Line]:
    """How long a record is needed, beside the one there is, and how many trials there were, beside how many differ.

    Parameters
    ----------
    daily : array (d,), returns of the candidate, out of sample
    trials : array (days, N), daily returns of every configuration that was traded, the candidate's among them
    counted : trials that the gates count
    """
    need = min_track_record(sharpe(daily), skewness(daily), kurtosis(daily)) if daily.size > 1 else math.inf
    different, years = effective_trials(trials), min_backtest_years(counted)
    never = "no length would do: its Sharpe ratio is not above 0"
    return {
        "min_track_days": _line(
            "days from which on its Sharpe ratio is above 0 at 95 %",
            need if math.isfinite(need) else None,
            f"the track has {daily.size}" if math.isfinite(need) else never,
        ),
        "track_days": _line("days of its track, out of sample", float(daily.size), f"{daily.size / DAYS_A_YEAR:.2f} years"),
        "effective_trials": _line(
            "trials that differ", different, f"of {trials.shape[1]} that were traded; the gates count {counted}"
        ),
        "min_backtest_years": _line(
            "years below which luck alone shows an annual Sharpe ratio of 1", years, f"the best of {counted} trials"
        ),
    }  # fmt: skip


def volatility_lines(
    panel: Panel, said: Mapping[str, Floats], horizon: int, taught_until: int, first: int
) -> list[Line]:
    """QLIKE of volatility forecasts beside the random walk's and a log-HAR's, with tests of the difference.

    Parameters
    ----------
    said : name -> array (T, P), standard deviation over the horizon, NaN where nothing is said
    taught_until : row before which the log-HAR is fitted
    first : row from which on is judged

    Returns
    -------
    list : one row a forecast; empty where there are too few rows
    """
    from hydra_core.statistics.har import fit_log_har, future_variance
    from hydra_core.statistics.league import LEAST, har_windows
    from hydra_core.statistics.rolling import change, rolling_mean
    from hydra_core.statistics.volatility import qlike

    stride = max(1, horizon // 4)
    rows = np.arange(first, len(panel), stride)
    square = change(np.log(panel.close), 1) ** 2
    try:
        # Of all pairs together, so that one that was listed late has a forecast too.
        har = fit_log_har(square[:taught_until], har_windows(horizon), horizon).predict(square)[rows]
    except InputMissing:
        return []
    plain = {"random walk": rolling_mean(square, horizon)[rows], "log-HAR": har}
    forecasts = {**{name: sigma[rows] ** 2 / horizon for name, sigma in said.items()}, **plain}
    outcome = np.maximum(future_variance(square, horizon)[rows], LEAST)
    known = np.isfinite(np.stack([outcome, *forecasts.values()])).all(axis=0)
    count = known.sum(axis=1)
    lost = {
        name: np.where(known, np.minimum(qlike(outcome, np.maximum(made, LEAST)), MOST_LOSS), 0.0).sum(axis=1)[
            count > 0
        ]
        / count[count > 0]
        for name, made in forecasts.items()
    }
    ahead = -(-horizon // stride)
    if (count > 0).sum() < 10 * ahead:
        return []
    kept = confidence_set(lost, block=2 * ahead)
    return [
        {
            "forecast": name,
            "QLIKE": float(loss.mean()),
            **_tested(loss, lost["random walk"], ahead, "random walk"),
            **_tested(loss, lost["log-HAR"], ahead, "log-HAR"),
            "among the best": "yes" if name in kept else "no",
        }
        for name, loss in lost.items()
    ]


@dataclass(frozen=True)
class Paths:
    """IC of ridge regression over combinatorial paths of development: a diagnosis, never a gate.

    Parameters
    ----------
    by_path : of each whole history that can be pieced together
    by_split : of each split's own test groups
    """

    by_path: tuple[float, ...]
    by_split: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {"paths": list(self.by_path), "splits": list(self.by_split)}


def combinatorial_paths(dataset: Dataset) -> Paths | None:
    """Ridge regression over all C(6, 2) purged splits of development, no row of the lock-box among them.

    It says how much the IC hangs on which part of the history is told; most of the training lies after what is told, so it
    says nothing of what trading would have come to. None where a group would be shorter than the gaps around it.
    """
    development = dataset.folds.development
    rows = development.rows(max(1, -(-len(development) // MOST_ROWS)))
    try:
        splits = combinatorial(development, GROUPS, TESTED, dataset.horizon + 1, EMBARGO_BARS)
        features, label = np.asarray(dataset.features[rows]), dataset.label[rows]
        said: list[Floats] = []
        for split in splits:
            train, test = (
                np.flatnonzero(np.any([(rows >= span.start) & (rows < span.end) for span in spans], axis=0))
                for spans in (split.train, split.test)
            )
            told = np.full(label.shape, np.nan)
            told[test] = ridge(features, label, train, test)
            said.append(told)
    except InputMissing:
        return None
    edges = [(part.start, part.end) for part in _groups(splits)]
    whole = []
    for path in paths(GROUPS, TESTED):
        joined = np.full(label.shape, np.nan)
        for number, (start, end) in zip(path, edges, strict=True):
            inside = (rows >= start) & (rows < end)
            joined[inside] = said[number][inside]
        whole.append(correlation(joined, label))
    return Paths(tuple(whole), tuple(correlation(told, label) for told in said))


def _groups(splits: Sequence[Any]) -> list[Any]:
    """The groups in order, from the splits that test them."""
    found = {number: part for split in splits for number, part in zip(split.groups, split.test, strict=True)}
    return [found[number] for number in sorted(found)]


def _tested(loss: Floats, other: Floats, horizon: int, name: str) -> Line:
    """Diebold-Mariano of one forecast's losses against another's; the statistic is above 0 where the first is better."""
    if loss is other:
        return {f"DM t against {name}": None, f"p against {name}": None}
    seen = diebold_mariano(loss, other, horizon)
    return {f"DM t against {name}": seen.statistic, f"p against {name}": seen.two_sided}


def _of(figure: str, seen: Interval, note: str) -> Line:
    return {"figure": figure, "value": seen.value, "low": seen.low, "high": seen.high, "note": note}


def _line(figure: str, value: float | None, note: str) -> Line:
    return {"figure": figure, "value": value, "low": None, "high": None, "note": note}


def _key(name: str) -> str:
    return {OWN: "candidate", HEADS: "heads"}.get(name, name.replace(" ", "_").replace("-", "_").lower())
