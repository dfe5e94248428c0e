"""Paths of the Monte-Carlo and the parts of an attribution."""

from __future__ import annotations

import numpy as np
import pytest
from engine_market import LIMITS, SEATS, FixedCrowd, FixedForecaster, market

from hydra_core.alpha.models import Models
from hydra_core.decision import Limits, assemble
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.research.backtest import FillRules, backtest
from hydra_core.research.books import book_of, trade_forecast, trade_models
from hydra_core.research.engine.attribution import LAYERS, attribute, regimes_of
from hydra_core.research.engine.inputs import CLOSE, HIGH, LOW, OPEN
from hydra_core.research.engine.montecarlo import CostDraws, cost_stress, resampled, resampled_rows, simulate_paths
from hydra_core.research.engine.results import Prepared, trade
from hydra_core.research.folds import Span

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
