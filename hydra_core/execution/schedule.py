"""How a change of position is spread over time: TWAP slices as a pure function of plan and clock.

A slice names the position to hold by then, not an amount to trade: a slice that was missed, or filled in part, is
caught up by the next one, and a process that restarts goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from hydra_core.domain.trading import Schedule, Target


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


def all_slices(schedule: Schedule, initial: float, target: float, start_ms: int) -> tuple[Slice, ...]:
    """Every slice of a schedule: equal steps at equal distances, the first at once.

    Parameters
    ----------
    initial, target : signed base units held at ``start_ms`` and wanted in the end
    """
    count = max(1, schedule.slices)
    gap = schedule.duration_ms // count
    change = target - initial
    return tuple(
        Slice(k, start_ms + k * gap, target if k == count - 1 else initial + change * (k + 1) / count)
        for k in range(count)
    )


def slices(schedule: Schedule, current: float, target: float, start_ms: int, now_ms: int) -> tuple[Slice, ...]:
    """The slices due at ``now_ms``, oldest first; the last one names the position to hold now.

    Parameters
    ----------
    current : float, signed base units held when the schedule began (``start_ms``), not now
    """
    return tuple(s for s in all_slices(schedule, current, target, start_ms) if s.due_ms <= now_ms)


def schedule_of(target: Target, schedule: Schedule) -> Schedule:
    """The schedule that a target of a plan is worked by: an urgent one goes at once."""
    return Schedule(kind=schedule.kind, slices=1, duration_ms=0) if target.urgent else schedule


def continues(old: Target | None, new: Target) -> bool:
    """Whether a newer plan repeats a target: then its schedule goes on from where it began instead of starting over."""
    return old is not None and old.pair == new.pair and old.quantity == new.quantity and old.urgent == new.urgent
