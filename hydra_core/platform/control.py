"""The handle on a platform: start it detached, wait until it is ready, take it down.

Not here: the supervision itself (``supervisor``), launching Dagster runs (``runs``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import psutil

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import DataCorrupt, HydraError, LockHeld
from hydra_core.home import Home
from hydra_core.platform.parts import PartRecord, PlatformRecord, choose, load_record, record_path, venue_url
from hydra_core.platform.processes import child_environment, create_time, end_all, is_running, marked, start, sweep
from hydra_core.platform.runs import RunConsole
from hydra_core.platform.supervisor import STOP_PATIENCE_S, Supervisor, last_line
from hydra_core.settings import Settings

READY: Final = frozenset({"ready", "done"})
TRIES: Final = 3
"""A part that ended this often before everything was ready will not become ready by waiting."""

Progress = Callable[[PlatformRecord], None]


@dataclass(frozen=True, slots=True)
class DownReport:
    """What taking a platform down found: whether a supervisor ran, and how many processes it did not account for."""

    was_running: bool
    orphans: int


class Platform:
    """The processes of one home, as a context: ready inside the block, gone after it.

    Parameters
    ----------
    home, settings : the market home and all settings
    parts : names of the parts to run (None: all)
    tied : end the platform when this process ends, however it ends
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        parts: Iterable[str] | None = None,
        *,
        tied: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.home = home
        self.settings = settings.model_copy(update={"market": home.market, "data_root": home.root.absolute()})
        self.parts = choose(home, parts)
        self._tied = tied
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, patience_s: float = 20.0) -> PlatformRecord:
        """Start the supervisor in a session of its own; a platform that runs already is taken as it is.

        Raises
        ------
        LockHeld : it runs, but without a part that is wanted
        HydraError : the supervisor ended at once
        """
        if (running := self.running()) is not None:
            if absent := set(self.parts) - set(running.parts):
                raise LockHeld(
                    f"the platform of {self.home.path} runs without {sorted(absent)}", "Run `hydra down` first"
                )
            return running
        self.home.create()
        command = [sys.executable, "-m", "hydra_core.platform.supervisor", "--parts", ",".join(self.parts)]
        if self._tied:
            command += ["--parent", str(os.getpid())]
        environment = child_environment(self.home, self.settings, threads=1, venue_url="")
        log = self.home.run / "logs" / "supervisor.log"
        self._process = start(command, environment, log)
        began = create_time(self._process.pid)
        deadline = self._clock.wall_ms() + int(patience_s * 1000)
        while self._clock.wall_ms() < deadline:
            record = self.running()
            if record is not None and record.pid == self._process.pid:
                return record
            if self._process.poll() is not None or not is_running(self._process.pid, began):
                break
            threading.Event().wait(0.05)
        raise HydraError(f"the supervisor did not start: {last_line(log)}", f"See {log}")

    def running(self) -> PlatformRecord | None:
        """The record of the running platform, None when its supervisor is not alive."""
        return running(self.home)

    def wait_ready(self, timeout_s: float = 180.0, on_progress: Progress | None = None) -> PlatformRecord:
        """Block until every part is ready.

        Raises
        ------
        HydraError : a part keeps ending, the supervisor is gone, or the time is over; the part and its log are named
        """
        deadline = self._clock.wall_ms() + int(timeout_s * 1000)
        seen = None
        while True:
            record = self.running()
            if record is None:
                log = self.home.run / "logs" / "supervisor.log"
                raise HydraError(f"the platform of {self.home.path} is not running: {last_line(log)}", f"See {log}")
            states = [(part.name, part.state, part.restarts) for part in record.parts.values()]
            if on_progress and states != seen:
                on_progress(record)
            seen = states
            late = [record.parts[name] for name in self.parts if record.parts[name].state not in READY]
            if not late:
                return record
            self._give_up(late, self._clock.wall_ms() >= deadline, timeout_s)
            threading.Event().wait(0.1)

    def stop(self) -> DownReport:
        """End every process of the home."""
        report = down(self.home)
        if self._process is not None:
            self._process.wait(timeout=STOP_PATIENCE_S)
        return report

    def console(self) -> RunConsole:
        """A console that launches Dagster runs on this platform's code servers.

        It may be opened as soon as the platform is started: what it imports is then loaded while the parts get ready. Nothing
        may be launched before they are.
        """
        record = self.running()
        url = record.venue_url if record else venue_url(self.home, self.settings)
        return RunConsole(self.home, child_environment(self.home, self.settings, threads=1, venue_url=url))

    def __enter__(self) -> Platform:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @staticmethod
    def _give_up(late: list[PartRecord], over: bool, timeout_s: float) -> None:
        broken = next((part for part in late if part.restarts >= TRIES), None)
        if broken:
            raise HydraError(f"{broken.name} does not start: {broken.detail}", f"See {broken.log}")
        if over:
            said = "; ".join(f"{part.name}: {part.detail}" for part in late)
            raise HydraError(f"not ready after {timeout_s:.0f} s: {said}", f"See {late[0].log}")


def running(home: Home) -> PlatformRecord | None:
    """The record of a home's platform while its supervisor is alive, else None.

    An unreadable record counts as none: the supervisor's lock, not this file, keeps a second one out.
    """
    try:
        record = load_record(home)
    except DataCorrupt:
        return None
    return record if record is not None and is_running(record.pid, record.create_time) else None


def run_in_foreground(home: Home, settings: Settings, parts: Iterable[str] | None = None) -> None:
    """Supervise in this process until it is interrupted."""
    Supervisor(home, settings, None if parts is None else tuple(parts)).run()


def down(home: Home) -> DownReport:
    """End the home's platform: its supervisor, every part, and every run or orphan that carries the home's marker."""
    record = running(home)
    if record is not None:
        supervisor = psutil.Process(record.pid)
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisor], timeout=4 * STOP_PATIENCE_S)
        if is_running(record.pid, record.create_time):
            end_all([supervisor], 0.0)
    orphans = len(marked(home))
    sweep(home)
    record_path(home).unlink(missing_ok=True)
    return DownReport(record is not None, orphans)
