"""The bell hurries who listens, and nothing depends on it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hydra_core.ledger.doorbell import PIPE, Doorbell, ring


async def test_a_ring_ends_the_wait_and_is_used_up(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as bell:
        assert not await bell.wait(0.0)
        assert ring(tmp_path)
        assert ring(tmp_path)
        async with asyncio.timeout(30):
            assert await bell.wait(60.0)
        assert not await bell.wait(0.01)
    assert not ring(tmp_path), "nobody listens any more"


async def test_many_rings_fill_nothing_up(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as bell:
        assert all(ring(tmp_path) for _ in range(70_000))
        assert await bell.wait(30.0)


async def test_without_a_listener_or_a_pipe_nothing_breaks(tmp_path: Path) -> None:
    assert not ring(tmp_path)
    assert not ring(tmp_path / "absent")
    (tmp_path / PIPE).write_text("not a pipe")
    assert not ring(tmp_path)
    assert (tmp_path / PIPE).read_text() == "not a pipe"
    with Doorbell(tmp_path) as bell:
        assert not await bell.wait(0.0)
