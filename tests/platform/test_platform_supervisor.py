"""A real platform of one code server: it comes up, survives a kill, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import HydraError, LockHeld, UsageError
from hydra_core.home import Home, home_named
from hydra_core.platform.control import Platform, down, running
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.platform.parts import PARTS, choose, load_record, record_path
from hydra_core.platform.processes import is_running, marked
from hydra_core.platform.status import look
from hydra_core.settings import PlatformSettings, Settings


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=1_727_740_800_000))
    yield made
    down(made)


def settings_for(home: Home) -> Settings:
    ports = PlatformSettings(live_port=24267, research_port=24266, webserver_port=24300, venue_port=24899)
    return Settings(data_root=home.root, market=home.market, platform=ports)


def eventually(question: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    clock = SystemClock()
    deadline = clock.wall_ms() + within_s * 1000
    while not question():
        assert clock.wall_ms() < deadline, what
        threading.Event().wait(0.05)


def test_a_killed_part_is_started_again_and_down_leaves_no_process(home: Home) -> None:
    """kill -9 of the code server: another process serves seconds later, counted as a restart; then all is ended."""
    platform = Platform(home, settings_for(home), ["live"])
    with platform:
        first = platform.wait_ready().parts["live"]
        os.kill(first.pid, signal.SIGKILL)

        def came_back() -> bool:
            record = platform.running()
            part = record.parts["live"] if record else None
            return part is not None and part.restarts == 1 and part.state == "ready" and part.pid != first.pid

        eventually(came_back, "the part was not started again")
        said = look(home, platform.settings)
        live = next(each for each in said.lines if each.name == "live")
        assert (said.running, live.healthy) == (True, True)
        assert "started again 1 times" in live.detail
        again = Platform(home, platform.settings, ["live"]).start()
        assert again.pid == platform.running().pid
        with pytest.raises(LockHeld, match="runs without"):
            Platform(home, platform.settings, ["live", "research"]).start()
    assert marked(home) == []
    assert load_record(home) is None
    assert not look(home, platform.settings).running


def test_a_tied_platform_ends_with_its_caller_even_when_that_is_killed(home: Home) -> None:
    code = f"""
        import sys, threading
        from pathlib import Path
        from hydra_core.home import home_named
        from hydra_core.platform.control import Platform
        from hydra_core.settings import PlatformSettings, Settings
        settings = Settings(platform=PlatformSettings(live_port=24367))
        Platform(home_named(Path({str(home.root)!r}), {home.market!r}), settings, ["live"], tied=True).start()
        print("up", flush=True)
        threading.Event().wait()
    """
    caller = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "up\n"
    record = running(home)
    assert record is not None
    caller.kill()
    caller.wait()
    caller.stdout.close()
    eventually(lambda: not is_running(record.pid, record.create_time), "the supervisor outlived its caller")
    eventually(lambda: marked(home) == [], "a process outlived its caller")


def test_what_a_killed_supervisor_leaves_is_ended_by_down(home: Home) -> None:
    platform = Platform(home, settings_for(home), ["live"])
    record = platform.start()
    eventually(lambda: platform.running().parts["live"].pid != 0, "the part was not started")
    os.kill(record.pid, signal.SIGKILL)
    eventually(lambda: running(home) is None, "the killed supervisor counts as running")
    assert record_path(home).exists()
    report = down(home)
    assert (report.was_running, report.orphans) == (False, 1)
    assert marked(home) == []


@pytest.mark.long
def test_a_part_that_cannot_start_is_named_with_what_it_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code breaks while loading: waiting ends early, the message holds the cause and the log's place."""
    monkeypatch.chdir(_package_that_breaks(home.root))
    platform = Platform(home, settings_for(home), ["live"])
    platform.start()
    with pytest.raises(HydraError, match=r"live does not start: .*broken on purpose.*live\.log"):
        platform.wait_ready()
    platform.stop()


def _package_that_breaks(folder: Path) -> Path:
    """A folder whose package comes before the real one in the code server's path."""
    package = folder / "shadow" / "hydra_dagster"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    return package.parent


def test_the_parts_follow_from_what_is_asked_and_from_the_market(home: Home) -> None:
    assert choose(home) == PARTS
    assert choose(home, ["daemon"]) == ("storage", "daemon")
    with pytest.raises(UsageError, match="unknown parts"):
        choose(home, ["webserer"])
    exchange = home_named(home.root, "binanceusdm")
    assert "venue" not in choose(exchange)
