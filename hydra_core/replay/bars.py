"""Recorded bars through the trader's own code, event by event: what a list of wanted positions would have traded.

At each close every pair's bar, quote and mark reach the market view as the streams would bring them, settlements reach the
broker, wanted positions become a plan in the ledger, and rounds of broker, guard and desk follow until nothing of it is
under way: the code of a live session, its switches, margin and books included. The books are in memory unless a ledger is
handed in.

Not here: who wants the positions (``decision``, ``research``), a market of sockets and ticks (``stage``), the same arithmetic
over arrays (``research.engine``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np

from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.market import Floats, MarketRules, MarkReading, Panel, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Plan, Schedule, Target
from hydra_core.home import Home
from hydra_core.ledger.memory import MemoryLedger
from hydra_core.ledger.records import STRATEGY
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.research.engine.inputs import Settlements
from hydra_core.settings import Settings
from hydra_core.trader.sessions import Parts, Session, paper_session
from hydra_core.trader.view import MarketView

ROUNDS: Final = 8
"""Rounds of the trader at one close, at most: closing, entering and seeing both filled takes three."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """Positions to hold from each close on, shape (T, P).

    Parameters
    ----------
    quantity : signed base units; where it is NaN, or what was asked for last, nothing is asked for
    stop : protective stop of the position, USDT, NaN for none
    """

    quantity: Floats
    stop: Floats | None = None

    def changes(self) -> list[list[int]]:
        """Columns that ask for something, by row."""
        known = np.isfinite(self.quantity)
        newest = np.maximum.accumulate(np.where(known, np.arange(len(known))[:, None], -1), axis=0)
        last = np.vstack([np.full((1, known.shape[1]), -1), newest[:-1]])
        before = np.where(last >= 0, np.take_along_axis(self.quantity, np.maximum(last, 0), axis=0), 0.0)
        asked = known & (self.quantity != before)
        found: list[list[int]] = [[] for _ in range(len(self.quantity))]
        for row, column in zip(*np.nonzero(asked), strict=True):
            found[row].append(int(column))
        return found


class BarReplay:
    """One account on paper led through a panel's bars.

    Parameters
    ----------
    panel : bars; a pair without a candle in one has no news in it
    wanted : positions asked for at each close
    home : Home, for the kill file alone where the books are in memory
    settings : costs (half spread, slippage, impact, latency) and risk limits
    rules : filters and fees by pair
    balance : USDT of the fresh account
    settlements : funding due at closes; none: no funding
    ledger : where to book; default: memory

    Raises
    ------
    UsageError : shapes that do not fit, or a pair without rules
    """

    def __init__(
        self,
        panel: Panel,
        wanted: Wanted,
        home: Home,
        settings: Settings,
        rules: Mapping[Pair, MarketRules],
        balance: Decimal,
        *,
        settlements: Settlements | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        missing = [pair for pair in panel.pairs if pair not in rules]
        if missing or wanted.quantity.shape != panel.close.shape:
            raise UsageError(
                f"{len(panel)} bars of {len(panel.pairs)} pairs, wanted positions of shape {wanted.quantity.shape}, "
                f"no rules for {', '.join(missing) or 'none'}",
                "Hand in one wanted position a bar and pair, and the rules of every pair",
            )
        self.panel, self.wanted, self.settlements = panel, wanted, settlements
        self.ledger = MemoryLedger() if ledger is None else ledger
        self.clock = ManualClock(int(panel.ts[0]))
        self.view = MarketView(panel.pairs)
        self.account = self.ledger.open_account("replay", balance, int(panel.ts[0])).name
        endpoint = Endpoint(settings.exchange, None)
        parts = Parts(home, settings, endpoint, self.clock, self.ledger, self.view, rules)
        self.session: Session = paper_session(parts, self.ledger.account(self.account))[0]
        costs = settings.costs
        self._crossing = (costs.half_spread_bp + costs.slippage_bp) * 1e-4
        self._latency_ms = costs.latency_ms

    def run(self) -> None:
        """Lead the account through every bar."""
        panel, step = self.panel, self.panel.interval.ms
        opened, closes, volumes = panel.ts.tolist(), panel.close.tolist(), panel.volume.tolist()
        for row, asked in enumerate(self.wanted.changes()):
            self.clock.advance(step)
            now = self.clock.market_ms()
            self._hear(opened[row], now, closes[row], volumes[row])
            if self.settlements is not None:
                self._settle(row, now, self.settlements)
            if asked:
                self._plan(row, asked, now, step)
            self.session.tick()
            for _ in range(ROUNDS - 1):
                if not self._under_way(now):
                    break
                self.session.tick()

    def _hear(self, opened_ms: int, now: int, closes: list[float], volumes: list[float]) -> None:
        """What the streams would bring at a close: the bar, best bid and ask around it, the mark."""
        view, crossing = self.view, self._crossing
        for pair, close, volume in zip(self.panel.pairs, closes, volumes, strict=True):
            if not close > 0:
                continue
            view.on_bar(pair, opened_ms, close, volume)
            # nothing is known to rest at the best price: all of an order pays the law of impact, as in a backtest
            view.on_quote(Quote(pair, close * (1 - crossing), 0.0, close * (1 + crossing), 0.0, now, now))
            view.on_mark(MarkReading(pair, close, close, 0.0, 0, now, now))

    def _settle(self, row: int, now: int, settlements: Settlements) -> None:
        for column in np.flatnonzero(settlements.due[row]):
            rate = float(settlements.rate[row, column])
            if math.isfinite(rate):
                self.session.broker.settle(self.panel.pairs[column], now, Decimal(repr(rate)))

    def _plan(self, row: int, asked: list[int], now: int, step: int) -> None:
        """Book what is asked for as a decision's plan is booked; the next bar supersedes it."""
        stop = self.wanted.stop
        targets = tuple(
            Target(
                self.panel.pairs[column],
                float(self.wanted.quantity[row, column]),
                None if stop is None or not math.isfinite(stop[row, column]) else float(stop[row, column]),
                "wanted",
            )
            for column in asked
        )
        self.ledger.record_plan(Plan(f"replay-{now}", now, targets, Schedule(), now + step), self.account, STRATEGY)

    def _under_way(self, now: int) -> bool:
        """Whether an order works that the quotes of this close may fill."""
        return any(order.created_ms + self._latency_ms <= now for order in self.session.broker.working())
