"""One cycle: what was read, written down so completely that the same decision can be made again.

:class:`CycleInputs` plus the candles up to its watermarks are all that a decision depends on. The window run makes them
from live readings, a replay takes them from the ledger; both hand them to :func:`make_decision`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hydra_core.alpha.models import Models
from hydra_core.decision import Assessment, Limits, Snapshot, assess, decide
from hydra_core.domain.market import MarketRules, MarkReading, Panel, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Analysis, Decision, Plan, Portfolio
from hydra_core.ledger import codec
from hydra_core.ledger.livestate import Watermarks
from hydra_core.ledger.records import TRADER, Heartbeat
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings, Settings

LIMITS_BLOB: Final = "limits"
RULES_BLOB: Final = "rules"


@dataclass(frozen=True, slots=True)
class CycleInputs:
    """Everything but the candles that one decision read.

    Parameters
    ----------
    cycle_ms, wall_ms : grid point, market time; wall time at which the readings were taken
    watermarks, capture_start_ms : which rows of the live state the panel is made of
    panel_hash : content hash of that panel
    quotes, marks : newest readings by pair
    rules_blob, limits_blob : hashes under which the ledger keeps the exchange's filters and the settings in force
    portfolio : the account, marked
    standing : the plan being worked
    faults, halt : what was found wrong, and why nothing may be done (empty: something may)
    analyses : newest analyses from beside the cycle
    """

    cycle_ms: int
    wall_ms: int
    watermarks: Watermarks
    capture_start_ms: int | None
    panel_hash: str
    quotes: Mapping[Pair, Quote]
    marks: Mapping[Pair, MarkReading]
    rules_blob: str
    limits_blob: str
    portfolio: Portfolio
    standing: Plan | None = None
    faults: tuple[str, ...] = ()
    halt: str = ""
    analyses: Mapping[Pair, Analysis] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A text and the hash it is kept under."""

    digest: str
    text: str

    @classmethod
    def of(cls, text: str) -> Kept:
        """The text under its SHA-256."""
        return cls(hashlib.sha256(text.encode()).hexdigest(), text)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stays the same for a whole window: the pairs (columns of the panel) and the limits."""

    pairs: tuple[Pair, ...]
    limits: Limits

    @classmethod
    def of(cls, settings: Settings, models: Models | None = None) -> Frame:
        """The frame that settings ask for; signals live as long as the seated forecaster's word spans."""
        horizon = (models or Models()).horizon_bars(settings.training.horizon_bars)
        limits = Limits(settings.decision, settings.risk, settings.costs, horizon)
        return cls(settings.pairs, limits)

    def kept(self) -> Kept:
        """The frame as text to keep."""
        limits = self.limits
        parts = {"decision": limits.decision, "risk": limits.risk, "costs": limits.costs}
        plain = {name: part.model_dump() for name, part in parts.items()}
        return Kept.of(codec.dumps({"pairs": self.pairs, "horizon_bars": limits.horizon_bars, **plain}))

    @classmethod
    def read(cls, text: str) -> Frame:
        """The frame from its text."""
        plain = codec.loads(dict[str, Any], text)
        limits = Limits(
            DecisionSettings.model_validate(plain["decision"]),
            RiskSettings.model_validate(plain["risk"]),
            CostSettings.model_validate(plain["costs"]),
            codec.decode(int, plain["horizon_bars"]),
        )
        return cls(codec.decode(tuple[Pair, ...], plain["pairs"]), limits)


def halt_reason(beat: Heartbeat | None, wall_ms: int, max_age_s: float) -> str:
    """Why nothing may be done without a living trader; empty when it lives.

    Ages are wall time; a stamp from as far ahead says that the machine's clock was set back, and nothing of how old it is.
    """
    if beat is None:
        return f"{TRADER}: no heartbeat ever"
    age_s = (wall_ms - beat.wall_ms) / 1000
    if -age_s > max_age_s:
        return f"{TRADER}: last heartbeat {-age_s:.1f} s ahead of this process's clock, limit {max_age_s:.1f} s"
    return f"{TRADER}: last heartbeat {age_s:.1f} s ago, limit {max_age_s:.1f} s" if age_s > max_age_s else ""


def unmarked(portfolio: Portfolio, marks: Mapping[Pair, MarkReading]) -> tuple[str, ...]:
    """Faults for positions whose worth is not known because their mark is absent."""
    return tuple(
        f"position of {pair} has no mark, equity counts it at entry"
        for pair in portfolio.positions
        if pair not in marks
    )


def make_decision(
    inputs: CycleInputs,
    panel: Panel,
    rules: Mapping[Pair, MarketRules],
    models: Models,
    limits: Limits,
    assessment: Assessment | None = None,
) -> Decision:
    """The decision that follows from the inputs: pure, the same in a window and in a replay."""
    snapshot = Snapshot(
        cycle_ms=inputs.cycle_ms,
        wall_ms=inputs.wall_ms,
        panel=panel,
        quotes=inputs.quotes,
        marks=inputs.marks,
        rules=rules,
        faults=inputs.faults,
        analyses=inputs.analyses,
        standing=inputs.standing,
        halt=inputs.halt,
        panel_hash=inputs.panel_hash,
    )
    return decide(snapshot, models, inputs.portfolio, limits, assessment)


class Assessor:
    """Layers 2 and 3 of a panel, computed once per panel object: they change only when a bar closes, or with the rates of
    the exchange's margin tables."""

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models = models
        self._limits = self._in_force = limits
        self._rules: Mapping[Pair, MarketRules] = {}
        self._panel: Panel | None = None
        self._hash = ""
        self._assessment: Assessment | None = None

    def of(self, panel: Panel, rules: Mapping[Pair, MarketRules]) -> tuple[str, Assessment | None]:
        """The panel's content hash and its assessment under the exchange's rules (None for a panel without rows)."""
        if rules is not self._rules:
            limits = self._limits.under(rules)
            self._panel = self._panel if limits.maintenance == self._in_force.maintenance else None
            self._rules, self._in_force = rules, limits
        if panel is not self._panel:
            self._panel, self._hash = panel, panel.content_hash()
            self._assessment = assess(panel, self._models, self._in_force) if len(panel) else None
        return self._hash, self._assessment
