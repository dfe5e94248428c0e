"""Latency of a warm live cycle, snapshot to durable commit, beside its unavoidable parts measured bare.

A temporary home, on the disk that real homes lie on, holds eight days of bars; a window run decides on it cycle after
cycle while, between the cycles, the trader's part is played: fresh quotes, marks and a heartbeat every time, new bars and
readings when a bar closes. The bare parts are those no design could leave out: selecting the rows that are new, running
the model where a bar has closed, and one durable SQLite commit of a row as large as the decision's.
"""

from __future__ import annotations

import logging
import sqlite3
import statistics
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import market
from benchmarks.rows import AT_MOST, Report, Row, seconds
from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import Card, ModelRegistry, write_card
from hydra_core.domain.clock import ClockAnchor, SystemClock
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.home import Home
from hydra_core.ledger.livestate import LiveStateWriter
from hydra_core.ledger.store import Ledger
from hydra_core.settings import Settings
from hydra_core.simulation.synthetic import ORIGIN_MS, SyntheticMarket
from hydra_core.window import CycleReport, WindowConfig, run_window

GOAL = 10.0
DAYS = 12
CYCLES = 211
QUICK_CYCLES = 31
GRID_MS = 30_000
NOW_MS = ORIGIN_MS + 10 * DAY_MS
WARM_UP = 11
"""First cycles of a window are not counted: the live state is read whole, the statistics compile."""
_NEW_ROWS = (
    "SELECT pair, ts, open, high, low, close, volume FROM candle WHERE id > ? ORDER BY id",
    "SELECT kind, pair, ts, value FROM series WHERE id > ? ORDER BY id",
)
_NEWEST = ("SELECT * FROM quote", "SELECT * FROM mark", "SELECT name, value FROM meta", "SELECT * FROM health")
_BOOKS = (
    "SELECT * FROM account",
    "SELECT * FROM position",
    "SELECT * FROM latch",
    "SELECT * FROM heartbeat",
    "SELECT * FROM plan ORDER BY cycle_ms DESC LIMIT 1",
)


class SteppedClock:
    """Market time moves a grid step when told; wall time is the machine's."""

    def __init__(self, market_ms: int) -> None:
        self._market, self._wall = market_ms, SystemClock()

    def market_ms(self) -> int:
        return self._market

    def wall_ms(self) -> int:
        return self._wall.wall_ms()

    def wall_seconds_until(self, market_ms: int) -> float:
        return (market_ms - self._market) / 1000

    def step(self) -> None:
        self._market += GRID_MS


class Feed:
    """Plays the trader's part in writing the live state."""

    def __init__(self, home: Home, ledger: Ledger, clock: SteppedClock, source: SyntheticMarket) -> None:
        self.writer, self.ledger, self.clock, self.source = LiveStateWriter(home.live_state), ledger, clock, source
        self.writer.set_clock(ClockAnchor(clock.market_ms(), clock.wall_ms(), 1.0, False))
        self.writer.set_rules({pair: source.rules(pair) for pair in source.pairs})
        start = NOW_MS - (MAX_LOOKBACK_BARS + 300) * FORECAST_INTERVAL.ms
        self.bars(start, NOW_MS)
        self.fresh()

    def bars(self, start_ms: int, end_ms: int) -> None:
        """Every pair's closed bars and slow readings of a span."""
        wall, source = self.clock.wall_ms(), self.source
        for pair in source.pairs:
            self.writer.add_bars(
                pair, FORECAST_INTERVAL, source.candles(pair, FORECAST_INTERVAL, start_ms, end_ms), wall
            )
            self.writer.add_readings(FUNDING, pair, source.funding(pair, start_ms, end_ms), wall)
            self.writer.add_readings(OPEN_INTEREST, pair, source.open_interest(pair, start_ms, end_ms), wall)
            self.writer.add_readings(LONG_SHORT, pair, source.long_short(pair, start_ms, end_ms), wall)

    def fresh(self) -> None:
        """Quotes, marks and a sign of life, now."""
        wall, now = self.clock.wall_ms(), self.clock.market_ms()
        for pair in self.source.pairs:
            self.writer.add_quote(replace(self.source.quote(pair, now), received_wall_ms=wall))
            self.writer.add_mark(replace(self.source.mark(pair, now), received_wall_ms=wall))
        self.writer.flush()
        self.ledger.heartbeat("trader", wall, {})

    def next_cycle(self, _report: CycleReport) -> None:
        """What the trader writes until the next grid point."""
        self.clock.step()
        now = self.clock.market_ms()
        if now % FORECAST_INTERVAL.ms == 0:
            self.bars(now - FORECAST_INTERVAL.ms, now)
        self.fresh()


def forecaster(registry: ModelRegistry, folder: Path) -> str:
    """A quickly trained forecaster of the real shape in the registry; returns its version. Its skill is of no matter."""
    from hydra_core.alpha.forecaster.artifact import write
    from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import train_forecaster

    panel = market.panel(DAYS)
    chosen = FeatureSet().available(panel.inputs)
    columns, target = chosen.compute(panel), labels.scaled_return(panel, 48)
    rows = np.arange(MAX_LOOKBACK_BARS, len(panel) - 60, 12)
    trained = train_forecaster(columns, target, rows[:-20], rows[-20:], NetworkHyper(epochs=1), seed=1)
    calibration = Calibration(0.5, 2.0, np.interp(LEVELS, [0, 1], [-2.0, 2.0]), 0.8, 0.0, 0.0014)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        write(folder, trained, chosen.names, calibration, 48)
    lookback = chosen.lookback + trained.shape.reach
    card = Card(kind=FORECASTER, inputs=tuple(sorted(chosen.inputs)), lookback=lookback, horizon_bars=48)
    write_card(folder, card)
    return registry.save(FORECASTER, folder)


def model_call(registry: ModelRegistry, version: str) -> Callable[[], object]:
    """The network alone on windows that are ready."""
    from hydra_core.alpha.forecaster.artifact import load

    model = load(registry.path(FORECASTER, version), version)
    network: Any = model.parts[0][2]
    windows = np.zeros((8, model.shape.steps, len(model.features)), np.float32)
    ready = {"windows": windows[None] if network.together else windows}
    return lambda: network.session.run(None, ready)


class Bare:
    """The unavoidable parts of each cycle, taken right after it so that a busy disk or machine meets both alike.

    Parameters
    ----------
    home : Home, whose live state and ledger are read and whose disk is written to
    call : the model on ready input, None without one
    """

    def __init__(self, home: Home, call: Callable[[], object] | None) -> None:
        self._live = sqlite3.connect(home.live_state)
        self._books = sqlite3.connect(home.ledger_url.removeprefix("sqlite:///"))
        self._own = sqlite3.connect(home.path / "bare.db", isolation_level=None)
        self._own.execute("PRAGMA journal_mode=WAL")
        self._own.execute("PRAGMA synchronous=FULL")
        self._own.execute("CREATE TABLE decision (cycle_ms INTEGER PRIMARY KEY, body TEXT)")
        self._call = call
        self._seen = [0, 0]
        self._text = ""

    def measure(self, cycle_ms: int, at_close: bool) -> dict[str, float]:
        """Milliseconds of reading, model and commit for the cycle that was just decided."""
        if not self._text:
            sizes = self._books.execute("SELECT length(body) + length(inputs) + length(pins) FROM decision").fetchone()
            self._text = "x" * int(sizes[0])
        taken = {
            "rows": seconds(self._read),
            "model": seconds(self._call) if self._call is not None and at_close else 0.0,
            "durable commit": seconds(partial(self._commit, cycle_ms)),
        }
        self._seen = [self._live.execute(f"SELECT max(id) FROM {name}").fetchone()[0] for name in ("candle", "series")]
        return {name: 1000 * value for name, value in taken.items()}

    def _read(self) -> None:
        for query, seen in zip(_NEW_ROWS, self._seen, strict=True):
            self._live.execute(query, (seen,)).fetchall()
        for query in _NEWEST:
            self._live.execute(query).fetchall()
        for query in _BOOKS:
            self._books.execute(query).fetchall()

    def _commit(self, at: int) -> None:
        self._own.execute("BEGIN IMMEDIATE")
        self._own.execute("INSERT INTO decision VALUES (?, ?)", (at, self._text))
        self._own.execute("COMMIT")

    def close(self) -> None:
        for connection in (self._live, self._books, self._own):
            connection.close()


@dataclass
class Times:
    """Milliseconds of every counted cycle of one sort, and of its bare parts."""

    work: list[float] = field(default_factory=list)
    bare: list[dict[str, float]] = field(default_factory=list)

    def row(self, name: str) -> Row:
        """Medians of both, and of which parts the bare one is made."""
        total = statistics.median(sum(parts.values()) for parts in self.bare)
        parts = ", ".join(f"{part} {statistics.median(one[part] for one in self.bare):.2f}" for part in self.bare[0])
        notes = f"medians of {len(self.work)} cycles of 8 pairs, each followed by its bare parts, ms: {parts}"
        return Row(name, statistics.median(self.work), total, GOAL, "ms", AT_MOST, notes)


def cycles(
    home: Home,
    ledger: Ledger,
    settings: Settings,
    feed: Feed,
    pins: dict[str, str],
    bare: Bare,
    count: int = CYCLES,
) -> dict[bool, Times]:
    """Times per cycle, apart for cycles at a bar's close (True) and between them; ``count`` includes the warm-up."""
    taken = {False: Times(), True: Times()}
    seen = 0

    def on_cycle(told: CycleReport) -> None:
        nonlocal seen
        seen += 1
        at_close = told.cycle_ms % FORECAST_INTERVAL.ms == 0
        parts = bare.measure(told.cycle_ms, at_close)
        if seen > WARM_UP:
            taken[at_close].work.append(told.work_ms)
            taken[at_close].bare.append(parts)
        feed.next_cycle(told)

    config = WindowConfig("bench", pins, f"bench-{len(pins)}", cycles=count, follow_champions=False)
    run_window(config, home, settings, feed.clock, ledger, on_cycle)
    return taken


def measure(report: Report) -> list[Row]:
    """Cycles between bars and at a bar's close, without a model and with a forecaster."""
    rows: list[Row] = []
    disk = Settings().data_root
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=disk) as scratch:
        folder = Path(scratch).absolute()
        report.say("a small forecaster for the live cycle")
        kept = ModelRegistry(folder / "registry")
        version = forecaster(kept, folder / "artifact")
        for name, pins in (("no model", {}), ("forecaster", {FORECASTER: version})):
            report.say(f"live cycles with {name}")
            home = Home(folder, f"home-{len(pins)}").create()
            if pins:
                ModelRegistry(home.models).save(FORECASTER, folder / "artifact")
            with Ledger.open(home.ledger_url) as ledger:
                ledger.open_account("bench", Decimal(10_000), ORIGIN_MS)
                feed = Feed(home, ledger, SteppedClock(NOW_MS), market.market(DAYS))
                bare = Bare(home, model_call(kept, version) if pins else None)
                settings = Settings(data_root=folder, groq_api_key=None)
                count = QUICK_CYCLES if report.quick else CYCLES
                taken = cycles(home, ledger, settings, feed, pins, bare, count)
                bare.close()
                feed.writer.close()
            rows += [
                taken[False].row(f"cycle between bars, {name}"),
                taken[True].row(f"cycle at a bar's close, {name}"),
            ]
    return rows
