"""One process that keeps the others running: start in order, watch, restart with growing delay, end all.

The supervisor owns ``run/platform.json``; everybody else only reads it. It holds a lock for its life, so a home has at
most one. Not here: what the parts are (``parts``), how they are asked (``probes``), the handle on it all (``control``).
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

import psutil
from loguru import logger

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import HydraError
from hydra_core.home import Home, home_named
from hydra_core.platform.parts import (
    DAEMON,
    VENUE,
    WEBSERVER,
    Part,
    PartRecord,
    PlatformRecord,
    choose,
    make_parts,
    record_path,
    with_free_ports,
)
from hydra_core.platform.probes import Health, probe
from hydra_core.platform.processes import create_time, end_all, exclusive, is_running, marked, start, sweep
from hydra_core.settings import Settings

TICK_S: Final = 0.2
PROBE_STARTING_S: Final = 0.5
PROBE_READY_S: Final = 5.0
HUNG_AFTER_S: Final = 90.0
"""A part that was ready and answers nothing for this long is killed and started again: dead, only not gone."""
START_PATIENCE_S: Final = 300.0
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""A part that ran this long gets the first delay again."""
STOP_PATIENCE_S: Final = 10.0
_ERROR: Final = re.compile(r"^[\w.]*(Error|Exception|Failure|Held|Missing|Corrupt|Invalid): ")


@dataclass(slots=True)
class _Child:
    part: Part
    record: PartRecord
    process: subprocess.Popen[bytes] | None = None
    delay_s: float = FIRST_DELAY_S
    start_at_ms: int = 0
    probe_at_ms: int = 0
    well_ms: int = 0
    health: Health = field(default_factory=lambda: Health(False, "waiting"))


class Supervisor:
    """Runs the parts of one home until told to stop.

    Parameters
    ----------
    home, settings : the market home and all settings; ports that are taken are replaced by free ones
    parts : names of the parts to run (None: all)
    parent_pid : int or None, end with this process, so that a killed caller leaves nothing behind
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        parts: Sequence[str] | None = None,
        *,
        parent_pid: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.home = home.create()
        self._chosen = choose(home, parts)
        self._given = settings
        self._parent = (parent_pid, create_time(parent_pid)) if parent_pid else None
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._children: dict[str, _Child] = {}
        self._saved = ""

    def stop(self, *_: object) -> None:
        """Ask :meth:`run` to end everything and return."""
        self._stop.set()

    def run(self) -> None:
        """Start the parts and keep them running until :meth:`stop`, a signal or the parent's end.

        Raises
        ------
        LockHeld : the home has a supervisor already
        """
        lock = self.home.run / "supervisor.lock"
        with ExitStack() as kept:
            kept.enter_context(
                exclusive(lock, f"the platform of {self.home.path} is running", "Run `hydra down` first")
            )
            if left := sweep(self.home):
                logger.warning("ended {} processes that an earlier platform left behind", left)
            settings = with_free_ports(self.home, self._given, self._chosen, kept)
            try:
                self._begin(settings)
                with self._signals():
                    while not self._stop.is_set() and self._parent_lives():
                        self._tick(settings)
                        self._stop.wait(TICK_S)
            finally:
                self._end()

    def _begin(self, settings: Settings) -> None:
        now = self._clock.wall_ms()
        for part in make_parts(self.home, settings, self._chosen):
            log = self.home.run / "logs" / f"{part.name}.log"
            self._children[part.name] = _Child(part, PartRecord(part.name, port=part.port, log=str(log)))
        web = settings.platform.webserver_port
        self._record = PlatformRecord(
            market=self.home.market,
            pid=psutil.Process().pid,
            create_time=psutil.Process().create_time(),
            started_wall_ms=now,
            host=settings.platform.host,
            venue_url=settings.venue_url,
            webserver_url=f"http://{settings.platform.host}:{web}" if WEBSERVER in self._children else "",
            parts={name: child.record for name, child in self._children.items()},
        )
        self._save()

    def _tick(self, settings: Settings) -> None:
        now = self._clock.wall_ms()
        for child in self._children.values():
            if child.process is None:
                self._start_when_due(child, now)
            elif (code := child.process.poll()) is not None:
                self._on_exit(child, code, now)
            elif now >= child.probe_at_ms:
                self._ask(child, settings)
        self._save()

    def _start_when_due(self, child: _Child, now: int) -> None:
        waiting_for = [name for name in child.part.after if self._children[name].record.state not in ("ready", "done")]
        # A restart does not wait for others: they may be down for the same reason and come back in any order.
        first = child.record.restarts == 0
        if child.record.state == "done" or now < child.start_at_ms or (first and waiting_for):
            if first and waiting_for:
                child.record.detail = f"waiting for {', '.join(waiting_for)}"
            return
        child.process = start(child.part.command, child.part.environment, Path(child.record.log))
        child.record.pid = child.process.pid
        child.record.create_time = create_time(child.process.pid)
        child.record.started_wall_ms = child.well_ms = now
        child.record.state, child.record.detail = "starting", "starting"
        child.probe_at_ms = now + int(PROBE_STARTING_S * 1000)
        logger.info("started {} (process {})", child.part.name, child.process.pid)

    def _on_exit(self, child: _Child, code: int, now: int) -> None:
        ran_s = (now - child.record.started_wall_ms) / 1000
        child.process = None
        if child.part.once and code == 0:
            child.record.state, child.record.detail = "done", "done"
            return
        if ran_s >= STEADY_AFTER_S:
            child.delay_s = FIRST_DELAY_S
        child.record.state = "restarting"
        child.record.restarts += 1
        child.record.detail = f"ended with {_ending(code)} after {ran_s:.0f} s: {last_line(Path(child.record.log))}"
        child.start_at_ms = now + int(child.delay_s * 1000)
        logger.warning("{} {}; starting again in {:.1f} s", child.part.name, child.record.detail, child.delay_s)
        child.delay_s = min(2 * child.delay_s, LONGEST_DELAY_S)

    def _ask(self, child: _Child, settings: Settings) -> None:
        if child.part.once:
            return
        health = probe(child.record, self.home, settings, self._clock)
        now = self._clock.wall_ms()
        starting = child.record.state == "starting"
        child.record.detail = health.detail
        child.probe_at_ms = now + int((PROBE_STARTING_S if starting and not health.healthy else PROBE_READY_S) * 1000)
        if health.healthy:
            if starting:
                logger.info("{} is ready: {}", child.part.name, health.detail)
            child.record.state, child.well_ms = "ready", now
        elif now - child.well_ms > (START_PATIENCE_S if starting else HUNG_AFTER_S) * 1000 and child.process:
            logger.warning("{} does not answer ({}): killed", child.part.name, health.detail)
            child.process.kill()

    def _parent_lives(self) -> bool:
        return self._parent is None or is_running(*self._parent)

    def _save(self) -> None:
        # Details of ready parts change with every probe (ages, market time): the file is for states, not for those.
        key = repr([(r.name, r.state, r.pid, r.restarts, r.state == "ready" or r.detail) for r in self._records()])
        if key != self._saved:
            self._record.save(self.home)
            self._saved = key

    def _records(self) -> list[PartRecord]:
        return [child.record for child in self._children.values()]

    def _end(self) -> None:
        """First those that start work, then those that do it with their runs, the exchange last."""
        end_all(self._alive(WEBSERVER, DAEMON), STOP_PATIENCE_S)
        venue = {process.pid for process in self._alive(VENUE)}
        end_all([process for process in marked(self.home) if process.pid not in venue], STOP_PATIENCE_S)
        sweep(self.home)
        record_path(self.home).unlink(missing_ok=True)
        logger.info("the platform of {} is down", self.home.market)

    def _alive(self, *names: str) -> list[psutil.Process]:
        children = (self._children[name].process for name in names if name in self._children)
        return [psutil.Process(child.pid) for child in children if child is not None and child.poll() is None]

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def on_signal(number: int, frame: FrameType | None) -> None:
            self.stop()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def last_line(log: Path, most: int = 8_000) -> str:
    """The line of a log's end that says most: the newest error, or else the last line, cut to a readable length."""
    if not log.exists():
        return "no log"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    # Dagster wraps what went wrong in errors of its own, which are printed last and say nothing new.
    errors = [line for line in lines if _ERROR.match(line) and not line.startswith("dagster.")]
    return (errors or lines or ["an empty log"])[-1][:300]


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a supervisor in the foreground; settings come from the environment."""
    parser = argparse.ArgumentParser(prog="python -m hydra_core.platform.supervisor")
    parser.add_argument("--parts", default="", help="comma-separated; empty: all")
    parser.add_argument("--parent", type=int, default=None, help="end with this process")
    given = parser.parse_args(arguments)
    settings = Settings()
    home = home_named(settings.data_root, settings.market)
    parts = [name for name in given.parts.split(",") if name] or None
    try:
        Supervisor(home, settings, parts, parent_pid=given.parent).run()
    except HydraError as error:
        logger.error(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
