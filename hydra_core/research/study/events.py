"""Events that cause events: large moves of a pair and of all pairs, forced orders, and the cascades among these.

Not here: the likelihoods (``statistics.point_process``), jumps as such (``one_pair``).
Sources: Ogata (1988) for the residual test; those of the estimators in ``statistics``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import Bools, Floats, Ints, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.research.study.one_pair import PairBars
from hydra_core.research.study.records import Clustering, CrossHawkes, Estimate, Liquidations
from hydra_core.statistics.cascades import CascadeRule, calibrated, detect_cascades
from hydra_core.statistics.hawkes import EVENT_SHOCK
from hydra_core.statistics.point_process import MOST_TIES, check_times, fit_hawkes, spread_ties
from hydra_core.statistics.point_process_multi import MultiHawkes, fit_multi_hawkes
from hydra_core.statistics.processes import multi_hawkes

BAR_S: Final = FORECAST_INTERVAL.ms / 1000.0
SEED: Final = 1
"""Of where in its bar a large move is placed: the same study of the same bars is the same study."""
LONGEST_S: Final = DAY_MS / 1000.0
"""Longest half-life of a pull: what lasts longer is a level of volatility, not a cause."""
LEAST_EVENTS: Final = 50
LEAST_OF_A_KIND: Final = 10
NEWEST_FORCED: Final = 20_000
"""Forced orders that are read of a pair, the newest: a fit of more says nothing new and takes longer."""
APART_S: Final = 60.0
"""Seconds of quiet after which a cascade is another one."""
FALSE_A_DAY: Final = 0.1
"""Cascades a day that the fitted process may show by itself, as where the detector is scored (``statistics.truths``)."""
MOST_RADIUS: Final = 0.97
SHOWN: Final = 5
TOGETHER: Final = "together"
"""Kind of the bars in which more than one pair moved."""
IN_A_BAR: Final = (
    "moves are placed at random within their bars and count once a bar: branching within a bar is missed, and the half-life "
    "is no finer than a bar"
)


@dataclass(frozen=True, eq=False)
class ForcedOrders:
    """Forced orders of one pair, ascending in time.

    Parameters
    ----------
    times_ms : int64 (n,)
    notional : float64 (n,), USDT
    long_side : bool (n,), whether a long was liquidated
    """

    times_ms: Ints
    notional: Floats
    long_side: Bools

    @classmethod
    def of(cls, orders: Sequence[Liquidation]) -> ForcedOrders:
        """The same from single orders."""
        ordered = sorted(orders, key=lambda one: one.event_ms)
        return cls(
            np.array([one.event_ms for one in ordered], np.int64),
            np.array([one.quantity * one.price for one in ordered], np.float64),
            np.array([one.long_side for one in ordered], np.bool_),
        )


def move_times(bars: PairBars) -> tuple[Floats, float]:
    """Times of large moves in bars since the first bar that could be judged, and the length of the span.

    Raises
    ------
    InputMissing : no bar can be judged
    """
    known = np.flatnonzero(np.isfinite(bars.shock))
    if not known.size:
        raise InputMissing(f"{bars.ts.size} bars are too few to judge a large move", "Give it a day of bars more")
    first = int(known[0])
    rows = np.flatnonzero(np.abs(bars.shock[first:]) > EVENT_SHOCK).astype(np.float64)
    return spread_ties(rows, 1.0, SEED), float(bars.ts.size - first)


def clustering_of(times: Floats, end: float, unit_s: float, shortest_s: float, note: str) -> Clustering:
    """Fit of one kind of event, its interval and its residual test.

    Parameters
    ----------
    times, end : in units of ``unit_s`` seconds
    shortest_s : half-life below which the clock cannot tell one; the longest is a day
    note : what to beware of
    """
    from scipy.stats import chi2, kstest

    if times.size < LEAST_EVENTS:
        raise InputMissing(f"{times.size} events", f"A Hawkes fit needs at least {LEAST_EVENTS}")
    decays = math.log(2.0) * unit_s / LONGEST_S, math.log(2.0) * unit_s / shortest_s
    fit = fit_hawkes(times, end, decays)
    error = fit.standard_errors(times, end)[1]
    low, high = fit.branching_interval(times, end, decays)
    steps = np.diff(fit.compensator(times), prepend=0.0)
    plain = times.size * math.log(times.size / end) - times.size
    over_poisson = float(chi2.sf(max(2.0 * (fit.log_likelihood - plain), 0.0), 2))
    notes = [note] if note else []
    if over_poisson > 0.05:
        notes.append("no clustering beyond chance: the half-life means nothing")
    elif high >= 1.0:
        notes.append("a process that feeds itself for ever is not excluded")
    return Clustering(
        events=int(times.size),
        a_day=times.size / (end * unit_s * 1000.0 / DAY_MS),
        branching=Estimate(fit.alpha, error if math.isfinite(error) else None, low, high),
        half_life_s=None if over_poisson > 0.05 else math.log(2.0) / fit.beta * unit_s,
        over_poisson=over_poisson,
        residual_p=float(kstest(steps, "expon").pvalue),
        note="; ".join(notes),
    )


def moves_of(bars: PairBars) -> Clustering:
    """Clustering of large moves, volatility and time of day divided out."""
    return clustering_of(*move_times(bars), BAR_S, BAR_S, IN_A_BAR)


def liquidations_of(pair: Pair, forced: ForcedOrders | None) -> Liquidations:
    """Forced orders: clustering, sizes, sides and cascades.

    Raises
    ------
    InputMissing : none were recorded, or too few
    """
    if forced is None or not forced.times_ms.size:
        raise InputMissing(
            f"no liquidations of {pair} were recorded in the span", "They come with a running trader only"
        )
    newest = slice(max(forced.times_ms.size - NEWEST_FORCED, 0), None)
    stamps, sizes, kinds = (
        forced.times_ms[newest],
        forced.notional[newest],
        (~forced.long_side[newest]).astype(np.int64),
    )
    good = sizes > 0
    stamps, sizes, kinds = stamps[good], sizes[good], kinds[good]
    if stamps.size < LEAST_EVENTS:
        raise InputMissing(f"{stamps.size} liquidations of {pair}", f"At least {LEAST_EVENTS} are needed")
    times = (stamps - stamps[0]) / 1000.0
    note = "the trader's own capture: what happened while none ran is missing, and counts as quiet"
    if float((np.diff(times) == 0).mean()) > MOST_TIES:
        # Their clock is too coarse for a likelihood; which of a second's orders was first cannot be known.
        times = spread_ties(np.floor(times), 1.0, SEED)
        note += "; spread within the second, for too many coincide"
    end = float(times[-1]) + 1.0
    clustering = clustering_of(times, end, 1.0, 0.01, note)
    marked = fit_multi_hawkes(times, np.zeros(times.size, np.int64), end, sizes, errors=False)
    matrix, radius = None, None
    if min(np.bincount(kinds, minlength=2)) >= LEAST_OF_A_KIND:
        both = fit_multi_hawkes(times, kinds, end, sizes)
        matrix = tuple(tuple(float(v) for v in row) for row in both.branching)
        radius = Estimate.of(both.radius, both.radius_error(), 0.0)
    rule = _cascade_rule(marked, times, sizes)
    starts, ends = detect_cascades(times, sizes, rule)
    starts, ends = _joined(starts, np.append(ends, times[-1])[: starts.size])
    newest_ms = tuple(int(stamps[0] + 1000.0 * start) for start in starts[::-1][:SHOWN])
    lasted = ends - starts
    return Liquidations(
        clustering=clustering,
        size_power=marked.gamma,
        matrix=matrix,
        radius=radius,
        start_multiple=rule.start_multiple,
        cascades=int(starts.size),
        newest_ms=newest_ms,
        median_s=float(np.median(lasted)) if lasted.size else None,
    )


def _cascade_rule(fit: MultiHawkes, times: Floats, sizes: Floats) -> CascadeRule:
    """The fitted process, and how far above its mean a cascade starts: so far as the process itself hardly ever gets.

    Raises
    ------
    InputMissing : the orders span less than a day, or the fitted process feeds itself for ever
    """
    span = float(times[-1])
    rule = CascadeRule(
        mu=float(fit.mu[0]),
        alpha=float(fit.alpha[0, 0, 0]),
        beta=float(fit.beta[0]),
        gamma=fit.gamma,
        median_size=float(np.median(sizes)),
        mean_rate=times.size / (span + 1.0),
    )
    spread = float(np.log(sizes).std())
    born = rule.alpha * math.exp(0.5 * (fit.gamma * spread) ** 2)
    if fit.radius > MOST_RADIUS or born > MOST_RADIUS:
        raise InputMissing(
            f"liquidations whose branching ratio is fitted as {max(fit.radius, born):.2f} all belong to one cascade",
            "A longer capture tells quiet from cascade",
        )
    quiet, _, drawn = multi_hawkes(SEED, fit.mu, fit.alpha[:, :, 0], rule.beta, span, fit.gamma, spread)
    return calibrated(rule, quiet, drawn * rule.median_size, FALSE_A_DAY)


def _joined(starts: Floats, ends: Floats) -> tuple[Floats, Floats]:
    """Cascades that begin within :data:`APART_S` of the end of another are parts of it."""
    if not starts.size:
        return starts, ends
    apart = np.flatnonzero(starts[1:] - ends[:-1] > APART_S)
    return starts[np.concatenate([[0], apart + 1])], ends[np.append(apart, starts.size - 1)]


def cross_of(pairs: Mapping[Pair, PairBars]) -> CrossHawkes:
    """Whose large moves cause whose.

    Which of several pairs moved first within one bar cannot be known: moves of one pair alone are its kind, bars in which
    several moved are a kind of their own.

    Parameters
    ----------
    pairs : pair -> bars on one grid

    Raises
    ------
    InputMissing : fewer than two pairs, or too few large moves
    """
    if len(pairs) < 2:
        raise InputMissing(f"{len(pairs)} pairs", "A matrix between pairs needs two")
    moved = np.stack([np.abs(bars.shock) > EVENT_SHOCK for bars in pairs.values()])
    alone = moved & (moved.sum(axis=0) == 1)
    left_out: dict[str, str] = {}
    found: dict[str, Ints] = {}
    for kind, rows in zip(
        (*pairs, TOGETHER), (*map(np.flatnonzero, alone), np.flatnonzero(moved.sum(axis=0) > 1)), strict=True
    ):
        if rows.size < LEAST_OF_A_KIND:
            left_out[kind] = f"{rows.size} such moves, at least {LEAST_OF_A_KIND} are needed"
        else:
            found[kind] = rows
    if len(found) < 2:
        raise InputMissing(f"{len(found)} kinds with at least {LEAST_OF_A_KIND} large moves", "A matrix needs two")
    first = min(int(rows[0]) for rows in found.values())
    rows = np.concatenate([rows - first for rows in found.values()])
    kinds = np.repeat(np.arange(len(found)), [each.size for each in found.values()])
    times = rows + np.random.default_rng(SEED).uniform(0.0, 1.0, rows.size)
    order = np.argsort(times, kind="stable")
    end = float(next(iter(pairs.values())).ts.size - first)
    check_times(times[order], end, LEAST_EVENTS)
    fit = fit_multi_hawkes(times[order], kinds[order], end)
    return CrossHawkes(
        kinds=tuple(found),
        matrix=tuple(tuple(float(v) for v in row) for row in fit.branching),
        radius=Estimate.of(fit.radius, fit.radius_error(), 0.0),
        half_life_s=math.log(2.0) / float(fit.beta[0]) * BAR_S,
        events={kind: int(each.size) for kind, each in found.items()},
        left_out=left_out,
        note=IN_A_BAR,
    )
