"""Accounts, orders, fills, funding, latches and commands: repeating any step changes nothing, money always adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from hydra_core.domain.errors import HydraError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Mode, OrderState
from hydra_core.ledger.records import CashEntry, FundingPayment, OrderRecord
from hydra_core.ledger.store import Ledger

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
MakeFill = Callable[..., Fill]


def test_a_fresh_account_leaves_the_earlier_one_as_history(ledger: Ledger, make_fill: MakeFill) -> None:
    ledger.record_fill(make_fill("0.01", "60000"))
    second = ledger.open_account("paper", Decimal(500), market_ms=DAY_MS)
    assert (second.name, second.cash) == ("paper-2", Decimal(500))
    assert ledger.current_account() == second
    assert ledger.positions("paper-2") == {}
    assert set(ledger.positions("paper")) == {BTC}
    assert ledger.position("paper", BTC) == ledger.positions("paper")[BTC]
    assert ledger.position("paper-2", BTC) is None
    assert [one.name for one in ledger.accounts()] == ["paper-2", "paper"]


def test_a_missing_account_is_named(ledger: Ledger) -> None:
    with pytest.raises(HydraError, match="no account 'live'"):
        ledger.portfolio("live", {}, 0)


def test_a_fill_moves_order_position_and_cash_at_once(ledger: Ledger, order: OrderRecord, make_fill: MakeFill) -> None:
    assert ledger.record_order(order)
    assert not ledger.record_order(replace(order, quantity=Decimal(9)))
    half = replace(make_fill("0.004", "60000", fee="0.12"), order_id="o1")
    rest = replace(make_fill("0.006", "60010.5", fee="0.18"), order_id="o1")
    assert ledger.record_fill(half, OrderState.PARTIAL)
    assert ledger.record_fill(rest, OrderState.FILLED)
    booked = ledger.order("o1")
    assert (booked.state, booked.filled, booked.remaining) == (OrderState.FILLED, Decimal("0.010"), Decimal(0))
    assert booked.avg_price == Decimal("60006.3")
    assert not booked.open
    assert [(e.from_state, e.to_state) for e in ledger.order_history("o1")] == [
        ("", "new"), ("new", "partial"), ("partial", "filled"),
    ]  # fmt: skip
    assert ledger.positions("paper")[BTC].entry_price == Decimal("60006.3")
    assert ledger.account("paper").cash == Decimal("999.70")


def test_booking_a_fill_again_changes_nothing(ledger: Ledger, make_fill: MakeFill) -> None:
    once = make_fill("0.01", "60000", fee="0.3")
    assert ledger.record_fill(once)
    before = (ledger.account("paper"), ledger.positions("paper"), ledger.fills("paper"))
    assert not ledger.record_fill(once)
    assert (ledger.account("paper"), ledger.positions("paper"), ledger.fills("paper")) == before
    with pytest.raises(HydraError, match="other numbers"):
        ledger.record_fill(replace(once, price=Decimal(1)))


def test_the_same_trade_id_on_another_pair_is_another_fill(ledger: Ledger, make_fill: MakeFill) -> None:
    assert ledger.record_fill(make_fill("1", "10", trade_id="7"))
    assert ledger.record_fill(make_fill("1", "10", pair=ETH, trade_id="7"))
    assert len(ledger.fills("paper")) == 2


def test_funding_is_booked_once_per_settlement(ledger: Ledger) -> None:
    payment = FundingPayment("paper", BTC, 28_800_000, Decimal("0.0001"), Decimal(1), Decimal(60000), Decimal(-6))
    assert ledger.record_funding(payment)
    assert not ledger.record_funding(replace(payment, amount=Decimal(-7)))
    account = ledger.account("paper")
    assert (account.cash, account.funding) == (Decimal(994), Decimal(-6))
    assert ledger.funding_payments("paper") == [payment]


def test_the_books_add_up_after_every_event(ledger: Ledger, make_fill: MakeFill) -> None:
    for number, (size, price) in enumerate(
        [("2", "10.1"), ("1", "10.7"), ("-5", "9.9"), ("3.5", "10"), ("-1.5", "11")]
    ):
        ledger.record_fill(make_fill(size, price, fee="0.013"))
        ledger.record_fill(make_fill(size, price, pair=ETH, fee="-0.002"))
        amount = Decimal("0.37") * (-1) ** number
        ledger.record_funding(FundingPayment("paper", BTC, number, Decimal("0.0001"), Decimal(1), Decimal(10), amount))
        check = ledger.check_balance("paper")
        assert check.faults == ()
        assert check.cash == check.expected_cash
    assert ledger.positions("paper") == {}


def test_a_position_keeps_its_stop_until_it_is_closed(ledger: Ledger, make_fill: MakeFill) -> None:
    assert not ledger.set_stop("paper", BTC, Decimal(90))
    ledger.record_fill(make_fill("1", "100"))
    assert ledger.set_stop("paper", BTC, Decimal(90))
    ledger.record_fill(make_fill("1", "102"))
    assert ledger.positions("paper")[BTC].stop_price == Decimal(90)
    ledger.record_fill(make_fill("-2", "103"))
    ledger.record_fill(make_fill("1", "104"))
    assert ledger.positions("paper")[BTC].stop_price is None


def test_an_unknown_order_counts_as_open(ledger: Ledger, order: OrderRecord) -> None:
    ledger.record_order(order)
    ledger.move_order("o1", OrderState.PENDING, 2)
    ledger.move_order("o1", OrderState.UNKNOWN, 3, "no answer")
    ledger.move_order("o1", OrderState.UNKNOWN, 4, "no answer")
    assert [(one.state, one.reason, one.updated_ms) for one in ledger.open_orders("paper")] == [
        (OrderState.UNKNOWN, order.reason, 3)
    ]
    ledger.move_order("o1", OrderState.REJECTED, 5, "confirmed absent")
    assert ledger.open_orders("paper") == []
    assert ledger.order("o1").reason == "confirmed absent"
    assert [event.reason for event in ledger.order_history("o1")][1:] == ["", "no answer", "confirmed absent"]
    assert [one.order_id for one in ledger.orders("paper", plan_id="p1", states=[OrderState.REJECTED])] == ["o1"]
    with pytest.raises(HydraError, match="no order 'o9'"):
        ledger.move_order("o9", OrderState.OPEN, 5)


def test_equity_moves_peak_and_day_start(ledger: Ledger, make_fill: MakeFill) -> None:
    ledger.record_equity("paper", 60_000, Decimal(1100), Decimal(1000), Decimal(100))
    ledger.record_equity("paper", 120_000, Decimal(1050), Decimal(1000), Decimal(50))
    assert not ledger.record_equity("paper", 120_000, Decimal(1), Decimal(1), Decimal(0))
    seen = ledger.portfolio("paper", {}, 180_000)
    assert (seen.peak_equity, seen.day_start_equity) == (1100.0, 1000.0)
    assert ledger.portfolio("paper", {}, DAY_MS + 1).day_start_equity == 1050.0, "before the first point of the day"
    ledger.record_equity("paper", DAY_MS + 60_000, Decimal(900), Decimal(900), Decimal(0))
    assert ledger.portfolio("paper", {}, DAY_MS + 120_000).day_start_equity == 1050.0
    assert [float(point.equity) for point in ledger.equity_curve("paper", since_ms=100_000)] == [1050.0, 900.0]


@pytest.mark.parametrize("amount", ["-5000", "-1000", "2500", "90000"])
def test_money_that_a_person_moves_neither_trips_a_switch_nor_hides_a_loss(ledger: Ledger, amount: str) -> None:
    """A day's loss of 4 % and a drawdown of 8 % are the same shares after a deposit or a withdrawal of any size."""
    name = ledger.open_account("moved", Decimal(10_000), market_ms=0).name
    for minute, worth in ((1, 11_000), (2, 10_541)):
        ledger.record_equity(name, minute * 60_000, Decimal(worth), Decimal(worth), Decimal(0))
    ledger.record_equity(name, DAY_MS + 60_000, Decimal(10_120), Decimal(10_120), Decimal(0))
    ledger.record_cash(CashEntry(name, "loss", "UNEXPLAINED", Decimal(120), 3))  # cash as the last worth has it
    before = ledger.portfolio(name, {}, DAY_MS + 120_000)
    assert (before.equity, before.peak_equity, before.day_start_equity) == (10_120, 11_000, 10_541)
    ledger.record_cash(CashEntry(name, "t-1", "TRANSFER", Decimal(amount), 4))
    after = ledger.portfolio(name, {}, DAY_MS + 120_000)
    assert after.equity == 10_120 + float(amount)
    for start in ("peak_equity", "day_start_equity"):
        assert after.equity / getattr(after, start) == pytest.approx(before.equity / getattr(before, start), rel=1e-9)
    ledger.record_cash(CashEntry(name, "r-1", "API_REBATE", Decimal(1), 5))
    assert ledger.portfolio(name, {}, DAY_MS + 120_000).peak_equity == after.peak_equity
    assert ledger.portfolio(name, {}, 3 * DAY_MS).day_start_equity == 10_120 + float(amount), (
        "the next day counts from it"
    )
    assert ledger.check_balance(name).faults == ()


def test_an_account_that_was_emptied_keeps_what_losses_are_counted_from(ledger: Ledger) -> None:
    ledger.record_cash(CashEntry("paper", "t-1", "TRANSFER", Decimal(-1000), 4))
    seen = ledger.portfolio("paper", {}, 60_000)
    assert (seen.equity, seen.peak_equity, seen.day_start_equity) == (0.0, 1000.0, 1000.0)


def test_the_portfolio_is_marked(ledger: Ledger, make_fill: MakeFill) -> None:
    ledger.record_fill(make_fill("-2", "100", fee="1"))
    ledger.bar_pair("paper", ETH, until_ms=5_000, reason="position loss")
    ledger.latch("paper", "day_loss", "lost 6 %", Mode.FLATTEN, 10)
    seen = ledger.portfolio("paper", {BTC: 90.0}, 4_000)
    assert (seen.cash, seen.equity, seen.peak_equity) == (999.0, 1019.0, 1019.0)
    assert seen.barred == {ETH}
    assert seen.latched == {"day_loss": "lost 6 %"}
    assert ledger.portfolio("paper", {}, 5_000).barred == frozenset()


def test_a_latch_stands_with_its_first_reason_until_released(ledger: Ledger) -> None:
    assert ledger.latch("paper", "drawdown", "first", Mode.FLATTEN, 1)
    assert not ledger.latch("paper", "drawdown", "second", Mode.FLATTEN, 2)
    assert ledger.latched("paper")["drawdown"].reason == "first"
    ledger.record_equity("paper", 3, Decimal(800), Decimal(800), Decimal(0))
    assert ledger.release("paper", 4) == ["drawdown"]
    assert ledger.latched("paper") == {}
    assert ledger.portfolio("paper", {}, 5).day_start_equity == 800.0, "a looked-at loss must not trip again at once"
    assert ledger.release("paper", 6) == []
    assert ledger.latch("paper", "drawdown", "third", Mode.FLATTEN, 7)
    assert [latch.reason for latch in ledger.latches("paper")] == ["third", "first"]


def test_a_command_waits_until_it_is_ticked_off(ledger: Ledger) -> None:
    first = ledger.command("flatten", {"pairs": ["BTCUSDT"]}, wall_ms=1)
    ledger.command("resume", {}, wall_ms=2)
    assert [(c.kind, dict(c.args)) for c in ledger.pending_commands()] == [
        ("flatten", {"pairs": ["BTCUSDT"]}), ("resume", {}),
    ]  # fmt: skip
    assert ledger.complete_command(first, 5, "flat")
    assert not ledger.complete_command(first, 6, "again")
    done = ledger.command_by_id(first)
    assert done is not None
    assert (done.result, done.done_wall_ms) == ("flat", 5)
    assert [c.kind for c in ledger.pending_commands()] == ["resume"]


def test_the_last_heartbeat_counts(ledger: Ledger) -> None:
    ledger.heartbeat("trader", 10, {"pid": 1})
    ledger.heartbeat("trader", 20, {"pid": 1})
    assert [(b.who, b.wall_ms, b.payload) for b in ledger.heartbeats().values()] == [("trader", 20, {"pid": 1})]


def test_money_is_never_a_float(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="finite Decimal"):
        ledger.record_equity("paper", 1, 1000.0, Decimal(1), Decimal(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", ["0.1", "1E+3", "123456789012345678901234567890.123456789", "-0.000000000000000001"])
def test_decimals_come_back_exactly(ledger: Ledger, amount: str) -> None:
    value = Decimal(amount)
    ledger.record_equity("paper", 1, value, value, value)
    assert ledger.equity_curve("paper")[0].cash == value
