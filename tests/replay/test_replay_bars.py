"""Recorded bars through the trader's own code: the money is what the wanted positions say, in memory as in a database."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import CANDLES, FUNDING, Floats, MarketRules, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.domain.trading import Mode, OrderState
from hydra_core.home import Home
from hydra_core.ledger.memory import MemoryLedger
from hydra_core.ledger.records import OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.replay.bars import BarReplay, Wanted
from hydra_core.replay.ledgers import Entries, book_faults
from hydra_core.research.engine.inputs import Settlements
from hydra_core.settings import CostSettings, Settings

PAIRS = DEFAULT_PAIRS[:3]
START_MS = 1_704_067_200_000
RULES = {pair: MarketRules(pair, Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(5)) for pair in PAIRS}
NO_IMPACT = CostSettings(impact_coefficient=0.0, latency_ms=0)


def bars(count: int, seed: int = 3, drift: float = 0.0) -> Panel:
    rng = np.random.default_rng(seed)
    close = np.round(100.0 * np.exp(np.cumsum(drift + 0.002 * rng.standard_normal((count, len(PAIRS))), axis=0)), 2)
    none = np.full(close.shape, np.nan)
    ts = START_MS + FORECAST_INTERVAL.ms * np.arange(count, dtype=np.int64)
    volume, rate = np.full(close.shape, 1e4), np.full(close.shape, 1e-4)
    inputs = frozenset({CANDLES, FUNDING})
    return Panel(PAIRS, FORECAST_INTERVAL, ts, close, close, close, close, volume, rate, *[none] * 4, inputs)


def positions(count: int, seed: int = 5) -> Floats:
    """Random positions, held for a while, some crossing zero, flat at the end."""
    rng = np.random.default_rng(seed)
    wanted = np.repeat(rng.integers(-3, 4, (count // 6 + 1, len(PAIRS))), 6, axis=0)[:count].astype(float)
    wanted[-1] = 0.0
    return wanted


def led(
    folder: Path,
    panel: Panel,
    wanted: Wanted,
    costs: CostSettings = NO_IMPACT,
    ledger: Ledger | None = None,
    settlements: Settlements | None = None,
) -> BarReplay:
    home = Home(folder, "replay").create()
    settings = Settings(data_root=folder, pairs=PAIRS, costs=costs, groq_api_key=None)
    replay = BarReplay(
        panel, wanted, home, settings, RULES, Decimal(100_000), settlements=settlements, ledger=ledger
    )  # fmt: skip
    replay.run()
    return replay


def test_the_account_earns_what_the_wanted_positions_say(tmp_path: Path) -> None:
    panel, wanted = bars(90), positions(90)
    costs = CostSettings(impact_coefficient=0.0, latency_ms=0, half_spread_bp=2.0, slippage_bp=1.0)
    replay = led(tmp_path, panel, Wanted(wanted), costs)
    change = np.diff(wanted, axis=0, prepend=0.0)
    price = panel.close * (1 + np.sign(change) * 3e-4)
    expected = -(change * price).sum() - (np.abs(change) * price * 0.0005).sum()
    account = replay.ledger.account(replay.account)
    assert float(account.cash - account.initial_balance) == pytest.approx(expected, abs=1e-4)
    assert replay.ledger.positions(replay.account) == {}
    crossed = (wanted[:-1] * wanted[1:] < 0).sum()
    assert len(replay.ledger.fills(replay.account)) == (change != 0).sum() + crossed
    assert all(one.fill.event_ms in panel.close_ms for one in replay.ledger.fills(replay.account))


def test_with_latency_orders_fill_at_the_next_close(tmp_path: Path) -> None:
    panel = bars(10)
    wanted = np.full((10, 3), np.nan)
    wanted[3, 1] = 2.0
    replay = led(tmp_path, panel, Wanted(wanted), CostSettings(impact_coefficient=0.0, latency_ms=250))
    (booked,) = replay.ledger.fills(replay.account)
    assert booked.fill.event_ms == panel.close_ms[4]
    assert float(booked.fill.price) == pytest.approx(panel.close[4, 1] * 1.0002)


def test_books_in_memory_are_those_of_a_database(tmp_path: Path) -> None:
    panel, count = bars(70), 70
    stop = np.where(positions(count) > 0, panel.close * 0.999, panel.close * 1.001)
    wanted = Wanted(positions(count), stop)
    due = np.zeros(panel.close.shape, np.bool_)
    due[[20, 50]] = True
    settled = Settlements(due, panel.funding_rate)
    inside = led(tmp_path / "a", panel, wanted, settlements=settled)
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as file:
        outside = led(tmp_path / "b", panel, wanted, ledger=file, settlements=settled)
        ours, theirs, name = inside.ledger, outside.ledger, inside.account
        assert ours.fills(name) == theirs.fills(name)
        assert any(one.fill.reason.startswith("stop") for one in ours.fills(name))
        assert ours.orders(name) == theirs.orders(name)
        assert len(ours.orders(name)) > 20
        for order in ours.orders(name):
            assert ours.order_history(order.order_id) == theirs.order_history(order.order_id)
            assert ours.executed(order.plan_id, order.pair) == theirs.executed(order.plan_id, order.pair)
        assert ours.account(name) == theirs.account(name)
        assert ours.positions(name) == theirs.positions(name)
        assert ours.equity_curve(name) == theirs.equity_curve(name)
        assert ours.executions(name) == theirs.executions(name)
        assert ours.funding_payments(name) == theirs.funding_payments(name) != []
        assert ours.turnover(name, int(panel.ts[30])) == theirs.turnover(name, int(panel.ts[30])) > 0
        for pair in PAIRS:
            at = int(panel.ts[41])
            assert ours.position(name, pair) == theirs.position(name, pair)
            assert ours.quantity_at(name, pair, at) == theirs.quantity_at(name, pair, at)
        newest = ours.latest_plan(name)
        assert newest is not None
        assert newest == theirs.latest_plan(name)
        assert ours.standing_plan(name, newest.cycle_ms) == theirs.standing_plan(name, newest.cycle_ms)
    assert book_faults(ours, Entries.read(ours, name)) == {}


def test_a_days_loss_flattens_and_latches_in_memory_too(tmp_path: Path) -> None:
    panel = bars(40, drift=-0.004)
    wanted = np.full((40, 3), np.nan)
    wanted[5] = 300.0
    replay = led(tmp_path, panel, Wanted(wanted))
    latched = replay.ledger.latched(replay.account)
    assert "day_loss" in latched
    assert latched["day_loss"].mode is Mode.FLATTEN
    assert replay.ledger.positions(replay.account) == {}
    assert not replay.ledger.latch(replay.account, "day_loss", "again", Mode.FLATTEN, 0)
    assert replay.ledger.portfolio(replay.account, {}, int(panel.ts[-1])).latched.keys() == latched.keys()


def test_a_pair_without_a_candle_has_no_news_and_a_hole_in_what_is_wanted_asks_for_nothing(tmp_path: Path) -> None:
    panel = bars(12)
    panel.close[6:, 2] = np.nan
    wanted = np.full((12, 3), np.nan)
    wanted[2], wanted[4, 0], wanted[8, 2] = 1.0, 1.0, 0.0
    replay = led(tmp_path, panel, Wanted(wanted), CostSettings(impact_coefficient=0.0))
    assert [len(asked) for asked in Wanted(wanted).changes()] == [0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert {fill.fill.pair for fill in replay.ledger.fills(replay.account)} == set(PAIRS)
    assert set(replay.ledger.positions(replay.account)) == set(PAIRS)  # there was no quote to close the third at


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wanted positions of shape"):
        led(tmp_path, bars(12), Wanted(np.zeros((11, 3))))


def test_books_in_memory_refuse_what_they_do_not_keep_and_what_contradicts_them() -> None:
    with MemoryLedger() as ledger:
        ledger.open_account("one", Decimal(100), START_MS)
        with pytest.raises(HydraError, match="fresh name"):
            ledger.open_account("one", Decimal(100), START_MS)
        with pytest.raises(HydraError, match="no account 'two'"):
            ledger.positions("two")
        with pytest.raises(UsageError, match="do not keep this"):
            ledger.heartbeat("trader", 0)
        with pytest.raises(HydraError, match="no order"):
            ledger.move_order("x", OrderState.OPEN, 0)
        assert [one.name for one in ledger.accounts()] == ["one"]
        assert ledger.portfolio("one", {}, START_MS + DAY_MS).day_start_equity == 100.0


def test_a_booking_repeated_in_memory_changes_nothing(tmp_path: Path) -> None:
    panel, wanted = bars(12), np.full((12, 3), np.nan)
    wanted[3, 0] = 1.0
    replay = led(tmp_path, panel, Wanted(wanted))
    ledger, name = replay.ledger, replay.account
    (booked,) = ledger.fills(name)
    order: OrderRecord = ledger.order(booked.fill.order_id)
    before = ledger.account(name), ledger.positions(name)
    assert not ledger.record_fill(booked.fill, OrderState.FILLED)
    assert not ledger.record_order(order)
    assert not ledger.record_equity(name, ledger.equity_curve(name)[-1].ts_ms, Decimal(1), Decimal(1), Decimal(0))
    plan = ledger.latest_plan(name)
    assert plan is not None
    assert not ledger.record_plan(plan, name, "hydra")
    assert not ledger.end_plan(plan.plan_id, 0, "again")
    assert (ledger.account(name), ledger.positions(name)) == before
    other = replace(booked.fill, price=Decimal(1))
    with pytest.raises(HydraError, match="other numbers"):
        ledger.record_fill(other)
