"""The leak suite's word on one version of a model, kept with it, and whether it lets that version take a seat.

Whoever promotes asks :func:`refusal`: checks that stop a run stop only that run, and a candidate is judged and seated in other
runs. A check that was not run counts as failed. Not here: running the suite (``suite``), the other gates (``research.gates``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from hydra_core import __version__
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.research.audit.lines import BY_KIND, AuditLine, leaks, remedy

FILE: Final = "leaks.json"
SHOWN: Final = 3
"""Findings that a refusal names."""


def keep(registry: ModelRegistry, kind: str, version: str, dataset: str, lines: Sequence[AuditLine]) -> None:
    """Attach what the suite said of a version to its sealed folder; a later word replaces an earlier one.

    Raises
    ------
    ArtifactInvalid : no such version
    """
    told = {
        "kind": kind,
        "version": version,
        "dataset": dataset,
        "code": __version__,
        "lines": [line.to_json() for line in lines],
    }
    registry.attach(kind, version, FILE, json.dumps(told, indent=1).encode())


def refusal(registry: ModelRegistry, kind: str, version: str) -> str:
    """Why the leak suite keeps a version from its seat; empty when every check of its kind was run and found nothing.

    Parameters
    ----------
    version : the very version that would take the seat
    """
    what, todo = f"the leak suite of {kind} {version[:12]}", remedy(kind)
    file = registry.root / kind / version / FILE
    try:
        told = json.loads(file.read_bytes())
        said_of = (told["kind"], told["version"])
        lines = [AuditLine(**line) for line in told["lines"]]
    except FileNotFoundError:
        return f"{what} was never run. {todo}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{what} left no readable record ({error}). {todo}"
    if said_of != (kind, version):
        return f"{what} was never run: the record beside it is of {said_of[0]} {str(said_of[1])[:12]}. {todo}"
    if found := leaks(lines):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return f"{what} found: {'; '.join(str(line) for line in found[:SHOWN])}{more}"
    run = {line.check for line in lines}
    if missing := [check for check in BY_KIND[kind] if check not in run]:
        return f"{what} was not run in full: {', '.join(missing)} are missing. {todo}"
    return ""
