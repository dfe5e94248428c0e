"""``python -m tests.scenarios``: run scenarios over seeds and print a row per id.

Environment-free; ``make scenarios ONLY=M SEEDS=n`` is the usual way in.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import traceback
import warnings

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .registry import Scenario, scenarios
from .rig import Rig

LIMIT_S = 120.0
"""A run that takes longer than this hangs: that is a failure too."""


def run_once(scenario: Scenario, seed: int) -> str:
    """Run a scenario with a seed; returns what went wrong, empty when nothing did."""

    async def play() -> None:
        async with asyncio.timeout(LIMIT_S), Rig(seed) as rig:
            await scenario.story(rig, seed)

    try:
        asyncio.run(play())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error or 'no words'} ({last.filename.rpartition('/')[2]}:{last.lineno})"
    return ""


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description="Seeded faults against HYDRA.")
    parser.add_argument("--only", default="", help="ids, or what they begin with, separated by commas: M, F, M13,M14")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 1 on")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--log-level", default="ERROR")
    arguments = parser.parse_args(words)
    logger.remove()
    logger.add(sys.stderr, level=arguments.log_level.upper())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)
    chosen = scenarios(arguments.only)
    seeds = [arguments.seed] if arguments.seed is not None else list(range(1, arguments.seeds + 1))
    out, bar = Console(soft_wrap=True), Console(stderr=True)
    if not chosen or not seeds:
        out.print(f"no scenario begins with {arguments.only!r}" if seeds else "no seeds")
        return 2
    failures: list[str] = []
    passed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar, transient=True, disable=not bar.is_terminal) as progress:
        whole = progress.add_task("", total=sum(len(stories) for stories in chosen.values()) * len(seeds))
        for identity, stories in chosen.items():
            began, wrong = time.perf_counter(), dict[int, str]()
            for seed in seeds:
                for story in stories:
                    progress.update(whole, description=f"{identity} seed {seed}")
                    word = run_once(story, seed)
                    if word:
                        wrong.setdefault(seed, f"{story.name}: {word}")
                    progress.advance(whole)
            good = len(seeds) - len(wrong)
            passed += not wrong
            took = (time.perf_counter() - began) / len(seeds)
            title = "; ".join(dict.fromkeys(story.title for story in stories))
            out.print(f"{identity}  {good:>4}/{len(seeds):<4} {took:6.2f} s  {title}", markup=False, highlight=False)
            for seed, word in wrong.items():
                failures.append(identity)
                out.print(f"      {word}", markup=False, highlight=False)
                out.print(f"      again: make scenarios ONLY={identity} SEED={seed}", markup=False, highlight=False)
    failed = len(chosen) - passed
    out.print(f"{passed} passed, {failed} failed", markup=False, highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
