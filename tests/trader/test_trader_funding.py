"""Funding on paper is never lost: not while the trader is down, not without a mark price, not when the books cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from hydra_core.broker.paper import PaperBroker
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import LedgerUnusable
from hydra_core.domain.intervals import HOUR_MS, Interval, utc
from hydra_core.domain.market import FUNDING, MarketRules, MarkReading
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Mode, Side
from hydra_core.home import Home
from hydra_core.lake.spool import Spool
from hydra_core.ledger.livestate.writer import LiveStateWriter
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.settings import CostSettings, Settings
from hydra_core.trader.feeds import Feeds
from hydra_core.trader.service import Trader
from hydra_core.trader.view import MarketView

BTC = Pair("BTCUSDT")
OPENED = 1_720_000_800_000 // (8 * HOUR_MS) * 8 * HOUR_MS
RULES = {BTC: MarketRules(BTC, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5))}
RATE = 0.0001


class Published:
    """An exchange that settles every eight hours and has no other slow readings."""

    async def history(self, kind: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        stamps = range(-(-start_ms // (8 * HOUR_MS)) * 8 * HOUR_MS, end_ms, 8 * HOUR_MS) if kind == FUNDING else ()
        times = pl.Series("ts", [utc(stamp) for stamp in stamps], pl.Datetime("ms", "UTC"))
        return pl.DataFrame({"ts": times, "rate": [RATE] * len(times), "open_interest": 1.0, "long_short_ratio": 1.0})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An account that has held 0.1 BTC since an hour after a settlement, and was last seen to another hour later."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        name = opened.open_account("paper", Decimal(10_000), OPENED).name
        held = Fill(
            "paper",
            BTC,
            "1",
            "o",
            name,
            Side.LONG,
            Decimal("0.1"),
            Decimal(60_000),
            Decimal(0),
            False,
            OPENED + HOUR_MS,
        )
        assert opened.record_fill(held)
        assert opened.record_equity(name, OPENED + 2 * HOUR_MS, Decimal(10_000), Decimal(10_000), Decimal(0))
        yield opened


def broker_on(ledger: Ledger, view: MarketView, clock: ManualClock) -> PaperBroker:
    return PaperBroker(ledger, "paper", view, clock, RULES, CostSettings())


def mark(view: MarketView, clock: ManualClock, price: float = 61_000.0) -> None:
    now = clock.market_ms()
    assert view.on_mark(MarkReading(BTC, price, price, RATE, now + HOUR_MS, now, clock.wall_ms()))


async def test_settlements_of_the_time_that_the_trader_was_down_are_charged_once(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Two settlements passed since somebody looked after the account; those before it were booked then, or nothing was held."""
    clock, view = ManualClock(OPENED + 17 * HOUR_MS), MarketView((BTC,))
    for life in range(2):
        with LiveStateWriter(tmp_path / f"live-{life}.db") as writer, Spool(tmp_path / "spool") as spool:
            client: Any = Published()
            feeds = Feeds(
                client, [BTC], [Interval.M5], view, writer, spool, clock, settled_since_ms=ledger.seen_to("paper")
            )
            await feeds.poll_slow(clock.market_ms(), first=True)
        due = [OPENED + 8 * HOUR_MS, OPENED + 16 * HOUR_MS]
        assert feeds.settled == {BTC: [(ts, RATE) for ts in due]}
        session: Any = SimpleNamespace(broker=broker_on(ledger, view, clock), tick=lambda: Mode.ACTIVE)
        mark(view, clock)
        Trader(Home(tmp_path, "test"), Settings(data_root=tmp_path), Endpoint()).tick(session, feeds)
        assert feeds.settled == {BTC: []}
        paid = ledger.funding_payments("paper")
        assert [(one.settlement_ms, one.amount) for one in paid] == [(ts, Decimal("-0.61000")) for ts in reversed(due)]
        clock.advance(1_000)


async def test_a_first_trader_asks_for_nothing_that_was_settled_before(tmp_path: Path) -> None:
    clock = ManualClock(OPENED + 17 * HOUR_MS)
    with LiveStateWriter(tmp_path / "live.db") as writer, Spool(tmp_path / "spool") as spool:
        client: Any = Published()
        feeds = Feeds(client, [BTC], [Interval.M5], MarketView((BTC,)), writer, spool, clock)
        await feeds.poll_slow(clock.market_ms(), first=True)
        assert feeds.settled == {BTC: []}


def test_a_settlement_waits_for_a_mark_price(ledger: Ledger) -> None:
    """A process that has just begun knows no mark yet: the charge is made at the first tick that has one."""
    clock, view = ManualClock(OPENED + 9 * HOUR_MS), MarketView((BTC,))
    broker = broker_on(ledger, view, clock)
    assert broker.settle(BTC, OPENED + 8 * HOUR_MS, Decimal("0.0001")) is None
    broker.tick()
    assert ledger.funding_payments("paper") == []
    mark(view, clock)
    for _ in range(2):
        broker.tick()
        (paid,) = ledger.funding_payments("paper")
        assert paid.amount == Decimal("-0.61000")


def test_a_settlement_that_could_not_be_booked_is_kept_for_the_next_session(ledger: Ledger, tmp_path: Path) -> None:
    clock, view = ManualClock(OPENED + 9 * HOUR_MS), MarketView((BTC,))
    mark(view, clock)
    feeds: Any = SimpleNamespace(settled={BTC: [(OPENED + 8 * HOUR_MS, RATE)]})
    trader = Trader(Home(tmp_path, "test"), Settings(data_root=tmp_path), Endpoint())

    def unusable(*_: object) -> None:
        raise LedgerUnusable("the disk is full")

    session: Any = SimpleNamespace(broker=SimpleNamespace(settle=unusable), tick=lambda: Mode.ACTIVE)
    with pytest.raises(LedgerUnusable):
        trader.tick(session, feeds)
    session.broker = broker_on(ledger, view, clock)
    trader.tick(session, feeds)
    assert len(ledger.funding_payments("paper")) == 1
    assert feeds.settled == {BTC: []}
