"""Children get the caller's settings, carry the home's marker, and can all be found and ended by it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from hydra_core.domain.errors import LockHeld, UsageError
from hydra_core.home import Home, home_named
from hydra_core.platform.processes import (
    MARKER,
    child_environment,
    exclusive,
    free_port,
    listens,
    marked,
    port_is_free,
    reserve_port,
    start,
    sweep,
)
from hydra_core.settings import PlatformSettings, RiskSettings, Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_named(tmp_path, "synthetic-7-0.3").create()


def test_a_child_has_the_very_settings_of_its_parent(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that were set by hand, and although the parent's own environment says otherwise."""
    monkeypatch.setenv("HYDRA_RISK__KELLY_FRACTION", "0.5")
    settings = Settings(
        data_root=home.root,
        market=home.market,
        pairs=("BTCUSDT", "ETHUSDT"),
        risk=RiskSettings(kelly_fraction=0.125),
        platform=PlatformSettings(venue_port=9001, live_sensor=False),
        venue_url="http://127.0.0.1:9001",
    )
    code = "from hydra_core.settings import Settings; print(Settings().model_dump_json())"
    environment = child_environment(home, settings, threads=1, venue_url=settings.venue_url)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    ours = json.loads(settings.model_dump_json())
    assert json.loads(done.stdout) == ours
    assert environment["HYDRA_MARKET"] == home.market
    assert environment["OMP_NUM_THREADS"] == "1"


def test_every_process_with_the_marker_is_ended_grandchildren_and_deaf_ones_too(home: Home) -> None:
    """A child ignores SIGTERM, its child is in a session of its own: after the sweep both are gone."""
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
        "print('up', flush=True); time.sleep(600)"
    )
    environment = child_environment(home, Settings(data_root=home.root), threads=1, venue_url="")
    log = home.run / "logs" / "deaf.log"
    child = start([sys.executable, "-c", code], environment, log)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        deadline = psutil.Process(child.pid)
        while len(marked(home)) < 2 or "up" not in log.read_text():
            assert deadline.is_running()
        assert sweep(home, patience_s=0.5) == 2
        assert marked(home) == []
        child.wait(timeout=5)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_marker_of_another_home_is_left_alone(home: Home, tmp_path: Path) -> None:
    other = home_named(tmp_path, "synthetic-8-0.3").create()
    environment = child_environment(other, Settings(data_root=home.root), threads=1, venue_url="")
    assert environment[MARKER] != str(home.path)
    child = start([sys.executable, "-c", "import time; time.sleep(600)"], environment, other.run / "a.log")
    try:
        assert sweep(home) == 0
        assert child.poll() is None
    finally:
        sweep(other)
        child.wait()


def test_a_lock_names_its_holder_and_is_free_after_it(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    owner = psutil.Process().pid
    with (
        exclusive(path, "it is held", "End it"),
        pytest.raises(LockHeld, match=rf"it is held \(process {owner}\)\. End it"),
        exclusive(path, "it is held", "End it"),
    ):
        pytest.fail("a second holder")
    with exclusive(path, "it is held", "End it"):
        pass


def test_a_taken_port_is_passed_over_for_the_next_free_one() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        assert not port_is_free("127.0.0.1", taken)
        found = free_port("127.0.0.1", taken)
        assert found > taken
        assert free_port("127.0.0.1", taken, taken=[found]) > found
        with pytest.raises(UsageError, match="no free port"):
            free_port("127.0.0.1", taken, tries=1)


def test_two_platforms_never_share_a_port_even_before_either_listens() -> None:
    """Both look at the same free port in the same moment: the second is given the next one, and the first when it is gone."""
    wanted = 27_900
    with ExitStack() as first:
        ours = reserve_port("127.0.0.1", wanted, first)
        with ExitStack() as second:
            assert reserve_port("127.0.0.1", wanted, second) > ours
    with ExitStack() as third:
        assert reserve_port("127.0.0.1", wanted, third) == ours


def test_an_answer_on_the_port_by_another_program_does_not_count() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        me = psutil.Process()
        assert listens(me.pid, port)
        assert not listens(me.ppid(), port)
