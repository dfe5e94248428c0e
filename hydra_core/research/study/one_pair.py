"""One pair's bars: volatility, time of day, jumps, diffusion and GARCH.

Not here: events and their clustering (``events``), regimes and change points (``levels``), several pairs (``market``).
Sources: those of the estimators in ``statistics``; Wilson (1927) for the interval of a share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, HOUR_MS
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.research.hac import long_run_variance
from hydra_core.research.study.records import (
    SURE,
    Diffusion,
    Diurnal,
    Estimate,
    GarchFit,
    Jump,
    Jumps,
    Unknown,
    Volatility,
    attempt,
)
from hydra_core.statistics import volatility as vol
from hydra_core.statistics.diffusion import MAX_RATE, Gbm, Merton, fit_gbm, fit_merton
from hydra_core.statistics.diurnal import periodicity, slots
from hydra_core.statistics.garch import fit_garch
from hydra_core.statistics.jumps import THRESHOLD, bns_z, local_shock
from hydra_core.statistics.kou import Kou, fit_kou
from hydra_core.statistics.rolling import change

DAY_BARS: Final = DAY_MS // FORECAST_INTERVAL.ms
YEAR_BARS: Final = 365 * DAY_BARS
KNOWN: Final = 0.9
"""Share of a day's bars that must be there for the day to be measured."""
LEAST_DAYS: Final = 5
LAG_DAYS: Final = 5
"""Days over which daily variances hang together, for the error of their mean."""
SMOOTH: Final = 13
"""Bars of the moving average round the clock: an hour, and what makes it odd."""
Z_5, Z_1 = 1.6448536269514722, 2.3263478740408408
"""Upper 5 % and 1 % of the standard normal: the ratio test is one-sided."""
SHOWN: Final = 5


@dataclass(frozen=True, eq=False)
class PairBars:
    """One pair's columns of a panel of 5m bars, and what several parts need of them.

    Parameters
    ----------
    ts : int64 (T,), open times
    open, high, low, close : float64 (T,)
    """

    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats

    @classmethod
    def of(cls, panel: Panel, column: int) -> PairBars:
        """The pair in a column of the panel."""
        taken = (np.ascontiguousarray(getattr(panel, name)[:, column]) for name in ("open", "high", "low", "close"))
        return cls(panel.ts, *taken)

    @cached_property
    def close_ms(self) -> Ints:
        """Close times, (T,)."""
        return self.ts + FORECAST_INTERVAL.ms

    @cached_property
    def log_return(self) -> Floats:
        """Log return close to close, (T,); NaN in the first row and at gaps."""
        return change(np.log(self.close), 1)

    @cached_property
    def factor(self) -> Floats | Unknown:
        """Diurnal factor of each bar, (T,), root mean square one over the day; or why there is none."""
        slot = slots(self.ts, DAY_BARS)
        found = attempt(lambda: periodicity(self.log_return, slot, DAY_BARS, SMOOTH))
        return found if isinstance(found, Unknown) else found[slot]

    @cached_property
    def level_return(self) -> Floats:
        """Log return with the time of day divided out, (T,); as it is where no factor is known."""
        return self.log_return if isinstance(self.factor, Unknown) else self.log_return / self.factor

    @cached_property
    def shock(self) -> Floats:
        """Lee and Mykland's L of :attr:`level_return`, (T,)."""
        return local_shock(self.level_return)

    @cached_property
    def days(self) -> Ints:
        """Day (UTC) of each bar, counted from the first one."""
        return np.asarray(self.ts // DAY_MS - self.ts[0] // DAY_MS)

    def refuse(self, name: str) -> None:
        """Say why nothing can be estimated of these bars at all.

        Raises
        ------
        InputMissing : no candles, fewer than a day of them, or prices that hardly ever move
        """
        known = self.log_return[np.isfinite(self.log_return)]
        if not np.isfinite(self.close).any():
            raise InputMissing(f"no candles of {name} in the span", "Run `hydra backfill` for it, or leave it out")
        if known.size < DAY_BARS:
            raise InputMissing(f"{name} has {known.size} returns", f"At least {DAY_BARS}, a day of 5m bars, are needed")
        still = float((known == 0).mean())
        if still > 0.5:
            raise InputMissing(
                f"{still:.0%} of the bars of {name} did not move the price", "Leave out the halted market"
            )


def daily_means(bars: PairBars, variance: Floats) -> Floats:
    """Mean variance per bar of each day with enough bars, in order of time."""
    good = np.isfinite(variance)
    counts = np.bincount(bars.days, good)
    sums = np.bincount(bars.days, np.where(good, variance, 0.0))
    whole = counts >= KNOWN * DAY_BARS
    return np.asarray(sums[whole] / counts[whole])


def annual(daily: Floats) -> Estimate:
    """Annualised volatility from daily mean variances per bar, with its error by the delta method.

    Raises
    ------
    InputMissing : fewer than :data:`LEAST_DAYS` days
    """
    if daily.size < LEAST_DAYS:
        raise InputMissing(f"{daily.size} whole days of bars", f"At least {LEAST_DAYS} are needed")
    mean = float(daily.mean())
    spread = math.sqrt(long_run_variance(daily, min(LAG_DAYS, daily.size // 2)) / daily.size)
    value = math.sqrt(max(mean, 0.0) * YEAR_BARS)
    return Estimate.of(value, 0.5 * value * spread / mean if mean > 0 else None, 0.0)


def volatility_of(bars: PairBars, ticks: float | None, ticks_note: str) -> Volatility:
    """Every estimator on the same days.

    Parameters
    ----------
    ticks : trades a bar, None where they were not recorded
    ticks_note : where that is from, or why not
    """
    o, h, low, c = bars.open, bars.high, bars.low, bars.close
    per_bar = {
        "close to close": bars.log_return**2,
        "Parkinson": vol.parkinson(h, low),
        "Garman-Klass": vol.garman_klass(o, h, low, c),
        "Rogers-Satchell": vol.rogers_satchell(o, h, low, c),
    }
    found = {name: annual(daily_means(bars, variance)) for name, variance in per_bar.items()}
    ends = np.flatnonzero(bars.close_ms % DAY_MS == 0)
    rolled = {"Yang-Zhang": vol.yang_zhang(o, h, low, c, DAY_BARS)}
    if ticks is not None:
        rolled["Garman-Klass, ticks corrected"] = vol.continuous_sigma(o, h, low, c, ticks, DAY_BARS) ** 2
    for name, variance in rolled.items():
        at_ends = variance[ends]
        found[name] = annual(at_ends[np.isfinite(at_ends)])
    gbm = fit_gbm(bars.log_return)
    drift = Estimate.of(gbm.drift * YEAR_BARS, gbm.drift_error * YEAR_BARS)
    return Volatility(found, ticks, ticks_note, drift, daily_means(bars, per_bar["close to close"]).size)


def diurnal_of(bars: PairBars) -> Diurnal:
    """The cycle by hours of the day."""
    if isinstance(bars.factor, Unknown):
        raise InputMissing(bars.factor.why)
    hour = (bars.ts % DAY_MS) // HOUR_MS
    hours = np.array([math.sqrt(float((bars.factor[hour == k] ** 2).mean())) for k in range(24)])
    quiet, peak = int(hours.argmin()), int(hours.argmax())
    return Diurnal(tuple(float(v) for v in hours), float(hours[peak] / hours[quiet]), peak, quiet)


def share_of(hits: int, trials: int) -> Estimate:
    """A share with Wilson's interval, which is one at 0 and 1 too."""
    p, square = hits / trials, SURE**2
    centre = (p + square / (2 * trials)) / (1 + square / trials)
    reach = SURE / (1 + square / trials) * math.sqrt(p * (1 - p) / trials + square / (4 * trials**2))
    return Estimate(p, math.sqrt(p * (1 - p) / trials), max(centre - reach, 0.0), min(centre + reach, 1.0))


def jumps_of(bars: PairBars) -> Jumps:
    """Days with jumps by the ratio test, bars with jumps by Lee and Mykland's, the time of day divided out of both."""
    z = bns_z(bars.level_return, DAY_BARS)[bars.close_ms % DAY_MS == 0]
    z = z[np.isfinite(z)]
    if z.size < LEAST_DAYS:
        raise InputMissing(f"{z.size} whole days for the daily jump test", f"At least {LEAST_DAYS} are needed")
    known = np.isfinite(bars.shock)
    flagged = np.flatnonzero(known & (np.abs(bars.shock) > THRESHOLD))
    days = float(known.sum()) / DAY_BARS
    raw = int((np.abs(local_shock(bars.log_return)) > THRESHOLD).sum())
    newest = tuple(Jump(int(bars.close_ms[k]), float(bars.log_return[k])) for k in flagged[::-1][:SHOWN])
    return Jumps(
        days=z.size,
        share_5=share_of(int((z > Z_5).sum()), z.size),
        share_1=share_of(int((z > Z_1).sum()), z.size),
        flags_a_day=Estimate.of(flagged.size / days, math.sqrt(flagged.size) / days, 0.0),
        raw_flags_a_day=raw / days,
        factored=not isinstance(bars.factor, Unknown),
        newest=newest,
    )


def diffusion_of(bars: PairBars) -> Diffusion:
    """No jumps, normal ones or double-exponential ones: the lowest information criterion, with errors of its parameters."""
    r = bars.level_return
    fits: dict[str, Gbm | Merton | Kou] = {"none": fit_gbm(r), "Merton": fit_merton(r), "Kou": fit_kou(r)}
    best = min(fits, key=lambda name: fits[name].bic)
    fit = fits[best]
    year = math.sqrt(YEAR_BARS)
    note = ""
    if isinstance(fit, Gbm):
        parameters = {"volatility": Estimate.of(fit.sigma * year, fit.sigma_error * year)}
    elif isinstance(fit, Merton):
        errors = fit.standard_errors(r)
        parameters = {
            "volatility": Estimate.of(fit.sigma * year, errors[1] * year, 0.0),
            "jumps a day": Estimate.of(fit.rate * DAY_BARS, errors[2] * DAY_BARS, 0.0),
            "jump mean": Estimate.of(fit.jump_mean, errors[3]),
            "jump deviation": Estimate.of(fit.jump_sigma, errors[4], 0.0),
        }
    else:
        kou = fit.standard_errors(r)
        # The delta method: a mean size is the inverse of its decay.
        parameters = {
            "volatility": Estimate.of(fit.sigma * year, kou[1] * year, 0.0),
            "jumps a day": Estimate.of(fit.rate * DAY_BARS, kou[2] * DAY_BARS, 0.0),
            "share up": Estimate.of(fit.up, kou[3], 0.0),
            "mean jump up": Estimate.of(1.0 / fit.up_decay, kou[4] / fit.up_decay**2, 0.0),
            "mean jump down": Estimate.of(1.0 / fit.down_decay, kou[5] / fit.down_decay**2, 0.0),
        }
    if not isinstance(fit, Gbm) and fit.rate > 0.9 * MAX_RATE:
        note = "so many jumps are a volatility that moves: the fit takes it for constant"
    return Diffusion(best, {name: one.bic for name, one in fits.items()}, parameters, note)


def garch_of(bars: PairBars) -> GarchFit:
    """GARCH(1,1)-t of the returns without their time of day."""
    fit = fit_garch(bars.level_return, errors=True)
    errors = fit.errors or (math.nan,) * 6
    stationary = fit.persistence < 1.0
    life = math.log(0.5) / math.log(fit.persistence) * FORECAST_INTERVAL.ms / HOUR_MS if stationary else None
    return GarchFit(
        alpha=Estimate.of(fit.alpha, errors[2], 0.0),
        beta=Estimate.of(fit.beta, errors[4], 0.0),
        degrees=Estimate.of(fit.degrees, errors[5], 2.0),
        persistence=fit.persistence,
        half_life_h=life,
        volatility=math.sqrt(fit.long_run * YEAR_BARS) if stationary else None,
    )
