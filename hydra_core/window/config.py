"""What a window run is told and what it tells: frozen words, no behaviour beyond adding up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra_core.domain.trading import Decision, Mode
from hydra_core.ledger.records import STRATEGY


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """One window: for whom, with which models, for how long. The first limit that is reached ends it.

    Parameters
    ----------
    account : str, account to decide for
    pins : kind -> version of the models to load; kinds that are absent leave their seat empty
    run_id : str, who holds the lease
    strategy : str, part of a decision's key
    window_s : float or None, wall seconds; the window ends before a grid point that lies beyond them
    window_market_s : float or None, market seconds
    cycles : int or None, decisions to make
    follow_champions : bool, end early when a seat gets another champion than the pinned one
    lease_wait_s : float or None, wall seconds to wait for a lease that another run holds; None: until it would run out
    """

    account: str
    pins: Mapping[str, str]
    run_id: str
    strategy: str = STRATEGY
    window_s: float | None = None
    window_market_s: float | None = None
    cycles: int | None = None
    follow_champions: bool = True
    lease_wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class CycleReport:
    """One decided grid point.

    Parameters
    ----------
    latency_ms : int, wall time from the grid point (or the window's start, if that came later) to the durable commit
    work_ms : float, wall time of reading, deciding and committing, without waiting for a bar that was on its way
    """

    cycle_ms: int
    decision: Decision
    latency_ms: int
    work_ms: float

    @property
    def mode(self) -> Mode:
        """What the kill switches allowed."""
        return self.decision.mode

    @property
    def outcomes(self) -> dict[str, int]:
        """How many pairs had which outcome."""
        return dict(Counter(pair.outcome for pair in self.decision.pairs))

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return f"{self.decision.mode}: {told or 'no pair'} ({self.work_ms:.0f} ms)"


@dataclass(frozen=True)
class WindowSummary:
    """What a window did.

    Parameters
    ----------
    decided, missed : int, grid points decided, and passed over undecided (booked as such)
    ended : str, why it ended: ``window over``, ``cycles done``, ``champions changed``, ``stopped`` or ``lease lost``
    latency_ms, work_ms : per decision, as in :class:`CycleReport`
    absent : seat -> why nobody sat in it, though a champion may have been pinned: too old, altered, unreadable
    """

    run_id: str
    ended: str
    decided: int
    missed: int
    plans: int
    first_cycle_ms: int | None
    last_cycle_ms: int | None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    latency_ms: tuple[int, ...] = ()
    work_ms: tuple[float, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        """Grid points that this window answered for."""
        return self.decided + self.missed

    def quantile_ms(self, share: float) -> float:
        """Quantile of the latency, ms; 0 when nothing was decided."""
        ordered = sorted(self.latency_ms)
        return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else 0.0

    def to_json(self) -> dict[str, Any]:
        """The summary as plain data, with latency quantiles in place of the single values."""
        plain = asdict(self)
        del plain["latency_ms"], plain["work_ms"]
        ordered = sorted(self.work_ms)
        plain |= {"cycles": self.cycles, "outcomes": dict(self.outcomes), "modes": dict(self.modes)}
        plain |= {"absent": dict(self.absent)}
        plain |= {"latency_p50_ms": self.quantile_ms(0.5), "latency_p95_ms": self.quantile_ms(0.95)}
        plain |= {"latency_max_ms": self.quantile_ms(1.0)}
        plain |= {"work_p50_ms": round(ordered[len(ordered) // 2], 2) if ordered else 0.0}
        return plain

    def __str__(self) -> str:
        return (
            f"{self.decided} decided, {self.missed} missed, {self.plans} plans, "
            f"latency {self.quantile_ms(0.5):.0f} ms (95 %: {self.quantile_ms(0.95):.0f} ms), ended: {self.ended}"
        )
