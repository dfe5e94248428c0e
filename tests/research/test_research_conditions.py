"""What a market home knows of its contracts (settlements, filters, margin), and that judged books are traded by it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from engine_market import LIMITS, SEATS, FixedCrowd, FixedForecaster, market
from pydantic import ValidationError

from hydra_core.alpha.models import Models
from hydra_core.decision import Limits, assemble
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import HOUR_MS, month_span
from hydra_core.domain.market import CANDLES, FUNDING, MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.domain.settlements import interval_hours
from hydra_core.domain.tables import TS
from hydra_core.home import Home
from hydra_core.lake.listings import Listings
from hydra_core.lake.store import Lake
from hydra_core.ledger.livestate import LiveStateWriter
from hydra_core.market.listings import NEVER_MS, Listing
from hydra_core.report.research import Research
from hydra_core.report.sections import research_sections
from hydra_core.research.backtest import FillRules, backtest
from hydra_core.research.books import book_of, buy_and_hold, trade_forecast, trade_models
from hydra_core.research.conditions import ASSUMED, Conditions, conditions_of
from hydra_core.research.engine.inputs import Settlements
from hydra_core.research.engine.parameters import Variant
from hydra_core.research.engine.results import Prepared, sweep, trade
from hydra_core.research.folds import Span
from hydra_core.research.origins import STRESSES, origins
from hydra_core.settings import CostSettings, FeeTier, Settings

BTC, ETH, SOL, BNB = (Pair(f"{base}USDT") for base in ("BTC", "ETH", "SOL", "BNB"))
LOOKBACK = MAX_LOOKBACK_BARS
MONTH = "2024-07"
START = month_span(MONTH)[0]
TIERS = (FeeTier(volume=50_000, taker_bp=3, maker_bp=1), FeeTier(volume=200_000, taker_bp=1, maker_bp=0))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, "synthetic-7-0.3").create()


def lake_of(home: Home, hours: Mapping[Pair, list[float]]) -> Lake:
    """A lake with settlements at these hours of the month, each contract's interval told by its stamps."""
    lake = Lake(home.lake, "binanceusdm")
    for pair, at in hours.items():
        stamps = START + (np.array(at) * HOUR_MS).astype(np.int64)
        columns = {"rate": 1e-5 * np.arange(1, stamps.size + 1), "interval_hours": interval_hours(stamps)}
        frame = pl.DataFrame({"ts": pl.Series(stamps).cast(TS), **columns})
        lake.write(FUNDING, pair, MONTH, frame, closed=False, source="t")
    return lake


def rules(pair: Pair, **more: object) -> MarketRules:
    filters = {"tick_size": "0.1", "step_size": "0.5", "min_quantity": "1", "min_notional": "400"}
    return MarketRules(pair, **{name: Decimal(value) for name, value in filters.items()}, **more)  # type: ignore[arg-type]


def due_hours(conditions: Conditions, close_ms: np.ndarray, column: int, *, known: bool) -> list[float]:
    assert conditions.settlements is not None
    due, rate = conditions.settlements.due[:, column], conditions.settlements.rate[:, column]
    return ((close_ms[due & (np.isfinite(rate) == known)] - START) / HOUR_MS).tolist()


def test_funding_is_due_when_each_contract_settled(home: Home) -> None:
    panel, _ = market(3, rows=12 * 60)
    eight_to_four = [0.0, 8, 16, 20, 24, 28, 32, 40, 48, 56]  # every 8 h, 4 h for a while, 8 h again
    hourly = [float(at) for at in range(61) if at not in range(21, 35)]
    lake = lake_of(home, {BTC: eight_to_four, ETH: hourly})
    found = conditions_of(home, lake, panel)
    column = panel.pairs.index
    assert due_hours(found, panel.close_ms, column(BTC), known=True) == eight_to_four[1:]
    assert due_hours(found, panel.close_ms, column(BTC), known=False) == [], "a longer interval is no hole"
    assert due_hours(found, panel.close_ms, column(ETH), known=True) == hourly[1:]
    assert due_hours(found, panel.close_ms, column(ETH), known=False) == [21, 32], (
        "the first missing one, then the grid"
    )
    assert found.settlements is not None
    at = np.searchsorted(panel.close_ms, START + 16 * HOUR_MS)
    assert found.settlements.rate[at, column(BTC)] == pytest.approx(3e-5)
    assert found.paid is not None
    assert found.paid[at, column(BTC)] == pytest.approx(3e-5)
    assert (found.paid != 0).sum(axis=0)[[column(BTC), column(ETH)]].tolist() == [9, 46]
    rates = np.where(found.settlements.due, found.settlements.rate, np.nan)
    other = Conditions(Settlements(found.settlements.due, np.where(np.isnan(rates), 0.0, rates)))
    assert len({found.settled_key, other.settled_key, ASSUMED.settled_key}) == 3
    grid = Settlements.on_grid(panel, 8 * HOUR_MS)
    np.testing.assert_array_equal(found.settlements.due[:, column(SOL)], grid.due[:, column(SOL)])
    np.testing.assert_array_equal(found.settlements.rate[:, column(SOL)], grid.rate[:, column(SOL)])
    assert "each contract's own settlements, every 1 or 4 or 8 h" in found.funding
    assert "every 8 h at the rates of the panel for ADAUSDT, BNBUSDT" in found.funding
    assert "ETHUSDT: 2 without a known rate between 2024-07-01T21:00" in found.funding


def test_where_nothing_is_known_it_is_what_a_backtest_assumes_and_says_so(home: Home) -> None:
    panel, signals = market(4, rows=LOOKBACK + 300)
    lake = Lake(home.lake, "binanceusdm")
    found = conditions_of(home, lake, panel)
    assert (found.settlements, dict(found.rules), found.key) == (None, {}, "")
    assert (found.settled_key, found.paid) == ("", None)
    told = {line["what"]: line["traded by"] for line in found.told(LIMITS)}
    assert told["funding"] == "every 8 h at the rates of the panel: the lake has none"
    assert told["contracts"] == "none known: sizes are not rounded, maintenance margin 1.00%"
    assert told["fees"] == "5 bp a side"
    span = Span(LOOKBACK, LOOKBACK + 300)
    plain, same = (trade_forecast(panel, signals.forecast, LIMITS, span, conditions=each) for each in (ASSUMED, found))
    np.testing.assert_array_equal(plain.equity, same.equity)
    assert plain.entered_ms.size
    none = dataclasses.replace(panel, inputs=frozenset({CANDLES}))
    assert conditions_of(home, lake, none).funding == "not known, none is paid"


def test_rules_are_the_traders_own_else_the_exchanges_newest_listing(home: Home) -> None:
    panel, _ = market(5, rows=50)
    lake = Lake(home.lake, "binanceusdm")
    listed = {pair: Listing(pair, "TRADING", 0, NEVER_MS, rules(pair)) for pair in (BTC, ETH)}
    Listings(lake).update(listed, START)
    steps = ((0.0, 0.004), (5_000.0, 0.05))
    with LiveStateWriter(home.live_state) as writer:
        writer.set_rules({BTC: rules(BTC, margin_steps=steps), Pair("NOPEUSDT"): rules(Pair("NOPEUSDT"))})
    found = conditions_of(home, lake, panel)
    assert found.rules == {BTC: rules(BTC, margin_steps=steps), ETH: rules(ETH)}
    assert found.limits(Limits()).maintenance == {BTC: 0.05}
    assert found.contracts.startswith("filters as the exchange lists them now: BTCUSDT, ETHUSDT; ")
    assert "its margin tables: BTCUSDT; its one public margin rate: ETHUSDT; none known: " in found.contracts
    other = Conditions(rules={BTC: rules(BTC)})
    assert len({found.key, other.key, ASSUMED.key}) == 3


def test_judged_books_are_the_row_by_row_backtests_under_the_same_conditions(home: Home) -> None:
    panel, signals = market(33, rows=LOOKBACK + 700)
    hourly = [float(at) for at in range(251)]
    lake = lake_of(home, {BTC: hourly, ETH: hourly[::4], SOL: hourly[::8]})
    tables = {BTC: rules(BTC, margin_steps=((0.0, 0.004), (2_000.0, 0.05))), BNB: rules(BNB)}
    with LiveStateWriter(home.live_state) as writer:
        writer.set_rules(tables)
    found, span = conditions_of(home, lake, panel), Span(LOOKBACK, LOOKBACK + 650)
    limits = Limits(costs=CostSettings(fee_tiers=TIERS))
    book = trade_forecast(panel, signals.forecast, limits, span, cost_factor=1.5, conditions=found)
    part, under = panel.rows(slice(0, span.end)), limits.under(tables)
    assert found.settlements is not None
    more = {"rules": tables, "settlements": found.settlements.rows(slice(0, span.end))}
    assessment = assemble(part, under, signals.forecast.rows(slice(span.start, span.end)))
    fills = FillRules(cost_factor=1.5)
    reference = backtest(part, assessment, under, span.start, span.end, assume_approvals=SEATS, fills=fills, **more)  # type: ignore[arg-type]
    np.testing.assert_allclose(book.equity, book_of(reference, part).equity, rtol=1e-12)
    traded = np.abs(np.diff(reference.quantity[:, panel.pairs.index(BTC)]))
    assert np.allclose(traded / 0.5, np.round(traded / 0.5))
    assert (np.abs(reference.funding) > 0).sum() > 20, "hours without a multiple of eight are settled too"
    plain = trade_forecast(panel, signals.forecast, limits, span, cost_factor=1.5)
    assert plain.equity[-1] != book.equity[-1]
    models = Models(FixedForecaster(signals.forecast, panel), FixedCrowd(0.1))
    several = trade_models(panel, models, limits, span, conditions=found)
    alone = backtest(part, models, under, span.start, span.end, **more)  # type: ignore[arg-type]
    np.testing.assert_allclose(several.equity, alone.equity, rtol=1e-12)


def test_bought_and_held_pays_at_the_contracts_settlements(home: Home) -> None:
    panel, _ = market(6, rows=600)
    panel = dataclasses.replace(panel, close=np.full_like(panel.close, 100.0))
    due = np.zeros(panel.close.shape, np.bool_)
    due[[50, 70], 0] = True
    rate = np.where(due, 0.001, np.nan)
    book = buy_and_hold(panel, Span(10, 600), 0.0, Settlements(due, rate))
    assert book.equity[-1] == pytest.approx(10_000 * (1 - 0.002 / 8))
    assert (np.flatnonzero(np.diff(book.equity)) + 11).tolist() == [50, 70]


def test_a_fee_schedule_of_the_settings_is_what_fills_pay_and_changes_nothing_while_empty() -> None:
    panel, signals = market(9, rows=288 * 4)
    flat, stepped = Limits(), Limits(costs=CostSettings(fee_tiers=TIERS))
    named = FillRules(fee_tiers=((0.0, 5.0), (50_000.0, 3.0), (200_000.0, 1.0)))
    assert FillRules().fees(flat.costs) == ((0.0,), (5e-4,))
    prepared = Prepared.of(panel, signals, flat)
    by_settings = trade(prepared, stepped, assume_approvals=SEATS).result
    by_name = trade(prepared, flat, fills=named, assume_approvals=SEATS).result
    np.testing.assert_array_equal(by_settings.equity, by_name.equity)
    row_by_row = backtest(panel, signals, stepped, assume_approvals=SEATS)
    np.testing.assert_allclose(row_by_row.equity, by_settings.equity, rtol=1e-12)
    assert by_settings.fees.sum() < trade(prepared, flat, assume_approvals=SEATS).result.fees.sum()
    said = {line["what"]: line["traded by"] for line in ASSUMED.told(stepped)}["fees"]
    assert said == "5 bp a side, by the volume of 30 days: 3 bp from 50,000 USDT, 1 bp from 200,000 USDT"
    with pytest.raises(ValidationError, match="ascend"):
        CostSettings(fee_tiers=TIERS[::-1])


@pytest.mark.parametrize("fills", [FillRules(fee_factor=1.5), FillRules(slippage_factor=2.0), FillRules(delay_bars=1)])
def test_dearer_fees_and_slippage_are_the_same_in_both_engines(fills: FillRules) -> None:
    panel, signals = market(10, rows=500)
    reference = backtest(panel, signals, LIMITS, assume_approvals=SEATS, fills=fills)
    prepared = Prepared.of(panel, signals, LIMITS)
    swept = sweep(prepared, [Variant(LIMITS), Variant(LIMITS, fills)], assume_approvals=SEATS)
    assert swept.equity[1] == pytest.approx(reference.equity[-1], rel=1e-12)
    assert swept.equity[1] != swept.equity[0]
    with pytest.raises(UsageError, match="not negative"):
        FillRules(fee_factor=-1.0)


def test_the_stress_of_costs_is_told_with_the_profits_origins() -> None:
    panel, signals = market(21, rows=LOOKBACK + 500)
    span = Span(LOOKBACK, LOOKBACK + 500)
    told = json.loads(json.dumps(origins(panel, signals.forecast, LIMITS, span)))
    assert set(told["stress"]) == {"as assumed", "fees x1.5", "slippage x2", "one bar later"} == set(STRESSES)
    assert told["stress"]["as assumed"] == pytest.approx(told["attribution"]["net"] / told["capital"], rel=1e-9)
    for name, fills in STRESSES.items():
        part = panel.rows(slice(0, span.end))
        assessment = assemble(part, LIMITS, signals.forecast.rows(slice(span.start, span.end)))
        one = backtest(part, assessment, LIMITS, span.start, span.end, assume_approvals=SEATS, fills=fills)
        assert told["stress"][name] == pytest.approx(one.equity[-1] / one.initial_equity - 1, rel=1e-9)
    assert len(set(told["stress"].values())) == 4
    page = research_sections(None, Research(origins=told), Settings())[-1]  # type: ignore[arg-type]
    shown = {table.title: table.rows for table in page.tables}
    assert dict(shown["under dearer costs, as information"]) == told["stress"]
    assert [what for what, _ in shown["traded by"]] == ["funding", "contracts", "fees"]
