"""Fixtures of the venue's tests: a served venue, and ccxt on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from venue_harness import Served, served


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "venue") as running:
        yield running


@pytest.fixture
async def exchange(venue: Served) -> Any:
    return await venue.exchange()
