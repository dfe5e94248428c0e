"""Playing one run of an id, here or in processes of its own that end with whoever started them. Not here: what is told of it.

A process plays one run after another, each in an event loop of its own. It ends when its parent says so, is interrupted or
dies, and clears up first: the venue it serves, its clients and its folder go with it.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from loguru import logger

from .registry import Scenario, scenarios
from .rig import Rig

LIMIT_S = 120.0
"""A story that takes longer than this hangs: that is a failure too."""
CLEAR_UP_S = 15.0
"""What a process gets to clear up before it is killed."""


@dataclass(frozen=True, slots=True)
class Run:
    """All stories of an id with one seed."""

    identity: str
    seed: int


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a run: words on what went wrong, empty when nothing did, and the wall seconds it took."""

    wrong: str
    seconds: float


def quieten(log_level: str) -> None:
    """Have HYDRA's log and Python's warnings say no more than is asked for."""
    logger.remove()
    logger.add(sys.stderr, level=log_level.upper())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)


def play(run: Run) -> Played:
    """Play a run in this process; an interruption is raised once the story has cleared up."""
    began, wrong = time.perf_counter(), ""
    for story in scenarios(run.identity)[run.identity]:
        wrong = wrong or _told(story, run.seed)
    return Played(wrong, time.perf_counter() - began)


def _told(story: Scenario, seed: int) -> str:
    try:
        asyncio.run(_tell(story, seed))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise KeyboardInterrupt from None
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename.rpartition('/')[2]}:{last.lineno}"
        return f"{story.name}: {type(error).__name__}: {error or 'no words'} ({place})"
    return ""


async def _tell(story: Scenario, seed: int) -> None:
    parent, task = multiprocessing.parent_process(), asyncio.current_task()
    if parent is not None and task is not None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        loop.add_reader(parent.sentinel, task.cancel)  # readable once the parent is gone
    async with asyncio.timeout(LIMIT_S), Rig(seed) as rig:
        await story.story(rig, seed)


def _work(orders: Connection, log_level: str) -> None:
    """The life of a process: runs come in, what came of them goes out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which says when to stop
    quieten(log_level)
    try:
        while True:
            orders.send(play(orders.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


class Crew:
    """Processes that play runs side by side; use it as a context manager, which leaves none behind.

    Parameters
    ----------
    jobs : int, processes
    log_level : str, of each
    """

    def __init__(self, jobs: int, log_level: str) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._jobs = jobs
        self._log_level = log_level
        self._workers: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        workers = list(self._workers.values())
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(CLEAR_UP_S)
            worker.kill()
            worker.join()

    def play(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Played]]:
        """Play runs, begun in order; each comes as it ends. A process that dies of a run is a failure of that run."""
        waiting, playing = iter(runs), dict[Connection, Run]()

        def engage() -> None:
            run = next(waiting, None)
            if run is not None:
                ours = self._hire()
                ours.send(run)
                playing[ours] = run

        for _ in range(min(self._jobs, len(runs))):
            engage()
        while playing:
            for ours in wait(list(playing)):
                assert isinstance(ours, Connection)
                run = playing.pop(ours)
                try:
                    yield run, ours.recv()
                except EOFError:
                    worker = self._workers.pop(ours)
                    worker.join()
                    yield run, Played(f"its process ended by itself with {worker.exitcode}", 0.0)
                    engage()
                    continue
                following = next(waiting, None)
                if following is not None:
                    ours.send(following)
                    playing[ours] = following

    def _hire(self) -> Connection:
        ours, theirs = self._context.Pipe()
        worker = self._context.Process(target=_work, args=(theirs, self._log_level), name="scenario", daemon=True)
        worker.start()
        theirs.close()
        self._workers[ours] = worker
        return ours
