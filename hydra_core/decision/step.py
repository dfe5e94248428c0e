"""Layers 4 and 5 on one instant: what to hold next in every pair, and why. The backtest and the live cycle both run
this.

Here: what goes in and comes out under its names, the policy's word, the votes. Not here: the arithmetic (``rules``, which
the compiled backtest engine runs too), readings, faults, plans (``cycle``), fills (``research``). It runs on plain floats
in lists of length P: for eight pairs that is several times faster than small arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hydra_core.alpha.models import PolicyModel, PolicyObservation
from hydra_core.decision import rules
from hydra_core.decision.assessment import Row
from hydra_core.domain.trading import Mode, Vote
from hydra_core.execution import committee
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
    "tail": "the expected shortfall of the book leaves no room",
}
"""Reason -> sentence."""

REASON_NAMES: Final = ("", *REASONS)
"""Name of each reason by its code in ``rules``; none for none. :data:`OUTCOMES` is the same for outcomes."""
_REASON_CODES: Final = {name: code for code, name in enumerate(REASON_NAMES)}
_MODES: Final = {mode: rank for rank, mode in enumerate(Mode)}


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
    terms, out = rules.Terms.of(limits), rules.Verdicts.lists(pairs)
    exits = [_REASON_CODES[why] for why in book.exits]
    count = rules.review(row, 0, book, exits, book.equity, terms, _MODES[mode], True, out)
    votes: list[tuple[Vote, ...]] = [()] * pairs
    if count:
        wanted = _policy_targets(policy, row, book, limits)
        taken = rules.Assumed(*(seat in assumed for seat in committee.SEATS))
        rules.propose(row, 0, row.correlation, book, book.equity, terms, wanted, taken, count, True, out)
        for i in range(pairs):
            if out.voted[i]:
                seen = _proposal(row, i, int(row.side[i]), wanted[i])
                votes[i] = committee.vote(seen, limits.decision, assumed)
    return Step(
        target=out.target,
        stop=out.stop,
        outcome=[OUTCOMES[code] for code in out.outcome],
        reason=[REASON_NAMES[code] for code in out.reason],
        notional=out.notional,
        leverage=out.leverage,
        votes=votes,
    )


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
