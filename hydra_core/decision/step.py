"""Layers 4 and 5 on one instant: what to hold next in every pair, and why. The backtest and the live cycle both run
this.

Here: exits, sizing against the book, the vote, in that order. Not here: readings, faults, plans (``cycle``), fills
(``research``). It runs on plain floats in lists of length P: for eight pairs that is several times faster than small
arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hydra_core.alpha.models import PolicyModel, PolicyObservation
from hydra_core.decision.assessment import Row
from hydra_core.domain.trading import Mode, Vote
from hydra_core.execution import committee
from hydra_core.risk.exposure import correlation_penalty, gross_cap, trimmed
from hydra_core.risk.limits import Limits

HOLD: Final = "hold"
ENTER: Final = "enter"
ENLARGE: Final = "enlarge"
REDUCE: Final = "reduce"
CLOSE: Final = "close"
REFUSED: Final = "refused"
OUTVOTED: Final = "outvoted"
NO_SIGNAL: Final = "no-signal"
BLOCKED: Final = "blocked"
OUTCOMES: Final = (HOLD, ENTER, ENLARGE, REDUCE, CLOSE, REFUSED, OUTVOTED, NO_SIGNAL, BLOCKED)

STOP: Final = "stop"
POSITION_LOSS: Final = "position-loss"
KILL_SWITCH: Final = "kill-switch"
OPPOSITE: Final = "opposite"
COST_BAND: Final = "cost-band"
HORIZON: Final = "horizon"
URGENT: Final = frozenset({STOP, POSITION_LOSS, KILL_SWITCH})
"""Exits that are not sliced."""

REASONS: Final = {
    STOP: "the stop was hit",
    POSITION_LOSS: "the position lost more of equity than its limit",
    KILL_SWITCH: "a kill switch flattens",
    OPPOSITE: "the forecast has turned against the position",
    COST_BAND: "the expected return has fallen inside the cost band",
    HORIZON: "the horizon is over and the signal was not renewed",
    "supported": "the forecast still supports the position",
    "no-forecast": "there is no forecast for this pair",
    "halted": "halted: no order but cancels and protective stops",
    "reducing": "reducing: positions may only become smaller",
    "barred": "the pair is barred for the rest of the day",
    "fault": "an input of this pair is missing, stale or contradictory",
    "round-trip": "the expected return does not pay the round trip",
    "kelly": "Kelly's share is zero at this confidence and payoff",
    "slots": "the largest number of positions is held",
    "no-room": "the exposure caps leave no room",
    "minimum": "the size is below the exchange's minimum",
    "band": "the wanted size is within the resize band",
    "caps": "the position has outgrown a cap",
    "votes": "too few approvals",
    "approved": "sized and approved",
}
"""Reason -> sentence."""

_CUT_SHARE: Final = 0.5
"""Share of the resize band that a cut leaves free below a cap."""


@dataclass(slots=True)
class Book:
    """What is held, and what the market permits, at one instant; lists of length P.

    Parameters
    ----------
    quantity : signed base units committed to: held, or the target still being worked toward
    age_ms : market time since each position was opened
    stop : USDT, NaN without one
    price : USDT at which sizes are computed, NaN where unknown
    equity : float, USDT
    exits : reason to close at once (``stop``, ``position-loss``), empty for none
    barred : pairs that may not be entered today
    fault : pairs of which an input is missing, stale or contradictory
    step, min_quantity, min_notional : the exchange's filters in base units and USDT; 0 for none
    """

    quantity: list[float]
    age_ms: list[int]
    stop: list[float]
    price: list[float]
    equity: float
    exits: list[str]
    barred: list[bool]
    fault: list[bool]
    step: list[float]
    min_quantity: list[float]
    min_notional: list[float]


@dataclass(slots=True)
class Step:
    """What one instant led to; lists of length P.

    Parameters
    ----------
    target : signed base units to hold next
    stop : USDT of the position to hold next, NaN without one
    outcome : one of :data:`OUTCOMES`
    reason : a key of :data:`REASONS`
    notional : USDT that the risk brain granted a proposal, 0 where there was none or it was refused
    leverage : notional over isolated margin of that proposal
    votes : of sized proposals, else empty
    """

    target: list[float]
    stop: list[float]
    outcome: list[str]
    reason: list[str]
    notional: list[float]
    leverage: list[float]
    votes: list[tuple[Vote, ...]]


def step(
    row: Row,
    book: Book,
    limits: Limits,
    mode: Mode = Mode.ACTIVE,
    policy: PolicyModel | None = None,
    assumed: Set[str] = frozenset(),
) -> Step:
    """Decide what to hold next.

    Parameters
    ----------
    row : Row, layers 2 and 3 at the newest closed bar
    book : Book
    mode : Mode that the kill switches left
    policy : holder of the policy's seat
    assumed : seats taken as approving

    Notes
    -----
    A held position goes on while the forecast keeps its side and exceeds the cost of one side, which is half of what a
    proposal must promise: between the two nothing is traded.
    """
    pairs = len(book.quantity)
    out = Step(
        target=list(book.quantity),
        stop=list(book.stop),
        outcome=[HOLD] * pairs,
        reason=["supported"] * pairs,
        notional=[0.0] * pairs,
        leverage=[1.0] * pairs,
        votes=[()] * pairs,
    )
    if mode is Mode.HALTED:
        _freeze(out, book)
        return out
    _exits(row, book, limits, mode, out)
    _cut(book, limits, out)
    candidates = _candidates(row, book, mode, out)
    if candidates:
        _propose(candidates, row, book, limits, policy, assumed, out)
    return out


def exit_reason(side: float, expected_return: float, confidence: float, age_ms: int, limits: Limits) -> str:
    """Why the forecast no longer carries a position; empty while it does.

    Without a forecast the position lives on its stop until its horizon is over.
    """
    if math.isnan(expected_return):
        return HORIZON if age_ms >= limits.horizon_ms else ""
    support = side * expected_return
    if support <= limits.side_cost:
        return OPPOSITE if support < -limits.side_cost else COST_BAND
    if age_ms >= limits.horizon_ms and not confidence >= limits.decision.confidence_threshold:
        return HORIZON
    return ""


def _freeze(out: Step, book: Book) -> None:
    for i in range(len(book.quantity)):
        out.outcome[i], out.reason[i] = BLOCKED, "halted"


def _exits(row: Row, book: Book, limits: Limits, mode: Mode, out: Step) -> None:
    for i, quantity in enumerate(book.quantity):
        if quantity == 0.0:
            continue
        if mode is Mode.FLATTEN:
            why = KILL_SWITCH
        else:
            side = 1.0 if quantity > 0 else -1.0
            why = book.exits[i] or exit_reason(side, row.expected_return[i], row.confidence[i], book.age_ms[i], limits)
        if why:
            out.target[i], out.stop[i] = 0.0, math.nan
            out.outcome[i], out.reason[i] = CLOSE, why
        elif math.isnan(row.expected_return[i]):
            out.reason[i] = "no-forecast"


def _cut(book: Book, limits: Limits, out: Step) -> None:
    risk = limits.risk
    gross = 0.0
    largest = 0.0
    for quantity, price in zip(out.target, book.price, strict=True):
        notional = abs(quantity) * price
        if notional > 0.0:
            gross += notional
            largest = max(largest, notional)
    if largest <= risk.max_position_notional and gross <= gross_cap(book.equity, risk):
        return
    kept = trimmed(out.target, book.price, book.equity, risk, _CUT_SHARE * min(1.0, limits.decision.resize_band))
    for i, quantity in enumerate(kept):
        if quantity != out.target[i]:
            out.target[i] = _to_step(quantity, book.step[i])
            out.outcome[i], out.reason[i] = REDUCE, "caps"


def _candidates(row: Row, book: Book, mode: Mode, out: Step) -> list[int]:
    """Pairs with a proposal that may be sized, the strongest edge first; the others are given their outcome."""
    found: list[tuple[float, int]] = []
    for i, quantity in enumerate(book.quantity):
        side = row.side[i]
        flat = quantity == 0.0
        if out.outcome[i] == REDUCE or (out.outcome[i] == CLOSE and out.reason[i] != OPPOSITE):
            continue
        if not flat and side * quantity <= 0 and out.reason[i] != OPPOSITE:
            continue
        if side == 0.0 or not (math.isfinite(book.price[i]) and book.price[i] > 0):
            why, outcome = ("no-forecast", NO_SIGNAL) if side == 0.0 else ("fault", BLOCKED)
        elif mode is not Mode.ACTIVE:
            why, outcome = ("reducing" if mode is Mode.REDUCING else KILL_SWITCH), BLOCKED
        elif book.fault[i]:
            why, outcome = "fault", BLOCKED
        elif book.barred[i]:
            why, outcome = "barred", BLOCKED
        elif not row.edge[i] > 0:
            why, outcome = "round-trip", REFUSED
        elif not row.kelly_share[i] > 0:
            why, outcome = "kelly", REFUSED
        else:
            found.append((-row.edge[i], i))
            continue
        if flat:
            out.outcome[i], out.reason[i] = outcome, why
    found.sort()
    return [i for _, i in found]


def _propose(
    candidates: list[int],
    row: Row,
    book: Book,
    limits: Limits,
    policy: PolicyModel | None,
    assumed: Set[str],
    out: Step,
) -> None:
    """Size the candidates one after the other against what is already granted, put each to the vote, and grant it."""
    risk, settings = limits.risk, limits.decision
    notionals = [q * p if q else 0.0 for q, p in zip(out.target, book.price, strict=True)]
    gross = sum(map(abs, notionals))
    count = sum(n != 0.0 for n in notionals)
    cap = gross_cap(book.equity, risk)
    wanted: Sequence[float] = ()
    for i in candidates:
        price, side = book.price[i], int(row.side[i])
        held = abs(notionals[i])
        if held == 0.0 and count >= risk.max_positions:
            _refuse(out, i, "slots")
            continue
        share = min(row.kelly_share[i], row.risk_share[i], row.leverage[i])
        room = min(risk.max_position_notional, cap - gross + held)
        least = held * (1 + settings.resize_band)  # what a larger position must exceed to be worth the trade
        if held > 0.0 and min(share * book.equity, room) <= least:
            out.reason[i] = "band"
            continue
        penalty = correlation_penalty(i, side, notionals, row.correlation, risk.correlation_penalty)
        granted = min(share * book.equity * penalty, room)
        quantity = _to_step(granted / price, book.step[i]) if granted > 0 else 0.0
        if held > 0.0 and quantity * price <= least:
            out.reason[i] = "band"
            continue
        if not quantity > 0 or quantity < book.min_quantity[i] or quantity * price < book.min_notional[i]:
            _refuse(out, i, "minimum" if granted > 0 else "no-room")
            continue
        wanted = wanted or _policy_targets(policy, row, book, limits)
        out.notional[i], out.leverage[i] = quantity * price, row.leverage[i]
        out.votes[i] = committee.vote(_proposal(row, i, side, wanted[i]), settings, assumed)
        if not committee.passes(out.votes[i], settings):
            if out.outcome[i] != CLOSE:
                out.outcome[i], out.reason[i] = (HOLD if held else OUTVOTED), "votes"
            continue
        out.target[i] = side * quantity
        out.outcome[i], out.reason[i] = (ENLARGE if held else ENTER), "approved"
        stop = price * (1 - side * row.stop_distance[i])
        out.stop[i] = stop if not held or math.isnan(book.stop[i]) else side * max(side * stop, side * book.stop[i])
        notionals[i] = side * quantity * price
        gross += quantity * price - held
        count += held == 0.0


def _refuse(out: Step, i: int, why: str) -> None:
    """Refuse a proposal; a position that is held or being closed keeps its own outcome."""
    if out.target[i] == 0.0 and out.outcome[i] != CLOSE:
        out.outcome[i], out.reason[i] = REFUSED, why
    elif out.outcome[i] == HOLD:
        out.reason[i] = why


def _proposal(row: Row, i: int, side: int, target: float) -> committee.Proposal:
    return committee.Proposal(
        side=side,
        confidence=row.confidence[i],
        hazard=(row.hazard_long if side > 0 else row.hazard_short)[i],
        bias=row.bias[i],
        trap=row.trap[i],
        source=row.source[i],
        policy_target=target,
        absent=row.absent,
    )


def _policy_targets(policy: PolicyModel | None, row: Row, book: Book, limits: Limits) -> Sequence[float]:
    """The policy's own targets; its position is the share of the largest notional that risk permits the pair."""
    if policy is None or row.observation is None:
        return [math.nan] * len(book.quantity)
    permitted = [
        min(share * book.equity, limits.risk.max_position_notional, cap * book.equity)
        for share, cap in zip(row.risk_share, row.leverage, strict=True)
    ]
    position = [
        min(1.0, max(-1.0, q * p / most)) if q and most > 0 else 0.0
        for q, p, most in zip(book.quantity, book.price, permitted, strict=True)
    ]
    observation: PolicyObservation = replace(row.observation, position=np.array(position))
    targets: list[float] = policy.target(observation).tolist()
    return targets


def _to_step(quantity: float, step_size: float) -> float:
    """A signed size cut toward zero to whole steps; steps of 0 leave it as it is."""
    if step_size <= 0:
        return quantity
    whole = math.floor(abs(quantity) / step_size + 1e-9)
    return math.copysign(whole * step_size, quantity) if whole else 0.0
