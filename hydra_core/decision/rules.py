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
from hydra_core.risk.exposure import largest_gross, penalty, trim
from hydra_core.risk.limits import Limits

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

ACTIVE: Final = 0
REDUCING: Final = 1
HALTED: Final = 2
FLATTEN: Final = 3
"""Modes, by their place in ``domain.trading.Mode``."""

_CUT_SHARE: Final = 0.5
"""Share of the resize band that a cut leaves free below a cap."""


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


def review(row: Any, at: int, book: Any, exits: Any, equity: float, terms: Terms, mode: int, out: Verdicts) -> int:
    """Exits, cuts to the caps, and who may propose; returns how many candidates stand in ``out.order``.

    Parameters
    ----------
    row : needs ``expected_return``, ``confidence``, ``side``, ``edge``, ``kelly_share``
    book : needs ``quantity``, ``age_ms``, ``stop``, ``price``, ``fault``, ``barred``, ``step``
    exits : codes of exits due at once, :data:`NONE` for none
    mode : :data:`ACTIVE`, :data:`REDUCING`, :data:`HALTED` or :data:`FLATTEN`
    out : clean
    """
    pairs = len(book.quantity)
    gross = largest = 0.0
    for i in range(pairs):
        quantity = book.quantity[i]
        out.target[i], out.stop[i] = quantity, book.stop[i]
        outcome, reason = HOLD, SUPPORTED
        if mode == HALTED:
            outcome, reason = BLOCKED, HALT
        elif quantity != 0.0:
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
                outcome, reason = CLOSE, why
            else:
                if math.isnan(expected):
                    reason = NO_FORECAST
                notional = abs(quantity) * book.price[i]
                if notional > 0.0:
                    gross += notional
                    largest = max(largest, notional)
        out.outcome[i], out.reason[i] = outcome, reason
    if mode == HALTED:
        return 0
    if largest > terms.max_position_notional or (
        gross > 0.0 and gross > largest_gross(equity, terms.max_total_notional, terms.max_leverage)
    ):
        _cut(book, equity, terms, out)
    return _candidates(row, at, book, mode, out)


def _cut(book: Any, equity: float, terms: Terms, out: Verdicts) -> None:
    pairs = len(book.quantity)
    kept = out.held  # room to work in until proposals are sized
    trim(
        out.target,
        book.price,
        equity,
        terms.max_position_notional,
        terms.max_total_notional,
        terms.max_leverage,
        _CUT_SHARE * min(1.0, terms.resize_band),
        kept,
    )
    for i in range(pairs):
        if kept[i] != out.target[i]:
            out.target[i] = to_step(kept[i], book.step[i])
            out.outcome[i], out.reason[i] = REDUCE, CAPS


def _candidates(row: Any, at: int, book: Any, mode: int, out: Verdicts) -> int:
    """Pairs with a proposal that may be sized, the strongest edge first; the others are given their outcome."""
    count = 0
    for i in range(len(book.quantity)):
        quantity, side = book.quantity[i], row.side[at + i]
        flat = quantity == 0.0
        if not flat:
            if out.outcome[i] == REDUCE or (out.outcome[i] == CLOSE and out.reason[i] != OPPOSITE):
                continue
            if side * quantity <= 0 and out.reason[i] != OPPOSITE:
                continue
        if side == 0.0:
            outcome, why = NO_SIGNAL, NO_FORECAST
        elif not (math.isfinite(book.price[i]) and book.price[i] > 0):
            outcome, why = BLOCKED, FAULT
        elif mode != ACTIVE:
            outcome, why = BLOCKED, (REDUCING_ONLY if mode == REDUCING else KILL_SWITCH)
        elif book.fault[i]:
            outcome, why = BLOCKED, FAULT
        elif book.barred[i]:
            outcome, why = BLOCKED, BARRED
        elif not row.edge[at + i] > 0:
            outcome, why = REFUSED, ROUND_TRIP
        elif not row.kelly_share[at + i] > 0:
            outcome, why = REFUSED, KELLY
        else:
            place = count
            while place > 0 and row.edge[at + out.order[place - 1]] < row.edge[at + i]:
                out.order[place] = out.order[place - 1]
                place -= 1
            out.order[place] = i
            count += 1
            continue
        if flat:
            out.outcome[i], out.reason[i] = outcome, why
    return count


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
    out: Verdicts,
) -> None:
    """Size the candidates one after the other against what is already granted, put each to the vote, and grant it.

    Parameters
    ----------
    row : needs, beside what :func:`review` reads, ``risk_share``, ``stop_distance``, ``leverage``, ``hazard_long``,
        ``hazard_short``, ``bias``, ``trap``
    correlation : (P, P)
    book : needs also ``min_quantity``, ``min_notional``
    wanted : the policy's targets in [-1, 1], NaN without one
    count : candidates that :func:`review` found
    """
    gross = 0.0
    slots = 0
    for i in range(len(book.quantity)):
        out.held[i] = out.target[i] * book.price[i] if out.target[i] != 0.0 else 0.0
        gross += abs(out.held[i])
        slots += 1 if out.held[i] != 0.0 else 0
    cap = largest_gross(equity, terms.max_total_notional, terms.max_leverage)
    for rank in range(count):
        i = out.order[rank]
        price, side = book.price[i], row.side[at + i]
        held = abs(out.held[i])
        if held == 0.0 and slots >= terms.max_positions:
            _refuse(out, i, SLOTS)
            continue
        share = min(row.kelly_share[at + i], row.risk_share[at + i], row.leverage[at + i])
        room = min(terms.max_position_notional, cap - gross + held)
        least = held * (1 + terms.resize_band)  # what a larger position must exceed to be worth the trade
        if held > 0.0 and min(share * equity, room) <= least:
            out.reason[i] = BAND
            continue
        granted = min(share * equity * penalty(i, side, out.held, correlation, terms.correlation_penalty), room)
        quantity = to_step(granted / price, book.step[i]) if granted > 0 else 0.0
        notional = quantity * price
        if held > 0.0 and notional <= least:
            out.reason[i] = BAND
            continue
        if not quantity > 0 or quantity < book.min_quantity[i] or notional < book.min_notional[i]:
            _refuse(out, i, MINIMUM if granted > 0 else NO_ROOM)
            continue
        out.notional[i], out.leverage[i] = notional, row.leverage[at + i]
        if not _vote(row, at, i, side, wanted[i], terms, assumed, out):
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


def _vote(row: Any, at: int, i: int, side: float, wanted: float, terms: Terms, assumed: Assumed, out: Verdicts) -> bool:
    """The four seats' choices on one proposal; returns whether they carry it."""
    hazard = row.hazard_long[at + i] if side > 0 else row.hazard_short[at + i]
    forecaster = forecaster_choice(row.confidence[at + i], terms.confidence_threshold)
    crowd = crowd_choice(hazard, terms.hazard_limit)
    analyst = analyst_choice(side, row.bias[at + i], row.trap[at + i])
    policy = policy_choice(side, wanted)
    out.voted[i] = True
    out.cast[4 * i] = forecaster = APPROVED if assumed.forecaster else forecaster
    out.cast[4 * i + 1] = crowd = APPROVED if assumed.crowd else crowd
    out.cast[4 * i + 2] = analyst = APPROVED if assumed.analyst else analyst
    out.cast[4 * i + 3] = policy = APPROVED if assumed.policy else policy
    return carried(forecaster, crowd, analyst, policy, terms.approvals_needed)


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
