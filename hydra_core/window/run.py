"""The loop of a window run: an absolute grid of market time, one durable decision per point, none twice.

Reads as a timetable; what a cycle does is in ``cycle``, holding the lease in ``lease``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from pydantic import SecretStr

from hydra_core import __version__
from hydra_core.alpha.analyst import AnalystDesk
from hydra_core.alpha.models import Models, load_models
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError, InputMissing, LeaseLost
from hydra_core.domain.intervals import FORECAST_INTERVAL, HOUR_MS, iso
from hydra_core.domain.market import MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision, Pins
from hydra_core.home import Home
from hydra_core.ledger import codec
from hydra_core.ledger.doorbell import ring
from hydra_core.ledger.livestate import LiveStateClock, LiveStateReader
from hydra_core.ledger.records import TRADER, DecisionRecord, lease_name
from hydra_core.ledger.store import Ledger
from hydra_core.settings import Settings
from hydra_core.window.config import CycleReport, WindowConfig, WindowSummary
from hydra_core.window.cycle import (
    LIMITS_BLOB,
    RULES_BLOB,
    Assessor,
    CycleInputs,
    Frame,
    Kept,
    halt_reason,
    make_decision,
    unmarked,
)
from hydra_core.window.lease import ChampionWatch, Lease, stopping_on_terminate, take_lease

T = TypeVar("T")

_NAP_S: Final = 0.1
_SETTLE_S: Final = 1.5
"""Longest wall wait for a bar that has closed but not arrived; never more than a third of the grid's step."""
_CLOCK_BACK_MS: Final = HOUR_MS
"""A market clock further behind the last decision than this is another market's, not a restarted venue's."""


def run_window(
    config: WindowConfig,
    home: Home,
    settings: Settings,
    clock: Clock | None,
    ledger: Ledger,
    on_cycle: Callable[[CycleReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    desk: AnalystDesk | None = None,
) -> WindowSummary:
    """Decide grid point after grid point until the window is over; the lease is given back whatever happens.

    Parameters
    ----------
    config : WindowConfig
    home : Home, market home with the live state and the model registry
    settings : Settings
    clock : Clock or None, None: the clock that the trader writes into the live state
    ledger : Ledger, open
    on_cycle : called after every commit
    should_stop : asked several times a second; True ends the window after its cycle (SIGTERM does too, where unhandled)
    desk : where analyses come from; None: a language model's where the settings hold its key, else none (rules only)

    Raises
    ------
    LockHeld : another run holds the lease
    InputMissing : the trader has never run in this home
    """
    with ExitStack() as stack:
        stop = stack.enter_context(stopping_on_terminate(should_stop))
        reader = stack.enter_context(LiveStateReader(home.live_state, settings.pairs))
        if clock is None:
            clock = stack.enter_context(LiveStateClock(home.live_state))
        ttl_ms = settings.platform.lease_ttl_s * 1000
        name = lease_name(config.account, config.strategy)
        lease = take_lease(ledger, name, config.run_id, clock, ttl_ms, config.lease_wait_s, stop)
        if lease is None:
            return WindowSummary(config.run_id, "stopped", 0, 0, 0, None, None)
        stack.callback(lease.release)
        registry = ModelRegistry(home.models)
        models = load_models(
            registry,
            config.pins,
            now_ms=clock.market_ms(),
            max_age_days=settings.decision.max_champion_age_days,
        )
        if desk is None and settings.groq_api_key is not None:
            desk = stack.enter_context(_language_desk(home, settings, settings.groq_api_key, clock))
        lease.keep()
        window = _Window(config, settings, clock, ledger, reader, lease, models, on_cycle, desk, home.run)
        watch = ChampionWatch(registry, dict(config.pins)) if config.follow_champions else None
        return window.run(watch, stop)


def _language_desk(home: Home, settings: Settings, key: SecretStr, clock: Clock) -> AnalystDesk:
    from hydra_core.alpha.analyst.cache import AnswerCache
    from hydra_core.alpha.analyst.groq_client import GroqAnalyst
    from hydra_core.lake.external import NEWS_VENUE, headlines_at
    from hydra_core.lake.store import open_lake

    news = partial(headlines_at, open_lake(home.lake, NEWS_VENUE, settings.lake_url))
    analyst = GroqAnalyst(settings.analyst, key, clock, AnswerCache(home.analyst_answers))
    return AnalystDesk(analyst, settings.analyst.ttl_s * 1000, news)


class _Window:
    """The state of one run."""

    def __init__(
        self,
        config: WindowConfig,
        settings: Settings,
        clock: Clock,
        ledger: Ledger,
        reader: LiveStateReader,
        lease: Lease,
        models: Models,
        on_cycle: Callable[[CycleReport], None] | None,
        desk: AnalystDesk | None,
        bell: Path,
    ) -> None:
        self._config = config
        self._bell = bell
        self._settings = settings
        self._clock = clock
        self._ledger = ledger
        self._reader = reader
        self._lease = lease
        self._models = models
        self._on_cycle = on_cycle
        self._desk = desk
        self._considered: Panel | None = None
        self._frame = Frame.of(settings, models)
        self._limits_blob = self._keep(LIMITS_BLOB, self._frame.kept())
        self._rules: Mapping[Pair, MarketRules] | None = None
        self._rules_blob = ""
        self._assessor = Assessor(models, self._frame.limits)
        self._pins = Pins(dict(config.pins), settings.decision_hash, __version__)
        self._step_ms = settings.decision.interval_s * 1000
        self._last = ledger.last_cycle(config.account, config.strategy)
        self._started_wall = clock.wall_ms()
        self._started_market = clock.market_ms()
        self._reports: list[tuple[int, float]] = []
        self._outcomes: Counter[str] = Counter()
        self._modes: Counter[str] = Counter()
        self._missed = self._plans = 0
        self._first: int | None = None
        if self._last is not None and self._started_market < self._last - _CLOCK_BACK_MS:
            raise HydraError(
                f"market time is {iso(self._started_market)}, the last decision was made at {iso(self._last)}",
                "This ledger belongs to another run of the market: open a fresh account, or use its own home",
            )

    def run(self, watch: ChampionWatch | None, stop: Callable[[], bool]) -> WindowSummary:
        """Decide until something ends the window."""
        ended = ""
        try:
            while not ended:
                if watch is not None and watch.changed():
                    ended = "champions changed"
                elif self._config.cycles is not None and len(self._reports) >= self._config.cycles:
                    ended = "cycles done"
                else:
                    ended = self._await_next(stop)
                if not ended:
                    self._cycle()
        except LeaseLost:
            ended = "lease lost"
        return WindowSummary(
            run_id=self._config.run_id,
            ended=ended,
            decided=len(self._reports),
            missed=self._missed,
            plans=self._plans,
            first_cycle_ms=self._first,
            last_cycle_ms=self._last if self._first is not None else None,
            outcomes=dict(self._outcomes),
            modes=dict(self._modes),
            latency_ms=tuple(latency for latency, _ in self._reports),
            work_ms=tuple(work for _, work in self._reports),
            absent=dict(self._models.absent),
        )

    def _await_next(self, stop: Callable[[], bool]) -> str:
        """Wait for the next undecided grid point, keeping the lease; returns why the window ends, or nothing."""
        while True:
            now = self._clock.market_ms()
            current = now - now % self._step_ms
            due = current if self._last is None else max(current, self._last + self._step_ms)
            ahead_s = max(0.0, self._clock.wall_seconds_until(due))
            if stop():
                return "stopped"
            if self._over(due, ahead_s):
                return "window over"
            if now >= due:
                return ""
            self._lease.keep()
            time.sleep(min(ahead_s, _NAP_S))

    def _over(self, due: int, ahead_s: float) -> bool:
        """Whether the next grid point lies beyond the window; a held market is waited out."""
        config = self._config
        if config.window_market_s is not None and due >= self._started_market + config.window_market_s * 1000:
            return True
        if config.window_s is None:
            return False
        spent_s = (self._clock.wall_ms() - self._started_wall) / 1000
        return spent_s + (ahead_s if ahead_s != float("inf") else 0.0) >= config.window_s

    def _cycle(self) -> None:
        """Decide the current grid point; those that were passed over are booked as missed."""
        began_wall, began = self._clock.wall_ms(), time.perf_counter()
        now = self._clock.market_ms()
        cycle_ms = now - now % self._step_ms
        lag_s = -self._clock.wall_seconds_until(cycle_ms)
        grid_wall = began_wall if self._last is None else max(self._started_wall, began_wall - int(lag_s * 1000))
        if self._last is not None and cycle_ms > self._last + self._step_ms:
            first_missed = self._last + self._step_ms
            reason = "the cycle before took too long" if self._reports else "no window was running"
            self._miss(first_missed, cycle_ms - self._step_ms, reason)
        settled_s = self._settle(cycle_ms)
        try:
            inputs, decision = self._decide(cycle_ms)
        except InputMissing as error:
            self._miss(cycle_ms, cycle_ms, str(error))
            return
        record = DecisionRecord(
            account=self._config.account,
            strategy=self._config.strategy,
            decision=decision,
            pins=self._pins,
            inputs=codec.encode(inputs),
            run_id=self._config.run_id,
            latency_ms=self._clock.wall_ms() - grid_wall,
            committed_wall_ms=self._clock.wall_ms(),
        )
        fresh = self._ledger.commit_decision(record, self._lease.claim, self._lease.ttl_ms)
        self._lease.renewed()
        self._last = cycle_ms
        if fresh:
            if decision.plan is not None:
                ring(self._bell)
            work_ms = (time.perf_counter() - began - settled_s) * 1000
            self._tell(CycleReport(cycle_ms, decision, self._clock.wall_ms() - grid_wall, work_ms))

        if self._desk is not None:
            self._consult(self._desk, self._reader.panel(cycle_ms))

    def _consult(self, desk: AnalystDesk, panel: Panel) -> None:
        """Ask the analyst about a new bar, after the commit: the answer is for later cycles."""
        if panel is not self._considered:
            self._considered = panel
            desk.consider(panel)

    def _tell(self, report: CycleReport) -> None:
        self._first = report.cycle_ms if self._first is None else self._first
        self._reports.append((report.latency_ms, report.work_ms))
        self._outcomes.update(report.outcomes)
        self._modes[report.mode.value] += 1
        self._plans += report.decision.plan is not None
        if self._on_cycle is not None:
            self._on_cycle(report)

    def _settle(self, cycle_ms: int) -> float:
        """Wait a moment for a bar that closes at this very grid point to arrive; returns the wall seconds waited."""
        self._reader.refresh()
        if cycle_ms % FORECAST_INTERVAL.ms:
            return 0.0
        began = time.perf_counter()
        step_s = self._clock.wall_seconds_until(cycle_ms + self._step_ms)
        limit_s = min(_SETTLE_S, max(0.0, step_s) / 3)
        while not self._reader.complete(cycle_ms) and time.perf_counter() - began < limit_s:
            time.sleep(min(0.01, limit_s / 4))
            self._reader.refresh()
        return time.perf_counter() - began

    def _decide(self, cycle_ms: int) -> tuple[CycleInputs, Decision]:
        reader, ledger, account = self._reader, self._ledger, self._config.account
        readings, wall_ms = reader.readings(), self._clock.wall_ms()
        panel = reader.panel(cycle_ms)
        panel_hash, assessment = self._assessor.of(panel, readings.rules)
        with ledger.at_once():
            portfolio = ledger.portfolio(account, {pair: mark.mark for pair, mark in readings.marks.items()}, cycle_ms)
            standing, beat = ledger.standing_plan(account, cycle_ms), ledger.heartbeats().get(TRADER)
        risk = self._settings.risk
        inputs = CycleInputs(
            cycle_ms=cycle_ms,
            wall_ms=wall_ms,
            watermarks=reader.watermarks(),
            capture_start_ms=reader.capture_start_ms(),
            panel_hash=panel_hash,
            quotes=self._known(readings.quotes),
            marks=self._known(readings.marks),
            rules_blob=self._rules_of(readings.rules),
            limits_blob=self._limits_blob,
            portfolio=portfolio,
            standing=standing,
            faults=unmarked(portfolio, readings.marks),
            halt=halt_reason(beat, wall_ms, risk.max_heartbeat_age_s),
            analyses=self._desk.all(cycle_ms) if self._desk is not None else {},
        )
        return inputs, make_decision(inputs, panel, readings.rules, self._models, self._frame.limits, assessment)

    def _known(self, readings: Mapping[Pair, T]) -> dict[Pair, T]:
        return {pair: readings[pair] for pair in self._settings.pairs if pair in readings}

    def _rules_of(self, rules: Mapping[Pair, MarketRules]) -> str:
        """Hash of the rules in force, kept in the ledger when they are new."""
        if rules is not self._rules:
            self._rules, self._rules_blob = rules, self._keep(RULES_BLOB, Kept.of(codec.dumps(rules)))
        return self._rules_blob

    def _keep(self, kind: str, kept: Kept) -> str:
        self._ledger.keep_blob(kept.digest, kind, kept.text)
        return kept.digest

    def _miss(self, first_ms: int, last_ms: int, reason: str) -> None:
        points = (last_ms - first_ms) // self._step_ms + 1
        config = self._config
        self._ledger.record_missed(
            config.account, config.strategy, first_ms, last_ms, points, reason, self._lease.claim
        )
        self._missed += points
        self._last = last_ms
