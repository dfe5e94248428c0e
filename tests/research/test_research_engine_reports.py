"""Paths of the Monte-Carlo and the parts of an attribution."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from engine_market import LIMITS, SEATS, FixedCrowd, FixedForecaster, market
from numba import typeof

from hydra_core.alpha.models import Models
from hydra_core.decision import Limits, assemble
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.report.research import Research
from hydra_core.report.sections import research_sections
from hydra_core.research import plots
from hydra_core.research.backtest import FillRules, backtest
from hydra_core.research.books import book_of, trade_forecast, trade_models
from hydra_core.research.engine.attribution import (
    COSTS,
    FUNDING,
    LAYERS,
    REGIMES,
    RISK,
    UNKNOWN,
    VOTES,
    attribute,
    by_pair,
    by_regime,
    regimes_of,
)
from hydra_core.research.engine.inputs import CLOSE, HIGH, LOW, OPEN
from hydra_core.research.engine.montecarlo import CostDraws, cost_stress, resampled, resampled_rows, simulate_paths
from hydra_core.research.engine.results import Prepared, trade
from hydra_core.research.folds import Span
from hydra_core.research.origins import origins
from hydra_core.settings import Settings

ROWS = 288 * 6


@pytest.fixture(scope="module")
def prepared():
    panel, signals = market(21, rows=ROWS)
    return Prepared.of(panel, signals, LIMITS), signals


def test_a_path_is_made_of_the_days_that_were(prepared):
    span, _ = prepared
    rows = resampled_rows(span.market.close_ms, 2, np.random.default_rng(3))
    drawn = resampled(span, rows)
    shape = (-1, 8)
    old, new = span.market.numbers, drawn.market.numbers
    open_, high, low, close = (new[field].reshape(shape) for field in (OPEN, HIGH, LOW, CLOSE))
    body = np.log(old[CLOSE] / old[OPEN]).reshape(shape)[rows]
    np.testing.assert_allclose(np.log(close / open_), body, atol=1e-12)
    assert (high >= np.maximum(open_, close) * (1 - 1e-12)).all()
    assert (low <= np.minimum(open_, close) * (1 + 1e-12)).all()
    before = old[CLOSE].reshape(shape)
    moves = np.log(before[1:] / before[:-1])
    inside = rows[1:] > 0
    np.testing.assert_allclose(np.diff(np.log(close), axis=0)[inside], moves[rows[1:][inside] - 1], atol=1e-12)
    day = (drawn.market.close_ms - 1) // DAY_MS
    assert len(np.unique(day)) * 288 == rows.size
    assert rows.size == ROWS
    assert (span.signals.numbers[0].reshape(shape)[rows] == drawn.signals.numbers[0].reshape(shape)).all()


def test_the_span_itself_is_a_path(prepared):
    span, _ = prepared
    same = trade(resampled(span, np.arange(ROWS)), LIMITS, assume_approvals=SEATS).result
    np.testing.assert_allclose(same.equity, trade(span, LIMITS, assume_approvals=SEATS).result.equity, rtol=1e-9)


def test_paths_differ_and_dear_ones_earn_less(prepared):
    span, _ = prepared
    kept = {"paths": 60, "rng": np.random.default_rng(5), "assume_approvals": SEATS}
    seen = simulate_paths(span, LIMITS, draws=CostDraws(0.0, 8.0, (0,)), **kept)
    assert len(set(seen.net_return)) == 60
    assert np.corrcoef(seen.cost_factor, seen.net_return)[0, 1] < -0.3
    told = seen.summary()
    assert told["net_return_q0.05"] < told["net_return_q0.50"] < told["net_return_q0.95"]
    assert 0 <= told["chance_of_loss"] <= 1
    assert told["drawdown_q0.95"] > 0


def test_stress_of_costs_is_told_by_name(prepared):
    span, _ = prepared
    told = cost_stress(span, LIMITS, {"plain": FillRules(), "dear": FillRules(cost_factor=3.0)}, assume_approvals=SEATS)
    plain = trade(span, LIMITS, assume_approvals=SEATS).result
    assert told["plain"] == pytest.approx(plain.equity[-1] / 10_000 - 1, rel=1e-12)
    assert told["dear"] < told["plain"]


def test_every_attribution_sums_to_the_profit(prepared):
    span, signals = prepared
    told = attribute(span, LIMITS, regimes_of(span, signals.state.regimes, span.panel), assume_approvals=SEATS)
    result = trade(span, LIMITS, assume_approvals=SEATS).result
    assert told.net == pytest.approx(result.equity[-1] - 10_000, abs=1e-9)
    assert tuple(told.layers) == LAYERS
    for parts in (told.layers, told.pairs, told.regimes):
        assert sum(parts.values()) == pytest.approx(told.net, abs=1e-7)
    assert told.layers[LAYERS[-1]] < 0  # costs take
    assert sum(cost["fees"] for cost in told.pair_costs.values()) == pytest.approx(result.fees.sum(), rel=1e-9)


def test_a_layer_that_changes_nothing_earns_nothing(prepared):
    span, signals = prepared
    regimes = regimes_of(span, signals.state.regimes, span.panel)
    free, everybody = FillRules(cost_factor=0.0), {*SEATS, "forecaster"}
    told = attribute(span, LIMITS, regimes, fills=free, assume_approvals=everybody)
    assert told.layers[VOTES] == told.layers[COSTS] == 0.0
    assert told.layers[RISK] != 0.0
    unpaid = replace(span, market=span.market._replace(due=np.zeros_like(span.market.due)))
    assert attribute(unpaid, LIMITS, regimes, assume_approvals=SEATS).layers[FUNDING] == 0.0


def test_the_funding_layer_is_the_funding_where_it_changes_no_decision(prepared):
    """One small position a pair, held through: what the layer adds is what was booked as funding."""
    span, signals = prepared
    held = np.broadcast_to(np.array([1.0, -1.0] * 4), span.panel.close.shape)
    forecast = replace(signals.forecast, expected_return=0.2 * held, confidence=0 * held + 0.9)
    free = replace(
        LIMITS,
        risk=LIMITS.risk.model_copy(
            update={"max_position_notional": 100.0, "max_positions": 8, "stop_sigmas": 100.0, "position_loss_limit": 1.0,
                    "day_loss_limit": 1.0, "drawdown_limit": 1.0, "correlation_spike": 1.0, "correlation_penalty": 0.0,
                    "extreme_regime_probability": 1.0}
        ),
        decision=LIMITS.decision.model_copy(update={"resize_band": 1e9}),
    )  # fmt: skip
    made = Prepared.of(span.panel, assemble(span.panel, free, forecast, state=signals.state), free)
    fills = FillRules(cost_factor=0.0)
    told = attribute(made, free, signals.state.regimes, fills=fills, assume_approvals={*SEATS, "forecaster"})
    booked = trade(made, free, fills=fills, assume_approvals={*SEATS, "forecaster"}).result.funding.sum()
    assert abs(booked) > 0.01
    assert told.layers[FUNDING] == pytest.approx(booked, rel=0.02)


def test_profit_is_booked_on_the_regime_known_before_the_bar(prepared):
    span, _ = prepared
    result = trade(span, LIMITS, assume_approvals=SEATS).result
    profit = np.zeros_like(result.pair_profit)
    profit[0, 0], profit[1, 0], profit[2, 0], profit[3, 1] = 1.0, 2.0, 4.0, 8.0
    known = np.zeros((*profit.shape, 3))
    known[..., 0] = 1.0
    known[1, 0] = (0.2, 0.3, 0.5)  # counts in row 2
    known[2, 1] = np.nan
    made = replace(result, pair_profit=profit)
    assert by_regime(made, known) == {REGIMES[0]: 2.0, REGIMES[1]: 0.0, REGIMES[2]: 4.0, UNKNOWN: 9.0}
    assert list(by_pair(made).values())[:3] == [7.0, 8.0, 0.0]


def test_the_report_tells_where_the_profit_came_from(tmp_path):
    panel, signals = market(21, rows=288 * 12)
    span = Span(288, 288 * 12)
    told = json.loads(json.dumps(origins(panel, signals.forecast, LIMITS, span, paths=30)))
    assert sum(told["attribution"]["layers"].values()) == pytest.approx(told["attribution"]["net"], abs=1e-6)
    assert len(told["paths"]["net_return"]) == 30
    assert told["paths"]["net_return"] == sorted(told["paths"]["net_return"])
    for picture in (plots.attribution_picture(told["attribution"]), plots.paths_picture(told["paths"])):
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 50_000
    page = research_sections(None, Research(origins=told), Settings())[-1]
    assert page.title == "Where the profit came from"
    assert len(page.plots) == 5
    rows = {row[0]: row[1] for row in page.tables[0].rows}
    assert rows["net"] == told["attribution"]["net"]
    assert set(LAYERS) < set(rows)
    assert {row[0] for row in page.tables[1].rows} == set(panel.pairs)
    short = origins(panel, signals.forecast, LIMITS, Span(288, 288 * 4), paths=30)
    assert short["paths"] == {}
    assert len(research_sections(None, Research(origins=short), Settings())[-1].plots) == 3


def test_what_cannot_be_resampled_is_refused(prepared):
    span, _ = prepared
    with pytest.raises(InputMissing, match="whole days"):
        resampled_rows(span.market.close_ms[:200], 1, np.random.default_rng(1))
    with pytest.raises(UsageError, match="at least one"):
        simulate_paths(span, LIMITS, 0, np.random.default_rng(1))


def test_judged_books_are_the_row_by_row_backtests():
    panel, signals = market(33, rows=900)
    span, limits = Span(200, 880), Limits()
    part = panel.rows(slice(0, span.end))
    book = trade_forecast(panel, signals.forecast, limits, span, cost_factor=1.5)
    assessment = assemble(part, limits, signals.forecast.rows(slice(span.start, span.end)))
    fills = FillRules(cost_factor=1.5)
    reference = book_of(
        backtest(part, assessment, limits, span.start, span.end, assume_approvals=SEATS, fills=fills), part
    )
    np.testing.assert_allclose(book.equity, reference.equity, rtol=1e-12)
    assert sorted(book.entered_ms) == sorted(reference.entered_ms)
    models = Models(FixedForecaster(signals.forecast, panel), FixedCrowd(0.1))
    several = trade_models(panel, models, limits, span)
    alone = book_of(backtest(part, models, limits, span.start, span.end), part)
    np.testing.assert_allclose(several.equity, alone.equity, rtol=1e-12)


def test_resampled_days_are_traded_by_the_engine_as_it_is_compiled():
    panel, signals = market(4, rows=1_200)
    prepared = Prepared.of(panel, signals, LIMITS)
    drawn = resampled(prepared, resampled_rows(prepared.market.close_ms, 1, np.random.default_rng(1)))
    for before, after in ((prepared.market, drawn.market), (prepared.signals, drawn.signals)):
        assert [typeof(one) for one in before] == [typeof(one) for one in after]
