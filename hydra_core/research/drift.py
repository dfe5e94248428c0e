"""What is known of the forecaster champion's drift, as plain data: its features against what it was taught on, its losses.

A feature is held by its stability index against the quantiles of the champion's training window; losses are those of its word
on a rise, one mean a horizon, because labels that overlap are one observation. Each look is kept in the home's journal, where
`hydra status`, the report and the web UI read it.
Not here: looking (``driftlook``), the statistics (``statistics.shift``). Drift demotes nobody: live skill does (``shadow``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, iso
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.scores import log_loss
from hydra_core.research.trials import Journal
from hydra_core.statistics.shift import MOVED, SHIFTING, Adwin, Reference

if TYPE_CHECKING:
    from hydra_core.research.dataset import Dataset

JOURNAL: Final = "drift.jsonl"
RECENT_DAYS: Final = 28
"""Newest days whose features are held against the training window."""
RECENT_BARS: Final = RECENT_DAYS * DAY_MS // FORECAST_INTERVAL.ms
LEAST_KNOWN: Final = 0.5
"""Share of what was known while training that must be known now, or the feature is missing."""
LOSSES: Final = (0.5, 0.9)
"""Nats between which a horizon's mean loss lies but for the odd one; ignorance is ln 2 = .69."""

SAME: Final = "as before"
RESTLESS: Final = "moves as it did"
SHIFTED: Final = "shifting"
ELSEWHERE: Final = "moved"
MISSING: Final = "missing"
NEVER: Final = "never known"
TOO_FEW: Final = "too few values"
UNHELD: Final = "nothing to hold it against"
ALARMS: Final = frozenset({ELSEWHERE, MISSING})
_NAMED: Final = 3
"""Features named in a verdict; the table has all of them."""


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature, newest days against training window.

    Parameters
    ----------
    index : stability index; None where it cannot be told
    usual : largest index of one such stretch of the training window against the rest; None where not known
    known_before, known : share of values that were numbers, then and now
    word : one of the constants above
    """

    name: str
    index: float | None
    usual: float | None
    known_before: float | None
    known: float
    word: str


@dataclass(frozen=True, slots=True)
class LossTurn:
    """A change of the champion's mean loss: noticed when, and the mean before and after, nats."""

    at_ms: int
    before: float
    after: float


@dataclass(frozen=True)
class Drift:
    """One look at what the champion reads and at what its word is worth.

    Parameters
    ----------
    held_against : where the training window's quantiles come from, in words
    from_ms, until_ms : newest days whose features were held against it, market time
    losses_from_ms : first row whose loss was counted, epoch ms
    loss : mean log loss of its word on a rise, nats; None where there was none
    turns : changes of that mean, oldest first
    note : why less was looked at than should have been; empty where everything was
    """

    champion: str
    held_against: str
    from_ms: int
    until_ms: int
    features: tuple[FeatureDrift, ...] = ()
    losses_from_ms: int = 0
    loss: float | None = None
    turns: tuple[LossTurn, ...] = ()
    note: str = ""

    @property
    def alarms(self) -> tuple[FeatureDrift, ...]:
        """Features that are not what they were, the farthest first."""
        return tuple(one for one in self.ordered if one.word in ALARMS)

    @property
    def ordered(self) -> tuple[FeatureDrift, ...]:
        """All features: what is missing, then by falling index."""
        return tuple(
            sorted(
                self.features, key=lambda one: (one.word != MISSING, -(one.index if one.index is not None else -1.0))
            )
        )

    @property
    def worse(self) -> bool:
        """Whether the newest change of the losses was one for the worse."""
        return bool(self.turns) and self.turns[-1].after > self.turns[-1].before

    @property
    def calm(self) -> bool:
        """Whether nobody needs to look."""
        return not (self.alarms or self.worse or self.note)

    @property
    def verdict(self) -> str:
        """In one line, for a person."""
        said = [self.note] if self.note else []
        if self.features:
            alarms = self.alarms
            held = f"{len(self.features)} features"
            said.append(f"{len(alarms)} of {held} are not what they were: {_named(alarms)}" if alarms else _calm(self))
        if self.loss is not None:
            last = self.turns[-1] if self.turns else None
            turned = f", {last.before:.3f} -> {last.after:.3f} noticed {iso(last.at_ms)}" if last else ", no change"
            said.append(f"log loss {self.loss:.3f}{turned}")
        return "; ".join(said) or self.held_against

    def above(self, limit: float) -> int:
        """Number of features whose index reaches a limit."""
        return sum(one.index is not None and one.index >= limit for one in self.features)

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form, the verdict with it."""
        return {**asdict(self), "calm": self.calm, "verdict": self.verdict}


def _named(features: tuple[FeatureDrift, ...]) -> str:
    shown = [f"{one.name} ({one.word}{'' if one.index is None else f' {one.index:.2f}'})" for one in features[:_NAMED]]
    more = len(features) - _NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _calm(seen: Drift) -> str:
    first = seen.ordered[0]
    if first.index is None:
        return f"{len(seen.features)} features, {first.word}"
    return f"{len(seen.features)} features as they were, the farthest {first.name} at {first.index:.2f}"


def references_of(dataset: Dataset) -> dict[str, Reference]:
    """What every feature of a dataset was like over development, by name: what is sealed with a forecaster."""
    span = dataset.folds.development
    return {
        name: Reference.of(dataset.features[span.start : span.end, :, place].astype(np.float64), stretch=RECENT_BARS)
        for place, name in enumerate(dataset.feature_names)
    }


def feature_drift(name: str, reference: Reference | None, recent: Floats | None) -> FeatureDrift:
    """One feature's newest values (n, P) against its reference; None: its inputs are not collected any more."""
    known = 0.0 if recent is None or not recent.size else float(np.isfinite(recent).mean())
    if reference is None:
        return FeatureDrift(name, None, None, None, known, UNHELD)
    usual = reference.usual if math.isfinite(reference.usual) else None

    def said(word: str, index: float | None = None) -> FeatureDrift:
        return FeatureDrift(name, index, usual, reference.known, known, word)

    if reference.known == 0.0:
        return said(NEVER)
    if recent is None or known < LEAST_KNOWN * reference.known:
        return said(MISSING)
    try:
        index = reference.index(recent)
    except InputMissing:
        return said(TOO_FEW)
    if index < SHIFTING:
        return said(SAME, index)
    if index < MOVED:
        return said(SHIFTED, index)
    return said(RESTLESS if usual is not None and index <= usual else ELSEWHERE, index)


def horizon_losses(z: Floats, realised: Floats, horizon: int) -> Floats:
    """Mean log loss of Phi(z) as the chance of a rise, horizon after horizon, all pairs together; NaN where none is known.

    Parameters
    ----------
    z, realised : (n, P), forecast and outcome in horizon standard deviations, row by row
    """
    from scipy.special import ndtr

    known = np.isfinite(z) & np.isfinite(realised) & (realised != 0)
    loss = np.full(z.shape, np.nan)
    loss[known] = log_loss(np.asarray(ndtr(z[known]), np.float64), (realised[known] > 0).astype(np.float64))
    starts = np.arange(0, len(z), horizon)
    total = np.add.reduceat(np.nansum(loss, axis=1), starts)
    count = np.add.reduceat(known.sum(axis=1), starts)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def loss_turns(losses: Floats, starts_ms: Ints) -> tuple[LossTurn, ...]:
    """Where ADWIN says that the mean of horizons' losses has changed; ``starts_ms`` : when each horizon began."""
    found = Adwin(*LOSSES).turns(losses)
    return tuple(LossTurn(int(starts_ms[one.at]), one.before, one.after) for one in found)


def newest(studies: Path, champion: str) -> Mapping[str, Any] | None:
    """The newest look at a champion as :meth:`Drift.to_json` tells it; None where it was never looked at."""
    looks = [row for row in Journal(studies / JOURNAL).records() if row["champion"] == champion]
    return looks[-1] if looks else None
