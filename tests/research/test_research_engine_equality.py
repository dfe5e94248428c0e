"""The compiled engine does what the row-by-row backtest does, and its books are the ledger's."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from engine_market import LIMITS, SEATS, market, random_panel
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.decision import Limits, assemble
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.series import Series
from hydra_core.domain.trading import Fill, Position, Side
from hydra_core.ledger.accounting import apply_fill, funding_amount
from hydra_core.research.backtest import FillRules, backtest
from hydra_core.research.engine.inputs import Settlements
from hydra_core.research.engine.parameters import Variant
from hydra_core.research.engine.results import Prepared, sweep, trade
from hydra_core.risk.margin import tiers
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings

SERIES = (
    "cash",
    "unrealised",
    "realised",
    "fees",
    "funding",
    "exposure",
    "pair_profit",
)


EXACT = ("equity", "quantity", "target")


def alike(reference, result):
    """What decides to the last bit, every other series to 1e-9, every count and round trip."""
    for name in EXACT:
        np.testing.assert_array_equal(getattr(result, name), getattr(reference, name), err_msg=name)
    for name in SERIES:
        np.testing.assert_allclose(getattr(result, name), getattr(reference, name), rtol=1e-9, atol=1e-9, err_msg=name)
    for name in ("outcomes", "votes", "trips", "liquidations", "complete", "pairs", "initial_equity"):
        assert getattr(result, name) == getattr(reference, name), name
    assert len(result.trades) == len(reference.trades)
    key = [(t.left_row, t.pair, t.entered_row, t.side, t.why) for t in reference.trades]
    assert sorted(key) == sorted((t.left_row, t.pair, t.entered_row, t.side, t.why) for t in result.trades)
    nets = [
        [t.net for t in sorted(r.trades, key=lambda t: (t.left_row, t.pair, t.entered_row))]
        for r in (reference, result)
    ]
    np.testing.assert_allclose(nets[0], nets[1], rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_number_equals_the_row_by_row_backtest(data):
    draw = data.draw
    panel, signals = market(
        draw(st.integers(0, 10**6)),
        sigma=draw(st.sampled_from([0.001, 0.004, 0.02])),
        size=draw(st.sampled_from([0.002, 0.006, 0.03])),
        holes=draw(st.sampled_from([0.0, 0.02])),
    )
    risk = RiskSettings(
        kelly_fraction=draw(st.floats(0.05, 1)),
        risk_per_trade=draw(st.floats(0.002, 0.2)),
        stop_sigmas=draw(st.floats(0.3, 4)),
        max_positions=draw(st.integers(1, 8)),
        max_position_notional=draw(st.floats(500, 50_000)),
        max_total_notional=draw(st.floats(2_000, 100_000)),
        max_leverage=draw(st.floats(0.5, 20)),
        correlation_penalty=draw(st.floats(0, 1)),
        day_loss_limit=draw(st.sampled_from([0.01, 0.05, 1.0])),
        drawdown_limit=draw(st.sampled_from([0.02, 0.1, 1.0])),
        position_loss_limit=draw(st.sampled_from([0.005, 0.03, 1.0])),
    )
    decision = DecisionSettings(
        confidence_threshold=draw(st.floats(0.5, 0.8)), resize_band=draw(st.sampled_from([0.0, 0.25, 2.0]))
    )
    rates = dict.fromkeys(draw(st.sampled_from([(), DEFAULT_PAIRS[:2]])), draw(st.sampled_from([0.004, 0.3])))
    costs = CostSettings(taker_fee_bp=draw(st.floats(0, 8)))
    limits = Limits(decision, risk, costs, draw(st.integers(2, 60)), maintenance=rates)
    signals = replace(signals, sizing=resized(panel, signals, limits))
    fills = FillRules(
        cost_factor=draw(st.sampled_from([0.0, 1.0, 2.0])),
        delay_bars=draw(st.integers(0, 3)),
        gap_share=draw(st.floats(0, 1)),
        fee_tiers=draw(st.sampled_from([(), ((0.0, 5.0), (50_000.0, 3.0), (200_000.0, 1.0))])),
        margin_tiers={DEFAULT_PAIRS[0]: tiers([(0, 0.004), (5_000, 0.01), (20_000, 0.05)])},
    )
    start = draw(st.integers(0, 40))
    more = {"fills": fills, "settlements": every(panel, draw(st.sampled_from([1, 4, 8])))}
    reference = backtest(panel, signals, limits, start, None, 5_000.0, assume_approvals=SEATS, **more)
    prepared = Prepared.of(panel, signals, limits, start, **more)
    found = trade(prepared, limits, 5_000.0, fills=fills, assume_approvals=SEATS)
    alike(reference, found.result)
    unasked = sweep(prepared, [Variant(limits, fills)], 5_000.0, assume_approvals=SEATS)  # leaves out what nobody asks
    np.testing.assert_array_equal(unasked.daily[0], found.result.daily()[1])
    assert unasked.equity[0] == found.result.equity[-1]
    assert unasked.trades[0] == len(found.result.trades)
    assert unasked.liquidations[0] == found.result.liquidations


def resized(panel, signals, limits):
    """Sizes under other limits."""
    return assemble(panel, limits, signals.forecast, state=signals.state).sizing


def every(panel, hours):
    return Settlements.on_grid(panel, hours * HOUR_MS)


def test_seats_that_vote_for_themselves_vote_alike():
    panel, signals = market(5)
    reference = backtest(panel, signals, LIMITS, assume_approvals={"crowd", "policy"})
    found = trade(Prepared.of(panel, signals, LIMITS), LIMITS, assume_approvals={"crowd", "policy"}).result
    alike(reference, found)
    assert set(found.votes) == {"analyst", "crowd", "forecaster", "policy"}


def test_a_sweep_asks_no_seat_in_vain_and_still_trades_the_same():
    panel, signals = market(8, rows=700, size=0.012)
    for assumed in (frozenset(), {"policy"}, {"forecaster", "crowd"}, SEATS | {"forecaster"}):
        prepared = Prepared.of(panel, signals, LIMITS)
        asked = trade(prepared, LIMITS, assume_approvals=assumed).result
        assert sweep(prepared, [Variant(LIMITS)], assume_approvals=assumed).equity[0] == asked.equity[-1]


def test_many_sets_at_once_are_each_their_own_run():
    panel, signals = market(11, rows=900)
    variants = [
        Variant(
            Limits(DecisionSettings(confidence_threshold=threshold), RiskSettings(kelly_fraction=kelly, stop_sigmas=stop)),
            FillRules(cost_factor=factor, delay_bars=delay),
        )
        for threshold, kelly, stop, factor, delay in (
            (0.5, 0.3, 1.0, 1.0, 0), (0.6, 0.1, 2.0, 1.5, 2), (0.55, 0.3, 1.0, 0.5, 1), (0.7, 0.9, 0.5, 1.0, 0),
        )
    ]  # fmt: skip
    prepared = Prepared.of(panel, signals, LIMITS)
    together = sweep(prepared, variants, assume_approvals=SEATS)
    assert len(set(together.equity)) == len(variants)
    for at, variant in enumerate(variants):
        alone = trade(prepared, variant.limits, fills=variant.fills, assume_approvals=SEATS).result
        days, daily = alone.daily()
        np.testing.assert_array_equal(together.days, days)
        np.testing.assert_allclose(together.daily[at], daily, rtol=1e-12, atol=1e-15)
        assert together.equity[at] == alone.equity[-1]
        assert together.trades[at] == len(alone.trades)
        assert together.fees[at] == pytest.approx(alone.fees.sum(), rel=1e-12)
        top = np.maximum.accumulate(np.append(10_000.0, alone.equity))
        assert together.drawdown[at] == pytest.approx((1 - np.append(10_000.0, alone.equity) / top).max(), abs=1e-12)


def test_the_books_are_the_ledgers_on_the_same_fills():
    """Every fill and settlement of a run, booked a second time in Decimal by the ledger's own arithmetic."""
    panel, signals = market(3, rows=1_200, sigma=0.006)
    fills = FillRules(fee_tiers=((0.0, 5.0), (100_000.0, 3.0)))
    found = trade(Prepared.of(panel, signals, LIMITS, fills=fills), LIMITS, fills=fills, assume_approvals=SEATS)
    result = found.result
    assert len(found.fills) > 200
    cash, held = Decimal(10_000), dict.fromkeys(panel.pairs)
    lines = iter([*found.fills.tolist(), [len(panel), 0, 0, 0, 0]])
    line = next(lines)
    last = dict.fromkeys(panel.pairs, Decimal(0))
    for row in range(len(panel)):
        while line[0] == row:
            pair = panel.pairs[int(line[1])]
            change, price, fee = (Decimal(repr(number)) for number in line[2:])
            side = Side.LONG if change > 0 else Side.SHORT
            ts = int(panel.close_ms[row])
            booked = apply_fill(held[pair], fill_of(pair, side, abs(change), price, fee, ts))
            left = booked.position
            gone = left is None or abs(left.quantity) < Decimal("1e-9")  # floats leave dust where Decimal does not
            held[pair], cash = (None if gone else left), cash + booked.cash_change
            line = next(lines)
        for column, pair in enumerate(panel.pairs):
            last[pair] = Decimal(repr(float(panel.close[row, column])))
            if panel.close_ms[row] % (8 * HOUR_MS) == 0 and held[pair] is not None:
                cash += funding_amount(
                    held[pair].quantity, last[pair], Decimal(repr(float(panel.funding_rate[row, column])))
                )
        assert float(cash) == pytest.approx(result.cash[row], abs=1e-9 * 10_000)
        worth = cash + sum((open_profit(one, last) for one in held.values() if one), start=Decimal(0))
        assert float(worth) == pytest.approx(result.equity[row], rel=1e-9)


def open_profit(position: Position, marks) -> Decimal:
    return position.quantity * (marks[position.pair] - position.entry_price)


def fill_of(pair, side, quantity, price, fee, ts) -> Fill:
    known = {"pair": pair, "side": side, "quantity": quantity, "price": price, "fee": fee, "event_ms": ts}
    blank = {name: "x" for name in Fill.__dataclass_fields__ if name not in known}
    return Fill(**{**blank, **known})


def test_funding_is_due_at_each_contracts_own_settlements():
    panel = random_panel(600)
    hourly = panel.ts[0] + HOUR_MS * np.arange(1, 50, dtype=np.int64) + 3  # stamped late by milliseconds
    slow = panel.ts[0] + 8 * HOUR_MS * np.array([1, 2, 4, 5, 6], np.int64)  # one is missing
    series = {
        Pair("BTCUSDT"): Series(hourly, np.full(hourly.size, 1e-5)),
        Pair("ETHUSDT"): Series(slow, np.full(slow.size, 1e-4)),
    }
    due = Settlements.recorded(panel, series)
    btc, eth = panel.pairs.index("BTCUSDT"), panel.pairs.index("ETHUSDT")
    assert (panel.close_ms[due.due[:, btc]] == hourly - 3).all()
    assert np.isfinite(due.rate[due.due[:, btc], btc]).all()
    unknown = due.due[:, eth] & np.isnan(due.rate[:, eth])
    assert panel.close_ms[unknown].tolist() == [panel.ts[0] + 24 * HOUR_MS]


def test_sets_that_need_another_preparation_are_refused():
    panel, signals = market(1)
    prepared = Prepared.of(panel, signals, LIMITS)
    with pytest.raises(UsageError, match="Prepare the span once"):
        sweep(prepared, [Variant(Limits(risk=RiskSettings(pair_multipliers={"BTCUSDT": 0.3})))])
    with pytest.raises(UsageError, match="at least one"):
        sweep(prepared, [])
    with pytest.raises(UsageError, match="ascend"):
        FillRules(fee_tiers=((10.0, 5.0),))
