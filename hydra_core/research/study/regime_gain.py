"""What volatility regimes gain over one regime, by the returns that they are read from: raw ones or standardised ones.

A chain of regimes on raw returns has to tell slow levels of volatility and fast changes with the same three scales. Divided
by an exponential moving average of what came before, returns keep the fast changes alone. All parameters are fitted on the
first part of the rows and frozen; the rest judges. Every density is of the raw return, so that all are in the same unit: with
x = r / s and s known before the bar, p(r) = p(x) / s. A t-GARCH of the standardised returns is told as much as the regimes of
them and knows one regime: what both gain is the average's doing, what regimes gain over it is their own.

Not here: the filter and its fit (``statistics.regimes``, ``regimes_fit``), the chain fitted to what the live filter sees
(``levels``), the comparison of volatility models as such (``market``). No decision reads anything fitted here.
Sources: Hamilton (1989) for the predictive density; RiskMetrics (1996) for the moving average; Newey and West (1987) for
the error of a mean; Diebold and Mariano (1995); Patton (2011) for QLIKE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import FORECAST_INTERVAL, HOUR_MS
from hydra_core.domain.market import Floats, Ints
from hydra_core.domain.pairs import Pair
from hydra_core.research.hac import mean_test
from hydra_core.research.study.contests import LIVE, RAW, SAME, STANDARDISED, Contender, Contest, RegimeGains
from hydra_core.research.study.levels import FITTED, HOUR_BARS, base_of
from hydra_core.research.study.one_pair import DAY_BARS, PairBars
from hydra_core.research.study.records import Duel, Estimate, Unknown, attempt
from hydra_core.statistics.comparison import diebold_mariano
from hydra_core.statistics.garch import Garch, fit_garch
from hydra_core.statistics.har import future_variance
from hydra_core.statistics.league import LEAST
from hydra_core.statistics.regimes import DEFAULT, LEAST_VARIANCE, RegimeModel
from hydra_core.statistics.regimes_fit import first_guess, fit_regimes
from hydra_core.statistics.rolling import change
from hydra_core.statistics.volatility import qlike

PER: Final = (1, 3)
"""5m bars in a bar that is judged: what decisions see, and a quarter of an hour."""
STATES: Final = 3
HALF_LIVES_H: Final = (2.0, 6.0, 24.0)
"""Half-lives of the moving average that the fitted rows choose from."""
CAP: Final = 4.0
"""A return counts in the moving average with so many of its own standard deviations at most: the bar of a crash, hundreds of
times the usual variance, would else lie on the scale for days."""
LOOKED: Final = 20
"""Rounds of a fit that a half-life is chosen by; the chosen one is fitted on."""
START_DWELL: Final = 30.0
"""Bars that each state of the first guess lasts."""
DEPENDENT: Final = 24
"""Hours over which losses hang together."""
MOST_LOSS: Final = 10.0
"""Losses of an hour are drawn in here: one hour of a crash would else decide alone."""
LEAST_DAYS: Final = 40
"""Days without which fewer than ten times :data:`DEPENDENT` hours are left to judge."""


@dataclass(frozen=True, eq=False)
class Grid:
    """One pair's bars of one length, from the first whose scales are all known.

    Parameters
    ----------
    per : 5m bars in a bar
    close_ms : (T,)
    log_return : (T,), NaN where unknown
    after : half-life in hours -> (T,), standard deviation a bar by what is known at each close
    base : (T,), the live filter's, likewise
    outcome : (T,), mean variance per 5m bar over the hour after each close; NaN but at full hours
    cut : row at which judging begins
    """

    per: int
    close_ms: Ints
    log_return: Floats
    after: Mapping[float, Floats]
    base: Floats
    outcome: Floats
    cut: int


@dataclass(frozen=True, eq=False)
class Told:
    """What a frozen model says at each row of a grid.

    Parameters
    ----------
    log_density : (T,), of the raw return given all before it
    hour : (T,), variance per 5m bar expected over the hour after each close
    dwell_h : as in :class:`~hydra_core.research.study.contests.Contender`
    """

    log_density: Floats
    hour: Floats
    dwell_h: tuple[float, ...] = ()


def grid_of(bars: PairBars, per: int) -> Grid:
    """The bars that end on multiples of ``per`` 5m bars since midnight.

    Raises
    ------
    InputMissing : fewer than :data:`LEAST_DAYS` days from the first bar whose scales are known
    """
    rows = np.flatnonzero(bars.close_ms % (per * FORECAST_INTERVAL.ms) == 0)
    square = bars.log_return**2
    hour_ends = bars.close_ms % HOUR_MS == 0
    outcome = np.where(hour_ends, np.maximum(future_variance(square, HOUR_BARS), LEAST), np.nan)[rows]
    after = {}
    for hours in HALF_LIVES_H:
        variance = capped_variance(square, 0.5 ** (1.0 / (hours * HOUR_BARS)), CAP**2, DAY_BARS, LEAST_VARIANCE)[rows]
        # Where nothing moved for long there is no scale: the bars after such a stretch are left out for every model alike.
        after[hours] = np.sqrt(per * np.where(variance > LEAST_VARIANCE, variance, np.nan))
    base = base_of(bars)[rows]
    known = np.isfinite(np.stack([*after.values(), base])).all(axis=0)
    first = int(known.argmax()) + 1
    left = rows.size - first
    if not known.any() or left * per < LEAST_DAYS * DAY_BARS:
        raise InputMissing(
            f"{max(left, 0) * per if known.any() else 0} bars with a known scale",
            f"At least {LEAST_DAYS} days are needed",
        )
    log_return = change(np.log(bars.close[rows]), 1)
    return Grid(
        per=per,
        close_ms=bars.close_ms[rows][first:],
        log_return=log_return[first:],
        # One row more than the rest, so that the scale before the first row is at hand.
        after={hours: sigma[first - 1 :] for hours, sigma in after.items()},
        base=base[first - 1 :],
        outcome=outcome[first:],
        cut=int(FITTED * left),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def capped_variance(square: Floats, keep: float, most: float, first: int, least: float) -> Floats:
    """Exponentially weighted mean of squared returns, each drawn in at ``most`` times the mean before it, (T,).

    Row t knows the returns up to t. The mean of the ``first`` known ones begins it, NaN before that; a missing return leaves
    it as it was. Below ``least`` nothing is drawn in: a market that wakes up may move.

    Parameters
    ----------
    square : (T,), squared log returns
    keep : weight of the mean at the next bar
    """
    out = np.full(square.size, np.nan)
    known, mean = 0, 0.0
    for row in range(square.size):
        fresh = square[row]
        if not math.isnan(fresh):
            known += 1
            if known <= first:
                mean += (fresh - mean) / known
            else:
                if mean > least:
                    fresh = min(fresh, most * mean)
                mean = keep * mean + (1.0 - keep) * fresh
        if known >= first:
            out[row] = mean
    return out


def raw_log_density(
    model: RegimeModel | Garch, log_return: Floats, before: Floats, start: float | None = None
) -> Floats:
    """Log density of each raw return from a model of the standardised ones, (T,); NaN where either is missing.

    Parameters
    ----------
    log_return : (T,)
    before : (T,), scale of each return, known before it
    start : variance of the first standardised return, for a GARCH
    """
    x = log_return / before
    told = (
        model.predictive_log_likelihood(x)
        if isinstance(model, RegimeModel)
        else model.predictive_log_likelihood(x, start)
    )
    return np.asarray(told - np.log(before))


def told_by_regimes(model: RegimeModel, grid: Grid, scale: Floats) -> Told:
    """A chain on returns over a scale.

    Parameters
    ----------
    scale : (T + 1,), known at the close before each row and at that of the last one
    """
    steps, matrix, power = HOUR_BARS // grid.per, np.array(model.transition), np.eye(len(model.scales))
    ahead = np.zeros_like(matrix)
    for _ in range(steps):
        power = power @ matrix
        ahead += power / steps
    spread = np.array(model.scales) ** 2 * model.degrees / (model.degrees - 2.0)
    # The scale of the next bar is held over the hour: a moving average expects itself.
    hour = model.filtered(grid.log_return / scale[:-1]) @ ahead @ spread * scale[1:] ** 2 / grid.per
    hours = grid.per * FORECAST_INTERVAL.ms / HOUR_MS
    dwell = tuple(hours / max(1.0 - float(stay), 1e-12) for stay in np.diag(matrix))
    return Told(raw_log_density(model, grid.log_return, scale[:-1]), hour, dwell)


def told_by_garch(grid: Grid, scale: Floats) -> Told:
    """A t-GARCH fitted to the first part of the returns over a scale, (T + 1,)."""
    x = grid.log_return / scale[:-1]
    model = fit_garch(x[: grid.cut])
    start = float(np.nanvar(x[: grid.cut]))
    mean = model.horizon_mean(model.next_variance(x, start), HOUR_BARS // grid.per)
    return Told(raw_log_density(model, grid.log_return, scale[:-1], start), mean * scale[1:] ** 2 / grid.per)


def fitted_chain(grid: Grid, scale: Floats, start: RegimeModel | None = None, rounds: int = 60) -> RegimeModel:
    """The chain of the first part of the returns over a scale, (T + 1,), from a first guess or from a model."""
    x = grid.log_return[: grid.cut] / scale[: grid.cut]
    return fit_regimes(x, start or first_guess(x, STATES, START_DWELL), rounds, fit_degrees=True)


def standardised_chain(grid: Grid) -> tuple[float, RegimeModel]:
    """Half-life in hours of the moving average and the chain, both by the fitted rows alone.

    Densities of the raw return may be compared across half-lives, those of the standardised ones not.
    """
    looked = {hours: fitted_chain(grid, scale, rounds=LOOKED) for hours, scale in grid.after.items()}

    def value(hours: float) -> float:
        part = slice(0, grid.cut)
        return float(np.nanmean(raw_log_density(looked[hours], grid.log_return[part], grid.after[hours][part])))

    best = max(looked, key=value)
    return best, fitted_chain(grid, grid.after[best], looked[best])


def told_of(grid: Grid) -> tuple[Told, dict[str, Told], float]:
    """The t-GARCH of the raw returns, the contenders by name, and the half-life chosen in hours.

    Raises
    ------
    InputMissing : returns that a model cannot be fitted to
    """
    ones = np.ones(grid.close_ms.size + 1)
    hours, chain = standardised_chain(grid)
    scale = grid.after[hours]
    contenders = {
        RAW: told_by_regimes(fitted_chain(grid, ones), grid, ones),
        STANDARDISED: told_by_regimes(chain, grid, scale),
        SAME: told_by_garch(grid, scale),
    }
    if grid.per == 1:
        contenders[LIVE] = told_by_regimes(DEFAULT, grid, grid.base)
    return told_by_garch(grid, ones), contenders, hours


@dataclass(frozen=True, eq=False)
class Judged:
    """Gains of one pair's contenders over the t-GARCH, row by row of the judged part; NaN where a row does not count.

    Parameters
    ----------
    close_ms : (n,)
    gain : name -> (n,), nats
    loss : name -> (n,), QLIKE of the hour ahead; ``""`` is the t-GARCH
    """

    close_ms: Ints
    gain: Mapping[str, Floats]
    loss: Mapping[str, Floats]


def judged_of(grid: Grid, garch: Told, contenders: Mapping[str, Told]) -> Judged:
    """Gains and losses on the rows after the cut.

    Every forecast of variance is brought to the level of the fitted rows first, by the factor that makes their QLIKE least:
    what 15m returns tell of variance lies beside what 5m returns realise.
    """
    every = {"": garch, **contenders}
    counted = np.isfinite(np.stack([told.log_density for told in every.values()])).all(axis=0)
    scored = np.isfinite(np.stack([grid.outcome, *(told.hour for told in every.values())])).all(axis=0)
    # The outcome of a fitted hour has ended when judging begins.
    learnt = scored & (grid.close_ms + HOUR_MS <= grid.close_ms[grid.cut - 1])
    part = slice(grid.cut, None)
    gain, loss = {}, {}
    for name, told in every.items():
        level = float((grid.outcome[learnt] / told.hour[learnt]).mean())
        made = qlike(grid.outcome, np.maximum(level * told.hour, LEAST))
        loss[name] = np.where(scored, np.minimum(made, MOST_LOSS), np.nan)[part]
        gain[name] = np.where(counted, told.log_density - garch.log_density, np.nan)[part]
    return Judged(grid.close_ms[part], gain, loss)


def contest_of(
    per: int, half_life_h: float | None, fitted: int, judged: Judged, dwell: Mapping[str, tuple[float, ...]]
) -> Contest:
    """Means with errors of what was judged.

    Raises
    ------
    InputMissing : too few hours to compare forecasts by
    """
    contenders = {}
    counted = np.isfinite(judged.gain[STANDARDISED])
    lags = DAY_BARS // per
    for name, found in dwell.items():
        both = np.isfinite(judged.loss[name]) & np.isfinite(judged.loss[""])
        test = mean_test(judged.gain[name][counted], lags)
        duel = diebold_mariano(judged.loss[name][both], judged.loss[""][both], DEPENDENT)
        contenders[name] = Contender(Estimate.of(test.mean, test.error), Duel(duel.gain, duel.p_value), found)
    own = mean_test((judged.gain[STANDARDISED] - judged.gain[SAME])[counted], lags)
    return Contest(
        minutes=per * FORECAST_INTERVAL.ms // 60_000,
        half_life_h=half_life_h,
        fitted_rows=fitted,
        judged_rows=int(counted.sum()),
        contenders=contenders,
        regimes_own=Estimate.of(own.mean, own.error),
    )


def together_of(parts: list[Judged]) -> Judged:
    """Mean over the pairs of each moment: pairs move as one, and are no more moments than one pair's."""
    moments = np.unique(np.concatenate([part.close_ms for part in parts]))

    def mean(name: str, what: str) -> Floats:
        total, count = np.zeros(moments.size), np.zeros(moments.size)
        for part in parts:
            values: Floats = getattr(part, what)[name]
            good = np.isfinite(values)
            at = np.searchsorted(moments, part.close_ms[good])
            total[at] += values[good]
            count[at] += 1.0
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)

    return Judged(
        moments,
        {name: mean(name, "gain") for name in parts[0].gain},
        {name: mean(name, "loss") for name in parts[0].loss},
    )


def regime_gains_of(pairs: Mapping[Pair, PairBars]) -> RegimeGains:
    """Every contest of every pair, and of all pairs together.

    On one thread of linear algebra, as every fit of few parameters here.

    Parameters
    ----------
    pairs : pair -> bars on one grid

    Raises
    ------
    InputMissing : not one pair has the bars
    """
    from threadpoolctl import threadpool_limits

    made: dict[str, tuple[Contest, ...]] = {}
    left_out: dict[str, str] = {}
    parts: dict[int, list[Judged]] = {per: [] for per in PER}
    with threadpool_limits(1, user_api="blas"):
        for pair, bars in pairs.items():
            found = attempt(lambda bars=bars: _pair(bars))  # type: ignore[misc]
            if isinstance(found, Unknown):
                left_out[str(pair)] = found.why
                continue
            made[str(pair)] = tuple(contest for contest, _ in found)
            for per, (_, judged) in zip(PER, found, strict=True):
                parts[per].append(judged)
    if not made:
        raise InputMissing(next(iter(left_out.values()), "no pair has candles"))
    together = []
    for place, per in enumerate(PER):
        every = [contests[place] for contests in made.values()]
        none: dict[str, tuple[float, ...]] = dict.fromkeys(every[0].contenders, ())
        fitted = sum(one.fitted_rows for one in every)
        together.append(contest_of(per, None, fitted, together_of(parts[per]), none))
    return RegimeGains(tuple(together), made, left_out)


def _pair(bars: PairBars) -> list[tuple[Contest, Judged]]:
    found = []
    for per in PER:
        grid = grid_of(bars, per)
        garch, contenders, hours = told_of(grid)
        judged = judged_of(grid, garch, contenders)
        dwell = {name: told.dwell_h for name, told in contenders.items()}
        found.append((contest_of(per, hours, grid.cut, judged, dwell), judged))
    return found
