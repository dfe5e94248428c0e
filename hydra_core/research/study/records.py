"""What a market study says: one frozen record a part, and in place of a part that could not be estimated the reason.

Not here: the records of what regimes gain (``contests``), how anything is estimated (the neighbours), how it is shown
(``tables``, ``plots``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints
from hydra_core.domain.pairs import Pair

if TYPE_CHECKING:
    from hydra_core.research.study.contests import RegimeGains

SURE: Final = 1.959963984540054
"""Standard errors of a 95 % interval of a Gaussian."""
T = TypeVar("T")


@dataclass(frozen=True)
class Unknown:
    """A part that could not be estimated.

    Parameters
    ----------
    why : what was lacking, in words for a person
    """

    why: str


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Parameters
    ----------
    value : of the estimate
    error : standard error; None where the data do not tell it (a flat likelihood, too few days)
    low, high : 95 % interval; None where there is no error
    """

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, error: float | None = None, least: float = -math.inf) -> Estimate:
        """The Gaussian interval of a standard error, cut off at ``least``; an error that is not finite is none."""
        if error is None or not math.isfinite(error):
            return cls(float(value))
        reach = SURE * error
        return cls(float(value), float(error), max(float(value - reach), least), float(value + reach))


@dataclass(frozen=True)
class Volatility:
    """Annualised volatility by every estimator on the same days.

    Parameters
    ----------
    estimates : estimator -> standard deviation of a year's log return; errors by the spread of the daily variances
    ticks : trades a 5m bar that the finite-tick correction was made for; None where trades were not recorded
    ticks_note : where ``ticks`` is from, or why there is no correction
    drift : of a geometric Brownian motion, log return a year
    days : whole days that were measured
    """

    estimates: Mapping[str, Estimate]
    ticks: float | None
    ticks_note: str
    drift: Estimate
    days: int


@dataclass(frozen=True)
class Diurnal:
    """The time of day in volatility.

    Parameters
    ----------
    hours : (24,), volatility of each hour (UTC) relative to the day's, root mean square one
    swing : largest hour over the smallest
    peak_hour, quiet_hour : hours of both, UTC
    """

    hours: tuple[float, ...]
    swing: float
    peak_hour: int
    quiet_hour: int


@dataclass(frozen=True)
class Jump:
    """One flagged bar: its close and its log return."""

    at_ms: int
    log_return: float


@dataclass(frozen=True)
class Jumps:
    """Jumps by the daily ratio test and by single bars.

    Parameters
    ----------
    days : days that were tested
    share_5, share_1 : share of the days whose test refuses "no jump" at 5 % and 1 %; Wilson intervals
    flags_a_day : Lee-Mykland flags a day, returns divided by the diurnal factor first
    raw_flags_a_day : the same without dividing
    factored : whether a diurnal factor was at hand
    newest : the newest flags, newest first
    """

    days: int
    share_5: Estimate
    share_1: Estimate
    flags_a_day: Estimate
    raw_flags_a_day: float
    factored: bool
    newest: tuple[Jump, ...]


@dataclass(frozen=True)
class Diffusion:
    """Which diffusion describes the returns of 5m bars.

    Parameters
    ----------
    best : ``none`` (no jumps), ``Merton`` or ``Kou``, by the lowest information criterion
    bic : model -> information criterion
    parameters : of the best model; volatility a year, jumps a day, sizes in log return
    note : what to beware of; empty where nothing
    """

    best: str
    bic: Mapping[str, float]
    parameters: Mapping[str, Estimate]
    note: str


@dataclass(frozen=True)
class GarchFit:
    """GARCH(1,1) with Student-t shocks on 5m returns, the diurnal factor divided out.

    Parameters
    ----------
    alpha, beta, degrees : of the fit, robust errors
    persistence : alpha + beta
    half_life_h : hours in which half of a variance shock is gone; None at or above a persistence of one
    volatility : long-run, annualised; None likewise
    """

    alpha: Estimate
    beta: Estimate
    degrees: Estimate
    persistence: float
    half_life_h: float | None
    volatility: float | None


@dataclass(frozen=True)
class Regimes:
    """The regime filter's chain fitted to what the live filter sees, and its worth on rows not fitted on.

    Parameters
    ----------
    scales : of calm, turbulent and extreme, in units of the five-day base
    dwell_h : mean hours in each
    share : long-run share of the time in each
    degrees : of the Student-t noise
    gain_over_garch : log-likelihood a bar over a t-GARCH fitted to the same rows, nats
    gain_over_live : the same over the frozen chain of the live filter
    fitted_rows, judged_rows : bars of both stretches
    now : filtered probabilities at the newest bar
    note : what to beware of; empty where nothing
    """

    scales: tuple[float, ...]
    dwell_h: tuple[float, ...]
    share: tuple[float, ...]
    degrees: float
    gain_over_garch: Estimate
    gain_over_live: Estimate
    fitted_rows: int
    judged_rows: int
    now: tuple[float, ...]
    note: str


@dataclass(frozen=True)
class Change:
    """A change of the level of volatility.

    Parameters
    ----------
    at_ms : first hour of the new level
    sure : probability that it was within half a day of that
    before, after : annualised volatility of the stretches on both sides
    """

    at_ms: int
    sure: float
    before: float
    after: float


@dataclass(frozen=True)
class Changes:
    """Change points of hourly volatility.

    Parameters
    ----------
    points : newest first
    fresh : probability that the level changed within the newest :data:`~hydra_core.research.study.changes.FRESH` hours
    hours : hours that were read
    """

    points: tuple[Change, ...]
    fresh: float
    hours: int


@dataclass(frozen=True)
class Clustering:
    """A Hawkes process fitted to event times.

    Parameters
    ----------
    events : number of events
    a_day : events a day
    branching : share of the events that are caused by events; interval by profile likelihood
    half_life_s : seconds in which an event's pull has halved; None without clustering
    over_poisson : p-value of "no clustering at all", by likelihood ratio
    residual_p : p-value that the time-rescaled gaps are exponential (Kolmogorov-Smirnov); a small one says that an exponential
        kernel does not describe the clustering
    note : what to beware of; empty where nothing
    """

    events: int
    a_day: float
    branching: Estimate
    half_life_s: float | None
    over_poisson: float
    residual_p: float
    note: str


@dataclass(frozen=True)
class Liquidations:
    """Forced orders as a self-exciting process, and the cascades in them.

    Parameters
    ----------
    clustering : of all forced orders of the pair
    size_power : power of an order's size that its pull grows with
    matrix : branching between liquidated longs and shorts, [caused][causing]; None where one side hardly occurs
    radius : its spectral radius
    start_multiple : intensity over its mean at which a cascade starts, so that the fitted process alone hardly ever does
    cascades : number found
    newest_ms : starts of the newest, newest first
    median_s : median seconds that one lasted; None without one
    """

    clustering: Clustering
    size_power: float
    matrix: tuple[tuple[float, ...], ...] | None
    radius: Estimate | None
    start_multiple: float
    cascades: int
    newest_ms: tuple[int, ...]
    median_s: float | None


@dataclass(frozen=True, eq=False)
class Course:
    """Volatility over time, for the picture; not part of what is written down.

    Parameters
    ----------
    close_ms : (n,)
    volatility : (n,), annualised, of the last day
    regime : (n,), most probable state of the fitted chain; -1 where not known
    """

    close_ms: Ints
    volatility: Floats
    regime: Ints


@dataclass(frozen=True, eq=False)
class PairStudy:
    """All that is said of one pair; a part is :class:`Unknown` where it could not be estimated."""

    pair: Pair
    rows: int
    volatility: Volatility | Unknown
    diurnal: Diurnal | Unknown
    jumps: Jumps | Unknown
    diffusion: Diffusion | Unknown
    garch: GarchFit | Unknown
    regimes: Regimes | Unknown
    changes: Changes | Unknown
    moves: Clustering | Unknown
    liquidations: Liquidations | Unknown
    course: Course | Unknown


@dataclass(frozen=True)
class Duel:
    """Diebold-Mariano of two forecasts of a pair: gain of the first in QLIKE, and the p-value that it is none."""

    gain: float
    p_value: float


@dataclass(frozen=True)
class Held:
    """What 90 % intervals around a model's forecasts held out of sample.

    Parameters
    ----------
    share : of the outcomes that lay within; the error allows for hours that hang together
    wild : share within, of the tenth of the hours with the largest forecasts alone
    low, high : ends of the typical interval of volatility, as multiples of the forecast; ``high`` is inf where most have no
        upper end
    outcomes : hours and pairs that had an interval
    """

    share: Estimate
    wild: float
    low: float
    high: float
    outcomes: int


@dataclass(frozen=True)
class Forecasts:
    """The volatility league out of sample, an hour ahead.

    Parameters
    ----------
    rows : hours that were forecast
    losses : model -> mean QLIKE over all pairs
    best_set : models that cannot be told from the best (model confidence set, 10 %)
    intervals : model -> what its intervals held over all pairs
    pairs : pair -> model -> mean QLIKE
    pair_intervals : pair -> what the intervals of HYDRA's own model held
    logs_over_levels, pooled_over_logs : pair -> does log-HAR beat HAR in levels, does pooled log-HAR beat log-HAR
    left_out : pair -> why it is not in the league
    """

    rows: int
    losses: Mapping[str, float]
    best_set: tuple[str, ...]
    intervals: Mapping[str, Held]
    pairs: Mapping[str, Mapping[str, float]]
    pair_intervals: Mapping[str, Held]
    logs_over_levels: Mapping[str, Duel]
    pooled_over_logs: Mapping[str, Duel]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class CrossHawkes:
    """Whose large moves cause whose.

    Parameters
    ----------
    kinds : order of the matrix: pairs that moved alone, and ``together`` for bars in which several moved
    matrix : [caused][causing], events of the one caused by an event of the other
    radius : spectral radius, below one for a market that calms down by itself
    half_life_s : seconds in which an event's pull has halved
    events : kind -> number of events
    left_out : kind -> why
    note : what to beware of
    """

    kinds: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    radius: Estimate
    half_life_s: float
    events: Mapping[str, int]
    left_out: Mapping[str, str]
    note: str


@dataclass(frozen=True)
class Spike:
    """A time when the pairs began to move as one: from, until (closes) and the most evidence in nats."""

    from_ms: int
    until_ms: int
    evidence: float


@dataclass(frozen=True)
class Spikes:
    """Correlation spikes of the span, newest first, at most the ``newest`` that are shown; how many there were at all."""

    count: int
    a_month: float
    newest: tuple[Spike, ...]


@dataclass(frozen=True, eq=False)
class MarketStudy:
    """The whole study.

    Parameters
    ----------
    from_ms, until_ms : first open and last close of what was read
    rows : bars a pair
    pairs : one record each
    regime_gains, forecasts, cross, spikes : of all pairs together
    """

    from_ms: int
    until_ms: int
    rows: int
    pairs: tuple[PairStudy, ...]
    regime_gains: RegimeGains | Unknown
    forecasts: Forecasts | Unknown
    cross: CrossHawkes | Unknown
    spikes: Spikes | Unknown

    @property
    def unknown(self) -> dict[str, str]:
        """Every part that could not be estimated, as ``pair: part`` -> why."""
        found = {
            f"{one.pair}: {each.name}": part.why
            for one in self.pairs
            for each in fields(one)
            if isinstance(part := getattr(one, each.name), Unknown) and each.name != "course"
        }
        if not isinstance(self.regime_gains, Unknown):
            found |= {f"{pair}: regime_gains": why for pair, why in self.regime_gains.left_out.items()}
        market = {name: getattr(self, name) for name in ("regime_gains", "forecasts", "cross", "spikes")}
        return found | {name: part.why for name, part in market.items() if isinstance(part, Unknown)}

    def to_json(self) -> dict[str, Any]:
        """Plain data; a number that is not finite is null, an unknown part ``{"unknown": why}``, courses are left out."""
        told: dict[str, Any] = _plain(self)
        return {"trading_rules_reading_this": 0, **told}


def attempt(make: Callable[[], T]) -> T | Unknown:
    """The part, or why it cannot be estimated; only a lack of data is taken for that."""
    try:
        return make()
    except InputMissing as error:
        return Unknown(str(error))


def _plain(value: Any) -> Any:
    if isinstance(value, Unknown):
        return {"unknown": value.why}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value) if each.name != "course"}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
