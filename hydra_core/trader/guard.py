"""What protects money between two decisions: kill switches on marked equity, protective stops, liquidation, the manual switch.

The rules are in ``risk.switches``; here they meet the account, once every tick, and what they demand is done at once.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from loguru import logger

from hydra_core.broker.incidents import forbid
from hydra_core.broker.protocol import Broker, Incident, Standing
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError, LedgerUnusable
from hydra_core.domain.intervals import MINUTE_MS, next_day_ms
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Portfolio, Position
from hydra_core.home import Home
from hydra_core.ledger.accounting import total_unrealised
from hydra_core.ledger.store import Ledger
from hydra_core.risk.switches import POSITIONS_UNKNOWN, SWITCHES, UNREADABLE_INPUT, Judgement, combine, evaluate
from hydra_core.settings import LiveSettings, RiskSettings
from hydra_core.trader.desk import Desk
from hydra_core.trader.view import MarketView

T = TypeVar("T")

FAILURES: Final = (
    HydraError, OSError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
)  # fmt: skip
"""How a reading can fail, a mistake in its own code included: the switch that needs it is tripped, the others go on judging."""
BLOCKED: Final = "account_blocked"
"""Name of the trip that a broker's block is shown under."""
PASSING: Final = frozenset({BLOCKED, UNREADABLE_INPUT})
"""Trips that end by themselves: entries wait for that, no target is given up."""
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
        self._kill_file = home.kill_file
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
        self._judged_cycle: int | None = None
        self._booked_minute = -1
        self._faults: list[str] = []
        self._unknown = False
        self._owed: dict[str, str] = {}
        self.blind = False
        """Whether the newest tick could read neither time nor account: nothing is known to work on."""
        self.mode = Mode.ACTIVE
        self.trips: Mapping[str, str] = {}
        self.equity = math.nan

    def tick(self) -> Mode:
        """Judge, latch, protect; returns the mode in force."""
        faults, self._faults = self._faults, []
        self.blind = True
        now = self._attempt("clock", self._clock.market_ms, faults)
        if now is None:
            return self._stand(Judgement(Mode.HALTED, {POSITIONS_UNKNOWN: "; ".join(faults)}))
        self._attempt("commands", partial(self._obey_commands, now), faults)
        self._attempt("decisions", partial(self._latch_decided, now), faults)
        self._attempt("incidents", partial(self._answer_incidents, now), faults)
        standing = self._attempt("broker", lambda: self._broker.standing, faults) or Standing(known=False)
        naked = self._attempt("stops", self._broker.must_close, faults) or {}
        marks = self._attempt("marks", self._fresh_marks, faults) or {}
        portfolio = self._attempt("account", partial(self._read_portfolio, now), faults)
        if portfolio is None:
            return self._stand(Judgement(Mode.HALTED, {POSITIONS_UNKNOWN: "; ".join(faults)}))
        self.blind = False
        self._attempt("equity", partial(self._book_equity, portfolio.positions, now), faults)
        if self._owed or not standing.known:
            portfolio = replace(
                portfolio, known=portfolio.known and standing.known, latched={**portfolio.latched, **self._owed}
            )
        self.equity = portfolio.equity
        judging = partial(evaluate, portfolio, marks, None, faults, self._risk, _asked_by(self._kill_file))
        judgement = self._attempt("switches", judging, faults) or Judgement(
            Mode.HALTED, {**portfolio.latched, POSITIONS_UNKNOWN: "; ".join(faults)}
        )
        if standing.block:
            freest = Mode.REDUCING if judgement.mode is Mode.ACTIVE else judgement.mode
            judgement = replace(judgement, mode=freest, trips={**judgement.trips, BLOCKED: standing.block})
        self._attempt("latches", partial(self._latch, judgement, now), self._faults)
        mode = self._stand(judgement)
        self._protect(portfolio, marks, naked, judgement, now)
        return mode

    def blinded(self, what: str, error: Exception) -> None:
        """Something that fills or settles failed before this tick: what is held cannot be trusted in it."""
        self._faults.append(f"{what}: {type(error).__name__}: {error}")
        self._unknown = True

    def _attempt(self, what: str, reading: Callable[[], T], faults: list[str]) -> T | None:
        """A reading that a switch depends on. That it fails is a fault that trips; it keeps no other switch from judging."""
        try:
            return reading()
        except LedgerUnusable:
            raise  # without books nothing can be sent, so the session ends: the trader waits for them
        except FAILURES as error:
            faults.append(f"{what}: {type(error).__name__}: {error}")
            return None

    def _read_portfolio(self, now: int) -> Portfolio:
        """The account at the newest marks; unknown in a round in which the broker failed."""
        unknown, self._unknown = self._unknown, False
        portfolio = self._ledger.portfolio(self._account, self._view.mark_prices(), now)
        return replace(portfolio, known=False) if unknown else portfolio

    def _stand(self, judgement: Judgement) -> Mode:
        """Put a judgement in force; what may not be opened any more is cancelled at once.

        A switch that tripped ends the targets. They outlast what passes by itself: a restart until prices are there and the
        account was compared, a stream that is cut, a difference that is being cleared up.
        """
        if judgement.mode is not self.mode:
            logger.warning("mode {} -> {}: {}", self.mode.value, judgement.mode.value, dict(judgement.trips))
        self.mode, self.trips = judgement.mode, judgement.trips
        if judgement.mode is not Mode.ACTIVE:
            stop = self._desk.pause if judgement.trips.keys() <= PASSING else self._desk.drop
            self._attempt("orders", partial(stop, "; ".join(judgement.trips.values())), self._faults)
        return self.mode

    def positions(self) -> Mapping[Pair, Position]:
        """Open positions of the account, as booked now."""
        return self._ledger.positions(self._account)

    def _answer_incidents(self, now: int) -> None:
        for incident in self._broker.incidents():
            self._answer(incident, now)

    def _answer(self, incident: Incident, now: int) -> None:
        """What follows from something that was done to the account."""
        logger.error("{}: {}", incident.pair or self._account, incident.reason)
        forbid(self._ledger, self._account, incident, now)
        if incident.pair:
            self._desk.release(incident.pair, incident.reason)

    def _protect(
        self,
        portfolio: Portfolio,
        marks: Mapping[Pair, float],
        naked: Mapping[Pair, str],
        judgement: Judgement,
        now: int,
    ) -> None:
        """Close what must be closed: everything when flattening, lost positions, positions at their stops or without one."""
        if judgement.mode is Mode.HALTED and not portfolio.known:
            return  # an order that closes a position must know it; the stops at the exchange stay
        for pair in self._beyond_since.keys() - portfolio.positions.keys():
            del self._beyond_since[pair]
        for pair, held in portfolio.positions.items():
            self._attempt(f"exit of {pair}", partial(self._leave, held, marks, naked, judgement, now), self._faults)

    def _leave(
        self,
        held: Position,
        marks: Mapping[Pair, float],
        naked: Mapping[Pair, str],
        judgement: Judgement,
        now: int,
    ) -> None:
        """Close one position where something demands it."""
        pair = held.pair
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
                self._ledger.bar_pair(self._account, pair, next_day_ms(now), judgement.trips["position_loss"])
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

    def _latch(self, judgement: Judgement, now: int) -> None:
        """Have the ledger remember what tripped; what it has not taken yet is remembered here and offered again."""
        for name, reason in judgement.trips.items():
            # A name that is no switch is latched already, or tells of the broker's block, which passes by itself.
            if name in SWITCHES and SWITCHES[name].latches:
                self._owed.setdefault(name, reason)
        for name, reason in list(self._owed.items()):
            if self._ledger.latch(self._account, name, reason, combine((name,)), now):
                logger.warning("kill switch {}: {}", name, reason)
            del self._owed[name]

    def _latch_decided(self, now: int) -> None:
        """Latch the market-wide switches that decisions found tripped since the last look.

        After a start that is since the account was last seen to: what tripped while nobody looked holds too. What a person has
        released since a decision stays released.
        """
        if self._judged_cycle is None:
            self._judged_cycle = self._ledger.seen_to(self._account) - 1
        for line in reversed(self._ledger.decisions(self._account, since_ms=self._judged_cycle + 1)):
            if line.mode is not Mode.ACTIVE:
                record = self._ledger.decision(line.account, line.strategy, line.cycle_ms)
                if record is not None:
                    trips = self._unreleased(record.decision.trips, line.cycle_ms)
                    self._latch(Judgement(record.decision.mode, trips), now)
            self._judged_cycle = line.cycle_ms  # only now: a decision that could not be read is read again

    def _unreleased(self, trips: Mapping[str, str], cycle_ms: int) -> dict[str, str]:
        """Trips that a decision found, without those that were released at its time or later."""
        latches = self._ledger.latches(self._account)
        released = {
            latch.switch for latch in latches if latch.released_ms is not None and latch.released_ms >= cycle_ms
        }
        return {name: reason for name, reason in trips.items() if name not in released}

    def _obey_commands(self, now: int) -> None:
        for command in self._ledger.pending_commands():
            if command.kind == "kill":
                word = FLATTEN_WORD if command.args.get("flatten") else "halt"
                self._kill_file.write_text(word + "\n")
                result = word
            elif command.kind == "resume":
                self._kill_file.unlink(missing_ok=True)
                self._record_equity(self._ledger.positions(self._account), now)  # losses count from here on
                released = self._ledger.release(self._account, now)
                self._owed.clear()
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


def manual_switch(home: Home) -> Mode | None:
    """What a home's kill file asks for."""
    return _asked_by(home.kill_file)


def _asked_by(file: Path) -> Mode | None:
    """What a kill file asks for; one that cannot be read halts."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise OSError(f"{file} is no file")  # a pipe would be waited for
        word = file.read_text().strip().lower()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.error("kill file cannot be read, taken as halt: {}", error)
        return Mode.HALTED
    return Mode.FLATTEN if word.startswith(FLATTEN_WORD) else Mode.HALTED


def stop_hit(held: Position, mark: float) -> bool:
    """Whether a mark has reached a position's stop; an unreadable mark has not."""
    if held.stop_price is None or not math.isfinite(mark):
        return False
    stop = float(held.stop_price)
    return mark <= stop if held.quantity > 0 else mark >= stop
