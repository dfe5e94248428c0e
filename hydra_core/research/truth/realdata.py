"""What HYDRA reaches on recorded history, walk-forward, beside every plain forecaster and rule on the same rows.

No goal can be a number here: nobody knows what is there. What can be asked is that HYDRA's forecaster is not worse than the
plain ones, that its volatility is better than theirs, and that nothing is too good to be true; figures above what honest work
reaches raise the leak audit. A later, sealed folder is read once: each reading is written down by ``bench``.

Not here: features (``recorded``), the plain ones (``rivals``), the table (``rows``, ``bench``).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, Interval, month_of, month_span
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.audit.causality import prefix_invariant
from hydra_core.research.audit.learning import Problem, extra_lag, permuted_labels
from hydra_core.research.audit.lines import AuditLine, leaks
from hydra_core.research.bootstrap import day_ratio_interval, stationary_indices
from hydra_core.research.evaluation import Skill, correlation, implied_chance, rise_skill, skill
from hydra_core.research.scores import log_loss
from hydra_core.research.truth import recorded, rivals
from hydra_core.research.truth.measures import Measure, Reading
from hydra_core.research.truth.recorded import LONGEST, Recorded
from hydra_core.statistics.conformal import LEVEL

if TYPE_CHECKING:
    from hydra_core.statistics.league import League

HORIZONS: Final = (1, 4)
"""Hours."""
OURS: Final = "HYDRA"
ENSEMBLE: Final = "mean of ridge and LightGBM A"
MONTHS: Final = 3
"""Between two refits."""
LEAST_TRAIN: Final = 9_000
"""Hours that the first model is trained on at least: a year."""
BLOCK_DAYS: Final = 5.0
VALID_SHARE: Final = 0.15
EPOCHS: Final = 3
WINDOW: Final = WindowShape(steps=8, stride=3)
"""The network looks back a day: the features reach further by themselves."""
IMPLAUSIBLE: Final[dict[str, float]] = {
    "IC 1h": 0.06,
    "rank IC 1h": 0.10,
    "accuracy 1h": 0.55,
    "log-loss skill 1h": 0.01,
    "IC 4h": 0.10,
    "net Sharpe": 3.0,
}
"""Above these a figure raises the leak audit; a forecaster of mean returns that honest work could not have built."""


@dataclass(frozen=True, eq=False)
class _Walk:
    """Standardised forecasts (rows, P) of everybody on the test rows of one horizon, and HYDRA's chance of a rise there."""

    rows: Ints
    said: dict[str, Floats]
    rise: Floats

    def chance(self, name: str) -> Floats:
        """Probability of a rise, shape (rows, P): what the forecast implies where no other was taught."""
        return self.rise if name == OURS else implied_chance(self.said[name])


def real_row(folder: Path, later: Path | None) -> Measure:
    """Measure of the newest quarters (the size) of a folder, or of a later folder after it; a seed is the network's."""

    def measure(seed: int, size: int) -> Reading:
        history = recorded.read(folder, later)
        starts = quarter_starts(history, size)
        walks = {horizon: _walk_forward(history, horizon, starts, seed) for horizon in HORIZONS}
        table = {f"{h}h": _skills(history, h, walks[h]) for h in HORIZONS}
        traded = _traded(history, walks[HORIZONS[-1]], HORIZONS[-1])
        return _reading(history, walks, table, traded)

    return measure


def quarter_starts(history: Recorded, count: int) -> Ints:
    """First rows of the newest ``count`` quarters, or of all quarters of the later folder where there is one.

    Raises
    ------
    InputMissing : less than a year of hours lies before the first
    """
    ts = history.panel.ts
    months = ts.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    first_of = np.flatnonzero(np.diff(months, prepend=months[0]) != 0)
    if history.sealed_from < len(ts):
        inside = first_of[first_of > history.sealed_from][MONTHS - 1 :: MONTHS]
        starts = np.concatenate([[history.sealed_from], inside])
    else:
        starts = first_of[::-1][MONTHS - 1 :: MONTHS][:count][::-1]
    if not starts.size or starts[0] < LEAST_TRAIN:
        raise InputMissing(
            f"{int(starts[0]) if starts.size else 0} hours before the first test", "Give a longer history"
        )
    return np.asarray(starts, np.int64)


def _walk_forward(history: Recorded, horizon: int, starts: Ints, seed: int) -> _Walk:
    """Everybody refitted at each start on all that was known a day before, asked until the next."""
    ends = [*starts[1:], len(history.panel) - horizon - 1]
    said: dict[str, list[Floats]] = {}
    rows: list[Ints] = []
    rise: list[Floats] = []
    for start, end in zip(starts, ends, strict=True):
        test = np.arange(start, end)
        train = np.arange(LONGEST, start - horizon - 1 - 24)
        rows.append(test)
        made = {name: fit(history, horizon, train, test) for name, fit in rivals.rivals().items()}
        made[ENSEMBLE] = 0.5 * (made["ridge"] + made["LightGBM A"])
        made |= {f"momentum {bars}h": rivals.momentum(history, bars, test) for bars in rivals.MOMENTA}
        made[OURS], chance = hydra_forecast(history, horizon, train, test, seed)
        rise.append(chance)
        for name, values in made.items():
            said.setdefault(name, []).append(values)
    joined = {name: np.concatenate(parts) for name, parts in said.items()}
    return _Walk(np.concatenate(rows), joined, np.concatenate(rise))


def hydra_forecast(history: Recorded, horizon: int, train: Ints, test: Ints, seed: int) -> tuple[Floats, Floats]:
    """HYDRA's forecaster on hourly features, trained as the research pipeline would: every family stacked, and the sign.

    Labels of one hour do not overlap and each of them teaches; of longer ones, neighbours say nearly the same.

    Returns
    -------
    (said, chance) : standardised forecasts and probabilities of a rise, shape (test rows, P) each
    """
    from hydra_core.alpha.forecaster.families import STACKED, Recipe, fit_family
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.rise import fit_rise

    label, features = history.label(horizon), np.nan_to_num(history.features)
    gap, stride = WINDOW.reach + horizon + 24, max(1, horizon - 1)
    cut = train[0] + int(len(train) * (1 - VALID_SHARE))
    fitted, valid = np.arange(train[0] + WINDOW.reach, cut - gap, stride), np.arange(cut, train[-1] + 1, stride)
    recipe = Recipe(NetworkHyper(epochs=EPOCHS, patch=WINDOW.steps // 2), shape=WINDOW, gap=gap)
    made = fit_family(STACKED, features, label, fitted, valid, recipe, seed=seed)
    rise = fit_rise(features, label, fitted, valid, seed=seed)
    return made.predict(features, test), rise.chance(features, test)


def _skills(history: Recorded, horizon: int, walk: _Walk) -> dict[str, Skill]:
    sigma = history.sigma[walk.rows] * math.sqrt(horizon)
    label, days = history.label(horizon)[walk.rows], history.days[walk.rows]
    found = {name: skill(said, label, sigma, days, horizon) for name, said in walk.said.items()}
    found[OURS] = replace(found[OURS], log_loss_skill=rise_skill(walk.rise, label, days))
    return found


def _traded(history: Recorded, walk: _Walk, horizon: int) -> dict[str, rivals.Traded]:
    by_forecast = {
        name: rivals.trade(history, walk.rows, rivals.by_forecast(history, walk.rows, said, horizon))
        for name, said in walk.said.items()
    }
    plain = rivals.plain_rules(history, walk.rows)
    return by_forecast | {name: rivals.trade(history, walk.rows, shares) for name, shares in plain.items()}


def _reading(
    history: Recorded,
    walks: dict[int, _Walk],
    table: dict[str, dict[str, Skill]],
    traded: dict[str, rivals.Traded],
) -> Reading:
    hour, walk = table["1h"], walks[1]
    label, days = history.label(1)[walk.rows], history.days[walk.rows]
    best_ic = _best({name: seen.correlation.value for name, seen in hour.items()})
    best_loss = _best({name: seen.log_loss_skill.value for name, seen in hour.items()})
    best_sharpe = _best({name: made.sharpe for name, made in traded.items()})
    own = hour[OURS]
    lines = _audit(history, walks, table, traded[OURS])
    parts = {
        "loss": {
            "ours": own.log_loss_skill.value,
            "reference": hour[best_loss].log_loss_skill.value,
            "value": own.log_loss_skill.value - hour[best_loss].log_loss_skill.value,
            "error": _loss_error(walk.chance(OURS), walk.chance(best_loss), label, days),
        },
        "sharpe": {
            "ours": traded[OURS].sharpe,
            "reference": traded[best_sharpe].sharpe,
            "value": traded[OURS].sharpe - traded[best_sharpe].sharpe,
            "error": math.hypot(traded[OURS].error, traded[best_sharpe].error),
        },
        "leaks": {"ours": float(len(lines)), "reference": 0.0, "value": float(len(lines)), "error": 0.0},
    }
    notes = {
        "from": int(history.panel.ts[walk.rows[0]]),
        "until": int(history.panel.close_ms[walk.rows[-1]]),
        "rows": int(walk.rows.size * len(history.panel.pairs)),
        "best": {"IC": best_ic, "log-loss skill": best_loss, "net Sharpe": best_sharpe},
        "skill": {h: {name: seen.to_json() for name, seen in found.items()} for h, found in table.items()},
        "traded": {
            name: {"sharpe": one.sharpe, "error": one.error, "turnover": one.turnover, "bp_a_day": one.bp_a_day}
            for name, one in traded.items()
        },
        "by month": _monthly(history, walk, OURS),
        "leaks": [str(line) for line in lines],
        "parts": parts,
    }
    ours, reference = own.correlation.value, hour[best_ic].correlation.value
    return Reading(
        ours, reference, ours - reference, _gap_error(walk.said[OURS], walk.said[best_ic], label, days), notes
    )


def _best(found: dict[str, float]) -> str:
    """The best of the others."""
    return max((name for name in found if name != OURS), key=lambda name: found[name])


def _gap_error(ours: Floats, other: Floats, label: Floats, days: Ints, draws: int = 300, seed: int = 7) -> float:
    """Standard error of the difference of two correlations with one outcome, whole days drawn in blocks of five."""
    known = np.isfinite(ours) & np.isfinite(other) & np.isfinite(label)
    _, group = np.unique(days, return_inverse=True)
    by_row = np.broadcast_to(group[:, None], known.shape)[known]
    a, b, y = ours[known], other[known], label[known]
    terms = (np.ones(a.size), a, b, y, a * a, b * b, y * y, a * y, b * y)
    sums = np.stack([np.bincount(by_row, term, group.max() + 1) for term in terms], axis=1)
    drawn = sums[stationary_indices(len(sums), BLOCK_DAYS, draws, np.random.default_rng(seed))].sum(axis=1)
    n, sa, sb, sy, saa, sbb, syy, say, sby = drawn.T
    spread = np.sqrt(syy - sy**2 / n)
    gap = (say - sa * sy / n) / np.sqrt(saa - sa**2 / n) - (sby - sb * sy / n) / np.sqrt(sbb - sb**2 / n)
    return float(np.std(gap / spread))


def _loss_error(ours: Floats, other: Floats, label: Floats, days: Ints) -> float:
    """Standard error of the difference of two log-loss skills of probabilities of a rise."""
    known = np.isfinite(ours) & np.isfinite(other) & np.isfinite(label) & (label != 0)
    rose = (label[known] > 0).astype(np.float64)
    gap = log_loss(other[known], rose) - log_loss(ours[known], rose)
    numbers = np.broadcast_to(days[:, None], known.shape)[known]
    seen = day_ratio_interval(numbers, gap / math.log(2), np.ones(gap.size), block_days=BLOCK_DAYS)
    return (seen.high - seen.low) / (2 * 1.96)


def _audit(
    history: Recorded, walks: dict[int, _Walk], table: dict[str, dict[str, Skill]], traded: rivals.Traded
) -> tuple[AuditLine, ...]:
    """What is too good, and then what the audit finds; causality and the fading with delay are looked at in any case."""
    own, slow = table["1h"][OURS], table["4h"][OURS]
    shown = {
        "IC 1h": own.correlation.low,
        "rank IC 1h": own.rank_correlation,
        "accuracy 1h": own.accuracy - 1.96 * own.accuracy_error,
        "log-loss skill 1h": own.log_loss_skill.low,
        "IC 4h": slow.correlation.low,
        "net Sharpe": traded.sharpe - 1.96 * traded.error,
    }
    high = [
        f"{name} {shown[name]:.3f} above {IMPLAUSIBLE[name]:.3f}" for name in shown if shown[name] > IMPLAUSIBLE[name]
    ]
    lines = [AuditLine("recorded history", not high, "; ".join(high) or "nothing is too good", "L9")]
    error = 1 / math.sqrt(max(own.effective_count, 2.0))
    lines.append(extra_lag(own.by_lag, error))

    def features(panel: Any) -> dict[str, Any]:
        made, names, _ = recorded.describe(panel)
        return {name: made[:, :, k] for k, name in enumerate(names)}

    lines += prefix_invariant(features, history.panel, LONGEST + 700, rows=3, seed=7)
    if high:
        test = walks[1].rows
        problem = Problem(history.features, history.label(1), 1, np.arange(LONGEST, test[0] - 26), test)
        lines.append(permuted_labels(problem))
    return leaks(lines)


def volatility_row(folder: Path, later: Path | None) -> Measure:
    """QLIKE of the next hour over that of the best other model; the size is the number of newest months, each a refit."""
    return _volatility(folder, later, 12, 3)


def day_volatility_row(folder: Path, later: Path | None) -> Measure:
    """The same of the next day."""
    return _volatility(folder, later, 288, 12)


MOST_LOSS: Final = 10.0
"""Losses are drawn in here: one bar of a crash would else decide alone."""


def _volatility(folder: Path, later: Path | None, horizon: int, every: int) -> Measure:
    def measure(seed: int, size: int) -> Reading:
        from hydra_core.statistics.league import OURS as MINE
        from hydra_core.statistics.league import volatility_league

        panel = recorded.hours(folder, Interval.M5)
        first, end = None, int(panel.close_ms[-1])
        if later is not None:
            first = end
            panel = recorded.joined(panel, recorded.hours(later, Interval.M5))
            end = int(panel.close_ms[-1])
        refits = _month_starts(end, size) if first is None else [first, *_month_starts(end, 60)]
        refits = [at for at in refits if first is None or at >= first]
        league = volatility_league(panel, horizon, refits, end, every)
        losses = {name: league.losses(name, MOST_LOSS).mean(axis=1) for name in league.forecasts}
        mean = {name: float(loss.mean()) for name, loss in losses.items()}
        best = min((name for name in mean if name != MINE), key=lambda name: mean[name])
        days = np.asarray((panel.close_ms[league.rows] - 1) // DAY_MS, np.int64)
        seen = day_ratio_interval(days, losses[MINE], losses[best], block_days=BLOCK_DAYS)
        error = (seen.high - seen.low) / (2 * 1.96)
        within, told = _within(league, MINE, days)
        notes = {"QLIKE": mean, "best": best, "refits": len(refits), "intervals": told, "parts": {"within": within}}
        return Reading(mean[MINE], mean[best], seen.value, error, notes)

    return measure


def _within(league: League, ours: str, days: Ints) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """How far the share within the 90 % intervals of ``ours`` is from nine in ten, and what those of each model held."""
    told = {name: league.intervals(name).told(league.outcome, league.forecasts[name]) for name in league.forecasts}
    held = league.intervals(ours).held(league.outcome)
    known = np.isfinite(held).any(axis=1)
    hits = np.nanmean(held[known], axis=1)
    seen = day_ratio_interval(days[known], hits, np.ones(hits.size), block_days=BLOCK_DAYS)
    share = told[ours].share
    part = {
        "ours": share,
        "reference": LEVEL,
        "value": abs(share - LEVEL),
        "error": (seen.high - seen.low) / (2 * 1.96),
    }
    return part, {name: asdict(one) for name, one in told.items()}


def _month_starts(end_ms: int, count: int) -> list[int]:
    """Openings of the newest whole months before a moment, ascending."""
    found: list[int] = []
    at = end_ms - 1
    while len(found) < count:
        start = month_span(month_of(at))[0]
        found.append(start)
        at = start - 1
    return found[::-1]


def span_of(folder: Path) -> tuple[int, int]:
    """First open and last close of a folder's hours, epoch ms: what a reading of it is written down as."""
    panel = recorded.hours(folder)
    return int(panel.ts[0]), int(panel.close_ms[-1])


def _monthly(history: Recorded, walk: _Walk, name: str) -> dict[str, float]:
    """Correlation of one forecaster month by month: whether an edge decays."""
    months = np.array([month_of(int(ts)) for ts in history.panel.ts[walk.rows]])
    label = history.label(1)[walk.rows]
    return {str(m): correlation(walk.said[name][months == m], label[months == m]) for m in np.unique(months)}
