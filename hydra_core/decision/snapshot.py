"""What a live decision may read, as it stood at one grid point, and the faults that can be seen in it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import numpy as np

from hydra_core.domain.intervals import iso
from hydra_core.domain.market import MarketRules, MarkReading, Panel, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Analysis, Plan, Target
from hydra_core.settings import RiskSettings

MAX_BAR_AGE: Final = 2
"""Bars after its close at which the newest bar is too old to act on."""
MAX_BASIS: Final = 0.05
"""Distance of mark from mid, as a fraction, beyond which the two contradict each other."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything a live decision may read, as it stood at one grid point.

    Parameters
    ----------
    cycle_ms : int, the grid point, market time
    wall_ms : int, wall time at which the readings were taken; the age of a quote or mark is measured against it
    panel : Panel, closed 5m bars, the newest last
    quotes, marks : newest reading by pair; an absent one is a fault of that pair
    rules : the exchange's filters by pair; sizes that they cannot express are refused
    faults : what the reader found missing, stale or contradictory. ``"BTCUSDT: mark is stale"`` blocks entries of that pair,
        a text that begins with no pair of the panel concerns all of them and trips ``unreadable_input``
    analyses : newest analysis by pair from beside the cycle; an expired one is ignored, an absent one is replaced by
        the rules analysis of the assessment
    standing : the newest plan that is still being worked, or None once it has expired, is done or was cancelled by the
        guard
    halt : why nothing may be done in this cycle (a stale trader heartbeat); the decision is recorded and names no plan
    panel_hash : ``panel.content_hash()`` where the caller has it already; empty: computed
    """

    cycle_ms: int
    wall_ms: int
    panel: Panel
    quotes: Mapping[Pair, Quote]
    marks: Mapping[Pair, MarkReading]
    rules: Mapping[Pair, MarketRules] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    analyses: Mapping[Pair, Analysis] = field(default_factory=dict)
    standing: Plan | None = None
    halt: str = ""
    panel_hash: str = ""

    @property
    def fresh(self) -> bool:
        """Whether the newest bar is closed, and young enough to act on."""
        if not len(self.panel):
            return False
        age = self.cycle_ms - int(self.panel.close_ms[-1])
        return 0 <= age <= MAX_BAR_AGE * self.panel.interval.ms

    def standing_target(self, pair: Pair) -> Target | None:
        """What the standing plan wants of a pair; None where there is none or it has expired."""
        if self.standing is None or self.cycle_ms >= self.standing.expires_ms:
            return None
        return self._targets.get(pair)

    @cached_property
    def _targets(self) -> dict[Pair, Target]:
        """What the standing plan wants of each pair; the first of several, as whoever works it takes it."""
        return {target.pair: target for target in reversed(self.standing.targets)} if self.standing else {}

    def data_hash(self) -> str:
        """SHA-256 over the panel and every reading: equal exactly when the snapshots are."""
        readings = [
            self.panel_hash or self.panel.content_hash(),
            (self.cycle_ms, self.wall_ms, self.faults, self.halt),
            [_as_tuple(self.quotes[pair]) for pair in sorted(self.quotes)],
            [_as_tuple(self.marks[pair]) for pair in sorted(self.marks)],
            [_filters(self.rules[pair]) for pair in sorted(self.rules)],
            [_without_extra(self.analyses[pair]) for pair in sorted(self.analyses)],
            self.standing and _as_tuple(self.standing),
        ]
        return hashlib.sha256(repr(readings).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with a snapshot: faults that concern every pair, and by pair."""

    everywhere: tuple[str, ...]
    by_pair: Mapping[Pair, tuple[str, ...]]

    @property
    def listed(self) -> tuple[str, ...]:
        """All of them as text, those of one pair with its name in front."""
        return self.everywhere + tuple(f"{pair}: {what}" for pair, found in self.by_pair.items() for what in found)


def find_faults(snapshot: Snapshot, model_faults: Iterable[str], risk: RiskSettings) -> Faults:
    """Faults that the reader reported, those of the models' inputs, and those that the readings themselves show."""
    panel = snapshot.panel
    everywhere = list(model_faults)
    by_pair: dict[Pair, list[str]] = {pair: [] for pair in panel.pairs}
    for text in snapshot.faults:
        pair, _, what = text.partition(": ")
        known = by_pair.get(Pair(pair))
        (everywhere if known is None else known).append(text if known is None else what)
    if not len(panel):
        return Faults((*everywhere, "there is no closed bar"), {})
    newest = int(panel.close_ms[-1])
    if newest > snapshot.cycle_ms:
        everywhere.append(f"newest bar closes at {iso(newest)}, after the cycle")
    if snapshot.cycle_ms - newest > MAX_BAR_AGE * panel.interval.ms:
        everywhere.append(f"newest bar closed at {iso(newest)}, more than {MAX_BAR_AGE} bars ago")
    newest_bar = np.stack([panel.open[-1], panel.high[-1], panel.low[-1], panel.close[-1]])
    complete = np.isfinite(newest_bar).all(axis=0).tolist()
    for column, pair in enumerate(panel.pairs):
        if not complete[column]:
            by_pair[pair].append("newest bar is missing")
        by_pair[pair] += _reading_faults(snapshot, pair, risk.max_quote_age_s)
    return Faults(tuple(everywhere), {pair: tuple(found) for pair, found in by_pair.items() if found})


def _reading_faults(snapshot: Snapshot, pair: Pair, max_age_s: float) -> list[str]:
    found: list[str] = []
    quote, mark = snapshot.quotes.get(pair), snapshot.marks.get(pair)
    middle = quote.mid if quote and quote.bid > 0 else math.nan
    price = mark.mark if mark and mark.mark > 0 else math.nan
    if quote is None or not math.isfinite(middle):
        found.append("no usable quote")
    elif quote.bid >= quote.ask:
        found.append(f"quote is crossed: bid {quote.bid!r}, ask {quote.ask!r}")
    if not math.isfinite(price):
        found.append("no usable mark price")
    if abs(price / middle - 1) > MAX_BASIS:
        found.append(f"mark {price!r} contradicts the quote's middle {middle!r}")
    for name, reading in (("quote", quote), ("mark", mark)):
        age = 0.0 if reading is None else (snapshot.wall_ms - reading.received_wall_ms) / 1000
        if abs(age) > max_age_s:  # one from ahead was stamped before the machine's clock was set back
            found.append(f"{name} is {age:.1f} s old, limit {max_age_s:.1f} s")
    return found


_VALUES: Final[dict[type, Callable[[Any], tuple[Any, ...]] | None]] = {}
"""What takes the fields out of each type that was met; None for a type that is no dataclass."""


def _as_tuple(value: Any) -> Any:
    """What ``dataclasses.astuple`` gives of dataclasses and tuples in each other, without copying what is in them."""
    kind = type(value)
    if kind is tuple:
        return tuple([_as_tuple(item) for item in value])
    if kind not in _VALUES:
        _VALUES[kind] = attrgetter(*(field.name for field in fields(value))) if is_dataclass(value) else None
    taken = _VALUES[kind]
    return value if taken is None else tuple([_as_tuple(item) for item in taken(value)])


def _filters(rules: MarketRules) -> Any:
    """The fields of a pair's rules; a margin table that is not known is left out, as in decisions from before it was read."""
    values = _as_tuple(rules)
    return values if rules.margin_steps else values[:-1]


def _without_extra(analysis: Analysis) -> tuple[object, ...]:
    """The fields that a decision reads; ``extra`` is for people."""
    return (
        analysis.pair, analysis.trap, analysis.bias, analysis.source, analysis.made_ms, analysis.expires_ms,
        analysis.state_hash,
    )  # fmt: skip
