"""A short soak; ``python -m tests.soak`` is the whole day."""

from __future__ import annotations

import pytest

from tests.soak.story import soak


@pytest.mark.long
async def test_a_market_hour_of_faults_leaves_both_sides_equal() -> None:
    told = await soak(seed=1, hours=1.0, speed=60.0, say=lambda _line: None)
    assert told.checks >= 5
    assert told.orders >= 10
