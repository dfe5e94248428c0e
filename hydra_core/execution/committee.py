"""The four seats: each a function from what it may see to a vote with its reason.

Three approvals of four pass a proposal, the forecaster's own among them: it proposes, and stands by it or not.

An empty, failing or champion-less seat abstains, and an abstention is not an approval. Risk holds a veto, not a seat:
only sized proposals come here. Reducing and closing need no vote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from hydra_core.domain.trading import Choice, Vote
from hydra_core.settings import DecisionSettings

FORECASTER: Final = "forecaster"
CROWD: Final = "crowd"
ANALYST: Final = "analyst"
POLICY: Final = "policy"

NEUTRAL: Final = 0
APPROVED: Final = 1
REJECTED: Final = -1
ABSTAINED: Final = 0
"""A seat's choice as a number: what the rules of a decision and the compiled backtest work with."""

_CHOICES: Final[Mapping[int, Choice]] = {
    APPROVED: Choice.APPROVE,
    REJECTED: Choice.REJECT,
    ABSTAINED: Choice.ABSTAIN,
}
SIDE_NAMES: Final[Mapping[float, str]] = {1: "long", -1: "short", 0: "neutral"}


@dataclass(slots=True)
class Proposal:
    """A sized proposal to enter or enlarge, and what the seats may see of it; NaN stands for unknown.

    Parameters
    ----------
    side : int, +1 long, -1 short
    confidence : float, probability in [0, 1] that the trade wins net of costs
    hazard : float, probability in [0, 1] of a forced exit against the side within the horizon
    bias, trap : float, the analyst's bias and the side likely to be trapped: +1 long, -1 short, 0 neither
    source : str, who made the analysis
    policy_target : float, the policy's wanted position in [-1, 1]
    absent : seat -> why it is empty
    """

    side: int
    confidence: float
    hazard: float
    bias: float
    trap: float
    source: str
    policy_target: float
    absent: Mapping[str, str]


Seat = Callable[[Proposal, DecisionSettings], Vote]


def forecaster_choice(confidence: float, threshold: float) -> int:
    """Approve at the confidence threshold; abstain without a forecast."""
    if math.isnan(confidence):
        return ABSTAINED
    return APPROVED if confidence >= threshold else REJECTED


def crowd_choice(hazard: float, limit: float) -> int:
    """Approve unless a forced exit against the side is likelier than the limit; abstain without a hazard."""
    if math.isnan(hazard):
        return ABSTAINED
    return APPROVED if hazard <= limit else REJECTED


def analyst_choice(side: float, bias: float, trap: float) -> int:
    """Approve unless the bias is against the side or the side is the one likely to be trapped; abstain without both."""
    if math.isnan(bias) or math.isnan(trap):
        return ABSTAINED
    return APPROVED if bias != -side and trap != side else REJECTED


def policy_choice(side: float, target: float) -> int:
    """Approve when the policy's own target has the same sign; abstain without a target."""
    if math.isnan(target):
        return ABSTAINED
    return APPROVED if target * side > 0 else REJECTED


def carried(forecaster: int, crowd: int, analyst: int, policy: int, needed: float) -> bool:
    """Whether the approvals suffice, the proposer's own among them: others cannot carry what it has no confidence in."""
    if forecaster != APPROVED:
        return False
    return 1 + (crowd == APPROVED) + (analyst == APPROVED) + (policy == APPROVED) >= needed


def forecaster_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve at the confidence threshold."""
    choice = forecaster_choice(proposal.confidence, settings.confidence_threshold)
    if choice == ABSTAINED:
        return _abstain(FORECASTER, proposal, "no forecast")
    return _vote(
        FORECASTER, choice, f"confidence {proposal.confidence:.3f}, threshold {settings.confidence_threshold:.3f}"
    )


def crowd_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve unless a forced exit against the side is likelier than the limit."""
    choice = crowd_choice(proposal.hazard, settings.hazard_limit)
    if choice == ABSTAINED:
        return _abstain(CROWD, proposal, "no hazard")
    return _vote(CROWD, choice, f"hazard {proposal.hazard:.3f}, limit {settings.hazard_limit:.3f}")


def analyst_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve unless the bias is against the side or the side is the one likely to be trapped."""
    choice = analyst_choice(proposal.side, proposal.bias, proposal.trap)
    if choice == ABSTAINED:
        return _abstain(ANALYST, proposal, "no analysis")
    trapped = SIDE_NAMES[proposal.trap] if proposal.trap else "none"
    return _vote(ANALYST, choice, f"{proposal.source}: bias {SIDE_NAMES[proposal.bias]}, trap {trapped}")


def policy_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve when the policy's own target has the same sign."""
    choice = policy_choice(proposal.side, proposal.policy_target)
    if choice == ABSTAINED:
        return _abstain(POLICY, proposal, "no target")
    return _vote(POLICY, choice, f"target {proposal.policy_target:+.3f}")


SEATS: Final[Mapping[str, Seat]] = {
    FORECASTER: forecaster_seat,
    CROWD: crowd_seat,
    ANALYST: analyst_seat,
    POLICY: policy_seat,
}


def vote(proposal: Proposal, settings: DecisionSettings, assumed: Set[str] = frozenset()) -> tuple[Vote, ...]:
    """Every seat's vote, in the order of :data:`SEATS`.

    Parameters
    ----------
    assumed : seats taken as approving (a backtest that judges one seat lets the others approve)
    """
    return tuple(
        Vote(name, Choice.APPROVE, "assumed") if name in assumed else seat(proposal, settings)
        for name, seat in SEATS.items()
    )


def passes(votes: tuple[Vote, ...], settings: DecisionSettings) -> bool:
    """Whether votes carry a proposal: :func:`carried` on what the seats said; a seat that said nothing abstained."""
    said = {v.seat: APPROVED for v in votes if v.choice is Choice.APPROVE}
    forecaster, crowd, analyst, policy = (said.get(seat, ABSTAINED) for seat in SEATS)
    return carried(forecaster, crowd, analyst, policy, settings.approvals_needed)


def _vote(seat: str, choice: int, reason: str) -> Vote:
    return Vote(seat, _CHOICES[choice], reason)


def _abstain(seat: str, proposal: Proposal, why: str) -> Vote:
    return Vote(seat, Choice.ABSTAIN, proposal.absent.get(seat, why))
