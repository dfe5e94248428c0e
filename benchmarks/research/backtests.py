"""Pair-bars a second of the compiled backtest engine beside vectorbt's compiled signal simulation.

A pair-bar is one bar of one pair: 8 pairs x 100,000 bars are 800,000 of them, each counted once a parameter set. The two do
not do the same work, and the harder part is ours: sizing, votes, exposure, stops, margin, funding and kill switches at every
bar for all pairs together. vectorbt turns ready-made entries and exits into orders of given sizes with a fee.

vectorbt is two to three times faster freshly compiled than from numba's cache, so both run in a process of their own with an
empty cache (``engine_beside_vectorbt``), and are compiled before the clock starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec

from benchmarks.rows import Disagreement, Report, Row

RATE = 25e6
"""Pair-bars a second that the engine is to reach."""
ENGINE_GOAL = 5.0
SWEEP_GOAL = 8.0
NAMES = ("backtest engine, against its rate", "backtest engine", "sweep of 64 parameter sets")


def measure(report: Report) -> list[Row]:
    """Three rows: the engine against its rate, beside vectorbt, and 64 parameter sets beside vectorbt."""
    if find_spec("vectorbt") is None:
        for name in NAMES:
            report.leave_out(name, "vectorbt is not installed; `make bench` installs it (pip install -e '.[bench]')")
        return []
    report.say("backtest engine beside vectorbt, both compiled afresh")
    with tempfile.TemporaryDirectory() as cache:
        told = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.research.engine_beside_vectorbt",
                *(["--quick"] if report.quick else []),
            ],
            env={**os.environ, "NUMBA_CACHE_DIR": cache, "NUMBA_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    seen = json.loads(told.stdout.splitlines()[-1])
    if "disagreement" in seen:
        raise Disagreement(seen["disagreement"])
    job = f"{seen['pairs']} pairs x {seen['bars']:,} bars, 1 thread, process CPU seconds"
    same = f"same trades in both to {seen['apart']:.1g} of profit ({seen['trades']:,} round trips)"
    return [
        Row(
            NAMES[0],
            seen["engine"],
            RATE,
            1.0,
            "pair-bars/s",
            notes=f"{job}; everything on, arrays laid flat before ({seen['prepare_s']:.2f} s, not counted); "
            f"compiled in {seen['compile_s']:.0f} s, once a checkout",
        ),
        Row(
            NAMES[1],
            seen["engine"],
            seen["vectorbt"],
            ENGINE_GOAL,
            "pair-bars/s",
            notes=f"{job}; vectorbt {seen['version']} from_signals alone; on the job that both can do ours makes "
            f"{seen['engine_same']:,.0f}; {same}",
        ),
        Row(
            NAMES[2],
            seen["sweep"],
            seen["vectorbt_sweep"],
            SWEEP_GOAL,
            "pair-bars/s",
            notes=f"{job}; vectorbt in eight chunks of eight sets",
        ),
    ]
