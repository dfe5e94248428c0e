"""Make a past decision again from what the ledger says it was made of, and compare byte for byte.

Read: the candles up to the stored watermarks (live state), the stored readings, portfolio and settings (ledger), the
pinned models (registry). Nothing of today enters, so a difference means altered data, altered models, another code
version, or a decision that is not a pure function: each is worth knowing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra_core import __version__
from hydra_core.alpha.models import load_models
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.intervals import iso
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision
from hydra_core.home import Home
from hydra_core.ledger import codec
from hydra_core.ledger.livestate import LiveStateReader
from hydra_core.ledger.records import STRATEGY, DecisionRecord
from hydra_core.ledger.store import Ledger
from hydra_core.window.cycle import CycleInputs, Frame, make_decision


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
    inputs = codec.decode(CycleInputs, record.inputs)
    frame = Frame.read(ledger.blob(inputs.limits_blob))
    rules = codec.loads(dict[Pair, MarketRules], ledger.blob(inputs.rules_blob))
    models = load_models(ModelRegistry(home.models), record.pins.models)
    with LiveStateReader(home.live_state, frame.pairs, inputs.watermarks) as reader:
        reader.refresh()
        if reader.watermarks() != inputs.watermarks:
            raise HydraError(
                f"the live state {home.live_state} ends at {reader.watermarks()}, before the decision's "
                f"{inputs.watermarks}",
                "It was lost and rebuilt since; decisions from before cannot be replayed",
            )
        panel = reader.panel(cycle_ms, inputs.capture_start_ms)
    panel_hash = panel.content_hash()
    remade = make_decision(replace(inputs, panel_hash=panel_hash), panel, rules, models, frame.limits)
    stored_text, remade_text = codec.dumps(record.decision), codec.dumps(remade)
    differences = tuple(_differences(json.loads(stored_text), json.loads(remade_text), ""))
    if panel_hash != inputs.panel_hash:
        differences = (Difference("inputs.panel_hash", inputs.panel_hash, panel_hash), *differences)
    return ReplayResult(
        account=record.account,
        strategy=strategy,
        cycle_ms=cycle_ms,
        identical=stored_text == remade_text and panel_hash == inputs.panel_hash,
        differences=differences,
        notes=tuple(_notes(record, models.absent)),
        stored=record.decision,
        remade=remade,
    )


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
