"""What a language model may answer: one strict JSON object, and its reading into a draft.

Strict mode guarantees the shape, not the numbers: bounds are checked in guard.py. Every field is required and no other
is allowed, as Groq's structured outputs demand.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hydra_core.domain.errors import HydraError

RISK_FLAGS: Final = (
    "crowded_longs",
    "crowded_shorts",
    "funding_extreme",
    "open_interest_surge",
    "volatility_spike",
    "cascade_risk",
    "thin_data",
)


class AnswerRefused(HydraError):
    """A language model's answer is malformed or not grounded in the facts: the rules speak in its place."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Quoted(_Strict):
    """A piece of evidence with the value that the answer read in it."""

    id: str
    value: float


class Zone(_Strict):
    """Where a side would be forced out, in rescaled prices."""

    low: float
    high: float
    side: Literal["long", "short"]
    evidence_ids: tuple[str, ...]


class Draft(_Strict):
    """An answer as given, before anything of it is believed."""

    abstain: bool
    crowding_score: int
    trap_direction: Literal["long", "short", "none"]
    bias: Literal["long", "short", "neutral"]
    confidence: float
    forced_exit_zones: tuple[Zone, ...]
    risk_flags: tuple[str, ...]
    evidence: tuple[Quoted, ...]


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


ANSWER_SCHEMA: Final[dict[str, Any]] = _object(
    {
        "abstain": {"type": "boolean"},
        "crowding_score": {"type": "integer", "description": "0 nobody is crowded, 100 everybody is on one side"},
        "trap_direction": {"type": "string", "enum": ["long", "short", "none"]},
        "bias": {"type": "string", "enum": ["long", "short", "neutral"]},
        "confidence": {"type": "number", "description": "0 to 1"},
        "forced_exit_zones": _array(
            _object(
                {
                    "low": {"type": "number"},
                    "high": {"type": "number"},
                    "side": {"type": "string", "enum": ["long", "short"]},
                    "evidence_ids": _array({"type": "string"}),
                }
            )
        ),
        "risk_flags": _array({"type": "string", "enum": list(RISK_FLAGS)}),
        "evidence": _array(_object({"id": {"type": "string"}, "value": {"type": "number"}})),
    }
)
"""JSON schema handed to the model with ``strict: true``."""


def parse(text: str) -> Draft:
    """The draft in an answer's text; raises AnswerRefused when it is not exactly one object of the schema."""
    try:
        return Draft.model_validate_json(json.dumps(json.loads(text, parse_constant=_no_constant)))
    except (ValueError, ValidationError) as error:
        kind = "JSON" if isinstance(error, json.JSONDecodeError) else "the schema"
        raise AnswerRefused(f"the answer does not follow {kind}") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
