"""The rules of layers 4 and 5 on one instant, as plain arithmetic: exits, cuts to the caps, sizing against the book, the
vote.

One source for two machines: the live step (``step``) runs these functions as they stand, over lists; the backtest engine
(``research/engine``) compiles the very same functions, over arrays. Hence numbers only: codes instead of names, no
objects built, no settings read. Not here: what the codes are called and why a seat voted so (``step``,
``execution/committee``).

Arguments that come again and again: ``row`` is read at ``at + i`` for pair i (``Row`` and 0 in a live cycle; flat arrays
of many bars and the bar's offset in the engine); ``book`` has lists or arrays of length P; ``out`` is written.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from hydra_core.execution.committee import (
    APPROVED,
    analyst_choice,
    carried,
    crowd_choice,
    forecaster_choice,
    policy_choice,
)
from hydra_core.risk.exposure import largest_gross, penalty, tail_fits, tail_room, trim
from hydra_core.risk.limits import Limits
from hydra_core.risk.sizing import kelly_share

HOLD: Final = 0
ENTER: Final = 1
ENLARGE: Final = 2
REDUCE: Final = 3
CLOSE: Final = 4
REFUSED: Final = 5
OUTVOTED: Final = 6
NO_SIGNAL: Final = 7
BLOCKED: Final = 8

NONE: Final = 0
STOP: Final = 1
POSITION_LOSS: Final = 2
KILL_SWITCH: Final = 3
OPPOSITE: Final = 4
COST_BAND: Final = 5
HORIZON: Final = 6
SUPPORTED: Final = 7
NO_FORECAST: Final = 8
HALT: Final = 9
REDUCING_ONLY: Final = 10
BARRED: Final = 11
FAULT: Final = 12
ROUND_TRIP: Final = 13
KELLY: Final = 14
SLOTS: Final = 15
NO_ROOM: Final = 16
MINIMUM: Final = 17
BAND: Final = 18
CAPS: Final = 19
VOTES: Final = 20
GRANTED: Final = 21
TAIL: Final = 22

ACTIVE: Final = 0
REDUCING: Final = 1
HALTED: Final = 2
FLATTEN: Final = 3
"""Modes, by their place in ``domain.trading.Mode``."""

CUT_SHARE: Final = 0.5
"""Share of the resize band that a cut leaves free below a cap."""
_ROUNDING: Final = 1.0 + 1e-8
"""More than what rounding to whole steps can add to a size."""


class Terms(NamedTuple):
    """The numbers of the settings that one decision obeys; money in USDT, shares as fractions.

    Parameters
    ----------
    horizon_ms : length of a signal's horizon; ``side_cost`` : of one taker side, fraction of notional
    """

    confidence_threshold: float
    approvals_needed: float
    hazard_limit: float
    resize_band: float
    horizon_ms: float
    side_cost: float
    correlation_penalty: float
    max_position_notional: float
    max_total_notional: float
    max_positions: float
    max_leverage: float
    max_expected_shortfall: float
    kelly_fraction: float
    edge_observations: float

    @classmethod
    def of(cls, limits: Limits) -> Terms:
        """The terms of the frozen settings."""
        decision, risk = limits.decision, limits.risk
        return cls(
            decision.confidence_threshold,
            float(decision.approvals_needed),
            decision.hazard_limit,
            decision.resize_band,
            float(limits.horizon_ms),
            limits.side_cost,
            risk.correlation_penalty,
            risk.max_position_notional,
            risk.max_total_notional,
            float(risk.max_positions),
            risk.max_leverage,
            risk.max_expected_shortfall,
            risk.kelly_fraction,
            risk.edge_observations,
        )


class Assumed(NamedTuple):
    """Seats that are taken as approving."""

    forecaster: bool
    crowd: bool
    analyst: bool
    policy: bool


class Verdicts(NamedTuple):
    """What an instant led to, by pair, and room to work in; lists in a live cycle, arrays in the engine.

    Parameters
    ----------
    target, stop, notional, leverage : as in ``step.Step``
    outcome, reason : codes of this module
    voted : whether a sized proposal was put to the vote
    cast : the four seats' choices of each pair in the order of ``committee.SEATS``, length 4 P
    order : candidates, the strongest edge first; ``held`` : signed notional committed to
    """

    target: Any
    stop: Any
    notional: Any
    leverage: Any
    outcome: Any
    reason: Any
    voted: Any
    cast: Any
    order: Any
    held: Any

    @classmethod
    def lists(cls, pairs: int) -> Verdicts:
        """Clean verdicts of so many pairs."""
        target, stop, held = ([math.nan] * pairs for _ in range(3))
        outcome, reason, order = ([0] * pairs for _ in range(3))
        notional, leverage, voted = [0.0] * pairs, [1.0] * pairs, [False] * pairs
        return cls(target, stop, notional, leverage, outcome, reason, voted, [0] * (4 * pairs), order, held)


def clean(out: Verdicts) -> None:
    """Make verdicts that :func:`propose` wrote ready for another instant."""
    for i in range(len(out.notional)):
        out.notional[i], out.leverage[i], out.voted[i] = 0.0, 1.0, False


def exit_code(
    side: float,
    expected_return: float,
    confidence: float,
    age_ms: float,
    horizon_ms: float,
    side_cost: float,
    threshold: float,
) -> int:
    """Why the forecast no longer carries a position; :data:`NONE` while it does.

    Without a forecast the position lives on its stop until its horizon is over.
    """
    if math.isnan(expected_return):
        return HORIZON if age_ms >= horizon_ms else NONE
    support = side * expected_return
    if support <= side_cost:
        return OPPOSITE if support < -side_cost else COST_BAND
    if age_ms >= horizon_ms and not confidence >= threshold:
        return HORIZON
    return NONE


def review(
    row: Any, at: int, book: Any, exits: Any, equity: float, terms: Terms, mode: int, asked: bool, out: Verdicts
) -> int:
    """Exits, cuts to the caps, and who may propose; returns how many candidates stand in ``out.order``, by pair.

    Parameters
    ----------
    row : needs ``expected_return``, ``confidence``, ``side``, ``edge``
    book : needs ``quantity``, ``age_ms``, ``stop``, ``price``, ``fault``, ``barred``, ``step``
    exits : codes of exits due at once, :data:`NONE` for none; read where something is held
    mode : :data:`ACTIVE`, :data:`REDUCING`, :data:`HALTED` or :data:`FLATTEN`
    asked : whether outcomes and reasons are wanted; without them only targets and stops are right
    out : clean
    """
    gross = largest = 0.0
    count = 0
    for i in range(len(book.quantity)):
        quantity = book.quantity[i]
        out.target[i], out.stop[i] = quantity, book.stop[i]
        if mode == HALTED:
            out.outcome[i], out.reason[i] = BLOCKED, HALT
            continue
        if quantity == 0.0:
            if not (asked or row.edge[at + i] > 0):
                continue
            why = _bar(row, at, i, book, mode)
            if why == NONE:
                out.order[count] = i
                count += 1
            if asked:
                out.outcome[i], out.reason[i] = _barred_outcome(why), why
            continue
        expected = row.expected_return[at + i]
        if mode == FLATTEN:
            why = KILL_SWITCH
        elif exits[i] != NONE:
            why = exits[i]
        else:
            why = exit_code(
                1.0 if quantity > 0 else -1.0,
                expected,
                row.confidence[at + i],
                book.age_ms[i],
                terms.horizon_ms,
                terms.side_cost,
                terms.confidence_threshold,
            )
        if why != NONE:
            out.target[i], out.stop[i] = 0.0, math.nan
            if asked:
                out.outcome[i], out.reason[i] = CLOSE, why
            goes_on = why == OPPOSITE
        else:
            if asked:
                out.outcome[i], out.reason[i] = HOLD, NO_FORECAST if math.isnan(expected) else SUPPORTED
            notional = abs(quantity) * book.price[i]
            if notional > 0.0:
                gross += notional
                largest = max(largest, notional)
            goes_on = row.side[at + i] * quantity > 0
        if goes_on and _bar(row, at, i, book, mode) == NONE:
            out.order[count] = i
            count += 1
    if largest > terms.max_position_notional or (
        gross > 0.0 and gross > largest_gross(equity, terms.max_total_notional, terms.max_leverage)
    ):
        count = _cut(book, equity, terms, count, out)
    return count


def _bar(row: Any, at: int, i: int, book: Any, mode: int) -> int:
    """Why one pair may not propose, whatever its size; :data:`NONE` where it may."""
    if row.side[at + i] == 0.0:
        return NO_FORECAST
    if not (math.isfinite(book.price[i]) and book.price[i] > 0):
        return FAULT
    if mode != ACTIVE:
        return REDUCING_ONLY if mode == REDUCING else KILL_SWITCH
    if book.fault[i]:
        return FAULT
    if book.barred[i]:
        return BARRED
    if not row.edge[at + i] > 0:
        return ROUND_TRIP
    return NONE


def _barred_outcome(why: int) -> int:
    """Outcome of a flat pair that may not propose; :data:`HOLD` for one that may."""
    if why == NONE:
        return HOLD
    if why == NO_FORECAST:
        return NO_SIGNAL
    return REFUSED if why == ROUND_TRIP else BLOCKED


def _cut(book: Any, equity: float, terms: Terms, count: int, out: Verdicts) -> int:
    """Cut what has outgrown a cap; what is cut does not propose. Returns how many candidates are left."""
    kept = out.held  # room to work in until proposals are sized
    trim(
        out.target,
        book.price,
        equity,
        terms.max_position_notional,
        terms.max_total_notional,
        terms.max_leverage,
        CUT_SHARE * min(1.0, terms.resize_band),
        kept,
    )
    left = 0
    for rank in range(count):
        i = out.order[rank]
        if kept[i] == out.target[i]:
            out.order[left] = i
            left += 1
    for i in range(len(book.quantity)):
        if kept[i] != out.target[i]:
            out.target[i] = to_step(kept[i], book.step[i])
            out.outcome[i], out.reason[i] = REDUCE, CAPS
    return left


def propose(
    row: Any,
    at: int,
    correlation: Any,
    book: Any,
    equity: float,
    terms: Terms,
    wanted: Any,
    assumed: Assumed,
    count: int,
    asked: bool,
    out: Verdicts,
) -> bool:
    """Size the candidates, the strongest edge first, against what is already granted, put each to the vote, and grant it.

    Parameters
    ----------
    row : needs, beside what :func:`review` reads, ``volatility``, ``risk_share``, ``stop_distance``, ``leverage``,
        ``multiplier``, ``hazard_long``, ``hazard_short``, ``bias``, ``trap``
    correlation : (P, P)
    book : needs also ``min_quantity``, ``min_notional``
    wanted : the policy's targets in [-1, 1], NaN without one
    count : candidates that :func:`review` found
    asked : whether anybody asks why nothing was granted; else outcomes, reasons and votes of such instants are left out,
        with the work of finding them

    Returns
    -------
    Whether ``out`` is no longer clean
    """
    gross = 0.0
    slots = 0
    for i in range(len(book.quantity)):
        out.held[i] = out.target[i] * book.price[i] if out.target[i] != 0.0 else 0.0
        gross += abs(out.held[i])
        slots += 1 if out.held[i] != 0.0 else 0
    cap = largest_gross(equity, terms.max_total_notional, terms.max_leverage)
    if not gross >= 0.0:
        cap = gross = 0.0  # what is held has no known price, so nobody knows what room is left
    if not asked:  # leave out those that what is granted before them, which only adds to gross and slots, cannot help
        hoping, count = count, 0
        for rank in range(hoping):
            i = out.order[rank]
            sure = assumed.forecaster or row.confidence[at + i] >= terms.confidence_threshold
            if sure and _room(row, at, i, equity, terms, gross, cap, slots, abs(out.held[i]))[0] == NONE:
                out.order[count] = i
                count += 1
    _rank(row, at, count, out)
    for rank in range(count):
        i = out.order[rank]
        why, quantity = _size(row, at, i, correlation, book, equity, terms, gross, cap, slots, out.held)
        if why != NONE:
            _refuse(out, i, why)
            continue
        forecaster, crowd, analyst, policy = _choices(row, at, i, wanted[i], terms, assumed)
        passed = carried(forecaster, crowd, analyst, policy, terms.approvals_needed)
        price, side, held = book.price[i], row.side[at + i], abs(out.held[i])
        notional = quantity * price
        out.notional[i], out.leverage[i] = notional, row.leverage[at + i]
        out.voted[i] = True
        out.cast[4 * i], out.cast[4 * i + 1] = forecaster, crowd
        out.cast[4 * i + 2], out.cast[4 * i + 3] = analyst, policy
        if not passed:
            if out.outcome[i] != CLOSE:
                out.outcome[i], out.reason[i] = (HOLD if held > 0.0 else OUTVOTED), VOTES
            continue
        out.target[i] = side * quantity
        out.outcome[i], out.reason[i] = (ENLARGE if held > 0.0 else ENTER), GRANTED
        stop = price * (1 - side * row.stop_distance[at + i])
        if held > 0.0 and not math.isnan(book.stop[i]):
            stop = side * max(side * stop, side * book.stop[i])
        out.stop[i] = stop
        out.held[i] = side * notional
        gross += notional - held
        slots += 1 if held == 0.0 else 0
    return asked or count > 0


def _rank(row: Any, at: int, count: int, out: Verdicts) -> None:
    """Order the candidates, the strongest edge first; equals keep the pairs' order."""
    for rank in range(1, count):
        i = out.order[rank]
        place = rank
        while place > 0 and row.edge[at + out.order[place - 1]] < row.edge[at + i]:
            out.order[place] = out.order[place - 1]
            place -= 1
        out.order[place] = i


def _room(
    row: Any, at: int, i: int, equity: float, terms: Terms, gross: float, cap: float, slots: int, held: float
) -> tuple[int, float, float, float]:
    """What the signal and the caps leave one candidate, USDT, and what a larger position must exceed to be worth the trade; or
    why it gets none."""
    if held == 0.0 and slots >= terms.max_positions:
        return SLOTS, 0.0, 0.0, 0.0
    safe = min(row.risk_share[at + i], row.leverage[at + i]) * equity
    room = min(terms.max_position_notional, cap - gross + held)
    least = held * (1 + terms.resize_band)
    return BAND if held > 0.0 and min(safe, room) <= least else NONE, safe, room, least


def _size(
    row: Any,
    at: int,
    i: int,
    correlation: Any,
    book: Any,
    equity: float,
    terms: Terms,
    gross: float,
    cap: float,
    slots: int,
    committed: Any,
) -> tuple[int, float]:
    """Base units that one candidate may have beside what is committed to, or why it gets none; dear questions last.

    Parameters
    ----------
    gross, slots : of ``committed``, signed notional by pair
    cap : largest gross
    """
    held = abs(committed[i])
    why, safe, room, least = _room(row, at, i, equity, terms, gross, cap, slots, held)
    if why != NONE:
        return why, 0.0
    side = row.side[at + i]
    factor = penalty(i, side, committed, correlation, terms.correlation_penalty)
    if held > 0.0 and safe * factor * _ROUNDING <= least:
        return BAND, 0.0
    kelly = kelly_share(
        row.edge[at + i],
        row.volatility[at + i],
        row.confidence[at + i],
        terms.kelly_fraction,
        terms.edge_observations,
        row.multiplier[at + i],
    )
    if not kelly > 0:
        return KELLY, 0.0
    granted = min(min(kelly * equity, safe) * factor, room)
    if held > 0.0 and granted * _ROUNDING <= least:
        return BAND, 0.0
    limit, tail = terms.max_expected_shortfall * equity, granted
    if not (granted > 0 and tail_fits(i, granted, committed, row.volatility, at, limit)):
        tail = tail_room(i, side, committed, correlation, row.volatility, at, limit)
        granted = min(granted, tail)
    quantity = to_step(granted / book.price[i], book.step[i]) if granted > 0 else 0.0
    notional = quantity * book.price[i]
    if held > 0.0 and notional <= least:
        return BAND, 0.0
    if not quantity > 0 or quantity < book.min_quantity[i] or notional < book.min_notional[i]:
        return (MINIMUM if granted > 0 else (NO_ROOM if tail > 0 else TAIL)), 0.0
    return NONE, quantity


def _choices(row: Any, at: int, i: int, wanted: float, terms: Terms, assumed: Assumed) -> tuple[int, int, int, int]:
    """The four seats' choices on one proposal, in the order of ``committee.SEATS``."""
    side = row.side[at + i]
    forecaster = crowd = analyst = policy = APPROVED  # what a seat would read is left alone where its word is assumed
    if not assumed.forecaster:
        forecaster = forecaster_choice(row.confidence[at + i], terms.confidence_threshold)
    if not assumed.crowd:
        crowd = crowd_choice(row.hazard_long[at + i] if side > 0 else row.hazard_short[at + i], terms.hazard_limit)
    if not assumed.analyst:
        analyst = analyst_choice(side, row.bias[at + i], row.trap[at + i])
    if not assumed.policy:
        policy = policy_choice(side, wanted)
    return forecaster, crowd, analyst, policy


def _refuse(out: Verdicts, i: int, why: int) -> None:
    """Refuse a proposal; a position that is held or being closed keeps its own outcome."""
    if out.target[i] == 0.0 and out.outcome[i] != CLOSE:
        out.outcome[i], out.reason[i] = REFUSED, why
    elif out.outcome[i] == HOLD:
        out.reason[i] = why


def to_step(quantity: float, step_size: float) -> float:
    """A signed size cut toward zero to whole steps; steps of 0 leave it as it is."""
    if step_size <= 0:
        return quantity
    whole = math.floor(abs(quantity) / step_size + 1e-9)
    return math.copysign(whole * step_size, quantity) if whole > 0 else 0.0
