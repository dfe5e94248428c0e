"""A venue that is frozen with its sockets open: nothing closes, nothing is refused, and the status must say so all the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hydra_core.domain.clock import ManualClock, SystemClock
from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair
from hydra_core.home import home_named
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.tables import STREAM_HEALTH
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import ALL_STREAMS, STREAMS, MarketStreams
from hydra_core.market.venue_clock import follow_clock, keep_following
from hydra_core.platform.control import Platform, down
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.platform.parts import load_record
from hydra_core.platform.status import Line, look
from hydra_core.platform.stream_health import stream_lines
from hydra_core.settings import PlatformSettings, Settings
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.view import MarketView

PAIRS = (Pair("BTCUSDT"), Pair("ETHUSDT"))
LIMITS = {"candles": 2.0, "trades": 20.0, "quotes": 2.0, "book": 2.0, "marks": 3.0}
KEEP_ALIVE_MS = 2_000
"""Forced orders may be silent for days by rights: that their venue is frozen is only seen by pings that stay unanswered."""


async def eventually(true: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not true():
        assert loop.time() < end, what
        await asyncio.sleep(0.02)


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[tuple[int, str]]:
    """Process id and address of a venue in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hydra_core.venue", "--market", "synthetic-7-0.3", "--days", "3", "--port", "0",
        "--state-dir", str(tmp_path / "venue"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdout is not None
    ready = json.loads(await asyncio.wait_for(child.stdout.readline(), 30))
    yield child.pid, f"http://127.0.0.1:{ready['port']}"
    child.send_signal(signal.SIGCONT)
    child.kill()
    await child.wait()


async def test_a_frozen_venue_is_told_as_unhealthy_and_its_return_as_healthy(
    venue: tuple[int, str], tmp_path: Path
) -> None:
    pid, url = venue
    home, wall = home_named(tmp_path, "synthetic-7-0.3").create(), SystemClock()

    def told() -> dict[str, tuple[bool | None, str]]:
        return {name: (healthy, words) for name, healthy, words in stream_lines(home, wall)}

    assert [healthy for healthy, _ in told().values()] == [False]
    clock = await asyncio.to_thread(follow_clock, url)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ExchangeClient(Endpoint(base_url=url), clock=clock))
        writer = stack.enter_context(LiveStateWriter(home.live_state))
        spool = stack.enter_context(Spool(home.spool))
        feeds = Feeds(client, PAIRS, [Interval.M1], MarketView(PAIRS), writer, spool, clock)
        await feeds.fill_candles(Interval.M1, clock.market_ms())
        feeds.streams = streams = MarketStreams(
            Endpoint(base_url=url), PAIRS, [Interval.M1], feeds, clock,
            topics=ALL_STREAMS, client=client, repair=feeds.repair, silence_s=LIMITS, keep_alive_ms=KEEP_ALIVE_MS,
        )  # fmt: skip
        work = (streams.run(), feeds.run_flushes(), keep_following(clock, url, 0.1))
        tasks = [asyncio.create_task(one) for one in work]
        names = {f"stream {topic}" for topic in ALL_STREAMS}
        try:
            await eventually(lambda: {one for one, (ok, _) in told().items() if ok} == names, "all streams healthy")
            silent_by_right = {"stream liquidations", "stream trades"}
            assert all("newest event" in words for one, (_, words) in told().items() if one not in silent_by_right)
            os.kill(pid, signal.SIGSTOP)
            froze = wall.wall_ms()
            await eventually(lambda: {one for one, (ok, _) in told().items() if ok is False} == names, "all unhealthy")
            assert wall.wall_ms() - froze >= 1_000 * min(LIMITS.values()) - 1_000, "silence is not told before its time"
            os.kill(pid, signal.SIGCONT)
            await eventually(lambda: {one for one, (ok, _) in told().items() if ok} == names, "healthy again")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    later = ManualClock(wall.wall_ms() + 60_000)
    assert all(
        healthy is False and "has not reported for" in words for _, healthy, words in stream_lines(home, later)
    ), "a trader that is gone vouches for nothing"


def test_the_exchanges_clock_and_what_it_delisted_are_told(tmp_path: Path) -> None:
    home = home_named(tmp_path, "synthetic-7-0.3").create()
    wall = ManualClock(1_717_200_000_000)
    report = {"wall_ms": wall.wall_ms(), "streams": [], "malformed": 0, "malformed_by_stream": {}}
    right = {"offset_ms": -3, "alarm": ""}
    wrong = {"offset_ms": 12_000, "alarm": "the exchange's clock is 12000 ms ahead of ours (give or take 4 ms)"}
    with LiveStateWriter(home.live_state) as writer:
        writer.set_meta(STREAM_HEALTH, {**report, "clock": right, "delisted": {}})
        writer.flush()
        assert list(stream_lines(home, wall)) == [("exchange clock", True, "-3 ms ahead of ours")]
        writer.set_meta(STREAM_HEALTH, {**report, "clock": wrong, "delisted": {"ETHUSDT": "SETTLING"}})
        writer.flush()
        [clock, delisted] = stream_lines(home, wall)
    assert clock[:2] == ("exchange clock", False)
    assert "12000 ms ahead of ours" in clock[2]
    assert delisted == ("delisted", None, "ETHUSDT (SETTLING): neither followed nor traded any more")


@pytest.mark.long
def test_the_platform_says_so_too_with_the_limits_that_it_ships_with(tmp_path: Path) -> None:
    """`hydra up` of venue and trader, SIGSTOP to the venue: `hydra status` names every stream whose limit has passed."""
    home = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(home, MarketDescription("synthetic", seed=7, signal=0.3, days=12, start_ms=1_718_236_800_000))
    settings = Settings(data_root=home.root, market=home.market, platform=PlatformSettings(venue_port=24898))

    def lines() -> dict[str, Line]:
        return {line.name: line for line in look(home, settings).lines}

    def wait(true: Callable[[], bool], what: str, within_s: float) -> None:
        clock = SystemClock()
        end = clock.wall_ms() + 1_000 * within_s
        while not true():
            assert clock.wall_ms() < end, (what, lines())
            threading.Event().wait(0.2)

    wanted = {f"stream {name}" for name in STREAMS}
    platform = Platform(home, settings, ["venue", "trader"])
    try:
        with platform:
            platform.wait_ready()
            wait(lambda: all(lines().get(name, Line("", False, "")).healthy for name in wanted), "all healthy", 60)
            record = load_record(home)
            assert record is not None
            os.kill(record.parts["venue"].pid, signal.SIGSTOP)
            try:
                loud = {"stream quotes", "stream marks", "stream book"}
                wait(lambda: all(lines()[name].healthy is False for name in loud), "unhealthy within the limit", 30)
            finally:
                os.kill(record.parts["venue"].pid, signal.SIGCONT)
    finally:
        down(home)
