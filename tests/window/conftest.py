"""A small recorded session: 8 days of bars, readings, an account and a living trader, without any process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hydra_core.domain.clock import AnchoredClock, ClockAnchor, SystemClock
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.domain.series import Bars, Series
from hydra_core.domain.trading import Fill, Side
from hydra_core.home import Home
from hydra_core.ledger.livestate import LiveStateWriter
from hydra_core.ledger.store import Ledger
from hydra_core.settings import Settings

STEP = Interval.M5.ms
GRID = 30_000
T0 = 1_717_200_000_000
NOW = T0 + MAX_LOOKBACK_BARS * STEP
"""Market time at which a session starts; bars are on file well beyond it, as if the trader had gone on."""
AHEAD = 200


@dataclass
class Session:
    """A market home with everything a window reads."""

    home: Home
    settings: Settings
    ledger: Ledger
    writer: LiveStateWriter
    wall: SystemClock
    prices: dict[Pair, float]

    def clock(self, speed: float = 300.0, market_ms: int = NOW, *, held: bool = False) -> AnchoredClock:
        """A market clock that starts now."""
        return AnchoredClock(ClockAnchor(market_ms, self.wall.wall_ms(), speed, held), self.wall)

    def beat(self, age_ms: int = 0) -> None:
        """A sign of life of the trader."""
        self.ledger.heartbeat("trader", self.wall.wall_ms() - age_ms, {})

    def feed(self, drift: float = 0.0) -> None:
        """Fresh quotes and marks of every pair."""
        now = self.wall.wall_ms()
        for pair, close in self.prices.items():
            price = close * (1 + drift)
            self.writer.add_quote(Quote(pair, price * 0.9999, 5.0, price * 1.0001, 7.0, NOW, now))
            self.writer.add_mark(MarkReading(pair, price, price, 0.0001, NOW + 3_600_000, NOW, now))
        self.writer.flush()

    def hold(self, pair: Pair, size: str, entry: float) -> None:
        """Give the account a position."""
        side = Side.LONG if Decimal(size) > 0 else Side.SHORT
        price, quantity = Decimal(repr(entry)).quantize(Decimal("0.0001")), abs(Decimal(size))
        fill = Fill("local", pair, f"{pair}-{size}", "o", "paper", side, quantity, price, Decimal(0), False, NOW - GRID)
        self.ledger.record_fill(fill)


@pytest.fixture(scope="session")
def market_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[Pair, float]]:
    """A home with bars, slow readings and rules on file, made once, and the newest close of every pair."""
    home = Home(tmp_path_factory.mktemp("market"), "synthetic-1-0").create()
    rng = np.random.default_rng(11)
    bars, prices, rules = MAX_LOOKBACK_BARS + AHEAD, {}, {}
    ts = T0 + np.arange(bars) * STEP
    with LiveStateWriter(home.live_state) as writer:
        for number, pair in enumerate(DEFAULT_PAIRS):
            walk = 100 * (number + 1) * np.exp(np.cumsum(rng.normal(0, 0.001, bars + 1)))
            opened, close = walk[:-1], walk[1:]
            swing = np.abs(rng.normal(0, 0.0005, bars))
            high, low = np.maximum(opened, close) * (1 + swing), np.minimum(opened, close) * (1 - swing)
            writer.add_bars(pair, Interval.M5, Bars(ts, opened, high, low, close, rng.uniform(1, 2, bars)), 0)
            writer.add_readings("open_interest", pair, Series(ts, 1e4 * np.exp(rng.normal(0, 0.01, bars))), 0)
            writer.add_readings("long_short", pair, Series(ts, np.exp(rng.normal(0, 0.1, bars))), 0)
            writer.add_readings("funding", pair, Series(ts[::96], rng.normal(0, 1e-4, ts[::96].size)), 0)
            prices[pair] = float(close[MAX_LOOKBACK_BARS - 1])
            rules[pair] = MarketRules(pair, Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(5))
        writer.set_rules(rules)
    return home, prices


@pytest.fixture
def session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, market_files: tuple[Home, dict[Pair, float]]
) -> Iterator[Session]:
    """A session with the account ``paper`` of 1000 USDT, fresh readings and a trader that has just given a sign."""
    monkeypatch.chdir(tmp_path)
    made, prices = market_files
    home = Home(tmp_path, made.market).create()
    shutil.copy(made.live_state, home.live_state)
    wall = SystemClock()
    with LiveStateWriter(home.live_state) as writer, Ledger.open(home.ledger_url) as ledger:
        writer.set_clock(ClockAnchor(NOW, wall.wall_ms(), 300.0, False))
        ledger.open_account("paper", Decimal(1000), T0)
        session = Session(home, Settings(data_root=tmp_path), ledger, writer, wall, dict(prices))
        session.feed()
        session.beat()
        yield session
