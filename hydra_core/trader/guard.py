"""What protects money between two decisions: kill switches on marked equity, protective stops, liquidation, the manual switch.

The rules are in ``risk.switches``; here they meet the account, once every tick, and what they demand is done at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.protocol import Broker, Incident, IncidentKind
from hydra_core.domain.clock import Clock
from hydra_core.domain.intervals import DAY_MS, MINUTE_MS
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Position
from hydra_core.home import Home
from hydra_core.ledger.accounting import total_unrealised
from hydra_core.ledger.store import Ledger
from hydra_core.risk.switches import SWITCHES, Judgement, combine, evaluate
from hydra_core.settings import LiveSettings, RiskSettings
from hydra_core.trader.desk import Desk
from hydra_core.trader.view import MarketView

HALTING: Final = frozenset({IncidentKind.LIQUIDATION, IncidentKind.FOREIGN})
"""Incidents after which nothing is traded until a person has looked; the others bar their pair for the day."""
BLOCKED: Final = "account_blocked"
"""Name of the trip that a broker's block is shown under."""
FLATTEN_WORD: Final = "flatten"
"""Content of the kill file that also asks for flat positions; anything else halts."""


class Guard:
    """Watches one account.

    Parameters
    ----------
    home : Home, for the kill file
    ledger, account : what is watched; trips are latched there
    desk : Desk, through which protective exits go
    view, clock, rules, risk : market, time, filters, limits
    broker : Broker, whose standing and incidents are judged too
    live : LiveSettings, for how long a stop at the exchange is given before ours follows
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        account: str,
        desk: Desk,
        view: MarketView,
        clock: Clock,
        rules: Mapping[Pair, MarketRules],
        risk: RiskSettings,
        *,
        broker: Broker,
        live: LiveSettings | None = None,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._account = account
        self._desk = desk
        self._view = view
        self._clock = clock
        self._rules = rules
        self._risk = risk
        self._broker = broker
        self._escalate_ms = (live or LiveSettings()).stop_escalate_ms
        self._beyond_since: dict[Pair, int] = {}
        self._judged_cycle = -1
        self._booked_minute = -1
        self.mode = Mode.ACTIVE
        self.trips: Mapping[str, str] = {}
        self.equity = math.nan

    def tick(self) -> Mode:
        """Judge, latch, protect; returns the mode in force."""
        now = self._clock.market_ms()
        self._obey_commands(now)
        self._latch_decided(now)
        for incident in self._broker.incidents():
            self._answer(incident, now)
        standing = self._broker.standing
        marks = self._fresh_marks()
        portfolio = self._ledger.portfolio(self._account, self._view.mark_prices(), now)
        portfolio = replace(portfolio, known=portfolio.known and standing.known)
        self.equity = portfolio.equity
        judgement = evaluate(portfolio, marks, None, (), self._risk, self._manual())
        if standing.block:
            mode = Mode.REDUCING if judgement.mode is Mode.ACTIVE else judgement.mode
            judgement = replace(judgement, mode=mode, trips={**judgement.trips, BLOCKED: standing.block})
        self._latch(judgement, now)
        if judgement.mode is not self.mode:
            logger.warning("mode {} -> {}: {}", self.mode.value, judgement.mode.value, dict(judgement.trips))
        self.mode, self.trips = judgement.mode, judgement.trips
        if judgement.mode is not Mode.ACTIVE:
            self._desk.drop("; ".join(judgement.trips.values()))
        self._protect(portfolio.positions, marks, judgement, now)
        self._book_equity(portfolio.positions, now)
        return self.mode

    def positions(self) -> Mapping[Pair, Position]:
        """Open positions of the account, as booked now."""
        return self._ledger.positions(self._account)

    def _answer(self, incident: Incident, now: int) -> None:
        """What follows from something that was done to the account."""
        logger.error("{}: {}", incident.pair or self._account, incident.reason)
        if incident.kind in HALTING:
            self._ledger.latch(self._account, incident.kind.value, incident.reason, Mode.HALTED, now)
        if incident.pair:
            self._desk.release(incident.pair, incident.reason)
            self._ledger.bar_pair(self._account, incident.pair, now - now % DAY_MS + DAY_MS, incident.reason)

    def _protect(
        self,
        positions: Mapping[Pair, Position],
        marks: Mapping[Pair, float],
        judgement: Judgement,
        now: int,
    ) -> None:
        """Close what must be closed: everything when flattening, lost positions, positions at their stops or without one."""
        if judgement.mode is Mode.HALTED and not self._broker.standing.known:
            return  # an order that closes a position must know it; the stops at the exchange stay
        naked = self._broker.must_close()
        for pair in self._beyond_since.keys() - positions.keys():
            del self._beyond_since[pair]
        for pair, held in positions.items():
            mark = marks.get(pair, math.nan)
            if not stop_hit(held, mark):
                self._beyond_since.pop(pair, None)
            if judgement.mode is Mode.FLATTEN:
                why = "; ".join(name for name in judgement.trips if combine((name,)) is Mode.FLATTEN)
                self._desk.close(pair, held, f"flatten-{why}-{held.opened_ms}", f"kill switch: {why}")
            elif pair in naked:
                self._desk.close(pair, held, f"naked-{held.opened_ms}", f"unprotected: {naked[pair]}")
            elif pair in judgement.close:
                if self._desk.close(pair, held, f"loss-{held.opened_ms}", "kill switch: position loss"):
                    self._ledger.bar_pair(
                        self._account, pair, now - now % DAY_MS + DAY_MS, judgement.trips["position_loss"]
                    )
            elif held.stop_price is not None and stop_hit(held, mark) and self._overdue(pair, now):
                self._desk.close(pair, held, f"stop-{held.opened_ms}-{held.stop_price}", f"stop {held.stop_price}")

    def _overdue(self, pair: Pair, now: int) -> bool:
        """Whether a stop that was reached is ours to carry out: at once, or when the exchange's did not for a while."""
        since = self._beyond_since.setdefault(pair, now)
        return not self._broker.protected(pair) or now - since >= self._escalate_ms

    def _fresh_marks(self) -> dict[Pair, float]:
        """Marks young enough to judge by; an old one is no number."""
        wall = self._clock.wall_ms()
        limit = self._risk.max_quote_age_s * 1000
        return {
            pair: reading.mark if wall - reading.received_wall_ms <= limit else math.nan
            for pair, reading in self._view.marks.items()
        }

    def _manual(self) -> Mode | None:
        """What the kill file asks for; a file that cannot be read halts."""
        try:
            word = self._home.kill_file.read_text().strip().lower()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.error("kill file cannot be read, taken as halt: {}", error)
            return Mode.HALTED
        return Mode.FLATTEN if word.startswith(FLATTEN_WORD) else Mode.HALTED

    def _latch(self, judgement: Judgement, now: int) -> None:
        for name, reason in judgement.trips.items():
            # A name that is no switch is latched already, or tells of the broker's block, which passes by itself.
            if (
                name in SWITCHES
                and SWITCHES[name].latches
                and self._ledger.latch(self._account, name, reason, combine((name,)), now)
            ):
                logger.warning("kill switch {}: {}", name, reason)

    def _latch_decided(self, now: int) -> None:
        """Latch the market-wide switches that the newest decision found tripped."""
        newest = self._ledger.decisions(self._account, limit=1)
        if not newest or newest[0].cycle_ms <= self._judged_cycle:
            return
        line = newest[0]
        self._judged_cycle = line.cycle_ms
        if line.mode is Mode.ACTIVE:
            return
        record = self._ledger.decision(line.account, line.strategy, line.cycle_ms)
        if record is not None:
            self._latch(Judgement(record.decision.mode, record.decision.trips), now)

    def _obey_commands(self, now: int) -> None:
        for command in self._ledger.pending_commands():
            if command.kind == "kill":
                word = FLATTEN_WORD if command.args.get("flatten") else "halt"
                self._home.kill_file.write_text(word + "\n")
                result = word
            elif command.kind == "resume":
                self._home.kill_file.unlink(missing_ok=True)
                self._record_equity(self._ledger.positions(self._account), now)  # losses count from here on
                released = self._ledger.release(self._account, now)
                result = f"released {', '.join(released) or 'nothing'}"
            else:
                result = f"unknown command {command.kind!r}"
            logger.warning("command {}: {}", command.kind, result)
            self._ledger.complete_command(command.id, self._clock.wall_ms(), result)

    def _book_equity(self, positions: Mapping[Pair, Position], now: int) -> None:
        """One equity point a market minute, while every held pair has a mark."""
        minute = now - now % MINUTE_MS
        if minute > self._booked_minute and self._record_equity(positions, minute):
            self._booked_minute = minute

    def _record_equity(self, positions: Mapping[Pair, Position], ts_ms: int) -> bool:
        """Book the account's worth; False while a held pair has no mark."""
        marks = {pair: mark for pair in positions if (mark := self._view.exact_mark(pair)) is not None}
        if len(marks) < len(positions):
            return False
        cash = self._ledger.account(self._account).cash
        unrealised: Decimal = total_unrealised(positions.values(), marks)
        self._ledger.record_equity(self._account, ts_ms, cash + unrealised, cash, unrealised)
        return True


def stop_hit(held: Position, mark: float) -> bool:
    """Whether a mark has reached a position's stop; an unreadable mark has not."""
    if held.stop_price is None or not math.isfinite(mark):
        return False
    stop = float(held.stop_price)
    return mark <= stop if held.quantity > 0 else mark >= stop
