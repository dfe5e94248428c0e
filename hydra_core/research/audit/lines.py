"""What a check of the leak suite says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from hydra_core.alpha.models import CROWD, FORECASTER, POLICY

CHECKS: Final = {
    "L1": "prefix invariance",
    "L2": "permuted labels",
    "L4": "reversed time",
    "L5": "canary",
    "L6": "extra lag",
    "L7": "embargo sweep",
    "L8": "stamps and joins",
    "L9": "plausibility",
    "L10": "survivorship",
}

BY_KIND: Final = {
    FORECASTER: ("L1", "L2", "L5", "L6", "L8", "L9", "L10"),
    CROWD: ("L1", "L2", "L5", "L6", "L8", "L9", "L10"),
    POLICY: ("L1", "L5", "L6", "L8", "L9", "L10"),
}
"""Checks that a candidate of each kind is put to, all of which must have been run before it takes a seat. The policy has no
L2: six columns cannot remember stretches of their training rows; what could are its forecasts, whose forecaster has L2."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One audited thing: clean, or what gives it away.

    Parameters
    ----------
    name : what was audited
    check : key of :data:`CHECKS`
    """

    name: str
    clean: bool
    detail: str
    check: str = "L1"

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.check} {self.name}: {self.detail}" if self.detail else f"{self.check} {self.name}"


def leaks(lines: Sequence[AuditLine]) -> tuple[AuditLine, ...]:
    """The lines that found something."""
    return tuple(line for line in lines if not line.clean)


def remedy(kind: str) -> str:
    """What to do about a suite that was not run."""
    return f"Run the checks of models/{kind}_candidate in the web UI, the job `research`, or `hydra train`"
