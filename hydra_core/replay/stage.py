"""A trader and its decision window on a simulated market, in one thread, under a clock that is moved by hand.

Everything that decides or trades is the real thing: the window run, desk, guard, paper broker, ledger, live state. Only what
brings readings (sockets, polls) is replaced: the market is asked for them at each step. So hours of market time pass in
minutes, and the ledger that comes out is one that the real processes could have written.

Not here: what is done with it (``stress``, the tests of ``parity``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

from hydra_core.domain.clock import ClockAnchor, ManualClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, iso
from hydra_core.domain.market import FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS, reading_start_ms
from hydra_core.domain.trading import Mode, OrderState, Side
from hydra_core.execution.rounding import decimal, round_stop
from hydra_core.home import Home
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate import LiveStateReader, LiveStateWriter
from hydra_core.ledger.records import TRADER, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.streams import Trade
from hydra_core.settings import Settings
from hydra_core.simulation import Market
from hydra_core.trader.sessions import Parts, paper_session
from hydra_core.trader.view import MarketView
from hydra_core.window import WindowConfig, WindowSummary, run_window

QUIET_MS: Final = 5_000
"""Market time between two ticks while no order works."""
BUSY_MS: Final = 1_000
"""The same while one does."""
POLL_MS: Final = 10_000
"""How long after a settlement the trader has learnt of it."""
_STEP: Final = FORECAST_INTERVAL.ms


class Stage:
    """One paper account on a simulated market; use it as a context manager.

    Parameters
    ----------
    market : Market
    home : Home, where ledger, live state and captures go
    settings : Settings, whose pairs are traded as far as the market has them
    start_ms : int, market time at which it begins, a multiple of the forecast interval
    balance : Decimal, USDT of the fresh account
    quiet_ms : int, market time between two ticks while no order works
    on_tick : called after every tick with the mode in force

    Raises
    ------
    UsageError : the market does not reach back far enough, or the start is off the grid
    """

    def __init__(
        self,
        market: Market,
        home: Home,
        settings: Settings,
        start_ms: int,
        balance: Decimal,
        *,
        quiet_ms: int = QUIET_MS,
        on_tick: Callable[[Mode], None] = lambda _mode: None,
    ) -> None:
        if start_ms % _STEP or start_ms < market.origin_ms + DAY_MS:
            raise UsageError(
                f"{iso(start_ms)} is no start: {market.name} begins at {iso(market.origin_ms)}",
                f"Take a multiple of {FORECAST_INTERVAL} at least a day later",
            )
        self.market = market
        self.home = home.create()
        self.settings = settings.model_copy(
            update={"pairs": tuple(pair for pair in settings.pairs if pair in market.pairs)}
        )
        self.pairs = self.settings.pairs
        self.clock = ManualClock(start_ms)
        self.view = MarketView(self.pairs)
        self._start_ms, self._balance, self._quiet_ms, self.on_tick = start_ms, balance, quiet_ms, on_tick
        self._stack = ExitStack()
        self._settled: dict[Pair, int] = {}
        self._windows = 0

    def __enter__(self) -> Self:
        stack, now = self._stack, self._start_ms
        try:
            self.ledger = stack.enter_context(Ledger.open(self.home.ledger_url))
            self.writer = stack.enter_context(LiveStateWriter(self.home.live_state))
            spool = stack.enter_context(Spool(self.home.spool))
            rules = {pair: self.market.rules(pair) for pair in self.pairs}
            opened = self.ledger.open_account("paper", self._balance, now)
            endpoint = Endpoint(self.settings.exchange, None)
            parts = Parts(self.home, self.settings, endpoint, self.clock, self.ledger, self.view, rules, spool)
            self.session, hear = paper_session(parts, opened)
            self.view.trade_hearers.append(hear)
            self.writer.set_rules(rules)
            self.writer.set_capture_start(now if LIQUIDATIONS not in self.market.inputs else self._reach(now))
            self._fill_history(now)
            self._look(now)
            self._beat()
            self.writer.flush()
        except BaseException:
            stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def account(self) -> str:
        """Name of the account."""
        return self.session.account

    def run(self, until_ms: int, pins: Mapping[str, str] | None = None) -> WindowSummary:
        """Decide every grid point up to a market time, and trade between them.

        Parameters
        ----------
        pins : kind -> version of the models in the home's registry; none: the seats are empty
        """
        self._windows += 1
        step = self.settings.decision.interval_s * 1000
        config = WindowConfig(
            self.account,
            dict(pins or {}),
            f"stage-{self._windows}",
            window_market_s=(until_ms - self.clock.market_ms()) / 1000,
            follow_champions=False,
            lease_wait_s=0.0,
        )
        summary = run_window(
            config,
            self.home,
            self.settings,
            self.clock,
            self.ledger,
            lambda report: self.advance(min(until_ms, report.cycle_ms + step)),
        )
        self.advance(until_ms)
        return summary

    def advance(self, until_ms: int) -> None:
        """Let market time pass tick by tick: readings first, then one round of the trader."""
        while (now := self.clock.market_ms()) < until_ms:
            pace = BUSY_MS if self.session.broker.working() else self._quiet_ms
            then = min(until_ms, now + pace, now - now % self._quiet_ms + self._quiet_ms)
            self.clock.advance(then - now)
            self._hear(now, then)
            self._look(then)
            self._beat()
            self.on_tick(self.session.tick())
        self.writer.flush()

    def force(self, targets: Mapping[Pair, float], stops: Mapping[Pair, float], reason: str = "forced on") -> None:
        """Take positions that no decision made and no switch may refuse: filled by the broker in the book as it stands.

        Parameters
        ----------
        targets : signed base units to add, on the exchange's grid
        stops : USDT
        """
        broker, now = self.session.broker, self.clock.market_ms()
        for pair, quantity in targets.items():
            order = OrderRecord(
                order_id=f"forced-{self.account}-{pair}-{now}",
                plan_id="forced",
                account=self.account,
                pair=pair,
                side=Side.LONG if quantity > 0 else Side.SHORT,
                quantity=abs(decimal(quantity)),
                kind="market",
                state=OrderState.NEW,
                created_ms=now,
                updated_ms=now,
                reason=reason,
            )
            if self.ledger.record_order(order):
                broker.submit(order)
        self.clock.advance(max(BUSY_MS, self.settings.costs.latency_ms))
        self._hear(now, self.clock.market_ms())
        self._look(self.clock.market_ms())
        broker.tick()
        for pair, stop in stops.items():
            side = Side.LONG if targets[pair] > 0 else Side.SHORT
            self.ledger.set_stop(self.account, pair, round_stop(stop, side, self.market.rules(pair)))

    def panel(self) -> Panel:
        """The closed bars as a decision would read them now."""
        with LiveStateReader(self.home.live_state, self.pairs) as reader:
            reader.refresh()
            return reader.panel(self.clock.market_ms())

    # -- readings ------------------------------------------------------------------------------------------------------

    def _reach(self, now: int) -> int:
        return max(self.market.origin_ms, FORECAST_INTERVAL.floor(now) - MAX_LOOKBACK_BARS * _STEP)

    def _fill_history(self, now: int) -> None:
        """The look-back that a trader fetches before it begins."""
        start, wall = self._reach(now), self.clock.wall_ms()
        early = reading_start_ms(start)
        for pair in self.pairs:
            bars = self.market.candles(pair, FORECAST_INTERVAL, start, now)
            self.writer.add_bars(pair, FORECAST_INTERVAL, bars, wall)
            for ts, close, volume in zip(bars.ts.tolist(), bars.close.tolist(), bars.volume.tolist(), strict=True):
                self.view.on_bar(pair, ts, close, volume)
            self.writer.add_readings(FUNDING, pair, self.market.funding(pair, early - 30 * DAY_MS, now), wall)
            self.writer.add_readings(OPEN_INTEREST, pair, self.market.open_interest(pair, early, now), wall)
            self.writer.add_readings(LONG_SHORT, pair, self.market.long_short(pair, early, now), wall)
            for forced in self.market.liquidations(pair, start, now):
                self.writer.add_liquidation(forced, wall)
            self._settled[pair] = now
        self.writer.flush()

    def _look(self, now: int) -> None:
        """The newest quotes and marks, as the streams would bring them."""
        wall = self.clock.wall_ms()
        for pair in self.pairs:
            quote = replace(self.market.quote(pair, now), received_wall_ms=wall)
            mark = replace(self.market.mark(pair, now), received_wall_ms=wall)
            self.view.on_quote(quote)
            self.view.on_mark(mark)
            self.writer.add_quote(quote)
            self.writer.add_mark(mark)

    def _hear(self, before: int, now: int) -> None:
        """What happened between two ticks: trades, forced orders, bars that closed, readings that were published."""
        wall = self.clock.wall_ms()
        opened = FORECAST_INTERVAL.floor(before)
        closed = FORECAST_INTERVAL.floor(now)
        for pair in self.pairs:
            made = self.market.trades(pair, before, now)
            rows = (made.trade_id, made.ts, made.price, made.quantity, made.buyer_maker)
            for number, ts, price, quantity, maker in zip(*(column.tolist() for column in rows), strict=True):
                self.view.on_trade(Trade(pair, number, price, quantity, maker, ts, wall))
            for forced in self.market.liquidations(pair, before, now):
                self.writer.add_liquidation(forced, wall)
            if closed > opened:
                self._bar(pair, opened, closed, wall)
            due = self.market.funding(pair, self._settled[pair], now - POLL_MS)
            for ts, rate in zip(due.ts.tolist(), due.value.tolist(), strict=True):
                self.writer.add_series(FUNDING, pair, ts, rate, wall)
                self.session.broker.settle(pair, ts, Decimal(repr(rate)))
                self._settled[pair] = ts + 1

    def _bar(self, pair: Pair, opened: int, closed: int, wall: int) -> None:
        bars = self.market.candles(pair, FORECAST_INTERVAL, opened, closed)
        self.writer.add_bars(pair, FORECAST_INTERVAL, bars, wall)
        for ts, close, volume in zip(bars.ts.tolist(), bars.close.tolist(), bars.volume.tolist(), strict=True):
            self.view.on_bar(pair, ts, close, volume)
        for kind, history in (
            (OPEN_INTEREST, self.market.open_interest(pair, opened, closed)),
            (LONG_SHORT, self.market.long_short(pair, opened, closed)),
        ):
            self.writer.add_readings(kind, pair, history, wall)

    def _beat(self) -> None:
        now, wall = self.clock.market_ms(), self.clock.wall_ms()
        self.writer.set_clock(ClockAnchor(now, wall, 1.0, False))
        self.ledger.heartbeat(TRADER, wall, {"account": self.session.account})
