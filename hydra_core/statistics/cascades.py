"""Liquidation cascades: the live intensity of marked events, and when it is a cascade that feeds itself.

A cascade starts when the intensity is far above its long-run mean, most of it is caused by earlier events, and the
notional of the last minute is beyond what minutes of the last thirty days hold; it ends when the intensity has faded.
Every event costs O(1). Not here: fitting the process (point_process.py), what to do about a cascade (risk/).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints

MINUTES: Final = 30 * 1440
"""Minutes of history that the notional of the last minute is held against."""
LEAST_MINUTES: Final = 1440
"""Before a day has been seen the notional condition is taken as met: the two others stand alone."""
BINS: Final = 2048
_PER_E: Final = 64.0
"""Bins per factor e: a quantile is known to 1.6 %, from 1e-6 to 1e7 medians."""
_OFFSET: Final = 900.0

RATE, SHARE, NOTIONAL, LIMIT, ON = 0, 1, 2, 3, 4
"""Columns of a reading: intensity, share of it caused by events, notional of 60 s, its limit, 1 while in a cascade."""


@dataclass(frozen=True)
class CascadeRule:
    """A marked Hawkes process and the thresholds on it.

    Parameters
    ----------
    mu, alpha, beta : background per second, branching of an event of median size, decay per second
    gamma : power of size over its median
    median_size : in the unit of the sizes (USDT)
    mean_rate : long-run events per second
    start_multiple, share, quantile : of a start: intensity over the mean, share caused by events, notional of a minute
    end_multiple : a cascade ends when the intensity falls below this multiple of the mean
    """

    mu: float
    alpha: float
    beta: float
    gamma: float
    median_size: float
    mean_rate: float
    start_multiple: float = 5.0
    share: float = 0.6
    quantile: float = 0.99
    end_multiple: float = 2.0

    def __post_init__(self) -> None:
        if not (self.mu > 0 and self.beta > 0 and self.median_size > 0 and self.mean_rate > 0):
            raise InputMissing(f"cascade rule with mu {self.mu}, beta {self.beta}", "All must be above zero: fit it")
        if self.end_multiple >= self.start_multiple:
            raise InputMissing("a cascade would end before it starts", "Set end_multiple below start_multiple")


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _step(
    time_s: float,
    size: float,
    rule: Floats,
    state: Floats,
    seconds: Floats,
    minutes: Ints,
    histogram: Ints,
    out: Floats,
) -> None:
    """One event. state: last time, excitation, on, since, minute, minutes seen, limit, notional, last end."""
    mu, jump, beta, gamma, median, mean_rate = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5]
    start, share_least, quantile, finish = rule[6], rule[7], rule[8], rule[9]
    last = state[0]
    if not math.isnan(last):
        gap = time_s - last
        if state[2] == 1.0:
            above = finish * mean_rate - mu
            fade = math.inf if above <= 0.0 else math.log(max(jump * state[1] / above, 1e-300)) / beta
            if fade < gap:
                state[2] = 0.0
                state[8] = last + max(fade, 0.0)
        state[1] *= math.exp(-beta * gap)
        # The ring of whole seconds: those passed since the last event are emptied.
        first, now = math.floor(last), math.floor(time_s)
        for second in range(max(first + 1, now - 59), now + 1):
            seconds[int(second) % 60] = 0.0
        # Finished minutes go into the histogram, at most a month of them.
        minute, before = math.floor(time_s / 60.0), state[4]
        if minute > before:
            passed = min(minute - before, float(minutes.size))
            for k in range(int(passed)):
                at = int(before + k) % minutes.size
                if state[5] >= minutes.size:
                    histogram[minutes[at]] -= 1
                else:
                    state[5] += 1.0
                amount = state[7] if k == 0 else 0.0
                bucket = 0
                if amount > 0.0:
                    bucket = int(min(max(_PER_E * math.log(amount / median) + _OFFSET, 1.0), BINS - 1.0))
                minutes[at] = bucket
                histogram[bucket] += 1
            state[4] = minute
            state[7] = 0.0
            if state[5] >= LEAST_MINUTES:
                beyond = (1.0 - quantile) * state[5]
                count, bucket = 0, BINS
                while bucket > 0 and count + histogram[bucket - 1] <= beyond:
                    bucket -= 1
                    count += histogram[bucket]
                state[6] = median * math.exp((bucket - _OFFSET) / _PER_E) if bucket > 0 else 0.0
    else:
        state[4] = math.floor(time_s / 60.0)
    state[0] = time_s
    state[1] += math.exp(gamma * math.log(size / median))
    state[7] += size
    seconds[int(time_s // 1.0) % 60] += size
    notional = 0.0
    for k in range(60):
        notional += seconds[k]
    caused = jump * state[1]
    rate = mu + caused
    if state[2] == 0.0 and rate > start * mean_rate and caused > share_least * rate and notional > state[6]:
        state[2] = 1.0
        state[3] = time_s
    out[0], out[1], out[2], out[3], out[4] = rate, caused / rate, notional, state[6], state[2]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _run(
    times_s: Floats, sizes: Floats, rule: Floats, state: Floats, seconds: Floats, minutes: Ints, histogram: Ints
) -> tuple[Floats, Floats, Floats]:
    readings = np.empty((times_s.size, 5))
    starts, ends = np.empty(times_s.size), np.empty(times_s.size)
    begun, ended = 0, 0
    for k in range(times_s.size):
        before = state[2]
        since = state[3]
        _step(times_s[k], sizes[k], rule, state, seconds, minutes, histogram, readings[k])
        if before == 1.0 and (state[2] == 0.0 or state[3] != since):
            ends[ended] = state[8]
            ended += 1
        if state[2] == 1.0 and (before == 0.0 or state[3] != since):
            starts[begun] = state[3]
            begun += 1
    return readings, starts[:begun].copy(), ends[:ended].copy()


class CascadeDetector:
    """The running detector: one call an event, the same arithmetic as over an array of events.

    Parameters
    ----------
    rule : CascadeRule
    """

    def __init__(self, rule: CascadeRule) -> None:
        self.rule = rule
        r = rule
        self._rule = np.array(
            [
                *(r.mu, r.alpha * r.beta, r.beta, r.gamma, r.median_size, r.mean_rate),
                *(r.start_multiple, r.share, r.quantile, r.end_multiple),
            ]
        )
        self._state = np.array([math.nan, 0.0, 0.0, math.nan, 0.0, 0.0, 0.0, 0.0, math.nan])
        self._seconds = np.zeros(60)
        self._minutes = np.zeros(MINUTES, np.int64)
        self._histogram = np.zeros(BINS, np.int64)
        self._out = np.zeros(5)

    def update(self, time_s: float, size: float) -> Floats:
        """Take one event and read the detector; the array is reused by the next call.

        Raises
        ------
        InputMissing : the event is older than the one before, or its size is not above zero
        """
        if not time_s >= (self._state[0] if not math.isnan(self._state[0]) else -math.inf) or not size > 0:
            raise InputMissing(f"event of size {size} at {time_s}", "Hand in events in order, sizes above zero")
        _step(time_s, size, self._rule, self._state, self._seconds, self._minutes, self._histogram, self._out)
        return self._out

    def rate_at(self, time_s: float) -> float:
        """Intensity at a moment without an event, per second."""
        if math.isnan(self._state[0]):
            return self.rule.mu
        faded = self._state[1] * math.exp(-self.rule.beta * max(time_s - self._state[0], 0.0))
        return float(self.rule.mu + self.rule.alpha * self.rule.beta * faded)

    def on_at(self, time_s: float) -> bool:
        """Whether a cascade is running at a moment without an event."""
        return bool(self._state[2] == 1.0 and self.rate_at(time_s) >= self.rule.end_multiple * self.rule.mean_rate)

    def run(self, times_s: Floats, sizes: Floats) -> tuple[Floats, Floats, Floats]:
        """Many events at once: readings (n, 5), starts and ends of cascades in seconds.

        Raises
        ------
        InputMissing : events out of order, or a size that is not above zero
        """
        if (np.diff(times_s) < 0).any() or not (sizes > 0).all():
            raise InputMissing("events out of order, or a size that is not above zero", "Sort and clean them first")
        found = _run(times_s, sizes, self._rule, self._state, self._seconds, self._minutes, self._histogram)
        return found[0], found[1], found[2]


def detect_cascades(times_s: Floats, sizes: Floats, rule: CascadeRule) -> tuple[Floats, Floats]:
    """Starts and ends (seconds) of the cascades in an array of events; errors as for :class:`CascadeDetector`."""
    _, starts, ends = CascadeDetector(rule).run(times_s, sizes)
    return starts, ends


def calibrated(rule: CascadeRule, times_s: Floats, sizes: Floats, per_day: float, ceiling: float = 64.0) -> CascadeRule:
    """The rule with the least start multiple, of its own upwards, that starts at most ``per_day`` cascades a day.

    Parameters
    ----------
    rule : CascadeRule
    times_s, sizes : events of quiet history, or simulated from the fitted process without cascades
    per_day : starts a day to allow

    Raises
    ------
    InputMissing : the events span less than a day
    """
    days = float(times_s[-1] - times_s[0]) / 86_400.0 if times_s.size else 0.0
    if days < 1.0:
        raise InputMissing(f"calibration of a cascade rule on {days:.2f} days", "Give it at least a day of events")
    multiple = rule.start_multiple
    while multiple < ceiling:
        found = replace(rule, start_multiple=multiple)
        if detect_cascades(times_s, sizes, found)[0].size <= per_day * days:
            return found
        multiple *= 1.1
    return replace(rule, start_multiple=ceiling)
