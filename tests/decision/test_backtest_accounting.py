"""What must hold of every backtest: money balances, limits hold, the live cycle decides the same."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from decision_market import (
    BAR_MS,
    FixedCrowd,
    FixedForecaster,
    SignPolicy,
    calm_state,
    forecast_of,
    panel_of,
    random_panel,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.alpha.models import Models
from hydra_core.decision import Limits, Snapshot, assemble, assess, decide
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import MarkReading, Quote
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.domain.trading import Mode, Portfolio, Position
from hydra_core.research.backtest import FillRules, _Run, backtest
from hydra_core.risk.exposure import gross_cap
from hydra_core.settings import CostSettings, RiskSettings

LIMITS = Limits()
SEATS = frozenset({"crowd", "analyst", "policy"})


def wandering(rows: int, pairs: int = 8, seed: int = 3, size: float = 0.006) -> np.ndarray:
    """Expected returns that drift slowly from side to side."""
    rng = np.random.default_rng(seed)
    level = np.zeros((rows, pairs))
    for row in range(1, rows):
        level[row] = 0.97 * level[row - 1] + 0.24 * rng.standard_normal(pairs)
    return size * level


def run(panel, limits=LIMITS, expected=None, **more):
    expected = wandering(len(panel), len(panel.pairs)) if expected is None else expected
    state = calm_state(len(panel), len(panel.pairs))
    assessment = assemble(panel, limits, forecast_of(expected, 0.5 + 20 * np.abs(expected).clip(0, 0.02)), state=state)
    return backtest(panel, assessment, limits, assume_approvals=SEATS, **more)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 0.02), st.floats(0.5, 3), st.integers(0, 2))
def test_money_balances_in_every_bar(seed, sigma, cost_factor, delay):
    panel = random_panel(260, seed=seed, sigma=sigma)
    result = run(panel, fills=FillRules(cost_factor=cost_factor, delay_bars=delay))
    cash = result.initial_equity + np.cumsum(result.realised - result.fees + result.funding)
    np.testing.assert_allclose(result.cash, cash, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.equity, result.cash + result.unrealised, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        result.pair_profit.sum(axis=1), np.diff(result.equity, prepend=result.initial_equity), rtol=0, atol=1e-9
    )
    last = panel.close[-1]
    net = sum(trade.net for trade in result.trades)
    assert result.equity[-1] == pytest.approx(result.initial_equity + net, abs=1e-9)
    assert np.all((result.quantity[-1] * last != 0) <= (np.abs(result.unrealised[-1]) >= 0))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10**6), st.floats(0.001, 0.02), st.integers(1, 8), st.floats(500, 50_000), st.floats(0.2, 5),
    st.floats(1_000, 1e6),
)  # fmt: skip
def test_targets_never_leave_the_limits(seed, sigma, positions, position_cap, leverage, equity):
    risk = RiskSettings(
        max_positions=positions,
        max_position_notional=position_cap,
        max_total_notional=2.5 * position_cap,
        max_leverage=leverage,
        risk_per_trade=0.05,
    )
    limits = Limits(risk=risk)
    panel = random_panel(200, seed=seed, sigma=sigma)
    result = run(panel, limits, initial_equity=equity)
    notional = np.abs(result.target) * panel.close
    assert notional.max() <= position_cap * (1 + 1e-9)
    assert ((notional > 0).sum(axis=1) <= positions).all()
    caps = np.array([gross_cap(e, risk) for e in result.equity])
    assert (notional.sum(axis=1) <= caps * (1 + 1e-9)).all()


def test_the_engine_equals_two_lines_of_numpy_where_nothing_special_happens():
    """One long held from the second open on, no costs, no stop in reach."""
    panel = random_panel(300, DEFAULT_PAIRS[:1], sigma=0.0003)
    free = CostSettings(taker_fee_bp=0, half_spread_bp=0, slippage_bp=0, impact_coefficient=0)
    panel = replace(panel, inputs=frozenset({"candles"}))
    limits = Limits(costs=free, horizon_bars=10_000)
    result = run(panel, limits, np.full((300, 1), 0.02))
    quantity = result.target[0, 0]
    by_hand = 10_000 + quantity * np.concatenate([[0.0], panel.close[1:, 0] - panel.open[1, 0]])
    np.testing.assert_allclose(result.equity, by_hand, rtol=1e-12)


def test_higher_costs_and_later_fills_do_not_change_what_is_decided_first():
    panel = random_panel(400)
    plain, dear = run(panel), run(panel, fills=FillRules(cost_factor=1.5))
    assert dear.fees.sum() > 1.4 * plain.fees.sum() * 0.9
    first = int(np.flatnonzero(plain.target.any(axis=1))[0])
    np.testing.assert_array_equal(plain.target[: first + 1], dear.target[: first + 1])


def test_what_happens_later_changes_nothing_before():
    panel = random_panel(400)
    expected = wandering(400)
    whole = run(panel, expected=expected)
    part = run(panel.rows(slice(0, 250)), expected=expected[:250])
    np.testing.assert_array_equal(whole.equity[:250], part.equity)
    np.testing.assert_array_equal(whole.target[:250], part.target)


def test_daily_returns_compound_to_the_whole():
    result = run(random_panel(1_000))
    days, returns = result.daily()
    assert days.size == 4
    assert np.prod(1 + returns) == pytest.approx(result.equity[-1] / result.initial_equity)
    assert np.prod(1 + result.returns) == pytest.approx(result.equity[-1] / result.initial_equity)


def test_bars_that_the_signals_do_not_cover_have_none():
    panel = random_panel(300)
    assessment = assemble(panel.rows(slice(100, 200)), LIMITS, forecast_of(wandering(100)), state=calm_state(100, 8))
    result = backtest(panel, assessment, LIMITS, assume_approvals=SEATS)
    held = (result.target != 0).any(axis=1)
    assert not held[:100].any()
    assert held[100:200].any()
    assert not held[260:].any()


@pytest.mark.parametrize("span", [(5, 5), (-1, 4), (0, 301)])
def test_a_span_outside_the_panel_is_refused(span):
    panel = random_panel(300)
    assessment = assemble(panel, LIMITS, None, state=calm_state(300, 8))
    with pytest.raises(InputMissing):
        backtest(panel, assessment, LIMITS, *span)


def test_without_a_forecaster_nothing_is_traded():
    result = backtest(random_panel(120), Models(), LIMITS)
    assert not result.trades
    assert set(result.outcomes) == {"no-signal"}
    assert (result.equity == result.initial_equity).all()


def test_a_crowd_and_a_policy_vote_in_a_backtest():
    panel = random_panel(300)
    forecast = forecast_of(wandering(300), 0.7)
    seated = Models(FixedForecaster(forecast, panel), FixedCrowd(0.1), SignPolicy())
    fearful = replace(seated, crowd=FixedCrowd(0.9), policy=None)
    calm = calm_state(300, 8)
    votes = []
    for models in (seated, fearful):
        hazard = models.crowd.hazard(panel, 300)
        result = backtest(panel, assemble(panel, LIMITS, forecast, hazard, state=calm), LIMITS, policy=models.policy)
        votes.append((result.votes["crowd"], len(result.trades)))
    assert set(votes[0][0]) == {"approve"}
    assert votes[0][1] > 0
    assert set(votes[1][0]) == {"reject"}
    assert votes[1][1] == 0


def test_the_live_cycle_decides_what_the_backtest_decided():
    """Bar by bar: the portfolio as the backtest holds it, given to ``decide``, leads to the same targets and outcomes."""
    rows = 420
    panel = random_panel(2_200, sigma=0.004)
    limits = LIMITS
    forecast = forecast_of(wandering(2_200, size=0.02), 0.7)
    models = Models(FixedForecaster(forecast, panel), FixedCrowd(0.1), SignPolicy())
    assessment = assess(panel, models, limits, last=rows)
    runner = _Run(panel, assessment, limits, 2_200 - rows, 2_200, 10_000.0, FillRules(), {})
    outcomes: Counter[str] = Counter()
    for row in range(2_200 - rows, 2_200):
        day_start, barred = runner.day_start, frozenset(p for p, b in zip(panel.pairs, runner.barred, strict=True) if b)
        latched = dict.fromkeys(runner.latched, "earlier")
        runner.bar(row, models.policy, frozenset())
        account, cycle = runner.account, int(panel.close_ms[row])
        if cycle % (24 * 12 * BAR_MS) == 0:
            continue  # the day's books were closed after the decision
        portfolio = Portfolio(
            account="test",
            cash=account.cash,
            equity=runner.log.equity[-1],
            peak_equity=runner.peak,
            day_start_equity=day_start,
            positions={
                pair: Position(
                    pair,
                    Decimal(repr(account.quantity[i])),
                    Decimal(repr(account.entry[i])),
                    account.opened_ms[i],
                    None if math.isnan(account.stop[i]) else Decimal(repr(account.stop[i])),
                )
                for i, pair in enumerate(panel.pairs)
                if account.quantity[i]
            },
            barred=barred,
            latched=latched,
        )
        prices = dict(zip(panel.pairs, panel.close[row].tolist(), strict=True))
        decision = decide(
            Snapshot(
                cycle_ms=cycle,
                wall_ms=cycle,
                panel=panel.rows(slice(0, row + 1)),
                quotes={p: Quote(p, x * (1 - 1e-5), 1, x * (1 + 1e-5), 1, cycle, cycle) for p, x in prices.items()},
                marks={p: MarkReading(p, x, x, 0.0, cycle, cycle, cycle) for p, x in prices.items()},
                panel_hash="same",
            ),
            models,
            portfolio,
            limits,
            replace(assessment_at(assessment, row - (2_200 - rows))),
        )
        wanted = {p: q for p, q in zip(panel.pairs, runner.log.target[-1], strict=True)}
        planned = {t.pair: t.quantity for t in decision.plan.targets} if decision.plan else {}
        for i, pair in enumerate(panel.pairs):
            assert planned.get(pair, account.quantity[i]) == pytest.approx(wanted[pair], rel=1e-9, abs=1e-12)
        outcomes.update(said.outcome for said in decision.pairs)
        if decision.mode is not Mode.ACTIVE:
            outcomes["not active"] += 1
    assert {"hold", "enter", "close", "refused"} <= set(outcomes)


def assessment_at(assessment, row):
    """The assessment as it stood at one of its rows."""
    state = assessment.state
    cut = {name: getattr(state, name)[row : row + 1] for name in state.__dataclass_fields__ if name != "correlation"}
    sizing, seen = assessment.sizing, assessment.observation
    return replace(
        assessment,
        bar_close_ms=assessment.bar_close_ms[row : row + 1],
        state=replace(state, **cut),
        correlation_at=assessment.correlation_at[row : row + 1],
        forecast=assessment.forecast.rows(slice(row, row + 1)),
        sizing=replace(sizing, **{n: getattr(sizing, n)[row : row + 1] for n in sizing.__dataclass_fields__}),
        hazard=assessment.hazard.rows(slice(row, row + 1)),
        observation=replace(seen, **{n: getattr(seen, n)[row : row + 1] for n in seen.__dataclass_fields__}),
    )


def test_an_assessment_of_the_last_bars_equals_one_of_many():
    panel = random_panel(2_400)
    models = Models(FixedForecaster(forecast_of(wandering(2_400), 0.7), panel), FixedCrowd(0.1), SignPolicy())
    long, short = assess(panel, models, LIMITS, last=90), assess(panel, models, LIMITS, last=1)
    one, other = long.row(-1), short.row(-1)
    assert one.correlation == other.correlation
    for name in ("side", "edge", "risk_share", "stop_distance", "leverage", "volatility", "multiplier", "confidence"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    assert (one.stress.mean_correlation, one.stress.variance_ratio, one.stress.extreme_probability) == pytest.approx(
        (other.stress.mean_correlation, other.stress.variance_ratio, other.stress.extreme_probability), rel=1e-9
    )


def test_a_liquidation_is_counted_and_never_costs_more_than_the_margin():
    close = np.full((40, 1), 100.0)
    close[20:] = 30.0
    opening = np.vstack([close[:1], close[:-1]])
    opening[20] = 30.0
    panel = panel_of(opening, np.maximum(opening, close), np.minimum(opening, close), close, DEFAULT_PAIRS[:1])
    limits = Limits(risk=RiskSettings(risk_per_trade=0.2), horizon_bars=1000)
    result = run(panel, limits, np.full((40, 1), 0.02))
    assert result.liquidations == 1
    assert result.trades[0].why == "liquidation"
    margin = result.trades[0].quantity * result.trades[0].entered_price / limits.risk.max_leverage
    assert result.trades[0].profit == pytest.approx(-margin)
    assert result.equity[-1] > 0
