"""How a change of position is spread over time: slices as a pure function of plan and clock, within a share of volume.

Here: when which position is to be held, and how much of an order the market's volume allows. Not here: how a change is
divided among the slices (``curves``), who sends what (``trader.desk``).

A slice names the position to hold by then, not an amount to trade: a slice that was missed, or filled in part, is
caught up by the next one, and a process that restarts goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from hydra_core.domain.errors import UsageError
from hydra_core.domain.trading import Schedule, Target
from hydra_core.settings import DecisionSettings

LEAST_PART: Final = Decimal("0.1")
"""Smallest order, as a share of the whole change, that a volume limit lets through while the slice asks for more:
what the market allows in crumbs is gathered first."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One step of a schedule.

    Parameters
    ----------
    index : int, from 0
    due_ms : int, market time from which it may be worked
    goal : float, signed base units to hold once it is done; the last one is the target itself
    """

    index: int
    due_ms: int
    goal: float


def all_slices(
    schedule: Schedule, initial: float, target: float, start_ms: int, shares: Sequence[float] = ()
) -> tuple[Slice, ...]:
    """Every slice of a schedule: steps at equal distances, the first at once.

    Parameters
    ----------
    initial, target : signed base units held at ``start_ms`` and wanted in the end
    shares : share of the change done by the end of each slice, ascending to 1; empty: equal steps

    Raises
    ------
    UsageError : ``shares`` are not one for each slice, ascending within [0, 1]
    """
    count = max(1, schedule.slices)
    if shares and len(shares) != count:
        raise UsageError(f"{len(shares)} shares for {count} slices")
    if any(not 0 <= a <= b <= 1 for a, b in zip((0.0, *shares), shares, strict=False)):
        raise UsageError(f"shares of a schedule ascend from 0 to 1, these do not: {list(shares)}")
    gap = schedule.duration_ms // count
    change = target - initial
    return tuple(
        Slice(
            k,
            start_ms + k * gap,
            target if k == count - 1 else initial + change * (shares[k] if shares else (k + 1) / count),
        )
        for k in range(count)
    )


def slices(
    schedule: Schedule, current: float, target: float, start_ms: int, now_ms: int, shares: Sequence[float] = ()
) -> tuple[Slice, ...]:
    """The slices due at ``now_ms``, oldest first; the last one names the position to hold now.

    Parameters
    ----------
    current : float, signed base units held when the schedule began (``start_ms``), not now
    """
    return tuple(s for s in all_slices(schedule, current, target, start_ms, shares) if s.due_ms <= now_ms)


def planned(settings: DecisionSettings) -> Schedule:
    """The schedule of a plan by the settings; its span is cut so that the last slice is due before the plan expires."""
    span_s = min(settings.twap_duration_s, settings.plan_ttl_s)
    return Schedule(settings.schedule, settings.twap_slices, span_s * 1000, settings.max_participation)


def schedule_of(target: Target, schedule: Schedule) -> Schedule:
    """The schedule that a target of a plan is worked by: an urgent one goes at once, whatever the market trades."""
    return Schedule(kind=schedule.kind, slices=1, duration_ms=0) if target.urgent else schedule


def shares_of(target: Target, schedule: Schedule) -> tuple[float, ...]:
    """The target's shares where they fit its schedule; an urgent one has a single slice."""
    return target.shares if len(target.shares) == max(1, schedule.slices) else ()


def continues(old: Target | None, new: Target) -> bool:
    """Whether a newer plan repeats a target: then its schedule goes on from where it began instead of starting over."""
    return old is not None and old.pair == new.pair and old.quantity == new.quantity and old.urgent == new.urgent


def allowed(wanted: Decimal, change: Decimal, done: Decimal, traded: Decimal, participation: float) -> Decimal:
    """How much of an order may go now, so that all orders of the change stay within a share of the traded volume.

    Parameters
    ----------
    wanted : unsigned base units that the slice asks for now
    change : unsigned base units of the whole change
    done : unsigned base units that its orders have filled
    traded : base units that the market traded since the change began
    participation : share in (0, 1]; 0: no limit

    Returns
    -------
    Decimal in [0, wanted]; 0 where less than :data:`LEAST_PART` of the change could go and the slice asks for more
    """
    if not participation:
        return wanted
    room = Decimal(repr(participation)) * traded - done
    if room >= wanted:
        return wanted
    return room if room >= LEAST_PART * change and room > 0 else Decimal(0)
