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


def forecaster_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve at the confidence threshold."""
    if math.isnan(proposal.confidence):
        return _abstain(FORECASTER, proposal, "no forecast")
    approves = proposal.confidence >= settings.confidence_threshold
    return _vote(
        FORECASTER, approves, f"confidence {proposal.confidence:.3f}, threshold {settings.confidence_threshold:.3f}"
    )


def crowd_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve unless a forced exit against the side is likelier than the limit."""
    if math.isnan(proposal.hazard):
        return _abstain(CROWD, proposal, "no hazard")
    approves = proposal.hazard <= settings.hazard_limit
    return _vote(CROWD, approves, f"hazard {proposal.hazard:.3f}, limit {settings.hazard_limit:.3f}")


def analyst_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve unless the bias is against the side or the side is the one likely to be trapped."""
    if math.isnan(proposal.bias) or math.isnan(proposal.trap):
        return _abstain(ANALYST, proposal, "no analysis")
    approves = proposal.bias != -proposal.side and proposal.trap != proposal.side
    trapped = SIDE_NAMES[proposal.trap] if proposal.trap else "none"
    return _vote(ANALYST, approves, f"{proposal.source}: bias {SIDE_NAMES[proposal.bias]}, trap {trapped}")


def policy_seat(proposal: Proposal, settings: DecisionSettings) -> Vote:
    """Approve when the policy's own target has the same sign."""
    if math.isnan(proposal.policy_target):
        return _abstain(POLICY, proposal, "no target")
    return _vote(POLICY, proposal.policy_target * proposal.side > 0, f"target {proposal.policy_target:+.3f}")


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
    """Whether the approvals suffice, the proposer's own among them: others cannot carry what it has no confidence in."""
    approvals = [v.seat for v in votes if v.choice is Choice.APPROVE]
    return len(approvals) >= settings.approvals_needed and FORECASTER in approvals


def _vote(seat: str, approves: bool, reason: str) -> Vote:
    return Vote(seat, Choice.APPROVE if approves else Choice.REJECT, reason)


def _abstain(seat: str, proposal: Proposal, why: str) -> Vote:
    return Vote(seat, Choice.ABSTAIN, proposal.absent.get(seat, why))
