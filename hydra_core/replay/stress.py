"""A crash lived through by the real trader: positions forced on at the allowed size, then nothing but its own rules.

The market is recorded history, walked through bar by bar as the local venue walks it; window, desk, guard, kill switches and
paper broker are the ones that trade. Not here: any rule; what is judged here is only what came of them. The page is made in
``report.stress``.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from hydra_core.decision.assessment import maintenance_rates
from hydra_core.decision.rules import CUT_SHARE
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import FORECAST_INTERVAL, MINUTE_MS, iso
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode
from hydra_core.execution.rounding import floor_quantity
from hydra_core.execution.slippage import taker_cost
from hydra_core.home import Home
from hydra_core.replay.stage import Stage
from hydra_core.risk.exposure import gross_cap, trimmed
from hydra_core.risk.limits import Limits
from hydra_core.risk.sizing import leverage_cap, size
from hydra_core.risk.switches import DAY_LOSS, DRAWDOWN, SWITCHES, day_lost, drawn_down
from hydra_core.settings import Settings
from hydra_core.simulation import Market
from hydra_core.statistics.state import layer2

BEFORE_MS: Final = 5 * MINUTE_MS
"""Market time that passes undisturbed before the positions are forced on."""
TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Sample:
    """The account after one tick; money in USDT."""

    ts_ms: int
    equity: float
    gross: float
    cap: float
    largest: float
    positions: int
    mode: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in words."""

    ts_ms: int
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that has to hold, and what was found."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class StressRun:
    """One crash; money in USDT.

    Parameters
    ----------
    entered_ms : market time at which the positions were forced on
    side : +1 long, -1 short
    balance : equity at the beginning
    forced : signed base units by pair
    samples : the account tick by tick
    prices : by pair, mark over mark at entry, at the samples' times
    events : orders, fills, switches, modes
    verdicts : what has to hold
    """

    entered_ms: int
    side: int
    balance: float
    forced: Mapping[Pair, float]
    samples: Sequence[Sample]
    prices: Mapping[Pair, Sequence[float]]
    events: Sequence[Event]
    verdicts: Sequence[Verdict]

    @property
    def holds(self) -> bool:
        """Whether everything that has to hold does."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def final(self) -> Sample:
        """The account at the end."""
        return self.samples[-1]

    @property
    def lowest(self) -> float:
        """Lowest equity seen."""
        return min(sample.equity for sample in self.samples)

    def to_json(self) -> dict[str, Any]:
        """The run as plain data, without the curves."""
        return {
            "entered": iso(self.entered_ms),
            "side": "long" if self.side > 0 else "short",
            "balance": self.balance,
            "forced": {pair: quantity for pair, quantity in self.forced.items()},
            "lowest_equity": round(self.lowest, 2),
            "final_equity": round(self.final.equity, 2),
            "events": [{"time": iso(event.ts_ms), "what": event.what} for event in self.events],
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "holds": self.holds,
        }


@dataclass
class _Watch:
    """Writes down what every tick left."""

    stage: Stage
    risk: Any
    samples: list[Sample] = field(default_factory=list)
    marks: dict[Pair, list[float]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    tripped: dict[str, int] = field(default_factory=dict)
    limits: tuple[float, float] = (math.nan, math.nan)
    first_breach: dict[str, tuple[int, float]] = field(default_factory=dict)
    mode: Mode = Mode.ACTIVE

    def tick(self, mode: Mode) -> None:
        """After one round of the trader: the guard judged ``guard.equity``, then orders went out."""
        stage, guard = self.stage, self.stage.session.guard
        now = stage.clock.market_ms()
        booked = stage.ledger.account(stage.account)
        peak, day = float(booked.peak_equity), float(booked.day_start_equity)
        for name, lost, start, limit in (
            (DAY_LOSS, day_lost, day, self.risk.day_loss_limit),
            (DRAWDOWN, drawn_down, max(peak, guard.equity), self.risk.drawdown_limit),
        ):
            if lost(guard.equity, start, limit):
                self.first_breach.setdefault(name, (now, start * (1 - limit)))
        for name in stage.ledger.latched(stage.account):
            if name not in self.tripped:
                self.tripped[name] = now
                self.events.append(Event(now, f"kill switch {name}: {guard.trips.get(name, '')}"))
        if mode is not self.mode:
            self.events.append(Event(now, f"mode {self.mode.value} -> {mode.value}"))
            self.mode = mode
        held = guard.positions()
        marks = stage.view.mark_prices()
        notionals = [abs(float(one.quantity)) * marks[pair] for pair, one in held.items()]
        for pair in stage.pairs:
            self.marks.setdefault(pair, []).append(marks[pair])
        self.samples.append(
            Sample(
                now,
                guard.equity,
                sum(notionals),
                gross_cap(guard.equity, self.risk),
                max(notionals, default=0.0),
                len(held),
                mode.value,
            )
        )


def stress(
    market: Market,
    settings: Settings,
    entered_ms: int,
    *,
    side: int = 1,
    balance: Decimal = Decimal(10_000),
    hours: float = 2.0,
    folder: Path | None = None,
) -> StressRun:
    """Force positions on at the allowed size, and let the real trader live through what follows.

    Parameters
    ----------
    market : Market, that holds the span
    settings : Settings; its limits are the ones in force
    entered_ms : market time of the positions, a multiple of the decision interval
    side : +1 long in every pair, -1 short
    balance : USDT
    hours : market time that follows
    folder : Path, optional, where the ledger of the run is kept; left out: it is thrown away

    Raises
    ------
    UsageError : the market does not hold the span
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = folder or Path(scratch)
        begin = FORECAST_INTERVAL.floor(entered_ms - BEFORE_MS)
        name = f"stress-{iso(entered_ms)[:16].replace(':', '').lower()}-{'long' if side > 0 else 'short'}"
        limits = Limits(settings.decision, settings.risk, settings.costs, settings.training.horizon_bars)
        with Stage(market, Home(root, name), settings, begin, balance) as stage:
            watch = _Watch(stage, settings.risk)
            stage.on_tick = watch.tick
            stage.run(entered_ms)
            forced, stops = allowed(stage, limits, side)
            stage.force(forced, stops)
            watch.events.append(Event(entered_ms, _told(forced, stage)))
            watch.samples.clear()
            watch.marks.clear()
            stage.run(entered_ms + int(hours * 60 * MINUTE_MS))
            return _run(stage, watch, entered_ms, side, float(balance), forced)


def allowed(stage: Stage, limits: Limits, side: int) -> tuple[dict[Pair, float], dict[Pair, float]]:
    """The largest positions that the exposure limits leave standing, and their stops.

    Sizes are what the risk brain cuts an oversized book down to; stops lie where a position of the horizon's volatility
    gets its own.
    """
    pairs = stage.pairs[: limits.risk.max_positions]
    marks = stage.view.mark_prices()
    equity = stage.session.guard.equity
    oversized = [side * 2 * limits.risk.max_position_notional / marks[pair] for pair in pairs]
    room = CUT_SHARE * min(1.0, limits.decision.resize_band)
    kept = trimmed(oversized, [marks[pair] for pair in pairs], equity, limits.risk, room)
    panel = stage.panel()
    state = layer2(panel, 1)
    columns = [panel.pairs.index(pair) for pair in pairs]
    deviation = state.volatility[:, columns] * math.sqrt(limits.horizon_bars)
    sized = size(
        np.full_like(deviation, side * 10 * limits.round_trip),
        np.ones_like(deviation),
        deviation,
        deviation,
        np.ones(len(pairs)),
        leverage_cap(state.regimes[:, columns], limits),
        maintenance_rates(pairs, limits.under({pair: stage.market.rules(pair) for pair in pairs})),
        limits,
    )
    if not np.isfinite(sized.stop_distance).all():
        raise UsageError(
            f"{stage.market.name} has {len(panel)} bars before {iso(stage.clock.market_ms())}: volatility is not known yet",
            "Take a later moment, or more history",
        )
    quantities = {
        pair: float(floor_quantity(quantity, stage.market.rules(pair)))
        for pair, quantity in zip(pairs, kept, strict=True)
    }
    distances = sized.stop_distance[-1].tolist()
    return quantities, {
        pair: marks[pair] * (1 - side * distance) for pair, distance in zip(pairs, distances, strict=True)
    }


def _run(
    stage: Stage, watch: _Watch, entered_ms: int, side: int, balance: float, forced: Mapping[Pair, float]
) -> StressRun:
    fills = sorted(stage.ledger.fills(stage.account, limit=100_000), key=lambda one: one.fill.event_ms)
    for one in fills:
        word = "bought" if one.fill.side > 0 else "sold"
        watch.events.append(
            Event(
                one.fill.event_ms,
                f"{word} {one.fill.quantity:f} {one.fill.pair} at {one.fill.price:f} ({one.fill.reason})",
            )
        )
    return StressRun(
        entered_ms=entered_ms,
        side=side,
        balance=balance,
        forced=forced,
        samples=tuple(watch.samples),
        prices={pair: [mark / marks[0] for mark in marks] for pair, marks in watch.marks.items() if pair in forced},
        events=tuple(sorted(watch.events, key=lambda event: event.ts_ms)),
        verdicts=tuple(_verdicts(stage, watch, side)),
    )


def _verdicts(stage: Stage, watch: _Watch, side: int) -> list[Verdict]:
    """Exposure inside its limits, losses overshot by no more than one bar, switches at the first mark, flat and solvent."""
    risk, samples = watch.risk, watch.samples
    widest = max((one.gross / one.cap for one in samples if one.cap > 0), default=0.0)
    largest = max(one.largest for one in samples)
    most = max(one.positions for one in samples)
    inside = widest <= 1 + TOLERANCE and largest <= risk.max_position_notional and most <= risk.max_positions
    found = (
        f"gross at most {widest:.1%} of its cap, one position at most {largest:,.0f} of "
        f"{risk.max_position_notional:,.0f} USDT, {most} of {risk.max_positions} positions"
    )
    made = [Verdict("no exposure limit is exceeded", inside, found)]
    for name, (crossed_ms, limit) in sorted(watch.first_breach.items()):
        late = watch.tripped.get(name)
        words = "never" if late is None else f"at {iso(late)[11:19]}, its condition was met at {iso(crossed_ms)[11:19]}"
        made.append(Verdict(f"{name} trips at the first mark that meets its condition", late == crossed_ms, words))
        made.append(_overshoot(stage, watch, name, crossed_ms, limit, side))
    early = [name for name in watch.tripped if name in (DAY_LOSS, DRAWDOWN) and name not in watch.first_breach]
    words = ", ".join(f"{name} at {iso(at)[11:19]}" for name, at in sorted(watch.tripped.items())) or "none tripped"
    known = all(name in SWITCHES for name in watch.tripped)
    made.append(Verdict("no switch trips without its condition", not early and known, words))
    held, booked = stage.ledger.positions(stage.account), stage.ledger.account(stage.account)
    end = f"{len(held)} positions, {booked.cash:.2f} USDT"
    made.append(Verdict("the account ends flat", not held and not stage.session.broker.working(), end))
    checked = stage.ledger.check_balance(stage.account)
    solvent = booked.cash > 0 and not checked.faults
    made.append(
        Verdict("and solvent, its books add up", solvent, "; ".join(checked.faults) or f"{booked.cash:.2f} USDT")
    )
    return made


def _overshoot(stage: Stage, watch: _Watch, name: str, crossed_ms: int, limit: float, side: int) -> Verdict:
    """By how much a loss limit was overshot, against what the bar that crossed it could do to the positions held then."""
    before = [one for one in watch.samples if one.ts_ms < crossed_ms]
    opened = FORECAST_INTERVAL.floor(crossed_ms)
    bound = 0.0
    held = _held_at(stage, crossed_ms)
    for pair, quantity in held.items():
        bars = stage.market.candles(pair, FORECAST_INTERVAL, opened, opened + FORECAST_INTERVAL.ms)
        mark = watch.marks[pair][len(before)]
        worst = float(bars.low.min() if quantity > 0 else bars.high.max())
        notional = abs(quantity) * mark
        cost = taker_cost(
            stage.settings.costs, notional, stage.view.day_notional(pair), stage.view.day_volatility(pair)
        )
        fee = float(stage.market.rules(pair).taker_fee)
        bound += max(0.0, (mark - worst) * quantity) + notional * (cost + fee)
    crossed = watch.samples[len(before)].equity
    lowest = min(one.equity for one in watch.samples[len(before) :])
    allowed_loss = limit - crossed + bound
    found = (
        f"limit {limit:,.2f}, {before[-1].equity if before else math.nan:,.2f} a tick before, {crossed:,.2f} when it was "
        f"crossed, {lowest:,.2f} at worst: overshot by {limit - lowest:,.2f}, the bar allowed {allowed_loss:,.2f}"
    )
    inside = limit - lowest <= allowed_loss + 0.01 and (not before or before[-1].equity > limit)
    return Verdict(f"{name} is overshot by no more than the bar that crossed it", inside, found)


def _held_at(stage: Stage, ts_ms: int) -> dict[Pair, float]:
    """Signed base units held at a moment."""
    pairs = {one.fill.pair for one in stage.ledger.fills(stage.account, limit=100_000)}
    found = {pair: float(stage.ledger.quantity_at(stage.account, pair, ts_ms)) for pair in sorted(pairs)}
    return {pair: quantity for pair, quantity in found.items() if quantity}


def _told(forced: Mapping[Pair, float], stage: Stage) -> str:
    marks = stage.view.mark_prices()
    parts = [f"{quantity:+g} {pair} ({abs(quantity) * marks[pair]:,.0f} USDT)" for pair, quantity in forced.items()]
    return f"forced on: {', '.join(parts)}"
