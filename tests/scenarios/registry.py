"""The list of scenarios: which function tells the story of which id. The stories are in ``m_*.py`` and ``f_*.py``."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from .rig import Rig

Story = Callable[[Rig, int], Awaitable[None]]
_ID = re.compile(r"^[MF]\d\d$")


@dataclass(frozen=True)
class Scenario:
    """One story of an id: raises AssertionError when HYDRA did not do what the id demands."""

    identity: str
    title: str
    story: Story

    @property
    def name(self) -> str:
        """Module and function, to find it by."""
        return f"{self.story.__module__.rpartition('.')[2]}.{self.story.__name__}"


_SCENARIOS: dict[str, list[Scenario]] = {}


def scenario(identity: str, title: str) -> Callable[[Story], Story]:
    """Register ``async def story(rig, seed)`` under an id; an id may have several, all of which must pass."""
    if not _ID.match(identity):
        raise ValueError(f"not an id of a scenario: {identity!r}")

    def register(story: Story) -> Story:
        _SCENARIOS.setdefault(identity, []).append(Scenario(identity, title, story))
        return story

    return register


def scenarios(only: str = "") -> dict[str, list[Scenario]]:
    """Every scenario by id, in order of ids; ``only`` keeps ids that begin with one of its comma-separated words."""
    for module in sorted(pkgutil.iter_modules([str(Path(__file__).parent)]), key=lambda one: one.name):
        if re.match(r"^[mf]_", module.name):
            importlib.import_module(f"{__package__}.{module.name}")
    words = tuple(word.strip().upper() for word in only.split(",") if word.strip())
    return {
        identity: _SCENARIOS[identity]
        for identity in sorted(_SCENARIOS, key=_order)
        if identity.startswith(words or "")
    }


def _order(identity: str) -> tuple[bool, str]:
    return identity.startswith("F"), identity
