"""``python -m tests.crash --sessions 300 --jobs 2``: random sessions of killing and restarting, and a line of what was done."""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from .session import Told, run_once

SESSIONS_A_PROCESS = 25


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill the trader, start it again.")
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--keep", default="", help="a folder in which every session's own is kept")
    asked = parser.parse_args(words)
    seeds = [asked.seed] if asked.seed is not None else list(range(asked.first, asked.first + asked.sessions))
    began, failed = time.perf_counter(), 0
    whole = {"lives": Counter[str](), "ends": Counter[str](), "acts": Counter[str]()}
    orders = fills = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the pool ends with this process
    for number, (seed, told, wrong) in enumerate(_played(seeds, asked.jobs, asked.keep), 1):
        if told is None:
            failed += 1
            sys.stdout.write(f"seed {seed}: {wrong}\n      again: python -m tests.crash --seed {seed}\n")
        else:
            for name, counter in whole.items():
                counter.update(getattr(told, name))
            orders, fills = orders + told.orders, fills + told.fills
        if number % 20 == 0 or told is None:
            sys.stdout.write(f"{number} of {len(seeds)} sessions, {failed} failed\n")
            sys.stdout.flush()
    took = time.perf_counter() - began
    for name, counter in whole.items():
        sys.stdout.write(f"{name}: {', '.join(f'{count} {what}' for what, count in counter.most_common())}\n")
    sys.stdout.write(
        f"{len(seeds) - failed} of {len(seeds)} sessions sound, {orders} orders, {fills} fills, {took:.0f} s\n"
    )
    return 1 if failed else 0


def _played(seeds: list[int], jobs: int, keep: str) -> Iterator[tuple[int, Told | None, str]]:
    """Every session as it ends. Each batch has fresh processes, so that none grows old.

    Not ``max_tasks_per_child``: a pool of Python 3.11 can lose its last worker to it and then waits for ever.
    """
    spawn = multiprocessing.get_context("spawn")
    for batch in (seeds[at : at + jobs * SESSIONS_A_PROCESS] for at in range(0, len(seeds), jobs * SESSIONS_A_PROCESS)):
        with ProcessPoolExecutor(min(jobs, len(batch)), spawn) as pool:
            waiting = [pool.submit(run_once, seed, keep) for seed in batch]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


if __name__ == "__main__":
    sys.exit(main())
