"""Scores of layer 2 on processes whose truth is known, one seed at a time: what `hydra bench truth` and the tests ask.

Not here: the processes (processes.py), goals and how they are judged (research/, tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats, Ints
from hydra_core.statistics.cascades import CascadeRule, calibrated, detect_cascades
from hydra_core.statistics.garch import fit_garch
from hydra_core.statistics.har import fit_har, fit_log_har, future_variance
from hydra_core.statistics.point_process import Hawkes, fit_hawkes
from hydra_core.statistics.point_process_multi import fit_multi_hawkes
from hydra_core.statistics.processes import cascading_events, hawkes_times, switching_returns, volatile_returns
from hydra_core.statistics.regimes import RegimeModel, sticky
from hydra_core.statistics.regimes_fit import first_guess, fit_regimes
from hydra_core.statistics.rolling import rolling_mean
from hydra_core.statistics.variance_intervals import Coverage, variance_intervals
from hydra_core.statistics.volatility import ewma_sigma, qlike

TURBULENT: Final = RegimeModel(scales=(1.0, 2.0), transition=sticky((288.0, 144.0)), degrees=4)
"""The market of the regime score: volatility doubles for half a day, shocks are t(4)."""


@dataclass(frozen=True)
class RegimeScore:
    """Online filter of a fitted model beside the filter that knows the truth; both on rows not fitted on.

    Parameters
    ----------
    accuracy, best_accuracy : balanced, of the fitted and of the true model's filter
    delay, best_delay : median bars from a switch to the filter's
    switches, best_switches : number of switches of the filters
    degrees : fitted degrees of freedom
    """

    accuracy: float
    best_accuracy: float
    delay: float
    best_delay: float
    switches: int
    best_switches: int
    degrees: float


def balanced_accuracy(states: Ints, guess: Ints) -> float:
    """Mean over the states of the share of their rows that is guessed right."""
    return float(np.mean([(guess[states == s] == s).mean() for s in np.unique(states)]))


def switch_delays(states: Ints, guess: Ints) -> Floats:
    """Bars from each switch to the first row that is guessed right, while the state lasts; infinite where never."""
    starts = np.flatnonzero(np.diff(states)) + 1
    ends = np.append(starts[1:], states.size)
    out = np.full(starts.size, np.inf)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        right = np.flatnonzero(guess[start:end] == states[start])
        if right.size:
            out[k] = right[0]
    return out


def regime_score(seed: int, truth: RegimeModel = TURBULENT, train: int = 20_000, test: int = 20_000) -> RegimeScore:
    """Fit on ``train`` rows from a guess that knows nothing, filter the ``test`` rows after them."""
    degrees = truth.degrees if truth.degrees < 50 else None
    states, x = switching_returns(seed, train + test, np.array(truth.scales), np.array(truth.transition), degrees)
    fit = fit_regimes(x[:train], first_guess(x[:train], len(truth.scales)), rounds=150, fit_degrees=True)
    mine, best = (model.filtered(x)[train:].argmax(axis=1) for model in (fit, truth))
    states = states[train:]
    return RegimeScore(
        balanced_accuracy(states, mine),
        balanced_accuracy(states, best),
        float(np.median(switch_delays(states, mine))),
        float(np.median(switch_delays(states, best))),
        int((np.diff(mine) != 0).sum()),
        int((np.diff(best) != 0).sum()),
        fit.degrees,
    )


def hawkes_score(seed: int, mu: float = 0.5, alpha: float = 0.8, beta: float = 2.0, events: int = 20_000) -> Hawkes:
    """Fit of a simulated process of about so many events."""
    end = events * (1.0 - alpha) / mu
    return fit_hawkes(hawkes_times(seed, mu, alpha, beta, end), end)


@dataclass(frozen=True)
class CascadeScore:
    """Injected cascades found, alarms outside them per day, median seconds from the first forced order."""

    recall: float
    false_per_day: float
    delay_s: float


def cascade_score(seed: int, days: float = 60.0, bursts: int = 200, quiet_days: float = 30.0) -> CascadeScore:
    """Detector fitted and calibrated on quiet events of another seed, scored on events with injected cascades.

    The rule is that of :class:`~hydra_core.statistics.cascades.CascadeRule`, its start multiple raised from 5 until the
    quiet events start at most one cascade in ten days.
    """
    times, sizes, _ = cascading_events(seed + 1_000_003, quiet_days, 0, mu=0.2)
    sample = slice(0, 40_000)
    fit = fit_multi_hawkes(times[sample], np.zeros(40_000, np.int64), float(times[40_000]), sizes[sample], errors=False)
    quiet = CascadeRule(
        mu=float(fit.mu[0]),
        alpha=float(fit.alpha[0, 0, 0]),
        beta=float(fit.beta[0]),
        gamma=fit.gamma,
        median_size=float(np.median(sizes)),
        mean_rate=times.size / (quiet_days * 86_400.0),
    )
    rule = calibrated(quiet, times, sizes, per_day=0.1)
    times, sizes, starts = cascading_events(seed, days, bursts, mu=0.2)
    alarms, _ = detect_cascades(times, sizes, rule)
    first = [alarms[(alarms >= begin) & (alarms < begin + 60.0)][:1] for begin in starts]
    found = np.array([alarm[0] - begin for alarm, begin in zip(first, starts, strict=True) if alarm.size])
    since = alarms - starts[np.maximum(np.searchsorted(starts, alarms, side="right") - 1, 0)]
    # What a cascade leaves behind fades for some minutes: alarms within them are its own.
    false = int(((since < 0) | (since > 300.0)).sum())
    return CascadeScore(found.size / starts.size, false / days, float(np.median(found)))


def volatility_score(seed: int, days: int = 2470, train_days: int = 1500, per_day: int = 288) -> dict[str, float]:
    """Next-day QLIKE against realised variance on the two-factor reference market, by model, after training days."""
    log_return, variance = volatile_returns(seed, days, per_day)
    square = log_return**2
    cut = train_days * per_day
    outcome = future_variance(square, per_day)
    rows = np.arange(cut + per_day - 1, square.size - per_day, per_day)
    classic = fit_log_har(square[:cut], (per_day, 7 * per_day, 30 * per_day), per_day)
    fit = fit_log_har(square[:cut], _windows(per_day), per_day)
    levels = fit_har(square[:cut], (per_day, 7 * per_day, 30 * per_day), per_day)
    truth = future_variance(variance, per_day)
    daily = rolling_mean(square, per_day)[rows]
    # A model of days sees their returns alone.
    day_return = log_return[: square.size // per_day * per_day].reshape(-1, per_day).sum(axis=1)
    # A persistence of 1 is within the fit's reach, so the recursion starts from the training days' own variance.
    learnt = day_return[:train_days]
    garch = fit_garch(learnt, fat_tails=False).next_variance(day_return, float(learnt.var()))[rows // per_day] / per_day
    forecasts = {
        "random walk": daily,
        "EWMA .94": ewma_sigma(daily, np.log(0.5) / np.log(0.94), 120) ** 2,
        "EWMA .6": ewma_sigma(daily, np.log(0.5) / np.log(0.6), 120) ** 2,
        "daily GARCH": garch,
        "HAR": levels.predict(square)[rows],
        "log-HAR": classic.predict(square)[rows],
        "log-HAR with hours": fit.predict(square)[rows],
        "true variance": truth[rows],
    }
    known = np.all([np.isfinite(f) for f in forecasts.values()], axis=0)
    return {name: float(qlike(outcome[rows], f)[known].mean()) for name, f in forecasts.items()}


def _windows(per_day: int) -> tuple[int, ...]:
    """Bars: volatility moves within the day, so the newest hours carry what the day's mean has already averaged away."""
    return (per_day // 8, per_day // 2, per_day, 7 * per_day, 30 * per_day)


def interval_score(seed: int, days: int = 2470, train_days: int = 1500, per_day: int = 288) -> dict[str, Coverage]:
    """What 90 % intervals of the next hour's and the next day's variance hold on the two-factor reference market.

    The forecasts are a log-HAR's that was fitted on the training days; its intervals are learnt and judged on those after
    them, one an hour, so that days overlap.
    """
    log_return, _ = volatile_returns(seed, days, per_day)
    square, hour = log_return**2, per_day // 24
    cut = train_days * per_day
    made = {}
    for name, horizon in (("hour", hour), ("day", per_day)):
        outcome = future_variance(square, horizon)
        rows = np.arange(cut + hour - 1, square.size - horizon, hour)
        forecast = fit_log_har(square[:cut], _windows(per_day), horizon).predict(square)[rows]
        said = variance_intervals(rows, horizon, hour, outcome[rows, None], forecast[:, None])
        made[name] = said.told(outcome[rows, None], forecast[:, None])
    return made
