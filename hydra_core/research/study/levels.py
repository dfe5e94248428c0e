"""The level of volatility over time: regimes that come back, and changes that stay.

Not here: the filter and its fit (``statistics.regimes``, ``regimes_fit``), what regimes are worth by the returns that they
are read from (``regime_gain``), the online change points
(``statistics.changepoints``), their use in decisions (``risk``: by the frozen chain, never by what is fitted here).
Sources: Hamilton (1989); Adams and MacKay (2007); Pearson's median filter against single hours, after Hampel (1974).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import FORECAST_INTERVAL, HOUR_MS
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.hac import mean_test
from hydra_core.research.study.one_pair import DAY_BARS, YEAR_BARS, PairBars
from hydra_core.research.study.records import Change, Changes, Course, Estimate, Regimes
from hydra_core.statistics.changepoints import ChangePoints, ChangePrior
from hydra_core.statistics.garch import fit_garch
from hydra_core.statistics.regimes import BASE_BARS, DEFAULT, LEAST_VARIANCE, RegimeModel, stationary
from hydra_core.statistics.regimes_fit import fit_regimes
from hydra_core.statistics.rolling import lag, rolling_mean
from hydra_core.statistics.volatility import parkinson

FITTED: Final = 0.7
"""Share of the rows that is fitted on; the rest judges."""
LEAST_ROWS: Final = 5 * DAY_BARS
SHORT_H: Final = 0.5
"""A state that lasts less than this is no regime but the tail of another."""
HOUR_BARS: Final = HOUR_MS // FORECAST_INTERVAL.ms
MOST_HOURS: Final = 3000
HAZARD: Final = 1.0 / 720.0
"""A change of level a month is believed in before anything is seen."""
SPREAD: Final = 4.0
"""Levels before anything is seen differ by this many times an hour's noise."""
FRESH: Final = 6
"""Hours within which a change cannot be told from a wild hour."""
WINDOW: Final = 12
"""A change is dated to within so many hours on either side."""
LIKELY: Final = 0.5
"""A stretch that has more likely than this never changed has no further change; when one was may be less sure than that."""
MOST_POINTS: Final = 5
LEAST_HOURS: Final = 72
OUTLIER: Final = 4.0
"""Hours further than this many times the usual noise from the median around them are drawn in."""
AROUND: Final = 25
COURSE_POINTS: Final = 1500


def base_of(bars: PairBars) -> Floats:
    """The slow level of volatility that the live filter divides by, (T,), each bar's own range in it."""
    logs = np.log(np.maximum(parkinson(bars.high, bars.low), LEAST_VARIANCE))
    base = np.full(logs.size, np.nan)
    base[BASE_BARS - 1 :] = np.exp(0.5 * rolling_mean(logs, BASE_BARS)[BASE_BARS - 1 :])
    return base


def observations_of(bars: PairBars) -> Floats:
    """What the live filter sees: log return over the slow base of volatility, (T,)."""
    return np.asarray(bars.log_return / base_of(bars))


def regimes_of(bars: PairBars) -> tuple[Regimes, RegimeModel]:
    """The fitted chain, judged against a t-GARCH and against the live filter's on rows not fitted on.

    Raises
    ------
    InputMissing : too few rows beyond the five days that the base needs
    """
    seen = observations_of(bars)
    x = seen[np.isfinite(seen)]
    if x.size < LEAST_ROWS:
        raise InputMissing(
            f"{x.size} standardised returns (the base of volatility takes {BASE_BARS} bars)",
            f"At least {LEAST_ROWS} are needed",
        )
    cut = int(FITTED * x.size)
    model = fit_regimes(x[:cut], DEFAULT, fit_degrees=True)
    garch = fit_garch(x[:cut])
    start = float(x[:cut].var())
    told = model.predictive_log_likelihood(x)[cut:]
    over_garch = mean_test(told - garch.predictive_log_likelihood(x, start)[cut:], DAY_BARS)
    over_live = mean_test(told - DEFAULT.predictive_log_likelihood(x)[cut:], DAY_BARS)
    matrix = np.array(model.transition)
    dwell = [FORECAST_INTERVAL.ms / HOUR_MS / max(1.0 - float(p), 1e-12) for p in np.diag(matrix)]
    short = [name for name, hours in zip(("calm", "turbulent", "extreme"), dwell, strict=True) if hours < SHORT_H]
    made = Regimes(
        scales=model.scales,
        dwell_h=tuple(dwell),
        share=tuple(float(v) for v in stationary(matrix)),
        degrees=model.degrees,
        gain_over_garch=Estimate.of(over_garch.mean, over_garch.error),
        gain_over_live=Estimate.of(over_live.mean, over_live.error),
        fitted_rows=cut,
        judged_rows=x.size - cut,
        now=tuple(float(v) for v in model.filtered(seen)[-1]),
        note=f"{' and '.join(short)} last less than half an hour: a fat tail, no regime" if short else "",
    )
    return made, model


def hourly(bars: PairBars) -> tuple[Ints, Floats, Floats]:
    """Opens of the hours with all their bars, log of bipower variance and mean squared return of each.

    The time of day is divided out; bipower variance does not see single jumps.
    """
    r = bars.level_return
    size = np.abs(r)
    hour = bars.ts // HOUR_MS - bars.ts[0] // HOUR_MS
    product = 0.5 * math.pi * size * lag(size, 1)
    good = np.isfinite(product)
    whole = np.bincount(hour, good) == HOUR_BARS
    bipower = np.bincount(hour, np.where(good, product, 0.0))[whole] / HOUR_BARS
    square = np.bincount(hour, np.where(good, r, 0.0) ** 2)[whole] / HOUR_BARS
    opens = (np.flatnonzero(whole) + bars.ts[0] // HOUR_MS) * HOUR_MS
    moved = bipower > 0  # an hour in which nothing moved has no log
    return opens[moved][-MOST_HOURS:], np.log(bipower[moved])[-MOST_HOURS:], square[moved][-MOST_HOURS:]


def changes_of(bars: PairBars) -> Changes:
    """The newest changes of the level, each dated by the posterior of the time since the change before it.

    From the newest hour backwards: the posterior of the run length dates the newest change, what precedes it is read again
    as if it were all that is known, and so on.

    Raises
    ------
    InputMissing : fewer than :data:`LEAST_HOURS` whole hours
    """
    from scipy.ndimage import median_filter

    opens, level, square = hourly(bars)
    if level.size < LEAST_HOURS:
        raise InputMissing(f"{level.size} whole hours that moved", f"At least {LEAST_HOURS} are needed")
    around = median_filter(level, AROUND, mode="nearest")
    noise = 1.4826 * float(np.median(np.abs(level - around)))
    if noise <= 0:
        raise InputMissing("hourly volatility that never moves", "Leave out the halted market")
    x = (np.clip(level, around - OUTLIER * noise, around + OUTLIER * noise) - np.median(level)) / noise
    points: list[Change] = []
    fresh, end = 0.0, x.size
    while len(points) < MOST_POINTS and end >= 2 * WINDOW:
        prior = ChangePrior(HAZARD, strength=1.0 / SPREAD**2, shape=4.0, scale=4.0, longest=end + 1)
        found = ChangePoints(prior)
        found.run(x[:end])
        run = found.run_length
        if not points:
            fresh = float(run[:FRESH].sum())
        run = run[: end + 1]
        # Mass of each window of run lengths; whole stretches without a change lie at its far end.
        summed = np.concatenate([[0.0], np.cumsum(run)])
        low = np.maximum(np.arange(run.size) - WINDOW, 0)
        high = np.minimum(np.arange(run.size) + WINDOW, run.size - 1)
        mass = summed[high + 1] - summed[low]
        unchanged = end - WINDOW
        if float(run[unchanged:].sum()) >= LIKELY:
            break
        length = FRESH + int(run[FRESH:unchanged].argmax())
        at = end - length
        until = points[-1].at_ms if points else int(opens[-1]) + HOUR_MS
        after = square[at : int(np.searchsorted(opens, until))]
        points.append(Change(int(opens[at]), float(mass[length]), math.nan, _annual(after)))
        end = at - WINDOW // 2
    return Changes(_with_before(points, opens, square), fresh, int(level.size))


def _with_before(points: list[Change], opens: Ints, square: Floats) -> tuple[Change, ...]:
    """The volatility before a change is that after the one before it; before the first, that of all hours so far."""
    made = []
    for place, point in enumerate(points):
        earlier = points[place + 1].at_ms if place + 1 < len(points) else int(opens[0])
        part = square[int(np.searchsorted(opens, earlier)) : int(np.searchsorted(opens, point.at_ms))]
        made.append(Change(point.at_ms, point.sure, _annual(part), point.after))
    return tuple(made)


def _annual(square: Floats) -> float:
    return math.sqrt(float(square.mean()) * YEAR_BARS) if square.size else math.nan


def course_of(bars: PairBars, model: RegimeModel | None) -> Course:
    """Volatility of the last day at each bar, thinned, and the most probable regime by the fitted chain.

    Raises
    ------
    InputMissing : less than a day of bars
    """
    if bars.ts.size < DAY_BARS:
        raise InputMissing(f"{bars.ts.size} bars", f"A course needs at least {DAY_BARS}")
    day = np.sqrt(rolling_mean(bars.log_return**2, DAY_BARS) * YEAR_BARS)
    regime = np.full(bars.ts.size, -1, np.int64)
    if model is not None:
        seen = observations_of(bars)
        regime = np.where(np.isfinite(seen), model.filtered(seen).argmax(axis=1), -1)
    rows = np.arange(DAY_BARS, bars.ts.size, max(1, bars.ts.size // COURSE_POINTS))
    return Course(bars.close_ms[rows], day[rows], regime[rows])
