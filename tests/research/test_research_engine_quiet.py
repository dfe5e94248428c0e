"""Bars that the compiled loop passes without asking every rule: the books are those of the loop that asks."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from engine_market import LIMITS, SEATS, market

from hydra_core.decision import Limits
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.research.engine import loop, results
from hydra_core.research.engine.parameters import Variant
from hydra_core.research.engine.quiet import pass_quiet
from hydra_core.research.engine.results import Prepared, sweep
from hydra_core.research.fills import FillRules
from hydra_core.risk.margin import tiers
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings

ROWS = 420


@pytest.fixture
def bars_passed(monkeypatch):
    """The loop as plain Python; counts the bars it passes."""
    passed = []

    def counting(t, *rest):
        after = pass_quiet(t, *rest)
        passed.append(after - t)
        return after

    monkeypatch.setattr(results, "run", loop.simulate)
    monkeypatch.setattr(loop, "pass_quiet", counting)
    return passed


def asking_all(monkeypatch, *args, **named):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "pass_quiet", lambda t, *rest: t)
        return sweep(*args, **named)


def same_books(one, other):
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_a_held_book_is_mostly_passed_and_ends_the_same(bars_passed, monkeypatch):
    panel, signals = market(4, rows=ROWS, sigma=0.001, size=0.02)
    slow = np.repeat(signals.forecast.expected_return[::60], 60, axis=0)[:ROWS]
    signals = replace(signals, forecast=replace(signals.forecast, expected_return=slow))
    prepared = Prepared.of(panel, signals, LIMITS)
    quick = sweep(prepared, [Variant(LIMITS)], assume_approvals=SEATS)
    assert sum(bars_passed) > ROWS / 2
    assert quick.trades[0] > 5
    same_books(quick, asking_all(monkeypatch, prepared, [Variant(LIMITS)], assume_approvals=SEATS))


@pytest.mark.parametrize(
    ("seed", "sigma", "size", "holes", "risk", "decision", "fills"),
    [
        (1, 0.004, 0.006, 0.02, {}, {}, {}),
        (2, 0.02, 0.03, 0.0, {"risk_per_trade": 0.2, "stop_sigmas": 0.5, "max_leverage": 20.0}, {}, {"gap_share": 1.0}),
        (3, 0.004, 0.03, 0.0, {"day_loss_limit": 0.01, "drawdown_limit": 0.02, "position_loss_limit": 0.004}, {}, {}),
        (4, 0.002, 0.02, 0.0, {"max_total_notional": 6_000.0, "max_position_notional": 2_500.0}, {"resize_band": 0.0}, {}),
        (5, 0.001, 0.006, 0.0, {"kelly_fraction": 0.02, "max_positions": 2}, {"confidence_threshold": 0.55}, {}),
        (6, 0.004, 0.012, 0.01, {"max_positions": 8, "correlation_penalty": 1.0}, {"approvals_needed": 4}, {}),
    ],
)  # fmt: skip
def test_no_book_changes_under_any_limits(bars_passed, monkeypatch, seed, sigma, size, holes, risk, decision, fills):
    panel, signals = market(seed, rows=ROWS, sigma=sigma, size=size, holes=holes)
    limits = Limits(DecisionSettings(**decision), RiskSettings(**risk), CostSettings(), 24)
    rules = FillRules(margin_tiers={DEFAULT_PAIRS[0]: tiers([(0, 0.004), (5_000, 0.05)])}, **fills)
    prepared = Prepared.of(panel, signals, limits, fills=rules)
    quick = sweep(prepared, [Variant(limits, rules)], 5_000.0, assume_approvals=SEATS)
    same_books(quick, asking_all(monkeypatch, prepared, [Variant(limits, rules)], 5_000.0, assume_approvals=SEATS))
    assert quick.trades[0] > 0
    assert sum(bars_passed) > 0
