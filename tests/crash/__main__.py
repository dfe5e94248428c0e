"""``python -m tests.crash --sessions 300 --jobs 2``: random sessions of killing and restarting, and a line of what was done."""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

from .session import run_once


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
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(asked.jobs, len(seeds)), spawn, max_tasks_per_child=25) as pool:
        waiting = [pool.submit(run_once, seed, asked.keep) for seed in seeds]
        try:
            for number, done in enumerate(as_completed(waiting), 1):
                seed, told, wrong = done.result()
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
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    took = time.perf_counter() - began
    for name, counter in whole.items():
        sys.stdout.write(f"{name}: {', '.join(f'{count} {what}' for what, count in counter.most_common())}\n")
    sys.stdout.write(
        f"{len(seeds) - failed} of {len(seeds)} sessions sound, {orders} orders, {fills} fills, {took:.0f} s\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
