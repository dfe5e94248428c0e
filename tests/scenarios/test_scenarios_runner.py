"""The scenario runner over several processes: a row per id in order, and nothing of it left when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hydra_core.domain.clock import SystemClock

from . import __main__ as command
from .plays import Crew, Played, Run

ROOT = Path(__file__).parents[2]


def runner(*words: str, folder: Path) -> subprocess.Popen[str]:
    """The runner in a session of its own, with its temporary files below a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.scenarios", *words], cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def members(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text().rpartition(") ")
        except OSError:
            continue  # it ended meanwhile
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(true: Callable[[], bool], what: str, within_s: float = 90.0) -> None:
    clock = SystemClock()
    end = clock.wall_ms() + 1_000 * within_s
    while not true():
        assert clock.wall_ms() < end, what
        threading.Event().wait(0.02)


def test_rows_are_told_in_order_whatever_ends_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs that end in reverse, one of them wrong: every row stands in its place, with the way to see the failure again."""

    class Backwards(Crew):
        def play(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Played]]:
            for run in reversed(runs):
                yield run, Played("m_protocol.drifting_clock: AssertionError: no" if run == Run("M01", 2) else "", 0.5)

    monkeypatch.setattr(command, "Crew", Backwards)
    assert command.main(["--only", "M39,M01", "--seeds", "3", "--jobs", "2"]) == 1
    rows = capsys.readouterr().out.splitlines()
    assert re.match(r"M01 +2/3 +0\.50 s  \S", rows[0])
    assert rows[1:3] == [
        "      m_protocol.drifting_clock: AssertionError: no",
        "      again: make scenarios ONLY=M01 SEED=2",
    ]
    assert re.match(r"M39 +3/3 +0\.50 s  \S", rows[3])
    assert rows[4:] == ["1 passed, 1 failed"]


@pytest.mark.long
def test_rows_come_from_several_processes(tmp_path: Path) -> None:
    with runner("--only", "M39,M01", "--seeds", "2", "--jobs", "2", folder=tmp_path) as parent:
        rows = parent.communicate(timeout=120)[0].splitlines()
    assert [re.match(r"(M\d\d) +2/2 +\d+\.\d\d s  \S", row).group(1) for row in rows[:2]] == ["M01", "M39"]  # type: ignore[union-attr]
    assert rows[2:] == ["2 passed, 0 failed"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.long
@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process(word: signal.Signals, tmp_path: Path) -> None:
    """Two stories that take seconds are under way; the signal goes to the parent alone."""
    with runner("--only", "M08", "--seeds", "8", "--jobs", "2", folder=tmp_path) as parent:
        try:
            wait_until(
                lambda: len(list(tmp_path.glob("rig-*/venue/*"))) >= 2 or parent.poll() is not None, "two at play"
            )
            assert parent.poll() is None
            assert len(members(parent.pid)) >= 3
            parent.send_signal(word)
            assert parent.wait(60) == (130 if word is signal.SIGINT else -word)
            wait_until(lambda: not members(parent.pid), "no process left")
            assert list(tmp_path.glob("rig-*")) == [], "its folders are left"
        finally:
            for one in members(parent.pid):
                os.kill(one, signal.SIGKILL)
