"""A decision as bytes: what the ledger keeps and what a replay compares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from hydra_core.domain.errors import UsageError
from hydra_core.domain.trading import Decision


def plain(value: Any) -> Any:
    """The value in JSON's own types: records as objects, enums by value, Decimal as text, sets sorted.

    A float that JSON cannot spell becomes its ``repr`` as text (``"nan"``, ``"inf"``).

    Raises
    ------
    UsageError : a type that has no one spelling
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    raise UsageError(f"cannot write a {type(value).__name__} as JSON")


def canonical_json(decision: Decision) -> bytes:
    """The decision as compact JSON with sorted keys and floats by ``repr``: equal exactly when the decisions are."""
    return json.dumps(plain(decision), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
