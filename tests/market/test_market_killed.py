"""A backfill killed with -9 at random moments, again and again, ends with the content hashes of one clean run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from served_venue import LocalVenue

from hydra_core.domain.intervals import DAY_MS, iso
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.tables import EXCHANGE_TABLES, REFERENCE_TABLES, TABLES
from hydra_core.home import home_named
from hydra_core.lake.collect import collect
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint
from hydra_core.platform.markets import MarketDescription, describe_home

MONTHS = ("2024-06", "2024-07")
PAIRS = (Pair("BTCUSDT"), Pair("ADAUSDT"))
SHORT = ("candles_1m", "candles_5m", "candles_1h", "funding")


def collecting(url: str, root: Path, now_ms: int, told: Any) -> None:
    """What the killed process does; every step is told through a pipe."""
    collect(
        Endpoint(base_url=url), Lake(root, "binanceusdm"), PAIRS, MONTHS, SHORT, now_ms,
        progress=lambda *word: told.send(word), limits=root.parent / "limits",
    )  # fmt: skip
    told.close()


def hashes(lake: Lake) -> dict[tuple[str, str, str], tuple[str, bool]]:
    return {
        (table, pair, month): (entry.content_hash, entry.closed)
        for table in TABLES
        for pair, months in lake.entries(table).items()
        for month, entry in months.items()
    }


def files(lake: Lake) -> int:
    """Files that are whole; one that a kill left half-written has another name."""
    return sum(1 for _ in lake.root.rglob("*.parquet"))


def run_and_kill(command: list[str], environment: dict[str, str], lake: Lake, more: int, rest_s: float) -> bool:
    """Start it, kill it some time after it has added so many files; whether it was killed before its end."""
    goal = files(lake) + more
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stderr is not None
    with contextlib.suppress(subprocess.TimeoutExpired):
        while child.poll() is None and files(lake) < goal:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.01)
        child.wait(rest_s)
    child.send_signal(signal.SIGKILL)
    said = child.communicate()[1]
    assert child.returncode in (0, -signal.SIGKILL), said.decode()
    return child.returncode == -signal.SIGKILL


def check(lake: Lake, wanted: dict[tuple[str, str, str], tuple[str, bool]]) -> None:
    assert hashes(lake) == wanted
    assert lake.verify() == []
    entries = [
        (table, entry) for table in TABLES for months in lake.entries(table).values() for entry in months.values()
    ]
    assert {str(path) for path in lake.root.rglob("*.parquet")} == {str(lake.path(*each)) for each in entries}
    assert not list(lake.root.rglob("*.tmp"))


def test_a_collection_killed_at_random_ends_as_if_nothing_had_happened(venue: LocalVenue, tmp_path: Path) -> None:
    clean, hit = Lake(tmp_path / "clean", "binanceusdm"), Lake(tmp_path / "hit" / "lake", "binanceusdm")
    collect(venue.endpoint, clean, PAIRS, MONTHS, SHORT, venue.now_ms)
    rng, killed = random.Random(11), 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ccxt.pro", "hydra_core.lake.collect"])
    steps = len(PAIRS) * len(MONTHS) * len(SHORT)
    for turn in range(4):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=collecting, args=(venue.url, hit.root, venue.now_ms, theirs))
        child.start()
        theirs.close()
        if turn == 3:
            child.join()
            assert child.exitcode == 0
        else:
            with contextlib.suppress(EOFError):  # nothing was left to do
                for _ in range(rng.randint(0, steps - 2)):
                    ours.recv()
            child.join(rng.random() * 0.03)
            child.kill()
            child.join()
            killed += child.exitcode == -signal.SIGKILL
        ours.close()
    forkserver._forkserver._stop()  # it would outlive the test run by a moment
    assert killed, "it was never killed: the test proves nothing"
    check(hit, hashes(clean))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_hydra_backfill_killed_ten_times_has_the_hashes_of_one_clean_run(venue: LocalVenue, tmp_path: Path) -> None:
    """The command itself, every pair and every table that the exchange has."""
    homes = [home_named(tmp_path / name, "synthetic-7-0.3").create() for name in ("clean", "hit")]
    for home in homes:
        describe_home(home, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=venue.now_ms))
    command = [
        sys.executable, "-m", "hydra_core.cli.main", "backfill", "--pairs", "all",
        "--from", MONTHS[0] + "-01", "--to", iso(venue.now_ms + DAY_MS)[:10], "--market", "synthetic-7-0.3", "--json",
    ]  # fmt: skip
    environments = [
        {**os.environ, "HYDRA_DATA_ROOT": str(home.root), "HYDRA_VENUE_URL": venue.url, "COLUMNS": "80"}
        for home in homes
    ]
    subprocess.run(command, env=environments[0], check=True, capture_output=True, cwd=tmp_path)
    wanted = hashes(Lake(homes[0].lake, "binanceusdm"))
    assert {table for table, _, _ in wanted} == {*EXCHANGE_TABLES, *REFERENCE_TABLES}
    assert {pair for _, pair, _ in wanted} == set(DEFAULT_PAIRS)
    lake, rng, kills, starts = Lake(homes[1].lake, "binanceusdm"), random.Random(5), 0, 0
    while kills < 10 and starts < 40:
        share = (
            2 * (len(wanted) - files(lake)) // (10 - kills + 1)
        )  # spread over the whole run, from its first file to its last
        kills += run_and_kill(command, environments[1], lake, rng.randint(0, max(share, 1)), rng.random())
        starts += 1
        assert lake.verify() == [], "what a kill left is whole"
    assert kills == 10
    subprocess.run(command, env=environments[1], check=True, capture_output=True, cwd=tmp_path)
    check(lake, wanted)
