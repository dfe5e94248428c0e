"""Every scenario once; ``make scenarios`` runs them over many seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from .registry import Scenario, scenarios
from .rig import Rig

COMPLETE = (*(f"M{number:02}" for number in range(1, 43)), *(f"F{number:02}" for number in range(1, 31)))
"""Ids that are claimed; grows as families become complete."""

_ALL = list({one.story: one for stories in scenarios().values() for one in stories}.values())
"""A story that stands under several ids runs once."""


def test_every_claimed_id_has_a_scenario() -> None:
    assert set(COMPLETE) <= set(scenarios())


@pytest.mark.parametrize("one", _ALL, ids=[f"{one.identity}-{one.name}" for one in _ALL])
async def test_scenario(one: Scenario, tmp_path: Path) -> None:
    async with Rig(1, tmp_path) as rig:
        await one.story(rig, 1)
