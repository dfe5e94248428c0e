"""Which version an asset has now, and what its checks said about exactly that one; code versions of the assets.

A blocking check stops only its own run, and a later run reads whatever is newest: whoever acts on a version asks here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg

from hydra_core import __version__

CODE: Final = __version__
"""Code version of every asset: without one Dagster records the run id instead."""
RESULT: Final = "result"
"""Metadata key under which an asset keeps what the next one needs, as JSON."""


@dataclass(frozen=True, slots=True)
class Materialised:
    """The newest materialization of an asset."""

    key: dg.AssetKey
    storage_id: int
    run_id: str
    result: Mapping[str, Any]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckWord:
    """A check's newest word and the materialization it is about."""

    passed: bool
    storage_id: int | None
    description: str


def latest(instance: dg.DagsterInstance, key: dg.AssetKey) -> Materialised:
    """The newest materialization of an asset; raises Failure when there is none."""
    records = instance.fetch_materializations(key, limit=1).records
    event = records[0].asset_materialization if records else None
    if event is None:
        raise dg.Failure(f"{key.to_user_string()} was never made. Run the job `research` first", allow_retries=False)
    plain = {name: value.value for name, value in event.metadata.items()}
    result = plain.get(RESULT)
    return Materialised(
        key, records[0].storage_id, records[0].run_id, result if isinstance(result, Mapping) else {}, plain
    )


def word_of(instance: dg.DagsterInstance, key: dg.AssetKey, check: str) -> CheckWord | None:
    """The newest evaluation of an asset's check, None when it was never evaluated."""
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(key, check))
    if record is None or record.evaluation is None:
        return None
    target = record.evaluation.target_materialization_data
    return CheckWord(
        record.evaluation.passed, target.storage_id if target else None, record.evaluation.description or ""
    )


def refusal(validation: Materialised, word: CheckWord | None, candidate_version: str) -> str:
    """Why a candidate may not take its seat; empty when its gates passed.

    The check must be about the validation at hand, and the validation about the candidate at hand: either may be of an
    earlier run.
    """
    validated = str(validation.result.get("version", ""))
    if validated != candidate_version:
        return f"the newest validation is of {validated[:12] or 'nothing'}, the candidate is {candidate_version[:12]}"
    if word is None:
        return "its gates were never evaluated"
    if word.storage_id != validation.storage_id:
        return "the newest gates are of another validation"
    return "" if word.passed else f"its gates failed: {word.description}"
