"""Running the rows: seed by seed, in a few processes, every reading kept as soon as it is made, so a stopped run goes on.

Not here: what the rows are (``rows``), how they are shown (``cli.research``).
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from hydra_core import __version__
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Floats
from hydra_core.research.dataset import content_key
from hydra_core.research.outofsample import Progress, quiet
from hydra_core.research.trials import Journal, read_lockbox
from hydra_core.research.truth.measures import Reading, null_run_on
from hydra_core.research.truth.realdata import span_of
from hydra_core.research.truth.rows import ROWS, Row, Spec, combine

NULL: Final = "null"
READINGS: Final = "readings.jsonl"
FIRST_SEED: Final = 70_001
"""Seeds of this release's table; no choice in the code was made on them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Parameters
    ----------
    quick : one seed a row (ten research runs each), and a row falls short only where its interval excludes the goal
    seeds : fresh seeds; a row that needs more goes on from the last
    only : words, one of which is in the key or name of each row wanted; all rows where empty
    data : folder of recorded history, for null histories made of it by random signs and for the rows on real data
    later : folder of the sealed period that follows it: models learn from ``data`` and are judged here, once
    """

    quick: bool = False
    seeds: tuple[int, ...] = ()
    only: tuple[str, ...] = ()
    data: Path | None = None
    later: Path | None = None

    @classmethod
    def of(
        cls,
        *,
        quick: bool = False,
        seeds: tuple[int, ...] = (),
        only: tuple[str, ...] = (),
        data: Path | None = None,
        later: Path | None = None,
    ) -> Plan:
        """A plan; raises UsageError when its words name no row, or a later period without what precedes it."""
        plan = cls(quick, seeds, only, data, later)
        if not plan.named:
            raise UsageError(f"no row named {', '.join(only)}", f"Rows: {', '.join(spec.key for spec in ROWS)}")
        if later is not None and data is None:
            raise UsageError("--later without --data", "Give the folder that models learn from as --data")
        return plan

    @property
    def named(self) -> tuple[Spec, ...]:
        """The rows wanted."""
        return tuple(s for s in ROWS if not self.only or any(word in s.key or word in s.name for word in self.only))

    @property
    def rows(self) -> tuple[Spec, ...]:
        """Those of them that can be measured with what is at hand."""
        return tuple(spec for spec in self.named if spec.recorded is None or self.data is not None)

    @property
    def absent(self) -> dict[str, str]:
        """The other ones, and why."""
        why = "needs recorded history: --data FOLDER with candles/1h and candles/5m"
        return {spec.name: why for spec in self.named if spec not in self.rows}

    def seeds_of(self, spec: Spec) -> tuple[int, ...]:
        """The seeds of a row."""
        count = spec.quick if self.quick else max(spec.seeds, len(self.seeds))
        given = self.seeds[:count] or (FIRST_SEED,)
        return (*given, *(given[-1] + more for more in range(1, count - len(given) + 1)))

    def size_of(self, spec: Spec) -> int:
        """The size of a row."""
        return spec.quick_size if self.quick and spec.quick_size else spec.size


@dataclass(frozen=True)
class Table:
    """The rows that were measured, and why others were not."""

    rows: tuple[Row, ...]
    absent: dict[str, str]


def measure(plan: Plan, folder: Path, *, jobs: int = 2, fresh: bool = False, progress: Progress = quiet) -> Table:
    """Measure every row of a plan.

    Parameters
    ----------
    folder : where readings are kept; those of the same code, row, size and seed are not made again
    jobs : processes at once; with one everything is done here
    fresh : forget earlier readings
    """
    journal = Journal(folder / READINGS)
    if fresh and journal.path.exists():
        journal.path.unlink()
    known = _newest(journal)
    # A reading that was kept before a row was read off it does not hold that row's part: it is made again.
    parts = {spec.key: {one.part for one in ROWS if one.part and one.source == spec.key} for spec in ROWS}
    sources = {spec.source for spec in plan.rows}
    wanted = [(spec, seed) for spec in ROWS if spec.key in sources for seed in plan.seeds_of(spec)]
    todo = [(spec, seed) for spec, seed in wanted if not _kept(known.get(_key(plan, spec, seed)), parts[spec.key])]
    done = len(wanted) - len(todo)
    if plan.later is not None and todo:
        read_lockbox(folder, span_ms=span_of(plan.later), kind="recorded history", version=content_key(__version__))
    progress("readings", done, len(wanted))

    def keep(spec: Spec, seed: int, reading: Reading) -> None:
        nonlocal done
        key = _key(plan, spec, seed)
        journal.add(key, {"row": spec.key, "seed": seed, **reading.to_json()}, again=key in known)
        done += 1
        progress(f"{spec.name}, seed {seed}", done, len(wanted))

    if jobs == 1:
        for spec, seed in todo:
            keep(spec, seed, _measure(spec, seed, plan.size_of(spec), plan.data, plan.later))
    else:
        _in_processes(plan, todo, jobs, keep)
    known = _newest(journal)
    made = [
        combine(spec, [_reading(known[_key(plan, spec, seed)], spec) for seed in plan.seeds_of(spec)], quick=plan.quick)
        for spec in plan.rows
    ]
    return Table(tuple(made), plan.absent)


def _in_processes(plan: Plan, todo: list[tuple[Spec, int]], jobs: int, keep: Any) -> None:
    """Readings by several processes; longest rows first, so that none is waited for alone at the end."""
    context = multiprocessing.get_context("spawn")
    queue = sorted(todo, key=lambda one: one[0].recorded is None)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        running: dict[Future[Reading], tuple[Spec, int]] = {}
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    spec, seed = queue.pop(0)
                    asked = pool.submit(_measure_named, spec.key, seed, plan.size_of(spec), plan.data, plan.later)
                    running[asked] = (spec, seed)
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for one in ended:
                    keep(*running.pop(one), one.result())
        except BaseException:
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def _one_thread() -> None:
    """A process of the pool keeps to one core."""
    import os

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def _measure_named(key: str, seed: int, size: int, data: Path | None, later: Path | None) -> Reading:
    return _measure(next(spec for spec in ROWS if spec.key == key), seed, size, data, later)


def _measure(spec: Spec, seed: int, size: int, data: Path | None, later: Path | None) -> Reading:
    measure = spec.measure
    if data is not None and spec.recorded is not None:
        measure = spec.recorded(data, later)
    elif data is not None and spec.key == NULL:
        measure = null_run_on(_hourly(data))
    if measure is None:
        raise UsageError(f"{spec.name} needs recorded history", "Give --data FOLDER")
    return measure(seed, size)


@cache
def _hourly(folder: Path) -> Floats:
    """Hourly log returns (n, Q) of every recorded pair over the hours that all of them know."""
    from hydra_core.simulation import open_market

    market = open_market("recorded", folder, 20)
    bars = [market.candles(pair, Interval.H1, 0, market.end_ms or 0) for pair in market.pairs]
    shared = bars[0].ts
    for one in bars[1:]:
        shared = np.intersect1d(shared, one.ts)
    close = np.stack([one.close[np.searchsorted(one.ts, shared)] for one in bars], axis=1)
    return np.asarray(np.diff(np.log(close), axis=0))


def _key(plan: Plan, spec: Spec, seed: int) -> str:
    kind = f"{spec.key}+signs" if spec.key == NULL and plan.data else spec.source
    if spec.recorded is not None:
        kind += f"@{content_key(str(plan.data), str(plan.later))[:8]}"
    return f"{kind}/{plan.size_of(spec)}/{seed}/{content_key(__version__, spec.source)[:8]}"


def _newest(journal: Journal) -> dict[str, dict[str, Any]]:
    """The newest reading of each key; one that was made again has its number behind a #."""
    return {row["key"].partition("#")[0]: row for row in journal.records()}


def _kept(row: dict[str, Any] | None, parts: set[str]) -> bool:
    """Whether a reading is there with the parts that other rows are read off."""
    return row is not None and parts <= row["notes"].get("parts", {}).keys()


def _reading(row: dict[str, Any], spec: Spec) -> Reading:
    if spec.part:
        return Reading(**row["notes"]["parts"][spec.part])
    return Reading(row["ours"], row["reference"], row["value"], row["error"], row["notes"])
