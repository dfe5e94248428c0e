"""Trading rules as tables of candles with their trades beside them; the real engine runs each.

Columns: open, high, low, close, and the forecast made on that close (in percent of price; ``.`` for none). Costs are zero, so a
fill at a price is that price. A position is stopped 5 % from the close it was decided on, and lasts four bars.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from decision_market import BAR_MS, START_MS, calm_state, forecast_of, panel_of

from hydra_core.decision import Limits, assemble
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.research.backtest import FillRules, backtest
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings

BTC = Pair("BTCUSDT")
L, S = Side.LONG, Side.SHORT
FREE = CostSettings(taker_fee_bp=0, half_spread_bp=0, slippage_bp=0, impact_coefficient=0)
LIMITS = Limits(
    DecisionSettings(),
    RiskSettings(day_loss_limit=0.5, drawdown_limit=0.5, position_loss_limit=0.2),
    FREE,
    horizon_bars=4,
)


@dataclass(frozen=True)
class Case:
    """A story, its candles, and the trades it must lead to: (side, (row, price) entered, (row, price) left, why)."""

    story: str
    candles: str
    trades: list[tuple]
    fills: FillRules = field(default_factory=lambda: FillRules(gap_share=0.0))
    confidence: float = 0.7
    limits: Limits = LIMITS


CASES = [
    Case(
        "entered at the open after the close that decided it; held while the forecast keeps its side",
        """
        100 101  99 100  +3
        101 102 100 101  +3
        102 103 101 102  +2
        103 104 102 103  .
        """,
        [(L, (1, 101), (3, 103), "end")],
    ),
    Case(
        "a forecast that turns closes at the next open and goes the other way",
        """
        100 101  99 100  +3
        101 102 100 101  +3
        102 103 101 102  -3
        103 104 102 103  -3
        104 105 103 104  -3
        """,
        [(L, (1, 101), (3, 103), "approved"), (S, (3, 103), (4, 104), "end")],
    ),
    Case(
        "an expected return inside the cost band closes",
        """
        100 101  99 100  +3
        101 102 100 101  +0
        102 103 101 102  +0
        103 104 102 103  +0
        """,
        [(L, (1, 101), (2, 102), "cost-band")],
    ),
    Case(
        "the stop fills at its trigger",
        """
        100 101  99 100  +3
        100 101  99 100  +3
        100 101  94  96  .
         96  97  95  96  .
        """,
        [(L, (1, 100), (2, 95), "stop")],
    ),
    Case(
        "a position is exposed to its stop from the bar it was entered in",
        """
        100 101  99 100  +3
        100 112  94 110  .
        110 111 109 110  .
        """,
        [(L, (1, 100), (1, 95), "stop")],
    ),
    Case(
        "a bar that opens beyond the stop fills at the open, not at the stop",
        """
        100 101  99 100  +3
        100 101  99 100  +3
         90  91  89  90  .
         90  91  89  90  .
        """,
        [(L, (1, 100), (2, 90), "stop")],
    ),
    Case(
        "a stop gives away a share of what lies beyond it",
        """
        100 101  99 100  +3
        100 101  99 100  +3
        100 101  85  96  .
         96  97  95  96  .
        """,
        [(L, (1, 100), (2, 90), "stop")],
        FillRules(gap_share=0.5),
    ),
    Case(
        "a short's stop lies above",
        """
        100 101  99 100  -3
        100 101  99 100  -3
        100 106  99 100  .
        100 101  99 100  .
        """,
        [(S, (1, 100), (2, 105), "stop")],
    ),
    Case(
        "a crash through the liquidation price takes the whole margin and no more",
        """
        100 101  99 100  +3
        100 101  99 100  +3
         40  41  39  40  .
         40  41  39  40  .
        """,
        [(L, (1, 100), (2, 66.666667), "liquidation")],
    ),
    Case(
        "without a forecast a position lives on its stop until its horizon is over",
        """
        100 101  99 100  +3
        100 101  99 100  .
        100 101  99 100  .
        100 101  99 100  .
        100 101  99 100  .
        100 101  99 100  .
        100 101  99 100  .
        """,
        [(L, (1, 100), (5, 100), "horizon")],
    ),
    Case(
        "a forecaster below the threshold opens nothing",
        """
        100 101  99 100  +3
        100 101  99 100  +3
        100 101  99 100  +3
        """,
        [],
        confidence=0.59,
    ),
    Case(
        "an order can be late by a bar",
        """
        100 101  99 100  +3
        101 102 100 101  +3
        102 103 101 102  +3
        103 104 102 103  +3
        """,
        [(L, (2, 102), (3, 103), "end")],
        FillRules(gap_share=0.0, delay_bars=1),
    ),
    Case(
        "a stop cancels what is still on its way",
        """
        100 101  99 100  +3
        100 101  99 100  +3
        100 101  99 100  -3
        100 101  94  95  .
         95  96  94  95  .
         95  96  94  95  .
        """,
        [(L, (2, 100), (3, 95), "stop")],
        FillRules(gap_share=0.0, delay_bars=1),
    ),
    Case(
        "a position that lost its share of equity is closed and not entered again that day",
        """
        100 101  99 100  +3
        100 101  99 100  +3
        100 101  96  96  +3
         96  97  95  96  +3
         96  97  95  96  +3
        """,
        [(L, (1, 100), (3, 96), "position-loss")],
        limits=Limits(
            DecisionSettings(),
            RiskSettings(day_loss_limit=0.5, drawdown_limit=0.5, position_loss_limit=0.005),
            FREE,
            horizon_bars=4,
        ),
    ),
    Case(
        "a day loss flattens, and nothing is entered for the rest of the day",
        """
        100 101  99 100  +3
        100 101  99 100  +3
        100 101  96  96  +3
         96  97  95  96  +3
         96  97  95  96  +3
        """,
        [(L, (1, 100), (3, 96), "kill-switch")],
        limits=Limits(DecisionSettings(), RiskSettings(day_loss_limit=0.005), FREE, horizon_bars=4),
    ),
    Case(
        "a bar that is missing fills nothing and decides nothing",
        """
        100 101  99 100  +3
        nan nan nan nan  +3
        100 101  99 100  +3
        100 101  99 101  +3
        """,
        [(L, (3, 100), (3, 101), "end")],
    ),
]


def read(candles: str):
    rows = [line.split() for line in candles.strip().splitlines()]
    prices = np.array([[float(x) for x in row[:4]] for row in rows])
    for o, h, low, c in prices[np.isfinite(prices).all(axis=1)]:
        assert low <= min(o, c) <= max(o, c) <= h, "a candle that makes no sense"
    expected = np.array([[np.nan if row[4] == "." else float(row[4]) / 100] for row in rows])
    return [column[:, None] for column in prices.T], expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.story)
def test_candle_table(case: Case):
    (o, h, low, c), expected = read(case.candles)
    panel = panel_of(o, h, low, c, [BTC])
    forecast = forecast_of(expected, case.confidence, volatility=0.025)
    assessment = assemble(panel, case.limits, forecast, state=calm_state(len(panel), 1))
    result = backtest(panel, assessment, case.limits, fills=case.fills, assume_approvals={"crowd", "analyst", "policy"})
    found = [
        (t.side, (t.entered_row, round(t.entered_price, 6)), (t.left_row, round(t.left_price, 6)), t.why)
        for t in result.trades
    ]
    assert found == case.trades


def test_funding_is_paid_on_what_is_held_at_the_settlement_and_on_nothing_else():
    """Ten settlements against a ledger kept by hand; a position closed a bar before one pays nothing."""
    rows = 10 * 96 + 1
    rates = np.random.default_rng(7).normal(0, 1e-4, 11)
    close = 100 + 5 * np.sin(np.arange(rows) / 50)[:, None]
    opening = np.vstack([close[:1], close[:-1]])
    panel = panel_of(opening, np.maximum(opening, close), np.minimum(opening, close), close, [BTC], 0.0)
    for row in range(rows):  # the rate settled at or before the bar's close
        panel.funding_rate[row] = rates[int(panel.close_ms[row] - START_MS) // (96 * BAR_MS)]
    expected = np.full((rows, 1), 0.03)
    expected[5 * 96 - 3 : 5 * 96] = 0.0  # flat over the fifth settlement
    limits = Limits(costs=FREE, horizon_bars=10_000)
    assessment = assemble(panel, limits, forecast_of(expected, volatility=0.2), state=calm_state(rows, 1))
    result = backtest(panel, assessment, limits, assume_approvals={"crowd", "analyst", "policy"})
    by_hand = np.zeros(rows)
    for k in range(1, 11):
        row = 96 * k - 1
        by_hand[row] = -result.quantity[row, 0] * close[row, 0] * rates[k]
    assert (result.quantity[:, 0] > 0).sum() > rows - 10
    assert by_hand[5 * 96 - 1] == 0
    assert np.count_nonzero(by_hand) == 9
    np.testing.assert_allclose(result.funding, by_hand, rtol=0, atol=1e-9)


def test_a_missing_rate_makes_the_result_incomplete_never_free():
    panel = panel_of(*(np.full((200, 1), 100.0) for _ in range(4)), [BTC], 1e-4)
    limits = Limits(costs=FREE, horizon_bars=10_000)
    assessment = assemble(panel, limits, forecast_of(np.full((200, 1), 0.03)), state=calm_state(200, 1))
    seats = {"crowd", "analyst", "policy"}
    assert backtest(panel, assessment, limits, assume_approvals=seats).complete
    panel.funding_rate[95] = np.nan
    assert not backtest(panel, assessment, limits, assume_approvals=seats).complete
