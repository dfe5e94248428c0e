from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from market_double import ScriptedExchange


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedExchange]:
    exchange = ScriptedExchange()
    await exchange.start()
    yield exchange
    await exchange.stop()
