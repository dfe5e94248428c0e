"""Make past decisions again from what the ledger says they were made of, and compare byte for byte.

Read: the candles up to the stored watermarks (live state), the stored readings, portfolio and settings (ledger), the
pinned models (registry). Nothing of today enters, so a difference means altered data, altered models, another code
version, or a decision that is not a pure function: each is worth knowing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from hydra_core import __version__
from hydra_core.alpha.models import Models, load_models
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.decision import Assessment
from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.intervals import iso
from hydra_core.domain.market import MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision
from hydra_core.home import Home
from hydra_core.ledger import codec
from hydra_core.ledger.livestate import LiveStateReader
from hydra_core.ledger.records import STRATEGY, DecisionRecord
from hydra_core.ledger.store import Ledger
from hydra_core.window.cycle import Assessor, CycleInputs, Frame, make_decision

PANEL_HASH = "inputs.panel_hash"
"""Path of the difference that says: the candles are not those of then."""


@dataclass(frozen=True)
class Difference:
    """One place where the decision made again is another: a path into its JSON and both values there."""

    path: str
    stored: Any
    remade: Any


@dataclass(frozen=True)
class ReplayResult:
    """What a replay found.

    Parameters
    ----------
    identical : bool, True exactly when both decisions have the same canonical bytes
    differences : places where they differ, in the order of the JSON
    notes : circumstances that may explain a difference (another code version, a model that does not load)
    """

    account: str
    strategy: str
    cycle_ms: int
    identical: bool
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    stored: Decision
    remade: Decision

    @property
    def data_differ(self) -> bool:
        """Whether the candles that it was made of are not those of then."""
        return any(found.path == PANEL_HASH for found in self.differences)

    def to_json(self) -> dict[str, Any]:
        """The result as plain data, without the decisions themselves."""
        return {
            "account": self.account,
            "strategy": self.strategy,
            "cycle_ms": self.cycle_ms,
            "cycle": iso(self.cycle_ms),
            "identical": self.identical,
            "differences": [
                {"path": found.path, "stored": found.stored, "remade": found.remade} for found in self.differences
            ],
            "notes": list(self.notes),
            "data_hash": self.stored.data_hash,
        }


@dataclass(frozen=True)
class Remade:
    """A decision made again, with what it was made of."""

    result: ReplayResult
    inputs: CycleInputs
    frame: Frame
    panel: Panel
    assessment: Assessment | None


class Remaker:
    """Makes decisions again, one after the other; use it as a context manager.

    What neighbouring decisions share is read and computed once: models, filters, limits, the live state, and layers 2 and
    3 of a panel. Going back in time costs a fresh reading of the live state.

    Parameters
    ----------
    home : Home, with the live state and the models that the decisions were made with
    ledger : Ledger, open
    """

    def __init__(self, home: Home, ledger: Ledger) -> None:
        self._home = home
        self._ledger = ledger
        self._registry = ModelRegistry(home.models)
        self._frames: dict[str, Frame] = {}
        self._rules: dict[str, Mapping[Pair, MarketRules]] = {}
        self._models: dict[str, Models] = {}
        self._assessors: dict[tuple[str, str], Assessor] = {}
        self._reader: LiveStateReader | None = None
        self._reader_pairs: tuple[Pair, ...] = ()

    def rules(self, inputs: CycleInputs) -> Mapping[Pair, MarketRules]:
        """The exchange's filters that a decision went by."""
        digest = inputs.rules_blob
        if digest not in self._rules:
            self._rules[digest] = codec.loads(dict[Pair, MarketRules], self._ledger.blob(digest))
        return self._rules[digest]

    def frame(self, inputs: CycleInputs) -> Frame:
        """The pairs and limits of a decision."""
        digest = inputs.limits_blob
        if digest not in self._frames:
            self._frames[digest] = Frame.read(self._ledger.blob(digest))
        return self._frames[digest]

    def remake(self, record: DecisionRecord) -> Remade:
        """Make one decision again.

        Raises
        ------
        InputMissing : the live state is gone
        HydraError : the live state ends before the decision, or the ledger does not keep what it was made of
        """
        inputs = codec.decode(CycleInputs, record.inputs)
        frame = self.frame(inputs)
        pins = json.dumps(dict(record.pins.models), sort_keys=True)
        if pins not in self._models:
            self._models[pins] = load_models(self._registry, record.pins.models)
        models = self._models[pins]
        panel = self._panel(inputs, frame.pairs)
        key = (pins, inputs.limits_blob)
        if key not in self._assessors:
            self._assessors[key] = Assessor(models, frame.limits)
        panel_hash, assessment = self._assessors[key].of(panel, self.rules(inputs))
        again = replace(inputs, panel_hash=panel_hash)
        remade = make_decision(again, panel, self.rules(inputs), models, frame.limits, assessment)
        stored_text, remade_text = codec.dumps(record.decision), codec.dumps(remade)
        differences: tuple[Difference, ...] = ()
        if stored_text != remade_text:
            differences = tuple(_differences(json.loads(stored_text), json.loads(remade_text), ""))
        if panel_hash != inputs.panel_hash:
            differences = (Difference(PANEL_HASH, inputs.panel_hash, panel_hash), *differences)
        result = ReplayResult(
            account=record.account,
            strategy=record.strategy,
            cycle_ms=record.cycle_ms,
            identical=stored_text == remade_text and panel_hash == inputs.panel_hash,
            differences=differences,
            notes=tuple(_notes(record, models.absent)),
            stored=record.decision,
            remade=remade,
        )
        return Remade(result, inputs, frame, panel, assessment)

    def close(self) -> None:
        """Close the live state."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _panel(self, inputs: CycleInputs, pairs: tuple[Pair, ...]) -> Panel:
        """The candles as they stood at a decision's watermarks."""
        reader, wanted = self._reader, inputs.watermarks
        if reader is None or pairs != self._reader_pairs or not wanted.reached_from(reader.watermarks()):
            self.close()
            reader = self._reader = LiveStateReader(self._home.live_state, pairs, wanted)
            self._reader_pairs = pairs
            reader.refresh()
        else:
            reader.advance(wanted)
        if reader.watermarks() != wanted:
            found = reader.watermarks()
            self.close()
            raise HydraError(
                f"the live state {self._home.live_state} ends at {found}, before the decision's {wanted}",
                "It was lost and rebuilt since; decisions from before cannot be replayed",
            )
        return reader.panel(inputs.cycle_ms, inputs.capture_start_ms)


def replay(
    cycle_ms: int, home: Home, ledger: Ledger, *, account: str | None = None, strategy: str = STRATEGY
) -> ReplayResult:
    """Make the decision of one grid point again.

    Parameters
    ----------
    cycle_ms : int, grid point, market time
    home : Home, with the live state and the models that it was made with
    ledger : Ledger, open
    account : str, optional; by default the account opened last that has a decision there

    Raises
    ------
    UsageError : that grid point was not decided
    InputMissing : the live state is gone
    HydraError : the ledger does not keep what the decision was made of
    """
    record = _find(cycle_ms, ledger, account, strategy)
    with Remaker(home, ledger) as remaker:
        return remaker.remake(record).result


def _find(cycle_ms: int, ledger: Ledger, account: str | None, strategy: str) -> DecisionRecord:
    names = [account] if account is not None else [one.name for one in ledger.accounts()]
    for name in names:
        found = ledger.decision(name, strategy, cycle_ms)
        if found is not None:
            return found
    raise UsageError(
        f"no decision at {iso(cycle_ms)} ({cycle_ms})", "Name a cycle that `hydra portfolio show` or the report lists"
    )


def _notes(record: DecisionRecord, absent: Mapping[str, str]) -> Iterator[str]:
    if record.pins.code_version != __version__:
        yield f"made by code version {record.pins.code_version}, made again by {__version__}"
    for kind in record.pins.models:
        if kind in absent:
            yield f"pinned {kind} does not load: {absent[kind]}"


def _differences(stored: Any, remade: Any, path: str) -> Iterator[Difference]:
    """Every leaf where two JSON structures differ."""
    if isinstance(stored, dict) and isinstance(remade, dict):
        for key in sorted(stored.keys() | remade.keys()):
            yield from _differences(stored.get(key), remade.get(key), f"{path}.{key}" if path else key)
    elif isinstance(stored, list) and isinstance(remade, list) and len(stored) == len(remade):
        for index, (one, other) in enumerate(zip(stored, remade, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif json.dumps(stored) != json.dumps(remade):
        yield Difference(path, stored, remade)
