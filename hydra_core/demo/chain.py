"""The stages of a demo in their order, each reported as it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

from hydra_core.alpha.registry import ModelRegistry
from hydra_core.demo.market import open_recorded, open_synthetic
from hydra_core.demo.pacing import START_SPEED, Governor
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import HydraError, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, months_between
from hydra_core.home import Home
from hydra_core.lake.store import Lake
from hydra_core.ledger.records import STRATEGY
from hydra_core.ledger.store import Ledger
from hydra_core.market.venue_clock import PATIENCE_S, read_anchor, set_clock
from hydra_core.platform.control import READY, Platform
from hydra_core.platform.markets import MarketDescription
from hydra_core.platform.parts import DAEMON, LIVE, RESEARCH, STORAGE, TRADER, VENUE, PlatformRecord
from hydra_core.platform.runs import RunConsole, RunEvent, RunOutcome
from hydra_core.report.account import view_account
from hydra_core.report.build import write_report
from hydra_core.report.research import Research, latest_research
from hydra_core.settings import Settings

PARTS: Final = (VENUE, STORAGE, RESEARCH, LIVE, TRADER, DAEMON)
MAX_PAPER_S: Final = 3_600
"""Wall seconds after which a paper session that has fallen far behind is ended."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run on.

    Parameters
    ----------
    replay : folder of recorded history, None for a synthetic market
    signal, seed : of the synthetic market
    days : days of history to collect and train on
    hours : venue hours to trade on paper
    balance : USDT of the fresh paper account
    """

    replay: Path | None = None
    signal: float = 0.3
    seed: int = 7
    days: int = 120
    hours: float = 12.0
    balance: Decimal = Decimal(10_000)


class Stage(Protocol):
    """Where a demo reports to: one call per step of one stage."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` steps of ``stage`` are finished."""
        ...


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demo found; :meth:`to_json` is the object that ``--json`` prints."""

    market: str
    synthetic: bool
    candles: int
    checks: dict[str, int]
    candidates: list[dict[str, Any]]
    champions: list[dict[str, str]]
    backtest: dict[str, Any]
    paper: dict[str, Any]
    why_flat: str
    report: str
    elapsed_s: float
    stages: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON-able object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def run_demo(options: DemoOptions, settings: Settings, tell: Stage) -> DemoResult:
    """Collect, check, train, validate and trade on paper, on the project's own Dagster instance.

    Raises
    ------
    UsageError : an option is out of range, a replay folder is not usable
    HydraError : a stage failed; its run stays visible in the web UI
    """
    clock = SystemClock()
    began = clock.wall_ms()
    stages: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = clock.wall_ms()
        yield
        stages[name] = round((clock.wall_ms() - start) / 1000, 1)

    tell("market", 0, 1)
    home, market = _open(options, settings)
    settings = settings.model_copy(
        update={
            "market": home.market,
            "platform": settings.platform.model_copy(update={"live_sensor": False}),
        }
    )
    with Ledger.open(settings.database_url or home.ledger_url) as ledger:
        account = ledger.open_account("paper", options.balance, market.start_ms or 0)
        tell("market", 1, 1, home.market)
        platform = Platform(home, settings, PARTS, tied=True)
        try:
            with ExitStack() as kept:
                with timed("start"):
                    url = platform.start().venue_url
                    console = kept.enter_context(platform.console())
                    _wait(platform, tell)
                with timed("collect"):
                    checks = _collect(console, url, market, settings, tell)
                with timed("research"):
                    _research(console, url, tell)
                with timed("paper"):
                    _paper(console, url, ledger, account.name, settings, options.hours, tell)
            set_clock(url, speed=market.speed)  # held, but at its own pace once somebody lets it go on
        finally:
            tell("stop", 0, 1)
            platform.stop()
            tell("stop", 1, 1)
        tell("report", 0, 1)
        found = latest_research(home)
        report = write_report(home, ledger, account.name, settings)
        worth = view_account(home, ledger, account.name, settings).equity
        tell("report", 1, 1, str(report))
        return _result(
            home, options, ledger, account.name, checks, found, report, worth, stages, clock.wall_ms() - began
        )


def _open(options: DemoOptions, settings: Settings) -> tuple[Home, MarketDescription]:
    if options.replay is not None:
        return open_recorded(settings, options.replay, options.days, options.hours)
    return open_synthetic(settings, options.seed, options.signal, options.days)


def _wait(platform: Platform, tell: Stage) -> None:
    """Until every part is ready; the venue is held from the moment it answers."""
    held = False

    def on_progress(record: PlatformRecord) -> None:
        nonlocal held
        ready = [part.name for part in record.parts.values() if part.state in READY]
        waiting = [name for name in record.parts if name not in ready]
        if VENUE in ready and not held:
            set_clock(record.venue_url, held=True)
            held = True
        tell("start", len(ready), len(record.parts), ", ".join(waiting))

    platform.wait_ready(on_progress=on_progress)


def _collect(
    console: RunConsole, url: str, market: MarketDescription, settings: Settings, tell: Stage
) -> dict[str, int]:
    """Collect the market's tables and check them; returns how the blocking checks came out."""
    as_of = read_anchor(url, timeout_s=PATIENCE_S).market_ms
    start = as_of - (market.days or 0) * DAY_MS
    start -= start % (4 * HOUR_MS)
    checks = {"passed": 0, "failed": 0}

    def on_event(event: RunEvent) -> None:
        if event.progress:
            tell("collect", *event.progress, event.message)
        if event.kind == "asset_check_evaluation" and event.blocking:
            checks["passed" if event.passed else "failed"] += 1
            tell("checks", checks["passed"], sum(checks.values()), event.step)

    outcome = console.run(
        "collect",
        "hydra_research",
        config={"market/*": {"as_of_ms": as_of, "start_ms": start, "end_ms": as_of}},
        months=months_between(start, as_of),
        pairs=settings.pairs,
        on_event=on_event,
    )
    _insist(outcome, "collecting and checking the market")
    return checks


def _research(console: RunConsole, url: str, tell: Stage) -> None:
    """Train, validate and promote what passes."""
    as_of = read_anchor(url, timeout_s=PATIENCE_S).market_ms

    def on_event(event: RunEvent) -> None:
        if event.progress:
            tell("research", *event.progress, event.message)

    config = {"research/dataset": {"as_of_ms": as_of}}
    _insist(console.run("research", "hydra_research", config=config, on_event=on_event), "training and validating")


def _paper(
    console: RunConsole,
    url: str,
    ledger: Ledger,
    account: str,
    settings: Settings,
    hours: float,
    tell: Stage,
) -> None:
    """Let the venue run and decide on its grid until the hours are over."""
    step_ms = settings.decision.interval_s * 1000
    total = int(hours * HOUR_MS / step_ms)
    governor = Governor(ledger, account, STRATEGY, step_ms, lambda speed: set_clock(url, speed=speed))

    def on_event(event: RunEvent) -> None:
        if event.kind == "step_start":
            set_clock(url, speed=START_SPEED, held=False)

    config = {
        "live/decisions": {
            "account": account,
            "window_s": MAX_PAPER_S,
            "window_market_s": int(hours * 3600),
            "observe_every": 120,
        }
    }
    pool = ThreadPoolExecutor(1, thread_name_prefix="window")
    try:
        window = pool.submit(console.run, "live_window", "hydra_live", config=config, on_event=on_event)
        while not wait([window], timeout=0.5).done:
            speed = governor.tick()
            equity = ledger.account(account).equity
            decided = ledger.count_decisions(account)
            tell("paper", decided, total, f"equity {equity:.2f} USDT, {speed:.0f}x")
    finally:
        _hold(url)
        pool.shutdown(wait=False)  # interrupted: the run ends with its platform, waiting for it here would never end
    tell("paper", ledger.count_decisions(account), total, "")
    _insist(window.result(), "trading on paper")


def _hold(url: str) -> None:
    """Stop the market, so that nothing moves while the session is summed up; a venue that is gone stands still anyway."""
    try:
        set_clock(url, held=True)
    except VenueUnavailable:
        return


def _insist(outcome: RunOutcome, doing: str) -> None:
    if not outcome.succeeded:
        raise HydraError(
            f"{doing} failed (run {outcome.run_id[:8]}, {outcome.status}): {outcome.error or 'see its log'}",
            "`hydra up` shows the run in the web UI",
        )


def _result(
    home: Home,
    options: DemoOptions,
    ledger: Ledger,
    account: str,
    checks: dict[str, int],
    found: Research,
    report: Path,
    worth: float,
    stages: dict[str, float],
    elapsed_ms: int,
) -> DemoResult:
    lake = Lake(home.lake, settings_venue(home))
    candles = sum(
        entry.rows
        for table in lake.tables()
        if table.startswith("candles_")
        for months in lake.entries(table).values()
        for entry in months.values()
    )
    champions = ModelRegistry(home.models).champions()
    decided = ledger.count_decisions(account)
    orders = ledger.orders(account, limit=1_000_000)
    fills = ledger.fills(account, limit=1_000_000)
    missed = sum(span.points for span in ledger.missed(account, STRATEGY))
    return DemoResult(
        market=home.market,
        synthetic=options.replay is None,
        candles=candles,
        checks=checks,
        candidates=found.candidates,
        champions=[{"kind": kind, "version": version} for kind, version in sorted(champions.items())],
        backtest={**found.backtest, "trades": int(found.backtest["trades"])} if found.backtest else {},
        paper={
            "cycles": decided + missed,
            "decisions": decided,
            "missed": missed,
            "orders": len(orders),
            "fills": len(fills),
            "equity": worth,
        },
        why_flat="" if fills else found.why_flat,
        report=str(report),
        elapsed_s=round(elapsed_ms / 1000, 1),
        stages=stages,
    )


def settings_venue(home: Home) -> str:
    """Name of the exchange whose tables the home's lake holds."""
    return next((path.name.removeprefix("venue=") for path in home.lake.glob("*/venue=*")), "binanceusdm")
