"""``python -m tests.scenarios``: run scenarios over seeds and print a row per id.

Environment-free; ``make scenarios ONLY=M SEEDS=n`` is the usual way in.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .plays import Crew, Played, Run, play, quieten
from .registry import scenarios

JOBS_A_CORE = 3
"""Stories wait more than they compute: so many side by side keep a core busy and still get their turn in time."""
RUNS_A_JOB = 8
"""Fewer runs than this are not worth the start of a process."""


def usual_jobs(runs: int) -> int:
    """Processes for so many runs on this machine."""
    return max(1, min(JOBS_A_CORE * (os.cpu_count() or 1), runs // RUNS_A_JOB))


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description="Seeded faults against HYDRA.")
    parser.add_argument("--only", default="", help="ids, or what they begin with, separated by commas: M, F, M13,M14")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 1 on")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--jobs", type=int, default=0, help="processes side by side; by default what suits the machine")
    parser.add_argument("--log-level", default="CRITICAL", help="of what HYDRA logs meanwhile")
    arguments = parser.parse_args(words)
    quieten(arguments.log_level)
    chosen = scenarios(arguments.only)
    seeds = [arguments.seed] if arguments.seed is not None else list(range(1, arguments.seeds + 1))
    out = Console(soft_wrap=True)
    if not chosen or not seeds:
        out.print(f"no scenario begins with {arguments.only!r}" if seeds else "no seeds")
        return 2
    runs = [Run(identity, seed) for identity in chosen for seed in seeds]
    jobs = arguments.jobs if arguments.jobs > 0 else usual_jobs(len(runs))
    failed = 0
    try:
        with closing(_played(runs, jobs, arguments.log_level)) as ends:
            for identity, told in _by_id(ends, list(chosen), seeds):
                wrong = {seed: told[seed].wrong for seed in seeds if told[seed].wrong}
                failed += bool(wrong)
                took = sum(one.seconds for one in told.values()) / len(seeds)
                title = "; ".join(dict.fromkeys(story.title for story in chosen[identity]))
                score = f"{len(seeds) - len(wrong):>4}/{len(seeds):<4}"
                out.print(f"{identity}  {score} {took:6.2f} s  {title}", markup=False, highlight=False)
                for seed, word in wrong.items():
                    out.print(f"      {word}", markup=False, highlight=False)
                    out.print(f"      again: make scenarios ONLY={identity} SEED={seed}", markup=False, highlight=False)
    except KeyboardInterrupt:
        out.print("interrupted", markup=False, highlight=False)
        return 130
    out.print(f"{len(chosen) - failed} passed, {failed} failed", markup=False, highlight=False)
    return 1 if failed else 0


def _played(runs: Sequence[Run], jobs: int, log_level: str) -> Generator[tuple[Run, Played]]:
    """Every run with what came of it, as it ends, under a bar on standard error where that is a terminal."""
    bar = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar, transient=True, disable=not bar.is_terminal) as progress:
        whole = progress.add_task("", total=len(runs))
        if jobs == 1:
            ends: Iterator[tuple[Run, Played]] = ((run, play(run)) for run in runs)
            for end in ends:
                progress.update(whole, description=f"{end[0].identity} seed {end[0].seed}", advance=1)
                yield end
            return
        with Crew(jobs, log_level) as crew:
            for end in crew.play(runs):
                progress.update(whole, description=f"{end[0].identity} seed {end[0].seed}", advance=1)
                yield end


def _by_id(
    ends: Iterator[tuple[Run, Played]], identities: Sequence[str], seeds: Sequence[int]
) -> Iterator[tuple[str, dict[int, Played]]]:
    """Ids in their order, each as soon as all its seeds have been played."""
    told: dict[str, dict[int, Played]] = defaultdict(dict)
    due = 0
    for run, played in ends:
        told[run.identity][run.seed] = played
        while due < len(identities) and len(told[identities[due]]) == len(seeds):
            yield identities[due], told[identities[due]]
            due += 1


if __name__ == "__main__":
    sys.exit(main())
